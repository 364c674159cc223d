"""The on-disk format, version 1: the only room, beside ``index`` and ``queue``, that knows file names.

Source: docs/format/v1.md.
"""
