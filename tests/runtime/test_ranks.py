"""Processes that a launcher starts side by side are one task, whoever comes first, late, twice or never."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from localtrack.config import Settings
from localtrack.records.status import Status
from localtrack.runtime import ranks
from localtrack.runtime.writer import TaskWriter
from localtrack.services import lifecycle, parameters, reports, tasks
from localtrack.services.context import StoreContext
from localtrack.store.launches import Launches

BY_HAND = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
SCRIPT = """
import argparse, os, sys, time
from localtrack import Task
rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID")
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)

def done(name):
    open(name, "w").close()

BODY
"""
USUAL = """
task = Task.init("ranks", "run")
arguments = parser.parse_args()
values = task.connect({"depth": 3, "rank": rank})
task.connect_configuration({"rank": rank}, name="config")
task.register_abort_callback(lambda: None)
assert Task.current_task().id == task.id == Task.init("ranks", "run").id
for step in range(20):
    task.get_logger().report_scalar("loss", f"rank {rank}", step * 0.5, step)
print(f"hello from {rank}", flush=True)
print("ID", task.id, flush=True)
"""


class Started:
    """A script that runs, and what it printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.errors = ""
        self.lines: list[str] = []

    def end(self, code: int = 0) -> Started:
        """Wait for its end, which must be so."""
        output, self.errors = self.process.communicate(timeout=60)
        self.lines = output.splitlines()
        assert self.process.returncode == code, output + self.errors
        return self

    @property
    def ids(self) -> list[str]:
        """The ids that it printed."""
        return [line.split()[1] for line in self.lines if line.startswith("ID ")]


Launch = Callable[..., Started]


@pytest.fixture
def launch(ctx: StoreContext, tmp_path: Path) -> Iterator[Launch]:
    """Return a function that starts a script with further variables in the environment."""
    started: list[Started] = []

    def start(body: str, environ: Mapping[str, str], *argv: str) -> Started:
        script = tmp_path / "script.py"
        text = SCRIPT.replace("BODY", textwrap.dedent(body))
        if not script.exists() or script.read_text() != text:
            script.write_text(text)
        env = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), "LOCALTRACK_RANK_WAIT_S": "50", **environ}
        process = subprocess.Popen(
            [sys.executable, str(script), *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
            cwd=tmp_path,
        )  # fmt: skip
        started.append(Started(process))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def by_hand(rank: int, **more: str) -> dict[str, str]:
    """Return what a launcher of two processes tells one of them."""
    return {**BY_HAND, "RANK": str(rank), **more}


def slurm(rank: int, **more: str) -> dict[str, str]:
    """Return what srun tells one of two tasks."""
    return {
        "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank), "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2", **more,
    }  # fmt: skip


def torchrun(rank: int, restarts: int = 0) -> dict[str, str]:
    """Return what torchrun tells one of two ranks on one host."""
    return by_hand(
        rank, LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2", TORCHELASTIC_RUN_ID="none",
        TORCHELASTIC_RESTART_COUNT=str(restarts),
        TORCHELASTIC_ERROR_FILE=f"/tmp/torchelastic_x/none_abc/attempt_{restarts}/{rank}/error.json",
    )  # fmt: skip


def wait_for(path: Path) -> None:
    """Wait until a script has made a file."""
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.02)


def ranks_of(ctx: StoreContext, task_id: str) -> list[str]:
    """Return the ranks that wrote into a task."""
    folder = tasks.folder_of(ctx, task_id) / "writers"
    return sorted(json.loads((one / "writer.json").read_text())["rank"] for one in folder.iterdir())


def changes_of(ctx: StoreContext, task_id: str) -> list[str]:
    """Return what each commit of a task was."""
    folder = tasks.folder_of(ctx, task_id) / "task"
    return [json.loads(path.read_text())["change"] for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("environment", [by_hand, slurm, torchrun])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["rank 0 first", "rank 1 first"])
def test_two_ranks_are_one_task(
    ctx: StoreContext, launch: Launch, environment: Callable[[int], dict[str, str]], order: tuple[int, int]
) -> None:
    """Each has the same task and writes files of its own; inputs are recorded once, and rank 0's are the recorded ones."""
    started = {rank: launch(USUAL, environment(rank), "--lr", f"0.{rank + 1}") for rank in order}
    ids = {task_id for one in started.values() for task_id in one.end().ids}
    (task_id,) = ids
    assert [row.id for row in ctx.index.rows()] == [task_id]
    record, folder = tasks.read(ctx, task_id), tasks.folder_of(ctx, task_id)
    assert record.status == "completed"
    assert [change["to"] for change in record.history] == ["in_progress", "completed"]
    assert record.parameters["Args/lr"]["value"] == 0.1
    assert record.parameters["General/rank"]["value"] == "0"
    assert parameters.configuration_text(folder, record, "config") == parameters.dump_configuration({"rank": "0"})
    changes = changes_of(ctx, task_id)
    assert changes.count("arguments") == changes.count("connect General") == 1
    found = reports.scalars(folder)
    assert found.problems == []
    for rank in ("0", "1"):
        assert found.of("loss", f"rank {rank}").values.tolist() == [step * 0.5 for step in range(20)]
        assert record.last_metrics["loss"][f"rank {rank}"]["last"] == 9.5
    lines = sorted(line.text for line in reports.console(folder) if line.text.startswith("hello"))
    assert lines == ["hello from 0", "hello from 1"]
    assert ranks_of(ctx, task_id) == ["0", "1"]


def test_a_late_rank_0_is_waited_for(ctx: StoreContext, launch: Launch) -> None:
    """Rank 1 says that it waits, and joins when rank 0 has started."""
    first = launch(USUAL, by_hand(1))
    assert first.process.stderr is not None
    assert "rank 1 of 2 (RANK) waits up to 50 s for rank 0" in first.process.stderr.readline()
    second = launch(USUAL, by_hand(0)).end()
    assert first.end().ids == second.ids


def test_a_rank_0_that_never_comes_is_not_waited_for_long(ctx: StoreContext, launch: Launch) -> None:
    """Rank 1 says so, has a task of its own, and leaves the last task of that name alone, which may be rank 0's."""
    before = launch(USUAL, {}).end().ids[0]
    alone = launch(USUAL, by_hand(1, LOCALTRACK_RANK_WAIT_S="0.3")).end()
    assert alone.ids[0] != before
    assert "tracks on its own" in alone.errors
    assert tasks.read(ctx, before).status == tasks.read(ctx, alone.ids[0]).status == "completed"
    assert tasks.read(ctx, alone.ids[0]).parameters["General/depth"]["value"] == 3
    assert ctx.store.trash_entries() == []


def test_a_rank_0_that_dies_before_it_has_a_task(ctx: StoreContext, launch: Launch) -> None:
    """The others go on on their own."""
    launch("os._exit(3)", by_hand(0)).end(3)
    alone = launch(USUAL, by_hand(1, LOCALTRACK_RANK_WAIT_S="0.3")).end()
    assert [row.id for row in ctx.index.rows()] == alone.ids


@pytest.mark.parametrize("ranks", [(0,), (0, 1)], ids=["its seat is free", "its seat is taken"])
def test_what_an_earlier_launch_left_is_not_joined(ctx: StoreContext, launch: Launch, ranks: tuple[int, ...]) -> None:
    """Variables that stay in a shell mean nothing once that launch is over."""
    earlier = [launch(USUAL, by_hand(rank)) for rank in ranks]
    (task_id,) = {one.end().ids[0] for one in earlier}
    alone = launch(USUAL, by_hand(1, LOCALTRACK_RANK_WAIT_S="0.3")).end()
    assert alone.ids[0] != task_id
    both = [launch(USUAL.replace('"run"', '"next"'), by_hand(rank)) for rank in (1, 0)]
    (second,) = {one.end().ids[0] for one in both}
    assert second not in (task_id, alone.ids[0])


def test_a_reused_task_is_rank_0s_own(ctx: StoreContext, launch: Launch) -> None:
    """Launched again, rank 0 takes its last task up, and rank 1 reports to that."""
    for number in range(2):
        pair = [launch(USUAL, by_hand(rank)) for rank in (0, 1)]
        (task_id,) = {one.end().ids[0] for one in pair}
        assert len(ctx.store.trash_entries()) == number
    assert [row.id for row in ctx.index.rows()] == [task_id]
    assert ranks_of(ctx, task_id) == ["0", "1"]


def test_a_task_that_has_ended_is_joined_where_the_launch_is_known_for_certain(
    ctx: StoreContext, launch: Launch
) -> None:
    """A step's number never comes again: a rank that starts after rank 0's end still belongs to its task."""
    first = launch(USUAL, slurm(0)).end()
    assert tasks.read(ctx, first.ids[0]).status == "completed"
    second = launch(USUAL, slurm(1)).end()
    assert second.ids == first.ids
    record = tasks.read(ctx, first.ids[0])
    assert record.status == "completed"
    assert record.last_metrics["loss"]["rank 1"]["last"] == 9.5


def test_rank_1_may_end_after_rank_0(ctx: StoreContext, launch: Launch, tmp_path: Path) -> None:
    """What it reports then is there, and the status is rank 0's."""
    body = """
    task = Task.init("ranks", "late")
    print("ID", task.id, flush=True)
    if rank == "0":
        wait_for("joined")
    else:
        done("joined")
        wait_for("ended")
        task.get_logger().report_scalar("late", "value", 7.0, 3)
        task.connect({"too": "late"})
        print("last words", flush=True)
    """
    second = launch(body, by_hand(1))
    first = launch(body, by_hand(0)).end()
    (tmp_path / "ended").touch()
    assert second.end().ids == first.ids
    record = tasks.read(ctx, first.ids[0])
    assert record.status == "completed"
    assert record.last_metrics["late"]["value"]["last"] == 7.0
    assert "last words" in [line.text for line in reports.console(tasks.folder_of(ctx, record.id))]
    assert second.errors.count("localtrack:") == 0


def test_two_launches_at_once_stay_apart(ctx: StoreContext, launch: Launch) -> None:
    """The same script, project and name, twice at a time: two tasks, each with its two ranks."""
    body = USUAL.replace('"run")', '"run", reuse_last_task_id=False)', 1)
    pairs = [[launch(body, by_hand(rank, MASTER_PORT=port)) for rank in (1, 0)] for port in ("29500", "29501")]
    ids = [{one.end().ids[0] for one in pair} for pair in pairs]
    assert [len(pair) for pair in ids] == [1, 1]
    assert ids[0] != ids[1]
    for pair in ids:
        assert ranks_of(ctx, pair.pop()) == ["0", "1"]


def test_launches_of_the_same_key_share_no_seat(ctx: StoreContext, launch: Launch) -> None:
    """Where nothing tells two launches apart, each task still has each rank once."""
    body = USUAL.replace('"run")', '"run", reuse_last_task_id=False)', 1)
    started = [launch(body, by_hand(rank)) for rank in (0, 1, 0, 1)]
    ids = [one.end().ids[0] for one in started]
    assert len(set(ids)) == 2
    for task_id in set(ids):
        assert ranks_of(ctx, task_id) == ["0", "1"]


def test_scripts_of_one_step_one_after_the_other(ctx: StoreContext, launch: Launch) -> None:
    """Each pair of processes has a task of its own, though rank 1's second one comes before rank 0's."""
    body = USUAL.replace('"run")', '"run", reuse_last_task_id=False)', 1)
    pair = [launch(body, slurm(rank)) for rank in (0, 1)]
    (first,) = {one.end().ids[0] for one in pair}
    early = launch(body, slurm(1))
    time.sleep(0.5)
    late = launch(body, slurm(0)).end()
    assert early.end().ids == late.ids != [first]


def test_several_tasks_in_one_process_go_in_pairs(ctx: StoreContext, launch: Launch) -> None:
    """Each closed task is followed by the next one, on every rank."""
    body = """
    for number in range(3):
        task = Task.init("ranks", "many", reuse_last_task_id=False)
        print("ID", task.id, flush=True)
        task.close()
    """
    first, second = (launch(body, by_hand(rank)) for rank in (0, 1))
    assert first.end().ids == second.end().ids
    assert len(set(first.ids)) == 3


def test_names_may_differ_from_rank_to_rank(ctx: StoreContext, launch: Launch) -> None:
    """A name with the time of day in it makes no second task; it is said."""
    body = """
    task = Task.init("ranks", f"run at {time.time()} in {os.getpid()}")
    print("ID", task.id, flush=True)
    """
    first, second = (launch(body, by_hand(rank)) for rank in (0, 1))
    assert first.end().ids == second.end().ids != []
    assert "though it asked for ranks/run at" in second.errors


def test_ranks_may_ask_for_tasks_of_their_own(ctx: StoreContext, launch: Launch) -> None:
    """With join_ranks off every process is a task, and none takes up another's."""
    started = [launch(USUAL, by_hand(rank, LOCALTRACK_JOIN_RANKS="0")) for rank in (0, 1)]
    ids = {one.end().ids[0] for one in started}
    assert len(ids) == 2
    assert not (ctx.store.root / "launches").exists()


def test_a_batch_job_of_one_process_is_left_alone(ctx: StoreContext, launch: Launch) -> None:
    """A plain script in a batch job has a rank and no launch: it waits for nobody and tells nobody."""
    batch = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    done = launch(USUAL, batch).end()
    assert not (ctx.store.root / "launches").exists()
    assert ranks_of(ctx, done.ids[0]) == [""]


def test_a_rank_that_only_asks_for_the_current_task(ctx: StoreContext, launch: Launch) -> None:
    """It has none, at once, until rank 0 runs its task; then it has that one, and watches what rank 0 watches."""
    body = """
    if rank == "0":
        wait_for("asked")
        task = Task.init("ranks", "run", auto_connect_frameworks={"matplotlib": False})
        done("started")
        wait_for("reported")
    else:
        assert Task.current_task() is None
        done("asked")
        wait_for("started")
        task = Task.current_task()
        task.get_logger().report_scalar("t", "s", 1.0, 0)
        print("heard", flush=True)
        assert task._session.options.frameworks == {"matplotlib": False}
        done("reported")
    print("ID", task.id, flush=True)
    """
    first, second = (launch(body, by_hand(rank)) for rank in (0, 1))
    assert first.end().ids == second.end().ids
    folder = tasks.folder_of(ctx, first.ids[0])
    assert reports.scalars(folder).of("t", "s").values.tolist() == [1.0]
    assert "heard" in [line.text for line in reports.console(folder)]


@pytest.mark.parametrize("last", ["0", "1"])
def test_how_another_rank_failed_is_written_down(ctx: StoreContext, launch: Launch, tmp_path: Path, last: str) -> None:
    """Its exception stands behind rank 0's end, whichever comes first; its exit code is its own; rank 0 has the status."""
    body = f"""
    task = Task.init("ranks", "run")
    print("ID", task.id, flush=True)
    done(f"started {{rank}}")
    wait_for("started 0")
    wait_for("started 1")
    if rank == "{last}":
        wait_for("go")
    if rank == "1":
        raise ValueError("the gradient exploded")
    """
    started = {rank: launch(body, by_hand(int(rank))) for rank in ("0", "1")}
    codes = {"0": 0, "1": 1}
    earlier = "1" if last == "0" else "0"
    started[earlier].end(codes[earlier])
    (tmp_path / "go").touch()
    started[last].end(codes[last])
    record = tasks.read(ctx, started["0"].ids[0])
    assert record.status == "completed"
    assert record.status_message == "rank 1 ended with ValueError: the gradient exploded"
    assert record.runtime["rank_failures"] == {"1": "ValueError: the gradient exploded"}
    assert "ValueError: the gradient exploded" in [
        line.text for line in reports.console(tasks.folder_of(ctx, record.id))
    ]


def test_rank_0_that_is_ended_with_the_others_says_why(ctx: StoreContext, launch: Launch, tmp_path: Path) -> None:
    """Torchrun ends the other ranks by SIGTERM when one fails: the task is stopped, with the cause behind it."""
    body = """
    task = Task.init("ranks", "run")
    print("ID", task.id, flush=True)
    done(f"started {rank}")
    wait_for("started 0")
    if rank == "1":
        sys.exit(5)
    time.sleep(60)
    """
    first, second = (launch(body, torchrun(rank)) for rank in (0, 1))
    second.end(5)
    first.process.send_signal(signal.SIGTERM)
    first.end(-signal.SIGTERM)
    record = tasks.read(ctx, first.ids[0])
    assert record.status == "stopped"
    assert record.status_message == "stopped by SIGTERM; rank 1 ended with exit code 5"


@pytest.mark.parametrize("end", ["raise ValueError('no')", "os.kill(os.getpid(), 9)", "sys.exit(0)"])
def test_a_restart_by_torchrun_goes_on_with_the_task(ctx: StoreContext, launch: Launch, end: str) -> None:
    """However the first attempt ended, the second writes into the same task; nothing goes to the trash."""
    body = f"""
    task = Task.init("ranks", f"run at {{time.time()}}")
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    task.get_logger().report_scalar("loss", f"{{rank}}, attempt {{attempt}}", 1.0, 5)
    print("ID", task.id, flush=True)
    done(f"{{rank}} of {{attempt}}")
    wait_for(f"0 of {{attempt}}")
    wait_for(f"1 of {{attempt}}")
    if attempt == "0":
        {end}
    """
    code = {"r": 1, "o": -9, "s": 0}[end[0]]
    pair = [launch(body, torchrun(rank)) for rank in (0, 1)]
    (task_id,) = {one.end(code).ids[0] for one in pair}
    pair = [launch(body, torchrun(rank, 1)) for rank in (1, 0)]
    assert {one.end().ids[0] for one in pair} == {task_id}
    record = tasks.read(ctx, task_id)
    assert (record.status, record.attempt, record.status_message) == ("completed", 2, "")
    assert sorted(record.last_metrics["loss"]) == ["0, attempt 0", "0, attempt 1", "1, attempt 0", "1, attempt 1"]
    assert record.last_iteration == 5
    assert [row.id for row in ctx.index.rows()] == [task_id]
    assert ctx.store.trash_entries() == []


def test_children_of_a_rank_report_to_the_task(ctx: StoreContext, launch: Launch) -> None:
    """Spawned workers of every rank attach to the one task."""
    body = """
    import multiprocessing
    def work(number):
        Task.current_task().get_logger().report_scalar("child", f"{rank}.{number}", 1.0, 0)
        return Task.current_task().id
    if __name__ == "__main__":
        task = Task.init("ranks", "run")
        print("ID", task.id, flush=True)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert set(pool.map(work, range(2))) == {task.id}
            pool.close()
            pool.join()
    """
    first, second = (launch(body, by_hand(rank)) for rank in (0, 1))
    assert first.end().ids == second.end().ids
    series = tasks.read(ctx, first.ids[0]).last_metrics["child"]
    assert sorted(series) == ["0.0", "0.1", "1.0", "1.1"]


def test_stored_values_go_into_every_rank(ctx: StoreContext, launch: Launch) -> None:
    """Under an agent rank 0 runs the task, the others report to it, and all have the stored arguments."""
    made = launch(USUAL, {}).end().ids[0]
    clone = tasks.clone(ctx, made)
    tasks.edit(ctx, clone.id, lambda r: parameters.override(r, [("Args/lr", "0.7"), ("General/depth", "9")]), "set")
    body = USUAL + 'print("GOT", arguments.lr, values["depth"], flush=True)\n'
    pair = [launch(body, by_hand(rank, LOCALTRACK_TASK_ID=clone.id)) for rank in (1, 0)]
    for one in pair:
        assert one.end().ids == [clone.id]
        assert "GOT 0.7 9" in one.lines
    record = tasks.read(ctx, clone.id)
    assert (record.status, record.attempt) == ("completed", clone.attempt + 1)
    assert ranks_of(ctx, clone.id) == ["0", "1"]


def test_a_task_that_goes_on_elsewhere_takes_its_ranks_along(ctx: StoreContext, launch: Launch) -> None:
    """execute_remotely ends every rank, and queues the task once."""
    ctx.queues.create("gpu")
    body = """
    task = Task.init("ranks", "run")
    print("ID", task.id, flush=True)
    done(f"started {rank}")
    wait_for("started 0")
    wait_for("started 1")
    task.execute_remotely("gpu")
    print("not here", flush=True)
    """
    first, second = (launch(body, by_hand(rank)) for rank in (0, 1))
    assert first.end().ids == second.end().ids
    assert "not here" not in first.lines + second.lines
    assert [entry.task_id for entry in ctx.queues.get("gpu").entries()] == first.ids
    lifecycle.dequeue(ctx, first.ids[0])


def test_a_task_that_a_rank_still_writes_into_is_not_taken_up_again(
    ctx: StoreContext, launch: Launch, tmp_path: Path
) -> None:
    """The next run of that name makes a new task while rank 1 of the one before is not done."""
    body = """
    task = Task.init("ranks", "run")
    print("ID", task.id, flush=True)
    done(f"started {rank}")
    if rank == "1":
        wait_for("next has run")
        task.set_parameter("General/late", 1)
        task.get_logger().report_scalar("late", "value", 7.0, 3)
    elif rank == "0":
        wait_for("started 1")
    """
    first, second = (launch(body, by_hand(rank)) for rank in (0, 1))
    first.end()
    following = launch(body, {}).end()
    (tmp_path / "next has run").touch()
    assert second.end().ids == first.ids != following.ids
    assert tasks.read(ctx, first.ids[0]).last_metrics["late"]["value"]["last"] == 7.0
    assert ctx.store.trash_entries() == []


@pytest.mark.parametrize("beats", [False, True])
def test_rank_0_of_another_host_lives_if_its_heart_beats(ctx: StoreContext, beats: bool) -> None:
    """What died a moment ago over there looks alive by its lease: an old meeting is joined only when a beat is seen."""
    folder, made = tasks.create(ctx, name="n", project="p")
    writer = TaskWriter(ctx, made.id, folder, "owner")
    writer.identity = {**writer.identity, "boot": "another boot", "host": "elsewhere"}
    writer.register()
    lifecycle.change_status(ctx, made.id, Status.IN_PROGRESS, owner=writer.identity)
    launches = Launches(ctx.store)
    fields = {"task": made.id, "ordinal": 1, "asked": {"project": "p", "name": "n", "type": "training"}}
    launches.announce("a" * 32, fields)
    hour_ago = time.time() - 3600
    os.utime(launches.folder("a" * 32) / "1.json", (hour_ago, hour_ago))
    waiting = StoreContext(ctx.store, Settings(rank_wait_s=3.0))
    if beats:
        writer.on_tick.append(writer._beat)
        writer.start()
    try:
        found = ranks.join(waiting, ranks.Launch("a" * 32, 1, 2, "RANK", False), ("p", "n", "training"))
    finally:
        writer.close()
    assert (found is not None) is beats
    assert launches.meetings("a" * 32)[0].taken == (frozenset({1}) if beats else frozenset())


def test_a_full_launch_folder_never_stops_rank_0(ctx: StoreContext, launch: Launch) -> None:
    """Where rank 0 can't say which task it runs, it says that, and runs."""
    (ctx.store.root / "launches").write_text("in the way")
    done = launch(USUAL, by_hand(0)).end()
    assert "the other ranks of this launch were not told" in done.errors
    assert tasks.read(ctx, done.ids[0]).status == "completed"


def test_a_torn_meeting_is_not_there_yet(ctx: StoreContext, tmp_path: Path) -> None:
    """A file that is half there, where no hard links are, is passed over; the next number is free."""
    launches = Launches(ctx.store)
    fields = {"task": "0" * 32, "ordinal": 1}
    assert launches.announce("a" * 32, fields) == 1
    whole = launches.folder("a" * 32) / "1.json"
    (launches.folder("a" * 32) / "2.json").write_bytes(whole.read_bytes()[:50])
    assert [one.number for one in launches.meetings("a" * 32)] == [1]
    assert launches.announce("a" * 32, fields) == 3
    meeting = launches.meetings("a" * 32)[1]
    assert launches.take_seat(meeting, 1, {})
    assert not launches.take_seat(meeting, 1, {})
    assert [one.taken for one in launches.meetings("a" * 32)] == [frozenset(), frozenset({1})]
