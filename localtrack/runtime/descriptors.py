"""Capture of what is written to descriptors 1 and 2, by whomever: C libraries, child programs, Python itself.

A pipe takes the place of each, or a pseudo terminal where a terminal stood, so that ``isatty`` stays true. Where both lead to
the same place one stands for both, so that the order stays what it was. A helper process
(:mod:`localtrack.runtime.descriptor_relay`) passes on what comes and records it. This process keeps the reading end as
well: when the helper dies, it takes the descriptors back at once and passes on itself what is still in the pipe, so that no
output is lost and nobody who writes meets a broken pipe.

Source: docs/explanation/runs.md, "The console".
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from localtrack.records.ids import new_sortable_id
from localtrack.runtime.descriptor_relay import CHUNK_BYTES, FORWARDED, GONE, RECORDED
from localtrack.runtime.ownership import CAPTURED_VARIABLE
from localtrack.runtime.writer import TaskWriter

START_WAIT_S = 30.0
FLUSH_WAIT_S = 2.0
LOWEST = 10  # descriptors of our own stay clear of 0 to 2, which may be closed
_START = """import os, sys
if os.fork():
    os._exit(0)
os.setsid()
import json
said = json.loads(sys.argv[1])
sys.path += said["path"]
from localtrack.runtime.descriptor_relay import main
main(said)
os._exit(0)
"""

Identity = tuple[int, int]


def identity_of(fd: int) -> Identity | None:
    """Return what tells one open pipe, terminal or file from another; None for a closed descriptor."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def captured_places() -> frozenset[Identity]:
    """Return the pipes and terminals that a capture of this process, or of one that it descends from, reads."""
    found = []
    for word in os.environ.get(CAPTURED_VARIABLE, "").split(","):
        device, _, number = word.partition(":")
        if device.isdigit() and number.isdigit():
            found.append((int(device), int(number)))
    return frozenset(found)


def leads_to(stream: Any, places: frozenset[Identity]) -> bool:
    """Tell whether what is written to a stream of Python's comes out at one of the places."""
    if not places:
        return False
    try:
        return identity_of(stream.fileno()) in places
    except Exception:  # a stream of somebody's own: most have no descriptor, and say so as they like
        return False


class _Place:
    """One place that descriptors lead to, and what stands in front of it meanwhile."""

    def __init__(self, fds: tuple[int, ...], code: str) -> None:
        self.fds = fds
        self.code = code
        self.original = _high(os.dup(fds[0]))
        self.source, self._entrance = _open_terminal(self.original) or _open_pipe()
        found = identity_of(self._entrance)
        assert found is not None  # it was opened a line ago
        self.identity = found

    def stand(self) -> None:
        for fd in self.fds:
            os.dup2(self._entrance, fd)
        self.drop_entrance()

    def drop_entrance(self) -> None:
        if self._entrance >= 0:
            os.close(self._entrance)
        self._entrance = -1

    def hand_back(self) -> int:
        """Let the descriptors lead to where they led; returns one that leads into the capture, -1 without."""
        entrance = -1
        for fd in self.fds:
            if identity_of(fd) != self.identity:
                continue  # somebody put another in its place since
            if entrance < 0:
                entrance = _high(os.dup(fd))
            os.dup2(self.original, fd)
        return entrance

    def pass_on(self, marker: bytes) -> bool:
        """Do what the helper did, as far as there is something to do; False when nobody can write any more."""
        try:
            while data := os.read(self.source, CHUNK_BYTES):
                view = memoryview(data.replace(marker, b""))
                while view:
                    view = view[os.write(self.original, view) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        self.drop_entrance()
        for fd in (self.source, self.original):
            if fd >= 0:
                os.close(fd)
        self.source = self.original = -1


class DescriptorCapture:
    """Puts the helper between the descriptors and where they lead, and takes it out again.

    Args:
        console: ``folder``, ``tmp``, ``modes``, ``writer`` and ``limit_bytes`` of the console log that the helper writes.
        say: says something once, to the user.
        on_lost: called when the helper is gone before its time and the descriptors are back.
        wanted: which descriptors; a left out one stays as it is.
    """

    def __init__(
        self,
        console: Mapping[str, Any],
        say: Callable[[str, str], None],
        on_lost: Callable[[], None],
        wanted: Collection[int] = (1, 2),
    ) -> None:
        self._wanted = wanted
        self._console = dict(console)
        self._say = say
        self._on_lost = on_lost
        self._marker = b"\0localtrack-" + os.urandom(16).hex().encode()
        self._places: list[_Place] = []
        self._ack = -1
        self._lock = threading.Lock()
        self._is_closing = False
        self._news = threading.Condition()
        self._acks = b""
        self._pid = os.getpid()

    @property
    def places(self) -> frozenset[Identity]:
        """What stands in front of the descriptors now."""
        return frozenset(place.identity for place in self._places)

    def install(self) -> bool:
        """Start the helper and put it in place; False, with everything as it was, where that can't be."""
        acks: list[int] = []
        try:
            self._places = _places(self._wanted)
            if not self._places:
                return False
            acks = [_high(fd) for fd in os.pipe()]
            self._start_helper(acks[1])
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._say("descriptors", f"stdout and stderr are captured from Python only: {error}")
            for fd in acks:
                os.close(fd)
            self._drop()
            return False
        os.close(acks[1])
        self._ack = acks[0]
        _flush_streams()
        for place in self._places:
            place.stand()
        os.environ[CAPTURED_VARIABLE] = ",".join(f"{device}:{number}" for device, number in sorted(self.places))
        threading.Thread(target=self._watch, name="localtrack-descriptors", daemon=True).start()
        return True

    def close(self, within_s: float) -> None:
        """Give the descriptors back, after all that was written to them has come out and is recorded.

        Args:
            within_s: so long that is waited for; a helper that needs longer goes on by itself.
        """
        until = time.monotonic() + within_s
        _flush_streams()
        _flush_c_streams()
        with self._lock:
            if self._is_closing or os.getpid() != self._pid:
                return
            self._is_closing = True
            entrances = [place.hand_back() for place in self._places]
        os.environ.pop(CAPTURED_VARIABLE, None)
        marked = sum(self._mark(entrance, until) for entrance in entrances)
        if marked == len(entrances):
            self._await(FORWARDED * marked + RECORDED, until)
        with self._lock:
            if GONE in self._acks and self._places:
                self._pass_on(0.0)
            self._drop()

    def abandon(self) -> None:
        """In a forked child, which writes into the capture as its parent does: let go of what only the parent needs."""
        self._is_closing = True
        if self._ack >= 0:
            os.close(self._ack)
        self._ack = -1
        self._drop()

    def _drop(self) -> None:
        for place in self._places:
            place.close()
        self._places = []

    def _start_helper(self, ack: int) -> None:
        if not sys.executable:
            raise OSError("there is no interpreter to run the helper with")
        home = str(Path(__file__).resolve().parents[2])
        said = {
            **self._console,
            "channels": [[place.source, place.original, place.code] for place in self._places],
            "ack": ack,
            "marker": self._marker.hex(),
            "path": [home, *(path for path in sys.path if path and path != home)],
        }
        fds = [ack, *(fd for place in self._places for fd in (place.source, place.original))]
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _START, json.dumps(said)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=fds, cwd="/",
            env={name: value for name, value in os.environ.items() if not name.startswith("LOCALTRACK_")},
            timeout=START_WAIT_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise OSError(f"the helper did not start (exit code {done.returncode})")

    def _watch(self) -> None:
        """Hear what the helper says; its end before ours gives the descriptors back."""
        while True:
            try:
                said = os.read(self._ack, 64)
            except OSError:
                said = b""
            with self._news:
                self._acks += said or GONE
                self._news.notify_all()
            if GONE in self._acks:
                break
        if os.getpid() != self._pid:
            return
        os.close(self._ack)
        with self._lock:
            if self._is_closing:
                return
            self._pass_on(0.0)  # before the descriptors lead past it, for the sake of the order
            entrances = [place.hand_back() for place in self._places]
            for entrance in entrances:
                if entrance >= 0:
                    os.close(entrance)
        os.environ.pop(CAPTURED_VARIABLE, None)
        self._on_lost()
        self._say(
            "helper", "the helper that records stdout and stderr is gone; what child programs print is recorded no more"
        )
        self._pass_on_rest()

    def _pass_on_rest(self) -> None:
        """Do the dead helper's work for what is still in the pipe, and for children that still write to it."""
        while not self._is_closing:
            with self._lock:
                if self._is_closing or not self._pass_on(0.1):
                    break
            time.sleep(0.01)  # for who wants to close

    def _pass_on(self, wait_s: float) -> bool:
        """Pass on what is in the pipes now; False when nobody writes to them any more."""
        poll = select.poll()
        for place in self._places:
            poll.register(place.source, select.POLLIN)
        for source, _ in poll.poll(wait_s * 1000):
            place = next(place for place in self._places if place.source == source)
            if not place.pass_on(self._marker):
                place.close()
                self._places.remove(place)
        return bool(self._places)

    def _mark(self, entrance: int, until: float) -> bool:
        """Put the marker in as the last of what this process wrote; False where it does not get in."""
        if entrance < 0:
            return False
        try:
            _, ready, _ = select.select([], [entrance], [], max(0.0, until - time.monotonic()))
            return bool(ready) and os.write(entrance, self._marker) == len(self._marker)
        except OSError:
            return False
        finally:
            os.close(entrance)

    def _await(self, wanted: bytes, until: float) -> None:
        with self._news:
            self._news.wait_for(
                lambda: GONE in self._acks or all(self._acks.count(what) >= wanted.count(what) for what in wanted),
                max(0.0, until - time.monotonic()),
            )


def capture_for(
    writer: TaskWriter, on_lost: Callable[[], None], wanted: Collection[int] = (1, 2)
) -> DescriptorCapture | None:
    """Capture descriptors of this process for a run; None, and a word to the user, where that can't be.

    The helper writes a console log of its own: it is a writer of the task, under the claim of the process that it serves.
    """
    relay, layout, disk = new_sortable_id(), writer.layout, writer.ctx.store.disk
    about = {"schema": "localtrack/writer/1", **writer.identity, "writer": relay, "role": "child"}
    try:
        disk.make_dirs(layout.writers / relay)
        disk.create_small(json.dumps(about, sort_keys=True).encode(), layout.writers / relay / "writer.json")
    except OSError as error:
        writer.on_trouble(error)
        return None
    console = {
        "folder": str(layout.console), "tmp": str(disk.tmp), "writer": relay,
        "modes": [disk.modes.file_mode, disk.modes.dir_mode], "limit_bytes": writer.ctx.settings.console_limit_bytes,
    }  # fmt: skip
    capture = DescriptorCapture(console, writer.say_once, on_lost, wanted)
    return capture if capture.install() else None


def _places(wanted: Collection[int]) -> list[_Place]:
    """Open what will stand in front of descriptors; one for both where they lead to the same place."""
    known = [(fd, code) for fd, code in ((1, "o"), (2, "e")) if fd in wanted]
    found = [(fd, code, place) for fd, code in known if (place := identity_of(fd)) is not None]
    if len(found) == 2 and found[0][2] == found[1][2]:
        return [_Place((1, 2), "o")]
    return [_Place((fd,), code) for fd, code, _ in found]


def _high(fd: int) -> int:
    """Return the same open file under a number that nobody takes for a standard stream, closed in programs we start."""
    import fcntl

    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST)
    finally:
        os.close(fd)


def _open_pipe() -> tuple[int, int]:
    source, entrance = os.pipe()
    os.set_blocking(source, False)
    return _high(source), _high(entrance)


def _open_terminal(original: int) -> tuple[int, int] | None:
    """Return master and slave of a pseudo terminal that changes no byte, where ``original`` is a terminal."""
    if not os.isatty(original):
        return None
    import fcntl
    import termios

    try:
        source, entrance = (_high(fd) for fd in os.openpty())
    except OSError:
        return None
    try:
        modes: list[Any] = termios.tcgetattr(original)
        modes[1] &= ~termios.OPOST  # the terminal itself makes of a newline what it makes of it
        modes[3] &= ~(termios.ECHO | termios.ECHONL)
        termios.tcsetattr(entrance, termios.TCSANOW, modes)
        fcntl.ioctl(entrance, termios.TIOCSWINSZ, fcntl.ioctl(original, termios.TIOCGWINSZ, b"\0" * 8))
    except (OSError, termios.error):
        os.close(source)
        os.close(entrance)
        return None
    os.set_blocking(source, False)
    return source, entrance


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # None, closed, or a stream of somebody's own: it keeps what it holds
            continue


def _flush_c_streams() -> None:
    """Flush the C library's own buffers; in a thread, as a thread that is stuck in them would hold them."""

    def flush() -> None:
        import ctypes

        try:
            library = ctypes.CDLL(None)
            for name in ("stdout", "stderr"):  # never all of them: one who waits for input holds that
                library.fflush(ctypes.c_void_p.in_dll(library, name))
        except (OSError, ValueError, AttributeError):
            return  # another C library: what it holds comes out at the end of the process

    helper = threading.Thread(target=flush, name="localtrack-flush", daemon=True)
    try:
        helper.start()
    except RuntimeError:  # the interpreter starts no threads any more
        return
    helper.join(FLUSH_WAIT_S)
