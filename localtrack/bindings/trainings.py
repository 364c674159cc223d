"""Curves of gradient boosting: each training of a process has its own, told apart by its number.

Source: ClearML's callbacks for XGBoost and CatBoost, measured.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

from localtrack.bindings import BindingContext

_numbers: weakref.WeakKeyDictionary[Any, dict[str, itertools.count[int]]] = weakref.WeakKeyDictionary()


class Trainings:
    """Reports what trainings of one framework measure.

    Args:
        ctx: the binding's hold.
    """

    def __init__(self, ctx: BindingContext) -> None:
        self._ctx = ctx
        self._known: list[tuple[Any, int]] = []

    def begin(self, training: Any, first: int = 0) -> int:
        """Give a training its number in this run; ``first`` is that of the run's first one."""
        session = self._ctx.session()
        if session is None:
            return 0
        numbers = _numbers.setdefault(session, {}).setdefault(self._ctx.name, itertools.count(first))
        number = next(numbers)
        self._known.append((training, number))
        del self._known[:-64]
        return number

    def report(self, training: Any, data: str, metric: str, value: float, iteration: int) -> None:
        """Report one number of a round."""
        reports = self._ctx.reports()
        if reports is None:
            return
        number = next((number for known, number in reversed(self._known) if known is training), 0)
        reports.scalar(f"{data} - {number}" if number else data, metric, float(value), int(iteration))
