"""Whose place an address outside the store is: the first model that uploads there has it, by exclusive creation.

Two models of one task whose files have one name would write over each other's weights.

Source: docs/format/v1.md, "models/uploads/<address>.json".
"""

from __future__ import annotations

from pathlib import Path

from localtrack.errors import CorruptFileError
from localtrack.fs.disk import Disk, remove_files
from localtrack.records.digests import hex_sha256
from localtrack.store.documents import now, open_sealed, sealed
from localtrack.store.layout import StoreLayout

FAMILY = "localtrack/upload-place/"


def reserve_place(disk: Disk, store: StoreLayout, url: str, model_id: str) -> bool:
    """Make an address a model's; tell whether it is, now or since an earlier call.

    Raises:
        OSError: the store's disk takes no more.
    """
    place = _file_of(store, url)
    disk.make_dirs(place.parent)
    body = {"url": url, "model": model_id, "at": now()}
    return disk.publish(sealed(f"{FAMILY}1", body), place) or _owner(place) == model_id


def release_place(store: StoreLayout, url: str, model_id: str) -> None:
    """Give an address free that is a model's, because nothing of it is there any more."""
    place = _file_of(store, url)
    if _owner(place) == model_id:
        remove_files([place])


def _owner(place: Path) -> str:
    """Return the model that has a place; empty where nobody can tell: then it is nobody's of whom one knows."""
    try:
        return str(open_sealed(place, FAMILY).get("model", ""))
    except (OSError, CorruptFileError):
        return ""


def _file_of(store: StoreLayout, url: str) -> Path:
    digest = hex_sha256(url.encode("utf-8", "surrogatepass"))
    return store.models / "uploads" / f"{digest[:32]}.json"
