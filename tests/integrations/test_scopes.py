"""Which training a callback was given to, and what that means for the captures, with a toy framework."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from localtrack.integrations.scopes import watch, watch_repetition
from localtrack.runtime import explicit


class Party:
    """A callback that notes how its training ended."""

    localtrack_takes = frozenset({explicit.SCALARS})

    def __init__(self) -> None:
        self.ends: list[tuple[Any, Any]] = []

    def training_ended(self, result: Any, error: BaseException | None) -> None:
        """Note it."""
        self.ends.append((result, error))


def toy() -> Any:
    """Return a framework with a function that trains, one that it uses, and a logger of somebody else's."""
    module: Any = types.SimpleNamespace()

    def log() -> frozenset[str]:
        return explicit.left()

    def fit(work: Any = None, callbacks: Any = ()) -> Any:
        return work() if work is not None else module.log()

    module.log, module.fit = log, fit
    watch(module, ("fit", "not there"), lambda args, kwargs: kwargs.get("callbacks"))
    watch_repetition(module, ("log",), (explicit.SCALARS, explicit.MODELS))
    return module


def test_what_repeats_is_left_only_in_a_training_with_a_callback_of_ours() -> None:
    """Without one, and outside of a training, captures take everything."""
    module, party = toy(), Party()
    assert module.log() == frozenset()
    assert module.fit() == frozenset()
    assert module.fit(callbacks=[object()]) == frozenset()
    assert module.fit(callbacks=[party]) == {explicit.SCALARS}
    assert module.log() == frozenset()
    assert party.ends == [({explicit.SCALARS}, None)]


def test_training_within_a_training_ends_once() -> None:
    """An evaluation inside of the training, with the same callbacks, is a part of it."""
    module, party = toy(), Party()
    module.fit(lambda: module.fit(callbacks=[party]), callbacks=[party])
    assert len(party.ends) == 1


def test_failure_reaches_both_the_script_and_the_callback() -> None:
    """The exception is the training's own, and the scope has ended."""
    module, party = toy(), Party()

    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        module.fit(fail, callbacks=[party])
    ((_, error),) = party.ends
    assert isinstance(error, KeyError)
    assert not explicit.in_training()


def test_callback_that_fails_at_the_end_hurts_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the training returned is returned, and the failure is said."""
    monkeypatch.setattr("sys.__stderr__", sys.stderr)
    module, party = toy(), Party()
    monkeypatch.setattr(party, "training_ended", lambda *args: 1 / 0)
    assert module.fit(lambda: 7, callbacks=[party]) == 7
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_every_framework_is_watched_also_where_another_was_before() -> None:
    """A module that is gone leaves its identity to the next one, which is not taken for it."""
    for _ in range(100):
        assert toy().fit(callbacks=[Party()]) == {explicit.SCALARS}


def test_of_two_callbacks_of_a_kind_the_last_reports() -> None:
    """The one that report_to makes comes first, and stays quiet beside the script's own."""
    module, first, second = toy(), Party(), Party()
    module.fit(callbacks=[first, second])
    assert [party.localtrack_is_second for party in (first, second)] == [True, False]  # type: ignore[attr-defined]


FAKE = {
    "__init__.py": "",
    "trainer_callback.py": "class TrainerCallback: pass",
    "integrations/__init__.py": "",
    "integrations/integration_utils.py": "INTEGRATION_TO_CALLBACK = {'other': None}",
}


@pytest.mark.parametrize("order", [("localtrack", "transformers"), ("transformers", "localtrack")])
def test_report_to_is_registered_whichever_is_imported_first(tmp_path: Path, order: tuple[str, str]) -> None:
    """The name goes into the table of whatever transformers is there, which localtrack does not import by itself."""
    for name, text in FAKE.items():
        file = tmp_path / "transformers" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    steps = {
        "localtrack": "from localtrack import Task; assert 'transformers' in sys.modules or not seen\n",
        "transformers": "import transformers.integrations.integration_utils as utils; seen = True\n",
    }
    code = f"import argparse, sys; sys.path.insert(0, {str(tmp_path)!r}); before = list(sys.meta_path); seen = False\n"
    code += "".join(steps[name] for name in order)
    code += "from localtrack.runtime import early_parsers; early_parsers.stop()\n"  # it watches until there is a run
    code += "print(sorted(utils.INTEGRATION_TO_CALLBACK), sys.meta_path == before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['localtrack', 'other'] True"
