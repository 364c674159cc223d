"""Many serialized events of scalars as columns of numbers: what is the same for all points of a tag is compared in one go.

Only writers that need NumPy themselves give such events, so that it is there.

Source: tests/benchmarks, "one add_scalar"; https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from typing import Any

from localtrack.records.plain import dataclass

FEW = 100  # so many events of one tag cost as much one by one
_ITEMS_A_FEW = 256  # one in so many may come with few others
_SAMPLE = 25
WALL_TIME, STEP = 0x09, 0x10  # numbers and types of an event's fields
_TIME_BYTES, _VALUE_BYTES = 9, 4
_STEP_SIZES = (2, 1, 3, 4, 5, 0)  # in bytes of seven bits each; a step of 0 has no field
_LATEST_S = 9e12  # as microseconds they need 64 bits

#: What is the same for a tag's events; arrays of their steps (int64), values (float64), and microseconds since 1970 (int64).
TagColumns = tuple[bytes, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Events of one tag, with equally many bytes.

    Attributes:
        rows: (n, bytes) the events.
        places: (n,) which of all events each is.
        step_bytes: of its steps.
    """

    rows: Any
    places: Any
    step_bytes: int


def columns_of(items: Sequence[bytes], known: Container[bytes]) -> list[TagColumns] | None:
    """Return the columns of events, those of one tag in their order.

    Args:
        items: serialized events.
        known: what is the same for all events of a tag, between step and value.

    Returns:
        None where it can't be done or is not worth it: an event is another, or has few of its kind.
    """
    if _tags_of_some(items) * FEW > len(items) or b"" in items:
        return None
    pieces: dict[bytes, list[_Piece]] = defaultdict(list)
    few_left = max(1, len(items) // _ITEMS_A_FEW)
    for rows, places in _by_length(items):
        while len(rows):
            first = rows[0].tobytes()
            size = next((size for size in _STEP_SIZES if first[_step_end(size) : -_VALUE_BYTES] in known), None)
            if size is None:
                return None
            constant = slice(_step_end(size), -_VALUE_BYTES)
            same = (rows[:, constant] == rows[0, constant]).all(axis=1)
            is_all = same.all()
            piece = _Piece(rows, places, size) if is_all else _Piece(rows[same], places[same], size)
            rows, places = (rows[:0], places[:0]) if is_all else (rows[~same], places[~same])
            few_left -= len(piece.rows) < FEW
            if few_left < 0 or not _is_scalars(piece):
                return None
            pieces[first[constant]].append(piece)
    return [(constant, *_merged(some)) for constant, some in pieces.items()]


def _tags_of_some(items: Sequence[bytes]) -> int:
    """Return how many tags a few events have that follow each other, by what comes after steps of most lengths."""
    start = _step_end(4)
    return len({item[start:-_VALUE_BYTES] for item in items[:_SAMPLE]})


def _step_end(size: int) -> int:
    return _TIME_BYTES + (1 + size if size else 0)


def _by_length(items: Sequence[bytes]) -> Iterable[tuple[Any, Any]]:
    """Return events as rows of an array, and which of all they are, those of equal length together."""
    import numpy

    lengths = numpy.fromiter(map(len, items), numpy.int64, len(items))
    for length in dict.fromkeys(lengths.tolist()) if (lengths != lengths[0]).any() else lengths[:1].tolist():
        places = numpy.flatnonzero(lengths == length)
        alike = items if len(places) == len(items) else [items[place] for place in places.tolist()]
        yield numpy.frombuffer(b"".join(alike), numpy.uint8).reshape(len(places), length), places


def _is_scalars(piece: _Piece) -> bool:
    """Tell whether what is before the constant part is a time and a step, and the time one that can be kept."""
    rows, size = piece.rows, piece.step_bytes
    if not (rows[:, 0] == WALL_TIME).all() or not _are_kept(_wall_times(rows)):
        return False
    if not size:
        return True
    digits = rows[:, _TIME_BYTES + 1 : _step_end(size)]
    return bool(
        (rows[:, _TIME_BYTES] == STEP).all() and (digits[:, -1] < 0x80).all() and (digits[:, :-1] >= 0x80).all()
    )


def _are_kept(wall_times: Any) -> bool:
    """Tell whether times are numbers of 64 bits as microseconds, and not 0, which would stand for now."""
    return bool(((wall_times >= 1) & (wall_times < _LATEST_S)).all())


def _wall_times(rows: Any) -> Any:
    return rows[:, 1:_TIME_BYTES].copy().view("<f8")[:, 0]


def _steps(piece: _Piece) -> Any:
    import numpy

    steps: Any = numpy.zeros(len(piece.rows), numpy.int64)
    for number in range(piece.step_bytes):
        digits = piece.rows[:, _TIME_BYTES + 1 + number].astype(numpy.int64)
        steps += (digits & 0x7F) << (7 * number)
    return steps


def _merged(pieces: Sequence[_Piece]) -> tuple[Any, Any, Any]:
    """Return steps, values and times of the events of one tag, in the order in which they came."""
    import numpy

    steps = numpy.concatenate([_steps(piece) for piece in pieces])
    values = numpy.concatenate([piece.rows[:, -_VALUE_BYTES:].copy().view("<f4")[:, 0] for piece in pieces])
    times = numpy.concatenate([(_wall_times(piece.rows) * 1e6).astype(numpy.int64) for piece in pieces])
    if len(pieces) > 1:
        order = numpy.argsort(numpy.concatenate([piece.places for piece in pieces]))
        steps, values, times = steps[order], values[order], times[order]
    with numpy.errstate(invalid="ignore"):  # a NaN that signals becomes a quiet one
        return steps, values.astype(numpy.float64), times
