"""clone, set, tag, mv, archive."""

from __future__ import annotations

from localtrack.records.status import Status
from localtrack.services import tasks
from localtrack.services.parameters import as_values


def test_clone_prints_the_draft_and_changes_parameters(cli, ctx, make):
    """`clone --set` makes a draft with the changed values in their own types; the source stays."""
    source = make(parameters={"Args/lr": 0.1, "Args/epochs": 3, "Args/name": "a"}, status=Status.COMPLETED)
    ran = cli("clone", source.id[:8], "--set", "lr=0.5", "--set", "Args/epochs=7", "--set", "name=5")
    clone = tasks.read(ctx, ran.out.strip())
    assert (clone.status, clone.name, clone.parent) == ("created", "Clone Of base", source.id)
    assert as_values(clone) == {"Args/lr": 0.5, "Args/epochs": 7, "Args/name": "5"}
    assert as_values(tasks.read(ctx, source.id))["Args/lr"] == 0.1


def test_clone_takes_name_and_project(cli, ctx, make):
    """`clone --name --project` files the draft there; JSON says what it is."""
    body = cli("clone", make().id, "--name", "b", "--project", "other/place", "--json").json
    assert (body["name"], body["project"], body["status"]) == ("b", "other/place", "created")
    assert tasks.read(ctx, body["id"]).project == "other/place"


def test_a_value_that_does_not_fit_makes_no_clone(cli, ctx, make):
    """A bad --set is refused before anything is made, naming parameter and type."""
    source = make(parameters={"Args/lr": 0.1})
    ran = cli("clone", source.id, "--set", "lr=fast")
    assert ran.code == 1
    assert "'Args/lr' is a float" in ran.err
    assert len(ctx.index.rows()) == 1
    assert cli("clone", source.id, "--set", "lr").code == 2


def test_set_changes_a_draft_only(cli, ctx, make):
    """`set` edits a draft; an ended task is refused, with the way out, and stays as it was."""
    draft, ended = make(parameters={"Args/lr": 0.1}), make(parameters={"Args/lr": 0.1}, status=Status.COMPLETED)
    assert cli("set", draft.id, "lr=0.3", "note=hello", "--json").json["parameters"] == {
        "Args/lr": 0.3,
        "General/note": "hello",
    }
    ran = cli("set", ended.id, "lr=0.3")
    assert ran.code == 1
    assert "clone it" in ran.err
    assert as_values(tasks.read(ctx, ended.id)) == {"Args/lr": 0.1}


def test_set_asks_for_the_section_of_an_ambiguous_name(cli, make):
    """A name that two sections have is refused, naming both."""
    task = make(parameters={"Args/lr": 0.1, "General/lr": 0.2})
    ran = cli("set", task.id, "lr=1")
    assert ran.code == 1
    assert "Args/lr or General/lr" in ran.err


def test_tags_are_added_and_removed(cli, ctx, make):
    """`tag +a -b` works in any state, keeps the order and adds nothing twice."""
    task = make(tags=("old", "keep"), status=Status.PUBLISHED)
    assert cli("tag", task.id, "+new", "-old", "plain", "+keep", "--json").json["tags"] == ["keep", "new", "plain"]
    assert tasks.read(ctx, task.id).tags == ("keep", "new", "plain")
    assert cli("tag", task.id, "+").code == 2


def test_mv_moves_and_renames(cli, ctx, make):
    """`mv` commits project and name, and the folder follows."""
    task = make()
    assert cli("mv", task.id, "a/b", "--name", "c").out == f"{task.id}\n"
    moved = tasks.read(ctx, task.id)
    assert (moved.project, moved.name) == ("a/b", "c")
    assert tasks.folder_of(ctx, task.id).parent.name == "b"
    assert cli("mv", task.id).code == 2


def test_archive_and_back(cli, ctx, make):
    """`archive` and `unarchive` take several tasks, and resolve all before changing any."""
    first, second = make("1"), make("2")
    assert cli("archive", first.id, "nonsense").code == 1
    assert tasks.read(ctx, first.id).system_tags == ()
    assert [item["archived"] for item in cli("archive", first.id, second.id, "--json").json] == [True, True]
    assert "archived" in tasks.read(ctx, first.id).system_tags
    cli("unarchive", first.id)
    assert "archived" not in tasks.read(ctx, first.id).system_tags
