"""The recorded package lines are valid, complete, and name what the user's own code imports."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from localtrack.capture.distributions import list_distributions
from localtrack.capture.imports import parse_imports
from localtrack.capture.packages import capture_packages


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return an empty folder of installations."""
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    return folder


def install(
    site: Path, name: str, version: str = "1.0", *, files: str = "", top_level: str = "", direct_url: object = None
) -> Path:
    """Put a distribution's folder, and its modules, into ``site``."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files.split()))
    for file in files.split():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text("")
    if top_level:
        (info / "top_level.txt").write_text(top_level)
    if direct_url is not None:
        (info / "direct_url.json").write_text(direct_url if isinstance(direct_url, str) else json.dumps(direct_url))
    return info


def loaded(name: str, file: Path | None = None, *, is_namespace: bool = False) -> dict[str, ModuleType]:
    """Return a table of modules that holds one loaded module."""
    module = ModuleType(name)
    if file is not None:
        module.__file__ = str(file)
    if is_namespace:
        module.__path__ = []
    return {name: module}


def script(tmp_path: Path, text: str, name: str = "work/train.py") -> Path:
    """Write a script with ``text``."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def test_the_freeze_names_what_is_installed_here() -> None:
    """Every distribution that importlib.metadata knows is listed once, and each line parses."""
    state = capture_packages(None, [], {})
    parsed = [Requirement(line) for line in state.freeze]
    ours = {canonicalize_name(requirement.name) for requirement in parsed}
    assert len(ours) == len(parsed)
    theirs = {canonicalize_name(found.metadata["Name"]): found.version for found in importlib.metadata.distributions()}
    assert ours == set(theirs)
    for requirement in parsed:
        if requirement.url is None:
            assert theirs[canonicalize_name(requirement.name)] in requirement.specifier


def test_imports_are_found_by_name_by_top_level_and_by_files(site: Path, tmp_path: Path) -> None:
    """Each way to map an import to a distribution works; the standard library and relatives are left out."""
    install(site, "plain_thing", "2.1+cu118", files="plain_thing/__init__.py")
    install(site, "scikit_learn", files="sklearn/__init__.py", top_level="sklearn\n")
    install(site, "pillow", files="PIL/__init__.py PIL/Image.py")
    install(site, "unused", files="unused/__init__.py")
    install(site, "lazy", files="lazy_mod.py")
    entry = script(
        tmp_path,
        """
        import os, json, plain_thing.sub as p, nowhere
        from PIL import Image
        from . import sibling
        def later():
            import lazy_mod
            from sklearn.svm import SVC
        """,
    )
    modules = loaded("PIL", site / "PIL" / "__init__.py")
    state = capture_packages(entry, [], modules, path=[str(site)])
    assert state.imported == ("lazy==1.0", "pillow==1.0", "plain-thing==2.1+cu118", "scikit-learn==1.0")
    assert "unused==1.0" in state.freeze
    assert state.errors == ()


def test_a_namespace_gives_only_the_distributions_that_were_imported(site: Path, tmp_path: Path) -> None:
    """`google` is shared by many distributions: only those whose modules are imported are named."""
    install(site, "protobuf", files="google/protobuf/__init__.py", top_level="google\n")
    install(site, "google_cloud_storage", files="google/cloud/storage/__init__.py", top_level="google\n")
    install(site, "google_api_core", files="google/api_core/__init__.py", top_level="google\n")
    entry = script(tmp_path, "import google.protobuf\nfrom google.cloud import storage\n")
    modules = {
        **loaded("google", is_namespace=True),
        **loaded("google.protobuf", site / "google" / "protobuf" / "__init__.py"),
    }
    state = capture_packages(entry, [], modules, path=[str(site)])
    assert state.imported == ("google-cloud-storage==1.0", "protobuf==1.0")


def test_two_distributions_with_one_module_are_told_apart(site: Path, tmp_path: Path) -> None:
    """Where two claim the module, the one whose files hold it is named."""
    install(site, "opencv_python", files="cv2/gui.py", top_level="cv2\n")
    install(site, "opencv_python_headless", files="cv2/__init__.py", top_level="cv2\n")
    state = capture_packages(
        script(tmp_path, "import cv2"), [], loaded("cv2", site / "cv2" / "__init__.py"), path=[str(site)]
    )
    assert state.imported == ("opencv-python-headless==1.0",)


def test_local_modules_are_followed_loaded_or_not(site: Path, tmp_path: Path) -> None:
    """What the user's own modules import counts; what installed modules import does not."""
    for name in ("one", "two", "three", "four", "dynamic"):
        install(site, name, files=f"{name}.py")
    (site / "one.py").write_text("import four\n")
    entry = script(tmp_path, "import one\nfrom mine.deep import thing\n")
    script(tmp_path, "", "work/mine/__init__.py")
    script(tmp_path, "from . import other\n", "work/mine/deep.py")
    script(tmp_path, "import two", "work/mine/other.py")
    elsewhere = script(tmp_path, "import three", "repo/tool.py")
    script(tmp_path, "import four", "work/never_imported.py")
    tool = loaded("tool", elsewhere)
    vars(tool["tool"])["module"] = loaded("dynamic", site / "dynamic.py")["dynamic"]
    modules = {**tool, **loaded("one", site / "one.py"), "odd": None, "lazy": object()}
    state = capture_packages(entry, [tmp_path / "repo"], modules, path=[str(site)])  # type: ignore[arg-type]
    assert state.imported == ("dynamic==1.0", "one==1.0", "three==1.0", "two==1.0")
    assert str(tmp_path / "work" / "mine" / "other.py") in state.local_files


@pytest.mark.parametrize(
    ("direct_url", "line"),
    [
        ({"url": "file:///src/my%20tool", "dir_info": {"editable": True}}, "tool @ file:///src/my%20tool"),
        (
            {"url": "https://u:p@h/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}, "subdirectory": "py"},
            "tool @ git+https://h/r.git@abc#subdirectory=py",
        ),
        (
            {"url": "https://h/t.whl", "archive_info": {"hash": "sha256=1", "hashes": {"sha256": "12"}}},
            "tool @ https://h/t.whl#sha256=12",
        ),
        ({"url": "https://h/t.whl", "archive_info": {}}, "tool @ https://h/t.whl"),
    ],
)
def test_direct_urls_are_kept(site: Path, direct_url: object, line: str) -> None:
    """A distribution from a folder, a repository or an archive is recorded by where it came from."""
    install(site, "tool", direct_url=direct_url)
    state = capture_packages(None, [], {}, path=[str(site)])
    assert (state.freeze, state.errors) == ((line,), ())
    Requirement(line)


def test_an_editable_module_with_another_name_is_found(site: Path, tmp_path: Path) -> None:
    """A module loaded from the folder that an editable installation points to belongs to it."""
    source = tmp_path / "src dir"
    install(site, "tool", direct_url={"url": source.as_uri(), "dir_info": {"editable": True}})
    module = script(tmp_path, "", "src dir/engine/__init__.py")
    state = capture_packages(script(tmp_path, "import engine"), [], loaded("engine", module), path=[str(site)])
    assert state.imported == (f"tool @ {source.as_uri()}",)


def test_unusable_distributions_are_left_out_and_told(site: Path) -> None:
    """Leftovers and broken metadata give an error that names the folder, never an invalid line."""
    install(site, "~ip")
    install(site, "old", "2004d-weird version")
    install(site, "broken", direct_url="{not json")
    install(site, "nourl", direct_url={"url": "https://h/ space"})
    install(site, "good", "1!2.0rc1.post2.dev3")
    (site / "noversion.dist-info").mkdir()
    (site / "café.dist-info").write_text("")
    state = capture_packages(None, [], {}, path=[str(site), str(site / "missing"), "nul\0"])
    assert state.freeze == ("broken==1.0", "good==1!2.0rc1.post2.dev3")
    for word in ("~ip", "old", "broken", "nourl", "noversion"):
        assert any(word in error for error in state.errors), word


def test_egg_infos_are_read_and_yield_to_real_installations(site: Path) -> None:
    """Older layouts count, but a stale source folder does not hide what is installed."""
    (site / "legacy-3.1-py3.8.egg-info").mkdir()
    develop = site / "develop.egg-info"
    develop.mkdir()
    (develop / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: develop\nVersion: 0.9\n")
    (site / "flat-1.5.egg-info").write_text("Version: 1.5\n")
    (site / "both-0.1.egg-info").write_text("")
    install(site, "both", "2.0")
    assert capture_packages(None, [], {}, path=[str(site)]).freeze == (
        "both==2.0",
        "develop==0.9",
        "flat==1.5",
        "legacy==3.1",
    )


def test_the_first_on_the_path_counts(tmp_path: Path) -> None:
    """Of two installations of one name, Python imports the first; so does the record."""
    folders = [tmp_path / "a" / "site-packages", tmp_path / "b" / "site-packages"]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        install(folder, "twice", f"{number}.0")
    assert list_distributions([str(folder) for folder in folders]).by_name["twice"].version == "0.0"


def test_a_module_of_no_distribution_is_told(site: Path, tmp_path: Path) -> None:
    """A loaded import that nobody installed is an error line, not silence."""
    stray = script(tmp_path, "", "stray/stray.py")
    state = capture_packages(script(tmp_path, "import stray"), [], loaded("stray", stray), path=[str(site)])
    assert state.imported == ()
    assert str(stray) in state.errors[0]


@pytest.mark.parametrize("content", [b"import numpy\n%matplotlib inline\n", b"\0", b"\xff\xfe", b"x = (" * 10_000])
def test_sources_that_do_not_parse_are_survived(site: Path, tmp_path: Path, content: bytes) -> None:
    """Magics, NULs, garbage and absurd nesting give what can be found, and no exception."""
    entry = script(tmp_path, "")
    entry.write_bytes(content)
    install(site, "numpy")
    state = capture_packages(entry, [], {}, path=[str(site)])
    assert (state.imported == ("numpy==1.0",)) == (b"numpy" in content)


def test_a_missing_entry_is_told(site: Path, tmp_path: Path) -> None:
    """A script that is gone gives an error and the freeze."""
    state = capture_packages(tmp_path / "gone.py", [], {}, path=[str(site)])
    assert "gone.py" in state.errors[0]


@given(st.lists(st.sampled_from(["import a", "import a.b as c, d", "from e.f import g", "from . import h", "x = 1"])))
def test_matching_lines_finds_what_the_tree_finds(lines: list[str]) -> None:
    """The fallback for large sources knows the same top-level names as the syntax tree."""
    source = "\n".join(lines).encode()
    tree = {(level, name.partition(".")[0]) for level, name in parse_imports(source) if name and level == 0}
    matched = {(level, name.partition(".")[0]) for level, name in parse_imports(source, use_tree=False) if level == 0}
    assert tree == matched


def test_imports_in_every_block_are_found() -> None:
    """Functions, classes, branches, loops, handlers and match cases are all looked into."""
    source = b"""
try:
    import a
except ImportError:
    import b
else:
    import c
finally:
    import d
class K:
    async def f(self):
        with x: import e
        async for y in z:
            import f
        while 1: import g
        match x:
            case 1: import h
if x: import i
elif y: import j
else: f = lambda: 0; import k
"""
    assert sorted(name for _, name in parse_imports(source)) == list("abcdefghijk")


def test_the_environment_of_this_test_is_mapped(tmp_path: Path) -> None:
    """On the real modules of this process the right names come out."""
    entry = script(tmp_path, "import numpy as np\nimport sklearn\nfrom PIL import Image\nimport localtrack\n")
    state = capture_packages(entry, [], sys.modules)
    names = {Requirement(line).name.lower() for line in state.imported}
    assert names >= {"numpy", "scikit-learn", "pillow"}
    assert f"numpy=={numpy.__version__}" in state.imported
