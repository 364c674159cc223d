"""Each model's weights have a place of their own outside the store, and what is read back is what was put there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack import Model, OutputModel, Task
from localtrack.errors import StorageError
from localtrack.services import collection, model_removal, storage

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
