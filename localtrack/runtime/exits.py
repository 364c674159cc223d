"""How the process ends, told truthfully and without changing it.

The exit code of a ``SystemExit`` is nowhere to be read when ``atexit`` runs, and a patched ``sys.exit`` alone is wrong
both ways: it misses ``raise SystemExit(2)`` and believes a ``sys.exit`` that was caught. So the end of the *main
module* is watched: on Python 3.12 and later by ``sys.monitoring`` (an exception leaves that code object), before by
the interpreter's own last look at ``SystemExit.code``, which happens with no Python frame below it, together with
whether the main module's frame ran to its end.

An uncaught exception is one that passed through that frame and came to ``sys.excepthook``, or stands in ``sys.last_value``,
where the interpreter puts it before it calls a hook: others replace the hook without calling ours. Only words are kept of
it: its traceback holds the script's frames, whose objects are to be finalised when the process ends.

Source: docs/decisions/0007-exit-code.md; ClearML's exit behaviour, measured.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any

from localtrack.records.plain import dataclass

TOOL_NAME = "localtrack"
_SHOWN = "_localtrack_shown"
_ENDINGS = ("RETURN_VALUE", "RETURN_CONST")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: ClearML's name of the final state.
        code: the exit code that a shell sees.
        signal: name of the signal that ended it; ``""`` without one.
        message: a text for people.
        failure_class: ``user_error`` or ``stopped``; ``""`` for a run that completed.
        reason: a word or two for the status history.
    """

    status: str
    code: int
    signal: str = ""
    message: str = ""
    failure_class: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Uncaught:
    """What is kept of an exception, which is not the exception itself."""

    text: str
    is_interrupt: bool

    @classmethod
    def of(cls, error: BaseException) -> _Uncaught:
        return cls(f"{type(error).__name__}: {_text_of(error)}"[:2000], isinstance(error, KeyboardInterrupt))


class ExitWatch:
    """Watches one process's end; installed once, removed without a trace.

    Args:
        frame: the main module's frame; None where there is none (an interactive session, a thread without main).
    """

    def __init__(self, frame: FrameType | None) -> None:
        self._frame = frame
        self._code: CodeType | None = frame.f_code if frame is not None else None
        self._is_interactive = hasattr(sys, "ps1")
        self._uncaught: _Uncaught | None = None
        _mark_shown()
        self._system_exit: tuple[int | str | None] | None = None
        self._called_exit: tuple[int | str | None] | None = None
        self._undo: list[Callable[[], None]] = []
        self.thread_errors: list[str] = []

    def install(self) -> None:
        """Chain the hooks; each keeps calling what was there before."""
        self._chain_excepthook()
        self._chain_thread_hook()
        if self._code is not None and not self._watch_by_monitoring():
            self._watch_by_attribute()
            self._wrap_exit()

    def remove(self) -> None:
        """Put everything back that nobody else replaced since."""
        while self._undo:
            self._undo.pop()()
        self._frame = None

    def abandon(self) -> None:
        """In a forked child: hold nothing of the script, which the parent's threads would keep there for ever."""
        self._frame = None

    def keep_interrupt(self) -> None:
        """Let an interrupted interpreter still die by SIGINT.

        It remembers an uncaught Ctrl-C in a flag that every ``exec`` of a text resets, and the modules that are
        imported while a run ends do such things; the same way sets the flag again.
        """
        if self._uncaught is not None and self._uncaught.is_interrupt:
            try:
                exec("raise KeyboardInterrupt")
            except KeyboardInterrupt:
                pass

    def outcome(self) -> Outcome:
        """Return how the process ends, as far as it is known now."""
        error = self._uncaught = self._find_uncaught()
        if error is not None and error.is_interrupt:
            return Outcome("stopped", 130, "SIGINT", "stopped by Ctrl-C", "stopped", "SIGINT")
        if error is not None:
            return Outcome("failed", 1, message=error.text, failure_class="user_error", reason="exception")
        code = self._exit_code()
        if code:
            said = self._exit_text() or f"exit code {code}"
            return Outcome("failed", code, message=said, failure_class="user_error", reason="exit code")
        if self.thread_errors:
            return Outcome("completed", 0, message=f"a thread ended with {self.thread_errors[-1]}")
        return Outcome("completed", 0)

    @property
    def exit_was_called(self) -> bool:
        """Whether the script ends by an exit of its own, with any code."""
        return self._system_exit is not None or (self._called_exit is not None and self._left_early())

    def _find_uncaught(self) -> _Uncaught | None:
        """Return the exception that ends the process; None where it ends otherwise, whatever was shown before."""
        if self._system_exit is not None or self._is_interactive or _is_inspected():
            return None
        if self._frame is None:
            return self._uncaught
        if not self._left_early():
            return None
        value: Any = getattr(sys, "last_value", None)
        is_new = value is not None and not hasattr(value, _SHOWN)
        if is_new and self._passed_main(getattr(sys, "last_traceback", None)):
            return _Uncaught.of(value)
        return self._uncaught

    def _passed_main(self, trace: TracebackType | None) -> bool:
        """Tell whether an exception left the main module, as far as that module is known."""
        while trace is not None and self._frame is not None and trace.tb_frame is not self._frame:
            trace = trace.tb_next
        return trace is not None or self._frame is None

    def _exit_value(self) -> int | str | None:
        value = self._system_exit or (self._called_exit if self._left_early() else None)
        return None if value is None else value[0]

    def _exit_code(self) -> int:
        code = self._exit_value()
        if code is None:
            return 0
        return code & 0xFF if isinstance(code, int) else 1

    def _exit_text(self) -> str:
        """Return what ``sys.exit(text)`` prints."""
        value = self._exit_value()
        return value[:2000] if isinstance(value, str) else ""

    def _left_early(self) -> bool:
        """Tell whether the main module's frame was left before its last instruction."""
        frame = self._frame
        if frame is None or frame.f_lasti < 0:
            return False
        from opcode import opname

        return opname[frame.f_code.co_code[frame.f_lasti]] not in _ENDINGS

    def _chain_excepthook(self) -> None:
        previous = sys.excepthook

        def hook(kind: type[BaseException], value: BaseException, trace: Any) -> None:
            if self._passed_main(trace):
                self._uncaught = _Uncaught.of(value if value is not None else kind())
            previous(kind, value, trace)

        sys.excepthook = hook
        self._undo.append(lambda: _restore(sys, "excepthook", hook, previous))

    def _chain_thread_hook(self) -> None:
        previous = threading.excepthook

        def hook(details: Any) -> None:
            if details.exc_type is not SystemExit:
                name = details.thread.name if details.thread is not None else "?"
                text = _text_of(details.exc_value)[:400]
                self.thread_errors.append(f"{details.exc_type.__name__}: {text} (thread {name})"[:500])
            previous(details)

        threading.excepthook = hook
        self._undo.append(lambda: _restore(threading, "excepthook", hook, previous))

    def _watch_by_monitoring(self) -> bool:
        monitoring: Any = getattr(sys, "monitoring", None)
        if monitoring is None:
            return False
        tool = next((number for number in (4, 3) if monitoring.get_tool(number) is None), None)
        if tool is None:
            return False
        main = self._code

        def unwound(code: CodeType, offset: int, error: BaseException) -> None:
            if code is main and isinstance(error, SystemExit):
                self._system_exit = (_plain(error.code),)

        event = monitoring.events.PY_UNWIND
        monitoring.use_tool_id(tool, TOOL_NAME)
        monitoring.register_callback(tool, event, unwound)
        monitoring.set_events(tool, event)

        def undo() -> None:
            monitoring.set_events(tool, 0)
            monitoring.register_callback(tool, event, None)
            monitoring.free_tool_id(tool)

        self._undo.append(undo)
        return True

    def _watch_by_attribute(self) -> None:
        """Before 3.12: the interpreter reads ``SystemExit.code`` itself, with no Python frame, as its last act."""
        if sys.implementation.name != "cpython":
            return
        namespace = next((d for d in gc.get_referents(SystemExit.__dict__) if isinstance(d, dict)), None)
        if namespace is None or "code" not in namespace:
            return
        member = namespace["code"]
        is_read = False

        def read(error: SystemExit) -> Any:
            nonlocal is_read
            is_read = True
            value = member.__get__(error)
            try:
                sys._getframe(1)
            except ValueError:
                self._system_exit = (_plain(value),)
            return value

        watching = property(read, member.__set__)
        namespace["code"] = watching
        _ = SystemExit().code
        if not is_read and not _forget_attributes(SystemExit):  # what was asked before is still known
            namespace["code"] = member
            return

        def undo() -> None:
            namespace["code"] = member
            if not _forget_attributes(SystemExit):
                namespace["code"] = watching  # which the interpreter knows without holding it

        self._undo.append(undo)

    def _wrap_exit(self) -> None:
        previous = sys.exit

        def exit(status: Any = None, /) -> Any:
            if threading.current_thread() is threading.main_thread():
                self._called_exit = (_plain(status),)
                self._uncaught = None  # of an exception and an exit the later one counts
                _mark_shown()
            previous(status)

        exit.__doc__ = previous.__doc__
        sys.exit = exit
        self._undo.append(lambda: _restore(sys, "exit", exit, previous))


def _forget_attributes(owner: type) -> bool:
    """Have the interpreter look a type's attributes up anew; False where it can't be told."""
    try:
        import ctypes
    except ImportError:
        return False
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(owner))
    return True


def main_frame() -> FrameType | None:
    """Return the frame of the main module while it runs, wherever it is called from; None in interactive sessions."""
    main = sys.modules.get("__main__")
    if main is None or hasattr(sys, "ps1"):
        return None
    thread = threading.main_thread().ident
    frame = sys._current_frames().get(thread) if thread is not None else None
    found = None
    while frame is not None:
        if frame.f_globals is main.__dict__ and frame.f_code.co_name == "<module>":
            found = frame
        frame = frame.f_back
    return found


def _plain(code: Any) -> int | str | None:
    """Return what is kept of an exit's code, which may be any object."""
    if code is None or isinstance(code, (int, str)):
        return int(code) if isinstance(code, int) else code
    return 1


def _mark_shown() -> None:
    """Mark the exception that was shown last: it ends no process. Its address would not tell it from a later one."""
    value = getattr(sys, "last_value", None)
    if value is not None:
        with contextlib.suppress(Exception):  # one of an unusual make
            setattr(value, _SHOWN, True)


def _is_inspected() -> bool:
    """Tell whether a prompt came after the script (``python -i``): the process ends as that ends."""
    return hasattr(sys, "ps1") and bool(sys.flags.inspect or os.environ.get("PYTHONINSPECT"))


def _text_of(error: object) -> str:
    """Return the text of an exception, of which not every one has a text."""
    try:
        return str(error)
    except Exception as problem:  # the script's own code
        return f"<its text can't be had: {type(problem).__name__}>"


def _restore(owner: Any, name: str, mine: Any, previous: Any) -> None:
    if getattr(owner, name) is mine:
        setattr(owner, name, previous)
