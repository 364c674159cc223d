"""Check what ``localtrack demo`` printed: ``check_demo.py LOG HOME``. Exits 1 with the reason when it is not so.

The clone must have run, with the changed argument and beside the first task; and the user's own store, which would
lie under HOME, must not have been touched.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def problems(text: str, home: Path) -> list[str]:
    """Return what is wrong with a demo's output and what it left behind."""
    found = []
    if len(re.findall(r"^ok +", text, re.MULTILINE)) < 7:
        found.append("the demo's own seven checks of the clone are not all ok")
    if len(re.findall(r"\bcompleted\b", text)) < 2:
        found.append("not both the task and its clone are shown as completed")
    if len(set(re.findall(r"\b0\.\d+\b", text))) < 2:
        found.append("no two values of the changed parameter are shown")
    own = home / ".local" / "share" / "localtrack"
    if own.exists():
        found.append(f"the user's own store was touched: {own}")
    return found


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]).read_text(errors="replace"), Path(sys.argv[2]))
    for problem in wrong:
        sys.stdout.write(f"demo: {problem}\n")
    sys.exit(1 if wrong else 0)
