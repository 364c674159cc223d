"""Describe the host and the process, and tell whether a process is still the one it was.

Reads a few files of the kernel and loads no library: this runs in every ``Task.init``.
"""

from __future__ import annotations

import fnmatch
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from localtrack.capture.redaction import storable_text, strip_embedded_userinfo
from localtrack.records.digests import hex_sha256
from localtrack.records.plain import dataclass

_PROC = Path("/proc")
_MACHINE_ID_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_SECRET_WORDS = ("TOKEN", "KEY", "SECRET", "PASS", "PWD", "CREDENTIAL", "AUTH", "PRIVATE", "COOKIE")
#: Names that hold one of the words above and no secret.
_HARMLESS_NAMES = frozenset({"PWD", "OLDPWD"})
_STATE_FIELD = 0
_PARENT_FIELD = 1
_START_FIELD = 19


@dataclass(frozen=True, slots=True)
class HostState:
    """Where a process runs, and which process it is.

    Attributes:
        hostname: Name of the host.
        machine_id: Stable identity of the installation, hashed; '' when the system tells none.
        boot_id: Changes at every boot; '' when the system tells none.
        pid_namespace: Which process table ``pid`` belongs to: containers on one host differ here.
        user: Login name, else the number of the user.
        pid: Process id.
        start_token: When the process started; with ``pid`` it names a process for one boot.
        python_version: Such as ``3.11.7``.
        platform: Kernel, release and architecture.
        cpu_count: Processors this process may use.
        memory_bytes: Physical memory; 0 when unknown.
        errors: What could not be captured.
    """

    hostname: str
    machine_id: str
    boot_id: str
    pid_namespace: str
    user: str
    pid: int
    start_token: str
    python_version: str
    platform: str
    cpu_count: int
    memory_bytes: int
    errors: tuple[str, ...] = ()

    def shares_processes_with(self, boot_id: str, pid_namespace: str) -> bool:
        """Tell whether a pid recorded under those two can be looked up from here."""
        return bool(self.boot_id) and self.boot_id == boot_id and self.pid_namespace == pid_namespace


def capture_host() -> HostState:
    """Describe this host and this process."""
    errors: list[str] = []
    pid = os.getpid()
    token = start_token(pid)
    if token is None:
        errors.append(f"process {pid}: its start time is unknown here; liveness rests on the heartbeat alone")
    return HostState(
        hostname=storable_text(_find_hostname()),
        machine_id=_read_machine_id(),
        boot_id=_read_boot_id(),
        pid_namespace=_read_pid_namespace(),
        user=storable_text(_find_user()),
        pid=pid,
        start_token=token or "",
        python_version=".".join(str(part) for part in sys.version_info[:3]),
        platform=_describe_platform(),
        cpu_count=_count_cpus(),
        memory_bytes=_read_memory_bytes(),
        errors=tuple(errors),
    )


def start_token(pid: int) -> str | None:
    """Return a text that differs between two processes that had the same pid since boot; None if there is none."""
    fields = _read_stat(pid)
    if fields is not None:
        return fields[_START_FIELD] if len(fields) > _START_FIELD else None
    if _has_proc():
        return None
    return _ask_psutil(pid)


def is_alive(pid: int, token: str) -> bool:
    """Tell whether the process ``pid`` that started at ``token`` still runs on this host.

    A process that ended and waits for its parent to notice (a zombie) does not run.
    """
    fields = _read_stat(pid)
    if fields is None:
        return not _has_proc() and _ask_psutil(pid) == token
    is_over = fields[_STATE_FIELD] in ("Z", "X", "x")
    return not is_over and len(fields) > _START_FIELD and fields[_START_FIELD] == token


def process_age_s(pid: int) -> float | None:
    """Return for how many seconds a process runs, by a clock that nobody sets; None where that can't be told."""
    fields = _read_stat(pid)
    if fields is None or len(fields) <= _START_FIELD or not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    started_s = int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)


def parent_of(pid: int) -> int | None:
    """Return the process that started ``pid``; None where that can't be told."""
    fields = _read_stat(pid)
    return int(fields[_PARENT_FIELD]) if fields is not None and len(fields) > _PARENT_FIELD else None


def command_of(pid: int) -> list[str]:
    """Return the command line of a process, word by word; empty where that can't be told."""
    try:
        with open(_PROC / str(int(pid)) / "cmdline", "rb") as cmdline:
            words = cmdline.read().split(b"\0")[:-1]
    except OSError:
        return []
    return [os.fsdecode(word) for word in words]


def environment_of(pid: int) -> frozenset[bytes]:
    """Return the names of the variables that a process was started with; none where that can't be told."""
    try:
        with open(_PROC / str(int(pid)) / "environ", "rb") as environ:
            return frozenset(line.partition(b"=")[0] for line in environ.read().split(b"\0") if line)
    except OSError:
        return frozenset()


def boot_id() -> str:
    """Return the id of this boot of this machine; '' when the system tells none."""
    return _read_boot_id()


def capture_environment(patterns: Sequence[str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables whose names match ``patterns``.

    ``*`` in a pattern stands for any characters. A name that suggests a secret (TOKEN, KEY, SECRET,
    PASSWORD, CREDENTIAL and the like) is taken only when a pattern spells it out; credentials
    inside of URLs are always cut out of what a wildcard took.
    """
    environ = os.environ if environ is None else environ
    exact = {pattern for pattern in patterns if "*" not in pattern}
    wild = [re.compile(fnmatch.translate(_only_stars(pattern))) for pattern in patterns if "*" in pattern]
    found: dict[str, str] = {}
    for name, value in sorted(environ.items()):
        if name in exact:
            found[storable_text(name)] = storable_text(value)
        elif not _is_secret(name) and any(pattern.match(name) for pattern in wild):
            found[storable_text(name)] = storable_text(strip_embedded_userinfo(value))
    return found


def _only_stars(pattern: str) -> str:
    """Make ``?`` and ``[`` in ``pattern`` mean themselves."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _is_secret(name: str) -> bool:
    upper = name.upper()
    return upper not in _HARMLESS_NAMES and any(word in upper for word in _SECRET_WORDS)


def _has_proc() -> bool:
    return (_PROC / "self" / "stat").exists()


def _read_stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the command name, which may hold spaces and brackets."""
    try:
        with open(_PROC / str(int(pid)) / "stat", "rb") as stat:
            text = stat.read()
    except (OSError, ValueError, OverflowError):
        return None
    return text.rpartition(b")")[2].decode("ascii", "replace").split() or None


def _ask_psutil(pid: int) -> str | None:
    """Return the start time by psutil, for systems without /proc; None when the process is gone or a zombie."""
    try:
        import psutil

        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except Exception:  # psutil's errors need its import to be named
        return None


def _read_line(path: str | Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(256).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _read_machine_id() -> str:
    """Return a hash of the machine id: systemd asks applications not to show the id itself."""
    for path in _MACHINE_ID_FILES:
        raw = _read_line(path)
        if raw and raw != "uninitialized":
            return hex_sha256(b"localtrack:" + raw.encode())[:32]
    node = _find_hostname()
    return hex_sha256(b"localtrack-host:" + node.encode("utf-8", "replace"))[:32] if node else ""


def _read_boot_id() -> str:
    boot_id = _read_line(_PROC / "sys" / "kernel" / "random" / "boot_id")
    if boot_id or _has_proc():
        return boot_id
    try:
        import psutil

        return f"{psutil.boot_time():.0f}"
    except Exception:  # psutil's errors need its import to be named
        return ""


def _read_pid_namespace() -> str:
    try:
        return os.readlink(_PROC / "self" / "ns" / "pid")
    except OSError:
        return ""


def _find_user() -> str:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if os.environ.get(name):
            return os.environ[name]
    if not hasattr(os, "getuid"):
        return ""
    uid = os.getuid()
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError, OSError):
        return str(uid)  # a container may run as a user it does not know


def _find_hostname() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket

    return socket.gethostname()


def _describe_platform() -> str:
    if hasattr(os, "uname"):
        name = os.uname()
        return f"{name.sysname}-{name.release}-{name.machine}"
    return sys.platform


def _count_cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def _read_memory_bytes() -> int:
    try:
        return max(0, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return 0
