"""What every binding keeps to; a subclass says which binding it is and how its framework is used.

::

    class TestMatplotlib(BindingContract):
        binding = "localtrack.bindings.matplotlib"

        def use(self, folder):
            pyplot.plot([1, 2]); pyplot.show()

        def count(self, task):
            return len(task.get_reported_plots())

Source: docs/contributing.md, "A binding".
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from localtrack import Task
from localtrack.runtime import bindings as runtime_bindings
from localtrack.runtime.binding_registry import spec_of
from localtrack.runtime.reporting import SessionReports

_REPORTS = ("scalar", "plot", "picture", "media", "parameters")


class BindingContract:
    """Base of a test class for one binding; its methods are pytest tests.

    Attributes:
        binding: full name of the binding's module.
        options: what ``Task.init`` gets for ``auto_connect_frameworks``.
        reports_fail_visibly: whether a report that fails shows in the task's ``capture_errors``; False for a binding that
            records by other means than ``ctx.reports()``.
    """

    binding: str = ""
    options: Any = True
    reports_fail_visibly: bool = True

    def use(self, folder: Path) -> None:
        """Use the framework so that the binding has something to record; ``folder`` is empty.

        It is called several times, and each time something new is to be recorded.
        """
        raise NotImplementedError

    def count(self, task: Task) -> int:
        """Return how much of it is recorded in a task."""
        raise NotImplementedError

    def test_import_loads_no_framework(self) -> None:
        """A binding that is known, but whose framework nobody uses, costs nothing: importing it does not load that."""
        names = {name.partition(".")[0] for name in self._module().MODULES}
        code = f"import sys, {self.binding}; print(sorted(set(sys.modules) & {names!r}))"
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == "[]", shown.stdout

    def test_use_is_recorded(self, tmp_path: Path, monkeypatch: Any) -> None:
        """What the framework does while a task runs is recorded, without any failure."""
        task = self._start(tmp_path, monkeypatch)
        try:
            assert self.count(task) == 0
            self.use(_new_folder(tmp_path, "used"))
            session: Any = task._session
            session.bindings.finish()
            assert self.count(task) > 0, "nothing was recorded"
        finally:
            task.close()
        assert [text for text in task.capture_errors if text.startswith("binding ")] == []

    def test_close_leaves_modules_as_they_were(self, tmp_path: Path, monkeypatch: Any) -> None:
        """At the end of the task, every attribute that was replaced is the very object that it was before."""
        self._import_framework()
        before = self._attributes()
        task = self._start(tmp_path, monkeypatch)
        changed = _changed(before, self._attributes())
        task.close()
        assert changed, "nothing was hooked into"
        left = set(changed) & set(_changed(before, self._attributes()))
        assert not left, f"still replaced: {sorted(name for _, name in left)}"

    def test_nothing_is_recorded_without_a_task(self, tmp_path: Path, monkeypatch: Any) -> None:
        """Once the task is closed, the framework works on and nothing of that is recorded."""
        task = self._start(tmp_path, monkeypatch)
        task.close()
        known = self.count(task)
        self.use(_new_folder(tmp_path, "after"))
        assert self.count(task) == known

    def test_others_patches_survive(self, tmp_path: Path, monkeypatch: Any) -> None:
        """Where somebody else patched over a hook, their patch stays at the end of the task, and works."""
        self._import_framework()
        before = self._attributes()
        task = self._start(tmp_path, monkeypatch)
        mine = _changed(before, self._attributes())
        theirs = {place: _over(*place) for place in mine}
        try:
            task.close()
            known = self.count(task)
            for owner, name in mine:
                assert vars(owner)[name] is theirs[owner, name], f"{name} was taken from them"
            self.use(_new_folder(tmp_path, "theirs"))
            assert self.count(task) == known
        finally:
            for (owner, name), original in mine.items():
                if original is _ABSENT:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)

    def test_failures_stay_here(self, tmp_path: Path, monkeypatch: Any) -> None:
        """When recording fails, the framework's call succeeds all the same, and the task says what was missed."""
        task = self._start(tmp_path, monkeypatch)

        def refuse(self: Any, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("a report that can't be written")

        try:
            for name in _REPORTS:
                monkeypatch.setattr(SessionReports, name, refuse)
            self.use(_new_folder(tmp_path, "refused"))
        finally:
            task.close()
        if self.reports_fail_visibly:
            assert any("a report that can't be written" in text for text in task.capture_errors)

    def _module(self) -> Any:
        return import_module(self.binding)

    def _import_framework(self) -> None:
        for name in self._module().MODULES:
            try:
                import_module(name)
            except ImportError:  # one of several frameworks that it serves
                continue

    def _start(self, folder: Path, monkeypatch: Any) -> Task:
        spec = spec_of(self._module(), self.binding.rpartition(".")[2])
        monkeypatch.setattr(runtime_bindings, "BUILT_IN", (spec,))
        monkeypatch.setenv("LOCALTRACK_ROOT", str(folder / "store"))
        return Task.init(
            project_name="contract", task_name="binding", reuse_last_task_id=False, auto_connect_frameworks=self.options,
            auto_connect_streams=False, auto_resource_monitoring=False,
        )  # fmt: skip

    def _attributes(self) -> dict[tuple[Any, str], Any]:
        found: dict[tuple[Any, str], Any] = {}
        for name in self._module().MODULES:
            module = sys.modules.get(name)
            if module is None:
                continue
            for key, value in list(vars(module).items()):
                found[module, key] = value
                if isinstance(value, type) and value.__module__ == name:
                    found.update({(value, attribute): held for attribute, held in vars(value).items()})
        return found


_ABSENT: Any = object()


def _changed(before: dict[tuple[Any, str], Any], after: dict[tuple[Any, str], Any]) -> dict[tuple[Any, str], Any]:
    """Return the places that hold another function than before, with what they held."""
    return {
        place: before.get(place, _ABSENT)
        for place, value in after.items()
        if before.get(place, _ABSENT) is not value and not isinstance(value, ModuleType)
    }


def _over(owner: Any, name: str) -> Any:
    """Patch as some other library would, and return the patch."""
    held = vars(owner)[name]
    kind = type(held) if isinstance(held, (staticmethod, classmethod)) else None
    inner = held.__func__ if kind is not None else held

    def patched(*args: Any, **kwargs: Any) -> Any:
        return inner(*args, **kwargs)

    placed = kind(patched) if kind is not None else patched
    setattr(owner, name, placed)
    return placed


def _new_folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder
