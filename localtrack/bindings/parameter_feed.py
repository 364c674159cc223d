"""Where the parser bindings put what was parsed, and where they get what an agent's task has stored.

Source: ClearML's argument binders, measured; docs/format/v1.md, "parameters".
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.bindings import BindingContext
from localtrack.errors import LocaltrackError
from localtrack.records.parameters import Entry, entry
from localtrack.records.plain import dataclass, field
from localtrack.records.task import TaskRecord
from localtrack.runtime import current, early_bindings
from localtrack.services import parameters
from localtrack.services.code import without_hidden

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

ARGUMENTS = "Args"


@dataclass(frozen=True, slots=True)
class Parsed:
    """One parsed value.

    Attributes:
        value: as the parser gave it, or as JSON holds it.
        help: what the parser says about it.
        kind: name of its type, where the parser knows a better one than the value's own.
        is_unused: it belongs to a command that was not chosen.
    """

    value: Any
    help: str = ""
    kind: str | None = None
    is_unused: bool = False


@dataclass(slots=True)
class ParameterFeed:
    """One section of a task's parameters, seen from a parser.

    Attributes:
        section: the section's name.
        stored: values by name that win over what is parsed; empty unless an agent runs the task.
        wants: tells whether a name is recorded and overridden.
        session: the run; None before ``Task.init``, when what is recorded waits for it.
        remote: an agent runs this task.
        binding: whose feed it is.
        goes_on: whether there was one before this, from before ``Task.init``, that has recorded something.
    """

    section: str
    stored: Mapping[str, Any] = field(default_factory=dict)
    wants: Callable[[str], bool] = lambda name: True
    session: Session | None = None
    remote: bool = False
    binding: str = ""
    goes_on: bool = False
    _said: set[str] = field(default_factory=set)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the stored value of a name that is to be overridden."""
        return self.stored.get(name, default) if self.wants(name) else default

    def has(self, name: str) -> bool:
        """Tell whether a name has a stored value that is to be used."""
        return name in self.stored and self.wants(name)

    def record(self, values: Mapping[str, Parsed]) -> None:
        """Put parsed values into the task; before there is one they wait for it."""
        session = self.session or current.get()  # Task.init may have come within the parse
        if session is None and not early_bindings.are_on():
            return  # it came, and the run is over
        wants = self.wants if session is self.session or session is None else session.options.wants_argument
        entries = {
            f"{self.section}/{name}": entry(parsed.value, parsed.help, parsed.kind)
            for name, parsed in values.items()
            if wants(name) and not (parsed.is_unused and name in self.stored)
        }
        if session is None:
            early_bindings.keep(self.binding, entries)
        elif entries and session.options.arguments:
            commit(session, entries)

    def changed(self, name: str, value: Any) -> None:
        """Say, once, that the script gets a stored value instead of its own."""
        if name not in self._said:
            self._said.add(name)
            sys.stderr.write(f"localtrack: parameter {self.section}/{name} is {value!r}, as the task has it\n")

    def refused(self, name: str, value: Any, error: Exception) -> None:
        """Say, once, that a stored value does not fit, and that the script keeps its own."""
        if name not in self._said:
            self._said.add(name)
            said = f"{type(error).__name__}: {error}"
            sys.stderr.write(
                f"localtrack: parameter {self.section}/{name} is NOT {value!r}, as the task has it: {said}; "
                "the script keeps its own value, which is recorded\n"
            )


def commit(session: Session, entries: Mapping[str, Entry]) -> None:
    """Record entries in the run's task."""
    if session.closed:
        return
    entries = parameters.without_secrets(session.ctx, entries)
    try:
        session.record_inputs(lambda record: parameters.merged(record, entries), "parameters")
    except (LocaltrackError, OSError) as error:
        session.writer.say_once("arguments", f"the arguments were not recorded: {error}")


def hide_options(session: Session | None, options: Collection[str]) -> None:
    """Mask what the recorded command line gives to options whose value is typed unseen.

    Args:
        session: the run; None before ``Task.init``.
        options: with their dashes.
    """
    session = session or current.get()
    if session is None:
        early_bindings.keep_hidden(options)
        return
    if session.closed or not session.ctx.settings.mask_secrets:
        return
    new = set(options) - session.hidden_options
    if not new or session.options.remote:
        return
    session.hidden_options |= new  # the command line may be recorded later than it is parsed
    try:
        session.record_inputs(lambda record: without_hidden(record, session.hidden_options), "hidden options")
    except (LocaltrackError, OSError) as error:
        session.writer.say_once("arguments", f"the command line was not masked: {error}")


def feed_for(ctx: BindingContext, section: str) -> ParameterFeed:
    """Return the feed of a section: of the run, or before ``Task.init`` of the task that an agent started this process for.

    What was parsed before there was a run is recorded now.
    """
    session = ctx.session()
    if session is None:
        record = _agent_record()
        stored = {} if record is None else parameters.fed_values(record, section)
        return ParameterFeed(section, stored, remote=record is not None, binding=ctx.name)
    remote = session.options.remote
    stored = parameters.fed_values(session.record_at_start, section) if remote else {}
    hide_options(session, early_bindings.take_hidden())
    waiting = early_bindings.take(ctx.name)
    feed = ParameterFeed(section, stored, session.options.wants_argument, session, remote, ctx.name, bool(waiting))
    prefix = f"{section}/"
    wanted = {key: item for key, item in waiting.items() if feed.wants(key[len(prefix) :])}
    if wanted:
        commit(session, wanted)
    return feed


def stored_configuration(name: str) -> str | None:
    """Return the text of a configuration object of the task that an agent runs here; None when there is none."""
    found = _agent_task()
    return None if found is None else parameters.configuration_text(found[0], found[1], name)


def _agent_record() -> TaskRecord | None:
    found = _agent_task()
    return None if found is None else found[1]


def _agent_task() -> tuple[Path, TaskRecord] | None:
    """Return folder and record of the task that an agent started this process for."""
    from localtrack.runtime.ownership import agent_task, open_record
    from localtrack.services.context import open_context

    task_id = agent_task()
    if not task_id:
        return None
    try:
        return open_record(open_context(create=False), task_id)
    except (LocaltrackError, OSError):
        return None  # Task.init meets the same error and says it
