"""Reads scalars out of serialized events, a third of the cost of parsing them, of many at once a tenth; parses all others.

An event of one scalar is always built alike: its time, its step, then what is the same for all points of a tag, and at the
end the value. What is the same is compared byte by byte with what a tag's must be, so that nothing is guessed.

Source: TensorBoard's event.proto and summary.proto; https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from localtrack.bindings.summaries.backlog import Source
from localtrack.bindings.summaries.board import Curve
from localtrack.bindings.summaries.columns import FEW, STEP, WALL_TIME, columns_of
from localtrack.bindings.summaries.events import EventReader

_HEAD = struct.Struct("<BdBB")
_SHORTEST = 20  # an event of one scalar has more bytes
_VALUE = struct.Struct("<f")
_SUMMARY = 0x2A  # number and type of an event's field
_VALUE_OF, _TAG, _SIMPLE_VALUE = b"\x0a", b"\x0a", b"\x15"  # of a summary's and of its value's
_TAGS_KNOWN = 10_000


class SerializedReader(Source):
    """Reports the serialized events of the writers of one folder.

    Args:
        events: reports those that are parsed.
        parse: turns bytes into an event.
    """

    def __init__(self, events: EventReader, parse: Callable[[bytes], Any]) -> None:
        self._events = events
        self._parse = parse
        self._tags: dict[bytes, str] = {}
        self._scalar = events.board.scalar
        self._graph_of = events.names.scalar

    def without(self, kinds: frozenset[str]) -> SerializedReader:
        """Return a reader of the same folder that passes over what an explicit integration records."""
        return SerializedReader(self._events.without(kinds), self._parse)

    def size_of(self, data: bytes) -> int:
        """Return the size of an event in bytes."""
        return len(data)

    def read(self, data: bytes) -> None:
        """Report what an event holds."""
        field, wall_time, step_field, step = _HEAD.unpack_from(data) if len(data) > _SHORTEST else (0, 0.0, 0, 0)
        if field != WALL_TIME:
            self._events.read(self._parse(data))
            return
        at = _HEAD.size
        if step_field != STEP:
            step, at = 0, at - 2
        elif step >= 0x80:
            high = data[at]
            step, at = (step & 0x7F | high << 7, at + 1) if high < 0x80 else _number(data, at - 1)
        tag = self._tags.get(data[at:-4])
        if tag is not None:
            self._scalar(self._graph_of(tag), _VALUE.unpack(data[-4:])[0], step, wall_time)
            return
        event = self._parse(data)
        self._events.read(event)
        values = event.summary.value
        if self._events.takes_scalars and len(values) == 1 and data[at:-4] == _constant_part(values[0].tag):
            if len(self._tags) >= _TAGS_KNOWN:
                self._tags.clear()
            self._tags[data[at:-4]] = values[0].tag

    def read_all(self, items: list[bytes]) -> bool:
        """Report events at once if all are scalars of tags that are known, with many points of each.

        Not where another reads the same folder, too: then it counts in which order theirs come.
        """
        if len(items) < FEW or not self._tags or self._events.names.readers > 1:
            return False
        columns = columns_of(items, self._tags)
        if columns is None:
            return False
        curves: list[Curve] = []
        for constant, steps, values, times_us in columns:
            graph = self._events.names.known(self._tags[constant])
            if graph is None:
                return False
            curves.append((graph, steps, values, times_us))
        return self._events.board.scalars(curves)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a signed 64-bit number in base 128, and where it ends."""
    result = shift = 0
    byte = data[at]
    while byte >= 0x80:
        result |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        byte = data[at]
    result |= byte << shift
    return (result - (1 << 64) if result >> 63 else result), at + 1


def _constant_part(tag: str) -> bytes:
    """Return an event of one simple value of this tag, without its time and step before, and its value after."""
    name = tag.encode()
    value = _TAG + _in_base_128(len(name)) + name + _SIMPLE_VALUE
    entry = _VALUE_OF + _in_base_128(len(value) + _VALUE.size) + value
    return bytes([_SUMMARY]) + _in_base_128(len(entry) + _VALUE.size) + entry


def _in_base_128(number: int) -> bytes:
    result = bytearray()
    while number >= 0x80:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)
