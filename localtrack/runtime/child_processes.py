"""The moments in the life of a child of ``multiprocessing`` at which what it printed has to be recorded.

Such a child leaves by ``os._exit``, after it has written its exception to stderr, or is ended without notice by a pool that has
all its results.

Source: CPython's multiprocessing.process (``BaseProcess._bootstrap``), multiprocessing.pool and multiprocessing.reduction.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

Action = Callable[[], object]

_MARK = "_localtrack_mark"

_before_results: Action | None = None
_before_threads_end: Action | None = None
_at_end: Action | None = None


def before_results(action: Action) -> None:
    """Do something in the main thread of a child before it hands anything to another process; the last one given counts.

    That is, before it is pickled, which comes before it takes its turn on the way, or put into a queue that another thread
    empties. Not for what other threads hand over: only a thread that prints may flush the stream.
    """
    global _before_results
    _before_results = action
    pickler: Any = getattr(sys.modules.get("multiprocessing.reduction"), "ForkingPickler", None)
    if pickler is not None and not hasattr(pickler.dumps, _MARK):
        dumps = pickler.dumps
        inner = getattr(dumps, "__func__", None)  # none where somebody has replaced it

        def dumps_after(cls: Any, obj: Any, protocol: Any = None) -> Any:
            _act_before_results()
            return dumps(obj, protocol) if inner is None else inner(cls, obj, protocol)

        pickler.dumps = classmethod(_marked(dumps_after, dumps))
    queues: Any = sys.modules.get("multiprocessing.queues")
    for name in ("Queue", "JoinableQueue"):
        queue: Any = getattr(queues, name, None)
        put = _unmarked(queue, "put")
        if put is not None:
            queue.put = _after_action(put)


def _after_action(put: Any) -> Any:
    def put_after(*args: Any, **kwargs: Any) -> Any:
        _act_before_results()
        return put(*args, **kwargs)

    return _marked(put_after, put)


def _act_before_results() -> None:
    if _before_results is not None and threading.current_thread() is threading.main_thread():
        with contextlib.suppress(Exception):  # a result goes on its way, whatever is recorded
            _before_results()


def _unmarked(owner: Any, name: str) -> Any:
    """Return a function that we have not replaced yet; None where we have, or where there is none."""
    found = getattr(owner, name, None)
    return None if hasattr(found, _MARK) else found


def _marked(function: Any, original: Any) -> Any:
    made = functools.wraps(original)(function)
    setattr(made, _MARK, True)
    return made


def before_threads_end(action: Action) -> None:
    """Do something when a child's function is over, while threads can be started still; the last one given counts."""
    global _before_threads_end
    _before_threads_end = action
    util: Any = sys.modules.get("multiprocessing.util")
    exit_function = _unmarked(util, "_exit_function")
    if exit_function is None:
        return

    def exit_and_act(*args: Any, **kwargs: Any) -> Any:
        result = exit_function(*args, **kwargs)
        if _before_threads_end is not None:
            with contextlib.suppress(Exception):
                _before_threads_end()
        return result

    util._exit_function = _marked(exit_and_act, exit_function)


def at_end(action: Action) -> None:
    """Do something at the end of a child, when it has written its exception; the last one given counts.

    The last thing that such a child does is to flush its streams, which it does at other times as well.
    """
    global _at_end
    _at_end = action
    util: Any = sys.modules.get("multiprocessing.util")
    flush = getattr(util, "_flush_std_streams", None)
    if util is None or hasattr(flush, _MARK):
        return
    if flush is None or not hasattr(util, "_exiting"):  # before the exception is written
        util.Finalize(None, action, exitpriority=0)
        return

    def flush_at_end() -> None:
        if util._exiting and _at_end is not None:
            with contextlib.suppress(Exception):
                _at_end()
        flush()

    util._flush_std_streams = _marked(flush_at_end, flush)
