"""Trace readers: one file per format, found by listing this folder.

A reader is a module (or an object) with NAME, `detect(head, path)` and `read(source, **options)`; it may have
`adjust(workload, **options)`. docs/how-to/add-a-trace-reader.md shows one.
"""
