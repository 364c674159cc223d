"""Models between the index and the facade: names in tasks, versions, destinations, removal."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.errors import (
    CorruptFileError,
    InvalidValueError,
    ModelNotFoundError,
    NotEditableError,
    StorageError,
    StoreError,
    UsageError,
)
from localtrack.records.model import ModelRecord, framework_of
from localtrack.services import model_removal, models, outputs, tasks, weights
from localtrack.services.context import StoreContext
from localtrack.services.outputs import Weights
from tests.services.model_world import access_of, save


@pytest.fixture
def run(ctx: StoreContext) -> str:
    """Return a task."""
    return tasks.create(ctx, name="run", project="p")[1].id


def test_the_entry_says_what_the_model_was(ctx: StoreContext, run: str) -> None:
    """A task's entry has the file, its hash and size, so that a reader of the task alone finds the weights."""
    model_id = save(ctx, run, "best é", b"abc")
    (entry,) = tasks.read(ctx, run).output_models
    folder = tasks.folder_of(ctx, run)
    assert (entry["id"], entry["name"], entry["size_bytes"], entry["iteration"]) == (model_id, "best é", 3, 1)
    assert (folder / entry["file"]).read_bytes() == b"abc"
    assert (folder / entry["folder"]).is_dir()


def test_a_model_without_a_log_gets_one_when_it_is_edited(ctx: StoreContext, run: str) -> None:
    """What another program only entered in the task's record is a model all the same."""
    folder = tasks.folder_of(ctx, run)
    (folder / "models" / "x.1").mkdir(parents=True)
    (folder / "models" / "x.1" / "x.h5").write_bytes(b"old")
    entry = {"id": "a" * 32, "name": "x", "framework": "Keras", "file": "models/x.1/x.h5", "size_bytes": 3}
    tasks.edit(ctx, run, lambda r: replace(r, output_models=(entry,)), "foreign", checked=False)
    place, record = models.read(ctx, "a" * 32)
    assert place is None
    assert weights.local_path(ctx, place, record).read_bytes() == b"old"
    models.publish(ctx, "a" * 32)
    place, record = models.read(ctx, "a" * 32)
    assert place is not None
    assert record.published
    assert weights.local_path(ctx, place, record).read_bytes() == b"old"
    with pytest.raises(NotEditableError):
        outputs.file_model(access_of(ctx, run), "x", ModelRecord(id="", name="x"))


def test_altered_weights_are_told(ctx: StoreContext, run: str) -> None:
    """A changed file does not pass for the model's when it is checked."""
    folder, record = models.read(ctx, save(ctx, run, "best"))
    path = weights.local_path(ctx, folder, record)
    weights.check(path, record)
    path.chmod(0o644)
    path.write_bytes(b"altered")
    with pytest.raises(CorruptFileError, match="SHA-256"):
        weights.check(path, record)
    path.unlink()
    with pytest.raises(StorageError, match="are gone"):
        weights.local_path(ctx, folder, record)


def test_the_tasks_folder_is_gone(ctx: StoreContext, run: str) -> None:
    """A model is not filed into a task that was deleted, and the deletion is not undone in pieces."""
    access = access_of(ctx, run)
    folder = tasks.folder_of(ctx, run)
    tasks.delete(ctx, run)
    with pytest.raises(StoreError, match="still there"):
        models.create(ctx, folder / "models", ModelRecord(id="e" * 32, name="late", task=run))
    with pytest.raises(LookupError):
        outputs.file_model(access, "late", ModelRecord(id="", name="late"))
    assert not folder.exists()


def test_destinations(ctx: StoreContext, tmp_path: Path) -> None:
    """True and the store's own path are the store; False and None nowhere; others are made whole."""
    for value in (True, "True", ctx.store.root, f"file://{ctx.store.root}", ctx.store.root / "projects"):
        assert weights.destination(ctx, value) == "."
    for value in (None, False, ""):
        assert weights.destination(ctx, value) == ""
    assert weights.destination(ctx, tmp_path / "new") == f"file://{tmp_path}/new"
    assert weights.destination(ctx, "memory://x/") == "memory://x"
    assert weights.shown_destination(ctx, "") is None
    assert weights.shown_destination(ctx, ".") == f"file://{ctx.store.root}"
    url = weights.target_url("s3://b", "a b/c/../d", "x/../y", "0" * 32, "../../etc/passwd")
    assert url == f"s3://b/a b/c/file/d/x_._y.{'0' * 32}/models/passwd"


def test_frameworks() -> None:
    """The file's name tells the framework, where it is one that everybody uses so."""
    found = {name: framework_of(name) for name in ("a.PT", "b.onnx", "c.keras", "d.cbm", "model.json", "e.bin", "")}
    assert found == {"a.PT": "PyTorch", "b.onnx": "ONNX", "c.keras": "Keras", "d.cbm": "CatBoost",
                     "model.json": "TensorFlow_js", "e.bin": "", "": ""}  # fmt: skip


def test_a_package_of_nothing_or_of_elsewhere_is_refused(tmp_path: Path) -> None:
    """What can't be packed is one error of ours that names it and says what would do; no zip is begun."""
    folder, outside, target = tmp_path / "folder", tmp_path / "outside.bin", tmp_path / "package.zip"
    (folder / "empty").mkdir(parents=True)
    outside.write_bytes(b"x")
    for files in ([], [folder], [folder, folder / "empty"]):
        for base in (None, folder):
            with pytest.raises(InvalidValueError, match=r"no files to pack in .*: give files, or a folder"):
                weights.pack(files, base, target)
    with pytest.raises(InvalidValueError, match=rf"{outside} is not below {folder}.*leave it out"):
        weights.pack([outside], folder, target)
    with pytest.raises(InvalidValueError, match=rf"no file {tmp_path}/none.*check the path"):
        weights.pack([tmp_path / "none"], None, target)
    assert not target.exists()


def test_folders_in_a_package_come_whole_and_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder among the files brings all its files; a file that is named twice, or in two spellings, is in it once."""
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "sub" / "b.bin").write_bytes(b"b")
    (tmp_path / "a.bin").write_bytes(b"a")
    monkeypatch.chdir(tmp_path)
    weights.pack(["folder", "a.bin", tmp_path / "folder" / ".." / "a.bin"], None, tmp_path / "package.zip")
    assert zipfile.ZipFile(tmp_path / "package.zip").namelist() == ["folder/sub/b.bin", "a.bin"]


def test_removal_is_refused_with_the_reason(ctx: StoreContext, run: str) -> None:
    """A published model, and one that tasks start from, needs force; the message names the tasks."""
    model_id = save(ctx, run, "best")
    _, other = tasks.create(ctx, name="other", project="p")
    entry = models.entry_of("base", models.read(ctx, model_id)[1])
    tasks.edit(ctx, other.id, lambda r: models.with_input(r, entry), "input")
    with pytest.raises(UsageError, match=other.id[:8]):
        model_removal.remove(ctx, model_id)
    model_removal.remove(ctx, model_id, force=True)
    with pytest.raises(ModelNotFoundError):
        model_removal.remove(ctx, model_id)
    with pytest.raises(ModelNotFoundError, match="trash"):
        model_removal.restore(ctx, "0" * 32)


def test_a_removed_model_whose_task_is_gone_comes_back_alone(ctx: StoreContext, run: str) -> None:
    """Restoring puts a model into its task, or into the store's own models when the task is gone."""
    model_id = save(ctx, run, "best", b"kept")
    model_removal.remove(ctx, model_id)
    tasks.delete(ctx, run)
    assert model_removal.restore(ctx, model_id[:8]).id == model_id
    folder, record = models.read(ctx, model_id)
    assert folder is not None
    assert folder.parent == ctx.store.layout.models
    assert weights.local_path(ctx, folder, record).read_bytes() == b"kept"


def test_addresses_that_were_kept_as_plain_paths(ctx: StoreContext, run: str, tmp_path: Path) -> None:
    """A task and a model of an older store whose places are plain paths: both are read as addresses, and found by them."""
    (tmp_path / "net.pt").write_bytes(b"weights")
    far, access = tmp_path / "far", access_of(ctx, run)
    wanted = Weights(tmp_path / "net.pt", "", "net.pt", str(far), 1, False, False, False)
    url, filed = outputs.put_weights(access, "m", outputs.file_model(access, "m", ModelRecord(id="", name="m")), wanted)
    assert url.startswith(f"file://{far}/")
    plain = url.removeprefix("file://")
    models.edit(ctx, filed.id, lambda old: replace(old, weights={**old.weights, "url": plain}), "as it was")

    assert weights.shown_destination(ctx, str(far)) == f"file://{far}"
    assert weights.url_of(ctx, *models.read(ctx, filed.id)) == url
    for address in (plain, url):
        assert models.import_model(ctx, address, ModelRecord(id="", name="again"))[0].id == filed.id
    other = outputs.file_model(access, "other", ModelRecord(id="", name="other"))
    assert outputs.put_weights(access, "other", other, wanted)[0] != url, "that place is the first model's"
    assert outputs.put_weights(access, "m", filed, wanted)[0] == url
    assert models.read(ctx, filed.id)[1].versions == (), "its place was written over"


def test_a_record_of_another_kind_is_refused() -> None:
    """Fields of the wrong kind are damage; unknown ones are kept."""
    good = {"id": "a", "name": "n", "hologram": 1, "tags": ["t"]}
    record = ModelRecord.from_json(good, 3, "here")
    assert (record.extra, record.tags, record.generation) == ({"hologram": 1}, ("t",), 3)
    assert record.to_json()["hologram"] == 1
    for bad in ({"tags": [1]}, {"labels": {"a": "b"}}, {"weights": []}, {"published": 1}, {"name": None}, {"id": 3}):
        with pytest.raises(CorruptFileError):
            ModelRecord.from_json({**good, **bad}, 1, "here")
    with pytest.raises(CorruptFileError, match="no field"):
        ModelRecord.from_json({"id": "a"}, 1, "here")
