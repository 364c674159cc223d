"""Find the file of the notebook that a kernel runs: the kernel itself is never told which one it is.

Source: jupyter_server's services/sessions (JPY_SESSION_NAME, /api/sessions) and its jpserver-*.json; jupyter_client's
JPY_PARENT_PID; VS Code's __vsc_ipynb_file__.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from localtrack.capture.notebook_code import Cell, NotebookError, parse_cells, read_notebook
from localtrack.records.plain import dataclass

SUFFIX = ".ipynb"
SESSION_VARIABLE = "JPY_SESSION_NAME"
PARENT_VARIABLE = "JPY_PARENT_PID"
VSCODE_NAME = "__vsc_ipynb_file__"
SERVER_TIMEOUT_S = 1.0
_ANSWER_LIMIT_BYTES = 1 << 20
_SERVERS_LIMIT = 8
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CONNECTION_FILE = re.compile(r"kernel-(?:v2-\d+)?([\w-]+?)\.json")


@dataclass(frozen=True, slots=True)
class KernelTraits:
    """What a kernel knows of itself.

    Attributes:
        cwd: its working directory at the start.
        variables: the user's variables.
        environment: its environment.
        connection_file: where its ports are written; its name has the kernel's id. ``""`` where there is none.
    """

    cwd: Path
    variables: Mapping[str, Any]
    environment: Mapping[str, str]
    connection_file: str = ""


def find_named(kernel: KernelTraits) -> Path | None:
    """Return the notebook that the front end named to the kernel, if it is there."""
    for name in (kernel.variables.get(VSCODE_NAME), kernel.environment.get(SESSION_VARIABLE)):
        if isinstance(name, str) and name.endswith(SUFFIX):
            found = _existing(kernel.cwd / name)
            if found is not None:
                return found
    return None


def find_notebook(kernel: KernelTraits, executed: Sequence[str]) -> Path | None:
    """Return the notebook's file; None where nobody on this machine says which one it is.

    Looked for in this order: what the front end says, the command line of the process that started the kernel
    (papermill, nbconvert, ``jupyter execute``), the Jupyter server's list of sessions. Nothing that fails is told of.

    Args:
        kernel: the kernel.
        executed: sources that it ran: a file of a command line must have the last of them.
    """
    return find_named(kernel) or _find_on_command_line(kernel, executed) or _ask_servers(kernel)


def _existing(path: Path) -> Path | None:
    try:
        return Path(os.path.abspath(path)) if path.is_file() else None
    except (OSError, ValueError):
        return None


def _find_on_command_line(kernel: KernelTraits, executed: Sequence[str]) -> Path | None:
    parent = kernel.environment.get(PARENT_VARIABLE, "")
    process = Path("/proc") / (parent if parent.isdigit() and parent != "1" else str(os.getppid()))
    try:
        words = os.fsdecode((process / "cmdline").read_bytes()).split("\0")
        folder = Path(os.readlink(process / "cwd"))
    except OSError:
        return None
    # papermill's last one is what it writes while it runs
    for word in reversed([word for word in words if word.endswith(SUFFIX) and not word.startswith("-")]):
        path = _existing(folder / word)
        if path is not None and _holds(path, executed[-1:]):
            return path
    return None


def _holds(path: Path, executed: Iterable[str]) -> bool:
    try:
        sources = {cell.source.strip() for cell in read_cells(path)}
    except (OSError, NotebookError):
        return False
    return all(source.strip() in sources for source in executed)


def read_cells(path: Path) -> list[Cell]:
    """Return the code cells of a notebook's file.

    Raises:
        NotebookError: it is none that is read.
        OSError: it can't be read.
    """
    return parse_cells(read_notebook(path), str(path))


def _ask_servers(kernel: KernelTraits) -> Path | None:
    match = _CONNECTION_FILE.fullmatch(os.path.basename(kernel.connection_file))
    if match is None:
        return None
    for server in _known_servers(kernel):
        for session in _sessions(server, kernel.environment):
            inner = session.get("kernel")
            if not isinstance(inner, dict) or inner.get("id") != match[1]:
                continue
            notebook = session.get("notebook")
            path = session.get("path") or (notebook.get("path") if isinstance(notebook, dict) else None)
            root = server.get("root_dir") or server.get("notebook_dir")
            if isinstance(path, str) and isinstance(root, str) and path.endswith(SUFFIX):
                return _existing(Path(root) / path)
    return None


def _known_servers(kernel: KernelTraits) -> list[dict[str, Any]]:
    """Return what servers of this user wrote about themselves, the one that started the kernel first."""
    environment = kernel.environment
    data = environment.get("JUPYTER_DATA_DIR") or os.path.join(
        environment.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "jupyter"
    )
    folders = {
        environment.get("JUPYTER_RUNTIME_DIR") or os.path.join(data, "runtime"),
        os.path.dirname(kernel.connection_file),
    }
    found: list[tuple[bool, float, dict[str, Any]]] = []
    for path in (path for folder in folders if folder for path in Path(folder).glob("*server-*.json")):
        try:
            with path.open("rb") as stream:
                about = os.fstat(stream.fileno())
                body = json.loads(stream.read(_ANSWER_LIMIT_BYTES)) if about.st_uid == os.getuid() else None
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(body, dict):
            is_parent = str(body.get("pid")) == environment.get(PARENT_VARIABLE)
            found.append((is_parent, about.st_mtime, body))
    found.sort(key=lambda each: each[:2], reverse=True)
    return [body for _, _, body in found[:_SERVERS_LIMIT]]


def _sessions(server: Mapping[str, Any], environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Ask a server on this machine; its token is sent nowhere else."""
    try:
        url = urlsplit(str(server.get("url", "")))
        host, port = url.hostname, url.port
    except ValueError:
        return []
    if url.scheme != "http" or host not in _LOOPBACK or port is None:
        return []
    token = str(server.get("token") or environment.get("JUPYTERHUB_API_TOKEN") or "")
    headers = {"Authorization": f"token {token}"} if token else {}
    connection = HTTPConnection(host, port, timeout=SERVER_TIMEOUT_S)
    try:
        connection.request("GET", f"{url.path.rstrip('/')}/api/sessions", headers=headers)
        answer = connection.getresponse()
        body = json.loads(answer.read(_ANSWER_LIMIT_BYTES)) if answer.status == 200 else []
    except (OSError, ValueError, RecursionError, HTTPException):
        return []
    finally:
        connection.close()
    return [session for session in body if isinstance(session, dict)] if isinstance(body, list) else []
