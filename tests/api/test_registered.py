"""DataFrames that a run keeps changing: stored while it runs, whole, and only when they have changed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from localtrack import Task
from localtrack.errors import InvalidValueError, UsageError


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at registered frames at each tick of the writer, and tick often."""
    monkeypatch.setenv("LOCALTRACK_REGISTERED_INTERVAL_S", "0.05")
    monkeypatch.setattr("localtrack.runtime.registered.SHARE_OF_TIME", 1.0)
    monkeypatch.setattr("localtrack.runtime.writer.TICK_S", 0.1)


def _wait(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_stored_while_it_changes(often: None, task: Task) -> None:
    """The frame is stored at once, again after each change, and not when nothing changed."""
    frame = pandas.DataFrame({"a": [1, 2]}, index=["x", "y"])
    task.register_artifact("train", frame, metadata={"k": 1})
    _wait(lambda: "train" in task.artifacts)
    first = task.artifacts["train"]
    assert (first.type, first.metadata) == ("data-audit-table", {"k": "1"})
    pandas.testing.assert_frame_equal(first.get(), frame)

    time.sleep(1.0)
    assert task.artifacts["train"].timestamp == first.timestamp
    frame.loc["z"] = 3
    _wait(lambda: task.artifacts["train"].get().shape == (3, 1))
    assert "shape=(3, 1), 3 unique rows" in task.artifacts["train"].preview
    pandas.testing.assert_frame_equal(first.get(), pandas.DataFrame({"a": [1, 2]}, index=["x", "y"]))
    for value in range(4, 7):
        frame.loc[str(value)] = value
        _wait(lambda: len(task.artifacts["train"].get()) == len(frame))
    _wait(lambda: len(list((task._where() / "artifacts").iterdir())) == 2)


def test_the_last_state_and_one_line(task: Task, capfd: pytest.CaptureFixture[str]) -> None:
    """What changed just before the end is stored; one line says rows, different rows and what two frames share."""
    train = pandas.DataFrame({"id": [1, 2, 2], "w": [0.1, 0.2, 0.2]})
    test = pandas.DataFrame({"id": [2, 9], "w": [0.2, 0.5]})
    task.register_artifact("train", train)
    task.register_artifact("test", test, uniqueness_columns=["id", "w"])
    train.loc[3] = [7, 0.7]
    task.close()

    assert len(task.artifacts["train"].get()) == 4
    lines = [line for line in capfd.readouterr().err.splitlines() if "registered" in line]
    train_line = "[train]: shape=(4, 2), 3 unique rows, 75.0% uniqueness"
    wanted = f"{train_line}; [test]: shape=(2, 2), 2 unique rows, 100.0% uniqueness; 1 in both 'train' and 'test'"
    assert lines == [f"localtrack: registered artifacts: {wanted}"]
    assert task.get_reported_console_output()[-1].endswith(f"registered artifacts: {wanted}")


def test_names_are_guarded(task: Task) -> None:
    """A registered name is not uploaded over; another frame may take its place; unregistering keeps the last state."""
    frame = pandas.DataFrame({"a": [1]})
    task.register_artifact("x", frame)
    with pytest.raises(InvalidValueError, match="unregister it first"):
        task.upload_artifact("x", 1)
    registered = task.get_registered_artifacts()
    assert registered["x"] is frame
    registered["x"] = pandas.DataFrame({"a": [1, 2]})
    task.unregister_artifact("x")
    assert len(registered) == 0
    assert len(task.artifacts["x"].get()) == 2
    frame.loc[5] = 5
    task.unregister_artifact("never registered")
    assert task.upload_artifact("x", 1)
    with pytest.raises(InvalidValueError, match=r"only a pandas\.DataFrame"):
        task.register_artifact("y", [1])  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="only a pandas"):
        registered["y"] = 3
    with pytest.raises(InvalidValueError, match=r"'nope', which is not among \['a'\]"):
        task.register_artifact("y", frame, uniqueness_columns=["nope"])
    task.close()
    with pytest.raises(UsageError, match="upload_artifact"):
        task.register_artifact("y", frame)
    assert dict(task.get_registered_artifacts()) == {}


def test_no_torn_rows(often: None, task: Task) -> None:
    """While the script changes rows cell by cell, every snapshot holds whole rows only."""
    frame = pandas.DataFrame({"n": [0] * 200, "twice": [0.0] * 200})
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            frame.iat[number % 200, 0] = number
            time.sleep(0.001)  # another thread runs while the row is half written
            frame.iat[number % 200, 1] = number * 2.0
            if number % 10 == 0:
                time.sleep(0.2)

    worker = threading.Thread(target=change)
    worker.start()
    try:
        task.register_artifact("moving", frame)
        seen = set()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            if "moving" in task.artifacts:
                found = task.artifacts["moving"].get()
                assert (found["n"] * 2 == found["twice"]).all()
                seen.add(int(found["n"].max()))
            time.sleep(0.2)
    finally:
        stop.set()
        worker.join()
    assert len(seen) >= 3


def test_frames_that_parquet_can_not_hold(often: None, task: Task) -> None:
    """They are stored all the same; one that can't be stored at all is said once and ends nothing."""
    task.register_artifact("mixed", pandas.DataFrame({"c": [1, "x", [2]]}))
    task.register_artifact("bad", pandas.DataFrame({"c": [lambda: 1]}))
    _wait(lambda: "mixed" in task.artifacts)
    assert task.artifacts["mixed"].get()["c"].tolist() == [1, "x", [2]]
    task.close()
    assert list(task.artifacts) == ["mixed"]
    assert task.get_status() == "completed"


def test_read_by_another_process_and_after_a_kill(tmp_path: Path) -> None:
    """Another process reads the frame while the run goes on, and what was stored survives kill -9."""
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent("""
        import time
        import pandas
        from localtrack import Task
        task = Task.init("p", "killed", auto_connect_streams=False)
        frame = pandas.DataFrame({"a": [1]})
        task.register_artifact("data", frame)
        print(task.id, flush=True)
        for i in range(2, 1000):
            frame.loc[i] = i
            time.sleep(0.2)
        """)
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert process.stdout is not None
        task = Task.get_task(task_id=process.stdout.readline().strip())
        assert task is not None
        _wait(lambda: "data" in task.artifacts)
        assert process.poll() is None
        assert task.artifacts["data"].get()["a"].iloc[0] == 1
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert task.artifacts["data"].get()["a"].tolist()[0] == 1
