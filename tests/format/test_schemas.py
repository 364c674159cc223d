"""Code, schemas and specification say the same."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from localtrack.records.status import ALLOWED, Status, TaskTypes
from localtrack.records.task import TaskRecord
from localtrack.store import journal_records as journal
from localtrack.store import parts
from localtrack.store.documents import parse_sealed
from tests.format.test_fixture import PLACE

DOCS = Path(__file__).parents[2] / "docs" / "format"
SPEC = (DOCS / "v1.md").read_text(encoding="utf-8")
SCHEMAS = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_bytes()) for path in (DOCS / "schemas").iterdir()
}
EXAMPLES = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", SPEC, re.DOTALL)]


def _validate(body: dict[str, Any]) -> None:
    name = re.fullmatch(r"localtrack/([a-z-]+)/1", body["schema"])
    assert name is not None, body["schema"]
    jsonschema.Draft202012Validator(SCHEMAS[name[1]]).validate(body)


def _section(heading: str) -> str:
    return re.split(r"\n##+ ", SPEC.partition(f"### {heading}\n")[2])[0]


def _documents(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.read_bytes().lstrip()[:1] == b"{" and "artifacts" not in path.parts:
            yield path


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schemas_are_schemas(name: str) -> None:
    """Each schema is a valid one, says its own name, and every field that it knows is described by the specification."""
    schema = SCHEMAS[name]

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == schema["properties"]["schema"]["const"] == f"localtrack/{name}/1"
    assert f"`{schema['$id']}`" in SPEC
    assert f"schemas/{name}.schema.json" in SPEC
    for field in schema["properties"]:
        assert f"`{field}`" in SPEC, f"{name}: {field}"


def test_the_record_and_its_schema_have_the_same_fields() -> None:
    """Every field of the record is in the schema, and no other."""
    known = set(SCHEMAS["task"]["properties"]["task"]["properties"])

    assert known == {f.name for f in fields(TaskRecord)} - {"generation", "extra"}


def test_every_field_of_a_task_is_specified() -> None:
    """The specification has a line for each field of a task."""
    table = _section("Fields of a task")
    described = set(re.findall(r"^\| `([a-z_]+)`", table, re.MULTILINE))

    assert described == {f.name for f in fields(TaskRecord)} - {"generation", "extra"}


def test_states_and_changes_are_specified() -> None:
    """The specification's table of states is the code's."""
    table = _section("Status")
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*?) \|$", table, re.MULTILINE))
    found = {
        Status(state): frozenset(map(Status, re.findall(r"`([a-z_]+)`", targets))) for state, targets in rows.items()
    }

    assert found == ALLOWED
    for kind in TaskTypes:
        assert f"`{kind.value}`" in SPEC


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_in_the_specification_are_valid(number: int) -> None:
    """Each example fits its schema, and a sealed one its checksum."""
    example = EXAMPLES[number]

    _validate(example)
    if "sha256" in SCHEMAS[example["schema"].split("/")[1]]["required"] and example["schema"] != "localtrack/media/1":
        parse_sealed(json.dumps(example).encode(), example["schema"], "the example")


def test_every_schema_has_an_example() -> None:
    """No document is specified without being shown."""
    assert {example["schema"].split("/")[1] for example in EXAMPLES} == set(SCHEMAS)


def test_documents_of_the_code_are_valid() -> None:
    """What the code wrote into the stored tree fits the schemas."""
    seen = set()
    for path in _documents(PLACE / "store" / "queues"):
        _validate(json.loads(path.read_bytes()))
    for path in _documents(PLACE / "store"):
        body = json.loads(path.read_bytes())
        if "schema" in body:
            _validate(body)
            seen.add(body["schema"].split("/")[1])

    assert seen >= {
        "store",
        "task",
        "trash",
        "plot",
        "media",
        "writer",
        "request",
        "queue",
        "entry",
        "claim",
        "queue-end",
    }


def test_layouts_of_bytes_are_specified() -> None:
    """Magic, sizes, column names and keys in the specification are the code's."""
    assert f"`{journal.MAGIC.decode()}`" in SPEC
    assert (
        struct.calcsize(journal.HEADER.format) == struct.calcsize(journal.RECORD.format) == journal.RECORD_BYTES == 32
    )
    for column in parts.COLUMNS:
        assert f"`{column}`" in SPEC
    for key in (parts.SCHEMA_KEY, parts.SUPERSEDES_KEY):
        assert f"`{key.decode()}`" in SPEC


def test_sections_that_the_code_names_exist() -> None:
    """Every `Source: docs/format/v1.md, "..."` in the code names a section of the specification."""
    headings = set(re.findall(r"^#+ (.*)$", SPEC, re.MULTILINE))
    plain = {heading.replace("`", "") for heading in headings}
    missing = []
    for path in (DOCS.parents[1] / "localtrack").rglob("*.py"):
        text = re.sub(r"\n\s*", " ", path.read_text(encoding="utf-8"))
        for source in re.findall(r"docs/format/v1\.md((?:, (?:and )?\"[^\"]+\")+)", text):
            missing += [(path.name, name) for name in re.findall(r'"([^"]+)"', source) if name not in plain]

    assert missing == []
