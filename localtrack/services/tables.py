"""A table's header and columns: from a DataFrame, a list of rows, or the text of a CSV file; pandas is never imported.

Source: ClearML's report_table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from localtrack.errors import InvalidValueError
from localtrack.records.plain import dataclass
from localtrack.services.figure_data import plain
from localtrack.services.storage import local_path

_NAMES = {float("inf"): "Inf", float("-inf"): "-Inf"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table as plotly takes it.

    Attributes:
        header: a title a column; a list of texts where the frame's columns have several levels.
        columns: (columns,) of (rows,) cells.
    """

    header: list[Any]
    columns: list[list[Any]]


def table_of(source: Any) -> Table:
    """Return a DataFrame with its index, or a list of rows whose first is the header, as a table.

    Raises:
        InvalidValueError: it is neither.
    """
    if hasattr(source, "columns") and hasattr(source, "index") and hasattr(source, "iloc"):
        return _of_frame(source)
    given = type(source).__qualname__
    if hasattr(source, "tolist"):
        source = source.tolist()
    if isinstance(source, Sequence) and all(isinstance(row, (list, tuple)) or hasattr(row, "tolist") for row in source):
        return _of_rows([list(row) for row in source])
    raise InvalidValueError(f"report_table takes a DataFrame or a list of rows, not a {given}; a file goes to csv=")


def table_of_csv(text: str) -> Table:
    """Return CSV text as a table; the first line is the header, cells show as they are written."""
    return _of_rows([list(row) for row in csv.reader(io.StringIO(text)) if row])


def is_local(url: str) -> bool:
    """Tell whether a table's address is a path or a ``file://`` URL."""
    return local_path(url) is not None


def table_of_file(path: str) -> Table:
    """Return a local CSV file as a table.

    Raises:
        InvalidValueError: it can't be read, or is no text.
    """
    try:
        return table_of_csv((local_path(path) or Path(path)).read_text("utf-8-sig"))
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidValueError(f"report_table: {path} can't be read as CSV: {error}", path=path) from None


def _of_rows(found: list[list[Any]]) -> Table:
    if not any(found):
        return Table([], [])
    header, *body = found
    width = max(len(row) for row in found)
    padded = [row + [""] * (width - len(row)) for row in body]
    titles = [str(plain(name)) for name in header] + [""] * (width - len(header))
    return Table(titles, [[cell(row[number]) for row in padded] for number in range(width)])


def _of_frame(frame: Any) -> Table:
    header: list[Any] = [_column_title(name) for name in frame.columns]
    columns = [[cell(value) for value in frame.iloc[:, number].tolist()] for number in range(len(frame.columns))]
    index = frame.index
    names = list(index.names)
    if type(index).__name__ != "RangeIndex" or names != [None]:
        levels = [index.get_level_values(number).tolist() for number in range(len(names))]
        header = ["" if name is None else str(name) for name in names] + header
        columns = [[cell(value) for value in level] for level in levels] + columns
    return Table(header, columns)


def _column_title(name: Any) -> Any:
    return [str(level) for level in name] if isinstance(name, tuple) else str(name)


def cell(value: Any) -> Any:
    """Return a cell as plotly shows it: a number, a text; ``nan``, ``Inf`` and ``-Inf`` by name, an empty one for None."""
    if value is None:
        return ""
    found = plain(value)
    if isinstance(found, float):
        return "nan" if found != found else _NAMES.get(found, found)
    if isinstance(found, (dict, list)):
        return str(value)
    return str(found) if isinstance(found, bool) else found
