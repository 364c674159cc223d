"""The script's last word when its run is aborted from outside: a function of its own, bounded in time.

Source: ClearML's Task.register_abort_callback; docs/how-to/remote-execution.md, "A last word".
"""

from __future__ import annotations

import threading
from collections.abc import Callable

ABORT_TIMEOUT_KEY = "abort_timeout_s"


class AbortCallback:
    """At most one function, called at most once.

    Args:
        say: told what goes wrong.
    """

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say
        self._function: Callable[[], object] | None = None
        self._timeout_s = 0.0
        self._begun = False

    def register(self, function: Callable[[], object] | None, timeout_s: float) -> None:
        """Take a function; None takes it away."""
        self._function, self._timeout_s = function, timeout_s

    def begin(self, then: Callable[[], None]) -> bool:
        """Start the function in a thread, and do ``then`` when it returned or its time is over.

        Returns:
            False when there is none, or it was begun before: then nothing is started.
        """
        function = self._function
        if function is None or self._begun:
            return False
        self._begun = True

        def guarded() -> None:
            try:
                function()
            except BaseException:  # the border to the script's own code: the run ends all the same
                import traceback

                self._say("abort-callback", f"the abort callback failed: {traceback.format_exc().strip()}")

        def bounded() -> None:
            worker = threading.Thread(target=guarded, name="localtrack-abort-callback", daemon=True)
            worker.start()
            worker.join(self._timeout_s)
            if worker.is_alive():
                self._say(
                    "abort-callback", f"the abort callback took longer than {self._timeout_s:g} s: the run ends now"
                )
            then()

        threading.Thread(target=bounded, name="localtrack-abort", daemon=True).start()
        return True
