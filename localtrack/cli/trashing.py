"""The trash and what goes for good: rm, restore, gc.

Source: docs/reference/cli.md, "rm", "restore", "gc".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.editing import short_json
from localtrack.cli.output import age_text, print_json, print_table, printable, size_text
from localtrack.cli.shell import TASK, Shell, confirm, json_option, note, pass_shell, root_option, yes_option

if TYPE_CHECKING:
    from localtrack.services.collection import Garbage

DAY_S = 86400.0


@click.command("rm")
@click.argument("references", metavar="TASK...", nargs=-1, required=True, type=TASK)
@click.option("--force", is_flag=True, help="Also published and running tasks.")
@yes_option
@json_option
@root_option
@pass_shell
def rm(shell: Shell, references: tuple[str, ...], force: bool, yes: bool, as_json: bool) -> None:
    """Move tasks to the trash, whole; `restore` brings them back until `gc` empties it."""
    from localtrack.services import tasks

    ids = list(dict.fromkeys(shell.resolve(reference) for reference in references))
    names = [f"{task_id[:8]} {_name(shell, task_id)}" for task_id in ids]
    confirm(f"Move {len(ids)} task{'s' * (len(ids) > 1)} to the trash ({', '.join(names)})?", yes)
    done = []
    for task_id, name in zip(ids, names, strict=True):
        entry = tasks.delete(shell.ctx, task_id, force=force)
        done.append({"id": task_id, "entry": entry})
        if not as_json:
            note(f"{name} is in the trash: `localtrack restore {task_id[:8]}` brings it back")
    if as_json:
        print_json(done)


def _name(shell: Shell, task_id: str) -> str:
    from localtrack.services import tasks

    record = tasks.try_read(shell.ctx, task_id)
    return printable(f"{record.project}/{record.name}") if record else "(unreadable)"


@click.command("restore")
@click.argument("reference", metavar="[ENTRY|ID]", required=False)
@json_option
@root_option
@pass_shell
def restore(shell: Shell, reference: str | None, as_json: bool) -> None:
    """Bring a task back from the trash, by entry or by the beginning of its id; without one, list the trash."""
    from localtrack.services import tasks

    if reference is None:
        _list_trash(shell, as_json)
        return
    record = tasks.restore(shell.ctx, reference)
    if as_json:
        print_json(short_json(record))
    else:
        note(printable(f"{record.id[:8]} is back as {record.project}/{record.name}"))
        print(record.id)


def _list_trash(shell: Shell, as_json: bool) -> None:
    entries = shell.ctx.store.trash_entries()
    if as_json:
        keys = ("entry", "id", "name", "project", "reason", "by", "at")
        print_json([{key: entry.get(key) for key in keys} for entry in entries])
    elif not entries:
        note("the trash is empty")
    else:
        rows = [
            [str(e.get("id", ""))[:8], f"{e.get('project', '')}/{e.get('name', '')}", e.get("reason"), e.get("by"),
             str(e.get("at", ""))[:19].replace("T", " "), e["entry"]]
            for e in entries
        ]  # fmt: skip
        print_table(["id", "task", "reason", "by", "at (UTC)", "entry"], rows)


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--older-than", "days", metavar="DAYS", type=click.FloatRange(min=0), default=0.0, help="Keep younger trash."
)
@yes_option
@json_option
@root_option
@pass_shell
def gc(shell: Shell, dry_run: bool, days: float, yes: bool, as_json: bool) -> None:
    """Empty the trash for good, and tidy up what dead processes left.

    Also removed are folders of artifacts, models and weights that no metadata names any more and temporary files,
    all older than a day, the records of queue entries that ended more than a week ago and of distributed launches that
    lie still for a week, and dead agents. Journals of dead processes are folded
    into Parquet, which loses nothing.
    """
    from localtrack.services import collection

    found = list(collection.find(shell.ctx, older_than_s=days * DAY_S))
    doomed = [item for item in found if item.kind not in (collection.JOURNAL, collection.PARTS)]
    if not as_json and (dry_run or doomed):
        _print_garbage(found)
    if doomed and not dry_run:
        size = size_text(sum(item.size_bytes for item in doomed))
        confirm(f"Remove {len(doomed)} thing{'s' * (len(doomed) > 1)} ({size}) for good?", yes)
    problems = [] if dry_run else _remove_all(shell, found)
    records, agents = (0, 0) if dry_run else collection.tidy_queues(shell.ctx)
    if as_json:
        body = {"dry_run": dry_run, "items": [_item_json(item) for item in found], "problems": problems}
        print_json({**body, "queue_records": records, "agents": agents})
    elif not found:
        note("nothing to tidy up")
    elif not dry_run:
        folded = len(found) - len(doomed)
        note(f"removed {len(doomed)}, folded {folded} journal{'s' * (folded != 1)}")
    if problems:
        raise click.exceptions.Exit(1)


def _remove_all(shell: Shell, found: list[Garbage]) -> list[str]:
    from localtrack.errors import CorruptFileError
    from localtrack.services import collection

    problems = []
    for item in found:
        try:
            collection.remove(shell.ctx, item)
        except (OSError, CorruptFileError) as error:
            problems.append(f"{item.path}: {error}")
            note(f"localtrack: {item.path} stays: {error}")
    return problems


def _print_garbage(found: list[Garbage]) -> None:
    rows = [[item.kind, size_text(item.size_bytes), age_text(item.age_s), item.about, str(item.path)] for item in found]
    if rows:
        print_table(["kind", "size", "age", "what", "path"], rows, right=(1, 2))


def _item_json(item: Garbage) -> dict[str, Any]:
    return {
        "kind": item.kind, "path": str(item.path), "size_bytes": item.size_bytes, "age_s": item.age_s,
        "about": item.about,
    }  # fmt: skip
