"""One imported model for each address: what two importers may decide is decided by exclusive creation of a claim.

The model is made whole under a name of ``tmp/``, the claim says under which, and whoever reads the claim moves the model to
its place. So an importer that dies leaves a claim that the next one fulfils; and since there is only one such folder to
move, a model that was removed since does not come back by a late helper.

Source: docs/format/v1.md, "models/addresses/<address>/<n>.json".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from localtrack.errors import CorruptFileError, ModelNotFoundError, StoreError
from localtrack.fs.disk import Disk, is_listed, list_names, remove_tree
from localtrack.records.digests import hex_sha256
from localtrack.records.ids import is_task_id, task_folder_name
from localtrack.records.model import ModelRecord
from localtrack.records.plain import dataclass
from localtrack.store import generations as log
from localtrack.store.documents import now, open_sealed, sealed
from localtrack.store.generations import Author
from localtrack.store.layout import ModelLayout, StoreLayout, generation_name, parse_generation
from localtrack.store.models import ID_DIGITS, MODEL, read_model

SCHEMA = "localtrack/model-address/1"
ATTEMPTS = 100
_TMP_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
Announce = Callable[[str, int, Path], None]
Placed = tuple[Path, ModelRecord]


@dataclass(frozen=True, slots=True)
class AddressClaim:
    """Which model an address has.

    Attributes:
        model: the model's id.
        prepared: the name below ``tmp/`` under which the model was made.
    """

    model: str
    prepared: str


class ModelAddresses:
    """The imported models of a store, by their addresses.

    Args:
        disk: writes there.
        store: the store's paths.
        author: who imports.
        announce: told id, generation and folder of a model before it appears.
    """

    def __init__(self, disk: Disk, store: StoreLayout, author: Author, announce: Announce) -> None:
        self._disk = disk
        self._store = store
        self._author = author
        self._announce = announce

    def model_of(self, address: str, draft: ModelRecord, fits: Callable[[ModelRecord], bool]) -> Placed:
        """Return the model that an address has, made from ``draft`` where it has none.

        Args:
            address: its one spelling.
            draft: the new model whole, its id included.
            fits: tells whether a model is still the one of the address; else the address gets another.

        Raises:
            StoreError: the store can't be written.
            OSError: the disk takes no more.
        """
        claims = self._claims_of(address)
        prepared: Path | None = None
        for _ in range(ATTEMPTS):
            number, claim = _newest(claims)
            placed = self._placed(claim) if claim is not None else None
            if placed is not None and fits(placed[1]):
                if prepared is not None and claim is not None and claim.prepared != prepared.name:
                    _forget(prepared)
                return placed
            if prepared is None:
                prepared = self._prepare(draft)
                self._disk.make_dirs(claims)
            body = {
                "url": address, "model": draft.id, "prepared": prepared.name, "by": self._author.user, "at": now(),
            }  # fmt: skip
            self._disk.publish(sealed(SCHEMA, body), claims / generation_name(number + 1))
        raise StoreError(
            f"could not import {address}: {ATTEMPTS} others removed or archived its model meanwhile; import it again",
            path=str(claims),
        )

    def _claims_of(self, address: str) -> Path:
        digest = hex_sha256(address.encode("utf-8", "surrogatepass"))
        return self._store.models / "addresses" / digest[:32]

    def _prepare(self, draft: ModelRecord) -> Path:
        """Make a model whole, where nobody takes it for one."""
        folder = self._disk.new_tmp_name()
        self._disk.make_dir(folder)
        layout = ModelLayout(folder)
        self._disk.make_dir(layout.metadata)
        log.commit_first(MODEL, self._disk, layout, draft, self._author, 1, now())
        return folder

    def _placed(self, claim: AddressClaim) -> Placed | None:
        """Return a claimed model at its place, put there now if nobody did; None for one that is gone."""
        found = self._find(claim.model)
        prepared = self._disk.tmp / claim.prepared
        if found is not None or not is_listed(prepared):
            return found or self._find(claim.model)
        try:
            record = read_model(prepared)
        except (ModelNotFoundError, CorruptFileError):  # it is moved in this moment, or was never whole
            return self._find(claim.model)
        if record.id != claim.model:
            return None
        self._disk.make_dirs(self._store.models)
        for digits in ID_DIGITS:
            target = self._store.models / task_folder_name(record.name, record.id, digits)
            self._announce(record.id, record.generation, target)
            try:
                if self._disk.move(prepared, target):
                    return target, record
            except FileNotFoundError:  # this host remembered a name that another one moved
                pass
            found = self._find(claim.model)
            if found is not None:
                return found
        return None

    def _find(self, model_id: str) -> Placed | None:
        for name in sorted(list_names(self._store.models)):
            digits = name.rpartition("--")[2]
            if "--" not in name or not model_id.startswith(digits):
                continue
            folder = self._store.models / name
            try:
                record = read_model(folder)
            except (ModelNotFoundError, CorruptFileError):
                continue
            if record.id == model_id:
                return folder, record
        return None


def _newest(claims: Path) -> tuple[int, AddressClaim | None]:
    """Return the highest number of one listing and its claim; None when there is none, or it is damaged for good."""
    number = max((n for n in map(parse_generation, list_names(claims)) if n is not None), default=0)
    if not number:
        return 0, None
    for attempt in range(3):
        if attempt:
            time.sleep(0.02 * 4**attempt)  # where there are no hard links it may be in the making
        try:
            body = open_sealed(claims / generation_name(number), "localtrack/model-address/")
        except CorruptFileError:
            continue
        except FileNotFoundError:
            break
        model, prepared = str(body.get("model", "")), str(body.get("prepared", ""))
        return number, AddressClaim(model, prepared) if is_task_id(model) and _TMP_NAME.fullmatch(prepared) else None
    return number, None


def _forget(folder: Path) -> None:
    try:
        remove_tree(folder)
    except OSError:
        pass  # it is garbage of no name, and `gc` takes it
