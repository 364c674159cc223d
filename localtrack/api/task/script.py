"""Section: the code of a task: repository, diff, packages, container.

Source: ClearML's get_script, set_script, set_repo, set_packages, add_requirements, set_base_docker, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.api.task.handle import Section
from localtrack.errors import InvalidValueError
from localtrack.records.late import LateModule, late_logger
from localtrack.records.plain import replace
from localtrack.runtime import current
from localtrack.runtime.code_choices import CHOICES
from localtrack.store.blobs import read_content

if TYPE_CHECKING:
    from localtrack.records import entry_points
    from localtrack.services import script_edits
else:
    script_edits = LateModule("localtrack.services.script_edits")
    entry_points = LateModule("localtrack.records.entry_points")

LOG = late_logger()


class ScriptSection(Section):
    """Repository, commit, diff, packages."""

    @classmethod
    def add_requirements(cls, package_name: str, package_version: str | None = None) -> None:
        """Record a package with the next run although nothing imports it; to be called before ``Task.init``.

        Args:
            package_name: a package, or the path of a requirements file.
            package_version: ``2.4.0``, ``>=2.4``, ``""`` for any; the one installed without one.
        """
        cls._too_late("add_requirements")
        CHOICES.add(package_name, package_version)

    @classmethod
    def ignore_requirements(cls, package_name: str) -> None:
        """Leave a package out of what the next run records; to be called before ``Task.init``."""
        cls._too_late("ignore_requirements")
        CHOICES.ignore(package_name)

    @classmethod
    def force_requirements_env_freeze(cls, force: bool = True, requirements_file: str | Path | None = None) -> None:
        """Record everything installed, or a file's lines, instead of what is imported; before ``Task.init``.

        Raises:
            InvalidValueError: there is no such file.
        """
        cls._too_late("force_requirements_env_freeze")
        if requirements_file and not Path(requirements_file).is_file():
            raise InvalidValueError(f"no requirements file {requirements_file}", path=str(requirements_file))
        CHOICES.freeze = bool(force)
        CHOICES.requirements_file = Path(requirements_file).absolute() if requirements_file else None

    @classmethod
    def force_store_standalone_script(cls, force: bool = True) -> None:
        """Store the script itself and no repository; to be called before ``Task.init``."""
        cls._too_late("force_store_standalone_script")
        CHOICES.standalone = bool(force)

    @classmethod
    def _too_late(cls, name: str) -> None:
        session = current.get()
        if session is not None and not session.options.remote:
            LOG.warning("Task.%s comes after Task.init: it counts for the next task of this process", name)

    def get_script(self) -> dict[str, Any]:
        """Return repository, branch, commit, entry point, working directory and diff of the task's code.

        The entry point is relative to the working directory, that to the root of the repository.
        """
        script = self._read().script
        folder = script.get("working_dir", "")
        text = self._text("diff") or self._text("source")
        return {
            "repository": script.get("repository", ""), "branch": script.get("branch", ""),
            "version_num": script.get("commit", ""),
            "entry_point": entry_points.from_working_dir(script.get("entry_point", ""), folder), "working_dir": folder,
            "binary": script.get("binary", ""), "diff": text,
            "root": script.get("root", ""), "argv": list(script.get("argv", ())),
        }  # fmt: skip

    def set_script(
        self,
        repository: str | None = None,
        branch: str | None = None,
        commit: str | None = None,
        diff: str | None = None,
        working_dir: str | None = None,
        entry_point: str | None = None,
        binary: str | None = None,
    ) -> None:
        """Change what is recorded of the task's code; an empty text takes a part away, None leaves it.

        The entry point is relative to the working directory, also when that alone is changed.

        Raises:
            NotEditableError: the task is neither a draft nor run by this process.
        """
        fields = {
            "repository": repository, "branch": branch, "commit": commit, "working_dir": working_dir,
            "entry_point": self._entry_point(working_dir, entry_point), "binary": binary, "root": None if repository is None else "",
        }  # fmt: skip
        self._change_script(fields, {"diff": diff}, "script")

    def set_repo(self, repo: str | None = None, branch: str | None = None, commit: str | None = None) -> None:
        """Set the repository of the task's code; of a local one its remote, branch and commit are taken.

        Raises:
            InvalidValueError: a folder that is no repository with a commit.
        """
        if not self._is_adopted():
            self._change_script(script_edits.repository_fields(repo, branch, commit), {}, "repository")

    def set_packages(self, packages: str | Path | Sequence[str]) -> None:
        """Record these packages and no others: a list, a requirements file, or an empty text for none."""
        if packages is None or self._is_adopted():
            return
        if self._session is not None and self._session.captures is not None:
            self._session.captures.packages_are_set = True
        self._change_script({}, {"requirements": script_edits.requirements_text(packages)}, "packages")

    def set_base_docker(
        self,
        docker_cmd: str | None = None,
        docker_image: str | None = None,
        docker_arguments: Sequence[str] | str | None = None,
        docker_setup_bash_script: Sequence[str] | str | None = None,
    ) -> None:
        """Record the container to run the task in.

        Args:
            docker_cmd: image and arguments in one text.
            docker_image: the image alone.
            docker_arguments: arguments of the container's start.
            docker_setup_bash_script: shell script to run in it first.
        """
        if self._is_adopted():
            return
        wanted = script_edits.container_fields(docker_cmd or docker_image, docker_arguments, docker_setup_bash_script)
        self._edit(lambda record: replace(record, container=wanted), "container")

    def get_base_docker(self) -> str | None:
        """Return image and arguments of the container to run the task in; None without one."""
        container = self._read().container
        return " ".join(str(container[key]) for key in ("image", "arguments") if container.get(key)) or None

    def get_requirements(self) -> dict[str, str]:
        """Return ``{"pip": imported packages, "freeze": all packages}``, one requirement a line."""
        return {"pip": self._text("requirements"), "freeze": self._text("freeze")}

    def _is_adopted(self) -> bool:
        """Tell whether an agent runs this task in this process: what is recorded stays then."""
        return self._session is not None and self._session.options.remote

    def _entry_point(self, folder: str | None, entry_point: str | None) -> str | None:
        """Return the entry point to store for what a call changes; None where it stays."""
        if folder is None and entry_point is None:
            return None
        script = self._read().script
        was_in = script.get("working_dir", "")
        if entry_point is None:
            entry_point = entry_points.from_working_dir(script.get("entry_point", ""), was_in)
        return entry_points.from_root(entry_point, was_in if folder is None else folder)

    def _change_script(self, fields: dict[str, Any], texts: dict[str, str | None], label: str) -> None:
        if self._session is not None and self._owned:
            self._session.finish_captures()  # they would write over it
        self._edit(script_edits.with_script(self._ctx, self._where(), fields, texts), label)

    def _text(self, key: str) -> str:
        stored = self._read().script.get(key)
        return read_content(self._where(), stored).decode("utf-8", "replace") if stored else ""
