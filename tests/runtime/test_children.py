"""Child processes attach to the same task, write their own files, and their ends do not end the task."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from localtrack.services import reports, tasks
from localtrack.services.context import StoreContext

WORK = """
import multiprocessing, os, subprocess, sys, time
from localtrack import Task

def work(number):
    task = Task.current_task()
    for step in range(50):
        task.get_logger().report_scalar("child", f"rank {number}", number + step, step)
    print(f"hello from {number}", flush=True)
    return task.id

if __name__ == "__main__":
    task = Task.init(project_name="children", task_name="run", reuse_last_task_id=False)
    task.get_logger().report_scalar("parent", "value", 1.0, 0)
    print("ID", task.id, flush=True)
    BODY
    task.get_logger().report_scalar("parent", "value", 2.0, 1)
"""

POOL = """
with multiprocessing.get_context("{method}").Pool(3) as pool:
    assert set(pool.map(work, range(6), chunksize=1)) == {{task.id}}
    pool.close()
    pool.join()
"""
PROCESSES = """
context = multiprocessing.get_context("{method}")
children = [context.Process(target=work, args=(n,)) for n in range(4)]
[c.start() for c in children]
[c.join() for c in children]
assert [c.exitcode for c in children] == [0] * 4
"""
SUBPROCESS = """
code = "import sys; sys.path.insert(0, sys.argv[1]); import script; script.work(int(sys.argv[2]))"
here = os.path.dirname(os.path.abspath(__file__))
children = [subprocess.Popen([sys.executable, "-c", code, here, str(n)]) for n in range(3)]
assert [c.wait() for c in children] == [0] * 3
"""
RAW_FORK = """
for n in range(3):
    pid = os.fork()
    if pid == 0:
        work(n)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""
KILLED = """
context = multiprocessing.get_context("fork")
child = context.Process(target=lambda: (work(0), time.sleep(60)))
child.start()
while "hello" not in "".join(open(p).read() for p in __import__("glob").glob(task.cache_dir + "/console/*")):
    time.sleep(0.02)
child.terminate()
child.join()
assert child.exitcode == -15
"""


PRINTING = """
import multiprocessing, sys, time
from concurrent.futures import ProcessPoolExecutor
from localtrack import Task

COUNT = {count}

def say(number):
    print(f"item {{number}} is done")
    return number

def say_all(first, by):
    for number in range(first, COUNT, by):
        say(number)

def go_on(first, by):
    say(first)
    child = multiprocessing.get_context("fork").Process(target=say_all, args=(first + by, by))
    child.start()
    child.join()

def serve(results, first):
    say_all(first, 2)
    results.put(first)
    time.sleep(60)

def start(target):
    children = [context.Process(target=target, args=(n, 2)) for n in range(2)]
    [child.start() for child in children]
    [child.join() for child in children]

def attach():
    assert Task.current_task() is not None

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    task = Task.init(project_name="children", task_name="run", reuse_last_task_id=False)
    print("ID", task.id, flush=True)
    BODY
"""
PRINTERS = {
    "pool": """
        with context.Pool(2, attach if COUNT > 100 else None) as pool:  # which terminates its workers
            pool.map(say, range(COUNT), chunksize=COUNT // 4)
    """,
    "executor": """
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            list(pool.map(say, range(COUNT), chunksize=COUNT // 4))
    """,
    "process": "start(say_all)",
    "queue": """
        results = context.Queue()
        children = [context.Process(target=serve, args=(results, n)) for n in range(2)]
        [child.start() for child in children]
        assert sorted(results.get() for _ in range(2)) == [0, 1]
        [child.terminate() for child in children]
        [child.join() for child in children]
    """,
    "grandchild": "start(go_on)",
}


def run(ctx: StoreContext, tmp_path: Path, body: str, source: str = WORK, **environ: str) -> tuple[str, str]:
    """Run a script with children; return the task's id and what went to stderr."""
    script = tmp_path / "script.py"
    script.write_text(source.replace("    BODY", textwrap.indent(textwrap.dedent(body), "    ")))
    environment = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), **environ}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    return next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("ID ")), done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("body", [POOL, PROCESSES], ids=["pool", "processes"])
def test_multiprocessing(ctx: StoreContext, tmp_path: Path, method: str, body: str) -> None:
    """Every point and line of every child is there once, and the parent's end is the task's end."""
    task_id, _ = run(ctx, tmp_path, body.format(method=method))
    folder = tasks.folder_of(ctx, task_id)
    count = 6 if "Pool" in body else 4
    found = reports.scalars(folder)
    assert found.problems == []
    for number in range(count):
        points = found.of("child", f"rank {number}")
        assert points.values.tolist() == [float(number + step) for step in range(50)]
    assert found.of("parent", "value").values.tolist() == [1.0, 2.0]
    record = tasks.read(ctx, task_id)
    assert record.status == "completed"
    assert record.last_metrics["child"]["rank 3"]["last"] == 52.0
    lines = sorted(line.text for line in reports.console(folder) if line.text.startswith("hello"))
    assert lines == [f"hello from {number}" for number in range(count)]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("count", [40, 3000])
@pytest.mark.parametrize("name", PRINTERS)
def test_what_forked_children_print_is_in_the_log(
    ctx: StoreContext, tmp_path: Path, name: str, count: int, unbuffered: str
) -> None:
    """Each line once, few or a flood of them, also of workers that a pool ends as soon as it has their results."""
    source = PRINTING.format(count=count, method="fork")
    task_id, _ = run(ctx, tmp_path, PRINTERS[name], source, PYTHONUNBUFFERED=unbuffered)
    lines = [line.text for line in reports.console(tasks.folder_of(ctx, task_id)) if line.text.startswith("item")]
    assert sorted(lines) == sorted(f"item {number} is done" for number in range(count))


def test_a_result_waits_for_lines_that_are_just_being_written(ctx: StoreContext, tmp_path: Path) -> None:
    """On a slow store the recording thread holds what it has taken out for a while; a worker is ended after that."""
    slow = """
from localtrack.store import console as console_log
write = console_log._write

def write_slowly(*about):
    time.sleep(0.05)
    return write(*about)

def say_some(number):
    console_log._write = write_slowly
    for item in range(number * 1500, (number + 1) * 1500):
        say(item)
    time.sleep(0.06)

if __name__"""
    source = PRINTING.format(count=6000, method="fork").replace("\nif __name__", slow)
    body = """
    with context.Pool(2) as pool:
        pool.map(say_some, range(4), chunksize=1)
    """
    task_id, _ = run(ctx, tmp_path, body, source, PYTHONUNBUFFERED="1")  # nothing else waits for that thread then
    lines = [line.text for line in reports.console(tasks.folder_of(ctx, task_id)) if line.text.startswith("item")]
    assert sorted(lines) == sorted(f"item {number} is done" for number in range(6000))


def test_children_whose_pickling_somebody_else_has_wrapped(ctx: StoreContext, tmp_path: Path) -> None:
    """By a wrapper of the usual kind, and by one that is no function: their calls come through, and the lines are recorded."""
    wrapping = """
import functools
import multiprocessing.reduction, multiprocessing.util
pickler, util = multiprocessing.reduction.ForkingPickler, multiprocessing.util

class Counted:
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, *args):
        return self.inner(*args)

@functools.wraps(util._flush_std_streams)
def flush(inner=util._flush_std_streams):
    inner()

if __name__"""
    for wrapped in ("pickler.dumps = Counted(pickler.dumps)", "util._flush_std_streams = flush"):
        source = PRINTING.format(count=2000, method="fork").replace("\nif __name__", wrapping)
        body = f"{wrapped}\nstart(say_all)\n" + textwrap.dedent(PRINTERS["pool"]).replace("range(COUNT)", "[-1, -2]")
        task_id, errors = run(ctx, tmp_path, body, source)
        assert "Traceback" not in errors
        lines = [line.text for line in reports.console(tasks.folder_of(ctx, task_id)) if line.text.startswith("item")]
        assert sorted(lines) == sorted(f"item {number} is done" for number in range(-2, 2000))


def test_unfinished_lines_of_children_are_their_own(ctx: StoreContext, tmp_path: Path) -> None:
    """Of a child and of its child, each once, and the last one although nothing ends it."""
    nested = """
def inner():
    print("of the inner")

def outer():
    print("begun ", end="")
    child = context.Process(target=inner)
    child.start()
    child.join()
    print("and ended")
    print("the rest", end="")

if __name__"""
    source = PRINTING.format(count=0, method="fork").replace("\nif __name__", nested)
    task_id, _ = run(ctx, tmp_path, "child = context.Process(target=outer); child.start(); child.join()", source)
    lines = [line.text for line in reports.console(tasks.folder_of(ctx, task_id))]
    assert sorted(lines[1:]) == ["begun and ended", "of the inner", "the rest"]


def test_an_unfinished_line_is_enough_for_a_child_to_be_in_the_log(ctx: StoreContext, tmp_path: Path) -> None:
    """Nothing but its end tells that the line will have none; a child that is silent leaves no writer."""
    body = """
    for action, words in ((print, {"end": "only this"}), (int, {})):
        child = context.Process(target=action, kwargs=words)
        child.start()
        child.join()
    """
    task_id, _ = run(ctx, tmp_path, body, PRINTING.format(count=0, method="fork"))
    folder = tasks.folder_of(ctx, task_id)
    assert [line.text for line in reports.console(folder)][1:] == ["only this"]
    assert len(list((folder / "writers").iterdir())) == 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_exception_of_a_child_is_in_the_log(ctx: StoreContext, tmp_path: Path, method: str) -> None:
    """A child that fails writes its traceback last of all; its exit code is its own, and the children that it started go on."""
    body = f"""
    child = multiprocessing.get_context("{method}").Process(target=fail)
    child.start()
    child.join()
    assert child.exitcode == 1
    """
    failing = """
def fail():
    task = Task.current_task()
    other = multiprocessing.get_context("fork").Process(target=print, args=("from its child",))
    other.start()
    other.join()
    print("after its child")
    task.get_logger().report_scalar("child", "late", 1.0, 0)
    raise ValueError("what went wrong")

if __name__"""
    task_id, _ = run(ctx, tmp_path, body, WORK.replace("\nif __name__", failing))
    lines = [line.text for line in reports.console(tasks.folder_of(ctx, task_id))]
    for line in ("from its child", "after its child", "ValueError: what went wrong"):
        assert lines.count(line) == 1, (line, lines)
    assert reports.scalars(tasks.folder_of(ctx, task_id)).of("child", "late").values.tolist() == [1.0]
    assert tasks.read(ctx, task_id).status == "completed"


def test_what_spawned_workers_print_is_in_the_log(ctx: StoreContext, tmp_path: Path) -> None:
    """Of workers that have asked for the task; their pool ends them as soon as it has their results."""
    source = PRINTING.format(count=2000, method="spawn")
    task_id, _ = run(ctx, tmp_path, PRINTERS["pool"], source)
    lines = [line.text for line in reports.console(tasks.folder_of(ctx, task_id)) if line.text.startswith("item")]
    assert sorted(lines) == sorted(f"item {number} is done" for number in range(2000))


@pytest.mark.parametrize("body", [SUBPROCESS, RAW_FORK], ids=["subprocess", "os.fork"])
def test_other_children(ctx: StoreContext, tmp_path: Path, body: str) -> None:
    """Subprocesses and bare forks attach as well."""
    task_id, _ = run(ctx, tmp_path, body)
    found = reports.scalars(tasks.folder_of(ctx, task_id))
    for number in range(3):
        assert len(found.of("child", f"rank {number}").values) == 50
    assert tasks.read(ctx, task_id).status == "completed"


def test_terminated_child_keeps_task_running(ctx: StoreContext, tmp_path: Path) -> None:
    """A child that is terminated dies by the signal, loses no point, and leaves the task's status alone."""
    task_id, _ = run(ctx, tmp_path, KILLED)
    record = tasks.read(ctx, task_id)
    assert record.status == "completed"
    assert [change["to"] for change in record.history] == ["in_progress", "completed"]
    assert len(reports.scalars(tasks.folder_of(ctx, task_id)).of("child", "rank 0").values) == 50


def test_silent_children_leave_nothing(ctx: StoreContext, tmp_path: Path) -> None:
    """Forked children that report nothing write no file and make no writer."""
    body = """
    for n in range(5):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    """
    task_id, _ = run(ctx, tmp_path, body)
    assert len(list((tasks.folder_of(ctx, task_id) / "writers").iterdir())) == 1


def test_a_spawned_child_that_only_asks_for_the_task_is_watched_like_its_parent(
    ctx: StoreContext, tmp_path: Path
) -> None:
    """What a worker shows with matplotlib is a plot of the task, unless the parent's Task.init said otherwise."""
    for choice, count in (("True", 1), ("{'matplotlib': False}", 0)):
        body = """
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.map(draw, ["curve"])
            pool.close()
            pool.join()
        """
        drawing = """
def draw(title):
    import matplotlib
    matplotlib.use("agg")
    from matplotlib import pyplot
    assert Task.current_task() is not None
    pyplot.plot([1, 2])
    pyplot.title(title)
    pyplot.show()

if __name__"""
        source = WORK.replace("\nif __name__", drawing).replace(
            "reuse_last_task_id=False", f"reuse_last_task_id=False, auto_connect_frameworks={choice}"
        )
        task_id, _ = run(ctx, tmp_path, body, source)
        assert len(list((tasks.folder_of(ctx, task_id) / "plots").glob("*.json"))) == count


LAST_WORDS = """
sys.stdout.flush()
for pause in (0.0, 0.03):
    pid = os.fork()
    if pid == 0:
        for line in range(8):
            print("pause", pause, "line", line, flush=True)
            time.sleep(pause)
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
"""


def test_a_forked_child_that_dies_hard_has_its_lines_in_the_log(ctx: StoreContext, tmp_path: Path) -> None:
    """What attaching takes at its first line makes no flood of a few lines: each is recorded when its print returns."""
    task_id, _ = run(ctx, tmp_path, LAST_WORDS)
    lines = [line.text for line in reports.console(tasks.folder_of(ctx, task_id)) if line.text.startswith("pause")]
    assert lines == [f"pause {pause} line {line}" for pause in (0.0, 0.03) for line in range(8)]
