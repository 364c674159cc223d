"""Each model's weights have a place of their own outside the store, and what is read back is what was put there."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localtrack import Model, OutputModel, Task
from localtrack.bindings.model_files import Event, Recorded
from localtrack.bindings.model_records import record_output
from localtrack.errors import StorageError
from localtrack.records.model import ModelRecord
from localtrack.services import collection, model_removal, outputs, storage
from localtrack.services import weights as services_weights
from localtrack.services.outputs import Weights

REMOTE = "memory://places-of-this-test"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A user's weights file."""
    path = tmp_path / "mine" / "net.pt"
    path.parent.mkdir()
    path.write_bytes(b"weights one")
    return path


def _save(model: OutputModel, weights: Path, data: bytes, uri: str) -> str:
    weights.write_bytes(data)
    url = model.update_weights(str(weights), upload_uri=uri)
    OutputModel.wait_for_uploads(30)
    return url


def _content(url: str) -> bytes:
    return b"".join(storage.chunks(url))


@pytest.mark.parametrize("is_remote", [True, False])
def test_two_models_with_one_file_name(task: Task, weights: Path, tmp_path: Path, is_remote: bool) -> None:
    """The first model of a file name has ClearML's place, another one a folder beside it; each keeps its own."""
    uri = REMOTE if is_remote else str(tmp_path / "out")
    best, last = OutputModel(task, name="best"), OutputModel(task, name="last")
    first, second = _save(best, weights, b"best", uri), _save(last, weights, b"last", uri)
    assert first.endswith(f"/p/n.{task.id}/models/net.pt")
    assert second.endswith(f"/p/n.{task.id}/models/last--{str(last.id)[:8]}/net.pt")
    assert (_content(first), _content(second)) == (b"best", b"last")
    assert (_save(best, weights, b"best 2", uri), _save(last, weights, b"last 2", uri)) == (first, second)
    assert (_content(first), _content(second)) == (b"best 2", b"last 2")
    Model.remove(str(best.id), raise_on_errors=True)
    assert _content(second) == b"last 2"
    third = OutputModel(task, name="third")
    assert _save(third, weights, b"third", uri) == first, "nobody's weights are there any more"


def test_two_uploads_under_way_do_not_meet(task: Task, weights: Path) -> None:
    """The second model's place is its own also while the first one's weights are still on their way."""
    urls = [
        OutputModel(task, name=name).update_weights(str(weights), upload_uri=f"{REMOTE}/async")
        for name in ("one", "two")
    ]
    OutputModel.wait_for_uploads(30)
    assert len(set(urls)) == 2
    assert [_content(url) for url in urls] == [b"weights one"] * 2


def test_a_reset_task_does_not_write_over_published_weights(start: Callable[..., Task], weights: Path) -> None:
    """A task that runs again uploads under the same names: what its published model says stays what it is."""
    task = start()
    model = OutputModel(task, name="net")
    url = _save(model, weights, b"published", f"{REMOTE}/reset")
    model.publish()
    task.close()
    task.reset(force=True)
    again = Task.get_task(task_id=task.id)
    assert again is not None
    assert _save(OutputModel(again, name="net"), weights, b"second run", f"{REMOTE}/reset") != url
    assert _content(Model(str(model.id)).url) == b"published"


def test_a_new_state_at_one_address_is_fetched_anew(task: Task, weights: Path) -> None:
    """The cache keeps what an address held; weights that were written over since are not taken from it."""
    model = OutputModel(task, name="net")
    url = _save(model, weights, b"epoch 1", f"{REMOTE}/cache")
    assert Path(model.get_weights()).read_bytes() == b"epoch 1"
    assert _save(model, weights, b"epoch 2", f"{REMOTE}/cache") == url
    assert Path(model.get_weights()).read_bytes() == b"epoch 2"
    model.update_weights(register_uri=url)
    registered = model.get_weights()
    assert model.get_weights() == registered, "it is fetched once"
    model.update_weights(register_uri=url)
    assert model.get_weights() != registered, "registered again: it may be another file"


def test_weights_that_can_not_be_staged_leave_no_broken_model(
    task: Task, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the snapshot for an upload finds no room, the model that the task names already is whole, and goes on."""

    def full(*_: object, **__: object) -> None:
        raise StorageError("no room for a snapshot")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "put_file", full)
        model = OutputModel(task, name="net")
        assert model.update_weights(str(weights), upload_uri=f"{REMOTE}/full") == str(weights)
    (named,) = task.models.output
    assert (named.name, named.url) == ("net", "")
    assert task._ctx.models.rows()[0].folder
    url = _save(model, weights, b"weights", f"{REMOTE}/full")
    assert model.id == named.id
    assert _content(url) == b"weights"


def test_restoring_keeps_a_newer_model_of_that_name(
    start: Callable[..., Task], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that comes back takes nobody's name in its task: both are there, and gc takes neither."""
    monkeypatch.setattr(collection, "GRACE_S", 0.0)
    task = start(output_uri=True)
    older = OutputModel(task, name="net")
    older.connect(task, name="best")
    older.update_weights(str(weights))
    Model.remove(str(older.id), raise_on_errors=True)
    newer = OutputModel(task, name="net")
    newer.connect(task, name="best")
    newer.update_weights(str(weights))
    model_removal.restore(task._ctx, str(older.id))
    assert task.output_models_id == {"best": newer.id, f"best ({str(older.id)[:8]})": older.id}
    task.close()
    assert not [item for item in collection.find(task._ctx) if item.kind == collection.MODEL]
    Model.remove(str(newer.id), raise_on_errors=True)
    Model.remove(str(older.id), raise_on_errors=True)
    model_removal.restore(task._ctx, str(newer.id))
    assert task.output_models_id == {"best": newer.id}, "under what the task called it"


@pytest.fixture
def blocked(start: Callable[..., Task], tmp_path: Path) -> Task:
    """A task whose output_uri takes nothing any more since it began."""
    task = start(output_uri=tmp_path / "far")
    (tmp_path / "far").rmdir()
    (tmp_path / "far").write_text("")
    return task


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store takes metadata, but no weights."""

    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(services_weights, "put_copy", refuse)


def _saved(task: Task, *paths: Path, **options: Any) -> list[Model]:
    """Record files as the watched frameworks do; return the task's models."""
    session = task._session
    assert session is not None
    recorded = Recorded()
    for path in paths:
        record_output(session, Event(str(path), "PyTorch", True, 3, **options), recorded)
    return list(task.models["output"])


def test_weights_that_a_folder_does_not_take_go_to_the_store(
    blocked: Task, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of saves that are captured and of the script's own; it is said once, and what was handed over stays."""
    second = weights.with_name("second.pt")
    second.write_bytes(b"two")
    models = _saved(blocked, weights, second)
    own = OutputModel(task=blocked, name="own")
    assert own.update_weights(str(second), auto_delete_file=True) == own.url
    assert second.exists()
    for model, data in zip([*models, Model(str(own.id))], (b"weights one", b"two", b"two"), strict=True):
        assert Path(model.get_local_copy()).read_bytes() == data
        assert Path(model.get_local_copy()).is_relative_to(blocked._where())
    assert caplog.text.count("are kept in the store") == 1
    assert "is tried again" not in caplog.text


def test_weights_that_nothing_takes_are_named_where_they_lie(
    blocked: Task, full: None, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A captured save has its model in any case: path, framework and size; of a snapshot or package the user's own path."""
    folder = weights.parent / "saved_model"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(b"12")
    (model,) = _saved(blocked, weights)
    assert (model.url, model.framework) == (f"file://{weights}", "PyTorch")
    (entry,) = blocked._read().output_models
    assert (entry["size_bytes"], entry["iteration"]) == (11, 3)
    assert caplog.text.count("were not copied") == 1

    access = OutputModel(task=blocked)._access()
    for name, source, origin, is_package in (
        ("snap", _hidden(blocked), weights, False),
        ("dir", weights, folder, True),
    ):
        filed = outputs.file_model(access, name, ModelRecord(id="", name=name))
        wanted = Weights(source, "", "x", blocked._read().output_uri, 1, False, is_package, False, origin=str(origin))
        assert outputs.put_weights(access, name, filed, wanted)[0] == f"file://{origin}"
    assert [one.get("size_bytes") for one in blocked._read().output_models] == [11, 11, 4]
    assert blocked.models["output"][-1]._record().system_tags == (), "it is no package"
    assert caplog.text.count("were not copied") == 1

    filed = outputs.file_model(access, "unknown", ModelRecord(id="", name="unknown"))
    with pytest.raises(OSError, match="No space"):
        outputs.put_weights(access, "unknown", filed, replace(wanted, source=_hidden(blocked), origin=""))
    assert not filed.folder.exists()


def _hidden(task: Task) -> Path:
    path = task._where() / "models" / ".1-snapshot"
    path.write_bytes(b"snapshot")
    return path


def test_an_error_of_the_call_leaves_the_model_as_it_was(blocked: Task, weights: Path, full: None) -> None:
    """With ``async_enable=False`` what is not written is an error; a new model leaves nothing, another one keeps its weights."""
    new, old = OutputModel(task=blocked, name="new"), OutputModel(task=blocked, name="old")
    old.update_weights(register_uri="s3://bucket/first.pt")
    for model in (new, old):
        with pytest.raises(StorageError, match="failed"):
            model.update_weights(str(weights), async_enable=False)
        assert model.update_weights(str(weights)) == str(weights), "said, and left out"
    assert (new.id, old.url, blocked.output_models_id) == (None, "s3://bucket/first.pt", {"old": old.id})
    assert len(list((blocked._where() / "models").glob("*--*"))) == 1
