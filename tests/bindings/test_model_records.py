"""Folders that a framework saved, on their way into the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack import Task
from localtrack.bindings.model_files import Event, Recorded
from localtrack.bindings.model_records import record_output
from localtrack.errors import InvalidValueError

Start = Callable[..., Task]


def test_an_empty_folder_is_refused_and_leaves_no_model(start: Start, tmp_path: Path) -> None:
    """A folder that its framework emptied meanwhile can't be packed: the error names it, and no model is begun."""
    task = start(output_uri=True)
    folder = tmp_path / "saved_model"
    folder.mkdir()
    session = task._session
    assert session is not None
    with pytest.raises(InvalidValueError, match=r"no files to pack in .*saved_model"):
        record_output(session, Event(str(folder), "TensorFlow", True), Recorded())
    assert task.output_models_id == {}
    assert not list((task._where() / "models").glob("*--*"))


def test_a_folder_is_packed_whole(start: Start, tmp_path: Path) -> None:
    """Of a folder with output_uri a zip with all files is kept; without, the folder is named with the size of its files."""
    folder = tmp_path / "saved_model"
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "a.index").write_bytes(b"abc")
    (folder / "graph.pb").write_bytes(b"de")
    task = start(output_uri=True)
    session = task._session
    assert session is not None
    record_output(session, Event(str(folder), "TensorFlow", True), Recorded())
    (model,) = task.models.output
    assert (Path(model.get_local_copy()) / "variables" / "a.index").read_bytes() == b"abc"
    task.output_uri = None
    record_output(session, Event(str(folder), "TensorFlow", True, key="second"), Recorded())
    (entry,) = task._read().output_models
    assert (entry["url"], entry["size_bytes"]) == (f"file://{folder}", 5)
