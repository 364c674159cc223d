"""Section: names of ClearML's Task that speak to a server, under the one policy of :mod:`localtrack.api.policy`.

Source: ClearML's Task.set_credentials, set_offline, session, *_external_endpoint, ...
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from localtrack.api.policy import ignore, refuse
from localtrack.api.task.handle import Section
from localtrack.runtime import current

_CALLS = "the methods of Task, or the files of the store: docs/format/v1.md says what lies where"
_PORTS = "serve from your own script on a port of your choice and print its address; the task's console keeps it"


class ServerlessSection(Section):
    """Names that need no server here, or can't be had without one."""

    @classmethod
    def set_credentials(
        cls,
        api_host: str | None = None,
        web_host: str | None = None,
        files_host: str | None = None,
        key: str | None = None,
        secret: str | None = None,
        store_conf_file: bool = False,
    ) -> None:
        """Do nothing: there is no server to log in to."""
        ignore("Task.set_credentials", "there is no server to log in to; LOCALTRACK_ROOT names the store")

    @classmethod
    def set_offline(cls, offline_mode: bool = False) -> None:
        """Do nothing: every run is written to a folder, and needs no network ever."""
        ignore(
            "Task.set_offline", "every run is written to the store at once, with no network; nothing needs importing"
        )

    @classmethod
    def is_offline(cls) -> bool:
        """Tell whether runs wait to be imported somewhere: False, they are in the store at once."""
        return False

    def get_offline_mode_folder(self) -> Path | None:
        """Return the task's folder: everything it holds lies there."""
        return self._where()

    @property
    def session(self) -> NoReturn:
        """Raise: there is no session with a server."""
        refuse("Task.session", "is a session with ClearML's server", _CALLS)

    @property
    def default_session(self) -> NoReturn:
        """Raise: there is no session with a server."""
        refuse("Task.default_session", "is a session with ClearML's server", _CALLS)

    def send(
        self, req: Any, ignore_errors: bool = False, raise_on_errors: bool = True, async_enable: bool = False
    ) -> NoReturn:
        """Raise: there is no server to send a request to.

        Raises:
            UnsupportedError: always.
        """
        refuse("Task.send", "sends a request to ClearML's server", _CALLS)

    @property
    def metrics_manager(self) -> NoReturn:
        """Raise: it is a part of ClearML's own transport."""
        refuse("Task.metrics_manager", "is a part of ClearML's transport", "task.get_logger() reports")

    @property
    def report_subprocess_enabled(self) -> bool:
        """Whether reports go through another process: False, each is in the kernel when its call returns."""
        return False

    @property
    def resource_monitor(self) -> Any:
        """The resource monitor of this process's run; None without one."""
        return None if self._session is None or self._session.closed else self._session.monitor

    @classmethod
    def set_resource_monitor_iteration_timeout(
        cls,
        seconds_from_start: float = 30.0,
        wait_for_first_iteration_to_start_sec: float = 180.0,
        max_wait_for_first_iteration_to_start_sec: float = 1800.0,
    ) -> bool:
        """Set when the resource monitor of this run reports first, and how long it waits for an iteration.

        Args:
            seconds_from_start: seconds from the start to the first report.
            wait_for_first_iteration_to_start_sec: so long it waits for an iteration, then it goes on by seconds.
            max_wait_for_first_iteration_to_start_sec: after so long without one it stays with seconds.

        Returns:
            Whether this process has a resource monitor.
        """
        session = current.get()
        if session is None or session.monitor is None:
            return False
        session.monitor.wait(
            first_report_s=seconds_from_start,
            wait_for_iteration_s=wait_for_first_iteration_to_start_sec,
            until_iteration_s=max_wait_for_first_iteration_to_start_sec,
        )
        return True

    def get_dataviews(self) -> dict[str, Any]:
        """Return nothing: there are no hyper-datasets."""
        ignore("Task.get_dataviews", "data views belong to ClearML's enterprise server, there are none")
        return {}

    def set_dataview(self, dataview: Any) -> NoReturn:
        """Raise: there are no hyper-datasets.

        Raises:
            UnsupportedError: always.
        """
        refuse(
            "Task.set_dataview", "needs ClearML's enterprise server", "connect the query as a dict: task.connect({...})"
        )

    def get_http_router(self) -> NoReturn:
        """Raise: there is no router in front of running tasks.

        Raises:
            UnsupportedError: always.
        """
        refuse("Task.get_http_router", "needs ClearML's router", _PORTS)

    def request_external_endpoint(
        self,
        port: int,
        protocol: str = "http",
        wait: bool = False,
        wait_interval_seconds: float = 3.0,
        wait_timeout_seconds: float = 90.0,
        static_route: str | None = None,
        endpoint_name: str | None = None,
    ) -> NoReturn:
        """Raise: there is no router in front of running tasks.

        Raises:
            UnsupportedError: always.
        """
        refuse("Task.request_external_endpoint", "needs ClearML's router", _PORTS)

    def wait_for_external_endpoint(
        self,
        wait_interval_seconds: float = 3.0,
        wait_timeout_seconds: float = 90.0,
        protocol: str | None = "http",
        endpoint_name: str | None = None,
    ) -> NoReturn:
        """Raise: there is no router in front of running tasks.

        Raises:
            UnsupportedError: always.
        """
        refuse("Task.wait_for_external_endpoint", "needs ClearML's router", _PORTS)

    def list_external_endpoints(self, protocol: str | None = None) -> list[dict[str, Any]]:
        """Return nothing: there is no router in front of running tasks."""
        ignore("Task.list_external_endpoints", "there is no router, so that there are no endpoints")
        return []
