"""The capture of descriptors 1 and 2: everything printed is recorded once, and comes out as if nobody were there."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localtrack.runtime.descriptor_relay import Channel
from localtrack.services import reports, tasks
from localtrack.services.context import StoreContext

START = """
import ctypes, logging, multiprocessing, os, signal, subprocess, sys, threading, time
capture = os.environ.get("CAPTURE", "1") == "1"
def helper():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{pid}/cmdline").read()
        except OSError:
            continue
        if "descriptor_relay" in words and os.environ["LOCALTRACK_ROOT"] in words:
            return int(pid)
if __name__ == "__main__" and capture:
    from localtrack import Task
    streams = {"descriptors": True} if "LOCALTRACK_CAPTURE_DESCRIPTORS" not in os.environ else True
    task = Task.init("p", "n", reuse_last_task_id=False, auto_resource_monitoring=False,
                     auto_connect_frameworks=False, auto_connect_streams=streams)
"""
KINDS = """
print("printed")
os.system("echo from a shell; echo its complaint >&2")
sys.stderr.write("complained\\n"); sys.stderr.flush()
os.write(1, b"raw\\n")
ctypes.CDLL(None).puts(b"by the C library"); ctypes.CDLL(None).fflush(None)
subprocess.run([sys.executable, "-c", "print('by a child')"])
print("\\x1b[31mred\\x1b[0m last")
"""
LINES = [
    "printed", "from a shell", "its complaint", "complained", "raw", "by the C library", "by a child",
    "\x1b[31mred\x1b[0m last",
]  # fmt: skip


def script(tmp_path: Path, body: str) -> list[str]:
    """Write a script that starts a captured run; returns the command that runs it."""
    file = tmp_path / "script.py"
    file.write_text(START + body)
    return [sys.executable, "-u", str(file)]


def environment(ctx: StoreContext, **more: str) -> dict[str, str]:
    """Return the environment of such a script."""
    return {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), **more}


def recorded(ctx: StoreContext) -> list[str]:
    """Return what the only task has of the output, without localtrack's own lines."""
    (record,) = ctx.index.rows()
    lines = [line.text for line in reports.console(tasks.folder_of(ctx, record.id))]
    return [line for line in lines if not line.startswith("localtrack: ")]


def run(ctx: StoreContext, tmp_path: Path, body: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script whose stdout and stderr are one pipe."""
    return subprocess.run(
        script(tmp_path, body),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(ctx, **more),
        timeout=60,
    )


def own(output: bytes) -> list[str]:
    """Return the lines of an output that are the script's own."""
    return [line for line in output.decode().splitlines() if not line.startswith("localtrack: ")]


def wait_for(ctx: StoreContext, *wanted: str) -> list[str]:
    """Return what is recorded as soon as the last of ``wanted`` is: the helper may end after its script."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = recorded(ctx)
        if all(line in found for line in wanted):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{wanted} not in {recorded(ctx)}")


def test_every_writer_is_recorded_once_and_in_order(ctx: StoreContext, tmp_path: Path) -> None:
    """Prints, child programs, raw writes and C libraries come out, and are recorded, in the order of their writing."""
    done = run(ctx, tmp_path, KINDS)
    assert done.returncode == 0, done.stdout
    assert own(done.stdout) == LINES
    assert recorded(ctx) == LINES


def test_stdout_and_stderr_are_told_apart_where_they_lead_apart(ctx: StoreContext, tmp_path: Path) -> None:
    """With two places each line comes out at its own, and is recorded under its own stream."""
    done = subprocess.run(script(tmp_path, KINDS), capture_output=True, env=environment(ctx), timeout=60)
    errors = ["its complaint", "complained"]
    assert own(done.stdout) == [line for line in LINES if line not in errors]
    assert own(done.stderr) == errors
    (record,) = ctx.index.rows()
    lines = reports.console(tasks.folder_of(ctx, record.id))
    assert [line.text for line in lines if line.stream == "e" and "localtrack" not in line.text] == errors


def test_it_is_off_unless_asked_for(ctx: StoreContext, tmp_path: Path) -> None:
    """Without a word only Python's own prints are recorded; the setting asks for the rest in every run."""
    body = "os.system('echo shell')\nprint('python')\n"
    for value, expected in (("0", ["python"]), ("1", ["shell", "python"])):
        assert run(ctx, tmp_path, body, LOCALTRACK_CAPTURE_DESCRIPTORS=value).returncode == 0
        found = {record.id: recorded_of(ctx, record.id) for record in ctx.index.rows()}
        assert expected in found.values()


def recorded_of(ctx: StoreContext, task_id: str) -> list[str]:
    """Return the script's own lines of one task."""
    lines = [line.text for line in reports.console(tasks.folder_of(ctx, task_id))]
    return [line for line in lines if not line.startswith("localtrack: ")]


def on_terminal(ctx: StoreContext, tmp_path: Path, body: str, **more: str) -> bytes:
    """Run a script on a terminal of its own; return what that showed."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        script(tmp_path, body), stdin=slave, stdout=slave, stderr=slave, env=environment(ctx, **more), close_fds=True
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 1 << 16)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(master)
    assert process.wait(60) == 0, shown
    return shown


def test_a_terminal_shows_the_same_bytes(ctx: StoreContext, tmp_path: Path) -> None:
    """On a terminal Python and its children still see one, of the same size, and it shows the same, byte for byte."""
    body = KINDS + (
        "print(sys.stdout.isatty(), sys.stderr.isatty(), os.get_terminal_size(1), flush=True)\n"
        "os.system('test -t 1 && echo a terminal')\n"
    )
    plain = on_terminal(ctx, tmp_path, body, CAPTURE="0")
    shown = on_terminal(ctx, tmp_path, body)
    assert b"".join(line for line in shown.splitlines(True) if b"localtrack: " not in line) == plain
    assert b"True True" in plain
    assert b"a terminal" in plain
    assert recorded(ctx) == own(plain.replace(b"\r\n", b"\n"))


@pytest.mark.parametrize(
    "end",
    ["os._exit(7)", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()", "ctypes.string_at(0)", "raise ValueError"],
)
def test_the_last_words_of_a_process_are_kept(ctx: StoreContext, tmp_path: Path, end: str) -> None:
    """However a process ends, all that it wrote comes out and is recorded, and its exit code is its own."""
    body = f"for n in range(3000): os.write(1, b'line %d\\n' % n)\n{end}\n"
    done = run(ctx, tmp_path, body)
    plain = run(ctx, tmp_path, body, CAPTURE="0")
    assert done.returncode == plain.returncode
    expected = [f"line {n}" for n in range(3000)]
    assert own(done.stdout)[:3000] == expected
    assert wait_for(ctx, "line 2999")[:3000] == expected


def test_a_child_that_lives_on_delays_no_end(ctx: StoreContext, tmp_path: Path) -> None:
    """A daemon that keeps the descriptors delays the script's end by nothing, and its later output still comes out."""
    body = "subprocess.Popen(['sh', '-c', 'sleep 3; echo late'])\nprint('early')\n"
    process = subprocess.Popen(script(tmp_path, body), stdout=subprocess.PIPE, env=environment(ctx))
    assert process.wait(60) == 0
    assert recorded(ctx) == ["early"]  # before the child has woken up, or the run would have waited for it
    assert process.stdout is not None
    with process.stdout as stdout:
        assert stdout.read() == b"early\nlate\n"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_a_helper_that_fails_costs_no_output(ctx: StoreContext, tmp_path: Path, name: str) -> None:
    """Killed, it is stood in for at once, also for a child; stopped, it holds the end up for a bounded time only."""
    kill = f"os.kill(helper(), signal.{name})\n"
    if name == "SIGKILL":
        body = (
            "child = subprocess.Popen(['sh', '-c', 'read x; for n in 1 2 3; do echo child $n; done'], stdin=subprocess.PIPE)\n"
            f"print('before', flush=True); time.sleep(0.3)\n{kill}"
            "for n in range(2000): print('x' * 100, flush=True)\n"
            "child.communicate(b'go\\n'); assert child.returncode == 0\nprint('after')\n"
        )
        done = run(ctx, tmp_path, body)
        assert done.returncode == 0, done.stdout[-2000:]
        assert done.stdout.count(b"x" * 10) == 2000 * 10  # where it was killed, a line may stand beside its place
        assert own(done.stdout)[0] == "before"
        assert all(done.stdout.count(text) == 1 for text in (b"after", b"child 1", b"child 2", b"child 3"))
        assert b"child programs" in done.stdout
        assert recorded(ctx)[-1] == "after"
        return
    body = f"print('before', flush=True); time.sleep(0.3)\npid = helper()\n{kill}print('held')\ntask.close()\n"
    body += "os.kill(pid, signal.SIGCONT)\nos.write(2, b'over\\n')\n"
    done = run(ctx, tmp_path, body, LOCALTRACK_EXIT_WAIT_S="1")
    assert done.returncode == 0
    assert sorted(own(done.stdout)) == ["before", "held", "over"]


def test_a_broken_store_costs_no_output(ctx: StoreContext, tmp_path: Path) -> None:
    """Where the console can't be written, everything still comes out and the script ends well."""
    body = (
        "import shutil; shutil.rmtree(task.cache_dir + '/console', ignore_errors=True)\n"
        "open(task.cache_dir + '/console', 'w').close()\n"
        "for n in range(1000): print('line', n)\nos.system('echo shell')\n"
    )
    done = run(ctx, tmp_path, body)
    assert done.returncode == 0, done.stdout
    assert own(done.stdout) == [*[f"line {n}" for n in range(1000)], "shell"]


@pytest.mark.parametrize(
    "body",
    [
        (
            "try:\n    for n in range(100000): print('x' * 100, flush=True); time.sleep(0.001)\n"
            "except BrokenPipeError: os._exit(3)\nos._exit(4)\n"
        ),
        "code = os.system('yes')\nos._exit(3 if code else 4)\n",
    ],
    ids=["python", "child"],
)
def test_a_reader_that_goes_away_is_met_as_ever(ctx: StoreContext, tmp_path: Path, body: str) -> None:
    """When who reads stdout ends, Python gets its BrokenPipeError and a child its SIGPIPE, and nothing runs for ever."""
    process = subprocess.Popen(
        script(tmp_path, body), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(ctx)
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 3


def test_close_leaves_everything_as_it_was(ctx: StoreContext, tmp_path: Path) -> None:
    """After close the descriptors lead where they led, none is left open, no child is left, and prints go on."""
    source = tmp_path / "script.py"
    source.write_text(
        "import os, sys\nfrom localtrack import Task\n"
        "places = lambda: {fd: os.readlink(f'/proc/self/fd/{fd}') for fd in (1, 2)}\n"
        "import threading, time, warnings\n"
        "def run():\n"
        "    task = Task.init('p', 'n', reuse_last_task_id=False, auto_resource_monitoring=False,\n"
        "                     auto_connect_streams={'descriptors': True})\n"
        "    assert places() != before\n    print('during')\n    task.close()\n"
        "before = places()\nrun()\nassert places() == before\n"
        "count = len(os.listdir('/proc/self/fd'))\nrun()\n"
        "deadline = time.monotonic() + 10\n"
        "while len(os.listdir('/proc/self/fd')) > count and time.monotonic() < deadline: time.sleep(0.01)\n"
        "assert len(os.listdir('/proc/self/fd')) <= count\n"
        "try: print(os.wait())\nexcept ChildProcessError: print('no child')\n"
        "assert 'LOCALTRACK_CAPTURED' not in os.environ\n"
    )
    done = subprocess.run([sys.executable, str(source)], capture_output=True, env=environment(ctx), timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"during\nduring\nno child\n"


@pytest.mark.parametrize(("left_out", "kept"), [("stderr", "to stdout"), ("stdout", "to stderr")])
def test_a_stream_that_is_left_out_by_its_name_is_not_captured(
    ctx: StoreContext, tmp_path: Path, left_out: str, kept: str
) -> None:
    """Whoever writes to it, also where both lead to the same place; it comes out as ever."""
    source = tmp_path / "script.py"
    source.write_text(
        "import os, sys\nfrom localtrack import Task\n"
        "task = Task.init('p', 'n', reuse_last_task_id=False, auto_resource_monitoring=False,\n"
        f"                 auto_connect_streams={{'descriptors': True, '{left_out}': False, 'logging': False}})\n"
        "print('to stdout', flush=True)\nprint('to stderr', file=sys.stderr, flush=True)\n"
        "os.system('echo to stdout; echo to stderr >&2')\n"
    )
    env = environment(ctx, PYTHONUNBUFFERED="")  # else a line and its newline are two writes, between which others come
    done = subprocess.run(
        [sys.executable, str(source)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, timeout=60
    )
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.decode().splitlines() if line.startswith("to ")]
    assert sorted(lines) == ["to stderr"] * 2 + ["to stdout"] * 2
    assert [line for line in recorded(ctx) if line.startswith("to ")] == [kept] * 2


CHILDREN = """
def work(number):
    print("worker", number, flush=True)
    os.write(1, b"raw %d\\n" % number)
if __name__ == "__main__":
    context = multiprocessing.get_context("METHOD")
    children = [context.Process(target=work, args=(n,)) for n in range(2)]
    for child in children:  # one after the other: on a shared descriptor, prints of several at once meet in a line
        child.start()
        child.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_are_recorded_once(ctx: StoreContext, tmp_path: Path, method: str) -> None:
    """Worker processes, which capture their own prints elsewhere, leave what the descriptors' capture has."""
    body = CHILDREN.replace("METHOD", method)
    done = run(ctx, tmp_path, body.replace("def work(number):", "def work(number):\n    from localtrack import Task\n"
                                           "    assert Task.current_task() is not None"))  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert sorted(recorded(ctx)) == ["raw 0", "raw 1", "worker 0", "worker 1"]


def test_reports_and_logging_are_recorded_once(ctx: StoreContext, tmp_path: Path) -> None:
    """Text that is reported and printed, and records of logging, are there once."""
    body = (
        "logging.basicConfig(level=logging.INFO, format='%(message)s')\nlogger = task.get_logger()\n"
        "with logger.capture_logging(): logging.info('logged')\n"
        "logger.report_text('reported')\nlogger.report_text('silent', print_console=False)\n"
    )
    assert run(ctx, tmp_path, body).returncode == 0
    assert sorted(recorded(ctx)) == ["logged", "reported", "silent"]


def test_a_stream_of_somebodys_own_is_still_captured(ctx: StoreContext, tmp_path: Path) -> None:
    """Where sys.stdout leads elsewhere than to the descriptor, the capture of Python's streams sees to it."""
    body = (
        "import io\ntask.close()\nsys.stdout = io.StringIO()\n"
        "task = Task.init('p', 'other', auto_resource_monitoring=False, auto_connect_streams={'descriptors': True})\n"
        "print('into memory')\nos.system('echo shell')\n"
    )
    done = run(ctx, tmp_path, body)
    assert done.returncode == 0, done.stdout
    (found,) = [recorded_of(ctx, record.id) for record in ctx.index.rows() if record.name == "other"]
    assert sorted(found) == ["into memory", "shell"]


def test_c_code_that_holds_the_interpreter_is_not_stuck(ctx: StoreContext, tmp_path: Path) -> None:
    """A call that keeps the interpreter's lock and writes more than a pipe holds comes through."""
    body = "data = b'y' * 99 + b'\\n'\nctypes.PyDLL(None).write(1, data * 20000, 100 * 20000)\n"
    done = run(ctx, tmp_path, body)
    assert done.stdout.count(b"y" * 99 + b"\n") == 20000


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_descriptors_stay_closed(ctx: StoreContext, tmp_path: Path, closed: str) -> None:
    """A process without stdout or stderr runs and ends as it would."""
    body = "for stream in (sys.stdout, sys.stderr):\n    if stream: print('seen', file=stream)\n"
    words = " ".join(script(tmp_path, body))
    done = subprocess.run(f"{words} {closed}", shell=True, capture_output=True, env=environment(ctx), timeout=60)
    assert done.returncode == 0
    assert b"seen" in done.stdout + done.stderr or closed == ">&- 2>&-"


def test_any_bytes_pass_unchanged(ctx: StoreContext, tmp_path: Path) -> None:
    """Binary output, zeros, torn UTF-8 and the beginning of what ends the capture come out as they went in."""
    data = b"\0localtrack-" + os.urandom(300_000) + b"\xc3\n\0local" + b"\r\r\n" * 100 + b"\xff" * 5 + b"\0"
    (tmp_path / "data").write_bytes(data)
    body = f"data = open({str(tmp_path / 'data')!r}, 'rb').read()\nos.write(1, data[:9])\nsys.stdout.buffer.write(data[9:])\n"
    done = subprocess.run(script(tmp_path, body), capture_output=True, env=environment(ctx), timeout=60)
    assert done.returncode == 0
    assert done.stdout == data


def test_the_marker_is_found_wherever_it_is_cut(tmp_path: Path) -> None:
    """Cut at any byte, between other bytes, the marker is taken out and nothing else is."""
    marker = b"\0localtrack-0123"
    data = b"before\0local" + marker + b"\0after"
    for cut in range(1, len(data)):
        source, entrance = os.pipe()
        seen: list[bytes] = []
        marks: list[int] = []
        target = os.open(tmp_path / "out", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        channel = Channel(source, target, marker, seen.append, lambda marks=marks: marks.append(1))
        for part in (data[:cut], data[cut:]):
            os.write(entrance, part)
            assert channel.pump()
        os.close(entrance)
        assert not channel.pump()
        for fd in (source, target):
            os.close(fd)
        assert (tmp_path / "out").read_bytes() == b"".join(seen) == b"before\0local\0after"
        assert marks == [1]


def test_a_terminated_process_ends_by_its_signal(ctx: StoreContext, tmp_path: Path) -> None:
    """SIGTERM to the whole group stops the script, and not the helper before it has recorded everything."""
    body = "print('ready', flush=True)\ntime.sleep(60)\n"
    process = subprocess.Popen(
        script(tmp_path, body), stdout=subprocess.PIPE, env=environment(ctx), start_new_session=True
    )
    assert process.stdout is not None
    with process.stdout as stdout:
        assert stdout.readline() == b"ready\n"
        os.killpg(process.pid, signal.SIGTERM)
        assert stdout.read() == b""
    assert process.wait(30) == -signal.SIGTERM
    assert wait_for(ctx, "ready") == ["ready"]
