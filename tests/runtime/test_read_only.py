"""A store that becomes read-only while a task runs, as a server's export does: the training goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localtrack.services import reports, tasks
from localtrack.services.context import open_context

from .test_trouble import complaints, run


def mount(*arguments: object) -> bool:
    """Call mount; tell whether it worked."""
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False).returncode == 0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where a store can be made read-only while files in it are open: by a read-only mount of the folder over itself."""
    place = tmp_path / "place"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a folder can be made read-only below an open file only by root, with mount")
    if not make_read_only(place):
        pytest.skip("this machine does not let us mount a folder over itself, read-only")
    subprocess.run(["umount", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def make_read_only(place: Path) -> bool:
    """Put the read-only mount in place; tell whether it worked."""
    return mount("--bind", place, place) and mount("-o", "remount,bind,ro", place)


def locking(place: Path) -> str:
    """Return the lines of Python that define ``lock(on)``."""
    return f"""
import subprocess
def lock(on, place={str(place)!r}):
    commands = (["mount", "--bind", place, place], ["mount", "-o", "remount,bind,ro", place]) if on else (["umount", "-l", place],)
    for command in commands:
        subprocess.run(command, check=True)
"""


BODY = """
log.report_scalar("loss", "train", 0.0, 0)
time.sleep(1.2)
lock(True)
settings = task.connect({"lr": 0.5})
for step in range(1, 150_000):  # more than two journals
    log.report_scalar("loss", "train", step / 7, step)
log.report_scalar("new", "series", 1.0, 1)
log.report_table("tab", "s", table_plot=[["a"], [1]])
open("note.txt", "w").write("a note")
log.report_media("file", "s", local_path="note.txt")
assert task.upload_artifact("big", "x" * 1000) is False
task.set_name("renamed meanwhile")
print("printed meanwhile")
time.sleep(2.5)
"""


def test_what_was_reported_meanwhile_is_written_later(place: Path, tmp_path: Path) -> None:
    """Points, plots, media, parameters and console lines wait, and are all there once the store takes writes; one complaint."""
    done, task_id = run(place / "store", locking(place) + BODY + "lock(False)\ntime.sleep(3)\n", tmp_path)
    assert done.returncode == 0, done.stderr
    ctx = open_context(place / "store")
    folder = tasks.folder_of(ctx, task_id)
    found = reports.scalars(folder)
    assert found.problems == []
    assert found.of("loss", "train").values.tolist() == [step / 7 for step in range(150_000)]
    assert found.of("new", "series").values.tolist() == [1.0]
    record = tasks.read(ctx, task_id)
    assert (record.status, record.name, record.parameters["General/lr"]["value"]) == (
        "completed",
        "renamed meanwhile",
        0.5,
    )
    assert [plot["title"] for plot in reports.plots(folder)[0]] == ["tab"]
    assert [item["title"] for item in reports.media(folder)[0]] == ["file"]
    assert "printed meanwhile" in [line.text for line in reports.console(folder)]
    assert [line for line in complaints(done) if "The script goes on" in line] == complaints(done)[:1], done.stderr
    assert [line for line in complaints(done)[1:] if "artifact 'big' was not kept" not in line] == [], done.stderr
    names = {path.suffix for path in (folder / "scalars").iterdir()}
    assert names == {".parquet"}, "the journal that was open when the next could not be made is folded, too"


def test_a_store_that_stays_read_only(place: Path, tmp_path: Path) -> None:
    """The script keeps its own exit code, nothing of it waits for ever, and what was lost is said."""
    done, task_id = run(place / "store", locking(place) + BODY + "sys.exit(5)\n", tmp_path)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert any("could not be written" in line for line in complaints(done)), done.stderr
    assert len(complaints(done)) <= 8, done.stderr
    assert tasks.read(open_context(place / "store"), task_id).status == "failed"  # lost: its process is gone


def test_looking_writes_nothing(place: Path, tmp_path: Path) -> None:
    """Every verb that only looks works on a read-only store."""
    body = "log.report_scalar('loss', 'train', 0.25, 1)\nprint('printed')\n"
    done, task_id = run(place / "store", body, tmp_path)
    assert done.returncode == 0, done.stderr
    assert make_read_only(place)

    def look(*arguments: str) -> str:
        command = [sys.executable, "-m", "localtrack.cli", "--root", str(place / "store"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert task_id[:8] in look("ls")
    assert task_id[:8] in look()
    assert "loss" in look("show", "@last")
    assert "0.25" in look("scalars", task_id, "--csv")
    assert "printed" in look("log", task_id)
    assert look("queue", "ls") == ""
    assert look("restore") == ""
    assert look("agent", "ls") == ""
