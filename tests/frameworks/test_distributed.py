"""Real launchers and pools: torchrun with gloo, accelerate, torch.multiprocessing, DataLoader workers, joblib."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from localtrack.records.task import TaskRecord
from localtrack.services import lifecycle, parameters, reports, tasks
from localtrack.services.context import StoreContext

pytest.importorskip("torch")

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
TRAINING = """
import argparse, os, sys, time
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from localtrack import Task
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
arguments = parser.parse_args()
task = Task.init("distributed", "ddp", reuse_last_task_id=False)
task.connect({"depth": 1})
dist.init_process_group("gloo")
rank = dist.get_rank()
assert Task.current_task().id == task.id
print(f"rank {rank} has {task.id}", flush=True)
model = DistributedDataParallel(torch.nn.Linear(2, 1))
optimizer = torch.optim.SGD(model.parameters(), arguments.lr)
for step in range(5):
    optimizer.zero_grad()
    loss = (model(torch.ones(4, 2) * (rank + 1)) ** 2).mean()
    loss.backward()
    optimizer.step()
    task.get_logger().report_scalar("loss", f"rank {rank}", loss.item(), step)
LAST
dist.barrier()
dist.destroy_process_group()
"""


def run(ctx: StoreContext, tmp_path: Path, script: str, *command: str, code: int = 0) -> tuple[TaskRecord, str]:
    """Run a script as a launcher does, and return the one task that it leaves, and what was printed."""
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    env = {
        **os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, *command, "script.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    (row,) = ctx.index.rows()
    record = tasks.read(ctx, row.id)
    assert [text for text in record.errors if text.startswith("binding ")] == []
    return record, done.stdout + done.stderr


def ranks_of(ctx: StoreContext, record: TaskRecord) -> list[str]:
    """Return the ranks that wrote into a task."""
    folder = tasks.folder_of(ctx, record.id) / "writers"
    return sorted(json.loads(one.read_text())["rank"] for one in folder.glob("*/writer.json"))


def lines_of(ctx: StoreContext, record: TaskRecord, start: str) -> list[str]:
    """Return the printed lines of a task that start so, sorted."""
    lines = reports.console(tasks.folder_of(ctx, record.id))
    return sorted(line.text for line in lines if line.text.startswith(start))


@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_ranks_of_a_launcher_are_one_task(ctx: StoreContext, tmp_path: Path, launcher: str) -> None:
    """Both ranks train and report, inputs are recorded once, and of the saved files those of rank 0."""
    command = TORCHRUN
    if launcher == "accelerate":
        pytest.importorskip("accelerate")
        command = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0")
    last = 'torch.save(model.module.state_dict(), f"rank{rank}.pt")'
    record, _ = run(ctx, tmp_path, TRAINING.replace("LAST", last), *command)
    assert (record.status, record.attempt) == ("completed", 1)
    assert ranks_of(ctx, record) == ["0", "1"]
    found = reports.scalars(tasks.folder_of(ctx, record.id))
    assert {len(found.of("loss", f"rank {rank}").values) for rank in (0, 1)} == {5}
    assert sorted(record.last_metrics["loss"]) == ["rank 0", "rank 1"]
    assert lines_of(ctx, record, "rank ") == [f"rank {rank} has {record.id}" for rank in (0, 1)]
    assert [model["name"] for model in record.output_models] == ["rank0"]
    assert record.parameters["Args/lr"]["value"] == 0.1
    assert record.script["entry_point"].endswith("script.py")


def test_an_agent_starts_the_launch_anew(ctx: StoreContext, tmp_path: Path) -> None:
    """A clone of a launch runs as one: both ranks have the stored argument, and rank 0 the status."""
    script = TRAINING.replace("LAST", 'print(f"rank {rank} got {arguments.lr}", flush=True)')
    made, _ = run(ctx, tmp_path, script, *TORCHRUN)
    assert made.script["launcher"] == {"module": TORCHRUN[1], "options": list(TORCHRUN[2:])}
    clone = tasks.clone(ctx, made.id)
    tasks.edit(ctx, clone.id, lambda record: parameters.override(record, [("Args/lr", "0.25")]), "set")
    lifecycle.enqueue(ctx, clone.id, "default")
    env = {
        **os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }  # fmt: skip
    command = [sys.executable, "-m", "localtrack", "agent", "start", "--drain"]
    subprocess.run(command, cwd=tmp_path, env=env, check=True, timeout=200, stdin=subprocess.DEVNULL)
    record = tasks.read(ctx, clone.id)
    assert record.status == "completed", record.status_message
    lines = [line for line in lines_of(ctx, record, "rank ") if " got " in line]
    assert lines == [f"rank {rank} got 0.25" for rank in (0, 1)]
    assert ranks_of(ctx, record) == ["0", "1"]
    assert sorted(record.last_metrics["loss"]) == ["rank 0", "rank 1"]
    assert len(ctx.index.rows()) == 2


def test_a_rank_that_fails_under_torchrun(ctx: StoreContext, tmp_path: Path) -> None:
    """Torchrun ends the others; the task names the rank and its exception."""
    last = 'if rank == 1: raise ValueError("the gradient exploded")'
    record, _ = run(ctx, tmp_path, TRAINING.replace("LAST", last), *TORCHRUN, code=1)
    assert record.status in ("stopped", "failed")
    assert record.status_message.endswith("; rank 1 ended with ValueError: the gradient exploded")


def test_torchrun_starts_the_ranks_anew(ctx: StoreContext, tmp_path: Path) -> None:
    """The second attempt goes on with the same task, and nothing goes to the trash."""
    # before the ranks connect: gloo itself does not always get over a lost one
    first = """if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    task.get_logger().report_scalar("loss", "before the restart", 1.0, 0)
    os._exit(7) if os.environ["RANK"] == "1" else time.sleep(60)
dist.init_process_group("""
    script = TRAINING.replace("LAST", "").replace("dist.init_process_group(", first, 1)
    record, output = run(ctx, tmp_path, script, *TORCHRUN, "--max-restarts=1")
    assert (record.status, record.attempt, record.status_message) == ("completed", 2, "")
    assert f"goes on with task {record.id}" in output
    assert ranks_of(ctx, record) == ["0", "0", "1", "1"]
    assert sorted(record.last_metrics["loss"]) == ["before the restart", "rank 0", "rank 1"]
    assert ctx.store.trash_entries() == []


def test_torch_multiprocessing_spawns_ranks(ctx: StoreContext, tmp_path: Path) -> None:
    """Ranks that the script spawns itself attach to its task; only rank 0's files are models."""
    script = """
    import os
    import torch, torch.distributed as dist
    from localtrack import Task
    def work(rank, store):
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
        task = Task.current_task()
        task.get_logger().report_scalar("t", f"rank {rank}", 1.0, 0)
        torch.save(torch.nn.Linear(1, 1).state_dict(), f"rank{rank}.pt")
        print(f"worker {rank} has {task.id}", flush=True)
        dist.barrier()
        dist.destroy_process_group()
    if __name__ == "__main__":
        task = Task.init("distributed", "spawned")
        torch.multiprocessing.spawn(work, args=(os.path.abspath("meet"),), nprocs=2)
    """
    record, _ = run(ctx, tmp_path, script)
    assert record.status == "completed"
    assert sorted(record.last_metrics["t"]) == ["rank 0", "rank 1"]
    assert lines_of(ctx, record, "worker ") == [f"worker {rank} has {record.id}" for rank in (0, 1)]
    assert [model["name"] for model in record.output_models] == ["rank0"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_a_data_loader(ctx: StoreContext, tmp_path: Path, method: str) -> None:
    """They report, print, load files that are no models, and end without a word, over several epochs."""
    script = f"""
    import torch
    from localtrack import Task
    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 8
        def __getitem__(self, index):
            torch.load("sample.pt")
            Task.current_task().get_logger().report_scalar("sample", str(index), 1.0, 0)
            print(f"sample {{index}}", flush=True)
            return torch.zeros(1)
    if __name__ == "__main__":
        torch.save(torch.zeros(3), "sample.pt")
        task = Task.init("distributed", "loader")
        for epoch in range(2):
            loader = torch.utils.data.DataLoader(Data(), num_workers=2, multiprocessing_context="{method}")
            assert sum(1 for batch in loader) == 8
    """
    record, output = run(ctx, tmp_path, script)
    assert record.status == "completed"
    assert sorted(record.last_metrics["sample"]) == [str(index) for index in range(8)]
    found = reports.scalars(tasks.folder_of(ctx, record.id))
    assert {len(found.of("sample", str(index)).values) for index in range(8)} == {2}
    assert lines_of(ctx, record, "sample ") == sorted(f"sample {index}" for index in (*range(8), *range(8)))
    assert (record.input_models, record.output_models) == ((), ())
    assert "Traceback" not in output


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
def test_workers_of_joblib(ctx: StoreContext, tmp_path: Path, backend: str) -> None:
    """Each call's values and lines are there once, in whichever process it ran."""
    joblib = pytest.importorskip("joblib")
    assert joblib is not None
    script = f"""
    import joblib
    from localtrack import Task
    def work(number):
        Task.current_task().get_logger().report_scalar("call", str(number), number, 0)
        print(f"call {{number}}\\n", end="", flush=True)  # in one piece: threads print at once
        return number
    if __name__ == "__main__":
        task = Task.init("distributed", "joblib")
        calls = (joblib.delayed(work)(number) for number in range(6))
        assert joblib.Parallel(n_jobs=2, backend="{backend}")(calls) == list(range(6))
    """
    record, _ = run(ctx, tmp_path, script)
    assert record.status == "completed"
    found = reports.scalars(tasks.folder_of(ctx, record.id))
    assert [found.of("call", str(number)).values.tolist() for number in range(6)] == [[n] for n in range(6)]
    assert lines_of(ctx, record, "call ") == [f"call {number}" for number in range(6)]
