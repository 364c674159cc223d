"""A kernel's notebook is found by what its front end, its parent process or its server say; nobody's answer is trusted."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from localtrack.capture import notebook_place
from localtrack.capture.notebook_code import Cell, build_notebook
from localtrack.capture.notebook_place import KernelTraits, find_named, find_notebook

KERNEL = "5f6a0e1c-1111-4222-8333-944455556666"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook with one cell."""
    path = tmp_path / "train.ipynb"
    path.write_bytes(build_notebook([Cell("x = 1")]))
    return path


def traits(tmp_path: Path, environment: dict[str, str] | None = None, **variables: Any) -> KernelTraits:
    """Return a kernel that runs in a folder."""
    own = {"JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"), **(environment or {})}
    return KernelTraits(tmp_path, variables, own, str(tmp_path / "runtime" / f"kernel-{KERNEL}.json"))


def test_the_front_end_names_it(notebook: Path, tmp_path: Path) -> None:
    """VS Code's variable and Jupyter's environment variable are believed when the file is there."""
    assert find_named(traits(tmp_path, {"JPY_SESSION_NAME": "train.ipynb"})) == notebook
    assert find_named(traits(tmp_path, {"JPY_SESSION_NAME": str(notebook)})) == notebook
    assert find_named(traits(tmp_path, __vsc_ipynb_file__=str(notebook))) == notebook
    for name in ("gone.ipynb", "a\0.ipynb", "5f6a0e1c-console", ""):
        assert find_named(traits(tmp_path, {"JPY_SESSION_NAME": name}, __vsc_ipynb_file__=7)) is None


def test_the_command_line_of_the_parent_names_it(notebook: Path, tmp_path: Path) -> None:
    """Of several notebooks the last one that has the cell is it: papermill's output comes second."""
    other = tmp_path / "other.ipynb"
    other.write_bytes(build_notebook([Cell("y = 2")]))
    command = [
        sys.executable,
        "-c",
        "print(flush=True); input()",
        notebook.name,
        "--x=a.ipynb",
        "other.ipynb",
        "gone.ipynb",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        kernel = traits(tmp_path, {"JPY_PARENT_PID": str(parent.pid)})
        assert find_notebook(kernel, ["z = 3", "x = 1\n"]) == notebook
        assert find_notebook(kernel, ["y = 2"]) == other
        assert find_notebook(kernel, ["z = 3"]) is None
        other.write_bytes(b"\0")
        assert find_notebook(kernel, ["y = 2"]) is None
        parent.communicate(b"\n")


class Answers(BaseHTTPRequestHandler):
    """A Jupyter server, as far as it is asked."""

    def do_GET(self) -> None:
        """Answer with the list of sessions, or not at all."""
        server: Any = self.server
        server.asked.append((self.path, self.headers.get("Authorization")))
        body = server.body if isinstance(server.body, bytes) else json.dumps(server.body).encode()
        self.send_response(server.status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """A running server that wrote its runtime file."""
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.asked, made.status = [], 200
    made.body = [{"kernel": {"id": "another"}}, {"path": "sub/train.ipynb", "kernel": {"id": KERNEL}}]
    threading.Thread(target=made.serve_forever, daemon=True).start()
    about = {
        "url": f"http://127.0.0.1:{made.server_port}/base/",
        "token": "secret",
        "root_dir": str(tmp_path),
        "pid": 1,
    }
    (tmp_path / "runtime").mkdir()
    made.about = tmp_path / "runtime" / "jpserver-1.json"
    made.about.write_text(json.dumps(about))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "train.ipynb").write_bytes(build_notebook([]))
    yield made
    made.shutdown()
    made.server_close()


def test_the_server_is_asked_with_its_token(server: Any, tmp_path: Path) -> None:
    """The session of this kernel has the path, below the server's own root."""
    assert find_notebook(traits(tmp_path), []) == tmp_path / "sub" / "train.ipynb"
    assert server.asked == [("/base/api/sessions", "token secret")]


@pytest.mark.parametrize("body", [b"<html>", b"", b"[" * 100_000, [], {}, [7], [{"kernel": 1}], [{"path": "x.ipynb"}]])
def test_an_odd_answer_is_no_answer(server: Any, tmp_path: Path, body: Any) -> None:
    """Whatever the server says, nothing is raised."""
    server.body = body
    assert find_notebook(traits(tmp_path), []) is None


def test_a_token_goes_to_this_machine_alone(server: Any, tmp_path: Path) -> None:
    """A runtime file that names another host, or is broken, is passed over."""
    about = json.loads(server.about.read_text())
    for change in (
        {"url": "http://example.org:80/"},
        {"url": "http://127.0.0.1:99999/"},
        {"url": 5},
        {"root_dir": None},
    ):
        server.about.write_text(json.dumps({**about, **change}))
        assert find_notebook(traits(tmp_path), []) is None
    server.about.write_text("{")
    assert find_notebook(traits(tmp_path), []) is None


def test_a_server_that_refuses_or_is_slow_is_passed_over(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal, a dead port and a silent one are no answers; a silent one is given little time."""
    server.status = 403
    assert find_notebook(traits(tmp_path), []) is None
    monkeypatch.setattr(notebook_place, "SERVER_TIMEOUT_S", 0.05)
    server.shutdown()  # the port still takes connections, and nobody answers
    assert find_notebook(traits(tmp_path), []) is None
    server.server_close()
    assert find_notebook(traits(tmp_path), []) is None
