"""Storing an object as an artifact: which kind it is, in which form it goes into a file, and where the file goes.

The first codec that takes the object, in a form that holds it, writes it. What none holds is pickled.

Source: ClearML's Task.upload_artifact; docs/format/v1.md, "artifacts/<name>.<n>/".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from localtrack.errors import InvalidValueError, StorageError
from localtrack.records.late import late_logger
from localtrack.records.plain import dataclass
from localtrack.records.task import STORE_URI, Json
from localtrack.records.values import UnstorableValueError
from localtrack.services.context import StoreContext
from localtrack.store import metadata as metadata_log
from localtrack.store.blobs import Hashing, new_upload_folder, put_copy, put_stream, safe_file_name
from localtrack.store.documents import now
from localtrack.store.layout import TaskLayout

if TYPE_CHECKING:
    from localtrack.services.artifact_codecs import Codec, Form

__all__ = ["Options", "described", "upload"]

PREVIEW_LIMIT = 65_000
STEM_LIMIT = 80
PICKLE_SUFFIXES = (".pkl", ".pickle")
LOG = late_logger("localtrack.artifacts")
Fill = Callable[[BinaryIO], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What ``upload_artifact`` takes besides name and object.

    Attributes:
        metadata: pairs kept as texts.
        preview: a text of one's own; False for none.
        auto_pickle: whether an object of no known kind is pickled.
        extension: suffix of the file, which picks its form.
        serialize: turns the object into bytes, instead of any codec.
        sort_keys: whether the keys of a dict are sorted in the file.
        retries: how often an upload to another place is tried again.
        uri: where the file goes: the store without one, or with ``.``.
    """

    metadata: Mapping[str, Any] | None = None
    preview: Any = None
    auto_pickle: bool = True
    extension: str | None = None
    serialize: Callable[[Any], bytes | bytearray] | None = None
    sort_keys: bool = True
    retries: int = 0
    uri: str = ""


def upload(ctx: StoreContext, folder: Path, name: str, value: Any, options: Options = Options()) -> Json:
    """Store an object under the task's folder and return its metadata entry; nothing is committed yet.

    Args:
        ctx: the store.
        folder: the task's folder.
        name: the artifact's name.
        value: the object; a path or pattern stores the files.
        options: how.

    Raises:
        InvalidValueError: an object of no known kind, and it may not or can't be pickled.
        OSError: the disk takes no more.
    """
    if not isinstance(name, str) or not name:
        raise InvalidValueError(f"an artifact's name must be a non-empty text, not {name!r}", name=str(name))
    entry = _Upload(ctx, folder, name, options).store(value)
    if options.preview is False:
        entry["preview"] = ""
    elif options.preview is not None and options.preview is not True:
        entry["preview"] = _shortened(str(options.preview))
    return {**entry, **_about(name, options.metadata)}


def _about(name: str, metadata: Mapping[str, Any] | None) -> Json:
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidValueError(
            f"artifact {name!r}: metadata is a dict, not a {type(metadata).__qualname__}", name=name
        )
    return {
        "name": name, "timestamp": now(), "uid": os.getuid(),
        "metadata": {str(key): str(text) for key, text in (metadata or {}).items()},
    }  # fmt: skip


class _Upload:
    """One object on its way into one file."""

    def __init__(self, ctx: StoreContext, folder: Path, name: str, options: Options) -> None:
        self.ctx = ctx
        self.folder = folder
        self.name = name
        self.options = options

    def store(self, value: Any) -> Json:
        options = self.options
        if options.serialize is not None:
            data = options.serialize(value)
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise InvalidValueError(
                    f"artifact {self.name!r}: serialization_function returns bytes, not a {type(data).__qualname__}",
                    name=self.name,
                )
            data = bytes(data)
            return self._custom(f"{self.name}{options.extension or ''}", data, _described(repr, value))
        if options.extension not in PICKLE_SUFFIXES:
            entry = self._reference_or_files(value) or self._by_codec(value)
            if entry is not None:
                return entry
            if not options.auto_pickle and value is not None and value != "":
                raise InvalidValueError(
                    f"artifact {self.name!r}: a {type(value).__qualname__} is of no known kind; pass auto_pickle=True or a "
                    "serialization_function",
                    name=self.name,
                )
        return self._pickled(value)

    def _reference_or_files(self, value: Any) -> Json | None:
        from localtrack.services import artifact_files as files

        url = files.named_url(value)
        if url is not None:
            kind = files.media_type(url) if files.media_type(url) != "application/octet-stream" else ""
            return {"type": "custom", "url": url, "sha256": "", "size_bytes": 0, "content_type": kind, "preview": url}
        found = files.named_files(value)
        if found is None:
            return None
        if isinstance(found, Path):
            size = files.size_text(found.stat().st_size)
            stored = self._put(found.name, partial(_copy_into, found), source=found)
            return _entry("custom", stored, files.media_type(found.name), f"{found.name} - {size}")
        members = files.members_of(found)
        stored = self._put(f"{self._stem()}.zip", partial(files.pack, members=members))
        return _entry("archive", stored, "application/zip", files.listing(members, PREVIEW_LIMIT))

    def _by_codec(self, value: Any) -> Json | None:
        from localtrack.services.artifact_codecs import CODECS

        codec = next((one for one in CODECS if one.matches(value)), None)
        if codec is None:
            return None
        for form in self._forms(codec):
            try:
                return self._in_form(codec, form, value)
            except UnstorableValueError as error:
                LOG.debug("artifact %r: not as %s: %s", self.name, form.suffix, error)
        return None

    def _forms(self, codec: Codec) -> list[Form]:
        wanted = self.options.extension
        if not wanted:
            return list(codec.forms[:1])
        form = codec.form(wanted)
        if form is None:
            known = ", ".join(one.suffix for one in codec.forms)
            LOG.warning(
                "artifact %r: %s is no form of a %s (there are %s, .pkl); it is stored as %s",
                self.name, wanted, codec.kind, known, codec.forms[0].suffix,
            )  # fmt: skip
            return list(codec.forms[:1])
        return [form, *(one for one in codec.forms[:1] if one is not form)]

    def _in_form(self, codec: Codec, form: Form, value: Any) -> Json:
        from localtrack.services.artifact_codecs import Choices

        beside: list[Json | None] = []
        choices = Choices(self.name, self.options.sort_keys)
        stored = self._put(
            f"{self._stem()}{form.suffix}", lambda stream: beside.append(form.write(value, stream, choices))
        )
        entry = _entry(codec.kind, stored, form.content_type, _described(codec.preview, value))
        return {**entry, "form": beside[-1]} if beside[-1] else entry

    def _pickled(self, value: Any) -> Json:
        import pickle

        try:
            data = pickle.dumps(value)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidValueError(
                f"artifact {self.name!r}: a {type(value).__qualname__} can't be pickled ({error}); pass a "
                "serialization_function",
                name=self.name,
            ) from None
        suffix = self.options.extension if self.options.extension in PICKLE_SUFFIXES else ".pkl"
        stored = self._put(f"{self._stem()}{suffix}", lambda stream: _write(stream, data))
        return _entry("pickle", stored, "application/pickle", _described(repr, value))

    def _custom(self, file_name: str, data: bytes, preview: str) -> Json:
        from localtrack.services.artifact_files import media_type

        stored = self._put(file_name.replace("/", "_"), lambda stream: _write(stream, data))
        return _entry("custom", stored, media_type(file_name), preview)

    def _stem(self) -> str:
        """Return the beginning of the file's name, short enough that the suffix stays whole."""
        return self.name.replace("/", "_")[:STEM_LIMIT].strip(" .") or "artifact"

    def _put(self, file_name: str, fill: Fill, source: Path | None = None) -> Json:
        """Store a file where the task's files go; in the store when that place takes it not."""
        if self.options.uri and self.options.uri != STORE_URI:
            try:
                return self._put_elsewhere(file_name, fill)
            except StorageError as error:
                LOG.warning("artifact %r is kept in the store instead: %s", self.name, error)
        disk = self.ctx.store.disk
        place = new_upload_folder(disk, TaskLayout(self.folder).artifacts, self.name)
        try:
            target = place / safe_file_name(file_name)
            stored = (
                put_stream(disk, self.folder, target, fill)
                if source is None
                else put_copy(disk, self.folder, target, source)
            )
        except BaseException:
            _rmdir_quietly(place)
            raise
        return dict(stored.to_json())

    def _put_elsewhere(self, file_name: str, fill: Fill) -> Json:
        from localtrack.services import storage

        digest = Hashing(fill)
        temporary = self.ctx.store.disk.write_tmp(digest.fill)
        try:
            record = metadata_log.read_latest(TaskLayout(self.folder))
            project = [safe_file_name(part) for part in record.project.split("/")]
            task = f"{safe_file_name(record.name.replace('/', '_'))}.{record.id}"
            # named by its content: an upload never writes over what an earlier entry names
            parts = (
                *project,
                task,
                "artifacts",
                safe_file_name(self._stem()),
                digest.sha256[:12],
                safe_file_name(file_name),
            )
            url = storage.join_url(storage.normal_url(self.options.uri), *parts)
            storage.put_file(temporary, url, retries=self.options.retries)
        finally:
            temporary.unlink(missing_ok=True)
        return {"url": url, "sha256": digest.sha256, "size_bytes": digest.size_bytes, "uploaded": True}


def _entry(kind: str, stored: Json, content_type: str, preview: str) -> Json:
    return {"type": kind, **stored, "content_type": content_type, "preview": _shortened(preview)}


def _described(describe: Callable[[Any], str], value: Any) -> str:
    """Return a text about a user's object; its own code may fail, and the artifact is kept all the same."""
    try:
        return str(describe(value))
    except Exception as error:  # the border to the user's __repr__
        return f"<{type(value).__qualname__}: no preview, {type(error).__name__}>"


def _shortened(preview: str) -> str:
    if len(preview) <= PREVIEW_LIMIT:
        return preview
    head = f"# the first {PREVIEW_LIMIT} characters\n"
    return head + preview[: PREVIEW_LIMIT - len(head)]


def _copy_into(path: Path, stream: BinaryIO) -> None:
    with open(path, "rb") as reader:
        while chunk := reader.read(1 << 20):
            stream.write(chunk)


def described(name: str, kind: str, url: str, size_bytes: int, sha256: str, preview: str, metadata: Any) -> Json:
    """Return an entry for a file that lies somewhere, as ClearML's own artifact objects describe one."""
    return {
        "type": kind, "url": url, "size_bytes": size_bytes, "sha256": sha256, "content_type": "", "preview": preview,
        **_about(name, dict(metadata or {})),
    }  # fmt: skip


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)


def _rmdir_quietly(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        pass
