"""Describe the script that runs, and how to start it again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from localtrack.capture.clearml_package import is_answered
from localtrack.capture.git import GitState
from localtrack.capture.launch import LauncherCommand, find_command
from localtrack.capture.redaction import storable_text
from localtrack.records.plain import dataclass

#: A script outside of git is kept whole up to this size.
SCRIPT_LIMIT_BYTES = 1_000_000

#: What a notebook is called whose file can't be found.
NOTEBOOK_NAME = "notebook"


@dataclass(frozen=True, slots=True)
class ScriptState:
    """The entry point of a run.

    Attributes:
        entry_point: What Python is given: a posix path relative to the repository root, or
            ``-m package.module``. Outside of a repository the bare file name; '' when nothing can
            be started again (a notebook, an interactive session).
        working_dir: Posix path of the working directory relative to the root, '.' for the root
            itself and where there is no repository.
        script_path: Absolute local path of the source file, '' when there is none.
        cwd: Absolute local working directory.
        argv: ``sys.argv`` without its first item.
        python_binary: File name of the interpreter, such as ``python3.11``.
        python_path: Absolute local path of the interpreter.
        python_version: Such as ``3.11.7``.
        script: The bytes of the whole script where git does not hold it; None where git does.
        as_clearml: Whether ``import clearml`` is answered by localtrack.
        launcher: What started this rank of a launch, and with which options; None for a process on its own.
        errors: What could not be captured, and what follows from it.
    """

    entry_point: str
    working_dir: str
    script_path: str
    cwd: str
    argv: tuple[str, ...]
    python_binary: str
    python_path: str
    python_version: str
    script: bytes | None = None
    as_clearml: bool = False
    launcher: LauncherCommand | None = None
    errors: tuple[str, ...] = ()


def find_entry_script(main_module: ModuleType | None, argv: Sequence[str], cwd: Path) -> Path | None:
    """Return the absolute path of the file that runs, None for an interactive session or ``-c``."""
    names = vars(main_module) if main_module is not None else {}
    file = names.get("__file__")
    if isinstance(file, str) and file:
        path = Path(os.path.abspath(os.path.join(cwd, file)))
        if path.is_file():
            return path
    if argv and argv[0] and argv[0] not in ("-c", "-m", "-") and names.get("__spec__") is not None:
        path = Path(os.path.abspath(os.path.join(cwd, argv[0])))  # a zip application: the archive is the script
        if path.is_file():
            return path
    return None


def capture_script(main_module: ModuleType | None, argv: Sequence[str], cwd: Path, git: GitState | None) -> ScriptState:
    """Describe how the process was started.

    Args:
        main_module: ``sys.modules["__main__"]``.
        argv: ``sys.argv``.
        cwd: The working directory at the start.
        git: The repository of the script, if any.
    """
    errors: list[str] = []
    path: Path | None = None
    try:
        path = find_entry_script(main_module, argv, cwd)
    except (OSError, ValueError, TypeError) as error:
        errors.append(f"looking for the running script in {cwd}: {error}")
    root = git.root if git is not None else None
    module = _find_module(main_module)
    inside = _relative(path, root)
    if module:
        entry_point = f"-m {module}"
    elif path is None:
        entry_point = ""
    else:
        entry_point = inside or path.name
    if path is not None and root is not None and inside is None:
        errors.append(f"script {path}: it lies outside of the repository {root}; its text is stored instead")
    # Without a diff the commit alone may not be what ran: keep the text then, too.
    is_in_git = inside is not None and git is not None and git.is_dirty is not None
    script = None if is_in_git else _read_script(path, argv, errors)
    return ScriptState(
        entry_point=storable_text(entry_point),
        working_dir=storable_text(_find_working_dir(cwd, root, errors)),
        script_path=storable_text(str(path)) if path is not None else "",
        cwd=storable_text(str(cwd)),
        argv=tuple(storable_text(str(item)) for item in argv[1:]),
        python_binary=os.path.basename(sys.executable or "python"),
        python_path=storable_text(sys.executable or ""),
        python_version=".".join(str(part) for part in sys.version_info[:3]),
        script=script,
        as_clearml=is_answered(),
        launcher=find_command(argv),
        errors=tuple(errors),
    )


def capture_notebook(notebook: Path | None, script: bytes, cwd: Path, git: GitState | None) -> ScriptState:
    """Describe a notebook as the script that its code makes.

    Args:
        notebook: its file, None where it can't be found.
        script: its code as one script.
        cwd: The working directory at the start.
        git: The repository of the notebook, if any.
    """
    errors: list[str] = []
    root = git.root if git is not None else None
    place = script_place(notebook, cwd)
    return ScriptState(
        entry_point=storable_text(_relative(place, root) or place.name),
        working_dir=storable_text(_find_working_dir(cwd, root, errors)),
        script_path=storable_text(str(notebook)) if notebook is not None else "",
        cwd=storable_text(str(cwd)),
        argv=(),  # the kernel's own: the notebook has none
        python_binary=os.path.basename(sys.executable or "python"),
        python_path=storable_text(sys.executable or ""),
        python_version=".".join(str(part) for part in sys.version_info[:3]),
        script=script,
        as_clearml=is_answered(),
        errors=tuple(errors),
    )


def script_place(notebook: Path | None, cwd: Path) -> Path:
    """Return where a notebook's script belongs: beside it, under a name that no other code has."""
    if notebook is None:
        notebook = cwd / f"{NOTEBOOK_NAME}.ipynb"
    place = notebook.with_suffix(".py")
    return place if not os.path.lexists(place) else notebook.with_name(f"{notebook.name}.py")


def _find_module(main_module: ModuleType | None) -> str:
    """Return the name given to ``python -m``, '' for a plain script."""
    name = getattr(vars(main_module).get("__spec__") if main_module is not None else None, "name", None)
    if not isinstance(name, str) or name == "__main__":  # a folder or zip file run by its path
        return ""
    return name.removesuffix(".__main__")


def _relative(path: Path | None, root: Path | None) -> str | None:
    if path is None or root is None:
        return None
    for candidate in (Path(os.path.realpath(path.parent)) / path.name, Path(os.path.realpath(path))):
        if candidate.is_relative_to(root):
            return candidate.relative_to(root).as_posix()
    return None


def _find_working_dir(cwd: Path, root: Path | None, errors: list[str]) -> str:
    if root is None:
        return "."
    real = Path(os.path.realpath(cwd))
    if real.is_relative_to(root):
        return real.relative_to(root).as_posix()
    errors.append(f"working directory {cwd}: it lies outside of the repository {root}; a re-run starts in its root")
    return "."


def _read_script(path: Path | None, argv: Sequence[str], errors: list[str]) -> bytes | None:
    """Return the source text, None with the reason in ``errors`` when there is none to keep."""
    if path is None:
        if argv and argv[0] == "-c" and "-c" in sys.orig_argv[:-1]:
            code = sys.orig_argv[sys.orig_argv.index("-c") + 1]
            return code.encode("utf-8", "surrogateescape")
        return None
    try:
        with path.open("rb") as source:
            text = source.read(SCRIPT_LIMIT_BYTES + 1)
    except OSError as error:
        errors.append(f"reading the script {path}: {error}")
        return None
    if len(text) > SCRIPT_LIMIT_BYTES:
        errors.append(f"script {path}: longer than {SCRIPT_LIMIT_BYTES} bytes, not stored; put it under git")
        return None
    return text
