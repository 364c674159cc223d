"""Section: images, audio, video and files.

Source: ClearML's Logger.report_image, report_image_and_upload, report_media.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.api.logger.handle import LoggerSection
from localtrack.errors import InvalidValueError, UsageError
from localtrack.services import pictures
from localtrack.services.recording import MediaOptions

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image


class MediaSection(LoggerSection):
    """Items with a file each. All of them stay, unless the script sets a limit of its own."""

    def report_image(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        local_path: str | None = None,
        image: np.ndarray | PIL.Image.Image | None = None,
        matrix: np.ndarray | None = None,
        max_image_history: int | None = None,
        delete_after_upload: bool = False,
        url: str | None = None,
    ) -> None:
        """Report an image: a file, an array, a PIL image, or a URL. Arrays are kept as PNG, without loss.

        Args:
            title: the image.
            series: the variant of it.
            iteration: the iteration that it belongs to.
            local_path: path of a file, which is copied as it is.
            image: a PIL image; or an array ``(H, W)``, ``(H, W, C)`` or ``(C, H, W)``: uint8, booleans, or floats in
                0..1.
            matrix: ClearML's older name of ``image``.
            max_image_history: keep at most so many images of this title and series: the oldest that were reported
                under such a limit are removed. None takes the default, which is no limit; 0 is no limit.
            delete_after_upload: remove ``local_path`` once it is stored.
            url: an address to record; nothing is downloaded.

        Raises:
            UsageError: none of the sources, or several; no such file.
            InvalidValueError: an object that is no image, or of another shape.
        """
        if matrix is not None:
            warnings.warn(
                "report_image: 'matrix' is deprecated by ClearML; use 'image'", DeprecationWarning, stacklevel=2
            )
        given = (local_path or None, image, matrix, url or None)
        if sum(source is not None for source in given) != 1:
            raise UsageError("report_image takes exactly one of local_path, image and url")
        place, options = self._place(title, series, iteration), self._options(max_image_history)
        if url:
            self._recorder.media_url(place, url, "image")
        elif local_path:
            self._recorder.media_file(place, Path(local_path), options, delete=delete_after_upload)
        else:
            data = pictures.png_bytes(image if image is not None else matrix)
            self._recorder.media_bytes(place, data, ".png", options)

    def report_image_and_upload(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        path: str | None = None,
        matrix: np.ndarray | PIL.Image.Image | None = None,
        max_image_history: int | None = None,
        delete_after_upload: bool = False,
    ) -> None:
        """Report an image; ClearML's older name of :meth:`report_image`."""
        self.report_image(
            title,
            series,
            iteration,
            local_path=path,
            image=matrix,
            max_image_history=max_image_history,
            delete_after_upload=delete_after_upload,
        )

    def report_media(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        local_path: str | None = None,
        stream: io.BytesIO | io.StringIO | None = None,
        file_extension: str | None = None,
        max_history: int | None = None,
        delete_after_upload: bool = False,
        url: str | None = None,
    ) -> None:
        """Report audio, video, HTML, text or any file: a path, a stream with its extension, or a URL.

        Args:
            title: the item.
            series: the variant of it.
            iteration: the iteration that it belongs to.
            local_path: path of a file, which is copied as it is.
            stream: an open stream of bytes or text, read from its start where it can be rewound, and left where it stood;
                or bytes or a text.
            file_extension: the stream's ending, such as ``.html``.
            max_history: as ``max_image_history`` of :meth:`report_image`.
            delete_after_upload: remove ``local_path`` once it is stored.
            url: an address to record; nothing is downloaded.

        Raises:
            UsageError: none of the sources, or several; no such file.
            InvalidValueError: a stream without an extension.
        """
        if sum(source is not None for source in (local_path or None, stream, url or None)) != 1:
            raise UsageError("report_media takes exactly one of local_path, stream and url")
        if stream is not None and not file_extension:
            raise InvalidValueError("report_media: a stream needs file_extension, such as '.html'")
        place, options = self._place(title, series, iteration), self._options(max_history)
        if url:
            self._recorder.media_url(place, url, "media")
        elif local_path:
            self._recorder.media_file(place, Path(local_path), options, delete=delete_after_upload)
        else:
            self._recorder.media_bytes(place, _content(stream), str(file_extension), options)

    def _options(self, limit: int | None) -> MediaOptions:
        return MediaOptions(self._destination, self._history if limit is None else int(limit))


def _content(stream: object) -> bytes:
    if isinstance(stream, (str, bytes, bytearray, memoryview)):
        found: object = stream
    elif hasattr(stream, "getvalue"):
        found = stream.getvalue()
    elif hasattr(stream, "read"):
        found = _from_start(stream)
    else:
        raise InvalidValueError(f"report_media: a stream has read(), a {type(stream).__qualname__} has not")
    return found.encode("utf-8", "surrogatepass") if isinstance(found, str) else bytes(found)  # type: ignore[call-overload]


def _from_start(stream: Any) -> Any:
    """Return all that a stream holds, and leave it where it stands; of one that can't go back what is yet to come."""
    try:
        place = stream.tell()
        stream.seek(0)
    except (AttributeError, OSError, ValueError):  # a pipe, an answer of a server, ...
        return stream.read()
    try:
        return stream.read()
    finally:
        stream.seek(place)
