"""When a schedule is due: ClearML's forms, month ends, changes of the clocks."""

from __future__ import annotations

import calendar
import datetime as dt
import itertools
import os
import time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from localtrack.automation.schedule_times import WEEKDAYS, Schedule, make_schedule, next_time
from localtrack.errors import InvalidValueError

UTC = dt.timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # whose clocks change by half an hour

moments = st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2040, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
zones = st.sampled_from([UTC, BERLIN, LORD_HOWE, ZoneInfo("America/New_York"), ZoneInfo("Pacific/Apia")])
some_days = st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=7, unique=True)
in_day = {"minute": st.none() | st.integers(0, 59), "hour": st.none() | st.integers(0, 23)}
schedules = st.one_of(
    st.fixed_dictionaries({"minute": st.integers(1, 5000)}),
    st.fixed_dictionaries({"hour": st.integers(1, 100), "minute": st.none() | st.integers(0, 59)}),
    st.fixed_dictionaries({"day": st.integers(1, 40), **in_day}),
    st.fixed_dictionaries({"weekdays": some_days, "day": st.sampled_from([None, 0, 1]), **in_day}),
    st.fixed_dictionaries({"month": st.integers(1, 30), "day": st.none() | st.integers(1, 31), **in_day}),
    st.fixed_dictionaries(
        {
            "year": st.integers(1, 4),
            "month": st.none() | st.integers(1, 12),
            "day": st.none() | st.integers(1, 31),
            **in_day,
        }
    ),
).map(lambda fields: make_schedule(**fields))


def at(text: str, zone: dt.tzinfo = UTC) -> dt.datetime:
    """Return a moment from what the clocks of a zone show."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone)


def first(schedule: Schedule, start: str, count: int = 3, zone: dt.tzinfo = UTC) -> list[str]:
    """Return the first moments of a schedule that was made at a time, as the clocks of its zone show them."""
    anchor = moment = at(start, zone)
    shown = []
    for _ in range(count):
        following = next_time(schedule, anchor, moment, zone)
        if following is None:
            break
        moment = following
        shown.append(moment.astimezone(zone).strftime("%Y-%m-%d %H:%M"))
    return shown


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"minute": 15}, ["2026-01-15 10:27", "2026-01-15 10:42", "2026-01-15 10:57"]),
        ({"hour": 1}, ["2026-01-15 11:00", "2026-01-15 12:00", "2026-01-15 13:00"]),
        ({"hour": 1, "minute": 30}, ["2026-01-15 10:30", "2026-01-15 11:30", "2026-01-15 12:30"]),
        ({"hour": 2, "minute": 5}, ["2026-01-15 12:05", "2026-01-15 14:05", "2026-01-15 16:05"]),
        ({"minute": 30, "hour": 22, "day": 1}, ["2026-01-15 22:30", "2026-01-16 22:30", "2026-01-17 22:30"]),
        ({"minute": 30, "hour": 7, "day": 2}, ["2026-01-17 07:30", "2026-01-19 07:30", "2026-01-21 07:30"]),
        ({"day": 1}, ["2026-01-16 00:00", "2026-01-17 00:00", "2026-01-18 00:00"]),
        (
            {"minute": 30, "hour": 8, "day": 0, "weekdays": ["saturday"]},
            ["2026-01-17 08:30", "2026-01-24 08:30", "2026-01-31 08:30"],
        ),
        (
            {"hour": 12, "weekdays": ["sunday", "saturday"]},
            ["2026-01-17 00:00", "2026-01-17 12:00", "2026-01-18 00:00"],
        ),
        (
            {"hour": 6, "minute": 30, "weekdays": ["thursday", "friday"]},
            ["2026-01-15 12:30", "2026-01-15 18:30", "2026-01-16 00:30"],
        ),
        ({"minute": 40, "weekdays": ["thursday"]}, ["2026-01-15 10:40", "2026-01-15 11:20", "2026-01-15 12:00"]),
        ({"weekdays": ["friday"]}, ["2026-01-16 00:00", "2026-01-23 00:00", "2026-01-30 00:00"]),
        ({"month": 1, "day": 5}, ["2026-02-05 00:00", "2026-03-05 00:00", "2026-04-05 00:00"]),
        ({"month": 1, "day": 31, "hour": 9}, ["2026-01-31 09:00", "2026-02-28 09:00", "2026-03-31 09:00"]),
        ({"month": 3, "day": 20}, ["2026-01-20 00:00", "2026-04-20 00:00", "2026-07-20 00:00"]),
        ({"month": 1, "day": 1, "weekdays": ["monday"]}, ["2026-02-02 00:00", "2026-03-02 00:00", "2026-04-06 00:00"]),
        ({"year": 1, "month": 3, "day": 4}, ["2026-03-04 00:00", "2027-03-04 00:00", "2028-03-04 00:00"]),
        ({"year": 1, "month": 2, "day": 29}, ["2026-02-28 00:00", "2027-02-28 00:00", "2028-02-29 00:00"]),
        ({"year": 2, "month": 1, "day": 1}, ["2028-01-01 00:00", "2030-01-01 00:00", "2032-01-01 00:00"]),
        ({"year": 2027, "month": 5, "day": 6, "hour": 7}, ["2027-05-06 07:00"]),
        ({"year": 2020, "month": 5}, []),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_the_forms_of_clearmls_docstring(fields: dict[str, object], expected: list[str]) -> None:
    """Each form, made on Thursday 2026-01-15 at 10:12."""
    assert first(make_schedule(**fields), "2026-01-15 10:12") == expected  # type: ignore[arg-type]


@given(schedules, moments, st.timedeltas(dt.timedelta(0), dt.timedelta(days=800)), zones)
def test_the_next_moment_is_the_first_one_after(
    schedule: Schedule, anchor: dt.datetime, later: dt.timedelta, zone: dt.tzinfo
) -> None:
    """It lies after, and asking from any time in between gives the same: nothing is left out, nothing comes twice."""
    after = anchor + later
    moment = next_time(schedule, anchor, after, zone)
    assert moment is not None
    assert moment > after
    for part in (0.1, 0.5, 0.999):
        assert next_time(schedule, anchor, after + (moment - after) * part, zone) == moment
    following = next_time(schedule, anchor, moment, zone)
    assert following is not None
    assert following > moment


@given(schedules, moments, zones)
def test_a_walk_meets_what_a_jump_meets(schedule: Schedule, anchor: dt.datetime, zone: dt.tzinfo) -> None:
    """A scheduler that was down finds the moment that one that ran all the time would have come to."""
    moment = anchor
    for _ in range(10):
        before = moment
        found = next_time(schedule, anchor, moment, zone)
        assert found is not None
        moment = found
    assert next_time(schedule, anchor, before, zone) == moment


@given(moments, st.integers(0, 23), st.integers(0, 59), zones)
def test_a_daily_time_comes_once_on_every_day(anchor: dt.datetime, hour: int, minute: int, zone: dt.tzinfo) -> None:
    """Also where the clocks change: at that time, or later by what they skip."""
    schedule = make_schedule(day=1, hour=hour, minute=minute)
    moment, dates = anchor, []
    for _ in range(400):
        found = next_time(schedule, anchor, moment, zone)
        assert found is not None
        moment = found
        dates.append(moment.astimezone(zone).date())
    assert len(set(dates)) == len(dates)
    assert (dates[-1] - dates[0]).days == 399


@given(moments, st.integers(1, 31), st.integers(1, 14))
def test_a_monthly_day_is_the_last_one_where_a_month_is_shorter(anchor: dt.datetime, day: int, months: int) -> None:
    """The 31st of February is the 28th or 29th: a month is never left out."""
    schedule = make_schedule(month=months, day=day)
    moment: dt.datetime | None = anchor
    places = []
    for _ in range(12):
        assert moment is not None
        moment = next_time(schedule, anchor, moment)
        assert moment is not None
        assert moment.day == min(day, calendar.monthrange(moment.year, moment.month)[1])
        places.append(moment.year * 12 + moment.month)
    assert {later - earlier for earlier, later in itertools.pairwise(places)} == {months}


def test_a_time_that_the_clocks_skip_is_that_much_later() -> None:
    """In Berlin 02:30 does not exist on 2026-03-29: it is 03:30 then, and 02:30 again on the next day."""
    schedule = make_schedule(day=1, hour=2, minute=30)
    assert first(schedule, "2026-03-27 12:00", zone=BERLIN) == [
        "2026-03-28 02:30",
        "2026-03-29 03:30",
        "2026-03-30 02:30",
    ]


def test_a_time_that_comes_twice_is_meant_once() -> None:
    """In Berlin 02:30 comes twice on 2026-10-25: the first one counts."""
    schedule = make_schedule(day=1, hour=2, minute=30)
    anchor = at("2026-10-24 12:00", BERLIN)
    moment = next_time(schedule, anchor, anchor, BERLIN)
    assert moment == dt.datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert next_time(schedule, anchor, moment, BERLIN) == dt.datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_hours_count_real_time_over_a_change_of_the_clocks() -> None:
    """Every two hours means two hours, when the clocks jump, too."""
    schedule = make_schedule(hour=2)
    anchor = moment = at("2026-03-29 00:10", BERLIN)
    gaps = []
    for _ in range(4):
        following = next_time(schedule, anchor, moment, BERLIN)
        assert following is not None
        gaps.append(following - moment)
        moment = following
    assert gaps[1:] == [dt.timedelta(hours=2)] * 3


def test_no_zone_means_the_clocks_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its changes of the clocks."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        anchor = at("2026-03-28 12:00", BERLIN)
        schedule = make_schedule(day=1, hour=2, minute=30)
        moment = next_time(schedule, anchor, anchor, None)
        assert moment == dt.datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
        assert next_time(schedule, anchor, moment, None) == dt.datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        os.environ.pop("TZ", None)
        time.tzset()


@given(schedules)
def test_every_schedule_has_words(schedule: Schedule) -> None:
    """For the table in the scheduler's task."""
    assume(schedule)
    assert schedule.describe().startswith(("every ", "at ", "once"))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "needs"),
        ({"minute": 0}, "needs"),
        ({"minute": 1.5}, "minute"),
        ({"hour": -1}, "hour"),
        ({"day": True}, "day"),
        ({"day": 3, "weekdays": ["monday"]}, "weekdays"),
        ({"hour": 1, "weekdays": ["mon"]}, "monday"),
        ({"day": 1, "hour": 24}, "hour"),
        ({"hour": 1, "minute": 60}, "minute"),
        ({"month": 1, "day": 32}, "day"),
        ({"year": 1, "month": 13}, "month"),
        ({"year": 500}, "year"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object], word: str) -> None:
    """The message names the field."""
    with pytest.raises(InvalidValueError, match=word):
        make_schedule(**fields)  # type: ignore[arg-type]
