"""Section: artifacts.

Source: ClearML's upload_artifact, Task.artifacts, Artifact.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from localtrack.api.task.handle import Section
from localtrack.errors import TaskNotFoundError
from localtrack.records.task import Json
from localtrack.services import artifacts
from localtrack.store.documents import seconds


class Artifact:
    """One stored artifact.

    Args:
        section: the task's facade.
        entry: the artifact's metadata.
    """

    def __init__(self, section: Section, entry: Json) -> None:
        self._section = section
        self._entry = entry

    @property
    def name(self) -> str:
        """The artifact's name."""
        return str(self._entry["name"])

    @property
    def type(self) -> str:
        """Its kind, such as ``numpy``, ``pandas``, ``dict``, ``archive``, ``pickle``."""
        return str(self._entry["type"])

    @property
    def url(self) -> str:
        """Path of the stored file, or the registered URL."""
        return str(self._entry.get("url") or self._section._where() / str(self._entry["file"]))

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return int(self._entry["size_bytes"])

    @property
    def hash(self) -> str:
        """SHA-256 of the file, in hex."""
        return str(self._entry["sha256"])

    @property
    def mode(self) -> str:
        """``output``."""
        return "output"

    @property
    def timestamp(self) -> dt.datetime:
        """When it was stored, UTC."""
        return dt.datetime.fromtimestamp(seconds(str(self._entry["timestamp"])), dt.timezone.utc)

    @property
    def metadata(self) -> dict[str, str]:
        """The text pairs given with it."""
        return dict(self._entry.get("metadata", {}))

    @property
    def preview(self) -> str:
        """A short text of what it holds."""
        return str(self._entry.get("preview", ""))

    def get(
        self,
        force_download: bool = False,
        deserialization_function: Callable[[bytes], Any] | None = None,
        allow_pickle: bool | None = None,
    ) -> Any:
        """Return the object that was stored; files come as a path.

        Raises:
            CorruptFileError: the file is gone or altered.
            UntrustedPickleError: a pickle of another user, and ``allow_pickle`` is not True.
        """
        if deserialization_function is not None:
            return deserialization_function(self.get_local_copy(extract_archive=False).read_bytes())
        return artifacts.load(self._section._ctx, self._section._where(), self._entry, allow_pickle=allow_pickle)

    def get_local_copy(
        self, extract_archive: bool = True, raise_on_error: bool = False, force_download: bool = False
    ) -> Path:
        """Return the path of the stored file, of an archive that of the extracted folder.

        Raises:
            CorruptFileError: the file is gone or altered.
        """
        return artifacts.local_copy(self._section._ctx, self._section._where(), self._entry, extract=extract_archive)

    def __repr__(self) -> str:
        return f"Artifact({self.name!r}, {self.type}, {self.size} bytes)"


class Artifacts(Mapping[str, Artifact]):
    """A task's artifacts by name; read from the store at each look."""

    def __init__(self, section: Section) -> None:
        self._section = section

    def __getitem__(self, name: str) -> Artifact:
        return Artifact(self._section, artifacts.find(self._section._read(), name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._section._read().artifacts)

    def __len__(self) -> int:
        return len(self._section._read().artifacts)

    def __repr__(self) -> str:
        return f"Artifacts({sorted(self)})"


class ArtifactsSection(Section):
    """Objects and files stored with a task."""

    @property
    def artifacts(self) -> Artifacts:
        """The task's artifacts by name."""
        return Artifacts(self)

    def upload_artifact(
        self,
        name: str,
        artifact_object: Any,
        metadata: Mapping[str, Any] | None = None,
        delete_after_upload: bool = False,
        auto_pickle: bool | None = None,
        preview: Any = None,
        wait_on_upload: bool = False,
        extension_name: str | None = None,
        serialization_function: Callable[[Any], bytes] | None = None,
        retries: int = 0,
        sort_keys: bool = True,
    ) -> bool:
        """Store an object, a file, a folder or a pattern of files. It can be read back as soon as this returns.

        Args:
            name: the artifact's name; the same name again replaces the entry.
            artifact_object: numpy array, DataFrame, image, dict, list, text, path, folder, pattern, or any object.
            metadata: text pairs kept with it.
            delete_after_upload: remove the given file once it is stored.
            auto_pickle: pickle an object of no known kind; True without one.
            preview: a text of one's own; False for none.
            wait_on_upload: always so here.
            extension_name: file suffix, with its dot.
            serialization_function: turns the object into bytes.
            retries: kept for ClearML's signature; a local disk needs none.
            sort_keys: kept for ClearML's signature; the order of a dict is kept.

        Returns:
            True; False when this process runs the task and the disk takes no more, which is said once.

        Raises:
            InvalidValueError: the object can't be stored.
            OSError: the disk takes no more, for a task that another process ran.
        """
        try:
            entry = artifacts.upload(
                self._ctx,
                self._where(),
                name,
                artifact_object,
                metadata=dict(metadata or {}),
                preview=preview,
                auto_pickle=auto_pickle is not False,
                extension=extension_name,
                serialize=serialization_function,
            )
        except (OSError, TaskNotFoundError) as error:
            if self._session is None or not self._owned:
                raise
            self._session.writer.say_once(f"artifact-{name}", f"artifact {name!r} was not kept: {error}")
            return False
        self._edit(partial(artifacts.with_entry, entry=entry), f"artifact: {name}", checked=False)
        if delete_after_upload and isinstance(artifact_object, (str, Path)) and Path(artifact_object).is_file():
            Path(artifact_object).unlink()
        return True

    def delete_artifacts(
        self,
        artifact_names: Sequence[str],
        raise_on_errors: bool = True,
        delete_from_storage: bool = True,
        silent_on_errors: bool = False,
    ) -> bool:
        """Take artifacts out of the task; their files go with the next ``localtrack gc``.

        Returns:
            Whether all of them were there.
        """
        record = self._read()
        missing = [name for name in artifact_names if name not in record.artifacts]
        if missing and raise_on_errors and not silent_on_errors:
            artifacts.find(record, missing[0])
        artifacts.remove(self._ctx, self._id, list(artifact_names))
        return not missing
