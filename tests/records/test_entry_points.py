"""The two spellings of an entry point."""

from __future__ import annotations

import pytest

from localtrack.records.entry_points import from_root, from_working_dir


@pytest.mark.parametrize(
    ("stored", "folder", "theirs"),
    [
        ("train.py", ".", "train.py"),
        ("sub/train.py", "sub", "train.py"),
        ("a/b/train.py", "a", "b/train.py"),
        ("train.py", "sub", "../train.py"),
        ("b/train.py", "a/c", "../../b/train.py"),
        ("-m pkg.mod", "sub", "-m pkg.mod"),
        ("", "sub", ""),
        ("train.py", "", "train.py"),
    ],
)
def test_each_spelling_gives_the_other(stored: str, folder: str, theirs: str) -> None:
    """What ClearML's users read is relative to the working directory, and means the stored file."""
    assert from_working_dir(stored, folder) == theirs
    assert from_root(theirs, folder) == stored
