"""Which bindings there are: the built-in ones in a table, others by the entry point group ``localtrack.bindings``.

The table is text, so that knowing it imports nothing; packages are searched for entry points off the script's thread.

Source: docs/contributing.md, "A binding"; ClearML's auto_connect_frameworks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from localtrack.errors import LocaltrackError
from localtrack.records.plain import dataclass

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "localtrack.bindings"
ARGUMENT_PARSERS = "arg_parser"
FRAMEWORKS = frozenset({
    "matplotlib", "tensorflow", "tensorboard", "pytorch", "xgboost", "scikit", "fastai", "lightgbm", "hydra",
    "detect_repository", "tfdefines", "joblib", "megengine", "catboost", "gradio", "plotly", "pickle",
})  # fmt: skip


#: What is only watched when it is named in ``auto_connect_frameworks``.
OPT_IN = frozenset({"pickle"})


class BrokenBindingError(LocaltrackError, ImportError):
    """A plug-in that can't be used; says whose it is."""


@dataclass(frozen=True, slots=True)
class BindingSpec:
    """A binding, not yet imported.

    Attributes:
        name: its name.
        frameworks: keys of ``auto_connect_frameworks`` that must all be on; ``arg_parser`` for what
            ``auto_connect_arg_parser`` switches. The first one's value is the binding's choice.
        modules: ``install`` is called for each of these as soon as it is imported.
        target: the module that has ``install``.
        distribution: whose plug-in it is; ``""`` for a built-in one.
    """

    name: str
    frameworks: tuple[str, ...]
    modules: tuple[str, ...]
    target: str
    distribution: str = ""

    def choice(self, frameworks: bool | Mapping[str, Any], arguments: bool | Mapping[str, bool]) -> Any:
        """Return what the user said for this binding; something false when it is off."""
        values = [arguments if key == ARGUMENT_PARSERS else _said(frameworks, key) for key in self.frameworks]
        return values[0] if all(values) else False

    def load(self) -> Callable[[Any], Callable[[], None]]:
        """Import the binding and return its ``install``.

        Raises:
            BrokenBindingError: it can't be imported, or has none.
        """
        try:
            install: Callable[[Any], Callable[[], None]] = import_module(self.target).install
        except Exception as error:  # somebody else's code
            whose = f" of {self.distribution}" if self.distribution else ""
            raise BrokenBindingError(f"binding {self.name}{whose} can't be used: {error!r}") from error
        return install


def _said(frameworks: bool | Mapping[str, Any], key: str) -> Any:
    if isinstance(frameworks, Mapping):
        return frameworks.get(key, key not in OPT_IN) if frameworks else False
    return bool(frameworks) and key not in OPT_IN


def _built_in(name: str, frameworks: str, *modules: str) -> BindingSpec:
    return BindingSpec(name, tuple(frameworks.split()), modules, f"localtrack.bindings.{name}")


BUILT_IN: tuple[BindingSpec, ...] = (
    _built_in("absl", f"{ARGUMENT_PARSERS} tfdefines", "absl.flags._flagvalues"),
    _built_in("click", ARGUMENT_PARSERS, "click.core", "typer.core"),
    _built_in("draccus", ARGUMENT_PARSERS, "draccus.argparsing"),
    _built_in("fire", ARGUMENT_PARSERS, "fire.core"),
    _built_in("hydra", f"{ARGUMENT_PARSERS} hydra", "hydra._internal.hydra"),
    _built_in("jsonargparse", ARGUMENT_PARSERS, "jsonargparse._core"),
    _built_in("tyro", ARGUMENT_PARSERS, "tyro._cli"),
    _built_in(
        "matplotlib", "matplotlib",
        "matplotlib.figure", "matplotlib.pyplot", "matplotlib.pylab", "matplotlib_inline.backend_inline",
    ),
    _built_in(
        "plotly", "plotly",
        "plotly.io._renderers", "plotly.io._html", "plotly.io._kaleido", "plotly.io._base_renderers", "plotly.io.kaleido",
    ),
    _built_in("accelerate", "pytorch", "accelerate.accelerator"),
    _built_in("catboost", "catboost", "catboost.core"),
    _built_in("fastai", "fastai", "fastai.learner"),
    _built_in("joblib", "joblib scikit", "joblib.numpy_pickle", "joblib"),
    _built_in(
        "keras", "tensorflow",
        "keras.src.saving.saving_api", "keras.saving", "keras.models",
        "keras.src.saving.saving_lib", "keras.src.legacy.saving.legacy_h5_format",
    ),
    _built_in("lightgbm", "lightgbm", "lightgbm.basic", "lightgbm.engine", "lightgbm.sklearn", "lightgbm"),
    _built_in(
        "lightning", "pytorch", "lightning_fabric.plugins.io.torch_io", "lightning.fabric.plugins.io.torch_io"
    ),
    _built_in("onnx", "pytorch", "onnx"),
    _built_in("pickle", "pickle", "pickle"),
    _built_in(
        "safetensors", "pytorch",
        "safetensors.torch", "safetensors.numpy", "safetensors.flax", "safetensors.tensorflow",
    ),
    _built_in(
        "tensorflow", "tensorflow",
        "tensorflow.python.saved_model.save", "tensorflow.python.saved_model.load",
        "tensorflow.python.checkpoint.checkpoint",
    ),
    _built_in(
        "torch", "pytorch",
        "torch", "torch.onnx", "torch.onnx.utils",
        "torch.onnx._internal.torchscript_exporter.utils", "torch.onnx._internal.exporter._compat",
    ),
    _built_in("transformers", "pytorch", "transformers.modeling_utils", "transformers.trainer"),
    _built_in("xgboost", "xgboost", "xgboost.core", "xgboost.callback"),
    _built_in(
        "tensorboard", "tensorboard",
        "tensorboard.summary.writer.event_file_writer", "tensorboardX.event_file_writer",
        "tensorflow.python.summary.writer.event_file_writer",
    ),
    _built_in("tf_summary", "tensorboard", "tensorflow.python.ops.gen_summary_ops"),
)  # fmt: skip


def spec_of(module: Any, name: str, distribution: str = "") -> BindingSpec:
    """Return the spec of a binding's module.

    Raises:
        AttributeError: it lacks ``FRAMEWORK``, ``MODULES`` or ``install``.
    """
    frameworks = (module.FRAMEWORK,) if isinstance(module.FRAMEWORK, str) else tuple(module.FRAMEWORK)
    _ = module.install
    return BindingSpec(name, frameworks, tuple(module.MODULES), module.__name__, distribution)


def installed_plugins() -> Iterator[BindingSpec | BrokenBindingError]:
    """Search the installed packages for bindings and import those; one that can't be used comes as its error.

    A plug-in is a module with ``FRAMEWORK`` (its key in ``auto_connect_frameworks``, or several that must all be on),
    ``MODULES`` and ``install``.
    """
    from importlib.metadata import entry_points  # it takes longer to import than Task.init may

    for point in entry_points(group=GROUP):
        whose = _distribution(point)
        try:
            yield spec_of(point.load(), point.name, whose)
        except Exception as error:  # somebody else's code
            yield BrokenBindingError(f"binding {point.name} of {whose} can't be used: {error!r}")


def _distribution(point: EntryPoint) -> str:
    dist = getattr(point, "dist", None)
    return f"{dist.name} {dist.version}" if dist is not None else "an unknown package"
