"""Whose entries run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localtrack.queue.trust import Trust, store_trust


def test_a_private_store_trusts_its_user_and_root(tmp_path: Path) -> None:
    """Without sharing only the own user, root and those named explicitly are trusted."""
    trust = store_trust(tmp_path, is_shared=False, also=frozenset({4242}))
    assert trust.allows(os.getuid())
    assert trust.allows(0)
    assert trust.allows(4242)
    assert not trust.allows(65534)


def test_a_shared_store_trusts_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shared store the members of the folder's group are trusted, by primary or further membership; others not."""
    import grp
    import pwd
    from types import SimpleNamespace

    users = {10: ("ada", 7), 11: ("bob", 9), 12: ("eve", 9)}

    def find_user(uid: int) -> SimpleNamespace:
        return SimpleNamespace(pw_name=users[uid][0], pw_gid=users[uid][1])

    monkeypatch.setattr(pwd, "getpwuid", find_user)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_mem=["bob"] if gid == 7 else []))
    trust = Trust(frozenset(), group=7)
    assert [trust.allows(uid) for uid in (10, 11, 12, 13)] == [True, True, False, False]
    assert store_trust(tmp_path, is_shared=True).group == tmp_path.stat().st_gid
