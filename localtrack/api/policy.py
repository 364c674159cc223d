"""What becomes of names that mean something only with a server.

One rule for all of them: where doing nothing can't hurt, nothing is done and that is said once; where a script would
go on in the belief that something happened, the call raises and names the local way.

Source: docs/reference/compatibility.md, statuses ``no-op`` and ``refused``.
"""

from __future__ import annotations

from typing import NoReturn

from localtrack.errors import UnsupportedError
from localtrack.records.late import late_logger

LOG = late_logger()
_said: set[str] = set()


def ignore(name: str, why: str) -> None:
    """Say, the first time only, that a call does nothing and why."""
    if name not in _said:
        _said.add(name)
        LOG.warning("%s does nothing here: %s", name, why)


def refuse(name: str, why: str, instead: str) -> NoReturn:
    """Refuse a call.

    Args:
        name: the name in ClearML.
        why: what it would need.
        instead: the local way.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(f"{name} {why}. Instead: {instead}", instead=instead)
