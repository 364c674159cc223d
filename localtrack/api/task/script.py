"""Section: the code of a task.

Source: ClearML's get_script, get_requirements.
"""

from __future__ import annotations

from typing import Any

from localtrack.api.task.handle import Section
from localtrack.store.blobs import read_content


class ScriptSection(Section):
    """Repository, commit, diff, packages."""

    def get_script(self) -> dict[str, Any]:
        """Return repository, branch, commit, entry point, working directory and diff of the task's code."""
        script = self._read().script
        text = self._text("diff") or self._text("source")
        return {
            "repository": script.get("repository", ""), "branch": script.get("branch", ""),
            "version_num": script.get("commit", ""), "entry_point": script.get("entry_point", ""),
            "working_dir": script.get("working_dir", ""), "binary": script.get("binary", ""), "diff": text,
            "root": script.get("root", ""), "argv": list(script.get("argv", ())),
        }  # fmt: skip

    def get_requirements(self) -> dict[str, str]:
        """Return ``{"pip": imported packages, "freeze": all packages}``, one requirement a line."""
        return {"pip": self._text("requirements"), "freeze": self._text("freeze")}

    def _text(self, key: str) -> str:
        stored = self._read().script.get(key)
        return read_content(self._where(), stored).decode("utf-8", "replace") if stored else ""
