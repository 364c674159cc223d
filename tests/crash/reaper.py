"""Kills a process after the n-th call to the file system, for every n.

The operation runs in a forked child in which the calls that change files are counted; at the n-th the child kills
itself with SIGKILL, either just before the call or just after it. Everything the child acknowledged goes through a
pipe, which survives it.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

CALLS = (
    "open", "write", "fsync", "close", "link", "unlink", "rename", "mkdir", "rmdir", "chmod", "fchmod", "pwrite", "remove",
    "replace", "symlink", "dup2", "ftruncate",
)  # fmt: skip
LIMIT = 2000

Say = Callable[[str], None]


@dataclass(frozen=True)
class Death:
    """What is known of a child that was killed.

    Attributes:
        call: number of the call at which it died.
        finished: it came to its end before that call.
        said: what it acknowledged.
    """

    call: int
    finished: bool
    said: list[str]


def deaths(
    prepare: Callable[[int], Any], operation: Callable[[Any, Say], None], step: int = 1
) -> Iterator[tuple[Any, Death]]:
    """Run ``operation`` again and again and kill it after its first, second, third ... call, until it gets through.

    Args:
        prepare: makes a fresh world for try number n, in the parent.
        operation: works in the child; what it tells ``say`` is acknowledged.
        step: how many calls to go on from try to try.

    Yields:
        The world, and how the child died in it.
    """
    for number in range(1, LIMIT, step):
        world = prepare(number)
        death = _run(world, operation, number)
        yield world, death
        if death.finished:
            return
    raise AssertionError(f"the operation makes more than {LIMIT} calls")


def _run(world: Any, operation: Callable[[Any, Say], None], number: int) -> Death:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(world, operation, number, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read().decode().splitlines()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), f"the child failed at call {number} with {code}: see its traceback"
    return Death(number, code == 0, said)


def _child(world: Any, operation: Callable[[Any, Say], None], number: int, writer: int) -> None:
    code = 1
    write = os.write
    try:
        _arm(number, writer)
        operation(world, lambda text: _tell(write, writer, text))
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)


def _tell(write: Callable[[int, bytes], int], writer: int, text: str) -> None:
    write(writer, text.encode() + b"\n")


def _arm(number: int, writer: int) -> None:
    left = [number]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            try:
                return real(*args, **kwargs)
            finally:
                if left[0] <= 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
