"""Section: artifacts.

Source: ClearML's upload_artifact, Task.artifacts, Artifact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.api.task.handle import Section
from localtrack.errors import (
    ArtifactNotFoundError,
    InvalidValueError,
    LocaltrackError,
    StorageError,
    TaskNotFoundError,
    UsageError,
)
from localtrack.records.late import LateModule, late_logger
from localtrack.records.task import Json
from localtrack.store.documents import seconds

if TYPE_CHECKING:
    import datetime as dt

    from localtrack.services import artifacts
else:
    dt = LateModule("datetime")
    artifacts = LateModule("localtrack.services.artifacts")

LOG = late_logger("localtrack.artifacts")


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
        block_unsafe_artifacts: bool = False,
        allow_pickle: bool | None = None,
    ) -> Any:
        """Return the object that was stored; a file or folder, and what a URL names, comes as a ``pathlib.Path``.

        Args:
            force_download: fetch a file that lies elsewhere again although there is a copy.
            deserialization_function: makes the object of the file's bytes.
            block_unsafe_artifacts: refuse every pickle, also one's own.
            allow_pickle: True loads a pickle that another user wrote.

        Raises:
            CorruptFileError: the file is gone or altered.
            UntrustedPickleError: a pickle of another user, and ``allow_pickle`` is not True; or pickles are blocked.
            StorageError: a URL can't be reached.
        """
        section, entry = self._section, self._entry
        if deserialization_function is not None:
            return deserialization_function(
                artifacts.stored_file(section._where(), entry, force=force_download).read_bytes()
            )
        allowed = False if block_unsafe_artifacts else allow_pickle
        return artifacts.load(section._ctx, section._where(), entry, allow_pickle=allowed, force=force_download)

    def get_local_copy(
        self, extract_archive: bool = True, raise_on_error: bool = False, force_download: bool = False
    ) -> str | None:
        """Return the path of the stored file, of an archive that of the extracted folder.

        Args:
            extract_archive: unpack a stored folder; else the path of the zip.
            raise_on_error: raise instead of returning None.
            force_download: fetch a file that lies elsewhere again although there is a copy.

        Returns:
            The path; None where it can't be had, which is logged.

        Raises:
            CorruptFileError: the file is gone or altered, with ``raise_on_error``.
            StorageError: a URL can't be reached, with ``raise_on_error``.
        """
        try:
            path = artifacts.local_copy(
                self._section._ctx, self._section._where(), self._entry, extract=extract_archive, force=force_download
            )
        except (LocaltrackError, OSError) as error:
            if raise_on_error:
                raise
            LOG.warning("no local copy of artifact %r: %s", self.name, error)
            return None
        return str(path)

    def verify_pickle_file_integrity(self, local_file: str) -> None:
        """Compare a local copy with the hash that was recorded.

        Raises:
            CorruptFileError: it is another file.
        """
        artifacts.check_file(Path(local_file), self._entry)

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
            wait_on_upload: always so here, also where ``output_uri`` is elsewhere.
            extension_name: file suffix, which picks the form: ``.csv``, ``.csv.gz``, ``.parquet``, ``.feather`` for a
                DataFrame, ``.npz``, ``.npy``, ``.csv.gz`` for an array, ``.json``, ``.yaml`` for a dict or list, any
                that PIL writes for an image, any for a text, ``.pkl`` for everything.
            serialization_function: turns the object into bytes.
            retries: how often an upload to another place is tried again; then the file is kept in the store.
            sort_keys: sort the keys of a dict in the file; False keeps their order.

        A text that names a file or folder stores that, one that is a URL is only registered. A list of ``pathlib``
        paths, a folder and a pattern such as ``out/*.csv`` become one zip file.

        Returns:
            True; False when this process runs the task and the disk takes no more, which is said once.

        Raises:
            InvalidValueError: the object can't be stored.
            OSError: the disk takes no more, for a task that another process ran.
        """
        if name in self.get_registered_artifacts():
            raise InvalidValueError(
                f"artifact {name!r} is registered: change its DataFrame, or unregister it first", name=name
            )
        try:
            options = artifacts.Options(
                metadata=metadata,
                preview=preview,
                auto_pickle=auto_pickle is not False,
                extension=extension_name,
                serialize=serialization_function,
                sort_keys=sort_keys,
                retries=retries,
                uri=self._read().output_uri,
            )
            entry = artifacts.upload(self._ctx, self._where(), name, artifact_object, options)
        except (OSError, TaskNotFoundError) as error:
            if self._session is None or not self._owned:
                raise
            self._session.writer.say_once(f"artifact-{name}", f"artifact {name!r} was not kept: {error}")
            return False
        self._edit(partial(artifacts.with_entry, entry=entry), f"artifact: {name}", checked=False)
        if delete_after_upload and isinstance(artifact_object, (str, Path)) and Path(artifact_object).is_file():
            Path(artifact_object).unlink()
        return True

    def register_artifact(
        self,
        name: str,
        artifact: Any,
        metadata: Mapping[str, Any] | None = None,
        uniqueness_columns: bool | Sequence[Any] = True,
    ) -> None:
        """Watch a DataFrame: it is stored now, whenever it has changed, and at the end of the run.

        Anybody may read the last snapshot meanwhile, as ``artifacts[name]``.

        Args:
            name: the artifact's name; another DataFrame under the same name takes its place.
            artifact: a ``pandas.DataFrame``.
            metadata: text pairs kept with it.
            uniqueness_columns: columns that tell rows apart, for the number of different rows; True for all of them,
                False for no such number.

        Raises:
            InvalidValueError: it is no DataFrame, or has no such column.
            UsageError: this process does not run the task.
        """
        if self._session is None or not self._owned:
            raise UsageError(
                "register_artifact watches a DataFrame of the process that runs the task; use upload_artifact here"
            )
        self._session.watched_frames().register(name, artifact, metadata, uniqueness_columns)

    def unregister_artifact(self, name: str) -> None:
        """Store a registered DataFrame for the last time and watch it no more; the artifact stays."""
        session = self._session
        if session is not None and session.registered is not None and self._owned:
            session.registered.unregister(name)

    def get_registered_artifacts(self) -> MutableMapping[str, Any]:
        """Return the watched DataFrames by name; assigning another one to a name stores that from now on."""
        if self._session is None or self._session.registered is None or not self._owned:
            return {}
        return self._session.registered

    def set_artifacts(self, artifacts_list: Sequence[Any] | None = None) -> list[Artifact]:
        """Add artifacts that exist somewhere to the task; one of the same name is replaced, the others stay.

        Args:
            artifacts_list: ``Artifact`` objects of any task, which then refer to that task's files; or objects with
                ClearML's fields ``key``, ``type``, ``uri``, ``content_size``, ``hash``, ``display_data``.

        Returns:
            The task's artifacts.

        Raises:
            InvalidValueError: something else is in the list.
        """
        if not isinstance(artifacts_list, (list, tuple)):
            raise InvalidValueError(f"set_artifacts takes a list of artifacts, not {artifacts_list!r}")
        entries = [self._entry_of(one) for one in artifacts_list]
        if entries:
            self._edit(partial(artifacts.with_entries, entries=entries), "artifacts set", checked=False)
        return list(self.artifacts.values())

    def _entry_of(self, one: Any) -> Json:
        if isinstance(one, Artifact):
            is_own = one._section._id == self._id
            return one._entry if is_own else artifacts.referring(one._entry, one._section._where())
        name, url = getattr(one, "key", None), getattr(one, "uri", None)
        if not isinstance(name, str) or not name or not isinstance(url, str) or not url:
            raise InvalidValueError(f"{one!r} is no artifact: it needs a key and a uri")
        about = getattr(one, "type_data", None)
        return artifacts.described(
            name,
            kind=str(getattr(one, "type", None) or "custom"),
            url=url,
            size_bytes=int(getattr(one, "content_size", None) or 0),
            sha256=str(getattr(one, "hash", None) or ""),
            preview=str(getattr(about, "preview", None) or ""),
            metadata=getattr(one, "display_data", None),
        )

    def delete_artifacts(
        self,
        artifact_names: Sequence[str],
        raise_on_errors: bool = True,
        delete_from_storage: bool = True,
        silent_on_errors: bool = False,
    ) -> bool:
        """Take artifacts out of the task, and remove their files; what was only registered by URL stays there.

        Args:
            artifact_names: their names.
            raise_on_errors: raise for a name that the task has not, or a file that can't be removed.
            delete_from_storage: remove the files now; else they go with the next ``localtrack gc``, or stay where
                ``output_uri`` put them.
            silent_on_errors: log nothing of what went wrong.

        Returns:
            Whether all of them were there, and are gone.

        Raises:
            ArtifactNotFoundError: the task has none of that name, with ``raise_on_errors``.
            StorageError: a file can't be removed, with ``raise_on_errors``.
        """
        names = [artifact_names] if isinstance(artifact_names, str) else list(artifact_names)
        record = self._read()
        missing = [name for name in names if name not in record.artifacts]
        if missing and raise_on_errors:
            artifacts.find(record, missing[0])
        entries = [record.artifacts[name] for name in dict.fromkeys(names) if name not in missing]
        self._edit(partial(artifacts.without_entries, names=names), "artifacts removed", checked=False)
        problems: list[Exception] = [ArtifactNotFoundError(f"no artifact {name!r}") for name in missing]
        for entry in entries if delete_from_storage else []:
            try:
                artifacts.remove_stored(self._ctx, self._where(), entry)
            except (StorageError, OSError) as error:
                if raise_on_errors:
                    raise
                problems.append(error)
        for problem in problems if not silent_on_errors else []:
            LOG.warning("deleting artifacts of task %s: %s", self._id, problem)
        return not problems
