"""Joins the argument parser to the task: parsed arguments go in, or stored ones come out when an agent runs it.

Source: ClearML's argparse binding, measured.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING

from localtrack.capture.arguments import ArgparseHook, ParsedArguments, describe_kept, find_parsed
from localtrack.capture.secrets import masked_argument
from localtrack.errors import LocaltrackError
from localtrack.records.parameters import ARGUMENT_SECTION, Entry, entry
from localtrack.runtime import early_parsers, early_parses
from localtrack.services import parameters

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

SECTION = ARGUMENT_SECTION
_active: ArgparseHook | None = None
_said: set[str] = set()


class ArgumentFeed:
    """Records what parsers parse into the task of a session.

    Args:
        session: the run.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        overrides = parameters.fed_values(session.record_at_start, SECTION) if session.options.remote else None
        self._hook = ArgparseHook(self._record, overrides, session.options.wants_argument)

    def install(self, frame: FrameType | None) -> None:
        """Hook later parses, and record earlier ones: those that were kept, and what the caller's frames show of others."""
        replace_early_hook(None)
        kept = early_parses.take()
        self._hook.install()
        if self._session.options.remote:
            return
        known = [one.namespace for one in kept]
        for parsed in [*find_parsed(frame, known=known), *describe_kept(kept)]:
            try:
                self._record(parsed)
            except Exception as error:  # the border to Task.init, which goes on
                self._session.writer.say_once("arguments", f"the arguments were not recorded: {error}")

    def remove(self) -> None:
        """Take the hook off."""
        self._hook.uninstall()

    def _record(self, parsed: ParsedArguments) -> None:
        _say_overridden(parsed)
        entries: dict[str, Entry] = {}
        for name, value in parsed.values.items():
            if self._session.options.wants_argument(name):
                entries[f"{SECTION}/{name}"] = entry(value, parsed.help.get(name, "") or "", parsed.types.get(name))
        if not entries or self._session.closed:
            return
        entries = parameters.without_secrets(self._session.ctx, entries)
        try:
            self._session.record_inputs(lambda record: parameters.merged(record, entries), "arguments")
        except (LocaltrackError, OSError) as error:
            self._session.writer.say_once("arguments", f"the arguments were not recorded: {error}")


def _say_overridden(parsed: ParsedArguments) -> None:
    """Say, once for each value, that the script gets a stored one instead of its own."""
    for name in parsed.overridden:
        value = masked_argument(name, parsed.values.get(name))
        text = f"localtrack: parameter {SECTION}/{name} is {value!r}, as the task has it\n"
        if text not in _said:
            _said.add(text)
            sys.stderr.write(text)


def replace_early_hook(hook: ArgparseHook | None) -> None:
    """Put the hook in place that feeds a parse *before* ``Task.init`` under an agent, or take it off."""
    global _active
    if _active is not None:
        _active.uninstall()
    _active = hook
    if hook is not None:
        hook.install()


def install_early(task_id: str) -> None:
    """Under an agent: feed the stored arguments into every parse from now on."""
    from localtrack.runtime.ownership import open_record
    from localtrack.services.context import open_context

    try:
        _, record = open_record(open_context(create=False), task_id)
    except (LocaltrackError, OSError):
        return  # Task.init meets the same error and says it
    stored = parameters.fed_values(record, SECTION)
    if stored:
        replace_early_hook(ArgparseHook(_say_overridden, stored, lambda name: True))
    early_parsers.stop()  # else the first parse put its bindings in the place of those that feed
    from localtrack.runtime.early_bindings import start_early_bindings

    start_early_bindings()
