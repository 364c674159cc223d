"""Find what the user's own code imports: the script, the local modules it loaded and those it names."""

from __future__ import annotations

import ast
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from localtrack.capture.distributions import module_names
from localtrack.capture.redaction import storable_text
from localtrack.records.plain import dataclass, field

#: Past this much source the syntax tree is too slow beside a training: lines are matched instead.
AST_BUDGET_BYTES = 500_000
_SOURCE_LIMIT_BYTES = 4_000_000
_IMPORT_LINE = re.compile(r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]|import[ \t]+([\w., \t]+))", re.MULTILINE)
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_INSTALLED_PARTS = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@dataclass(frozen=True, slots=True)
class ImportScan:
    """Dotted names that local code imports (no standard library), the local files seen, the problems."""

    names: frozenset[str]
    files: tuple[str, ...]
    errors: tuple[str, ...]


def scan_imports(
    entry: Path | None, roots: Sequence[Path], modules: Mapping[str, ModuleType], *, sources: Sequence[str] = ()
) -> ImportScan:
    """Collect the imports of the entry script and of every module of ``modules`` that lies below ``roots``.

    Local modules that are only named, not loaded yet, are followed on disk. Modules that a local
    module holds by other means (``importlib.import_module``) count as imported too. ``sources`` is code that
    lies in no file of Python, such as a notebook's cells.
    """
    bases = [os.path.realpath(root) for root in roots]
    if entry is not None:
        bases.append(os.path.dirname(os.path.realpath(entry)))
    scanner = _Scanner(list(dict.fromkeys(bases)))
    if entry is not None:
        scanner.add_file(os.path.realpath(entry))
    for module in list(modules.values()):
        names = module_names(module)
        file = names.get("__file__")
        if isinstance(file, str) and (real := scanner.find_local(file)):
            scanner.add_file(real)
            scanner.add_values(names)
    for source in sources:
        scanner.add_source(source)
    scanner.run()
    foreign = frozenset(name for name in scanner.names if name.partition(".")[0] not in _own_names())
    return ImportScan(foreign, tuple(scanner.seen), tuple(scanner.errors))


def parse_imports(source: bytes, *, use_tree: bool = True) -> list[tuple[int, str]]:
    """Return the imports of one source as (level of a relative import, dotted name).

    ``from a import b`` gives both ``a`` and ``a.b``, as ``b`` may be a module. A source that is no
    valid Python, such as one with notebook magics, is matched line by line.
    """
    if use_tree:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an odd escape in the user's string is not ours to tell
                tree = ast.parse(source)
            return list(_walk_imports(tree))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
    found: list[tuple[int, str]] = []
    for match in _IMPORT_LINE.finditer(source.decode("utf-8", "replace")):
        if match[1] is not None:
            name = match[1].lstrip(".")
            found.append((len(match[1]) - len(name), name))
        else:
            found.extend((0, part.split()[0]) for part in match[2].split(",") if part.strip())
    return found


def _walk_imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    # Imports are statements: walking into expressions as well would take four times as long.
    queue: list[ast.AST] = list(tree.body)
    while queue:
        node = queue.pop()
        for block in _BLOCKS:
            queue.extend(getattr(node, block, ()))
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield node.level, base
            for alias in node.names:
                if alias.name != "*":
                    yield node.level, f"{base}.{alias.name}" if base else alias.name


def _own_names() -> frozenset[str]:
    return sys.stdlib_module_names | {"__main__", "__mp_main__", ""}


def _is_installed(file: str) -> bool:
    return any(part in file for part in _INSTALLED_PARTS)


@dataclass(slots=True)
class _Scanner:
    bases: list[str]
    names: set[str] = field(default_factory=set)
    seen: dict[str, None] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    _queue: list[str] = field(default_factory=list)
    _scanned_bytes: int = 0
    _followed: set[tuple[str, str]] = field(default_factory=set)
    _real_folders: dict[str, str] = field(default_factory=dict)
    _library: str = field(default_factory=lambda: os.path.join(os.path.dirname(os.path.realpath(os.__file__)), ""))
    _prefix: str = field(default_factory=lambda: os.path.join(os.path.realpath(sys.prefix), ""))

    def find_local(self, file: str) -> str:
        """Return the real path of ``file`` when it is the user's own code, '' for something installed."""
        if not file.endswith(".py") or file.startswith(self._library) or _is_installed(file):
            return ""
        # Resolving links is the dear part, so it comes last and once for each folder.
        folder, name = os.path.split(file)
        real_folder = self._real_folders.get(folder)
        if real_folder is None:
            real_folder = self._real_folders[folder] = os.path.realpath(folder)
        real = os.path.join(real_folder, name)
        if os.path.islink(real):
            real = os.path.realpath(real)
        if real.startswith(self._library) or _is_installed(real):
            return ""
        for base in self.bases:
            if not real.startswith(os.path.join(base, "")):
                continue
            # A virtual environment inside of the project is not the project; a project inside of /usr is.
            if not (self._prefix.startswith(os.path.join(base, "")) and real.startswith(self._prefix)):
                return real
        return ""

    def add_file(self, file: str) -> None:
        if file not in self.seen:
            self.seen[file] = None
            self._queue.append(file)

    def add_values(self, names: Mapping[str, object]) -> None:
        for value in list(names.values()):
            name = module_names(value).get("__name__")
            if isinstance(name, str):
                self.names.add(name)

    def add_source(self, source: str) -> None:
        data = source.encode("utf-8", "replace")
        self._scanned_bytes += len(data)
        for level, name in parse_imports(data, use_tree=self._scanned_bytes <= AST_BUDGET_BYTES):
            if not level:
                self._add_name(name)

    def run(self) -> None:
        while self._queue:
            file = self._queue.pop()
            for level, name in self._parse(file):
                if level:
                    folder = file
                    for _ in range(level):
                        folder = os.path.dirname(folder)
                    self._follow(folder, name)
                    continue
                self._add_name(name)

    def _add_name(self, name: str) -> None:
        self.names.add(name)
        for base in self.bases:
            self._follow(base, name)

    def _parse(self, file: str) -> list[tuple[int, str]]:
        try:
            with open(file, "rb") as opened:
                source = opened.read(_SOURCE_LIMIT_BYTES)
        except OSError as error:
            self.errors.append(storable_text(f"looking for the imports of {file}: {error}"))
            return []
        self._scanned_bytes += len(source)
        return parse_imports(source, use_tree=self._scanned_bytes <= AST_BUDGET_BYTES)

    def _follow(self, folder: str, name: str) -> None:
        """Queue the local files that importing ``name`` from ``folder`` would run."""
        if (folder, name) in self._followed:
            return
        self._followed.add((folder, name))
        here = folder
        for part in name.split(".") if name else []:
            here = os.path.join(here, part)
            for candidate in (os.path.join(here, "__init__.py"), here + ".py"):
                if candidate not in self.seen and os.path.isfile(candidate) and (real := self.find_local(candidate)):
                    self.add_file(real)
            if not os.path.isdir(here):
                return
