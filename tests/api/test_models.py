"""Model, InputModel, OutputModel and the task's models, as ClearML's users call them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack import InputModel, Model, OutputModel, Task
from localtrack.errors import ModelNotFoundError, NotEditableError, StorageError
from localtrack.services import storage


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A user's weights file."""
    path = tmp_path / "mine" / "best.pt"
    path.parent.mkdir()
    path.write_bytes(b"weights one")
    return path


def _path(url: str) -> Path:
    path = storage.local_path(url)
    assert path is not None
    return path


def test_without_destination_the_file_is_registered(task: Task, weights: Path) -> None:
    """With no output_uri the model names the user's own file: nothing is copied, nothing deleted."""
    model = OutputModel(task=task, name="best")
    url = model.update_weights(str(weights), auto_delete_file=True)
    assert url == model.url == f"file://{weights}"
    assert weights.read_bytes() == b"weights one"
    assert model.get_weights() == str(weights)
    weights.unlink()
    assert Model(str(model.id)).get_local_copy() == ""
    with pytest.raises(ValueError, match="no file"):
        model.get_weights(raise_on_error=True)


def test_true_stores_a_copy_and_the_file_stays(start: Callable[..., Task], root: Path, weights: Path) -> None:
    """output_uri=True keeps a copy in the store; the user's file goes only when that is asked for."""
    task = start(output_uri=True)
    model = OutputModel(task=task, name="best")
    path = _path(model.update_weights(str(weights)))
    assert path.is_relative_to(root)
    assert weights.exists()
    weights.write_bytes(b"weights two")
    second = _path(model.update_weights(str(weights), auto_delete_file=True))
    assert not weights.exists()
    assert (path.read_bytes(), second.read_bytes()) == (b"weights one", b"weights two"), "earlier weights stay"
    assert Path(Model(str(model.id)).get_local_copy()) == second
    assert task.output_uri == task.get_output_destination() == f"file://{root}"


def test_a_folder_gets_clearmls_layout(task: Task, weights: Path, tmp_path: Path) -> None:
    """A path as output_uri gets <project>/<task>.<id>/models/<file>; a second save under the name replaces the file."""
    place = tmp_path / "models here"
    task.output_uri = place
    model = OutputModel(task=task, name="best")
    url = model.update_weights(str(weights), target_filename="net.bin", iteration=3)
    assert _path(url) == place / "p" / f"n.{task.id}" / "models" / "net.bin"
    weights.write_bytes(b"weights two")
    assert model.update_weights(str(weights), target_filename="net.bin") == url
    assert _path(url).read_bytes() == b"weights two"
    assert model._record().versions == (), "its place was written over"
    assert model.upload_storage_uri == task.storage_uri == f"file://{place}"


def test_remote_upload_goes_on_in_the_background(task: Task, weights: Path) -> None:
    """What goes to another host is a snapshot: the script may write over its file at once."""
    model = OutputModel(task=task, name="best")
    url = model.update_weights(str(weights), upload_uri="memory://models-of-this-test/x")
    assert url == model.url
    weights.write_bytes(b"overwritten!")
    OutputModel.wait_for_uploads(10)
    assert b"".join(storage.chunks(url)) == b"weights one"
    assert Model(str(model.id)).url == url
    copy = Model(str(model.id)).get_local_copy()
    assert Path(copy).read_bytes() == b"weights one"
    assert Model.remove(str(model.id)) is True
    assert not storage.exists(url), "localtrack put it there, so it goes with the model"


def test_bad_destinations_are_said_at_once(task: Task, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package and a folder that can't be written are errors of the call, with what to do."""
    model = OutputModel(task=task, name="best")
    with pytest.raises(StorageError, match="can't take uploads"):
        model.set_upload_destination(f"{weights}/below/a/file")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match=r"localtrack\[remote\]"):
        model.update_weights(str(weights), upload_uri="s3://bucket/x")
    assert weights.exists()


def test_default_destination_of_all_models(task: Task, weights: Path, root: Path, tmp_path: Path) -> None:
    """set_default_upload_uri is used where neither model nor task say anything."""
    OutputModel.set_default_upload_uri(f"file://{tmp_path}/all")
    try:
        assert f"{tmp_path}/all/" in OutputModel(task=task, name="a").update_weights(str(weights))
        task.output_uri = True
        assert str(root) in OutputModel(task=task, name="b").update_weights(str(weights))
        task.output_uri = False
        OutputModel.set_default_upload_uri(None)
        assert OutputModel(task=task, name="c").update_weights(str(weights)) == f"file://{weights}"
    finally:
        OutputModel.set_default_upload_uri(None)


def test_floating_until_weights(task: Task, weights: Path) -> None:
    """A new model is held in memory, with the task's name, configuration and labels, and filed with its weights."""
    task.set_model_config(config_dict={"layers": 2})
    task.set_model_label_enumeration({"cat": 1})
    model = OutputModel(task=task, tags=["a"], comment="mine", framework="PyTorch")
    assert (model.id, model.url, model.published) == (None, "", False)
    assert (model.name, model.config_dict, model.labels, model.tags) == ("n", {"layers": 2}, {"cat": 1}, ["a"])
    assert task.models.output == []
    model.update_weights(str(weights), iteration=7)
    seen = task.models.output["best"]
    assert (seen.id, seen.name, seen.framework, seen.task) == (model.id, "n", "PyTorch", task.id)
    assert (seen.config_dict, seen.labels, seen.tags) == ({"layers": 2}, {"cat": 1}, ["a"])
    assert seen.comment == f"snapshot {weights} stored\nmine"
    assert seen._record().weights["iteration"] == 7
    model.update_weights(str(weights))
    assert seen.comment == f"snapshot {weights} stored\nmine", "one such line, not one an epoch"


def test_best_and_last_are_two_models(start: Callable[..., Task], weights: Path) -> None:
    """Names keep models of one task apart; the same name, in a new object too, updates the same model."""
    task = start(output_uri=True)
    best, last = OutputModel(task, name="best"), OutputModel(task, name="last")
    for step in range(3):
        weights.write_bytes(b"step %d" % step)
        last.update_weights(str(weights), iteration=step)
        if step == 1:
            best.update_weights(str(weights), iteration=step)
    again = OutputModel(task, name="last", comment="again")
    weights.write_bytes(b"step 3")
    again.update_weights(str(weights), iteration=3, update_comment=False)
    assert again.id == last.id != best.id
    assert list(task.output_models_id) == ["best", "last"], "the last changed is last"
    assert Path(best.get_weights()).read_bytes() == b"step 1"
    assert Path(last.get_weights()).read_bytes() == b"step 3"
    assert [one["iteration"] for one in last._record().versions] == [0, 1, 2]
    assert last.comment == "again"


def test_packages(start: Callable[..., Task], tmp_path: Path) -> None:
    """Files and folders become one zip in the store, the sources stay, and come back unpacked."""
    task = start()
    folder = tmp_path / "checkpoint"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a")
    (folder / "sub" / "b.bin").write_bytes(b"b")
    model = OutputModel(task=task, name="pack")
    model.connect(task=task, name="checkpoint-1")
    url = model.update_weights_package(weights_path=str(folder), target_filename="checkpoint-1", iteration=1)
    assert url.endswith("/checkpoint-1.zip")
    assert (folder / "sub" / "b.bin").exists()
    assert "package" in model.system_tags
    place = Path(Model(str(model.id)).get_local_copy())
    assert (place / "sub" / "b.bin").read_bytes() == b"b"
    assert sorted(path.name for path in model.get_weights_package() or []) == ["a.bin", "sub"]  # type: ignore[union-attr]
    assert zipfile.is_zipfile(model.get_weights())
    assert list(task.output_models_id) == ["checkpoint-1"]

    listed = OutputModel(task=task, name="listed")
    listed.update_weights_package([str(folder / "a.bin"), str(folder / "sub" / "b.bin")], auto_delete_file=True)
    assert not (folder / "a.bin").exists()
    assert sorted(zipfile.ZipFile(listed.get_weights()).namelist()) == ["a.bin", "sub/b.bin"]
    (folder / "c.bin").write_bytes(b"c")
    OutputModel(task=task, name="folder").update_weights(str(folder))
    with pytest.raises(ValueError, match="exactly one"):
        model.update_weights_package()
    with pytest.raises(ValueError, match="no file"):
        model.update_weights_package([str(folder / "none")])
    plain = OutputModel(task=task, name="plain")
    plain.update_weights(str(folder / "c.bin"))
    with pytest.raises(ValueError, match="is no package"):
        plain.get_weights_package()


def test_published_models_do_not_change(start: Callable[..., Task], weights: Path) -> None:
    """Weights, configuration, labels and name of a published model are refused; tags, comment and archive are not."""
    task = start(output_uri=True)
    model = OutputModel(task, name="best")
    model.update_weights(str(weights))
    model.publish()
    assert model.published
    for change in (
        lambda: model.update_weights(str(weights)),
        lambda: model.update_weights_package([str(weights)]),
        lambda: model.update_design(config_text="x"),
        lambda: model.update_labels({"a": 1}),
        lambda: model.set_upload_destination("/tmp"),
        lambda: setattr(model, "name", "other"),
        lambda: OutputModel(task, name="best").update_weights(str(weights)),
    ):
        with pytest.raises(NotEditableError, match="published"):
            change()
    with pytest.raises(ValueError, match="published"):
        model.update_weights(str(weights))
    model.tags = ["prod"]
    model.comment = "fine"
    model.archive()
    assert (Model(str(model.id)).tags, model.comment, model.system_tags) == (["prod"], "fine", ["archived"])
    assert Model.query_models() == []
    model.unarchive()
    assert Model.query_models(only_published=True) == [model]


def test_publishing_the_task_publishes_its_last_model(start: Callable[..., Task], weights: Path) -> None:
    """As ClearML does: the last output model, and no other; also when the task is published on completion."""
    task = start()
    for name in ("first", "second"):
        OutputModel(task, name=name).update_weights(str(weights))
    task.close()
    task.publish()
    assert {model.name: model.published for model in task.models.output} == {"first": False, "second": True}
    other = start(name="other", reuse_last_task_id=False)
    OutputModel(other, name="third").update_weights(str(weights))
    other.publish_on_completion()
    other.close()
    assert other.models.output["third"].published


def test_published_models_outlive_their_task(start: Callable[..., Task], weights: Path) -> None:
    """Deleting or resetting a task takes its drafts along to the trash; its published models stay, with weights."""
    task = start(output_uri=True)
    kept, draft = OutputModel(task, name="kept"), OutputModel(task, name="draft")
    kept.update_weights(str(weights))
    draft.update_weights(str(weights))
    kept.publish()
    task.close()
    task.delete()
    assert Model.query_models() == [kept]
    assert Path(Model(str(kept.id)).get_local_copy()).read_bytes() == b"weights one"
    assert kept.name == "kept", "an object from before finds it"
    with pytest.raises(ModelNotFoundError):
        Model(str(draft.id))


def test_metadata_keeps_types_as_clearml_does(task: Task) -> None:
    """Metadata are texts with a type's name, cast when asked."""
    model = OutputModel(task, name="m")
    assert model.set_metadata("n", 3, "int")  # type: ignore[arg-type]
    model.set_metadata("f", 0.5, "float")  # type: ignore[arg-type]
    model.set_metadata("b", True, "bool")  # type: ignore[arg-type]
    model.set_metadata("l", [1, 2], "list")  # type: ignore[arg-type]
    model.set_metadata("s", "x", "strange")
    assert model.get_metadata("n") == "3"
    assert model.get_all_metadata_casted() == {"n": 3, "f": 0.5, "b": True, "l": [1, 2], "s": "x"}
    assert model.get_all_metadata()["f"] == {"key": "f", "type": "float", "value": "0.5"}
    assert model.get_metadata("none") is None
    assert model.get_metadata_casted("b") is True
    model.set_all_metadata({"k": {"value": "x", "type": "int"}})
    assert model.get_all_metadata_casted() == {"k": "x"}, "a value that does not fit its type stays a text"
    model.set_all_metadata({"n": {"value": "1", "type": "int"}}, replace=False)
    assert Model.query_models(metadata={"k": "x", "n": "1"}) == [model]
    assert Model.query_models(metadata={"k": "y"}) == []
    with pytest.raises(ValueError, match="metadata"):
        model.set_all_metadata({"k": "x"})  # type: ignore[dict-item]


def test_queries_follow_clearmls_grammar(task: Task, weights: Path) -> None:
    """Exact project and name, tags with exclusion and all, newest first, archived only when asked, no hidden limit."""
    for number, tags in enumerate((["a"], ["a", "b"], ["b", "qa"], [])):
        OutputModel(task, name=f"m{number}", tags=tags).update_weights(str(weights))
    names = lambda **how: [model.name for model in Model.query_models(**how)]  # noqa: E731
    assert names() == ["m3", "m2", "m1", "m0"]
    assert names(project_name="p", max_results=2) == ["m3", "m2"]
    assert names(project_name="P") == names(project_name="q") == []
    assert names(model_name="m1") == ["m1"]
    assert names(model_name="m") == []
    assert names(tags=["a", "b"]) == ["m2", "m1", "m0"]
    assert names(tags=["b", "-qa"]) == ["m1"]
    assert names(tags=["__$all", "a", "b"]) == ["m1"]
    assert names(tags=["__$all", "b", "__$not", "qa"]) == ["m1"]
    Model.query_models(model_name="m1")[0].archive()
    assert names() == ["m3", "m2", "m0"]
    assert names(include_archived=True) == ["m3", "m2", "m1", "m0"]
    assert InputModel(name="m2", project="p").name == "m2"
    assert InputModel(tags=["a"]).name == "m0"
    with pytest.raises(ValueError, match="no model with"):
        InputModel(name="m2", only_published=True)
    with pytest.raises(ValueError, match="no model"):
        Model("f" * 32)


def test_imported_models(task: Task, tmp_path: Path) -> None:
    """The same address in any spelling is the same model; nothing is read, not even looked for."""
    address = f"{tmp_path}/not/there/net.onnx"
    first = InputModel.import_model(address, name="net", config_dict={"a": 1}, label_enumeration={"x": 1}, tags=["t"])
    assert InputModel.import_model(f"file://{tmp_path}/not/../not/there/net.onnx", name="other") == first
    assert InputModel.load_model(address) == first
    assert (first.name, first.framework, first.config_dict, first.labels) == ("net", "ONNX", {"a": 1}, {"x": 1})
    assert first.project == "p"
    assert first.comment == f"Imported by task id: {task.id}"
    assert first.task == ""
    assert InputModel.load_model("s3://bucket/none") is None
    remote = InputModel.import_model("s3://bucket/net.pt", create_as_published=True, is_package=True)
    assert (remote.published, remote.url, remote.system_tags) == (True, "s3://bucket/net.pt", ["package"])
    first.archive()
    assert InputModel.load_model(address) is None
    assert InputModel.load_model(address, load_archived=True) == first
    assert InputModel.import_model(address) != first, "an archived one is not taken up again"
    with pytest.raises(ValueError, match="path or URL"):
        InputModel.import_model("")


def test_importing_reads_nothing(task: Task, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load is cheap: registering a model opens no weights file and hashes nothing."""
    opened: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and watching:
            opened.append(str(arguments[0]))

    watching = True
    sys.addaudithook(watch)
    model = InputModel.import_model(str(weights))
    task.connect(model)
    model.get_local_copy()
    watching = False
    assert str(weights) not in opened
    assert opened != []
    assert model._record().weights["size_bytes"] == 11


def test_input_models_of_a_task(task: Task, weights: Path) -> None:
    """Connecting names the model in the task, and fills configuration and labels that the task lacks."""
    model = InputModel.import_model(str(weights), name="base", config_text="layers: 2", label_enumeration={"cat": 1})
    assert task.connect(model) is model
    assert task.input_models_id == {"best": model.id}
    assert task.get_model_config_text() == task.get_model_design() == "layers: 2"
    assert task.get_labels_enumeration() == {"cat": 1}
    task.set_input_model(model_name="base", name="second")
    assert task.models.input["second"] == task.models["input"][1] == model
    assert task.get_models().input.get("none") is None
    output = OutputModel(task)
    output.update_weights(str(weights))
    assert output._record().parent == model.id
    task.remove_input_models([model])
    assert task.input_models_id == {}
    with pytest.raises(ValueError, match="no model"):
        task.set_input_model(model_id="0" * 32)
    with pytest.raises(ValueError, match="is called"):
        task.set_input_model(model_name="none")
    empty = InputModel.empty(config_dict={"a": 1})
    empty.connect(task)
    assert task.input_models_id == {}


def test_under_an_agent_the_stored_model_counts(root: Path, tmp_path: Path) -> None:
    """A clone with another input model runs with that one; told to ignore overrides, with the code's own."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from localtrack import InputModel, Task
            task = Task.init("p", "run", auto_resource_monitoring=False)
            model = InputModel.import_model("/weights/code.pt", name="code")
            model.connect(task, name="base", ignore_remote_overrides=len(sys.argv) > 1)
            print("USES", model.name, model.url)
            """
        )
    )
    command = [sys.executable, str(script)]
    first_run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "USES code file:///weights/code.pt" in first_run.stdout
    other = InputModel.import_model("/weights/other.pt", name="other")
    first = Task.get_task(project_name="p", task_name="run")
    assert first is not None
    clone = Task.clone(first)
    clone.set_input_model(other.id, name="base")
    Task.enqueue(clone, queue_name="default")
    localtrack = Path(sys.executable).with_name("localtrack")
    done = subprocess.run(
        [str(localtrack), "agent", "start", "--drain"], capture_output=True, text=True, timeout=100, check=False
    )
    log = "\n".join(clone.get_reported_console_output(100))
    assert "USES other file:///weights/other.pt" in log, (done.stdout, done.stderr, log)


def test_removing(start: Callable[..., Task], weights: Path, root: Path) -> None:
    """What lies in the store goes to the trash, the user's registered file stays, and refusals say why."""
    task = start(output_uri=True)
    stored = OutputModel(task, name="stored")
    place = _path(stored.update_weights(str(weights)))
    registered = InputModel.import_model(str(weights))
    assert Model.remove(str(stored.id), raise_on_errors=True) is True
    assert not place.exists()
    assert list(root.glob("trash/*/model-folder/weights.1/best.pt"))
    assert task.output_models_id == {}
    task.connect(registered)
    assert Model.remove(registered) is False, "this task starts from it"
    with pytest.raises(ValueError, match=r"starts? from model"):
        Model.remove(registered, raise_on_errors=True)
    assert Model.remove(registered, force=True) is True
    assert weights.exists()
    with pytest.raises(ValueError, match="no model"):
        Model.remove("0" * 32, raise_on_errors=True)
    assert Model.remove("0" * 32) is False
    kept = OutputModel(task, name="kept")
    kept.update_weights(str(weights))
    assert Model.remove(kept, delete_weights_file=False) is True  # type: ignore[arg-type]
    assert [path.read_bytes() for path in root.rglob("kept.1/weights.1/best.pt")] == [b"weights one"]


def test_models_report_for_themselves(task: Task) -> None:
    """Scalars and plots of a model lie with it, not with its task."""
    from localtrack.services import model_reports

    model = OutputModel(task, name="m")
    model.report_scalar("acc", "test", 0.5, 1)
    model.report_single_value("final", 0.75)
    model.report_confusion_matrix("confusion", "test", [[1, 2], [3, 4]], iteration=2)
    model.report_table("t", "s", table_plot=[["a"], [1]])
    model.report_histogram("h", "s", [1, 2])
    model.report_vector("v", "s", [1, 2])
    model.report_matrix("m", "s", [[1]])
    model.report_surface("f", "s", [[1, 2], [3, 4]])
    model.report_scatter2d("2d", "s", [(1, 2)])
    model.report_scatter3d("3d", "s", [(1, 2, 3)])
    folder = Path(model.get_offline_mode_folder())
    found = model_reports.scalars(folder)
    assert found.series["acc", "test"].values.tolist() == [0.5]
    bodies, problems = model_reports.plots(folder)
    assert problems == []
    assert [body["title"] for body in bodies] == ["confusion", "t", "h", "v", "m", "f", "2d", "3d"]
    assert task.get_reported_scalars() == {}
    assert task.get_reported_plots() == []


def test_the_tasks_design_and_labels(task: Task, tmp_path: Path) -> None:
    """Configuration and labels of the task's models are set and read by ClearML's names."""
    with pytest.raises(ValueError, match="no model configuration"):
        task.save_exec_model_design_file()
    task.set_model_config(config_dict={"a": 1})
    assert task.get_model_config_dict() == {"a": 1}
    file = tmp_path / "design.txt"
    file.write_text("layer { }")
    task.update_model_desc(str(file))
    assert task.get_model_config_text() == "layer { }"
    assert Path(task.save_exec_model_design_file()).read_text() == "layer { }"
    with pytest.raises(ValueError, match="config_text"):
        task.get_model_config_dict()
    with pytest.raises(ValueError, match="can't be read"):
        task.update_model_desc(str(tmp_path / "none"))
    task.set_model_label_enumeration({"background": 0, "cat": 1, "dog": 2})
    assert task.get_label_num_description() == {0: "background", 1: "cat", 2: "dog"}
    assert task.get_num_of_classes() == 3
    task.set_model_label_enumeration({"a": 1, "b": 1})
    with pytest.raises(ValueError, match="both have"):
        task.get_label_num_description()
    with pytest.raises(ValueError, match="integers"):
        task.set_model_label_enumeration({"a": 1.5})  # type: ignore[dict-item]


def test_a_renamed_model_in_the_tasks_data(start: Callable[..., Task], weights: Path) -> None:
    """The task's data and its models say what a model is called now, also when that was changed by its id alone."""
    task = start(output_uri=True)
    model = OutputModel(task, name="net")
    model.update_weights(str(weights))
    task.connect(model_in := InputModel.import_model("s3://bucket/base.pt", name="base"), name="start")
    Model(str(model.id)).name = "better"
    Model(model_in.id).name = "better base"
    assert task.data.models.output[0].model_name == "better"
    assert task.export_task()["models"]["input"][0]["model_name"] == "better base"
    assert task.models.output["better"] == model
    assert list(task.output_models_id) == ["net"]


def test_update_output_model_names(start: Callable[..., Task], weights: Path) -> None:
    """The task's name for it, and its own: as ClearML makes them of name, model_name and file."""
    task = start()
    task.update_output_model(str(weights), name="entry", tags=["t"], comment="c", iteration=4)
    task.update_output_model(str(weights), model_name="own")
    task.update_output_model(str(weights))
    assert {key: task.models.output[key].name for key in task.output_models_id} == {
        "entry": "n - entry", "own": "own", "best": "n",
    }  # fmt: skip
    entry = task.models.output["entry"]
    assert (entry.tags, entry.comment, entry._record().weights["iteration"]) == (["t"], "c", 4)
    with pytest.raises(ValueError, match="no model file"):
        task.update_output_model(str(weights) + ".none")


def test_a_full_disk_drops_the_model_and_not_the_run(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill_up: Callable[[Path], Path]
) -> None:
    """A model that the disk does not take is said and left out: no exception, no entry, the file stays; later ones go."""
    monkeypatch.setenv("LOCALTRACK_ROOT", str(small_disk / "store"))
    task = Task.init("p", "n", auto_connect_streams=False, auto_resource_monitoring=False)
    try:
        large = tmp_path / "large.pt"
        large.write_bytes(b"x" * 400_000)
        filler = fill_up(small_disk)
        assert task.update_output_model(str(large)) == str(large)
        filler.unlink()
        assert task.output_models_id == {}
        large.write_bytes(b"x" * 1000)
        assert task.update_output_model(str(large)).startswith("file://")
        assert list(task.output_models_id) == ["large"]
    finally:
        task.close()


def test_a_copied_task_folder_is_enough(start: Callable[..., Task], weights: Path, tmp_path: Path) -> None:
    """A task's folder alone, in another store, has its models and their weights; without any index."""
    task = start(output_uri=True)
    OutputModel(task, name="best", tags=["t"]).update_weights(str(weights))
    task.close()
    from localtrack.services.context import open_context

    other = open_context(tmp_path / "other")
    folder = Path(task.get_offline_mode_folder())
    shutil.copytree(folder, other.store.layout.projects / folder.name)
    (row,) = other.models.rows()
    assert (row.record.name, row.record.tags) == ("best", ("t",))
    assert os.path.isfile(other.store.root / row.folder / row.record.weights["file"])


def test_a_full_disk_does_not_end_the_training(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill_up: Callable[[Path], Path]
) -> None:
    """Weights that the disk does not take are said and left out, unless the caller waits for them; the model stays."""
    monkeypatch.setenv("LOCALTRACK_ROOT", str(small_disk / "store"))
    task = Task.init("p", "n", auto_connect_streams=False, auto_resource_monitoring=False, output_uri=True)
    try:
        source = tmp_path / "net.pt"
        source.write_bytes(b"x" * 1000)
        model = OutputModel(task, name="best")
        first = model.update_weights(str(source))
        source.write_bytes(b"y" * 400_000)
        filler = fill_up(small_disk)
        assert model.update_weights(str(source), auto_delete_file=True) == str(source)
        assert source.exists()
        assert model.update_weights_package([str(source)], auto_delete_file=True) == str(source)
        assert source.exists()
        with pytest.raises(OSError):
            model.update_weights(str(source), async_enable=False)
        filler.unlink()
        assert model.url == first
        assert _path(first).read_bytes() == b"x" * 1000
        source.write_bytes(b"z" * 1000)
        assert _path(model.update_weights(str(source))).read_bytes() == b"z" * 1000
    finally:
        task.close()


def test_the_calls_that_clients_make(start: Callable[..., Task], tmp_path: Path, root: Path) -> None:
    """The exact calls of transformers, ultralytics, NeMo, ignite and langchain-community work as they expect."""
    task = start(output_uri=True)
    checkpoint = tmp_path / "checkpoint-500"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"w")
    saved = []
    for step in (500, 1000, 1500):  # transformers, with save_total_limit=2
        model = OutputModel(task=task, name=f"checkpoint-{step}")
        model.connect(task=task, name=f"checkpoint-{step}")
        model.update_weights_package(
            weights_path=str(checkpoint), target_filename=f"checkpoint-{step}", iteration=step, auto_delete_file=False
        )
        saved.append(model)
    assert Model.remove(saved.pop(0), delete_weights_file=True, force=True, raise_on_errors=True)  # type: ignore[arg-type]
    assert [model.name for model in task.models.output] == ["checkpoint-1000", "checkpoint-1500"]

    weights = tmp_path / "best.pt"
    weights.write_bytes(b"w")
    task.update_output_model(model_path=str(weights), model_name="yolo", auto_delete_file=False)  # ultralytics
    assert task.models.output["yolo"].framework == "PyTorch"

    nemo = tmp_path / "net.nemo"
    with zipfile.ZipFile(nemo, "w") as archive:
        archive.writestr("weights", "w")
    model = OutputModel(name="nemo", task=task, tags=["t"], framework="pytorch")
    model.update_design(config_text="layers: 2")
    uri = task.storage_uri or task._get_default_report_storage_uri()
    assert uri == f"file://{root}"
    model.update_weights(weights_filename=str(nemo), upload_uri=uri, auto_delete_file=False, is_package=True)
    model.set_all_metadata({"epochs": {"value": "3", "type": "int"}})
    assert (Path(model.get_weights_package(return_path=True)) / "weights").read_text() == "w"  # type: ignore[arg-type]
    assert model.get_all_metadata_casted() == {"epochs": 3}

    model = OutputModel(task, config_text="llm: x")  # langchain-community
    model.update_weights(weights_filename=str(weights), auto_delete_file=False, target_filename="name")
    assert task.models.output["name"].config_text == "llm: x"

    model.name = "ignite name"  # ignite's saver renames and comments what was recorded
    model.comment = "ignite comment"
    assert (model.name, model.comment) == ("ignite name", "ignite comment")
    task.flush(wait_for_uploads=True)
