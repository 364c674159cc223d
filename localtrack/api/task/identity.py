"""Section: who a task is: id, name, project, type, tags, comment, parent, archive.

Source: ClearML's Task properties and setters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from localtrack.api.task.handle import Section
from localtrack.errors import InvalidValueError
from localtrack.records.ids import normal_project, tags_of
from localtrack.records.late import LateModule
from localtrack.records.plain import replace
from localtrack.records.status import TaskTypes, parse_type
from localtrack.runtime import current
from localtrack.services import lifecycle, tasks
from localtrack.services.context import open_context
from localtrack.store.documents import seconds

if TYPE_CHECKING:
    import datetime as dt
    import logging

    from localtrack.services import search
else:
    dt = LateModule("datetime")
    search = LateModule("localtrack.services.search")


class Project(str):
    """A project: its name, which is its id as well."""

    __slots__ = ()

    @property
    def id(self) -> str:
        """The name: projects have no other id here."""
        return str(self)

    @property
    def basename(self) -> str:
        """The last part of the name."""
        return self.rpartition("/")[2]

    @property
    def parent(self) -> str | None:
        """The project around it; None at the top."""
        return self.rpartition("/")[0] or None

    @property
    def name(self) -> str:
        """The whole name, sub-projects divided by ``/``."""
        return str(self)


class IdentitySection(Section):
    """Names, tags and relations of a task."""

    archived_tag = "archived"

    @property
    def id(self) -> str:
        """The task's id: 32 hexadecimal digits."""
        return self._id

    @property
    def task_id(self) -> str:
        """The same as :attr:`id`."""
        return self._id

    @property
    def name(self) -> str:
        """The task's name."""
        return self._read().name

    @name.setter
    def name(self, value: str) -> None:
        self.set_name(value)

    def set_name(self, name: str) -> None:
        """Give the task another name."""
        if self._owned:  # its folder follows when nobody writes in it any more
            self._edit(lambda record: replace(record, name=str(name)), "renamed")
        else:
            tasks.rename(self._ctx, self._id, name=str(name))

    def rename(self, new_name: str) -> bool:
        """Give the task another name.

        Returns:
            True.
        """
        self.set_name(new_name)
        return True

    @property
    def project(self) -> str:
        """The project's name, which here is its id too."""
        return self._read().project

    @project.setter
    def project(self, value: str) -> None:
        self.set_project(project_name=value)

    def get_project_name(self) -> str:
        """Return the project's name, sub-projects divided by ``/``."""
        return self._read().project

    def set_project(self, project_id: str | None = None, project_name: str | None = None) -> None:
        """Move the task to another project.

        Raises:
            InvalidValueError: neither argument is given.
        """
        target = project_name or project_id
        if not target:
            raise InvalidValueError("set_project needs project_name (or project_id, which is the same here)")
        if self._owned:
            project = normal_project(target) or tasks.UNTITLED
            self._edit(lambda record: replace(record, project=project), "moved")
        else:
            tasks.rename(self._ctx, self._id, project=target)

    def move_to_project(
        self, new_project_id: str | None = None, new_project_name: str | None = None, system_tags: Any = None
    ) -> bool:
        """Move the task to another project.

        Returns:
            True.
        """
        self.set_project(new_project_id, new_project_name)
        return True

    @property
    def task_type(self) -> str:
        """The task's type, such as ``training``."""
        return self._read().type

    def set_task_type(self, task_type: str | TaskTypes) -> None:
        """Change the task's type."""
        kind = parse_type(task_type).value
        self._edit(lambda record: replace(record, type=kind), "type")

    @property
    def comment(self) -> str:
        """Free text about the task."""
        return self._read().comment

    @comment.setter
    def comment(self, value: str) -> None:
        self.set_comment(value)

    def set_comment(self, comment: str | None) -> None:
        """Replace the free text about the task; None is an empty one."""
        text = str(comment or "")
        self._edit(lambda record: replace(record, comment=text), "comment")

    @property
    def parent(self) -> str | None:
        """Id of the parent task."""
        return self._read().parent or None

    @parent.setter
    def parent(self, value: str | Section) -> None:
        self.set_parent(value)

    def set_parent(self, parent: str | Section | None) -> None:
        """Set the parent task.

        Raises:
            InvalidValueError: the task itself.
        """
        parent_id = parent._id if isinstance(parent, Section) else (parent or "")
        if parent_id == self._id:
            raise InvalidValueError(f"task {self._id} can't be its own parent")
        self._edit(lambda record: replace(record, parent=parent_id), "parent")

    def get_tags(self) -> list[str]:
        """Return the task's tags."""
        return list(self._read().tags)

    def set_tags(self, tags: Sequence[str] | str) -> None:
        """Replace the task's tags; a text is split at blanks, an item of a list may hold some."""
        wanted = tags_of(tags)
        self._edit(lambda record: replace(record, tags=wanted), "tags")

    def add_tags(self, tags: Sequence[str] | str) -> None:
        """Add tags; a text is split at blanks, an item of a list may hold some."""
        new = tags_of(tags)
        self._edit(lambda record: replace(record, tags=tuple(dict.fromkeys((*record.tags, *new)))), "tags")

    @property
    def tags(self) -> list[str]:
        """The task's tags."""
        return self.get_tags()

    @tags.setter
    def tags(self, value: Sequence[str] | str) -> None:
        self.set_tags(value)

    def remove_tags(self, tags: Sequence[str] | str) -> None:
        """Take tags away; a text is split at blanks, an item of a list may hold some."""
        gone = tags_of(tags)
        self._edit(lambda record: replace(record, tags=tuple(t for t in record.tags if t not in gone)), "tags")

    def get_system_tags(self) -> list[str]:
        """Return tags that localtrack itself sets, such as ``archived``."""
        return list(self._read().system_tags)

    def set_system_tags(self, tags: Sequence[str]) -> None:
        """Replace the system tags."""
        self._edit(lambda record: replace(record, system_tags=tags_of(tags)), "system tags")

    def set_archived(self, archive: bool) -> None:
        """Put the task into the archive, or take it out."""
        self._edit(lambda record: lifecycle.with_archived(record, archive), "archived" if archive else "unarchived")

    def get_archived(self) -> bool:
        """Tell whether the task is in the archive."""
        return "archived" in self._read().system_tags

    @property
    def last_update(self) -> dt.datetime:
        """When the task's metadata last changed, UTC."""
        return dt.datetime.fromtimestamp(seconds(self._read().last_update), dt.timezone.utc)

    @property
    def user(self) -> str:
        """Login name of the user who created the task."""
        return self._read().user

    @property
    def cache_dir(self) -> str:
        """The task's folder: everything it holds lies there."""
        return str(self._where())

    @property
    def last_worker(self) -> str | None:
        """The agent that ran the task last, the host without one; None before the first run."""
        record = self._read()
        return record.runtime.get("agent") or record.runtime.get("hostname") or (record.owner or {}).get("host")

    @property
    def log(self) -> logging.Logger:
        """The logger that says what localtrack has to say."""
        import logging

        return logging.getLogger("localtrack")

    def reload(self) -> None:
        """Make sure that the task still is where it was; every look reads the store anyhow.

        Raises:
            TaskNotFoundError: it is gone.
        """
        self._read()

    def is_main_task(self) -> bool:
        """Tell whether this is the task that this process runs."""
        session = current.get()
        return session is not None and session.task_id == self._id

    def is_current_task(self) -> bool:
        """Tell whether this is the task that this process runs; the same as :meth:`is_main_task`."""
        return self.is_main_task()

    @classmethod
    def normalize_id(cls, id: str) -> str | None:
        """Return an id without blanks around it; None for none."""
        return id.strip() if id else None

    @classmethod
    def resolve_id(cls, obj: Any) -> Any:
        """Return the id of a task; anything else as it is."""
        return obj._id if isinstance(obj, Section) else obj

    def get_project_object(self) -> Project:
        """Return the task's project: its name, with ``id``, ``name``, ``basename`` and ``parent`` as attributes."""
        return Project(self._read().project)

    @classmethod
    def get_task_output_log_web_page(
        cls, task_id: str, project_id: str | None = None, app_server_host: str | None = None
    ) -> str:
        """Return the folder of a task: there is no web server to point at.

        Raises:
            TaskNotFoundError: no such task.
        """
        return str(tasks.folder_of(open_context(), task_id))

    def get_output_log_web_page(self) -> str:
        """Return the task's folder: there is no web server to point at."""
        return str(self._where())

    @classmethod
    def get_projects(cls, **kwargs: Any) -> list[Project]:
        """Return all projects that hold tasks, the last changed first: texts with ``name`` and ``id`` as attributes.

        Args:
            **kwargs: ``name``, a regular expression that the project's name must contain; others are passed over.
        """
        pattern = re.compile(str(kwargs.get("name") or ""))
        return [Project(name) for name in search.projects(open_context()) if pattern.search(name)]

    @classmethod
    def get_project_id(cls, project_name: str, search_hidden: bool = True) -> str | None:
        """Return the project's id, which is its name; None when it holds no task."""
        name = normal_project(project_name)
        return name if name and search.projects(open_context(), name) else None
