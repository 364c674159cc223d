"""Run git so that neither the user's configuration nor the environment changes what it prints."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from localtrack.records.plain import dataclass

#: Settings that change the form of a patch, or how one is applied, fixed for every call.
FIXED_CONFIG: tuple[str, ...] = (
    "core.quotePath=true",
    "core.fsmonitor=false",
    "core.safecrlf=false",
    "core.pager=cat",
    "core.hooksPath=/dev/null",
    "color.ui=false",
    "diff.autoRefreshIndex=false",  # taking a diff must not write the user's index
    "diff.noprefix=false",
    "diff.mnemonicPrefix=false",
    "diff.suppressBlankEmpty=false",
    "apply.whitespace=nowarn",
    "apply.ignoreWhitespace=no",
    "advice.detachedHead=false",
    "submodule.recurse=false",
)

#: A run started by a git hook inherits these; they would point git at another repository or index.
_FOREIGN_VARIABLES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_CEILING_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_DIFF_OPTS",
        "GIT_DIR",
        "GIT_EXTERNAL_DIFF",
        "GIT_GLOB_PATHSPECS",
        "GIT_ICASE_PATHSPECS",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_LITERAL_PATHSPECS",
        "GIT_NAMESPACE",
        "GIT_NOGLOB_PATHSPECS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)

_CHUNK_BYTES = 1 << 20
MISSING_CODE = 127
_STDERR_LIMIT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class GitOutput:
    """What one git command answered; ``returncode`` is 127 when there was no git to ask."""

    returncode: int
    stdout: bytes
    message: str
    is_truncated: bool = False
    is_timed_out: bool = False


def git_environment() -> dict[str, str]:
    """Return the environment for git: no foreign repository, no prompt, no lock on the user's index."""
    env = {name: value for name, value in os.environ.items() if name not in _FOREIGN_VARIABLES}
    env.update(LC_ALL="C", GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0")
    return env


class GitCommand:
    """One running git command, so that several can run at the same time."""

    __slots__ = ("_failure", "_process", "_stderr")

    def __init__(self, args: Sequence[str], cwd: Path, *, config: Sequence[str] = (), stdin: IO[bytes] | None = None):
        """Start git with ``args`` in ``cwd``; ``config`` adds ``name=value`` settings to the fixed ones."""
        self._failure: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        settings = [part for item in (*FIXED_CONFIG, *config) for part in ("-c", item)]
        command = ["git", "--no-pager", "--literal-pathspecs", *settings, *args]
        self._stderr: IO[bytes] | None = None
        try:
            # A file, not a pipe: nobody reads it while stdout is drained, and a full pipe would block git.
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by finish
        except OSError:
            pass
        try:
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env=git_environment(),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if self._stderr is None else self._stderr,
                start_new_session=True,  # Ctrl-C in the terminal must not cut a diff short
            )
        except (OSError, ValueError) as error:
            self._failure = _explain_start(error, cwd)
            self._close()

    @property
    def stdout(self) -> IO[bytes] | None:
        """The pipe to hand to a next command, or None when git did not start."""
        return None if self._process is None else self._process.stdout

    def finish(self, *, limit_bytes: int | None = None, timeout_s: float = 120.0) -> GitOutput:
        """Read the answer; a command past ``limit_bytes`` or ``timeout_s`` is killed and marked so."""
        process = self._process
        if process is None or process.stdout is None:
            return GitOutput(MISSING_CODE, b"", self._failure or "git did not start")
        is_late = threading.Event()

        def expire() -> None:
            is_late.set()
            process.kill()

        timer = threading.Timer(timeout_s, expire)
        timer.daemon = True
        timer.start()
        try:
            output, is_truncated = _drain(process.stdout, limit_bytes)
            if is_truncated:
                process.kill()
            code = process.wait()
        finally:
            timer.cancel()
            process.stdout.close()
            message = self._read_message()
            self._close()
        if is_late.is_set():
            message = f"git did not answer within {timeout_s:g} s"
        return GitOutput(code, output, message, is_truncated, is_late.is_set())

    def _read_message(self) -> str:
        if self._stderr is None:
            return ""
        try:
            self._stderr.seek(0)
            return self._stderr.read(_STDERR_LIMIT_BYTES).decode("utf-8", "backslashreplace").strip()
        except OSError:
            return ""

    def _close(self) -> None:
        if self._stderr is not None:
            try:
                self._stderr.close()
            except OSError:
                pass


def run_git(args: Sequence[str], cwd: Path, *, config: Sequence[str] = (), limit_bytes: int | None = None) -> GitOutput:
    """Run one git command to its end."""
    return GitCommand(args, cwd, config=config).finish(limit_bytes=limit_bytes)


def _drain(pipe: IO[bytes], limit_bytes: int | None) -> tuple[bytes, bool]:
    chunks: list[bytes] = []
    size = 0
    while chunk := pipe.read(_CHUNK_BYTES):
        size += len(chunk)
        if limit_bytes is not None and size > limit_bytes:
            return b"", True
        chunks.append(chunk)
    return b"".join(chunks), False


def _explain_start(error: Exception, cwd: Path) -> str:
    if isinstance(error, FileNotFoundError) and cwd.is_dir():
        return "git is not on PATH; install git, or put it on PATH, to record uncommitted changes"
    return f"git could not be started in {cwd}: {error}"
