"""Which bindings a run gets, when, and what becomes of one that fails."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import time
import types

import pytest

from localtrack.runtime import bindings as runtime_bindings
from localtrack.runtime.binding_context import BindingContext
from localtrack.runtime.binding_registry import BUILT_IN, FRAMEWORKS, BindingSpec, spec_of
from tests.api.conftest import root, start

__all__ = ["root", "start"]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A framework, its binding, and the name of both; the binding is the only one that there is."""
    name = f"toy_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text("def log(x):\n    return x\n")
    (tmp_path / f"{name}_binding.py").write_text(
        textwrap.dedent(
            f"""
            FRAMEWORK = "toy"
            MODULES = ("{name}",)
            def install(ctx):
                if ctx.option("breaks", False):
                    ctx.patch.after(ctx.module, "log", lambda *args: None)
                    raise ValueError("broken on purpose")
                def observe(result, args, kwargs):
                    if result < 0:
                        raise ValueError("negative")
                    ctx.reports().scalar("toy", "x", result, 0)
                ctx.patch.after(ctx.module, "log", observe)
                ctx.at_close(lambda: ctx.reports().scalar("toy", "end", 1.0, 0))
                return ctx.patch.undo
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = BindingSpec("toy", ("toy",), (name,), f"{name}_binding")
    monkeypatch.setattr(runtime_bindings, "BUILT_IN", (spec,))
    yield name
    for known in (name, f"{name}_binding"):
        sys.modules.pop(known, None)


def reported(task) -> list[float]:
    """Return what the toy's binding reported."""
    return task.get_reported_scalars(max_samples=0).get("toy", {}).get("x", {}).get("y", [])


@pytest.mark.parametrize("imported_first", [True, False])
def test_order_of_import_and_init_does_not_matter(world, start, imported_first):
    """A framework that is imported before or after Task.init is captured, and is itself again after close."""
    if imported_first:
        importlib.import_module(world)
    finders = list(sys.meta_path)
    task = start()
    assert sys.meta_path != finders
    toy = importlib.import_module(world)
    toy.log(3)
    assert reported(task) == [3.0]
    task.close()
    toy.log(4)
    assert toy.log.__code__.co_filename.endswith(f"{world}.py")
    assert sys.meta_path == finders


def test_last_reports_of_a_binding(world, start):
    """What a binding does at the end of the run is still recorded."""
    task = start()
    importlib.import_module(world)
    task.close()
    assert task.get_reported_scalars()["toy"]["end"]["y"] == [1.0]


def test_second_task_of_a_process(world, start):
    """Each task gets what happened while it ran."""
    first = start(name="first")
    toy = importlib.import_module(world)
    toy.log(1)
    first.close()
    second = start(name="second")
    toy.log(2)
    assert (reported(first), reported(second)) == ([1.0], [2.0])


def test_reloaded_framework_is_captured_again(world, start):
    """After a reload the new function is captured, once."""
    task = start()
    toy = importlib.import_module(world)
    importlib.reload(toy)
    toy.log(3)
    assert reported(task) == [3.0]


@pytest.mark.parametrize("choice", [False, {}, {"toy": False}, {"toy": {}}])
def test_switched_off(world, start, choice):
    """What auto_connect_frameworks switches off is left alone."""
    toy = importlib.import_module(world)
    log = toy.log
    start(auto_connect_frameworks=choice)
    assert toy.log is log


def test_binding_that_cannot_be_installed(world, start, capfd):
    """It is said once and recorded, what it had begun is undone, and the import goes on."""
    task = start(auto_connect_frameworks={"toy": {"breaks": True}})
    toy = importlib.import_module(world)
    assert toy.log(3) == 3
    assert toy.log.__code__.co_filename.endswith(f"{world}.py")
    task.close()
    (text,) = [error for error in task.capture_errors if "toy" in error]
    assert "ValueError: broken on purpose" in text
    assert capfd.readouterr().err.count("broken on purpose") == 1


def test_observer_that_fails(world, start, capfd):
    """It is said once for many failures, recorded, and the framework's calls go on."""
    task = start()
    toy = importlib.import_module(world)
    assert [toy.log(-1) for _ in range(5)] == [-1] * 5
    task.close()
    assert len([error for error in task.capture_errors if "negative" in error]) == 1
    assert capfd.readouterr().err.count("negative") == 1


def test_forked_child_reports_to_the_same_task(world, start):
    """A framework that a forked child uses, or imports there, reports to the task."""
    task = start()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            importlib.import_module(world).log(5)
            from localtrack.runtime import current

            current.get().close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert reported(task) == [5.0]


def test_plugins_of_installed_packages(world, start, tmp_path, monkeypatch, capfd):
    """A package's entry point is found soon after the start; a broken one, and a wrong key, are said."""
    monkeypatch.setattr(runtime_bindings, "BUILT_IN", ())
    info = tmp_path / "toy_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[localtrack.bindings]\ntoy = {world}_binding\nbroken = missing_module_of_a_plugin\n"
    )
    task = start(auto_connect_frameworks={"toy": True, "matplotlb": False})
    toy = importlib.import_module(world)
    deadline = time.monotonic() + 10
    while not reported(task) and time.monotonic() < deadline:
        toy.log(3)
        time.sleep(0.1)
    assert reported(task)
    task.close()
    assert any("binding broken of toy-plugin 1.0 can't be used" in error for error in task.capture_errors)
    assert "auto_connect_frameworks has no matplotlb" in capfd.readouterr().err


@pytest.mark.parametrize("spec", BUILT_IN, ids=lambda spec: spec.name)
def test_table_agrees_with_the_modules(spec):
    """What the table of built-in bindings says of each is what its module says."""
    module = importlib.import_module(spec.target)
    assert spec_of(module, spec.name) == spec
    assert set(spec.frameworks) - {"arg_parser"} <= FRAMEWORKS


@pytest.mark.parametrize(
    ("frameworks", "expected"),
    [
        (True, True),
        (False, False),
        ({}, False),
        ({"other": False}, True),
        ({"a": "*.pt"}, "*.pt"),
        ({"a": ["*.pt"]}, ["*.pt"]),
        ({"a": True, "b": False}, False),
        ({"a": {"x": 1}}, {"x": 1}),
    ],
)
def test_choices(frameworks, expected):
    """Missing keys are on, an empty dict is off, all keys of a binding must be on, and the first one's value counts."""
    assert BindingSpec("n", ("a", "b"), ("m",), "t").choice(frameworks, True) == expected


@pytest.mark.parametrize(
    ("choice", "path", "allowed"),
    [
        (True, "x/model.pt", True),
        ({"a": 1}, "x/model.pt", True),
        ("*.pt", "x/model.pt", True),
        ("best*", "x/best.pt", True),
        (["*.ckpt", "x/*"], "x/model.pt", True),
        (["*.ckpt"], "x/model.pt", False),
        ("*.ckpt", "x/model.pt", False),
        ("models/*.json", "{here}/models/a.json", True),
        ("./models/*.json", "{here}/models/a.json", True),
        ("../models/*.json", "{here}/../models/a.json", True),
        ("{here}/models/*", "{here}/models/a.json", True),
        ("models/*.json", "{here}/other/models/a.json", False),
        ("models/*.json", "s3://bucket/models/a.json", False),
    ],
)
def test_wildcards(tmp_path, monkeypatch, choice, path, allowed):
    """A file is recorded when a wildcard fits its path, also from where the script is, or its name, or when there are none."""
    monkeypatch.chdir(tmp_path)
    path = path.format(here=tmp_path)
    choice = choice.format(here=tmp_path) if isinstance(choice, str) else choice
    context = BindingContext("n", types.ModuleType("m"), choice, failed=lambda *args: None)
    assert context.allows_file(path) is allowed


def test_nothing_is_hooked_by_the_import(tmp_path):
    """Importing localtrack hooks into nothing and loads no binding."""
    code = "import sys; before = list(sys.meta_path); import localtrack; assert sys.meta_path == before\n"
    code += (
        "assert not [m for m in sys.modules if m.startswith(('localtrack.bindings', 'localtrack.runtime.bindings'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
