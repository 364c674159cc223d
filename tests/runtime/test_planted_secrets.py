"""Secrets planted wherever a run looks: none is in the store afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from localtrack.services import tasks
from localtrack.services.context import StoreContext
from tests.capture.planted import EMBEDDED, PLANTED

SCRIPT = """
import argparse
from localtrack import Task
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
for number in range({count}):
    parser.add_argument(f"--value{{number}}")
for name in {names!r}:
    parser.add_argument(f"--{{name}}")
Task.init("p", "planted")
args = parser.parse_args()
print("LR", args.lr)
"""


def _all_bytes(root: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())


def test_no_planted_secret_is_in_the_store(ctx: StoreContext, tmp_path: Path) -> None:
    """Arguments, chosen environment, the remote's address, staged and new files: no secret of any kind is stored."""
    secrets = [secret for secret, _ in PLANTED.values()] + [secret for _, secret in EMBEDDED.values()]
    known = {f"--{name}": secret for secret, name in PLANTED.values() if name != "value"}
    shaped = [secret for secret, name in PLANTED.values() if name == "value"]
    shaped += [text for kind, (text, _) in EMBEDDED.items() if kind != "private key"]
    project = tmp_path / "project"
    project.mkdir()

    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=project, check=True, capture_output=True)

    git("init", "-q")
    (project / "settings.py").write_text("lr = 1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    git("remote", "add", "origin", f"https://ada:{secrets[0]}@host.example.org/x.git")
    lines = [f'{name} = "{secret}"' for secret, name in PLANTED.values()] + [text for text, _ in EMBEDDED.values()]
    (project / "settings.py").write_text("\n".join(["lr = 1", ", *lines, "]))
    script = SCRIPT.format(count=len(shaped), names=[name[2:] for name in known])
    (project / "run.py").write_text(script + "".join(f"# {line}\n" for line in "\n".join(lines).splitlines()))
    words = [f"--value{number}={text}" for number, text in enumerate(shaped)]
    words += [word for pair in known.items() for word in pair]
    planted = {f"PLANTED_{number}": secret for number, secret in enumerate(shaped)}
    planted.update({name[2:].upper(): secret for name, secret in known.items()})
    env = {
        **os.environ, **planted, "LOCALTRACK_ROOT": str(ctx.store.root), "LOCALTRACK_LOG_ENVIRONMENT": ",".join(planted),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }  # fmt: skip
    for root in (project, tmp_path / "plain"):  # in git, and a script of no repository
        root.mkdir(exist_ok=True)
        (root / "run.py").write_text((project / "run.py").read_text())
        done = subprocess.run(
            [sys.executable, "run.py", "--lr", "0.5", *words],
            cwd=root,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, "LR 0.5" in done.stdout) == (0, True), done.stderr
    stored = _all_bytes(ctx.store.root)
    assert [secret for secret in secrets if secret.encode() in stored] == []
    for row in ctx.index.rows():
        record = tasks.read(ctx, row.id)
        assert record.status == "completed"
        assert record.parameters["Args/lr"]["value"] == 0.5
        assert sum("what looks like secrets" in text for text in record.errors) == 1
