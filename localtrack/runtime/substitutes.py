"""Numbers that stand for NaN and infinities, where the script asked for them; without that, both are kept.

Journals change their class when a substitute is set, so that a run without any pays nothing for the question.

Source: ClearML's Logger.set_reporting_nan_value and set_reporting_inf_value.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence

from localtrack.records.late import late_logger
from localtrack.store.journal import Columns, Reported, ScalarJournal

_LOG = late_logger()
_values: dict[str, float] = {}
_periods: dict[str, int] = {}
_counts: dict[str, int] = {}
_journals: weakref.WeakSet[ScalarJournal] = weakref.WeakSet()


class SubstitutingJournal(ScalarJournal):
    """A journal that writes the substitutes."""

    def report(self, title: str, series: str, value: float, iteration: int, time_us: int = 0) -> None:
        """Append one point, or what stands for it."""
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError, ArithmeticError):
            number = 0.0  # no number at all: the journal says so
        else:
            if not math.isfinite(number):
                value = _substitute(title, series, number)
        super().report(title, series, value, iteration, time_us)

    def report_many(self, points: Sequence[Reported]) -> None:
        """Append several points, or what stands for them."""
        self._report_each(points)

    def report_columns(self, columns: Iterable[Columns]) -> None:
        """Append columns of points, or what stands for them."""
        for title, series, *held in columns:
            rows = zip(*(column.tolist() for column in held), strict=True)
            self._report_each([(title, series, *row) for row in rows])


def set_substitute(name: str, value: float | None, warn_period: int) -> None:
    """Set what stands for ``nan`` or ``inf`` (of either sign) from now on; None, or the same itself, keeps them.

    Args:
        name: ``nan`` or ``inf``.
        value: the number.
        warn_period: one warning every so many replaced values; 0 for none.
    """
    number = None if value is None else float(value)
    if number is None or str(number) == name:
        _values.pop(name, None)
    else:
        _values[name] = number
    _periods[name] = int(warn_period)
    _counts[name] = 0
    for journal in list(_journals):
        adopt(journal)


def adopt(journal: ScalarJournal) -> None:
    """Let a journal follow the substitutes in force, now and later."""
    _journals.add(journal)
    wanted = SubstitutingJournal if _values else ScalarJournal
    if journal.__class__ is not wanted:  # even setting the same class makes all later attribute look-ups slower
        journal.__class__ = wanted


def _substitute(title: str, series: str, number: float) -> float:
    name = "nan" if math.isnan(number) else "inf"
    if name not in _values:
        return number
    count, period = _counts[name], _periods[name]
    _counts[name] = count + 1
    if period > 0 and count % period == 0:
        _LOG.warning("scalar %r/%r is %s and is kept as %s, as the script asked", title, series, number, _values[name])
    return _values[name]
