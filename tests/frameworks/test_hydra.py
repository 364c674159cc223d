"""Clones of Hydra's runs: with every kind of override, unchanged and changed; sweeps; secrets in the configuration."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localtrack.bindings.hydra import unmasked
from localtrack.services import parameters, tasks
from localtrack.services.context import StoreContext
from tests.frameworks.conftest import Run

SCRIPT = """
import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from localtrack import Task
store = ConfigStore.instance()
store.store(name="config", node={
    "defaults": [{"db": "mysql"}, {"model": "small"}, "_self_"], "seed": 1, "name": "run_${seed}", "api_key": None,
    "tags": {"a": 1, "b": 2}, SWEEP
}, package="_global_")
for name, port in (("mysql", 3306), ("postgres", 5432)):
    store.store(group="db", name=name, node={"port": port})
store.store(group="model", name="small", node={"width": 8})
store.store(group="model", name="large", node={"width": 64})
store.store(group="model/encoder", name="plain", node={"depth": 1})
store.store(group="model/encoder", name="deep", node={"depth": 9})
store.store(group="experiment", name="e1", node={"defaults": [{"override /model": "large"}], "seed": 77}, package="_global_")
store.store(group="experiment", name="e2", node={"seed": 88}, package="_global_")
if "outside" == "WHERE":
    Task.init("f", "n", reuse_last_task_id=False)
@hydra.main(config_path=None, config_name="config", version_base=None)
def main(config):
    if "inside" == "WHERE":
        Task.init("f", "n", reuse_last_task_id=False)
    print("GOT", OmegaConf.to_container(config, resolve=True))
main()
"""
SWEPT = """"hydra": {"sweeper": {"params": {"seed": "4,5"}}}"""
ALWAYS = """"hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"seed": "4,5"}}}"""


def script(where: str = "inside", sweep: str = "") -> str:
    """Return an application whose task begins inside of it or before it."""
    return SCRIPT.replace("WHERE", where).replace("SWEEP", sweep)


@pytest.mark.parametrize(
    ("argv", "changes", "expected"),
    [
        (("+experiment=e1", "seed=5"), {"Hydra/experiment": "e2"}, ("+experiment=e2", "seed=5")),
        (("+experiment=e1",), {"Hydra/seed": "6"}, ("+experiment=e1", "seed=6")),
        (("+model/encoder=plain",), {"Hydra/model/encoder": "deep"}, ("+model/encoder=deep",)),
        (("+db@third=mysql",), None, ()),
        (("+db@third=mysql",), {"Hydra/db@third": "postgres"}, ("+db@third=postgres",)),
        (("+db@third=mysql",), {"Hydra/db": "postgres"}, ("+db@third=mysql", "db=postgres")),
        ((), {"Hydra/experiment": "e2", "Hydra/model": "large"}, ("+experiment=e2", "model=large")),
        ((), {"Hydra/+experiment": "e2"}, ("+experiment=e2",)),
        (("~db",), {"Hydra/seed": "3"}, ("~db", "seed=3")),
        (("~tags.a",), {"Hydra/seed": "3"}, ("~tags.a", "seed=3")),
        (("~tags.a=1",), None, ("~tags.a=1",)),
        (("~db",), {"Hydra/db": "postgres"}, ("db=postgres",)),
        (("+more=1", "++seed=2"), {"Hydra/more": "4", "Hydra/seed": "5"}, ("+more=4", "++seed=5")),
        (("db=postgres",), {"Hydra/db": "mysql"}, ("db=mysql",)),
        (("name=v_${seed}", "seed=3"), {"Hydra/seed": "5"}, ("name=v_${seed}", "seed=5")),
        (("+list=[1,x,'y z']",), None, ("+list=[1,x,'y z']",)),
    ],
)  # fmt: skip
def test_a_clone_has_the_overrides_of_its_original(
    run: Run,
    clone: Callable[..., str],
    argv: tuple[str, ...],
    changes: dict[str, str] | None,
    expected: tuple[str, ...],
) -> None:
    """Unchanged it is composed as before; a change is what the same change of the command line is."""
    first = run(script(), *argv, package="hydra")
    assert run(script(), *argv, task_id=clone(first.record.id, {})).lines == first.lines
    if changes is not None:
        again = run(script(), *argv, task_id=clone(first.record.id, changes))
        assert again.lines == run(script(), *expected).lines


@pytest.mark.parametrize(("argv", "sweep"), [(("-m",), SWEPT), ((), ALWAYS)])
def test_a_sweep_of_the_configuration_runs_again(
    run: Run, ctx: StoreContext, clone: Callable[..., str], argv: tuple[str, ...], sweep: str
) -> None:
    """A sweep that stands in the configuration: a task of the whole runs the whole, a job's that job."""
    whole = run(script("outside", sweep), *argv, package="hydra")
    assert len(whole.lines) == 2
    assert run(script("outside", sweep), *argv, task_id=clone(whole.record.id, {})).lines == whole.lines
    changed = run(script("outside", sweep), *argv, task_id=clone(whole.record.id, {"Hydra/seed": "7"}))
    assert len(changed.lines) == 1
    assert "'seed': 7" in changed.lines[0]
    known = {row.id for row in ctx.index.rows()}
    jobs = run(script("inside", sweep), *argv)
    for row in [row for row in ctx.index.rows() if row.id not in known]:
        seed = parameters.as_values(tasks.read(ctx, row.id))["Hydra/seed"]
        expected = [line for line in jobs.lines if f"'seed': {seed}" in line]
        assert run(script("inside", sweep), *argv, task_id=clone(row.id, {})).lines == expected
        edited = run(script("inside", sweep), *argv, task_id=clone(row.id, {"Hydra/seed": "9"}))
        assert [line.count("'seed': 9") for line in edited.lines] == [1]


def test_the_record_of_a_sweep_stays_the_sweep(run: Run, clone: Callable[..., str]) -> None:
    """Also in the record that an agent's run leaves."""
    first = run(script("outside"), "-m", "seed=1,2", package="hydra")
    again = run(script("outside"), "-m", "seed=1,2", task_id=clone(first.record.id, {}))
    assert [first.values["Hydra/seed"], again.values["Hydra/seed"]] == ["1,2", "1,2"]


def test_an_interpolation_is_recorded_as_it_was_written(run: Run) -> None:
    """What it stands for is another in a clone with another value."""
    assert run(script(), "name=v_${seed}", "seed=3", package="hydra").values["Hydra/name"] == "v_${seed}"


def test_secrets_are_masked_in_the_configuration(run: Run, ctx: StoreContext, clone: Callable[..., str]) -> None:
    """By the rules of parameters; a clone with an edited configuration gets its own value, never the mask."""
    secret = "r4nd0mS3cretW0rd"
    first = run(script(), f"api_key={secret}", "seed=3", package="hydra")
    folder = tasks.folder_of(ctx, first.record.id)
    text = parameters.configuration_text(folder, first.record, "OmegaConf")
    assert text is not None
    assert "api_key: '********'\n" in text
    assert f"'api_key': '{secret}'" in first.lines[0]
    assert [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()
            and "console" not in str(path)] == []  # fmt: skip
    edited = clone(first.record.id, {"Hydra/_allow_omegaconf_edit_": "true"})
    change = parameters.with_configuration(
        ctx, tasks.folder_of(ctx, edited), "OmegaConf", text.replace("seed: 3", "seed: 8"), "OmegaConf YAML", ""
    )
    tasks.edit(ctx, edited, change, "configuration")
    given = run(script(), f"api_key={secret}", task_id=edited)
    assert given.lines == [first.lines[0].replace("'seed': 3", "'seed': 8").replace("run_3", "run_8")]
    again = clone(edited, {})
    assert "'api_key': None" in run(script(), task_id=again).lines[0]


def test_what_was_masked_is_left_out_where_the_script_has_none() -> None:
    """Also within lists, and in parts of a text."""
    stored = {"a": "********", "b": {"c": "x://u:********@h", "d": 1}, "e": ["********", 2], "f": ["********"]}
    assert unmasked(stored, {"b": {"c": "x"}, "e": ["s", 3], "f": []}) == {
        "b": {"c": "x", "d": 1},
        "e": ["s", 2],
        "f": [],
    }
