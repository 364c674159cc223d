"""Verbs that change a task's inputs and place: clone, set, tag, mv, archive.

Source: docs/reference/cli.md, "clone", "set", "tag", "mv", "archive", "unarchive".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.output import print_json, printable
from localtrack.cli.shell import TASK, Shell, json_option, note, parse_assignments, pass_shell, root_option
from localtrack.records.plain import replace

if TYPE_CHECKING:
    from localtrack.records.task import TaskRecord


@click.command("clone")
@click.argument("reference", metavar="TASK", type=TASK)
@click.option("--name", help="Name of the clone; default: Clone Of NAME.")
@click.option("--project", help="Project of the clone; default: the same.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Change a parameter; may be repeated.")
@json_option
@root_option
@pass_shell
def clone(
    shell: Shell, reference: str, name: str | None, project: str | None, assignments: tuple[str, ...], as_json: bool
) -> None:
    """Make a draft with a task's code, parameters, configuration and tags. Prints the draft's id."""
    from localtrack.services import parameters, tasks

    pairs = parse_assignments(assignments)
    source = shell.resolve(reference)
    parameters.override(tasks.read(shell.ctx, source), pairs)  # what does not fit is refused before anything is made
    record = tasks.clone(shell.ctx, source, name=name, project=project)
    if pairs:
        record = _override(shell, record.id, pairs)
    _say(record, as_json, f"cloned {source[:8]} to the draft {record.id[:8]} ({record.project}/{record.name})")


@click.command("set")
@click.argument("reference", metavar="TASK", type=TASK)
@click.argument("assignments", metavar="KEY=VALUE...", nargs=-1, required=True)
@json_option
@root_option
@pass_shell
def set_parameters(shell: Shell, reference: str, assignments: tuple[str, ...], as_json: bool) -> None:
    """Change parameters of a draft. A KEY without a section means the parameter of that name, in whatever section."""
    from localtrack.services.parameters import as_values, find_key

    pairs = parse_assignments(assignments)
    record = _override(shell, shell.resolve(reference), pairs)
    values = as_values(record)
    changed = {key: values[key] for key in (find_key(record, name) for name, _ in pairs)}
    shown = ", ".join(f"{key}={value!r}" for key, value in changed.items())
    if as_json:
        print_json({"id": record.id, "parameters": changed})
    else:
        note(f"{record.id[:8]}: {printable(shown)}")


def _override(shell: Shell, task_id: str, pairs: list[tuple[str, str]]) -> TaskRecord:
    from localtrack.services import parameters, tasks

    return tasks.edit(shell.ctx, task_id, lambda record: parameters.override(record, pairs), "parameters")


@click.command("tag", context_settings={"ignore_unknown_options": True})
@click.argument("reference", metavar="TASK", type=TASK)
@click.argument("changes", metavar="+TAG|-TAG...", nargs=-1, required=True, type=click.UNPROCESSED)
@json_option
@root_option
@pass_shell
def tag(shell: Shell, reference: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Add (+TAG, or just TAG) and remove (-TAG) tags, in any state of the task."""
    from localtrack.services import tasks

    removed = {text[1:] for text in changes if text.startswith("-")}
    added = [text.removeprefix("+") for text in changes if not text.startswith("-")]
    if "" in removed or "" in added:
        raise click.UsageError("a tag has at least one character: +TAG or -TAG")

    def change(record: TaskRecord) -> TaskRecord:
        kept = [name for name in record.tags if name not in removed]
        return replace(record, tags=tuple(dict.fromkeys([*kept, *added])))

    record = tasks.edit(shell.ctx, shell.resolve(reference), change, "tags")
    if as_json:
        print_json({"id": record.id, "tags": record.tags})
    else:
        note(f"{record.id[:8]}: {printable(', '.join(record.tags)) or 'no tags'}")


@click.command("mv")
@click.argument("reference", metavar="TASK", type=TASK)
@click.argument("project", required=False)
@click.option("--name", help="The task's new name.")
@json_option
@root_option
@pass_shell
def mv(shell: Shell, reference: str, project: str | None, name: str | None, as_json: bool) -> None:
    """Move a task to PROJECT (made when missing), give it another --name, or both."""
    from localtrack.services import tasks

    if project is None and name is None:
        raise click.UsageError("give a PROJECT, a --name, or both")
    if name is not None and not name.strip():
        raise click.UsageError("a name has at least one character")
    record = tasks.rename(shell.ctx, shell.resolve(reference), name=name, project=project)
    _say(record, as_json, f"{record.id[:8]} is now {record.project}/{record.name}")


@click.command("archive")
@click.argument("references", metavar="TASK...", nargs=-1, required=True, type=TASK)
@json_option
@root_option
@pass_shell
def archive(shell: Shell, references: tuple[str, ...], as_json: bool) -> None:
    """Hide tasks from listings; `ls --archived` shows them."""
    _set_archived(shell, references, True, as_json)


@click.command("unarchive")
@click.argument("references", metavar="TASK...", nargs=-1, required=True, type=TASK)
@json_option
@root_option
@pass_shell
def unarchive(shell: Shell, references: tuple[str, ...], as_json: bool) -> None:
    """Show archived tasks again."""
    _set_archived(shell, references, False, as_json)


def _set_archived(shell: Shell, references: tuple[str, ...], archived: bool, as_json: bool) -> None:
    from localtrack.services.lifecycle import set_archived

    ids = [shell.resolve(reference) for reference in references]
    for task_id in ids:
        set_archived(shell.ctx, task_id, archived)
        if not as_json:
            note(f"{task_id[:8]} is {'archived' if archived else 'listed again'}")
    if as_json:
        print_json([{"id": task_id, "archived": archived} for task_id in ids])


def _say(record: TaskRecord, as_json: bool, text: str) -> None:
    if as_json:
        print_json(short_json(record))
    else:
        note(printable(text))
        print(record.id)


def short_json(record: TaskRecord) -> dict[str, Any]:
    """Return what identifies a task, as the changing verbs print it."""
    return {"id": record.id, "name": record.name, "project": record.project, "status": record.status}
