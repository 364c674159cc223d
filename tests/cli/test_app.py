"""The root command: lazy verbs, exit codes, errors as one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localtrack import __version__
from localtrack.cli.registry import VERBS
from localtrack.records.status import Status
from localtrack.store.root import Store

HEAVY = ("pyarrow", "git", "rich", "numpy", "psutil", "watchdog", "filelock")


def run_process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    command = [sys.executable, "-m", "localtrack.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_help_lists_every_verb(cli):
    """`--help` names each verb with its line of help."""
    ran = cli("--help", on_store=False)
    assert ran.code == 0
    for name, verb in VERBS.items():
        assert name in ran.out.split()
        assert verb.help.split()[0] in ran.out


def test_help_imports_nothing_heavy():
    """`--help` loads no Parquet, git or rich: it answers at once."""
    code = (
        "import sys\nfrom localtrack.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_version(cli):
    """`--version` prints the version on stdout."""
    ran = cli("--version", on_store=False)
    assert (ran.code, ran.out) == (0, f"localtrack {__version__}\n")


@pytest.mark.parametrize("arguments", [["lss"], ["ls", "--nonsense"], ["show", "a", "b"], ["completion", "tcsh"]])
def test_a_wrong_command_line_exits_2(cli, store, arguments):
    """A wrong command line is exit code 2, said on stderr, with nothing on stdout."""
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Error" in ran.err


def test_a_mistyped_verb_gets_the_nearest(cli):
    """A mistyped verb is answered with the one that was meant."""
    assert "did you mean 'clone'" in cli("clnoe", on_store=False).err


def test_a_failure_is_one_line(cli, store):
    """An error of localtrack's is one line on stderr and exit code 1."""
    ran = cli("show", "nowhere/nothing")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("localtrack: no task 'nowhere/nothing'")
    assert len(ran.err.splitlines()) == 1


def test_no_store_says_how_to_make_one(cli, tmp_path):
    """Without a store, a reading verb names the folder and the way to make one, and makes none itself."""
    ran = cli("--root", tmp_path / "none", "ls", on_store=False)
    assert ran.code == 1
    assert f"localtrack init {tmp_path / 'none'}" in ran.err
    assert not (tmp_path / "none").exists()


def test_root_stands_before_or_after_the_verb(cli, make, store_root):
    """`--root` means the same before and after the verb, and the later one wins."""
    task = make()
    assert cli("ls", "--root", store_root, "--json", on_store=False).json[0]["id"] == task.id
    assert cli("--root", "/nowhere", "ls", "--root", store_root, "--json", on_store=False).json[0]["id"] == task.id


def test_a_reader_that_goes_away_is_no_failure(store_root, make):
    """`localtrack ls | head -1` ends without a word."""
    for number in range(30):
        make(f"a rather long name that fills the pipe {number}" + "x" * 4000)
    command = f"{sys.executable} -m localtrack.cli --root {store_root} ls --json | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["[", "0"]
    assert done.stderr == ""


def test_no_name_ends_in_an_encoding_error(store_root, make):
    """Names that stdout's encoding lacks are spelled out instead of raising."""
    make("smile \U0001f600")
    import os

    done = run_process("--root", str(store_root), "ls", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "smile \\U0001f600" in done.stdout


def test_python_m_runs_it():
    """`python -m localtrack.cli` is the command line."""
    assert run_process("--version").stdout == f"localtrack {__version__}\n"


def test_summary_without_a_verb(cli, make):
    """`localtrack` alone prints where the store is, how many tasks there are, and the newest ones."""
    task = make("base", "vision/resnet")
    ran = cli()
    assert ran.code == 0
    assert task.id[:8] in ran.out
    assert "1 (1 created)" in ran.out


def test_summary_of_an_empty_store(cli, store):
    """An empty store's summary says how to begin."""
    assert "Task.init" in cli().out


def test_a_newer_store_is_refused(cli, store: Store):
    """A store of a newer format is refused in one line that says what to do."""
    manifest = Path(store.root, "store.json")
    manifest.write_text(manifest.read_text().replace('"major": 1', '"major": 2'))
    ran = cli("ls")
    assert (ran.code, ran.out) == (1, "")
    assert "install a newer localtrack" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_full_disk_is_one_line(small_disk, fill_up):
    """A verb that can't write says so in one line, names the way out, and leaves no half task."""
    root = small_disk / "store"
    assert run_process("init", str(root)).returncode == 0
    script = "from localtrack.services.context import open_context as o; from localtrack.services.tasks import create; "
    made = subprocess.run(
        [sys.executable, "-c", f"{script}create(o({str(root)!r}), name='a', project='p')"], timeout=60, check=True
    )
    assert made.returncode == 0
    filler = fill_up(small_disk)
    full = run_process("--root", str(root), "clone", "@last")
    assert full.returncode == 1
    assert full.stderr.startswith("localtrack: ")
    assert "full" in full.stderr
    assert len(full.stderr.splitlines()) == 1
    filler.unlink()
    import json

    assert len(json.loads(run_process("--root", str(root), "ls", "--json").stdout)) == 1


def test_an_unreadable_store_names_the_file(cli, store: Store):
    """A damaged store.json is named, with the next step, and no traceback."""
    Path(store.root, "store.json").write_text("{")
    ran = cli("ls")
    assert ran.code == 1
    assert "store.json is damaged" in ran.err
    assert "Traceback" not in ran.err


def test_summary_as_json(cli, make, store_root):
    """`localtrack --json` prints the summary as data; before a verb, --json is refused with the place where it belongs."""
    task = make("words", "nlp", status=Status.COMPLETED)
    body = cli("--json").json
    assert (body["root"], body["tasks"], body["by_status"]) == (str(store_root), 1, {"completed": 1})
    assert [row["id"] for row in body["last_changed"]] == [task.id]
    assert 0 < body["disk"]["free_bytes"] <= body["disk"]["total_bytes"]
    ran = cli("--json", "ls")
    assert ran.code == 2
    assert "ls ... --json" in ran.err
