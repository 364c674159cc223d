"""Section: where media go, how many are kept, and what the automatic captures shall do.

Source: ClearML's Logger.set_default_upload_destination, set_default_debug_sample_history, set_reporting_nan_value,
tensorboard_auto_group_scalars, matplotlib_force_report_non_interactive.
"""

from __future__ import annotations

from localtrack.api.logger.handle import LoggerSection
from localtrack.runtime import binding_options
from localtrack.services.recording import MediaOptions
from localtrack.store.layout import TaskLayout


class OptionsSection(LoggerSection):
    """Settings of the logger and, for the whole process, of the captures."""

    def set_default_upload_destination(self, uri: str) -> None:
        """Set the folder or URL that the files of images and media go to, in place of the task's own folder.

        The task keeps the address, the checksum and the size of each. A local folder is written to at once; any other
        address in the background, and a file that it does not take is kept in the task's folder.

        Args:
            uri: a path, ``file://``, or an address that fsspec knows (``s3://``, ``gs://``, ...; needs its package);
                an empty text or the task's own folder undoes it.

        Raises:
            StorageError: a folder that can't be written.
            MissingExtraError: a kind of address whose package is not installed.
        """
        from localtrack.services import storage

        own = not uri or storage.local_path(uri) == TaskLayout(self._task._where()).media
        self._destination = "" if own else storage.check_writable(uri)
        self._tell_captures()

    def get_default_upload_destination(self) -> str:
        """Return where the files of images and media go: what was set, or the folder inside the task's."""
        return self._destination or str(TaskLayout(self._task._where()).media)

    def set_default_debug_sample_history(self, max_history: int) -> None:
        """Set how many images and media of each title and series are kept; older ones are removed from then on.

        Args:
            max_history: the number; 0 keeps all, which is what happens when this is never called.
        """
        self._history = int(max_history)
        self._tell_captures()

    def _tell_captures(self) -> None:
        session = self._task._session
        if session is not None:
            session.recorder.defaults = MediaOptions(self._destination, self._history)

    def get_default_debug_sample_history(self) -> int:
        """Return how many images and media of each title and series are kept; 0 stands for all."""
        return self._history

    def set_flush_period(self, period: float) -> None:
        """Keep a number for :meth:`get_flush_period`; reports are written at once, so that there is nothing to flush.

        Args:
            period: seconds.
        """
        self._flush_period = float(period)

    def get_flush_period(self) -> float | None:
        """Return what :meth:`set_flush_period` was given; None before."""
        return self._flush_period

    @classmethod
    def set_reporting_nan_value(cls, value: float, warn_period: int = 1000) -> None:
        """Set a number to be kept instead of NaN from now on, in this process; without this call NaN stays NaN.

        Args:
            value: the number; NaN undoes it.
            warn_period: one warning every so many replaced values.
        """
        from localtrack.runtime.substitutes import set_substitute

        set_substitute("nan", value, warn_period)

    @classmethod
    def set_reporting_inf_value(cls, value: float, warn_period: int = 1000) -> None:
        """Set a number to be kept instead of infinities of either sign; without this call they stay what they are.

        Args:
            value: the number; infinity undoes it.
            warn_period: one warning every so many replaced values.
        """
        from localtrack.runtime.substitutes import set_substitute

        set_substitute("inf", value, warn_period)

    @classmethod
    def tensorboard_auto_group_scalars(cls, group_scalars: bool = False) -> None:
        """Tell the capture of TensorBoard to put all scalars whose tags have no slash into one graph, ``Scalars``."""
        binding_options.tensorboard_auto_group_scalars = bool(group_scalars)

    @classmethod
    def tensorboard_single_series_per_graph(cls, single_series: bool = False) -> None:
        """Tell the capture of TensorBoard to give each folder's writer, and each member of ``add_scalars``, its own graphs."""
        binding_options.tensorboard_single_series_per_graph = bool(single_series)

    @classmethod
    def matplotlib_force_report_non_interactive(cls, force: bool) -> None:
        """Keep matplotlib figures as pictures alone from now on, without a plotly figure beside them."""
        binding_options.matplotlib_non_interactive = bool(force)
