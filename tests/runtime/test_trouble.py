"""A disk that fails while a script runs: the script goes on, is told once, and gets its data written when it can be."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.services import parameters, reports, tasks
from localtrack.services.context import open_context

HEAD = """
import os, shutil, sys, time
from localtrack import Task
task = Task.init(project_name="t", task_name="n", reuse_last_task_id=False)
log = task.get_logger()
print("ID", task.id, flush=True)
"""


def run(root: Path, body: str, cwd: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run a script over a store; return how it ended and the task's id."""
    script = cwd / "script.py"
    script.write_text(HEAD + textwrap.dedent(body))
    env = {**os.environ, "LOCALTRACK_ROOT": str(root)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=env, cwd=cwd, timeout=100)
    return done, next((line.split()[1] for line in done.stdout.splitlines() if line.startswith("ID ")), "")


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return our own lines on stderr, the greeting apart."""
    return [
        line for line in done.stderr.splitlines() if line.startswith("localtrack:") and "localtrack: task" not in line
    ]


def test_full_disk_in_between(small_disk: Path, tmp_path: Path) -> None:
    """Everything that was reported while the disk was full is there at the end, and the script saw no error."""
    body = f"""
    log.report_scalar("t", "s", 0.0, 0)
    time.sleep(1.5)
    with open({str(small_disk / "filler")!r}, "wb", buffering=0) as filler:
        for size in (65536, 4096, 1):
            try:
                while filler.write(b"x" * size): pass
            except OSError: pass
    settings = task.connect({{"lr": 0.5}})
    for step in range(1, 2000):
        log.report_scalar("t", "s", step, step)
        log.report_scalar("new", "series", step, step)
    print("printed while full")
    assert task.upload_artifact("big", "x" * 100000) is False
    log.report_table("tab", "s", table_plot=[["a"], [1]])
    task.connect_configuration({{"deep": [1, 2]}}, name="cfg")
    task.set_name("renamed while full")
    settings["lr"] = 0.75
    task.mark_failed(status_message="told while full")
    open("model.pt", "wb").write(b"w" * 100000)
    assert task.update_output_model("model.pt") == "model.pt"
    os.unlink({str(small_disk / "filler")!r})
    time.sleep(2.5)
    log.report_scalar("t", "s", 2000.0, 2000)
    """
    done, task_id = run(small_disk / "store", body, tmp_path)
    assert done.returncode == 0, done.stderr
    ctx = open_context(small_disk / "store")
    folder = tasks.folder_of(ctx, task_id)
    found = reports.scalars(folder)
    assert found.of("t", "s").values.tolist() == [float(step) for step in range(2001)]
    assert found.of("new", "series").values.tolist() == [float(step) for step in range(1, 2000)]
    record = tasks.read(ctx, task_id)
    assert (record.status, record.status_message, record.name) == ("failed", "told while full", "renamed while full")
    assert record.parameters["General/lr"]["value"] == 0.75
    assert parameters.configuration_text(folder, record, "cfg") == parameters.dump_configuration({"deep": [1, 2]})
    assert [plot["title"] for plot in reports.plots(folder)[0]] == ["tab"]
    assert "printed while full" in [line.text for line in reports.console(folder)]
    assert 1 <= len(complaints(done)) <= 5, done.stderr


MEDIA = """
    import io
    time.sleep(0.5)
    def fill():
        with open(FILLER, "wb", buffering=0) as filler:
            for size in (65536, 4096, 1):
                try:
                    while filler.write(b"x" * size): pass
                except OSError: pass
    fill()
"""


def test_media_files_wait_for_the_disk(small_disk: Path, tmp_path: Path) -> None:
    """Files that were reported while the disk was full are stored later as they were then, though changed or gone since."""
    body = (
        f"FILLER = {str(small_disk / 'filler')!r}\n"
        + textwrap.dedent(MEDIA)
        + textwrap.dedent("""
    for number in range(3):
        open(f"{number}.txt", "w").write(f"text {number}")
        log.report_media("file", f"s{number}", iteration=number, local_path=f"{number}.txt")
    open("0.txt", "w").write("changed since")
    os.unlink("1.txt")
    open("gone.txt", "w").write("deleted when stored")
    log.report_media("file", "gone", local_path="gone.txt", delete_after_upload=True)
    assert os.path.exists("gone.txt")
    log.report_media("bytes", "s", stream=io.BytesIO(b"from a stream"), file_extension=".txt")
    os.unlink(FILLER)
    time.sleep(2.5)
    assert not os.path.exists("gone.txt")
    """)
    )
    done, task_id = run(small_disk / "store", body, tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tasks.folder_of(open_context(small_disk / "store"), task_id)
    found, problems = reports.media(folder)
    assert problems == []
    texts = {item["series"]: (folder / "media" / item["file"]).read_text() for item in found}
    assert texts == {
        "s0": "text 0",
        "s1": "text 1",
        "s2": "text 2",
        "gone": "deleted when stored",
        "s": "from a stream",
    }
    assert [item["iteration"] for item in found if item["series"] == "s2"] == [2]
    assert len(complaints(done)) == 1, done.stderr
    assert (tmp_path / "0.txt").read_text() == "changed since"


def test_media_that_the_disk_never_takes_is_told_once(small_disk: Path, tmp_path: Path) -> None:
    """A disk that stays full loses the files, the run ends as it would, and says how many."""
    body = (
        f"FILLER = {str(small_disk / 'filler')!r}\n"
        + textwrap.dedent(MEDIA)
        + textwrap.dedent("""
    for number in range(3):
        open("a.txt", "w").write("x" * 70000)
        log.report_media("file", f"s{number}", local_path="a.txt")
    """)
    )
    done, task_id = run(small_disk / "store", body, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line for line in complaints(done) if "3 plots and media of the task could not be written" in line], (
        done.stderr
    )
    assert len(complaints(done)) <= 4, done.stderr
    assert tasks.read(open_context(small_disk / "store"), task_id).status == "completed"


def test_full_to_the_end(small_disk: Path, tmp_path: Path) -> None:
    """A disk that stays full loses what had no room, says how much, and still records how the run ended."""
    body = f"""
    time.sleep(0.3)
    with open({str(small_disk / "filler")!r}, "wb", buffering=0) as filler:
        for size in (65536, 4096, 1):
            try:
                while filler.write(b"x" * size): pass
            except OSError: pass
    for step in range(20000):
        log.report_scalar("t", "s", step, step)
    """
    done, task_id = run(small_disk / "store", body, tmp_path)
    assert done.returncode == 0, done.stderr
    assert any("could not be written" in line for line in complaints(done)), done.stderr
    assert tasks.read(open_context(small_disk / "store"), task_id).status == "completed"


def test_store_deleted_while_running(tmp_path: Path) -> None:
    """The script goes on to its end with its own exit code and one line about what happened."""
    root = tmp_path / "store"
    body = """
    log.report_scalar("t", "s", 0.0, 0)
    os.rename(os.environ["LOCALTRACK_ROOT"], os.environ["LOCALTRACK_ROOT"] + "-gone")
    task.connect({"lr": 1})
    task.connect_configuration({"a": 1})
    task.set_name("x")
    task.mark_stopped()
    task.connect(__import__("argparse").ArgumentParser())
    for step in range(100):
        log.report_scalar("t", "s", step, step)
    log.report_table("tab", "s", table_plot=[["a"], [1]])
    task.upload_artifact("a", {"x": 1})
    print("went on")
    sys.exit(4)
    """
    done, _ = run(root, body, tmp_path)
    assert done.returncode == 4
    assert "went on" in done.stdout
    assert "Traceback" not in done.stderr
    assert any("gone" in line for line in complaints(done)), done.stderr
    assert len(complaints(done)) <= 5, done.stderr
    assert not root.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="root needs another user to be refused")
def test_unwritable_store_says_who_and_what(
    tmp_path: Path, as_another_user: Callable[[Callable[[], None]], None]
) -> None:
    """Task.init on a store that can't be written names the path, the user and the remedy."""
    from localtrack import Task  # imported here, as the other user may not read this interpreter
    from localtrack.errors import StoreError
    from localtrack.store.root import Store

    root = tmp_path / "store"
    Store.create(root)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            os.chmod(folder, folder.stat().st_mode | 0o055)

    def refused() -> None:
        os.environ["LOCALTRACK_ROOT"] = str(root)
        os.chdir("/")
        with pytest.raises(StoreError, match=r"uid 65534.*LOCALTRACK_ROOT") as caught:
            Task.init(project_name="p", task_name="n", auto_connect_streams=False)
        assert str(root) in str(caught.value)

    as_another_user(refused)
