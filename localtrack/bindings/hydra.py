"""Hydra: a job's overrides as the section ``Hydra``, its composed configuration as the object ``OmegaConf``.

Under an agent the stored overrides win over the command line. With ``Hydra/_allow_omegaconf_edit_`` set, the stored
configuration object takes the place of the composed one. ``Task.init`` inside the application makes a task of every job
of a multirun; before it, one task of them all.

Source: https://clear.ml/docs/latest/docs/integrations/hydra, measured; Hydra's Callback interface.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.hydra_overrides import Composition, fed_overrides, read_overrides, without_sweeps
from localtrack.bindings.parameter_feed import ParameterFeed, Parsed, feed_for, stored_configuration
from localtrack.capture.secrets import is_masked, masked_argument
from localtrack.services import parameters
from localtrack.services.reuse import NO_REUSE_VARIABLE

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

FRAMEWORK = ("arg_parser", "hydra")
MODULES = ("hydra._internal.hydra",)
SECTION = "Hydra"
CONFIGURATION = "OmegaConf"
EDIT_FLAG = "_allow_omegaconf_edit_"
_MODE = "hydra.mode"
_GONE = object()
_FLAG_HELP = (
    f"True: the section {SECTION} is left aside and the configuration object {CONFIGURATION} is used as it stands"
)


def install(ctx: BindingContext) -> Undo:
    """Bind ``hydra._internal.hydra``."""
    hook = HydraHook(feed_for(ctx, SECTION), ctx)
    hook.install()
    hook.record_running(sys._getframe(1))
    return ctx.patch.undo


class HydraHook:
    """Watches the jobs that Hydra runs.

    Args:
        feed: the section ``Hydra`` of the task.
        ctx: the hold on ``hydra._internal.hydra``.
    """

    def __init__(self, feed: ParameterFeed, ctx: BindingContext) -> None:
        self._feed = feed
        self._ctx = ctx
        self._sweep: list[str] | None = None

    def install(self) -> None:
        """Wrap Hydra's entry points."""
        hydra: Any = self._ctx.module
        self._ctx.patch.replace(hydra.Callbacks, "on_job_start", self._wrap_job_start)
        if self._feed.remote:
            self._ctx.patch.replace(hydra.Hydra, "run", self._wrap_run)
            self._ctx.patch.replace(hydra.Hydra, "multirun", self._wrap_multirun)
        else:
            self._ctx.patch.replace(hydra.Hydra, "multirun", self._wrap_outer_multirun)

    def record_running(self, frame: FrameType | None) -> None:
        """Record the job in which ``Task.init`` happens, and end its task with it."""
        while frame is not None:
            names = frame.f_locals
            if frame.f_code.co_name == "run_job" and "task_cfg" in names and "hydra_context" in names:
                self._record(names["config"], _loader(names["hydra_context"]), names["task_cfg"])
                if self._feed.session is not None and not self._feed.remote:
                    names["callbacks"].callbacks.append(EndOfJob(self._feed.session, names["callbacks"].callbacks))
                return
            frame = frame.f_back

    def _wrap_job_start(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def on_job_start(callbacks: Any, config: Any, **rest: Any) -> Any:
            try:
                self._record(config, None, None)
            except Exception as error:  # the binding border
                self._ctx.failed("parse", error)
            return original(callbacks, config, **rest)

        return on_job_start

    def _wrap_outer_multirun(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def multirun(
            hydra: Any, config_name: Any, task_function: Any, overrides: list[str], *rest: Any, **named: Any
        ) -> Any:
            self._sweep = [text for text in overrides if not text.startswith(_MODE)]
            try:
                return original(hydra, config_name, task_function, overrides, *rest, **named)
            finally:
                self._sweep = None

        return multirun

    def _record(self, config: Any, loader: Any, task_config: Any) -> None:
        from omegaconf import OmegaConf, open_dict, read_write

        texts = self._sweep
        if texts is None:  # as they were written: what an interpolation stands for may change in a clone
            texts = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        values = {key: Parsed(value) for key, value in read_overrides(texts).items()}
        if task_config is None:
            task_config = config.copy()
            with read_write(task_config), open_dict(task_config):
                task_config.pop("hydra", None)
        edited = self._feed.get(EDIT_FLAG) is True
        self._feed.record({EDIT_FLAG: Parsed(edited, _FLAG_HELP), **values})
        if not edited:
            self._keep(task_config)

    def _keep(self, config: Any) -> None:
        from omegaconf import OmegaConf

        session = self._feed.session
        if session is None or session.closed:
            return
        if session.ctx.settings.mask_secrets:
            values = OmegaConf.to_container(config, resolve=False)
            masked = masked_argument("", values)
            config = config if masked == values else OmegaConf.create(masked)
        text = OmegaConf.to_yaml(config, resolve=False)
        about = f"the job's whole configuration; only read, unless {SECTION}/{EDIT_FLAG} is True"
        change = parameters.with_configuration(
            session.ctx, session.folder, CONFIGURATION, text, "OmegaConf YAML", about
        )
        session.record_inputs(change, f"configuration: {CONFIGURATION}")

    def _wrap_run(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run(
            hydra: Any, config_name: Any, task_function: Any, overrides: list[str], *rest: Any, **named: Any
        ) -> Any:
            fed = self._fed(overrides, hydra.config_loader, config_name, "RUN")
            return original(hydra, config_name, self._with_text(task_function), fed, *rest, **named)

        return run

    def _wrap_multirun(self, original: Callable[..., Any]) -> Callable[..., Any]:
        outer = self._wrap_outer_multirun(original)

        def multirun(
            hydra: Any, config_name: Any, task_function: Any, overrides: list[str], *rest: Any, **named: Any
        ) -> Any:
            if self._feed.session is None:
                # Task.init is yet to come, in a job: the task is one job of the sweep, which alone runs again
                alone = [text for text in overrides if not text.startswith(_MODE)]
                if self._feed.get(EDIT_FLAG) is True:  # nothing is fed in the place of a sweep
                    alone = without_sweeps(alone)
                return hydra.run(config_name, task_function, [*alone, f"{_MODE}=RUN"], *rest, **named)
            fed = self._fed(overrides, hydra.config_loader, config_name, "MULTIRUN")
            return outer(hydra, config_name, self._with_text(task_function), fed, *rest, **named)

        return multirun

    def _fed(self, overrides: list[str], loader: Any, config_name: str | None, mode: str) -> list[str]:
        """Return the command line's overrides with the stored ones in their place."""
        from hydra.types import RunMode

        try:
            stored = {
                key: value for key, value in self._feed.stored.items() if key != EDIT_FLAG and self._feed.wants(key)
            }
            if self._feed.get(EDIT_FLAG) is True:
                return overrides
            return fed_overrides(overrides, stored, Composition(loader, config_name, RunMode[mode]))
        except Exception as error:  # the binding border
            self._ctx.failed("parse", error)
            return overrides

    def _with_text(self, task_function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the application called with the stored configuration, where that is allowed."""
        if self._feed.get(EDIT_FLAG) is not True:
            return task_function
        text = stored_configuration(CONFIGURATION)
        if text is None:
            return task_function

        @functools.wraps(task_function)
        def run(config: Any) -> Any:
            from omegaconf import OmegaConf

            self._feed.changed(EDIT_FLAG, True)
            stored = OmegaConf.create(text)
            values = OmegaConf.to_container(stored, resolve=False)
            if is_masked(values):
                stored = OmegaConf.create(unmasked(values, OmegaConf.to_container(config, resolve=False)))
            return task_function(stored)

        return run


class EndOfJob:
    """A Hydra callback that ends the task of a job with the job, so that the next job of a multirun gets its own.

    Args:
        session: the job's run.
        callbacks: the list that this is in.
    """

    def __init__(self, session: Session, callbacks: list[Any]) -> None:
        self._session = session
        self._callbacks = callbacks

    def on_job_end(self, config: Any, job_return: Any, **rest: Any) -> None:
        """Close the run; a failed single run is left to the end of the process, which knows its exit code."""
        from localtrack.runtime.exits import Outcome

        self._callbacks.remove(self)
        os.environ[NO_REUSE_VARIABLE] = "1"  # a multirun's jobs have one name, and each is a task
        if getattr(job_return.status, "name", "") != "FAILED":
            self._session.close()
        elif getattr(config.hydra.mode, "name", "") == "MULTIRUN":
            error = getattr(job_return, "_return_value", None)
            text = f"{type(error).__name__}: {error}"
            self._session.close(Outcome("failed", 1, message=text, failure_class="user_error", reason="exception"))

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("on_"):
            return lambda **rest: None
        raise AttributeError(name)


def unmasked(stored: Any, own: Any) -> Any:
    """Return a stored configuration with the script's own values where a secret was masked; where it has none, without.

    Args:
        stored: native.
        own: what the script composed.
    """
    if isinstance(stored, dict):
        own = own if isinstance(own, dict) else {}
        pairs = ((key, unmasked(value, own.get(key, _GONE))) for key, value in stored.items())
        return {key: value for key, value in pairs if value is not _GONE}
    if isinstance(stored, list):
        own = own if isinstance(own, list) and len(own) == len(stored) else [_GONE] * len(stored)
        items = [unmasked(value, mine) for value, mine in zip(stored, own, strict=True)]
        return [item for item in items if item is not _GONE]
    return own if is_masked(stored) else stored


def _loader(context: Any) -> Any:
    return getattr(context, "config_loader", None)
