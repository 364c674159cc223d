"""The only room that renames, links, fsyncs and locks.

Success is judged by what is on disk, never by an error number: after a lost reply a file server answers EEXIST to
one's own link and ENOENT to one's own rename.

Source: docs/format/v1.md, "What the file system must offer".
"""
