"""Pictures as PNG: from PIL images and arrays, without importing either library.

Source: the PNG specification (W3C); ClearML's report_image.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from localtrack.errors import InvalidValueError

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG: grey, grey and alpha, RGB, RGBA
_UNIT_RANGE_SLACK = 1.0 + 1e-6


def png_bytes(image: Any) -> bytes:
    """Return an image as PNG.

    Args:
        image: a PIL image; or an array or tensor ``(H, W)``, ``(H, W, C)`` or ``(C, H, W)`` with 1 to 4 channels
            (1, 3 or 4 where the channels come first). uint8 as it is, booleans as black and white, floats in 0..1
            scaled to 0..255 and floats beyond that as 0..255, other integers clipped to 0..255.

    Raises:
        InvalidValueError: it is neither, or of another shape.
    """
    if hasattr(image, "save") and hasattr(image, "size") and hasattr(image, "mode"):
        return _of_pil(image)
    if not hasattr(image, "astype") and hasattr(image, "numpy"):
        image = image.detach().cpu().numpy() if hasattr(image, "detach") else image.numpy()
    if not hasattr(image, "shape") or not hasattr(image, "astype"):
        raise InvalidValueError(f"an image is a PIL image or an array, not a {type(image).__qualname__}")
    pixels = _channels_last(image)
    return _encode(_as_bytes(pixels))


def _of_pil(image: Any) -> bytes:
    buffer = io.BytesIO()
    stored = image if image.mode in ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA") else image.convert("RGB")
    stored.save(buffer, format="PNG")
    return buffer.getvalue()


def _channels_last(image: Any) -> Any:
    shape = tuple(image.shape)
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in _COLOUR_TYPES):
        pixels = image
    elif len(shape) == 3 and shape[0] in (1, 3, 4):
        pixels = image.transpose(1, 2, 0)
    else:
        raise InvalidValueError(f"an image has the shape (H, W), (H, W, 1 to 4) or (1|3|4, H, W), not {shape}")
    if 0 in shape:
        raise InvalidValueError(f"an image of the shape {shape} has no pixels")
    return pixels


def _as_bytes(pixels: Any) -> Any:
    kind = pixels.dtype.kind
    if kind == "b":
        return pixels.astype("uint8") * 255
    if kind == "f":
        finite = pixels == pixels
        clean = pixels.astype("float64").copy()
        clean[~finite] = 0.0
        inside = clean[(clean > float("-inf")) & (clean < float("inf"))]
        scale = 255.0 if inside.size == 0 or float(inside.max()) <= _UNIT_RANGE_SLACK else 1.0
        return (clean.clip(-1e9, 1e9) * scale).round().clip(0, 255).astype("uint8")
    if kind in "iu":
        return pixels.clip(0, 255).astype("uint8")
    raise InvalidValueError(f"an image holds numbers, not {pixels.dtype}")


def _encode(pixels: Any) -> bytes:
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    raw = b"".join(b"\0" + pixels[row].tobytes() for row in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw, 6)) + chunk(b"IEND", b"")
