"""The last few lines of a terminal, where bars are drawn over themselves; finished lines leave it upwards.

Several progress bars at once are drawn by going up with the cursor and writing again: rich between hiding and showing the
cursor, tqdm without. A line that can still be drawn over is held here; the console log gets it as it was at last.

Source: ECMA-48 (CUU, CUD, CNL, CPL, CHA, ED, EL) and DEC private mode 25, as rich and tqdm use them.
"""

from __future__ import annotations

import re

from localtrack.runtime.line_collector import collapse

MOST_ROWS = 200

_TOKEN = re.compile(r"\r|\n|\x1b\[(?:\?25[lh]|\d*[ABEFGJK])")


class _Row:
    __slots__ = ("is_drawn_over", "text", "written")

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.written = ""
        self.is_drawn_over = False  # the cursor came back to it: a bar, no printed line

    def take(self, finished: list[str]) -> None:
        """Give the text to the log, unless it is empty or was given before."""
        if self.text.strip() and self.text != self.written:
            finished.append(self.text)
        self.written = self.text


class LiveRegion:
    """Follows the cursor over the lines that may still change.

    Args:
        partial: the unfinished line that the cursor stands on.
    """

    def __init__(self, partial: str) -> None:
        self._rows = [_Row(collapse(partial))]
        self._rows[0].is_drawn_over = "\r" in partial
        self._at = 0
        self._starts_over = partial.endswith("\r")
        self._is_hidden = False
        self._went_up = False
        self._is_quiet = False
        self.is_over = False

    def feed(self, text: str) -> list[str]:
        """Draw a text; returns the lines that are finished by it."""
        finished: list[str] = []
        self._is_quiet = False
        was_hidden, lowest, end = self._is_hidden, self._at, 0
        self._went_up = False
        for match in _TOKEN.finditer(text):
            self._put(text[end : match.start()])
            end = match.end()
            token = match[0]
            if token == "\n":
                self._end_line(finished)
            else:
                self._move(token)
            lowest = min(lowest, self._at)
        self._put(text[end:])
        if self._went_up:
            self._leave(lowest, finished)
        elif len(self._rows) > MOST_ROWS:
            self._leave(len(self._rows) - MOST_ROWS, finished)
        if was_hidden and not self._is_hidden:
            self.is_over = True
        return finished

    def pause(self) -> list[str]:
        """Return printed lines above the cursor that nothing was drawn over: they wait no longer."""
        finished: list[str] = []
        for row in self._rows[: self._at]:
            if not row.is_drawn_over:
                row.take(finished)
        return finished

    def snapshot(self) -> list[str]:
        """Return all that changed since it was last returned; without hidden cursor, the second one in silence ends it."""
        finished: list[str] = []
        for row in self._rows:
            row.take(finished)
        if self._is_quiet and not self._is_hidden:
            self.is_over = True
        self._is_quiet = True
        return finished

    def end(self) -> tuple[list[str], str]:
        """Return the lines that are left, and the unfinished one."""
        finished: list[str] = []
        has_partial = self._at == len(self._rows) - 1
        rows = self._rows[:-1] if has_partial else self._rows
        for row in rows:
            row.take(finished)
        last = self._rows[-1]
        if not has_partial or last.text == last.written:
            return finished, ""
        return finished, last.text + ("\r" if self._starts_over else "")

    def _put(self, text: str) -> None:
        if not text:
            return
        row = self._rows[self._at]
        row.text = text if self._starts_over else row.text + text
        self._starts_over = False

    def _end_line(self, finished: list[str]) -> None:
        row = self._rows[self._at]
        if self._at == len(self._rows) - 1:
            self._rows.append(_Row())
        self._at += 1
        self._starts_over = True
        if row.text.strip() and not row.is_drawn_over and not self._is_hidden:
            self._leave(self._at, finished)  # a plain print between or after the bars

    def _move(self, token: str) -> None:
        kind, digits = token[-1], token[2:-1]
        count = int(digits) if digits.isdigit() else 1
        if kind == "\r":
            self._starts_over = True
        elif kind in "lh":
            self._is_hidden = kind == "l"
            return
        elif kind in "AF":
            self._up(min(count, MOST_ROWS))
        elif kind in "BE":
            self._at = min(self._at + count, self._at + MOST_ROWS)
            while self._at >= len(self._rows):
                self._rows.append(_Row())
        elif kind in "JK":
            self._erase(kind, int(digits or 0))
        if kind in "EF" or (kind == "G" and count == 1):
            self._starts_over = True
        self._rows[self._at].is_drawn_over = True

    def _up(self, count: int) -> None:
        self._went_up = True
        missing = count - self._at
        if missing > 0:  # to lines that are in the log already
            self._rows[:0] = [_Row() for _ in range(missing)]
            self._at += missing
        self._at -= count

    def _erase(self, kind: str, what: int) -> None:
        if what == 2 or self._starts_over:
            self._rows[self._at].text = ""
        if kind == "J" and what != 1:
            for row in self._rows[self._at + 1 :]:
                row.text = ""

    def _leave(self, count: int, finished: list[str]) -> None:
        """Let the topmost lines go."""
        for row in self._rows[:count]:
            row.take(finished)
        del self._rows[:count]
        self._at = max(0, self._at - count)
        if not self._rows:
            self._rows.append(_Row())
