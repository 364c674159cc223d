"""Section: scalars, single values and text.

Source: ClearML's Logger.report_scalar, report_single_value, report_text, capture_logging, flush.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager
from typing import Any

from localtrack.api.logger.handle import LoggerSection
from localtrack.services.reports import SINGLE_VALUE_ITERATION, SUMMARY_TITLE


class ScalarsSection(LoggerSection):
    """Numbers and lines of text."""

    def report_scalar(self, title: str, series: str, value: float, iteration: int | None) -> None:
        """Report one point of a curve. When this returns, it survives the death of the process.

        Args:
            title: the graph.
            series: the line in it.
            value: any float; NaN and infinities stay what they are.
            iteration: the x value, an integer; None is 0.

        Raises:
            ValueError: a value that is no number, or an iteration that is no integer.
        """
        task = self._task
        writer = self._writer or self._open_writer()
        try:
            step = iteration + task._iteration_offset  # type: ignore[operator]  # None is for the handler
        except TypeError:
            if iteration is not None:
                raise ValueError(
                    f"scalar {title!r}/{series!r}: the iteration must be an integer, not {iteration!r}"
                ) from None
            step = task._iteration_offset
        writer.scalars.report(title, series, value, step)

    def report_single_value(self, name: str, value: float) -> None:
        """Report a value that has no iteration, such as a final accuracy.

        Raises:
            ValueError: a value that is no number.
        """
        writer = self._writer or self._open_writer()
        writer.scalars.report(SUMMARY_TITLE, name, value, SINGLE_VALUE_ITERATION)

    def report_text(
        self, msg: str, level: int = logging.INFO, print_console: bool = True, *args: Any, **_: Any
    ) -> None:
        """Add a text to the task's console, and print it unless told not to.

        Args:
            msg: the text, or a format for ``args`` as in Python's logging.
            level: kept for ClearML's signature; the console has no levels.
            print_console: whether it is printed as well.
            args: what goes into the format.
        """
        text = str(msg) % args if args else str(msg)
        writer = self._writer or self._open_writer()
        session = self._task._session
        captured = print_console and session is not None and session.options.streams.get("stdout", False)
        if print_console and sys.stdout is not None:
            sys.stdout.write(text + "\n")
        if not captured:
            writer.console.write("l", text.split("\n"))

    def capture_logging(self) -> AbstractContextManager[None]:
        """Return a context in which records of Python's logging go to the task's console.

        Records that a handler prints to a captured stream are there already, and are not kept twice.
        """
        from localtrack.runtime.log_capture import captured_logging

        writer = self._writer or self._open_writer()
        return captured_logging(writer.console.write)

    def flush(self, wait: bool = False) -> bool:
        """Bring everything reported so far to the medium.

        Args:
            wait: whether uploads to another destination are waited for.

        Returns:
            True.
        """
        from localtrack.api.task.state import StateSection

        if wait:
            from localtrack.services.uploads import wait_for_uploads

            wait_for_uploads()
        return StateSection.flush(self._task, wait)  # type: ignore[arg-type]
