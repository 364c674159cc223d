"""The callback for Hugging Face's trainer, by ``report_to`` and by hand: what it records, where, and nothing twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localtrack import Task
from localtrack.runtime import current
from tests.api.conftest import QUIET
from tests.frameworks.test_boosting_integrations import curves, only_task

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("default")  # the framework's own


class Rows(torch.utils.data.Dataset):  # type: ignore[misc]
    """Four rows of tokens."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": torch.tensor([1, 2, 3]), "labels": torch.tensor(index % 2)}


def trainer(folder: Path, *callbacks: Any, fails: bool = False, **options: Any) -> Any:
    """Return a trainer of a very small model."""
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=20
    )

    class Trainer(transformers.Trainer):  # type: ignore[misc]
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            if fails and self.state.global_step == 1:
                raise ValueError("no more")
            return super().training_step(*args, **kwargs)

    given = {"num_train_epochs": 1, "logging_steps": 1, "report_to": "none", "save_strategy": "no", **options}
    args = transformers.TrainingArguments(
        output_dir=str(folder / "out"), per_device_train_batch_size=2, use_cpu=True, disable_tqdm=True, **given
    )
    model = transformers.BertForSequenceClassification(config)
    return Trainer(model=model, args=args, train_dataset=Rows(), eval_dataset=Rows(), callbacks=list(callbacks))


def callback(*args: Any, **options: Any) -> Any:
    """Return our callback."""
    from localtrack.integrations.transformers import LocaltrackCallback

    return LocaltrackCallback(*args, **{"init": QUIET, **options})


def test_callback_starts_and_closes_its_own_task(root: Path, tmp_path: Path) -> None:
    """train, then evaluate: one task with curves, single values, arguments, the model's configuration and the model."""
    own = trainer(tmp_path, callback("language", "tuning", log_model=True), eval_strategy="epoch")
    own.train()
    assert current.get() is None
    assert only_task().status == "completed"
    own.evaluate(metric_key_prefix="test")
    task = only_task()
    assert (task.get_project_name(), task.name, task.status) == ("language", "tuning", "completed")
    found = curves(task)
    assert found["train/loss"] == [1, 2]
    assert found["eval/loss"] == [2]
    assert found["test/loss"] == [2]
    assert task.get_reported_single_values()["epoch"] == 1.0
    assert "train_runtime" in task.get_reported_single_values()
    assert task.get_parameters(cast=True)["Transformers/logging_steps"] == 1
    assert not [name for name in task.get_parameters() if name.endswith("_token")]
    assert task.get_configuration_object_as_dict("Model Configuration")["hidden_size"] == 8
    (model,) = task.models["output"]
    assert (model.name, model.framework) == ("tuning - model", "PyTorch")
    assert "config.json" in os.listdir(model.get_weights_package(return_path=True))


def test_every_checkpoint_is_kept_when_asked_for(root: Path, tmp_path: Path) -> None:
    """log_model="all" keeps each checkpoint's folder, whatever the trainer removes."""
    own = trainer(
        tmp_path, callback("p", "n", log_model="all"), save_strategy="steps", save_steps=1, save_total_limit=1
    )
    own.train()
    models = only_task().models["output"]
    assert sorted(model.name for model in models) == ["n - checkpoint-1", "n - checkpoint-2"]
    assert all("config.json" in os.listdir(model.get_weights_package(return_path=True)) for model in models)


@pytest.mark.parametrize(("option", "names"), [(None, {"checkpoint-2"}), (True, {"model"}), (False, set())])
def test_explicit_and_automatic_record_nothing_twice(start: Any, tmp_path: Path, option: Any, names: set[str]) -> None:
    """Beside TensorBoard in a captured run each curve and model comes once; afterwards all is captured again."""
    task = start(auto_connect_frameworks=True)
    own = trainer(tmp_path, callback(log_model=option), report_to="tensorboard", save_strategy="epoch")
    own.train()
    found = curves(task)
    assert {name: steps for name, steps in found.items() if name.endswith("/loss")} == {"train/loss": [1, 2]}
    assert task.status == "in_progress"
    torch.save(own.model.state_dict(), tmp_path / "after.pt")
    again = trainer(tmp_path / "again", report_to="tensorboard")
    again.train()
    task.close()
    assert curves(task)["train/loss"] == [1, 1, 2, 2]
    stems = {model.name.removeprefix("n - ") for model in task.models["output"]}
    assert stems == names | {"after"}
    assert [text for text in task.capture_errors if "binding" in text] == []


def test_evaluation_before_the_training_is_in_the_same_graphs(start: Any, tmp_path: Path) -> None:
    """A first evaluation is a point before the training, and what predict measures is reported as well."""
    task = start()
    own = trainer(tmp_path, callback(), eval_strategy="epoch")
    own.evaluate()
    own.train()
    own.predict(Rows())
    found = curves(task)
    assert (found["eval/loss"], found["train/loss"], found["test/loss"]) == ([0, 2], [1, 2], [2])
    assert not [name for name in found if " - 1/" in name]


def test_second_training_in_a_task_has_graphs_of_its_own(start: Any, tmp_path: Path) -> None:
    """Two trainers in one task do not share curves, nor sections."""
    task = start()
    for number in range(2):
        trainer(tmp_path / str(number), callback()).train()
    found = curves(task)
    assert (found["train/loss"], found["train - 1/loss"]) == ([1, 2], [1, 2])
    assert "Transformers - 1/logging_steps" in task.get_parameters()


def test_resumed_training_appends(root: Path, tmp_path: Path) -> None:
    """Resumed from a checkpoint by a callback that continues the task, the curves go on."""
    trainer(tmp_path, callback("p", "n"), save_strategy="epoch").train()
    init = {**QUIET, "continue_last_task": only_task().id}
    own = trainer(tmp_path, callback("p", "n", init=init), num_train_epochs=2)
    own.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert curves(only_task())["train/loss"] == [1, 2, 3, 4]


def test_failed_training_fails_the_task_that_was_started_for_it(root: Path, tmp_path: Path) -> None:
    """What the training raises reaches the script, and the callback's own task says so."""
    with pytest.raises(ValueError, match="no more"):
        trainer(tmp_path, callback("p", "n"), fails=True).train()
    assert only_task().status == "failed"


def test_wrong_log_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By argument or by environment."""
    with pytest.raises(ValueError, match="True, False, 'all' or None"):
        callback(log_model="some")
    monkeypatch.setenv("LOCALTRACK_LOG_MODEL", "often")
    with pytest.raises(ValueError, match="'often'"):
        callback()


IMPORTS = {
    "localtrack first": "from localtrack import Task\nimport transformers.integrations\n",
    "transformers first": "import transformers.integrations\nfrom localtrack import Task\n",
    "by attribute": "import localtrack\nlocaltrack.Task\nimport transformers.integrations\n",
    "the module itself": "import transformers.integrations, localtrack.integrations.transformers\n",
}


@pytest.mark.parametrize("order", list(IMPORTS))
def test_report_to_knows_the_name(order: str) -> None:
    """Whichever is imported first, report_to="localtrack" is our callback; and transformers is not imported for it."""
    code = (
        IMPORTS[order]
        + "from transformers.integrations import get_reporting_integration_callbacks as get\n"
        + "import sys; from localtrack.integrations import report_to; assert report_to._hook not in sys.meta_path\n"
        + "print(get(['localtrack']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LocaltrackCallback" in done.stdout
    code = "from localtrack import Task; import sys, json; print(json.dumps('transformers' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False


def test_report_to_starts_a_task_by_the_environment(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """report_to="localtrack" alone records the training in a task whose names the environment gives."""
    assert Task is not None
    monkeypatch.setenv("LOCALTRACK_PROJECT", "language")
    own = trainer(tmp_path, report_to="localtrack", run_name="by name")
    own.train()
    task = only_task()
    assert (task.get_project_name(), task.name, task.status) == ("language", "by name", "completed")
    assert curves(task)["train/loss"] == [1, 2]


def test_each_trial_of_a_search_has_a_task(root: Path, tmp_path: Path) -> None:
    """hyperparameter_search makes a task a trial, with the trial's name."""
    pytest.importorskip("optuna")
    own = trainer(tmp_path, callback("p", "search"), eval_strategy="epoch")
    model = own.model
    own.model_init = lambda trial: model
    own.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-4)},
        hp_name=lambda trial: f"run {trial.number}", n_trials=2, backend="optuna", direction="minimize",
    )  # fmt: skip
    tasks = Task.get_tasks()
    assert sorted(task.name for task in tasks) == ["search run 0", "search run 1"]
    assert all(curves(task)["eval/loss"] == [2] for task in tasks)
    assert all(task.status == "completed" for task in tasks)


def test_report_to_and_a_callback_are_one(start: Any, tmp_path: Path) -> None:
    """Beside the callback of the script, the one that report_to makes stays quiet."""
    task = start()
    trainer(tmp_path, callback(), report_to="localtrack").train()
    assert curves(task)["train/loss"] == [1, 2]
    assert not [name for name in task.get_parameters() if name.startswith("Transformers - ")]
