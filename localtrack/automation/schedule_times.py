"""When something is due: ClearML's minute, hour, day, weekdays, month and year, as a sequence of moments. No clock here.

The longest of the given fields says how often, the shorter ones say when in it. Every sequence has an anchor, the moment
at which the schedule was made, so that the same question always has the same answer, whenever it is asked.

Fields below a day count real time from the anchor; days, weeks, months and years count by the calendar of a time zone:
a time that a change of the clocks leaves out is that much later, one that comes twice is meant the first time.

Source: the docstring of ClearML's TaskScheduler.add_task; docs/how-to/schedule.md.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from localtrack.errors import InvalidValueError

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MOST_YEARS_BETWEEN = 100
FIRST_YEAR = 1000
LOOK_BACK = dt.timedelta(days=2)
_UTC = dt.timezone.utc


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule; see :func:`make_schedule`.

    Attributes:
        weekdays: numbers, Monday is 0; empty for any day.
    """

    minute: int | None = None
    hour: int | None = None
    day: int | None = None
    weekdays: tuple[int, ...] = ()
    month: int | None = None
    year: int | None = None

    def describe(self) -> str:
        """Return the schedule in a few words."""
        if self.year is not None and self.year > MOST_YEARS_BETWEEN:
            return f"once, on {self.year}-{self.month or 1:02d}-{self.day or 1:02d} at {self._clock()}"
        days = f" on {', '.join(WEEKDAYS[number] for number in self.weekdays)}" if self.weekdays else ""
        if self.year is not None:
            month = f"month {self.month}, " if self.month else ""
            return f"every {_count(self.year, 'year')}, {month}day {self.day or 1}, at {self._clock()}{days}"
        if self.month is not None:
            return f"every {_count(self.month, 'month')}, day {self.day or 1}, at {self._clock()}{days}"
        if self.day is not None and not self.weekdays:
            return f"every {_count(self.day, 'day')} at {self._clock()}"
        if self.day is not None or (self.hour is None and self.minute is None):
            return f"at {self._clock()}{days}"
        if self.hour is not None:
            return f"every {_count(self.hour, 'hour')}, at minute {self.minute or 0}{days}"
        return f"every {_count(self.minute or 0, 'minute')}{days}"

    def _clock(self) -> str:
        return f"{self.hour or 0:02d}:{self.minute or 0:02d}"


def make_schedule(
    minute: float | None = None,
    hour: float | None = None,
    day: float | None = None,
    weekdays: Sequence[str] | None = None,
    month: float | None = None,
    year: float | None = None,
) -> Schedule:
    """Return a schedule as ClearML's ``add_task`` takes it.

    Args:
        minute: minutes between two moments; with anything longer, the minute of the hour.
        hour: hours between; with anything longer, the hour of the day.
        day: days between; with ``month`` or ``year`` the day of the month, its last for one that it has not. With
            ``weekdays`` 0 or 1: once on each of those days.
        weekdays: names of days. Without ``day``, ``hour`` and ``minute`` say how often on these days, from midnight on.
            With ``month`` or ``year``, the first of these days from the date on.
        month: months between; with ``year``, the month.
        year: years between; a year from this one on for one moment.

    Raises:
        InvalidValueError: nothing is given, or a field that makes no sense with the others; names it.
    """
    fields = {"minute": minute, "hour": hour, "day": day, "month": month, "year": year}
    whole = {name: _whole(name, value) for name, value in fields.items()}
    days = _numbers(weekdays)
    if days and whole["day"] not in (None, 0, 1):
        raise InvalidValueError("`weekdays` go with day 0 or 1, or without a day")
    is_daily = bool(days) and whole["day"] is not None and not whole["month"] and not whole["year"]
    if not any(whole.values()) and not days:
        raise InvalidValueError("a schedule needs minute, hour, day, weekdays, month or year")
    made = Schedule(
        minute=whole["minute"], hour=whole["hour"], day=whole["day"] if is_daily else whole["day"] or None, weekdays=days,
        month=whole["month"] or None, year=whole["year"] or None,
    )  # fmt: skip
    _check(made)
    return made


def next_time(
    schedule: Schedule, anchor: dt.datetime, after: dt.datetime, zone: dt.tzinfo | None = _UTC
) -> dt.datetime | None:
    """Return the first moment of a schedule after another moment, in UTC; None when there is none any more.

    Args:
        schedule: the schedule.
        anchor: when it was made; no moment lies before, with its time zone.
        after: the moment before, with its time zone.
        zone: whose days, hours and minutes are meant; None for those of this machine.
    """
    anchor, after = anchor.astimezone(_UTC), max(after.astimezone(_UTC), anchor.astimezone(_UTC))
    if schedule.year is None and schedule.month is None and schedule.day is None and not schedule.weekdays:
        return _next_interval(schedule, anchor, after, zone)
    first = _wall(after, zone) - LOOK_BACK
    for date in _dates(schedule, _wall(anchor, zone).date(), first.date()):
        moments = sorted(_moment(dt.datetime.combine(date, clock), zone) for clock in _clocks(schedule))
        found = next((moment for moment in moments if moment > after), None)
        if found is not None:
            return found
    return None


def _next_interval(schedule: Schedule, anchor: dt.datetime, after: dt.datetime, zone: dt.tzinfo | None) -> dt.datetime:
    """Return the next moment of a schedule of minutes from the anchor, or of hours from the start of its hour."""
    if schedule.hour is None:
        step, start = dt.timedelta(minutes=schedule.minute or 1), anchor
    else:
        wall = _wall(anchor, zone)
        into_hour = dt.timedelta(minutes=wall.minute, seconds=wall.second, microseconds=wall.microsecond)
        step, start = dt.timedelta(hours=schedule.hour), anchor - into_hour + dt.timedelta(minutes=schedule.minute or 0)
    return start + ((after - start) // step + 1) * step


def _dates(schedule: Schedule, anchor: dt.date, first: dt.date) -> Iterator[dt.date]:
    """Yield the days of a schedule from a day on, none before the anchor's; without end where it has none."""
    first = max(first, anchor)
    if schedule.year is not None or schedule.month is not None:
        yield from _monthly(schedule, anchor, first)
        return
    step = schedule.day if schedule.day and not schedule.weekdays else 1
    date = anchor + dt.timedelta(days=-((anchor - first).days // step) * step)
    while True:
        if not schedule.weekdays or date.weekday() in schedule.weekdays:
            yield date
        date += dt.timedelta(days=step)


def _monthly(schedule: Schedule, anchor: dt.date, first: dt.date) -> Iterator[dt.date]:
    year = schedule.year
    if year is not None and year > MOST_YEARS_BETWEEN:
        yield _from_weekday(_in_month(year, schedule.month or 1, schedule.day or 1), schedule.weekdays)
        return
    month = (schedule.month if year is not None else None) or anchor.month
    step = 12 * year if year is not None else schedule.month or 1
    start = anchor.year * 12 + month - 1
    count = max(0, (first.year * 12 + first.month - 1 - start) // step - 1)
    while (place := start + count * step) < 12 * dt.MAXYEAR:
        date = _from_weekday(_in_month(place // 12, place % 12 + 1, schedule.day or 1), schedule.weekdays)
        if date >= first:
            yield date
        count += 1


def _in_month(year: int, month: int, day: int) -> dt.date:
    return dt.date(year, month, min(day, calendar.monthrange(year, month)[1]))


def _from_weekday(date: dt.date, weekdays: Sequence[int]) -> dt.date:
    while weekdays and date.weekday() not in weekdays:
        date += dt.timedelta(days=1)
    return date


def _clocks(schedule: Schedule) -> list[dt.time]:
    """Return the times of a day at which a schedule is due."""
    has_interval = schedule.weekdays and schedule.day is None and schedule.month is None and schedule.year is None
    if not has_interval or not (schedule.hour or schedule.minute):
        return [dt.time(schedule.hour or 0, schedule.minute or 0)]
    if schedule.hour:
        step, start = schedule.hour * 60, schedule.minute or 0
    else:
        step, start = schedule.minute or 1, 0
    return [dt.time(minute // 60, minute % 60) for minute in range(start, 24 * 60, step)]


def _wall(moment: dt.datetime, zone: dt.tzinfo | None) -> dt.datetime:
    """Return what clocks of a zone show at a moment."""
    return moment.astimezone(zone).replace(tzinfo=None)


def _moment(wall: dt.datetime, zone: dt.tzinfo | None) -> dt.datetime:
    """Return the moment at which clocks of a zone show something."""
    if zone is None:  # by its timestamp: astimezone() turns a time that the clocks skip the other way
        return dt.datetime.fromtimestamp(wall.timestamp(), _UTC)
    return wall.replace(tzinfo=zone).astimezone(_UTC)


def _whole(name: str, value: float | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 0:
        raise InvalidValueError(f"`{name}` of a schedule must be a whole number, not {value!r}", field=name)
    return int(value)


def _numbers(weekdays: Sequence[str] | None) -> tuple[int, ...]:
    names = [weekdays] if isinstance(weekdays, str) else list(weekdays or ())
    for name in names:
        if not isinstance(name, str) or name.lower() not in WEEKDAYS:
            raise InvalidValueError(f"no weekday {name!r}: use {', '.join(WEEKDAYS)}", field="weekdays")
    return tuple(sorted({WEEKDAYS.index(name.lower()) for name in names}))


def _check(schedule: Schedule) -> None:
    """Refuse what would be due never, or at another time than it says."""
    year = schedule.year
    if year is not None and MOST_YEARS_BETWEEN < year < FIRST_YEAR:
        raise InvalidValueError(f"`year` is a number of years up to {MOST_YEARS_BETWEEN}, or a year, not {year}")
    is_dated = year is not None or schedule.month is not None
    limits = [
        ("minute", schedule.minute, 59, is_dated or schedule.day is not None or schedule.hour is not None),
        ("hour", schedule.hour, 23, is_dated or schedule.day is not None or bool(schedule.weekdays)),
        ("day", schedule.day, 31, is_dated),
        ("month", schedule.month, 12, year is not None),
    ]
    for name, value, limit, is_limited in limits:
        if is_limited and value is not None and value > limit:
            raise InvalidValueError(f"`{name}` goes up to {limit} beside a longer field, not {value}", field=name)


def _count(number: int, unit: str) -> str:
    return unit if number == 1 else f"{number} {unit}s"
