"""Plotly figures as plain dicts, and images as PNG: what the logger stores, without importing plotly.

Source: plotly.js's figure schema (titles are objects since version 3); ClearML's report_table and
report_confusion_matrix.
"""

from __future__ import annotations

import csv
import io
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from localtrack.errors import InvalidValueError, UsageError
from localtrack.records.values import encode

Figure = dict[str, Any]


def strict(value: Any) -> Any:
    """Return a figure in strict JSON types; numbers that JSON has no word for become null, as plotly expects gaps."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return strict(tolist())
    return encode(value)


def from_plotly(figure: Any) -> Figure:
    """Return a plotly figure, its dict or its JSON as a dict.

    Raises:
        UsageError: it is none of these.
    """
    if hasattr(figure, "to_plotly_json"):
        figure = figure.to_plotly_json()
    elif isinstance(figure, str):
        try:
            figure = json.loads(figure)
        except ValueError as error:
            raise UsageError(f"report_plotly: the text is no JSON of a figure: {error}") from None
    if not isinstance(figure, Mapping) or "data" not in figure:
        raise UsageError(f"report_plotly takes a plotly figure or its dict, not a {type(figure).__qualname__}")
    return dict(figure)


def rows_of(source: Any) -> list[list[Any]]:
    """Return a table's rows, the header first: from a DataFrame, a list of rows, or the path of a CSV file.

    Raises:
        InvalidValueError: another kind of object, or an unreadable file.
    """
    if hasattr(source, "to_numpy") and hasattr(source, "columns"):
        frame = source.reset_index() if getattr(source.index, "name", None) else source
        return [[str(column) for column in frame.columns], *frame.to_numpy().tolist()]
    if isinstance(source, str):
        try:
            with open(source, newline="", encoding="utf-8") as stream:
                return [list(row) for row in csv.reader(stream)]
        except OSError as error:
            raise InvalidValueError(f"report_table: {source} can't be read: {error.strerror}", path=source) from None
    if isinstance(source, Sequence) and all(isinstance(row, Sequence) and not isinstance(row, str) for row in source):
        return [list(row) for row in source]
    raise InvalidValueError(
        f"report_table takes a DataFrame, a list of rows or a path, not a {type(source).__qualname__}"
    )


def table(
    title: str, rows: list[list[Any]], extra_layout: Mapping[str, Any] | None, extra_data: Mapping[str, Any] | None
) -> Figure:
    """Return a plotly table; the first row is the header. NaN and infinities are shown by their names."""
    header, *body = rows or [[]]
    shown = [[_cell(value) for value in row] for row in body]
    columns = [list(column) for column in zip(*shown, strict=False)] or [[] for _ in header]
    trace = {"type": "table", "header": {"values": [str(name) for name in header]}, "cells": {"values": columns}}
    return {"data": [{**trace, **(extra_data or {})}], "layout": {"title": {"text": title}, **(extra_layout or {})}}


def _cell(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return strict(value) if not hasattr(value, "isoformat") else value.isoformat()


def heat_map(
    title: str,
    matrix: Any,
    xaxis: str | None,
    yaxis: str | None,
    xlabels: Sequence[str] | None,
    ylabels: Sequence[str] | None,
    yaxis_reversed: bool,
    comment: str | None,
    extra_layout: Mapping[str, Any] | None,
) -> Figure:
    """Return a matrix as an annotated plotly heat map, first row at the top unless reversed.

    Raises:
        InvalidValueError: it is no matrix.
    """
    values = matrix.tolist() if hasattr(matrix, "tolist") else matrix
    if not isinstance(values, Sequence) or not all(isinstance(row, Sequence) for row in values):
        raise InvalidValueError("a confusion matrix must be rows of numbers")
    trace: Figure = {
        "type": "heatmap", "z": [list(row) for row in values],
        "text": [[f"{value:g}" if isinstance(value, (int, float)) else str(value) for value in row] for row in values],
        "texttemplate": "%{text}", "colorscale": "Blues",
    }  # fmt: skip
    if xlabels is not None:
        trace["x"] = [str(label) for label in xlabels]
    if ylabels is not None:
        trace["y"] = [str(label) for label in ylabels]
    heading = {"text": title, **({"subtitle": {"text": comment}} if comment else {})}
    layout: Figure = {
        "title": heading,
        "xaxis": {"title": {"text": xaxis or ""}},
        "yaxis": {"title": {"text": yaxis or ""}, **({} if yaxis_reversed else {"autorange": "reversed"})},
    }
    return {"data": [trace], "layout": {**layout, **(extra_layout or {})}}


def png_bytes(image: Any) -> bytes:
    """Return an image as PNG: a PIL image, or an array ``(H, W)`` or ``(H, W, 1|3|4)``, uint8 or floats in 0..1.

    Raises:
        InvalidValueError: it is neither.
    """
    if hasattr(image, "save") and hasattr(image, "size"):
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return buffer.getvalue()
    if not hasattr(image, "shape") or not hasattr(image, "astype"):
        raise InvalidValueError(f"an image is a PIL image or an array, not a {type(image).__qualname__}")
    pixels = image
    if pixels.dtype.kind == "f":
        scale = 255.0 if pixels.size == 0 or float(pixels.max()) <= 1.0 else 1.0
        pixels = (pixels * scale).clip(0, 255)
    elif pixels.dtype.kind == "b":
        pixels = pixels.astype("uint8") * 255
    pixels = pixels.clip(0, 255).astype("uint8") if pixels.dtype.kind != "b" else pixels
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    kinds = {2: {0: 0}, 3: {3: 2, 4: 6}}
    kind = kinds.get(pixels.ndim, {}).get(pixels.shape[2] if pixels.ndim == 3 else 0)
    if kind is None:
        raise InvalidValueError(f"an image has the shape (H, W), (H, W, 3) or (H, W, 4), not {tuple(image.shape)}")
    return _encode_png(pixels, kind)


def _encode_png(pixels: Any, colour_type: int) -> bytes:
    height, width = pixels.shape[:2]
    raw = b"".join(b"\0" + pixels[row].tobytes() for row in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw, 6)) + chunk(b"IEND", b"")
