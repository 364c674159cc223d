"""What a task calls the models of files: one name a file, in whatever order they come, beside those that a script names itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localtrack import InputModel, OutputModel, Task
from localtrack.integrations.hold import TaskHold
from tests.bindings.test_kept_files import saver
from tests.bindings.test_model_records import loader

Start = Callable[..., Task]


def stored(task: Task) -> dict[str, bytes]:
    """Return the stored weights of the task's output models by what it calls them."""
    models = {model.id: model for model in task.models["output"]}
    return {
        str(entry["name"]): Path(models[entry["id"]].get_weights()).read_bytes() for entry in task._read().output_models
    }


@pytest.fixture
def folds(tmp_path: Path) -> list[Path]:
    """Two files of one name."""
    files = [tmp_path / f"f{number}" / "best.pt" for number in range(2)]
    for file in files:
        file.parent.mkdir()
    return files


def test_a_model_that_the_script_gave_its_weights_keeps_them(start: Start, tmp_path: Path) -> None:
    """Saves of the very file that the script took them from become another model, before and after."""
    task, framework = start(output_uri=True), saver()
    best = OutputModel(task=task)
    for number, is_best in enumerate([True, True, False, False]):
        framework.save(b"%d" % number, str(tmp_path / "model.pt"))
        if is_best:
            best.update_weights(str(tmp_path / "model.pt"), iteration=number)
    task.close()
    assert Path(best.get_weights()).read_bytes() == b"1"
    assert sorted(stored(task).values()) == [b"1", b"3"]


def test_a_published_model_stays_and_the_next_save_is_another_one(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing fails and nothing is lost."""
    task, framework = start(output_uri=True), saver()
    model = OutputModel(task=task, name="net")
    (tmp_path / "net.pt").write_bytes(b"published")
    model.update_weights(str(tmp_path / "net.pt"))
    model.publish()
    framework.save(b"later", str(tmp_path / "net.pt"))
    task.close()
    found = stored(task)
    assert found.pop("net") == b"published"
    assert list(found.values()) == [b"later"]
    assert "not captured" not in capfd.readouterr().err


def test_files_keep_their_models_when_a_task_goes_on(start: Start, folds: list[Path]) -> None:
    """Also where they are saved in another order then."""
    task, framework = start(output_uri=True), saver()
    for number, file in enumerate(folds):
        framework.save(b"fold %d" % number, str(file))
    task.close()
    before = {entry["name"]: entry["id"] for entry in task._read().output_models}
    task = start(output_uri=True, continue_last_task=task.id)
    for number, file in reversed(list(enumerate(folds))):
        framework.save(b"fold %d again" % number, str(file))
    task.close()
    assert {entry["name"]: entry["id"] for entry in task._read().output_models} == before
    assert stored(task) == {"best": b"fold 0 again", "f1/best": b"fold 1 again"}


def test_a_run_that_goes_on_in_another_folder_knows_its_files(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent gives each attempt a folder of its own."""
    framework, task = saver(), None
    for number in range(2):
        place = tmp_path / f"attempt{number}"
        place.mkdir()
        monkeypatch.chdir(place)
        task = start(output_uri=True, continue_last_task=task.id if task is not None else False)
        framework.save(b"%d" % number, "last.pt")
        task.close()
    assert task is not None
    assert stored(task) == {"last": b"1"}


def test_every_loaded_file_is_listed(start: Start, tmp_path: Path) -> None:
    """However many have the same name, and the same suffixless path."""
    task, framework = start(), loader()
    files = [tmp_path / "runs" / f"exp{number}" / "weights" / "best.pt" for number in range(4)]
    files += [tmp_path / f"net{suffix}" for suffix in (".pt", ".bin", ".json")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
        framework.load(str(file))
    task.close()
    entries = task._read().input_models
    assert sorted(str(entry["url"]) for entry in entries) == sorted(f"file://{file}" for file in files)
    assert len({entry["name"] for entry in entries}) == len(files)
    assert {"best", "weights/best", "exp2/weights/best", "exp3/weights/best", "net"} <= {e["name"] for e in entries}


def test_a_model_that_is_connected_is_listed_once(start: Start, tmp_path: Path) -> None:
    """Loading its file adds no second name."""
    (tmp_path / "pre.pt").write_bytes(b"x")
    task, framework = start(), loader()
    model = InputModel.import_model(f"file://{tmp_path}/pre.pt", name="pre")
    task.connect(model, name="base")
    framework.load(model.get_local_copy())
    task.close()
    assert [entry["name"] for entry in task._read().input_models] == ["base"]


def test_two_integrations_names_are_two_models(start: Start, tmp_path: Path) -> None:
    """Each calls its own "model"; one of them that saves again goes on with its own."""
    task = start(output_uri=True)
    (tmp_path / "m").write_bytes(b"of one")
    one, other = TaskHold(), TaskHold()
    one.model(tmp_path / "m", "XGBoost", 1, name="model")
    (tmp_path / "m").write_bytes(b"of the other")
    other.model(tmp_path / "m", "LightGBM", 1, name="model")
    (tmp_path / "m").write_bytes(b"of one again")
    one.model(tmp_path / "m", "XGBoost", 2, name="model")
    task.close()
    assert stored(task) == {"model": b"of one again", "model - 1": b"of the other"}


def test_an_integrations_file_keeps_its_model_when_a_task_goes_on(start: Start, tmp_path: Path) -> None:
    """It goes by the file, where the integration has no name for it."""
    task: Any = start(output_uri=True)
    for number in range(2):
        (tmp_path / "epoch.ckpt").write_bytes(b"%d" % number)
        TaskHold().model(tmp_path / "epoch.ckpt", "PyTorch", number)
        task.close()
        if number == 0:
            task = start(output_uri=True, continue_last_task=task.id)
    assert stored(task) == {"epoch": b"1"}
