"""What stands in the place of ``sys.stdout`` and ``sys.stderr`` while they are recorded.

Source: docs/explanation/runs.md, "The console"; ClearML's console capture, measured.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from localtrack.runtime.line_collector import LineCollector

Write = Callable[[str], int]

#: Who asks for these may write past the copy that is taken below the stream.
_PASSING_BY = ("buffer", "detach", "reconfigure")


class Tee:
    """Stands where a stream stood: everything goes to the original, a copy to the collector.

    Args:
        original: the stream that stood there.
        collector: gets the copy.
        write: writes to the original and records; what the gate finds as ``recording``.
    """

    def __init__(self, original: TextIO, collector: LineCollector, write: Write) -> None:
        self._original = original
        self._collector = collector
        self.write = self.recording = write

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the original stream."""
        self._original.flush()

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The original's class: scripts ask for it before they call ``reconfigure``."""
        return type(self._original)

    def __repr__(self) -> str:
        return repr(self._original)

    def __iter__(self) -> Any:
        return iter(self._original)

    def __enter__(self) -> Tee:
        self._original.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._original.__exit__(*details)

    def _originals(self, name: str) -> Any:
        if name in _PASSING_BY:
            self._collector.end_copy(for_good=name != "reconfigure")
        return getattr(self._original, name)


class OtherTee(Tee):
    """In the place of a stream of any kind, which may have any attributes."""

    def __getattr__(self, name: str) -> Any:
        return self._originals(name)


class _Originals:
    """An attribute that is the original stream's, unless the tee was given one of its own.

    Args:
        name: the attribute's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, tee: Tee | None, kind: type | None = None) -> Any:
        return self if tee is None else tee._originals(self._name)


class PlainTee(Tee):
    """In the place of the interpreter's own kind of stream.

    All that has attributes of its own by name: a class with ``__getattr__`` is asked for each of them by way of a function, also
    for ``write``, which costs a print 20 ns.
    """

    def __init__(self, original: TextIO, collector: LineCollector, write: Write) -> None:
        super().__init__(original, collector, write)
        own = vars(self)
        for name in vars(original):
            if name not in own:
                own[name] = vars(original)[name]


for _name in dir(io.TextIOWrapper):
    if not hasattr(Tee, _name) and not (_name.startswith("__") and _name.endswith("__")) and _name != "write":
        setattr(PlainTee, _name, _Originals(_name))
