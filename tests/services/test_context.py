"""Opening the store in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from localtrack.config import find_root
from localtrack.errors import StoreError
from localtrack.services.context import open_context
from localtrack.store.root import Store


def test_the_order_in_which_a_store_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument, environment, upward from the working directory, per-user default."""
    deep = tmp_path / "project" / "src" / "deep"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    default, how = find_root()
    assert (default.name, how) == ("localtrack", "the per-user default")
    (tmp_path / "localtrack.toml").write_text('root = "team"\n')
    assert find_root()[0] == tmp_path / "team"
    Store.create(tmp_path / "project" / ".localtrack")
    assert find_root()[0] == tmp_path / "project" / ".localtrack"
    monkeypatch.setenv("LOCALTRACK_ROOT", str(tmp_path / "environment"))
    assert find_root()[0] == tmp_path / "environment"
    assert find_root(tmp_path / "argument")[0] == tmp_path / "argument"


def test_a_store_is_made_where_none_is(isolated_world: Path) -> None:
    """Nothing needs configuring; without leave to create, a missing store is an error that says how to make one."""
    with pytest.raises(StoreError, match="localtrack init"):
        open_context(create=False)
    ctx = open_context()
    assert ctx.store.root == isolated_world / "data" / "localtrack"
    assert open_context(create=False).store.manifest == ctx.store.manifest
    assert ctx.author.pid > 0
