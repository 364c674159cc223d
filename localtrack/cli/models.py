"""The registry of models: models, and the model group.

Source: docs/reference/cli.md, "models", "model".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.output import (
    age_text,
    coloured,
    heading,
    print_json,
    print_pairs,
    print_table,
    printable,
    size_text,
)
from localtrack.cli.shell import (
    Shell,
    confirm,
    json_option,
    note,
    parse_assignments,
    pass_shell,
    root_option,
    yes_option,
)

if TYPE_CHECKING:
    from localtrack.index.models import ModelRow
    from localtrack.records.model import ModelRecord
    from localtrack.services.context import StoreContext

SHORT_ID = 8


@click.command("models")
@click.option("--project", help="Models of exactly this project.")
@click.option("--name", help="Models of exactly this name.")
@click.option("--tag", "tags", multiple=True, help="With this tag; -TAG: without it. May be repeated.")
@click.option("--metadata", "pairs", metavar="KEY=TEXT", multiple=True, help="With this metadata. May be repeated.")
@click.option("--task", metavar="TASK", help="Models that this task made.")
@click.option("--published", is_flag=True, help="Published ones only.")
@click.option("--archived", is_flag=True, help="Archived models, too.")
@click.option("-n", "--limit", type=click.IntRange(min=0), help="At most so many.")
@json_option
@root_option
@pass_shell
def models(
    shell: Shell,
    project: str | None,
    name: str | None,
    tags: tuple[str, ...],
    pairs: tuple[str, ...],
    task: str | None,
    published: bool,
    archived: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """List and search models, the newest first."""
    from localtrack.cli.listing import split_tags
    from localtrack.services.models import query

    maker = shell.resolve(task) if task else ""
    rows = query(
        shell.ctx,
        project=project,
        name=name,
        tags=["__$all", *split_tags(tags)] if tags else None,
        only_published=published,
        include_archived=archived,
        metadata=dict(parse_assignments(pairs)),
    )
    rows = [row for row in rows if not maker or row.value("task") == maker][:limit]
    for problem in shell.ctx.models.problems:
        note(f"localtrack: {problem}")
    if as_json:
        print_json([_json(shell.ctx, row.record, row.folder) for row in rows])
    elif not rows:
        note("no model fits" if shell.ctx.models.rows() else "no models yet")
    else:
        _print_rows(rows)


def _print_rows(rows: Sequence[ModelRow]) -> None:
    from localtrack.store.documents import seconds

    now_s = time.time()
    cells = []
    for row in rows:
        record = row.record
        size = record.weights.get("size_bytes")
        cells.append(
            [record.id[:SHORT_ID], "published" if record.published else "archived" if record.archived else "draft",
             record.project, record.name, record.framework, None if size is None else size_text(size),
             f"{age_text(now_s - seconds(record.created))} ago", ", ".join(record.tags)]
        )  # fmt: skip
    header = ["id", "state", "project", "name", "framework", "size", "created", "tags"]
    kept = [place for place, title in enumerate(header) if title != "tags" or any(line[place] for line in cells)]
    print_table([header[place] for place in kept], [[line[place] for place in kept] for line in cells], right=(5,))


def _json(ctx: StoreContext, record: ModelRecord, folder: str) -> dict[str, Any]:
    """Return a model as the verbs print it."""
    from localtrack.services.weights import url_of

    place = ctx.store.root / folder if folder else None
    return {
        "id": record.id, "name": record.name, "project": record.project, "task": record.task, "parent": record.parent,
        "framework": record.framework, "tags": record.tags, "system_tags": record.system_tags,
        "comment": record.comment, "published": record.published, "user": record.user, "created": record.created,
        "last_update": record.last_update, "url": url_of(ctx, place, record),
        "size_bytes": record.weights.get("size_bytes"), "sha256": record.weights.get("sha256"),
        "iteration": record.weights.get("iteration"),
        "metadata": {key: entry.get("value") for key, entry in record.metadata.items()},
    }  # fmt: skip


@click.group("model")
def model() -> None:
    """Show, publish, tag, remove and restore models."""


@model.command("show")
@click.argument("reference", metavar="MODEL")
@json_option
@root_option
@pass_shell
def show(shell: Shell, reference: str, as_json: bool) -> None:
    """Show one model: where its weights are, its configuration, labels, metadata and what it reported."""
    from localtrack.services.models import read, resolve

    folder, record = read(shell.ctx, resolve(shell.ctx, reference))
    relative = folder.relative_to(shell.ctx.store.root).as_posix() if folder is not None else ""
    body = _json(shell.ctx, record, relative)
    values = _single_values(folder)
    if as_json:
        print_json(
            {**body, "design": record.design, "labels": record.labels, "versions": record.versions,
             "reported": values, "folder": str(folder or ""), "generation": record.generation}
        )  # fmt: skip
        return
    print(coloured(printable(f"{record.project}/{record.name}" if record.project else record.name), "1"))
    state = "published" if record.published else "draft"
    size = body["size_bytes"]
    pairs = [
        ("id", record.id), ("state", f"{state}, archived" if record.archived else state), ("weights", body["url"] or "none"),
        ("size", None if size is None else size_text(size)), ("sha256", body["sha256"]),
        ("iteration", body["iteration"]), ("earlier weights", len(record.versions) or None), ("framework", record.framework),
        ("task", record.task), ("parent", record.parent), ("tags", ", ".join(record.tags)), ("user", record.user),
        ("created", record.created), ("changed", record.last_update), ("comment", record.comment),
    ]  # fmt: skip
    print_pairs([(name, value) for name, value in pairs if value not in (None, "")], "  ")
    for title, content in (
        ("Metadata", body["metadata"]), ("Labels", record.labels), ("Reported", values),
    ):  # fmt: skip
        if content:
            heading(title)
            print_pairs(sorted(content.items()), "  ")
    if record.design:
        heading("Configuration")
        for line in record.design.splitlines():
            print(f"  {printable(line)}")


def _single_values(folder: Path | None) -> dict[str, float]:
    """Return the last value of each series that a model reported."""
    from localtrack.services import model_reports, reports

    if folder is None or not (folder / "scalars").is_dir():
        return {}
    found = model_reports.scalars(folder)
    last = {
        f"{title}/{series}": points.values[-1]
        for (title, series), points in sorted(found.series.items())
        if points.values and title != reports.SUMMARY_TITLE
    }
    return {**last, **reports.single_values(found)}


def _on_each(
    shell: Shell, references: Sequence[str], as_json: bool, word: str, act: Callable[[str], ModelRecord]
) -> None:
    from localtrack.services.models import resolve

    ids = list(dict.fromkeys(resolve(shell.ctx, reference) for reference in references))
    records = [act(model_id) for model_id in ids]
    if as_json:
        print_json([{"id": record.id, "name": record.name, "project": record.project} for record in records])
    for record in records if not as_json else ():
        note(printable(f"{record.id[:SHORT_ID]} ({record.project}/{record.name}) is {word}"))


@model.command("publish")
@click.argument("references", metavar="MODEL...", nargs=-1, required=True)
@json_option
@root_option
@pass_shell
def publish(shell: Shell, references: tuple[str, ...], as_json: bool) -> None:
    """Publish models: what they are never changes again, and they outlive their tasks."""
    from localtrack.services.models import publish as act

    _on_each(shell, references, as_json, "published", lambda model_id: act(shell.ctx, model_id))


@model.command("archive")
@click.argument("references", metavar="MODEL...", nargs=-1, required=True)
@json_option
@root_option
@pass_shell
def archive(shell: Shell, references: tuple[str, ...], as_json: bool) -> None:
    """Hide models from listings."""
    from localtrack.services.models import set_archived

    _on_each(shell, references, as_json, "archived", lambda model_id: set_archived(shell.ctx, model_id, True))


@model.command("unarchive")
@click.argument("references", metavar="MODEL...", nargs=-1, required=True)
@json_option
@root_option
@pass_shell
def unarchive(shell: Shell, references: tuple[str, ...], as_json: bool) -> None:
    """Show archived models again."""
    from localtrack.services.models import set_archived

    _on_each(shell, references, as_json, "shown again", lambda model_id: set_archived(shell.ctx, model_id, False))


@model.command("tag", context_settings={"ignore_unknown_options": True})
@click.argument("reference", metavar="MODEL")
@click.argument("changes", metavar="+TAG|-TAG...", nargs=-1, required=True, type=click.UNPROCESSED)
@json_option
@root_option
@pass_shell
def tag(shell: Shell, reference: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Add (+TAG, or just TAG) and remove (-TAG) tags, of published models as well."""
    from localtrack.records.plain import replace
    from localtrack.services.models import edit

    gone = {text[1:] for text in changes if text.startswith("-")}
    added = [text.removeprefix("+") for text in changes if not text.startswith("-")]
    if "" in gone or "" in added:
        raise click.UsageError("a tag has at least one character: +TAG or -TAG")

    def change(record: ModelRecord) -> ModelRecord:
        kept = [one for one in record.tags if one not in gone]
        return replace(record, tags=tuple(dict.fromkeys([*kept, *added])))

    _on_each(shell, [reference], as_json, "tagged", lambda model_id: edit(shell.ctx, model_id, change, "tags"))


@model.command("rm")
@click.argument("references", metavar="MODEL...", nargs=-1, required=True)
@click.option("--keep-weights", is_flag=True, help="Leave the weights where they are.")
@click.option("--registered", is_flag=True, help="Also delete weights files that were only registered.")
@click.option("--force", is_flag=True, help="Also published models, and those that tasks start from.")
@yes_option
@json_option
@root_option
@pass_shell
def rm(
    shell: Shell,
    references: tuple[str, ...],
    keep_weights: bool,
    registered: bool,
    force: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Move models to the trash; weights that localtrack uploaded elsewhere are deleted there."""
    from localtrack.services.model_removal import remove
    from localtrack.services.models import read, resolve

    if keep_weights and registered:
        raise click.UsageError("--keep-weights and --registered contradict each other")
    ids = list(dict.fromkeys(resolve(shell.ctx, reference) for reference in references))
    names = [printable(f"{model_id[:SHORT_ID]} {read(shell.ctx, model_id)[1].name}") for model_id in ids]
    confirm(f"Move {len(ids)} model{'s' * (len(ids) > 1)} to the trash ({', '.join(names)})?", yes)
    done = []
    for model_id, name in zip(ids, names, strict=True):
        entry = remove(shell.ctx, model_id, delete_weights=not keep_weights, delete_registered=registered, force=force)
        done.append({"id": model_id, "entry": entry})
        if not as_json:
            note(f"{name} is in the trash: `localtrack model restore {model_id[:SHORT_ID]}` brings it back")
    if as_json:
        print_json(done)


@model.command("restore")
@click.argument("reference", metavar="[ENTRY|ID]", required=False)
@json_option
@root_option
@pass_shell
def restore(shell: Shell, reference: str | None, as_json: bool) -> None:
    """Bring a model back from the trash, by entry or by the beginning of its id; without one, list those there."""
    from localtrack.services.model_removal import restore as bring_back
    from localtrack.store.models import trashed_models

    if reference is not None:
        record = bring_back(shell.ctx, reference)
        if as_json:
            print_json({"id": record.id, "name": record.name, "project": record.project})
        else:
            note(printable(f"{record.id[:SHORT_ID]} is back as {record.project}/{record.name}"))
            print(record.id)
        return
    entries = sorted(trashed_models(shell.ctx.store.layout), key=lambda one: str(one[2].get("at", "")), reverse=True)
    keys = ("id", "name", "project", "task", "by", "at")
    body = [{"entry": entry, **{key: body.get(key) for key in keys}} for entry, _, body in entries]
    if as_json:
        print_json(body)
    elif not body:
        note("no models in the trash")
    else:
        rows = [
            [str(one["id"])[:SHORT_ID], f"{one['project']}/{one['name']}", one["by"], str(one["at"])[:19].replace("T", " "), one["entry"]]
            for one in body
        ]  # fmt: skip
        print_table(["id", "model", "by", "at (UTC)", "entry"], rows)
