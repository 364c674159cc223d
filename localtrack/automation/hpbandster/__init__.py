"""There is no search with hpbandster: its last release is of 2018, and no current Python installs it.

Source: ClearML's clearml.automation.hpbandster.
"""

from __future__ import annotations

from typing import NoReturn

from localtrack.errors import UnsupportedError


class MissingSearchError(UnsupportedError, ImportError):
    """A search that is not there, told where it is imported: scripts try others then."""


def __getattr__(name: str) -> NoReturn:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise MissingSearchError(
        f"{name} is not supported by localtrack, as hpbandster is maintained no more: use OptimizerOptuna of "
        "localtrack.automation.optuna (pip install 'localtrack[hpo]'), whose pruners stop bad jobs early as well"
    )
