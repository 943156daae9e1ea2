"""Readers of config.json by model family: one file each, found by listing this folder.

A family file defines `ARCHITECTURES` (values of `architectures[0]`), `MODEL_TYPES` (values of `model_type`,
used when a file names no architecture) and `read(fields) -> Body`.
"""
