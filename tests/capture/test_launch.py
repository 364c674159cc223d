"""What launchers put into the environment, and which process is a rank of which launch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack.capture.host import process_age_s
from localtrack.capture.launch import AROUND_VARIABLE, Launch, find_command, find_launch, parse_command

BY_HAND = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
TORCH = {
    **BY_HAND, "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_ERROR_FILE": "/tmp/torchelastic_x/none_abc/attempt_0/1/error.json", "TORCHELASTIC_RESTART_COUNT": "0",
}  # fmt: skip
SLURM = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2",
}  # fmt: skip
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_NAMESPACE": "prterun-node1-99@1"}
HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "2"}


def found(environ: dict[str, str]) -> Launch:
    """Return the launch that there must be."""
    launch = find_launch(environ)
    assert launch is not None
    return launch


@pytest.mark.parametrize(
    ("environ", "kind"),
    [(BY_HAND, "RANK"), (TORCH, "torchrun"), (SLURM, "Slurm"), (OPEN_MPI, "Open MPI"), (HYDRA, "MPI")],
)
def test_each_launcher_is_known(environ: dict[str, str], kind: str) -> None:
    """The rank and the size are the launcher's; the other rank has the same key, an environment without it none."""
    launch = found(environ)
    assert (launch.kind, launch.rank, launch.size) == (kind, 1, 2)
    ranks = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "LOCAL_RANK")
    other = {name: "0" if name in ranks else value for name, value in environ.items()}
    other = {name: value.replace("/1/error", "/0/error") for name, value in other.items()}
    assert found(other).key == launch.key
    assert found(other).rank == 0
    assert find_launch({"PATH": "/bin"}) is None


@pytest.mark.parametrize(
    "environ",
    [
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"},
        {**SLURM, "SLURM_STEP_ID": "4294967291"},
        {**SLURM, "SLURM_STEP_ID": "4294967294"},
        {**SLURM, "SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1"},
        {**BY_HAND, "RANK": "0", "WORLD_SIZE": "1"},
        {**BY_HAND, "RANK": "2"},
        {**BY_HAND, "RANK": "-1"},
        {**BY_HAND, "RANK": "one"},
        {**BY_HAND, "WORLD_SIZE": ""},
        {"RANK": "1"},
        {"SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
    ],
    ids=[
        "batch script", "batch script of a large job", "batch step", "batch step of old Slurm", "one task of a job of eight",
        "alone", "rank above size", "negative", "no number", "no size", "rank alone", "array",
    ],
)  # fmt: skip
def test_a_process_on_its_own_is_no_rank(environ: dict[str, str]) -> None:
    """A batch job's own script, a step of one task, and nonsense are no launches."""
    assert find_launch(environ) is None


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (BY_HAND, {"MASTER_PORT": "29501"}),
        (BY_HAND, {"MASTER_ADDR": "node2"}),
        (BY_HAND, {"SLURM_JOB_ID": "8"}),
        (TORCH, {"TORCHELASTIC_ERROR_FILE": "/tmp/torchelastic_x/none_def/attempt_0/1/error.json"}),
        (SLURM, {"SLURM_STEP_ID": "1"}),
        (SLURM, {"SLURM_JOB_ID": "8"}),
        (SLURM, {"SLURM_RESTART_COUNT": "1"}),
        (OPEN_MPI, {"PMIX_NAMESPACE": "prterun-node1-100@1"}),
    ],
)
def test_other_launches_have_other_keys(base: dict[str, str], change: dict[str, str]) -> None:
    """Whatever tells two launches apart is in the key."""
    assert found({**base, **change}).key != found(base).key


def test_a_restart_by_torchrun_is_the_same_launch() -> None:
    """The key stays, and the number of restarts is known."""
    again = {
        **TORCH, "TORCHELASTIC_RESTART_COUNT": "2",
        "TORCHELASTIC_ERROR_FILE": "/tmp/torchelastic_x/none_abc/attempt_2/1/error.json",
    }  # fmt: skip
    assert found(again).key == found(TORCH).key
    assert found(again).restarts == 2


def test_torchrun_on_several_hosts_is_known_by_its_run_id() -> None:
    """Each host has its own error files then; without an id the port counts."""
    several = {**TORCH, "WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "job7"}
    elsewhere = {**several, "RANK": "3", "TORCHELASTIC_ERROR_FILE": "/tmp/other/job7_zz/attempt_0/1/error.json"}
    assert found(several).key == found(elsewhere).key
    assert found({**several, "MASTER_PORT": "1"}).key == found(several).key
    assert found({**several, "TORCHELASTIC_RUN_ID": "job8"}).key != found(several).key
    unnamed = {**several, "TORCHELASTIC_RUN_ID": "none"}
    assert found({**unnamed, "MASTER_PORT": "1"}).key != found(unnamed).key
    assert not found(several).is_unique


def test_the_innermost_launcher_counts() -> None:
    """torchrun, or a launcher that sets RANK, within a Slurm step numbers the processes; RANK taken from Slurm is Slurm's."""
    inner = {**SLURM, **BY_HAND, "RANK": "5", "WORLD_SIZE": "8"}
    assert (found(inner).kind, found(inner).rank) == ("RANK", 5)
    assert found({**SLURM, **TORCH}).kind == "torchrun"
    assert found({**SLURM, **BY_HAND}).key == found(SLURM).key
    assert found({**SLURM, **HYDRA}).key == found(SLURM).key
    daemon = {**SLURM, **OPEN_MPI, "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}
    assert (found(daemon).kind, found(daemon).rank) == ("Open MPI", 3)


def test_what_an_agent_within_a_launch_runs_is_no_rank() -> None:
    """The agent tells its job which launch to pass over; one that the job makes itself counts."""
    outer = {**SLURM, AROUND_VARIABLE: found(SLURM).key}
    assert find_launch(outer) is None
    assert found({**outer, **TORCH}).kind == "torchrun"


def test_processes_of_one_parent_find_each_other_past_shells(tmp_path: Path) -> None:
    """Where only the parent tells launches apart, a shell between it and a rank does not hide it."""
    code = "from localtrack.capture.launch import find_launch; print(find_launch().key)"
    script = tmp_path / "rank.py"
    script.write_text(code)
    env = {**os.environ, **HYDRA, "MPI_LOCALNRANKS": "2"}
    direct = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, check=True)
    shell = f"{sys.executable} {script}; true"
    wrapped = subprocess.run(["sh", "-c", shell], env=env, capture_output=True, text=True, check=True)
    assert direct.stdout == wrapped.stdout != ""


def test_a_processes_age_is_counted_by_the_kernel() -> None:
    """This process is older than a child that has just started; a missing one has no age."""
    mine = process_age_s(os.getpid())
    with subprocess.Popen(["sleep", "60"]) as child:
        theirs = process_age_s(child.pid)
        child.kill()
    assert mine is not None
    assert theirs is not None
    assert 0.0 <= theirs < mine
    assert process_age_s(2**22 + 1) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/v/bin/python /v/bin/torchrun --nproc-per-node=2 train.py --lr 1", ("torch.distributed.run", "--nproc-per-node=2")),
        (
            "python -m torch.distributed.run --standalone --nproc-per-node 2 train.py --lr 1",
            ("torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        ),
        ("python -u /v/bin/torchrun --nproc-per-node=2 -m pkg.train --lr 1", ("torch.distributed.run", "--nproc-per-node=2")),
        ("python /v/bin/accelerate launch --num_processes=2 train.py --lr 1",
         ("accelerate.commands.launch", "--num_processes=2")),
        ("python -m accelerate.commands.launch train.py --lr 1", ("accelerate.commands.launch",)),
        ("python /v/bin/torchrun --nproc-per-node=2 train.py --lr 2", None),
        ("python /v/bin/torchrun --no-python --nproc-per-node=2 train.sh --lr 1", None),
        ("python train.py --lr 1", None),
        ("torchrun --lr 1", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_launchers_own_options_are_told_from_the_scripts(line: str, expected: tuple[str, ...] | None) -> None:
    """What stands before the script is the launcher's; a line that does not end with the script's arguments says nothing."""
    found = parse_command(line.split(), ["--lr", "1"])
    assert (None if found is None else (found.module, *found.options)) == expected


def test_only_torchrun_on_one_host_has_a_command() -> None:
    """Of other launches, and of several hosts, no command is taken down."""
    for environ in ({}, BY_HAND, SLURM, {**TORCH, "WORLD_SIZE": "4"}, TORCH):
        assert find_command(sys.argv, environ) is None
