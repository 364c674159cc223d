"""Files that their owner hands over with their weights: removed once a copy is stored, and not before.

Between the call and the end of an upload in the background the script may have saved other weights under the same name:
what is not as it was when the copy was taken stays.

Source: ClearML's OutputModel.update_weights(auto_delete_file=True).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from localtrack.records.late import late_logger
from localtrack.records.plain import dataclass
from localtrack.store.layout import StoreLayout

LOG = late_logger("localtrack.storage")
_Mark = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Files as they were when a copy was about to be taken.

    Attributes:
        marks: each file with what tells it from a later one of its name.
        base: the folder that was given whole; goes as well when nothing is left in it.
    """

    marks: tuple[tuple[Path, _Mark], ...] = ()
    base: Path | None = None

    @classmethod
    def of(cls, store: StoreLayout, files: Iterable[Path], base: Path | None = None) -> HandedOver:
        """Return files that may go, all but those that are the store's own.

        Args:
            store: the store, whose files somebody else's metadata may name.
            files: the files; folders are passed over.
            base: the folder that they were found in.
        """
        own = [Path(os.path.realpath(folder)) for folder in (store.projects, store.models, store.trash)]
        marks = []
        for path in (Path(os.path.abspath(file)) for file in files):
            real = Path(os.path.realpath(path))
            mark = _mark(path) if path.is_file() and not any(real.is_relative_to(folder) for folder in own) else None
            if mark is not None:
                marks.append((path, mark))
        return cls(tuple(marks), None if base is None else Path(os.path.abspath(base)))

    def remove(self) -> None:
        """Remove what is as it was, and folders that are empty then; what can't be removed is said and stays."""
        for path, mark in self.marks:
            if _mark(path) != mark:
                continue
            try:
                path.unlink()
            except OSError as error:
                LOG.warning("a copy of %s is stored, but the file can't be removed: %s", path, error)
        if self.base is None:
            return
        emptied = {place for path, _ in self.marks for place in path.parents if place.is_relative_to(self.base)}
        for folder in sorted(emptied, key=lambda place: len(place.parts), reverse=True):
            try:
                folder.rmdir()
            except OSError:
                continue  # something is left in it that was not stored


NOTHING = HandedOver()


def _mark(path: Path) -> _Mark | None:
    try:
        name, info = os.lstat(path), os.stat(path)
    except OSError:
        return None
    return name.st_ino, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns
