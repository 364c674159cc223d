"""Being told of imports without anybody noticing."""

from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import pickle
import sys
import threading
import zipfile

import pytest

from localtrack.runtime.import_hooks import PostImportHook


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return the name of an importable package with a submodule and a data file."""
    name = f"framework_{abs(hash(str(tmp_path)))}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "SEEN = (type(__loader__).__name__, __spec__.loader is __loader__)\nclass Thing: pass\n"
    )
    (folder / "part.py").write_text("value = 1\n")
    (folder / "data.txt").write_text("data")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for known in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[known]


@pytest.fixture
def told():
    """A hook that is installed, and the list of the modules that it told of."""
    seen = []
    hook = PostImportHook(seen.append)
    hook.install()
    yield hook, seen
    hook.remove()


def test_tells_after_the_code_has_run(package, told):
    """The watched module is told of once, when all of it is there; others are not."""
    hook, seen = told
    hook.watch([package])
    module = importlib.import_module(f"{package}.part")
    assert [m.__name__ for m in seen] == [package]
    assert seen[0].Thing
    assert module.value == 1


def test_module_sees_its_own_loader(package, told):
    """While its code runs and after, the module has the loader and spec that it would have without the hook."""
    hook, _ = told
    hook.watch([package])
    module = importlib.import_module(package)
    assert module.SEEN == ("SourceFileLoader", True)
    assert type(module.__spec__.loader).__name__ == "SourceFileLoader"
    assert module.__loader__ is module.__spec__.loader
    assert importlib.resources.files(module).joinpath("data.txt").read_text() == "data"
    assert pickle.loads(pickle.dumps(module.Thing)) is module.Thing


def test_reload_tells_again(package, told):
    """A reloaded module is told of again, and keeps its loader."""
    hook, seen = told
    hook.watch([package])
    module = importlib.import_module(package)
    importlib.reload(module)
    assert len(seen) == 2
    assert module.SEEN == ("SourceFileLoader", True)


def test_looking_for_a_module_does_not_tell(package, told):
    """find_spec imports nothing and tells nothing; the loader that it shows answers like the one behind it."""
    hook, seen = told
    hook.watch([package])
    spec = importlib.util.find_spec(package)
    assert spec.loader.get_filename(package).endswith("__init__.py")
    assert type(pickle.loads(pickle.dumps(spec.loader))).__name__ == "SourceFileLoader"
    assert seen == []
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.SEEN == ("SourceFileLoader", True)


def test_module_that_fails_is_not_told_of(package, told, tmp_path):
    """An import that raises ends as it would without the hook, and may be tried again."""
    hook, seen = told
    (tmp_path / package / "broken.py").write_text("raise ZeroDivisionError\n")
    hook.watch([f"{package}.broken"])
    with pytest.raises(ZeroDivisionError):
        importlib.import_module(f"{package}.broken")
    assert seen == []
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{package}.missing")


def test_zip_archives_and_other_finders(tmp_path, monkeypatch, told):
    """A module that another kind of loader brings is told of too."""
    hook, seen = told
    name = f"zipped_{abs(hash(str(tmp_path)))}"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(f"{name}.py", "value = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "a.zip"))
    hook.watch([name])
    module = importlib.import_module(name)
    assert [m.__name__ for m in seen] == [name]
    assert type(module.__loader__).__name__ == "zipimporter"
    del sys.modules[name]


def test_many_threads_import_at_once(package, told):
    """Threads that import the same module at once see it whole, and it is told of once."""
    hook, seen = told
    hook.watch([package])
    barrier = threading.Barrier(8)
    found = []

    def load():
        barrier.wait()
        found.append(importlib.import_module(package).Thing)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8
    assert len(seen) == 1


def test_removal_leaves_nothing(package, told):
    """A removed hook tells nothing, and sys.meta_path is as before."""
    hook, seen = told
    hook.watch([package])
    hook.remove()
    hook.remove()
    assert hook not in sys.meta_path
    importlib.import_module(package)
    assert seen == []
