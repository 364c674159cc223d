"""How a run ends is told truthfully, and the process ends as it would without us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from localtrack.records.task import TaskRecord
from localtrack.services import tasks
from localtrack.services.context import StoreContext

HEAD = """
import os, signal, sys, threading, time
from localtrack import Task
task = Task.init(project_name="ends", task_name="run", reuse_last_task_id=False)
print("ID", task.id, flush=True)
task.get_logger().report_scalar("loss", "train", 1.0, 1)
"""

ENDINGS = {
    "falls off the end": ("pass", 0, "completed", 0, ""),
    "sys.exit(0)": ("sys.exit(0)", 0, "completed", 0, ""),
    "sys.exit()": ("sys.exit()", 0, "completed", 0, ""),
    "sys.exit(3)": ("sys.exit(3)", 3, "failed", 3, ""),
    "sys.exit(256 + 7)": ("sys.exit(263)", 7, "failed", 7, ""),
    "sys.exit(text)": ("sys.exit('bad')", 1, "failed", 1, ""),
    "raise SystemExit(2)": ("raise SystemExit(2)", 2, "failed", 2, ""),
    "raise SystemExit(main())": ("raise SystemExit((lambda: 0)())", 0, "completed", 0, ""),
    "exit in a function": ("def f():\n    sys.exit(4)\nf()", 4, "failed", 4, ""),
    "exit with a finally": ("try:\n    sys.exit(5)\nfinally:\n    x = 1", 5, "failed", 5, ""),
    "a caught exit": ("try:\n    sys.exit(3)\nexcept SystemExit:\n    pass", 0, "completed", 0, ""),
    "a caught exit, then another end": (
        "try:\n    raise SystemExit(3)\nexcept SystemExit:\n    pass\nraise ValueError('x')", 1, "failed", 1, "",
    ),
    "an exception": ("raise ValueError('boom')", 1, "failed", 1, ""),
    "an exception in a thread": (
        "t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()", 0, "completed", 0, "",
    ),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(30)", -signal.SIGINT, "stopped", 130, "SIGINT"),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", -signal.SIGTERM, "stopped", 143, "SIGTERM"),
    "SIGHUP": ("os.kill(os.getpid(), signal.SIGHUP); time.sleep(30)", -signal.SIGHUP, "stopped", 129, "SIGHUP"),
    "close()": ("task.close()", 0, "completed", 0, ""),
    "an exception after close()": ("task.close(); raise ValueError('late')", 1, "completed", 0, ""),
}  # fmt: skip


BAD_ERROR = """
class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")
"""

MESSAGES = {
    "an exception without a text": (BAD_ERROR + "raise Mute", 1, "failed", "Mute: <its text can't be had: RuntimeError>"),
    "one in a thread": (
        BAD_ERROR + "def f():\n    raise Mute\nt = threading.Thread(target=f, name='w'); t.start(); t.join()",
        0, "completed", "a thread ended with Mute: <its text can't be had: RuntimeError> (thread w)",
    ),
    "an exit with a text": ("sys.exit('no data in the folder')", 1, "failed", "no data in the folder"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "code", "status", "message"), MESSAGES.values(), ids=MESSAGES)
def test_what_the_end_says(ctx: StoreContext, tmp_path: Path, body: str, code: int, status: str, message: str) -> None:
    """The status says what the script said at its end, whatever its exceptions do when they are asked."""
    done, record = run(ctx, body, tmp_path)
    assert (done.returncode, record.status, record.status_message) == (code, status, message)
    assert ("Mute" in done.stderr) == ("Mute" in body)


def run(
    ctx: StoreContext, body: str, tmp_path: Path, before: str = ""
) -> tuple[subprocess.CompletedProcess[str], TaskRecord]:
    """Run a script that starts a task, and return how it ended beside what the store says."""
    script = tmp_path / "script.py"
    script.write_text(before + HEAD + textwrap.dedent(body) + "\n")
    environment = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=60)
    task_id = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("ID "))
    return done, tasks.read(ctx, task_id)


@pytest.mark.parametrize("name", ENDINGS)
def test_end_is_truthful(ctx: StoreContext, tmp_path: Path, name: str) -> None:
    """Exit code and status agree for each way in which a script can end, and no word of ours is in the way."""
    body, returncode, status, code, signal_name = ENDINGS[name]
    done, record = run(ctx, body, tmp_path)
    assert (done.returncode, record.status) == (returncode, status), done.stderr
    assert record.exit["code"] == code
    assert record.exit["signal"] == signal_name
    assert record.last_metrics["loss"]["train"]["last"] == 1.0
    ours = [line for line in done.stderr.splitlines() if "localtrack:" in line and "task " not in line]
    assert ours == []


@pytest.mark.parametrize(
    "before",
    [
        "from localtrack import Task; SystemExit.code; getattr(SystemExit(1), 'code')",
        "import sys; sys.modules['ctypes'] = None",
    ],
)
def test_a_raised_exit_is_told_whatever_came_before(ctx: StoreContext, tmp_path: Path, before: str) -> None:
    """When the interpreter has looked an exit's code up before it is watched, and on a Python without ctypes."""
    done, record = run(ctx, "raise SystemExit(2)", tmp_path, before + "\n")
    assert (done.returncode, record.status, record.exit["code"]) == (2, "failed", 2), done.stderr
    done, record = run(ctx, "task.close(); raise SystemExit(2)", tmp_path, before + "\n")
    assert (done.returncode, record.status) == (2, "completed"), done.stderr


def test_thread_exception_is_named(ctx: StoreContext, tmp_path: Path) -> None:
    """A completed run whose thread died says so."""
    _, record = run(ctx, "t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()", tmp_path)
    assert "ZeroDivisionError" in record.status_message


@pytest.mark.parametrize("body", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(7)"])
def test_silent_death_reads_as_lost(ctx: StoreContext, tmp_path: Path, body: str) -> None:
    """A process that dies without a word is shown as failed, lost, with its last point kept."""
    _, record = run(ctx, body, tmp_path)
    assert (record.status, record.status_reason) == ("failed", "lost")
    from localtrack.services import reports

    points = reports.scalars(tasks.folder_of(ctx, record.id)).of("loss", "train")
    assert points.values.tolist() == [1.0]
    from localtrack.services import lifecycle, search

    (row,) = search.find(ctx, search.Search())
    assert (row.status, row.last_iteration, row.metrics["loss"]["train"]["last"]) == ("failed", 1, 1.0)
    lifecycle.set_archived(ctx, record.id, True)
    again = lifecycle.request_stop(ctx, record.id)
    assert (again.status, again.last_iteration, again.last_metrics["loss"]["train"]["last"]) == ("failed", 1, 1.0)


def test_own_final_status_keeps_the_exit_code(ctx: StoreContext, tmp_path: Path) -> None:
    """A script that marks itself failed and then ends with a code of its own: both are recorded."""
    _, record = run(ctx, "task.mark_failed(status_message='bad data'); sys.exit(3)", tmp_path)
    assert (record.status, record.status_message, record.exit["code"]) == ("failed", "bad data", 3)


def test_end_is_bounded(ctx: StoreContext, tmp_path: Path) -> None:
    """A package scan that never ends holds the process for the time that is set, and no longer."""
    import time

    body = """
    import localtrack.capture.packages as packages
    packages.capture_packages = lambda *a, **k: time.sleep(100)
    """
    script = tmp_path / "slow.py"
    script.write_text(
        HEAD.replace("from localtrack import Task", textwrap.dedent(body) + "from localtrack import Task")
    )
    env = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), "LOCALTRACK_EXIT_WAIT_S": "1"}
    begun = time.monotonic()
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=env, timeout=90)
    assert time.monotonic() - begun < 20
    assert done.returncode == 0
    assert "LOCALTRACK_EXIT_WAIT_S" in done.stderr
    assert tasks.read(ctx, done.stdout.split()[1]).status == "completed"


def test_own_handler_stays(ctx: StoreContext, tmp_path: Path) -> None:
    """A SIGTERM handler of the user's is not replaced, and its exit code counts."""
    script = tmp_path / "script.py"
    script.write_text(
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *a: sys.exit(9))\n"
        + HEAD
        + "os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(30)\n"
    )
    environment = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=60)
    record = tasks.read(ctx, done.stdout.split()[1])
    assert (done.returncode, record.status, record.exit["code"]) == (9, "failed", 9)


def test_hooks_are_gone_after_close(ctx: StoreContext, tmp_path: Path) -> None:
    """close() leaves excepthook, threading.excepthook, sys.exit, signals, streams and SystemExit as they were."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import signal, sys, threading
        def state():
            return (sys.excepthook, threading.excepthook, sys.exit, signal.getsignal(signal.SIGTERM), sys.stdout,
                    sys.stderr, SystemExit.__dict__["code"])
        before = state()
        from localtrack import Task
        task = Task.init(project_name="p", task_name="n")
        assert state() != before
        task.close()
        assert state() == before
        print("same")
    """)
    )
    environment = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=60)
    assert "same" in done.stdout, done.stderr


KEEPER = """
import gc, os, sys

class Keeper:
    def __init__(self, name):
        self.name = name
    def __del__(self):
        os.write(1, f"gone {self.name}\\n".encode())

def ends(body):
    keeper = Keeper("local")
    body()

def leave(error):
    raise error

everywhere = Keeper("global")
"""

FINALISED = {
    "an exception": "ends(lambda: 1 / 0)",
    "Ctrl-C": "ends(lambda: leave(KeyboardInterrupt()))",
    "an exit": "ends(lambda: sys.exit(3))",
    "an exit with an object": "ends(lambda: leave(SystemExit(Keeper('code'))))",
    "an exception with an object": "ends(lambda: leave(ValueError(Keeper('argument'))))",
    "a chain": "try:\n    ends(lambda: 1 / 0)\nexcept Exception as error:\n    raise ValueError('x') from error",
    "a hook of its own": "sys.excepthook = lambda *a: None\nends(lambda: 1 / 0)",
    "arguments": "import argparse\nargs = argparse.ArgumentParser().parse_args()\nargs.k = Keeper('args')\nends(lambda: 1 / 0)",
    "an abort callback": "k = Keeper('callback')\ntask and task.register_abort_callback(lambda k=k: None)\ndel k",
}


@pytest.mark.parametrize("body", FINALISED.values(), ids=FINALISED)
def test_the_scripts_objects_are_finalised_as_without_us(ctx: StoreContext, tmp_path: Path, body: str) -> None:
    """Nothing of the run keeps what an uncaught exception or an exit holds: files are closed, and in the same order."""
    said = []
    for start in ("task = None\n", HEAD.replace('print("ID", task.id, flush=True)', "")):
        script = tmp_path / "script.py"
        script.write_text(KEEPER + start + body + "\n")
        environment = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root)}
        said.append(
            subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, timeout=60)
        )
    plain, tracked = said
    assert "gone local" in plain.stdout or "callback" in body
    assert tracked.stdout == plain.stdout
    assert tracked.returncode == plain.returncode


OTHERS_HOOKS = {
    "its own": "sys.excepthook = lambda *a: print('mine')\ndef f():\n    raise RuntimeError('boom')\nf()",
    "one that fails": "sys.excepthook = lambda *a: 1 / 0\nraise RuntimeError('boom')",
    "one that calls ours with less": (
        "old = sys.excepthook\nsys.excepthook = lambda kind, value, trace: old(kind, value, None)\nraise RuntimeError('boom')"
    ),
    "none": "raise RuntimeError('boom')",
    "its own, after one that was shown": (
        "sys.excepthook = lambda *a: None\nboom = RuntimeError('boom')\nsys.last_value = boom\n"
        "try:\n    sys.exit()\nexcept SystemExit:\n    pass\n"
        "place = id(boom)\ndel sys.last_value, boom\nkept = []\n"
        "while id(boom := RuntimeError('boom')) != place and len(kept) < 1000:\n    kept.append(boom)\n"
        "assert id(boom) == place\nraise boom"
    ),
}


@pytest.mark.parametrize("body", OTHERS_HOOKS.values(), ids=OTHERS_HOOKS)
def test_a_crash_is_told_whoever_shows_it(ctx: StoreContext, tmp_path: Path, body: str) -> None:
    """A hook that replaces ours after Task.init does not turn a crash into a completed run."""
    done, record = run(ctx, body, tmp_path)
    assert (done.returncode, record.status, record.status_message) == (1, "failed", "RuntimeError: boom"), done.stderr


SHOWN = {
    "shown by hand": "try:\n    1 / 0\nexcept ArithmeticError:\n    sys.excepthook(*sys.exc_info())",
    "in a console": (
        "import code\nconsole = code.InteractiveConsole()\nconsole.push('1 / 0')\nassert sys.last_value is not None"
    ),
    "left in sys": "try:\n    1 / 0\nexcept ArithmeticError as e:\n    sys.last_value, sys.last_traceback = e, e.__traceback__",
}


@pytest.mark.parametrize("body", SHOWN.values(), ids=SHOWN)
def test_an_exception_that_ends_nothing_does_not_count(ctx: StoreContext, tmp_path: Path, body: str) -> None:
    """The run goes on after it, and ends as it ends."""
    done, record = run(ctx, body, tmp_path)
    assert (done.returncode, record.status, record.status_message) == (0, "completed", ""), done.stderr
    done, record = run(ctx, body + "\nsys.exit(4)", tmp_path)
    assert (done.returncode, record.status, record.exit["code"]) == (4, "failed", 4), done.stderr
    done, record = run(ctx, body + "\nraise KeyError('k')", tmp_path)
    assert (done.returncode, record.status, record.status_message) == (1, "failed", "KeyError: 'k'"), done.stderr


@pytest.mark.parametrize("body", ["pass", "raise ValueError('x')"])
def test_a_prompt_after_the_script_says_how_it_ends(ctx: StoreContext, tmp_path: Path, body: str) -> None:
    """Under ``python -i`` exceptions are shown and the session goes on; its exit code is that of the prompt."""
    script = tmp_path / "script.py"
    script.write_text(HEAD + body + "\n")
    environment = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root)}
    done = subprocess.run(
        [sys.executable, "-i", str(script)],
        input="1 / 0\nprint('on')\n", capture_output=True, text=True, env=environment, timeout=60,
    )  # fmt: skip
    record = tasks.read(ctx, done.stdout.split()[1])
    assert "on" in done.stdout
    assert "ZeroDivisionError" in done.stderr
    assert (done.returncode, record.status, record.exit["code"]) == (0, "completed", 0)


LAST_PRINTS = {
    "a flood": "for number in range(3000):\n    print('line', number)",
    "a flood and a handler": "import logging\nlogging.basicConfig()\nfor number in range(3000):\n    print('line', number)",
    "a few lines": "print('line')",
    "an exception": "print('line')\nraise ValueError('x')",
    "a forked child": (
        "child = os.fork()\nif child == 0:\n    late = Late('child')\nelse:\n    os.waitpid(child, 0)"
    ),
    "a forked child that prints": (
        "child = os.fork()\nif child == 0:\n    print('line')\n    late = Late('child')\nelse:\n    os.waitpid(child, 0)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("body", LAST_PRINTS.values(), ids=LAST_PRINTS)
def test_what_is_printed_while_the_interpreter_ends_comes_out(ctx: StoreContext, tmp_path: Path, body: str) -> None:
    """Objects that print when they are finalised do so into a stream that nothing of the run keeps from being flushed."""
    late = "class Late(str):\n    def __del__(self):\n        print('gone', self)\n\nlate = Late('all')\n"
    said = []
    for start in ("import os, sys\n", HEAD.replace('print("ID", task.id, flush=True)', "")):
        script = tmp_path / "script.py"
        script.write_text(start + late + body + "\n")
        environment = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), "PYTHONUNBUFFERED": ""}
        with open(tmp_path / "out.txt", "wb") as out:
            done = subprocess.run(
                [sys.executable, script], stdout=out, stderr=subprocess.PIPE, env=environment, timeout=60
            )
        said.append(((tmp_path / "out.txt").read_text(), done.returncode))
    assert said[0][0].endswith("gone all\n")
    assert said[1] == said[0]
