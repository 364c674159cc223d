"""What a search can ask about: the names of a task's fields, and how a value is read from a row.

Source: ClearML's ``tasks.get_all`` (``hyperparams.<section>.<name>``, ``last_metrics.<md5>.<md5>.value``).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from localtrack.errors import InvalidValueError
from localtrack.records.plain import dataclass

TEXT_FIELDS = frozenset({"name", "comment", "status_reason", "status_message", "folder"})
LIST_FIELDS = frozenset(
    {"id", "tags", "system_tags", "project", "status", "type", "user", "parent", "input_models", "output_models"}
)
TIME_FIELDS = frozenset({"created", "started", "ended", "last_update", "status_changed"})
NUMBER_FIELDS = frozenset({"last_iteration", "generation", "active_duration", "progress"})
SEEN_FIELDS = frozenset({"status", "status_reason", "status_message", "last_iteration"})
PLAIN_FIELDS = TEXT_FIELDS | LIST_FIELDS | TIME_FIELDS | NUMBER_FIELDS
SCRIPT_FIELDS = frozenset({"repository", "branch", "commit", "entry_point"})
STATISTICS = {
    "value": "last", "last": "last", "min_value": "min", "min": "min", "max_value": "max", "max": "max",
    "min_iteration": "min_iteration", "min_value_iteration": "min_iteration", "max_iteration": "max_iteration",
    "max_value_iteration": "max_iteration", "last_iteration": "last_iteration", "first": "first", "mean": "mean",
    "count": "count",
}  # fmt: skip
_ALIASES = {
    "last_change": "last_update", "last_updated": "last_update", "completed": "ended", "script.tag": "script.commit",
    "script.version_num": "script.commit", "execution.queue": "runtime.queue",
    "models.input.model": "input_models", "models.output.model": "output_models",
}  # fmt: skip
_PREFIXES = {
    "parameters.": "parameter", "params.": "parameter", "hyperparams.": "parameter",
    "last_metrics.": "metric", "metrics.": "metric", "script.": "script", "runtime.": "runtime",
}  # fmt: skip
_MD5 = re.compile(r"[0-9a-f]{32}")
PreferredSections = ("Args", "General")


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that every row has, or lacks.

    Attributes:
        kind: ``plain``, ``parameter``, ``metric``, ``script`` or ``runtime``.
        name: the field's own name, without the prefix that says its kind.
    """

    kind: str
    name: str

    @property
    def label(self) -> str:
        """The field as a user writes it."""
        prefix = {"plain": "", "parameter": "parameters.", "metric": "metrics."}.get(self.kind, f"{self.kind}.")
        return prefix + self.name

    @property
    def is_seen(self) -> bool:
        """Whether a reader may see another value than the index has: what a run that died did not tell the metadata."""
        return self.kind == "metric" or (self.kind == "plain" and self.name in SEEN_FIELDS)

    def read(self, row: Any) -> Any:
        """Return the row's value, None where it has none.

        Args:
            row: a mapping or an object with the names of a task's record.
        """
        if self.kind == "plain":
            return active_duration_s(row) if self.name == "active_duration" else value_in(row, self.name)
        if self.kind == "parameter":
            return pick_parameter(self.name, value_in(row, "parameters") or {})
        if self.kind == "metric":
            return pick_metric(self.name, value_in(row, "metrics") or {})
        return (value_in(row, self.kind) or {}).get(self.name)


def value_in(row: Any, name: str) -> Any:
    """Return a named value of a row, which is a mapping or has attributes."""
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def parse_field(text: str) -> Field:
    """Return the field called ``text``.

    Raises:
        InvalidValueError: there is none of that name; lists what there is.
    """
    name = _ALIASES.get(text, text)
    if name in PLAIN_FIELDS:
        return Field("plain", name)
    for prefix, kind in _PREFIXES.items():
        rest = name[len(prefix) :]
        if name.startswith(prefix) and rest and (kind != "script" or rest in SCRIPT_FIELDS):
            return Field(kind, rest)
    raise InvalidValueError(
        f"unknown field {text!r}: use one of {', '.join(sorted(PLAIN_FIELDS))}, hyperparams.<section>.<name>, "
        "parameters.<Section/name>, last_metrics.<title>.<series>.<value|min_value|max_value>, "
        f"script.<{'|'.join(sorted(SCRIPT_FIELDS))}>, runtime.<name>",
        field=text,
    )


def _parameter_spellings(name: str) -> list[str]:
    spellings = []
    for text in (name, name[: -len(".value")] if name.endswith(".value") else ""):
        if text:
            spellings.append(text)
            if "/" not in text and "." in text:
                spellings.append(text.replace(".", "/", 1))
    return spellings


def matching_parameters(name: str, known: Iterable[str]) -> list[str]:
    """Return those of ``known`` that a field called ``name`` may mean, the best first.

    A name without a section means ``Args``, then ``General``, then the first section in order that has it.
    """
    known = known if isinstance(known, (dict, set, frozenset)) else set(known)
    spellings = _parameter_spellings(name)
    found = [text for text in spellings if text in known]
    if "/" not in name:
        for text in spellings:
            found += [key for section in PreferredSections if (key := f"{section}/{text}") in known]
        for text in spellings:
            found += sorted(key for key in known if key.partition("/")[2] == text)
    return list(dict.fromkeys(found))


def pick_parameter(name: str, parameters: Mapping[str, Any]) -> Any:
    """Return the value of the parameter that ``name`` means in one task; None when it has none."""
    if name in parameters:
        return parameters[name]
    for key in matching_parameters(name, parameters.keys() | set()):
        return parameters[key]
    return None


@lru_cache(maxsize=65536)
def md5_name(text: str) -> str:
    """Return the key that ClearML's server gives a title or a series."""
    return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def metric_paths(name: str) -> list[tuple[str, str]]:
    """Return the readings of a metric's path: ``(path of title and series, statistic)``, the literal one first."""
    head, _, last = name.rpartition(".")
    readings = [(name, "last")]
    if head and last in STATISTICS:
        readings.append((head, STATISTICS[last]))
    return readings


def is_metric(path: str, title: str, series: str) -> bool:
    """Tell whether ``path`` spells this title and series, readable or as md5 keys."""
    if path in (f"{title}.{series}", f"{title}/{series}"):
        return True
    return bool(_MD5.search(path)) and path in (
        f"{md5_name(title)}.{md5_name(series)}",
        f"{title}.{md5_name(series)}",
        f"{md5_name(title)}.{series}",
    )


def is_title(path: str, title: str) -> bool:
    """Tell whether ``path`` spells this title alone."""
    return path == title or (_MD5.fullmatch(path) is not None and path == md5_name(title))


def may_be_metric(name: str, title: str, series: str) -> bool:
    """Tell whether a field called ``name`` may mean this title and series."""
    return any(is_metric(path, title, series) or is_title(path, title) for path, _ in metric_paths(name))


def pick_metric(name: str, metrics: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the statistic that ``name`` means in one task; None when it has none.

    A title alone means its series of the same name, or its only series.
    """
    for path, statistic in metric_paths(name):
        for title, series_map in metrics.items():
            for series, summary in series_map.items():
                if is_metric(path, title, series):
                    return _statistic(summary, statistic)
        for title, series_map in metrics.items():
            if is_title(path, title):
                if title in series_map:
                    return _statistic(series_map[title], statistic)
                if len(series_map) == 1:
                    return _statistic(next(iter(series_map.values())), statistic)
    return None


def _statistic(summary: Any, statistic: str) -> Any:
    if not isinstance(summary, Mapping):
        return summary if statistic == "last" else None
    value = summary.get(statistic)
    return summary.get("value") if value is None and statistic == "last" else value


def seconds_of(text: Any) -> float | None:
    """Return an ISO time in seconds since 1970; None for anything else. A time without a zone is in UTC."""
    try:
        moment = dt.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except (ValueError, AttributeError, TypeError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)).timestamp()


def active_duration_s(row: Any) -> float | None:
    """Return for how many seconds a task ran, up to its last update while it still runs."""
    start = seconds_of(value_in(row, "started"))
    end = seconds_of(value_in(row, "ended")) or seconds_of(value_in(row, "last_update"))
    return None if start is None or end is None else max(0.0, end - start)
