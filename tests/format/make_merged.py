"""Makes ``fixtures/merged``: a ``scalars`` folder of format 1.0 with a merged part. Run once; never run again.

Beside the merged part lie one of its sources and a journal, as a process leaves them that dies while it removes what it has
merged: they count for nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from localtrack.fs.disk import Disk
from localtrack.store import journal, merging
from localtrack.store.journal import ScalarJournal
from localtrack.store.parts import fold
from tests.format.make_fixture import START_US, VALUES, WRITER, _fail

PLACE = Path(__file__).parent / "fixtures" / "merged"


def main() -> None:
    """Write the fixture."""
    if PLACE.exists():
        raise SystemExit(f"{PLACE} is there already and stays as it is")
    folder = PLACE / "scalars"
    PLACE.mkdir()
    disk = Disk(PLACE / "tmp")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal, "ROLL_BYTES", 32 * 5)
        patched.setattr(merging, "FEW", 3)
        pen = ScalarJournal(disk, folder, WRITER, _fail)
        for step, value in enumerate(VALUES * 2):
            pen.report("loss", "train" if step % 2 else "test é", value, step // 2, START_US + step)
        kept = {}
        for path in pen.close():
            kept[path.name] = path.read_bytes()
            kept[path.with_suffix(".series").name] = path.with_suffix(".series").read_bytes()
            part = fold(disk, path, trusted=True)
            if part is not None:
                kept[part.name] = part.read_bytes()
        merging.merge_parts(disk, folder, WRITER)
    for name in (f"{WRITER}-2.parquet", f"{WRITER}-3.journal", f"{WRITER}-3.series"):
        (folder / name).write_bytes(kept[name])
    shutil.rmtree(disk.tmp)
    (PLACE / "expected.json").write_text(json.dumps(sorted(path.name for path in folder.iterdir())) + "\n")


if __name__ == "__main__":
    main()
