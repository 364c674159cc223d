"""One imported model for each address, whoever dies, removes or hides it in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from localtrack.errors import ModelNotFoundError
from localtrack.fs.disk import Disk
from localtrack.records.model import ModelRecord
from localtrack.services import model_removal, models
from localtrack.services.context import StoreContext

URL = "s3://bucket/net.pt"


def _import(ctx: StoreContext, name: str = "net") -> tuple[str, bool]:
    record, is_new = models.import_model(ctx, URL, ModelRecord(id="", name=name))
    return record.id, is_new


def _claims(ctx: StoreContext) -> list[Path]:
    return sorted((ctx.store.layout.models / "addresses").glob("*/*.json"))


class _Died(BaseException):
    """The process ends here."""


def _die_before_the_move(monkeypatch: pytest.MonkeyPatch) -> None:
    def move(self: Disk, source: Path, target: Path) -> bool:
        raise _Died

    monkeypatch.setattr(Disk, "move", move)


def test_the_next_importer_ends_what_a_dead_one_began(ctx: StoreContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim whose maker died is fulfilled with its model: nothing is made twice, nothing is left below tmp."""
    with monkeypatch.context() as patch:
        _die_before_the_move(patch)
        with pytest.raises(_Died):
            _import(ctx, "first")
    assert ctx.models.rows() == []
    assert _import(ctx, "second")[1] is False
    (row,) = ctx.models.rows()
    assert row.value("name") == "first"
    assert len(_claims(ctx)) == 1
    assert list(ctx.store.layout.tmp.iterdir()) == []


def test_what_gc_took_is_not_waited_for(ctx: StoreContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim whose model is nowhere gives way to the next one."""
    with monkeypatch.context() as patch:
        _die_before_the_move(patch)
        with pytest.raises(_Died):
            _import(ctx)
    for path in list(ctx.store.layout.tmp.iterdir()):
        path.rename(ctx.store.root.parent / path.name)
    assert _import(ctx)[1] is True
    assert len(_claims(ctx)) == 2


def test_a_removed_and_an_archived_model_leave_the_address_free(ctx: StoreContext) -> None:
    """The same address again is the same model, until that is removed or archived: then it is a new one."""
    first, is_new = _import(ctx)
    assert is_new
    assert _import(ctx, "another name") == (first, False)
    model_removal.remove(ctx, first)
    second, is_new = _import(ctx)
    assert is_new
    models.set_archived(ctx, second, True)
    third, is_new = _import(ctx)
    assert is_new
    assert len({first, second, third}) == 3
    assert _import(ctx) == (third, False)


def test_a_rival_removes_the_model_that_was_just_found(ctx: StoreContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is gone before it is read is no error of the import: the address gets another one."""
    first, _ = _import(ctx)
    row = models.by_url(ctx, URL)
    model_removal.remove(ctx, first)
    monkeypatch.setattr(models, "by_url", lambda ctx, url: row)
    with pytest.raises(ModelNotFoundError):
        models.read(ctx, first)
    second, is_new = _import(ctx)
    assert is_new
    assert models.read(ctx, second)[1].weights["url"] == URL


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"schema":"localtrack/model-address/1"'])
def test_a_damaged_claim_is_stepped_over(ctx: StoreContext, damage: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torn claim blocks no import; the next one counts."""
    first, _ = _import(ctx)
    (claim,) = _claims(ctx)
    claim.chmod(0o644)
    claim.write_bytes(damage)
    monkeypatch.setattr(models, "by_url", lambda ctx, url: None)
    second, is_new = _import(ctx)
    assert is_new
    assert _import(ctx) == (second, False)
    assert {row.id for row in ctx.models.rows()} == {first, second}
