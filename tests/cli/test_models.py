"""models, and the model group."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localtrack.records.model import ModelRecord
from localtrack.services import model_removal, model_reports, models, outputs, tasks
from localtrack.services.outputs import TaskAccess, Weights


@pytest.fixture
def save(ctx, make, tmp_path):
    """Return a function that saves a model of a task and returns its id."""

    def save_model(name="best", project="vision", tags=(), uri=".", task=None, **fields):
        task = task or make(project=project)
        access = TaskAccess(
            ctx,
            task.id,
            lambda: tasks.folder_of(ctx, task.id),
            lambda: tasks.read(ctx, task.id),
            lambda change, label: tasks.edit(ctx, task.id, change, label, checked=False),
        )
        source = tmp_path / f"{name}.pt"
        source.write_bytes(b"weights")
        draft = ModelRecord(id="", name=name, project=project, tags=tuple(tags), **fields)
        filed = outputs.file_model(access, name, draft)
        outputs.put_weights(access, name, filed, Weights(source, "", source.name, uri, 3, False, False, False))
        return filed.id

    return save_model


def names(ran):
    """Return the names in a listing's JSON."""
    return [one["name"] for one in ran.json]


def test_the_listing_filters(cli, ctx, make, save):
    """Project, name, tags, metadata, task, state and number filter; the newest is first."""
    assert cli("models").err == "no models yet\n"
    task = make(project="vision")
    first = save("a", tags=["x"], task=task)
    save("b", tags=["x", "y"], project="other", metadata={"acc": {"value": "0.5", "type": "float"}})
    models.publish(ctx, first)
    assert names(cli("models", "--json")) == ["b", "a"]
    assert names(cli("models", "--json", "--project", "vision")) == ["a"]
    assert names(cli("models", "--json", "--name", "b")) == ["b"]
    assert names(cli("models", "--json", "--tag", "x", "--tag=-y")) == ["a"]
    assert names(cli("models", "--json", "--metadata", "acc=0.5")) == ["b"]
    assert names(cli("models", "--json", "--task", task.id[:8])) == ["a"]
    assert names(cli("models", "--json", "--published")) == ["a"]
    assert names(cli("models", "--json", "-n", "1")) == ["b"]
    assert cli("models", "--name", "none").err == "no model fits\n"
    shown = cli("models").out
    assert "published" in shown
    assert "PyTorch" in shown
    assert "x, y" in shown


def test_show(cli, ctx, save):
    """One model with all that is known of it, by name, project and name, or the beginning of its id."""
    model_id = save("best", tags=["x"], design='{"a": 1}', labels={"cat": 1}, comment="mine")
    folder = models.locate(ctx, model_id)
    pen = model_reports.ModelPen(ctx, folder)
    pen.scalar("acc", "test", 0.5, 1)
    pen.single_value("final", 0.75)
    pen.close()
    for reference in (model_id[:8], "best", "vision/best"):
        body = cli("model", "show", reference, "--json").json
        assert body["id"] == model_id
    assert body["reported"] == {"acc/test": 0.5, "final": 0.75}
    assert body["url"].endswith("/weights.1/best.pt")
    assert (body["design"], body["labels"], body["iteration"]) == ('{"a": 1}', {"cat": 1}, 3)
    text = cli("model", "show", "best").out
    for part in ("vision/best", model_id, "PyTorch", "mine", "acc/test", '{"a": 1}', "cat"):
        assert part in text
    ran = cli("model", "show", "none")
    assert ran.code == 1
    assert "localtrack models" in ran.err


def test_states_and_tags(cli, ctx, save):
    """Publishing, archiving and tagging by the command line are what the services do."""
    model_id = save("best", tags=["old"])
    cli("model", "publish", "best")
    assert models.read(ctx, model_id)[1].published
    assert cli("model", "archive", "best", "--json").json[0]["id"] == model_id
    assert names(cli("models", "--json")) == []
    assert names(cli("models", "--json", "--archived")) == ["best"]
    cli("model", "unarchive", "best")
    assert cli("model", "tag", "best", "+new", "-old", "plain").code == 0
    assert models.read(ctx, model_id)[1].tags == ("new", "plain")
    assert cli("model", "tag", "best", "+").code == 2


def test_rm_and_restore(cli, ctx, save, tmp_path):
    """What goes to the trash comes back; published ones need --force; registered files go only when asked."""
    model_id = save("best")
    assert cli("model", "rm", "best").code == 2
    assert cli("model", "rm", "best", "-y", "--json").json[0]["id"] == model_id
    assert names(cli("models", "--json")) == []
    assert [one["name"] for one in cli("model", "restore", "--json").json] == ["best"]
    assert "vision/best" in cli("model", "restore").out
    assert cli("model", "restore", model_id[:8]).out == f"{model_id}\n"
    assert names(cli("models", "--json")) == ["best"]
    models.publish(ctx, model_id)
    refused = cli("model", "rm", "best", "-y")
    assert refused.code == 1
    assert "published" in refused.err
    assert cli("model", "rm", "best", "-y", "--force").code == 0
    registered = save("mine", uri="")
    assert models.read(ctx, registered)[1].weights["url"] == f"file://{tmp_path}/mine.pt"
    assert cli("model", "rm", "mine", "-y", "--keep-weights", "--registered").code == 2
    assert cli("model", "rm", "mine", "-y").code == 0
    assert (tmp_path / "mine.pt").exists()
    save("mine", uri="")
    assert cli("model", "rm", "mine", "-y", "--registered").code == 0
    assert not (tmp_path / "mine.pt").exists()


def test_hostile_names_do_not_steer_the_terminal(cli, ctx, save):
    """Control characters in names and comments are spelled out."""
    model_id = save("best")
    models.edit(ctx, model_id, lambda record: replace(record, name="\x1b[31mred\n", comment="\x1b]0;x\x07"), "renamed")
    for ran in (cli("models"), cli("model", "show", model_id[:8])):
        assert "\x1b" not in ran.out
        assert "\x07" not in ran.out


def test_gc_takes_what_no_task_names(cli, ctx, make, save):
    """A model's folder that its maker never named goes after a day; trashed models go with the trash."""
    import os
    import time

    task = make()
    save("kept", task=task)
    folder = tasks.folder_of(ctx, task.id)
    orphan, _ = models.create(ctx, folder / "models", ModelRecord(id="e" * 32, name="orphan", task=task.id))
    assert "orphan" not in [
        item["path"].rpartition("/")[2][:6] for item in cli("gc", "--dry-run", "--json").json["items"]
    ]
    old = time.time() - 2 * 86400
    for path in (orphan, orphan / "model", *(orphan / "model").iterdir()):
        os.utime(path, (old, old))
    save("removed", task=task)
    cli("model", "rm", "removed", "-y")
    items = cli("gc", "-y", "--json").json["items"]
    assert sorted(item["kind"] for item in items) == ["model", "trash"]
    assert not orphan.exists()
    assert names(cli("models", "--json")) == ["kept"]


def test_a_renamed_model_has_its_name_in_its_task(cli, ctx, make, save):
    """What shows a task's models says what they are called now: a model is renamed without its task."""
    task = make(project="vision")
    model_id = save("net", task=task)
    file = tasks.read(ctx, task.id).output_models[0]["file"]
    models.edit(ctx, model_id, lambda record: replace(record, name="better \x1b[31mname", tags=("new",)), "renamed")
    (entry,) = cli("show", task.id, "--json").json["output_models"]
    assert (entry["name"], entry["model_name"], entry["tags"]) == ("net", "better \x1b[31mname", ["new"])
    assert entry["file"] == file
    shown = cli("show", task.id).out
    assert "better" in shown
    assert "\x1b[31mname" not in shown
    models.publish(ctx, model_id)
    other = make(project="vision", name="other")
    tasks.edit(ctx, other.id, lambda record: replace(record, input_models=({"id": model_id, "name": "base"},)), "input")
    tasks.delete(ctx, task.id, force=True)
    (entry,) = cli("show", other.id, "--json").json["input_models"]
    assert (entry["name"], entry["model_name"]) == ("base", "better \x1b[31mname")
    model_removal.remove(ctx, model_id, force=True)
    assert cli("show", other.id, "--json").json["input_models"] == [{"id": model_id, "name": "base"}]
