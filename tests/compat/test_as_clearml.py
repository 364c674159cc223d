"""Programs that import clearml get localtrack: in the script, in its children, under an agent; and nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localtrack.capture import clearml_package
from localtrack.errors import UnsupportedError, UsageError
from localtrack.runtime.as_clearml import use_as_clearml
from localtrack.services import parameters, reports, tasks
from localtrack.services.context import StoreContext

UNCHANGED = """
import argparse, json, multiprocessing, subprocess, sys
from importlib import metadata, util
import clearml
from clearml import Logger, Task, TaskTypes

def worker(place):
    import clearml
    clearml.Logger.current_logger().report_scalar("worker", place, 2.0, 0)

if __name__ == "__main__":
    task = Task.init(project_name="old", task_name="script", reuse_last_task_id=False)
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    args = parser.parse_args()
    task.get_logger().report_scalar("loss", "train", args.lr, iteration=0)
    for place in ("spawn", "forkserver"):
        child = multiprocessing.get_context(place).Process(target=worker, args=(place,))
        child.start()
        child.join()
        assert child.exitcode == 0
    seen = subprocess.run([sys.executable, "-c", "import clearml; print(clearml.Task.__module__)"],
                          capture_output=True, text=True)
    print("GOT", json.dumps({
        "spec": util.find_spec("clearml").origin, "version": metadata.version("clearml"),
        "name": metadata.metadata("clearml")["Name"], "__version__": clearml.__version__,
        "same": Task is __import__("localtrack").Task and clearml.model is sys.modules["clearml.model"],
        "child": seen.stdout.strip(),
    }))
"""
REAL = 'raise SystemExit("the real clearml was imported")\n'


def launch(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command and wait for it."""
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, timeout=100, check=False)


def got(text: str) -> Any:
    """Return what the script says that it got."""
    return json.loads(next(line for line in text.splitlines() if line.startswith("GOT"))[3:])


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder for PYTHONPATH with a real clearml in it."""
    folder = tmp_path / "site"
    (folder / "clearml").mkdir(parents=True)
    (folder / "clearml" / "__init__.py").write_text(REAL)
    return folder


def test_a_clearml_script_runs_unchanged(ctx: StoreContext, tmp_path: Path) -> None:
    """The script, spawned and forked workers and subprocesses import localtrack by the old name; an agent's rerun, too."""
    script = tmp_path / "script.py"
    script.write_text(UNCHANGED)
    command = [sys.executable, "-m", "localtrack", "run", "--root", str(ctx.store.root), str(script), "--lr", "0.5"]
    done = launch(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert got(done.stdout) == {
        "spec": str(Path(clearml_package.IMPORTABLE, "clearml", "__init__.py")), "version": "2.1.12", "name": "clearml",
        "__version__": "2.1.12", "same": True, "child": "localtrack.api.task",
    }  # fmt: skip
    (row,) = ctx.index.rows()
    record = tasks.read(ctx, row.id)
    assert (record.project, record.name, record.status) == ("old", "script", "completed")
    assert record.script["as_clearml"] is True
    assert parameters.as_values(record) == {"Args/lr": 0.5}
    scalars = reports.scalars(tasks.folder_of(ctx, row.id))
    named = {key for key in scalars.series if not key[0].startswith(":monitor:")}
    assert named == {("loss", "train"), ("worker", "spawn"), ("worker", "forkserver")}
    freeze = (tasks.folder_of(ctx, row.id) / record.script["freeze"]["file"]).read_text()
    assert "clearml" not in freeze
    clone = tasks.clone(ctx, row.id)
    tasks.edit(ctx, clone.id, lambda r: parameters.override(r, [("lr", "0.25")]), "set")
    _run_again(ctx, clone.id, tmp_path)


def _run_again(ctx: StoreContext, task_id: str, tmp_path: Path) -> None:
    from localtrack.agent.loop import Agent, AgentOptions
    from localtrack.services import lifecycle

    lifecycle.enqueue(ctx, task_id, "default")
    said: list[str] = []
    agent = Agent(ctx, AgentOptions(drain=True, workdir=tmp_path / "workspaces", grace_s=5.0), said.append)
    assert agent.run() == {"completed": 1}, said
    assert tasks.read(ctx, task_id).last_metrics["loss"]["train"]["last"] == 0.25


def test_run_refuses_beside_a_real_clearml(store_root: Path, tmp_path: Path, installed: Path) -> None:
    """With the real one installed the user chooses; --as-clearml never runs a line of it."""
    script = tmp_path / "script.py"
    script.write_text("import clearml\nprint(clearml.Task.__module__)\n")
    run = (sys.executable, "-m", "localtrack", "run", "--root", str(store_root))
    refused = launch(*run, str(script), cwd=tmp_path, PYTHONPATH=str(installed))
    assert refused.returncode == 2
    for part in (str(installed), "--as-clearml", "--no-clearml"):
        assert part in refused.stderr
    forced = launch(*run, "--as-clearml", str(script), cwd=tmp_path, PYTHONPATH=str(installed))
    assert (forced.returncode, forced.stdout) == (0, "localtrack.api.task\n")
    left = launch(*run, "--no-clearml", str(script), cwd=tmp_path, PYTHONPATH=str(installed))
    assert "the real clearml was imported" in left.stderr


def test_an_interpreter_that_was_not_asked_is_left_alone(tmp_path: Path) -> None:
    """An installed localtrack answers no import of clearml."""
    done = launch(
        sys.executable,
        "-c",
        "import localtrack; localtrack.Task, localtrack.use_as_clearml; import clearml",
        cwd=tmp_path,
    )
    assert "No module named 'clearml'" in done.stderr


def test_another_python_without_localtrack_finds_its_own(tmp_path: Path, installed: Path) -> None:
    """Started with our folder in PYTHONPATH, it imports its own clearml, or says that it has none."""
    bare = (sys.executable, "-S", "-c", "import clearml")
    both = os.pathsep.join([clearml_package.IMPORTABLE, str(installed)])
    assert "the real clearml was imported" in launch(*bare, cwd=tmp_path, PYTHONPATH=both).stderr
    none = launch(*bare, cwd=tmp_path, PYTHONPATH=clearml_package.IMPORTABLE)
    assert none.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'clearml'"


class TestInCode:
    @pytest.fixture(autouse=True)
    def restored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give each test its own path and environment, and forget what it imported."""
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setenv("PYTHONPATH", "")
        for name in [name for name in sys.modules if name.partition(".")[0] == "clearml"]:
            monkeypatch.delitem(sys.modules, name)

    def test_twice_is_once(self) -> None:
        """Calling it again changes nothing."""
        use_as_clearml()
        use_as_clearml()
        assert sys.path.count(clearml_package.IMPORTABLE) == 1
        assert os.environ["PYTHONPATH"] == clearml_package.IMPORTABLE

    def test_too_late_is_refused(self, monkeypatch: pytest.MonkeyPatch, installed: Path) -> None:
        """Once the real one is imported, even force does not help, and the message says when to call."""
        module = type(sys)("clearml")
        module.__file__ = str(installed / "clearml" / "__init__.py")
        monkeypatch.setitem(sys.modules, "clearml", module)
        with pytest.raises(UsageError, match=r"imported already, from .*before anything imports it"):
            use_as_clearml(force=True)
        assert not clearml_package.is_answered()

    def test_an_installed_one_needs_force(self, monkeypatch: pytest.MonkeyPatch, installed: Path) -> None:
        """The refusal names the place and the way out; forced, ours comes first."""
        monkeypatch.syspath_prepend(str(installed))
        with pytest.raises(UsageError, match=r"clearml is installed: .*force=True"):
            use_as_clearml()
        use_as_clearml(force=True)
        import clearml

        assert clearml.__file__.startswith(clearml_package.IMPORTABLE)

    def test_what_is_not_there_says_so_at_use(self) -> None:
        """Names of parts that localtrack does not have can be imported and inherited from; using them names another way."""
        use_as_clearml()
        from clearml import Dataset
        from clearml.automation.auto_scaler import AutoScaler
        from clearml.automation.monitor import Monitor

        for use in (lambda: Dataset.get(dataset_id="x"), lambda: AutoScaler(), lambda: Monitor.monitor):
            with pytest.raises(
                UnsupportedError, match=r"clearml's \w+(\.\w+)? is not supported by localtrack yet; instead"
            ):
                use()

        class Mine(Dataset):  # type: ignore[misc]
            pass

        with pytest.raises(NotImplementedError, match="Mine"):
            Mine()

    def test_searches_are_those_of_localtrack(self) -> None:
        """Both names mean one class, so that a script's own subclass of a search is known to ours."""
        use_as_clearml()
        from clearml.automation import DiscreteParameterRange, GridSearch, HyperParameterOptimizer
        from clearml.automation.job import LocalClearmlJob
        from clearml.automation.optimization import SearchStrategy
        from clearml.automation.scheduler import TaskScheduler
        from clearml.automation.trigger import TriggerScheduler

        from localtrack import automation

        assert (TaskScheduler, TriggerScheduler) == (automation.TaskScheduler, automation.TriggerScheduler)

        assert HyperParameterOptimizer is automation.HyperParameterOptimizer
        assert DiscreteParameterRange is automation.DiscreteParameterRange
        assert issubclass(GridSearch, SearchStrategy)
        assert LocalClearmlJob.__module__ == "localtrack.automation.job"
        with pytest.raises(ImportError, match="OptimizerOptuna"):
            from clearml.automation.hpbandster import OptimizerBOHB  # noqa: F401

    def test_a_dataset_can_be_imported_from_localtrack_as_well(self) -> None:
        """A script in which only the import was changed may import more than it uses."""
        from localtrack import Dataset

        with pytest.raises(UnsupportedError, match=r"Dataset\.get"):
            Dataset.get(dataset_id="x")

    def test_pipelines_are_those_of_localtrack(self) -> None:
        """All places that ClearML has them in mean one class."""
        use_as_clearml()
        import clearml
        from clearml.automation import PipelineController
        from clearml.automation.controller import PipelineDecorator

        import localtrack

        assert clearml.PipelineController is PipelineController is localtrack.PipelineController
        assert clearml.PipelineDecorator is PipelineDecorator is localtrack.PipelineDecorator
        assert issubclass(PipelineDecorator, PipelineController)

    def test_every_module_imports(self) -> None:
        """Each file of the package is importable and holds what it promises."""
        use_as_clearml()
        import importlib

        root = Path(clearml_package.IMPORTABLE)
        names = sorted(
            ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            for path in root.glob("clearml/**/*.py")
        )
        assert len(names) > 30
        for name in names:
            module = importlib.import_module(name)
            for promised in getattr(module, "__all__", ()):
                assert getattr(module, promised) is not None, f"{name}.{promised}"
