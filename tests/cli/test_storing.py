"""init, index, completion."""

from __future__ import annotations

import shutil
import stat
import subprocess

import pytest

from localtrack.store.layout import TaskLayout


def test_init_here_is_found_from_below(cli, tmp_path, monkeypatch):
    """`init` without a path makes .localtrack here, and verbs find it from any folder below."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    body = cli("init", "--json", on_store=False).json
    assert body["root"] == str(tmp_path / ".localtrack")
    assert body["created"]
    monkeypatch.chdir(below)
    assert str(tmp_path / ".localtrack") in cli(on_store=False).out


def test_init_twice_keeps_the_store(cli, tmp_path):
    """A second `init` leaves the store as it is."""
    first = cli("init", tmp_path / "s", "--json", on_store=False).json
    again = cli("init", tmp_path / "s", "--json", on_store=False).json
    assert (again["id"], again["created"]) == (first["id"], False)


def test_shared_is_writable_for_the_group(cli, tmp_path):
    """--shared gives folders setgid and group write, whatever the umask is."""
    import os

    old = os.umask(0o077)
    try:
        assert cli("init", tmp_path / "s", "--shared", "--json", on_store=False).json["shared"]
    finally:
        os.umask(old)
    for folder in (tmp_path / "s", tmp_path / "s" / "projects"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o2770


def test_a_nested_store_is_refused(cli, store_root, store):
    """A store inside another is refused, naming the other, and not made."""
    ran = cli("init", store_root / "inner", on_store=False)
    assert ran.code == 1
    assert str(store_root) in ran.err
    assert not (store_root / "inner").exists()


def test_init_where_nothing_can_be_made(cli, tmp_path):
    """A path that can't be a folder is named in one line."""
    (tmp_path / "file").write_text("")
    ran = cli("init", tmp_path / "file" / "s", on_store=False)
    assert ran.code == 1
    assert str(tmp_path / "file") in ran.err


def test_index_rebuild_after_deletion(cli, make, store_root):
    """Deleting the index loses nothing: `rebuild` counts every task again."""
    make("1")
    make("2")
    shutil.rmtree(store_root / "index")
    assert len(cli("ls", "--json").json) == 2
    assert cli("index", "rebuild", "--json").json == {"tasks": 2}
    assert cli("index", "check").code == 0


def test_index_check_names_damaged_metadata(cli, ctx, make):
    """A torn metadata file is named, with exit code 1."""
    from localtrack.services import tasks

    task = make()
    layout = TaskLayout(tasks.folder_of(ctx, task.id))
    newest = max(layout.metadata.iterdir())
    newest.chmod(0o644)
    newest.write_bytes(b"{")
    ran = cli("index", "check", "--json")
    assert ran.code == 1
    assert any(str(newest) in problem for problem in ran.json["problems"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(cli, shell):
    """Each shell's script names the variable by which it asks for completions."""
    ran = cli("completion", shell, on_store=False)
    assert ran.code == 0
    assert "_LOCALTRACK_COMPLETE" in ran.out


def test_the_shell_completes_ids(make, store_root):
    """A shell that asks gets the ids that begin so."""
    import os
    import sys

    task = make()
    environment = {
        **os.environ,
        "_LOCALTRACK_COMPLETE": "bash_complete",
        "COMP_WORDS": f"localtrack show {task.id[:3]}",
        "COMP_CWORD": "2",
        "LOCALTRACK_ROOT": str(store_root),
    }
    done = subprocess.run(
        [sys.executable, "-m", "localtrack.cli"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == [f"plain,{task.id[:8]}"], done.stderr
