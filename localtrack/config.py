"""Settings: the environment, ``localtrack.toml``, and their defaults.

Source: docs/reference/configuration.md.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from localtrack.errors import InvalidValueError, StoreError
from localtrack.records.plain import dataclass, field, fields

ROOT_VARIABLE = "LOCALTRACK_ROOT"
TASK_VARIABLE = "LOCALTRACK_TASK_ID"
MARKER_FOLDER = ".localtrack"
SETTINGS_FILE = "localtrack.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may set, each with the environment variable ``LOCALTRACK_<NAME>`` and a key of ``localtrack.toml``.

    Attributes:
        lease_s: seconds without a changed heartbeat after which a writer on another host counts as dead.
        heartbeat_s: seconds between two heartbeats; a sixth of the lease where that is less.
        sync_interval_s: at most so many seconds of reports are lost to a power cut.
        reuse_hours: age in hours up to which ``Task.init`` takes up the last task of that name again.
        exit_wait_s: at most so many seconds the end of the process waits for captures.
        fold_wait_s: at most so many seconds the end of a run turns its journals into Parquet; the rest stay journals.
        metrics_interval_s: seconds between two commits of the last metric values of a running task.
        monitor_interval_s: seconds between two reports of the resource monitor.
        poll_interval_s: seconds between two listings of an agent where no file events come.
        diff_limit_bytes: a longer uncommitted diff is kept as an artifact.
        pending_points: reports kept in memory while the disk takes none.
        log_environment: names of environment variables to record, with ``*``; comma-separated.
        bundle: whether a git bundle of the commit is stored with each task.
        trust_pickles: whether pickles of other users load without a question.
        block_pickled_artifacts: whether no pickle is loaded at all, not even one's own.
        registered_interval_s: seconds between two looks whether a registered DataFrame has changed.
        mask_secrets: whether credentials in arguments, uncommitted changes and scripts are masked.
        join_ranks: whether the processes of one distributed launch share one task.
        rank_wait_s: at most so many seconds a rank waits for rank zero to start the task.
        console_limit_bytes: a longer console log of one process loses its middle; 0 keeps all.
        capture_descriptors: whether what C libraries and child programs print is in the console, too.
        earlier_weights: so many earlier weights of each model stay in the store when it gets new ones; -1 keeps all.
    """

    lease_s: float = 60.0
    heartbeat_s: float = 10.0
    sync_interval_s: float = 5.0
    reuse_hours: float = 72.0
    exit_wait_s: float = 10.0
    fold_wait_s: float = 5.0
    metrics_interval_s: float = 15.0
    monitor_interval_s: float = 30.0
    poll_interval_s: float = 2.0
    diff_limit_bytes: int = 500_000
    pending_points: int = 1_000_000
    log_environment: str = ""
    bundle: bool = False
    trust_pickles: bool = False
    block_pickled_artifacts: bool = False
    registered_interval_s: float = 30.0
    mask_secrets: bool = True
    join_ranks: bool = True
    rank_wait_s: float = 30.0
    console_limit_bytes: int = 1 << 30
    capture_descriptors: bool = False
    earlier_weights: int = -1
    source: str = field(default="", compare=False)

    @property
    def beat_s(self) -> float:
        """Seconds between two heartbeats: never so many that a living writer would look dead under a short lease."""
        return min(self.heartbeat_s, self.lease_s / 6.0)


def load_settings(start: Path | None = None) -> Settings:
    """Return the settings in force: environment over ``localtrack.toml`` (upward from ``start``) over defaults.

    Raises:
        InvalidValueError: a value of the wrong type; the message names where it stands.
    """
    values: dict[str, Any] = {}
    path = _find_upward(start or _cwd(), SETTINGS_FILE)
    if path is not None:
        values.update(_read_toml(path))
        values["source"] = str(path)
    known = {f.name: f for f in fields(Settings) if f.name != "source"}
    for name in known:
        text = os.environ.get(f"LOCALTRACK_{name.upper()}")
        if text is not None:
            values[name] = text
    origin = str(path) if path else "the environment"
    checked = {name: _convert(name, known[name].type, values[name], origin) for name in known if name in values}
    return Settings(**checked, source=values.get("source", ""))


def find_root(explicit: str | os.PathLike[str] | None = None, start: Path | None = None) -> tuple[Path, str]:
    """Return the store's folder and how it was found; the folder need not exist yet.

    Order: the argument, ``LOCALTRACK_ROOT``, a ``.localtrack`` folder or a ``localtrack.toml`` with ``root`` upward
    from the working directory, the per-user default.
    """
    if explicit is not None:
        return Path(explicit).expanduser().absolute(), "the argument"
    text = os.environ.get(ROOT_VARIABLE)
    if text:
        return Path(text).expanduser().absolute(), ROOT_VARIABLE
    here = start or _cwd()
    for folder in (here, *here.parents):
        marker = folder / MARKER_FOLDER
        if (marker / "store.json").is_file():
            return marker, f"the folder {marker}"
        toml = folder / SETTINGS_FILE
        if toml.is_file():
            root = _read_toml(toml).get("root")
            if root:
                return (folder / Path(str(root)).expanduser()).absolute(), str(toml)
    import platformdirs

    return Path(platformdirs.user_data_dir("localtrack", appauthor=False)), "the per-user default"


def _cwd() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


def _find_upward(start: Path, name: str) -> Path | None:
    for folder in (start, *start.parents):
        if (folder / name).is_file():
            return folder / name
    return None


def _read_toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as stream:
            content: dict[str, Any] = tomllib.load(stream)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"reading the settings in {path} failed: {error}; mend or remove the file", path=str(path)
        ) from None
    return content


def _convert(name: str, kind: Any, value: Any, origin: str) -> Any:
    kind = kind if isinstance(kind, str) else kind.__name__
    try:
        if kind == "bool":
            return _to_bool(value)
        return {"float": float, "int": int, "str": str}[kind](value)
    except (TypeError, ValueError):
        raise InvalidValueError(f"setting {name!r} in {origin} must be a {kind}, not {value!r}", setting=name) from None


def _to_bool(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(text)


def running_remotely() -> bool:
    """Return whether an agent runs this process.

    Source: ClearML's clearml.config.running_remotely.
    """
    return bool(os.environ.get(TASK_VARIABLE))
