"""DataFrames that a run keeps changing: watched, and stored whenever they have changed.

A snapshot is taken while the script's threads stand still: copied by the C pickler, which never lets go of the
interpreter lock, and taken only when a second look a moment later sees the same. So a change that is half done in one
thread is not stored by another.

Source: ClearML's Task.register_artifact.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from localtrack.errors import InvalidValueError
from localtrack.records.digests import hex_sha256
from localtrack.records.plain import dataclass, field
from localtrack.records.task import Json
from localtrack.services import artifacts, registered_frames

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

LOOK_AGAIN_S = 0.03
LOOKS = 50
SHARE_OF_TIME = 0.02


@dataclass(slots=True)
class _Watched:
    frame: Any
    metadata: Json
    columns: bool | Sequence[Any]
    seen: str = ""
    stored: list[Json] = field(default_factory=list)


class RegisteredFrames(MutableMapping[str, Any]):
    """The DataFrames that a run watches, by name. Assigning another one to a name stores that.

    Args:
        session: the run.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._watched: dict[str, _Watched] = {}
        self._lock = threading.RLock()
        self._next = 0.0
        self._is_new = False
        self._thread: threading.Thread | None = None

    def register(
        self, name: str, frame: Any, metadata: Mapping[str, Any] | None, columns: bool | Sequence[Any]
    ) -> None:
        """Watch a DataFrame; it is first stored within about a second.

        Raises:
            InvalidValueError: it is no DataFrame, or a column that shall tell rows apart is not in it.
        """
        if not isinstance(name, str) or not name:
            raise InvalidValueError(f"an artifact's name must be a non-empty text, not {name!r}", name=str(name))
        registered_frames.check(frame, name, columns)
        with self._lock:
            known = self._watched.get(name)
            self._watched[name] = _Watched(
                frame, dict(metadata or {}), columns, stored=known.stored if known is not None else []
            )
            self._is_new = True

    def unregister(self, name: str) -> None:
        """Store a DataFrame for the last time and watch it no more; the artifact stays."""
        with self._lock:
            watched = self._watched.get(name)
            if watched is not None:
                self._store(name, watched)
                del self._watched[name]

    def __getitem__(self, name: str) -> Any:
        return self._watched[name].frame

    def __setitem__(self, name: str, frame: Any) -> None:
        known = self._watched.get(name)
        self.register(name, frame, known.metadata if known else None, known.columns if known else True)

    def __delitem__(self, name: str) -> None:
        if name not in self._watched:
            raise KeyError(name)
        self.unregister(name)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._watched))

    def __len__(self) -> int:
        return len(self._watched)

    def __repr__(self) -> str:
        return f"RegisteredFrames({list(self._watched)})"

    def tick(self) -> None:
        """Look whether something has changed, when it is time; in a thread, so that the heartbeat does not wait."""
        busy = self._thread is not None and self._thread.is_alive()
        if busy or not self._watched or not (self._is_new or time.monotonic() >= self._next):
            return
        self._thread = threading.Thread(target=self._look, name="localtrack-frames", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter ends: finish() stores the rest
            return

    def _look(self) -> None:
        began = time.monotonic()
        self._is_new = False
        for name in list(self._watched):
            with self._lock:
                watched = self._watched.get(name)
                if watched is not None and not self._session.closed:
                    self._store_quietly(name, watched)
        spent = time.monotonic() - began
        self._next = began + max(self._session.ctx.settings.registered_interval_s, spent / SHARE_OF_TIME)

    def finish(self) -> None:
        """Store what has changed for the last time, and say in one line, to the console's log too, what there is."""
        with self._lock:
            for name, watched in list(self._watched.items()):
                self._store_quietly(name, watched)
            frames = {name: (watched.frame, watched.columns) for name, watched in self._watched.items()}
        if frames:
            line = registered_frames.summary(frames)
            self._session.writer.console.write("l", [line])
            self._session.writer.say_once("registered", line)

    def _store_quietly(self, name: str, watched: _Watched) -> None:
        try:
            self._store(name, watched)
        except Exception as error:  # the border to the user's frame: whatever is in it, the run goes on
            self._session.writer.say_once(f"registered-{name}", f"registered artifact {name!r} was not stored: {error}")

    def _store(self, name: str, watched: _Watched) -> None:
        image = _still(watched.frame)
        if image is not None:
            digest = hex_sha256(image)
            if digest == watched.seen:
                return
            frame = pickle.loads(image)
        else:  # something in it can't be pickled
            digest, frame = "", watched.frame.copy(deep=True)
        session = self._session
        folder = session.writer.folder
        entry = registered_frames.store(session.ctx, folder, name, frame, watched.metadata, watched.columns)
        last = watched.stored[-1] if watched.stored else None
        if last is not None and last["sha256"] == entry["sha256"] and last["metadata"] == entry["metadata"]:
            artifacts.remove_stored(session.ctx, folder, entry)  # only its place in memory has changed
            watched.seen = digest
            return
        session.update(partial(artifacts.with_entry, entry=entry), f"registered artifact: {name}", checked=False)
        watched.seen = digest
        watched.stored.append(entry)
        while len(watched.stored) > 2:  # who has read the entry before this one may still open its file
            artifacts.remove_stored(session.ctx, folder, watched.stored.pop(0))


def _still(frame: Any) -> bytes | None:
    """Return a pickle of a frame at a moment when no thread was changing it; None when it can't be pickled.

    A frame that changes at every look is taken as the last look saw it.
    """
    before = _image(frame)
    for _ in range(LOOKS):
        time.sleep(LOOK_AGAIN_S)  # others run meanwhile, and end what they had begun
        after = _image(frame)
        if before is None or after == before:
            break
        before = after
    return before


def _image(frame: Any) -> bytes | None:
    buffer = io.BytesIO()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60.0)  # no other thread gets the interpreter lock while the frame is copied
    try:
        pickle.Pickler(buffer, protocol=5).dump(frame)
    except Exception:  # the user's own classes in it
        return None
    finally:
        sys.setswitchinterval(interval)
    return buffer.getvalue()
