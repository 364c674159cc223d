"""Hosts of their own kernel on this machine: user-mode Linux, joined by a switch, commanded through files.

Each :class:`Host` runs the Debian kernel ``linux.uml`` as an ordinary process. Its root is this machine's root,
read-only, so Python, the virtual environment and the checkout are simply there. It needs no KVM and no root rights.
Nothing of what it does reaches the network: the switch is a socket in the lab's folder.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

INIT = Path(__file__).with_name("guest_init.sh")
PACKAGES = {
    "linux.uml": "user-mode-linux",
    "uml_switch": "uml-utilities",
    "modprobe": "kmod",
    "ip": "iproute2",
    "rpcbind": "rpcbind",
    "mount.nfs": "nfs-common",
    "rpc.nfsd": "nfs-kernel-server",
}
PIPE = "/run/worker"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabError(Exception):
    """A host did not start, died, or a command on it failed."""


@dataclass(frozen=True, slots=True)
class Job:
    """A command that was given to a host."""

    number: int
    command: str


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: its exit status, and what it printed."""

    status: int
    output: str


def missing() -> str:
    """Return why no lab can run here, with the packages to install; empty when one can."""
    absent = [package for program, package in PACKAGES.items() if shutil.which(program, path=SYSTEM_PATH) is None]
    if absent:
        return f"no NFS lab here: apt-get install {' '.join(absent)}"
    said = _try_kernel()
    return f"no NFS lab here: this machine runs no program in a user-mode kernel: {said}" if said else ""


def _try_kernel() -> str:
    """Return what a kernel says that can't run a single program; empty when it can.

    A processor with more registers than a kernel knows of (AMX) makes it so, whatever the lab does.
    """
    arguments = ["linux.uml", "mem=64M", "rootfstype=hostfs", "rootflags=/", "ro", "root=/dev/root", "init=/bin/true"]
    try:
        done = subprocess.run(
            [*arguments, "con=null", "con0=fd:0,fd:1", "ssl=null"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            env={**os.environ, "TMPDIR": _memory_folder(), "PATH": SYSTEM_PATH},
        )
    except subprocess.TimeoutExpired:
        return ""  # it lives, which is more than that
    lines = done.stdout.decode(errors="replace").splitlines()
    return next((line.strip() for line in lines if "regs failed" in line), "")


def _memory_folder(otherwise: str = tempfile.gettempdir()) -> str:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else otherwise


class Host:
    """One kernel. Made by :meth:`Lab.boot`."""

    def __init__(self, lab: Lab, name: str, address: str, role: str, memory_mb: int) -> None:
        self.name = name
        self._control = lab.folder / "control"
        self._jobs = 0
        switch = lab.folder / "switch"
        last = int(address.rpartition(".")[2])
        arguments = [
            "linux.uml", f"mem={memory_mb}M", "rootfstype=hostfs", "rootflags=/", "ro", "root=/dev/root",
            f"init={INIT}", "con=null", "con0=null,null", "ssl=null", "quiet",
            f"umid={name}", f"uml_dir={lab.folder / 'uml'}",
            f"eth0=daemon,02:00:00:00:00:{last:02x},unix,{switch}",
            f"lab_name={name}", f"lab_address={address}", f"lab_role={role}", f"lab_control={self._control}",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "TMPDIR": _memory_folder(str(lab.folder)), "PATH": SYSTEM_PATH},
        )

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the host takes commands.

        Raises:
            LabError: it did not come up in time.
        """
        self._wait_for(self._control / f"{self.name}.ready", timeout_s, "booting")

    def start(self, command: str) -> Job:
        """Give the host a shell command; it runs beside the others."""
        job = Job(self._jobs, command)
        self._jobs += 1
        part = self._file(job, "part")
        part.write_text(command + "\n")
        part.rename(self._file(job, "command"))
        return job

    def serve(self, script: Path) -> None:
        """Keep a Python script running, with the interpreter of the tests, that does what :meth:`ask` says."""
        self.run(f"mkfifo {PIPE}")
        self.start(shlex.join([sys.executable, str(script), "serve", PIPE]))

    def ask(self, *words: object) -> Job:
        """Let the script that this host serves run an action, in a process of its own."""
        pipe = f"{PIPE}.{self._jobs}"
        line = shlex.quote(json.dumps([pipe, *map(str, words)]))
        return self.start(f"mkfifo {pipe} && echo {line} > {PIPE} && cat {pipe} && exit $(cat {pipe}.status)")

    def finish(self, job: Job, timeout_s: float = 60.0) -> Finished:
        """Wait for a command to end.

        Raises:
            LabError: it did not end in time, or the host died.
        """
        self._wait_for(self._file(job, "status"), timeout_s, job.command)
        output = self._file(job, "output").read_text(errors="replace")
        return Finished(int(self._file(job, "status").read_text()), output)

    def run(self, command: str, timeout_s: float = 60.0) -> str:
        """Run a shell command to its end and return what it printed.

        Raises:
            LabError: it failed.
        """
        return self.expect(self.start(command), timeout_s)

    def expect(self, job: Job, timeout_s: float = 60.0) -> str:
        """Wait for a command that must succeed, and return what it printed.

        Raises:
            LabError: it failed.
        """
        done = self.finish(job, timeout_s)
        if done.status:
            raise LabError(f"{self.name}$ {job.command}\nexit status {done.status}\n{done.output}")
        return done.output.strip()

    def cut_power(self) -> None:
        """End the kernel at once: nothing is flushed, as when the plug is pulled."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()

    def _file(self, job: Job, suffix: str) -> Path:
        return self._control / f"{self.name}.{job.number}.{suffix}"

    def _wait_for(self, path: Path, timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not path.exists():
            if self._process.poll() is not None:
                raise LabError(f"{self.name} died while {what}\n{self._log()}")
            if time.monotonic() > deadline:
                output = path.with_suffix(".output")
                said = output.read_text(errors="replace") if output.exists() else ""
                raise LabError(f"{self.name}: no end of {what!r} within {timeout_s} s\n{said}\n{self._log()}")
            time.sleep(0.01)

    def _log(self) -> str:
        log = self._control / f"{self.name}.log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else "(it said nothing)"


class Lab:
    """A network of hosts in a folder of its own; leaving the ``with`` block ends them all."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="localtrack-lab-"))
        for name in ("control", "uml"):
            (self.folder / name).mkdir()
        self.hosts: list[Host] = []
        self._switch = subprocess.Popen(
            ["uml_switch", "-unix", str(self.folder / "switch")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": SYSTEM_PATH},
        )
        deadline = time.monotonic() + 10.0
        while not (self.folder / "switch").exists():
            if time.monotonic() > deadline:
                self.close()
                raise LabError("uml_switch did not start")
            time.sleep(0.01)

    def boot(self, name: str, address: str, role: str, memory_mb: int = 320) -> Host:
        """Start a host; :meth:`Host.wait_ready` waits for it, so that several can boot at once."""
        host = Host(self, name, address, role, memory_mb)
        self.hosts.append(host)
        return host

    def close(self) -> None:
        """End every host and the switch, and remove the lab's folder."""
        for host in self.hosts:
            host.cut_power()
        self._switch.kill()
        self._switch.wait()
        if self._switch.stdin is not None:
            self._switch.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
