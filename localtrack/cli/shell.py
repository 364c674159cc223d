"""What the verbs share: the store in force, the options that all have, references to tasks, questions to the user."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from localtrack.services.context import StoreContext

if TYPE_CHECKING:
    _TextParameter = click.ParamType[str]
else:
    _TextParameter = click.ParamType  # older versions of click have no generic form

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
COMPLETION_LIMIT = 200
_F = TypeVar("_F", bound=Callable[..., Any])


class Shell:
    """One call of the command line.

    Attributes:
        root: the store's folder as the user gave it; None finds it.
    """

    def __init__(self) -> None:
        self.root: str | None = None

    @cached_property
    def ctx(self) -> StoreContext:
        """The store in force, which must exist.

        Raises:
            StoreError: there is none.
        """
        from localtrack.services.context import open_context

        return open_context(self.root, create=False)

    def open_or_create(self) -> StoreContext:
        """Return the store in force, made where there is none."""
        from localtrack.services.context import open_context

        self.__dict__["ctx"] = opened = open_context(self.root)
        return opened

    def resolve(self, reference: str) -> str:
        """Return the id of the task that the user means."""
        from localtrack.services import tasks

        return tasks.resolve(self.ctx, reference)


pass_shell = click.make_pass_decorator(Shell, ensure=True)


def _set_root(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        ctx.ensure_object(Shell).root = value


def root_option(function: _F) -> _F:
    """Add ``--root``, which stands before or after the verb."""
    decorate = click.option(
        "--root",
        metavar="DIR",
        expose_value=False,
        is_eager=True,
        callback=_set_root,
        help="The store's folder. Default: LOCALTRACK_ROOT, else a store upward from here, else your own.",
    )
    return decorate(function)


def json_option(function: _F) -> _F:
    """Add ``--json``, passed as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def yes_option(function: _F) -> _F:
    """Add ``-y``, passed as ``yes``."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


class AliasGroup(click.Group):
    """A group whose listing verb answers to ``list`` and ``show`` as well as to ``ls``."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb by its name or an alias."""
        return super().get_command(ctx, "ls" if cmd_name in ("list", "show") else cmd_name)


class TaskReference(_TextParameter):
    """A task as a person names it; completes ids in the shell."""

    name = "task"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return ids that begin so, newest first, each with its name."""
        shell = ctx.ensure_object(Shell)
        try:
            rows = sorted(shell.ctx.index.rows(), key=lambda row: row.created, reverse=True)
        except Exception:
            return []  # a shell that asks for completions must never see an error
        hits = [row for row in rows if row.id.startswith(incomplete)][:COMPLETION_LIMIT]
        return [CompletionItem(row.id[:8], help=f"{row.project}/{row.name} ({row.status})") for row in hits]


TASK = TaskReference()


def confirm(question: str, yes: bool) -> None:
    """Ask before something is destroyed.

    Raises:
        click.UsageError: nobody can answer, and ``-y`` was not given.
        click.exceptions.Exit: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can answer here: give -y to go ahead.")
    if not click.confirm(question, default=False, err=True):
        note("nothing was changed")
        raise click.exceptions.Exit(1)


def note(text: str) -> None:
    """Say something about the work on stderr."""
    print(text, file=sys.stderr, flush=True)


def parse_assignments(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return ``key=value`` arguments as pairs.

    Raises:
        click.UsageError: one has no ``=`` or no key.
    """
    pairs = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{text!r} is no key=value")
        pairs.append((key, value))
    return pairs
