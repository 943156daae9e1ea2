"""Readers of config.json by model family: one file each, found by listing this folder.

A family file defines `READERS`: for each value of `architectures[0]`, and of `model_type` for files that name no
architecture, the function that turns the file's fields into a `Body`.
"""
