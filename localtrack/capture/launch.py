"""Which launch of several processes this one belongs to, and as which rank: what its launcher put into the environment.

Every process of a launch finds the same key, and no process of another launch that runs at the same time does. What is
left over in a shell from an earlier launch is told from a live one later, by whoever meets its rank zero.

Source: PyTorch's torchrun, "Environment Variables"; Slurm's srun, "OUTPUT ENVIRONMENT VARIABLES"; Open MPI's mpirun;
MPICH's Hydra.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from localtrack.capture.host import boot_id, command_of, environment_of, parent_of, process_age_s, start_token
from localtrack.records.digests import hex_sha256
from localtrack.records.plain import dataclass

AROUND_VARIABLE = "LOCALTRACK_LAUNCH_AROUND"
TORCHRUN, SLURM, OPEN_MPI, MPI, BY_HAND = "torchrun", "Slurm", "Open MPI", "MPI", "RANK"
_JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
_OPEN_MPI_JOB = ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "OMPI_MCA_orte_ess_jobid")
_LOOPBACK = ("", "localhost", "127.0.0.1", "::1", "0.0.0.0")
#: Slurm numbers what is no step that srun started (the batch script, an interactive shell) from here on.
_FIRST_SPECIAL_STEP = 0xFFFFFFF0
_ERROR_FILE_DEPTH = 3
_TORCHRUN_ID = "TORCHELASTIC_RUN_ID"
#: Launchers that a task may name and an agent starts: nothing else is, whatever a task says.
LAUNCHER_MODULES = ("torch.distributed.run", "accelerate.commands.launch")
_OTHER_PROGRAM = frozenset({"--no-python", "--no_python"})
_COMMAND_WORDS = 8
_Seat = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch, and this process's place in it.

    Attributes:
        key: the same in all its processes: 32 hexadecimal digits.
        rank: number of this process, from 0.
        size: how many there are.
        kind: what started them.
        is_unique: whether no other launch ever has the same key; else a later one may.
        restarts: how often torchrun has started this process's ranks anew.
    """

    key: str
    rank: int
    size: int
    kind: str
    is_unique: bool
    restarts: int = 0

    @property
    def label(self) -> str:
        """The rank with as many digits as the size has, so that names sort."""
        return f"{self.rank:0{len(str(self.size))}d}"


def find_launch(environ: Mapping[str, str] | None = None) -> Launch | None:
    """Return the launch that this process is a rank of; None for a process on its own.

    A launch of one process is none. Neither is one that an agent itself belongs to, for what the agent runs.
    """
    env = os.environ if environ is None else environ
    launch = _torchrun(env) or _other(env)
    return None if launch is not None and env.get(AROUND_VARIABLE) == launch.key else launch


def launcher_age_s() -> float | None:
    """Return for how many seconds torchrun's own process on this host runs; None where that can't be told."""
    return process_age_s(_launcher(_TORCHRUN_ID))


@dataclass(frozen=True, slots=True)
class LauncherCommand:
    """How a launch of one host was started.

    Attributes:
        module: what ``python -m`` starts in its stead.
        options: the launcher's own, without the script and its arguments.
    """

    module: str
    options: tuple[str, ...]


def find_command(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> LauncherCommand | None:
    """Return the command of torchrun, or accelerate, that started this rank on this host alone; None without one.

    Args:
        argv: ``sys.argv`` of the rank: where the launcher's options end.
        environ: the environment; that of this process without.
    """
    launch = find_launch(environ)
    if launch is None or launch.kind != TORCHRUN or not launch.is_unique:
        return None
    return parse_command(command_of(_launcher(_TORCHRUN_ID)), list(argv[1:]))


def parse_command(words: Sequence[str], arguments: Sequence[str]) -> LauncherCommand | None:
    """Return the launcher and its options in a command line that ends with a script and its arguments."""
    start, module = 0, ""
    for index, word in enumerate(words[:_COMMAND_WORDS]):
        following = words[index + 1] if index + 1 < len(words) else ""
        name = PurePath(word).name
        if word == "-m" and following in LAUNCHER_MODULES:
            start, module = index + 2, following
        elif name == "torchrun":
            start, module = index + 1, LAUNCHER_MODULES[0]
        elif name == "accelerate" and following == "launch":
            start, module = index + 2, LAUNCHER_MODULES[1]
        if module:
            break
    end = len(words) - len(arguments) - 1
    if not module or end < start or list(words[end + 1 :]) != list(arguments):
        return None
    options = tuple(words[start:end])
    if _OTHER_PROGRAM & set(options):
        return None
    return LauncherCommand(module, options[:-1] if options[-1:] in (("-m",), ("--module",)) else options)


def _torchrun(env: Mapping[str, str]) -> Launch | None:
    seat = _seat(env, "RANK", "WORLD_SIZE")
    run_id = env.get(_TORCHRUN_ID)
    if seat is None or run_id is None:
        return None
    count = env.get("TORCHELASTIC_RESTART_COUNT", "")
    restarts = int(count) if count.isascii() and count.isdigit() else 0
    if env.get("LOCAL_WORLD_SIZE") == env.get("WORLD_SIZE"):
        error_file = env.get("TORCHELASTIC_ERROR_FILE", "")
        parts = PurePath(error_file).parts
        if len(parts) > _ERROR_FILE_DEPTH:  # <a folder with a random name>/attempt_<n>/<local rank>/error.json
            identity: tuple[str, ...] = (_host(), *parts[:-_ERROR_FILE_DEPTH])
        else:
            identity = _process(_launcher(_TORCHRUN_ID))
        return _launch(TORCHRUN, seat, True, *identity, restarts=restarts)
    address = _address(env, with_port=run_id in ("", "none"))
    return _launch(TORCHRUN, seat, False, run_id, *address, *_jobs(env), restarts=restarts)


def _other(env: Mapping[str, str]) -> Launch | None:
    by_hand = _seat(env, "RANK", "WORLD_SIZE")
    started = _mpi(env)
    slurm = _slurm(env)
    if started is None or (slurm is not None and _place(slurm) == _place(started)):
        started = slurm or started  # Slurm speaks MPI's start-up protocol too, and its own numbers never come again
    if by_hand is None or (started is not None and _place(started) == by_hand):
        return started
    return _launch(BY_HAND, by_hand, False, *_address(env, with_port=True), str(by_hand[1]), *_jobs(env))


def _mpi(env: Mapping[str, str]) -> Launch | None:
    seat = _seat(env, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")
    if seat is not None:
        job = next((env[name] for name in _OPEN_MPI_JOB if env.get(name)), "")
        return _launch(OPEN_MPI, seat, False, job, str(seat[1]), *_jobs(env))
    seat = _seat(env, "PMI_RANK", "PMI_SIZE")
    if seat is None:
        return None
    if env.get("MPI_LOCALNRANKS") == env["PMI_SIZE"]:
        return _launch(MPI, seat, True, *_process(_launcher("PMI_RANK")))
    return _launch(MPI, seat, False, str(seat[1]), *_jobs(env))


def _slurm(env: Mapping[str, str]) -> Launch | None:
    """A task of a step that srun started; the script of a batch job alone has numbers as well, but no step."""
    step, job = env.get("SLURM_STEP_ID", ""), env.get("SLURM_JOB_ID", "")
    size = next((name for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS") if env.get(name)), "")
    seat = _seat(env, "SLURM_PROCID", size)
    if seat is None or not job or not step.isdigit() or int(step) >= _FIRST_SPECIAL_STEP:
        return None
    cluster, restart = env.get("SLURM_CLUSTER_NAME", ""), env.get("SLURM_RESTART_COUNT", "0")
    return _launch(SLURM, seat, True, cluster, job, step, restart)


def _launch(kind: str, seat: _Seat, is_unique: bool, *identity: str, restarts: int = 0) -> Launch:
    text = json.dumps([kind, *identity])
    key = hex_sha256(text.encode("utf-8", "surrogatepass"))[:32]
    return Launch(key, seat[0], seat[1], kind, is_unique, restarts)


def _seat(env: Mapping[str, str], rank_name: str, size_name: str) -> _Seat | None:
    rank, size = env.get(rank_name, ""), env.get(size_name, "")
    if not (rank.isascii() and rank.isdigit() and size.isascii() and size.isdigit()):
        return None
    return (int(rank), int(size)) if int(rank) < int(size) and int(size) > 1 else None


def _place(launch: Launch) -> _Seat:
    return launch.rank, launch.size


def _address(env: Mapping[str, str], *, with_port: bool) -> tuple[str, ...]:
    """Return where rank zero listens; an address that every host has stands for that of this host."""
    address = env.get("MASTER_ADDR", "")
    here = (_host(),) if address in _LOOPBACK else ()
    return (address, *here, *((env.get("MASTER_PORT", ""),) if with_port else ()))


def _jobs(env: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={env[name]}" for name in _JOB_VARIABLES if env.get(name))


def _host() -> str:
    from socket import gethostname

    return boot_id() or gethostname()


def _process(pid: int) -> tuple[str, ...]:
    return _host(), str(pid), start_token(pid) or ""


def _launcher(variable: str) -> int:
    """Return the nearest process above that has not got the variable: what set it, past shells in between."""
    pid = os.getppid()
    while pid > 1 and variable.encode() in environment_of(pid):
        above = parent_of(pid)
        if above is None:
            break
        pid = above
    return pid
