"""The filter grammar against a naive reading of its rules, and its errors."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.errors import InvalidValueError
from localtrack.records.filters import Query, parse_expression
from localtrack.records.list_grammar import list_test


def row(task_id: str, **values: Any) -> dict[str, Any]:
    """Return a row with the given values."""
    base: dict[str, Any] = {
        "id": task_id, "name": task_id, "project": "p", "type": "training", "status": "completed", "comment": "",
        "tags": (), "system_tags": (), "parameters": {}, "metrics": {}, "script": {}, "runtime": {},
        "created": "2024-01-01T00:00:00.000000Z", "started": "", "ended": "", "last_update": "", "last_iteration": 0,
    }  # fmt: skip
    return {**base, **values}


def found(rows: list[dict[str, Any]], **query: Any) -> list[str]:
    """Return the ids of the hits, in order."""
    query.setdefault("order_by", "id")
    return [hit["id"] for hit in Query(**query).plan().apply(rows)]


def naive_list(terms: list[str | None], tags: set[str]) -> bool:
    """The rules of ClearML's server, one after the other, with sets."""
    groups: dict[str, set[str]] = {"any": set(), "all": set(), "none": set()}
    context, prefix_works, negate, missing = "any", True, False, False
    first_word = next((t for t in terms if t != "__$not"), "")
    combine = any if first_word in ("__$any", "__$or") and terms[:1] != ["__$not"] else all
    for term in terms:
        if term is None:
            missing, negate = True, False
        elif term == "__$not":
            negate = True
        elif term == "__$nop":
            context, prefix_works, negate = "any", True, False
        elif term.startswith("__$"):
            context, prefix_works = ("all" if term in ("__$all", "__$and") else "any"), False
        elif negate or (prefix_works and term.startswith("-")):
            groups["none"].add(term if negate else term[1:])
            negate = False
        else:
            groups[context].add(term)
    verdicts = []
    if groups["any"]:
        verdicts.append(bool(groups["any"] & tags))
    if groups["all"]:
        verdicts.append(groups["all"] <= tags)
    if groups["none"]:
        verdicts.append(not groups["none"] & tags)
    if missing and not tags:
        return True
    return combine(verdicts) if verdicts else not missing


WORDS = st.sampled_from(["a", "b", "c", "-a", "-b", "x y"])
TERMS = st.lists(
    st.one_of(
        WORDS.map(lambda word: [word]),
        st.none().map(lambda none: [none]),
        st.sampled_from(["__$all", "__$and", "__$any", "__$or", "__$nop"]).map(lambda op: [op]),
        WORDS.map(lambda word: ["__$not", word]),
    ),
    max_size=6,
).map(lambda parts: [term for part in parts for term in part])


@given(TERMS, st.sets(st.sampled_from(["a", "b", "c", "-a", "x y"])))
def test_list_grammar_follows_the_rules(terms: list[str | None], tags: set[str]) -> None:
    """Any list of values and operators means what the rules say."""
    assert list_test("tags", terms)(tuple(tags)) is naive_list(terms, tags)


@pytest.mark.parametrize(
    ("terms", "tags", "expected"),
    [
        (["a", "b"], {"b"}, True),
        (["a", "-b"], {"a"}, True),
        (["a", "-b"], {"a", "b"}, False),
        (["-b"], set(), True),
        (["__$all", "a", "b"], {"a"}, False),
        (["__$all", "a", "b"], {"a", "b", "c"}, True),
        (["a", "b", "__$and", "c", "d"], {"a", "c", "d"}, True),
        (["a", "b", "__$and", "c", "d"], {"a"}, False),
        (["__$any", "a", "__$not", "b"], set(), True),
        (["__$all", "-a"], {"-a"}, True),
        (["__$all", "a", "__$not", "b", "__$not", "c"], {"a", "b"}, False),
        (["__$all", "a", "__$not", "b", "__$not", "c"], {"a", "d"}, True),
        (["__$not", "b", "-c"], {"c"}, False),
        (["__$nop", "__$any", "a", "__$not", "b"], set(), False),
        (["__$not", None, "a"], {"a"}, True),
        (["__$all", "c", "__$nop", "-a"], {"a", "c"}, False),
        ([None], set(), True),
        ([None], {"a"}, False),
        ([None, "a"], {"a"}, True),
        ([], {"a"}, True),
    ],
)
def test_list_grammar_of_the_notes(terms: list[str | None], tags: set[str], expected: bool) -> None:
    """The examples of ClearML's notes hold, written down one by one."""
    assert found([row("1", tags=tuple(tags))], tags=terms) == (["1"] if expected else [])


@pytest.mark.parametrize(
    ("wanted", "hits"),
    [
        ({"any": {"include": ["a", "b"]}}, ["1", "2", "4"]),
        ({"all": {"include": ["a", "b"]}}, ["4"]),
        ({"all": {"include": ["a"], "exclude": ["b", "c"]}}, ["1"]),
        ({"any": {"exclude": ["a", "b"]}}, ["1", "2", "3"]),
        ({"any": {"include": ["b"], "exclude": ["a"]}}, ["2", "3", "4"]),
        ({"any": {"include": [None]}}, ["3"]),
        ({"all": {"exclude": [None]}}, ["1", "2", "4"]),
        ({"any": {"include": ["a"]}, "all": {"exclude": ["b"]}}, ["1"]),
        ({"any": {"include": ["a"]}, "all": {"exclude": ["a"]}, "op": "or"}, ["1", "2", "3", "4"]),
        ({}, ["1", "2", "3", "4"]),
    ],
)
def test_newer_list_filters(wanted: dict[str, Any], hits: list[str]) -> None:
    """The ``filters`` of ClearML's newer servers: include and exclude, in any and all."""
    rows = [row("1", tags=("a",)), row("2", tags=("b",)), row("3"), row("4", tags=("a", "b"))]
    assert found(rows, task_filter={"filters": {"tags": wanted}}) == hits


@pytest.mark.parametrize("wanted", [["a"], {"some": 1}, {"any": ["a"]}, {"any": {"with": []}}, {"op": "xor"}])
def test_broken_newer_list_filters(wanted: Any) -> None:
    """They are refused with what is accepted."""
    with pytest.raises(InvalidValueError, match=r"filters on 'tags'.*include"):
        found([], task_filter={"filters": {"tags": wanted}})
    with pytest.raises(InvalidValueError, match="no list field"):
        found([], task_filter={"filters": {"created": {}}})


@pytest.mark.parametrize("terms", [["__$not"], ["__$not", "__$all", "a"], ["__$xor", "a"], ["-"], [{}]])
def test_broken_list_names_the_field(terms: list[Any]) -> None:
    """A list that breaks the grammar is refused with the field's name and what is accepted."""
    with pytest.raises(InvalidValueError, match=r"'tags'.*__\$all"):
        Query(tags=terms).plan()


def test_projects_are_exact_unless_subprojects_are_asked_for() -> None:
    """A project's filter takes that project only; with sub-projects it takes those below, not those beside."""
    rows = [row("1", project="a"), row("2", project="a/b"), row("3", project="ab")]
    assert found(rows, project="a") == ["1"]
    assert found(rows, project=["a", "ab"]) == ["1", "3"]
    assert found(rows, project="a", include_subprojects=True) == ["1", "2"]


def test_name_is_a_case_sensitive_pattern() -> None:
    """A name's filter is searched as a regular expression."""
    rows = [row("1", name="Run 1"), row("2", name="run 2")]
    assert found(rows, name="un") == ["1", "2"]
    assert found(rows, name="^run") == ["2"]


def test_search_text_looks_at_name_comment_and_id() -> None:
    """One pattern finds a task by its name, its comment or its id."""
    rows = [row("abc"), row("2", comment="has ABC"), row("3", name="xabcx"), row("4")]
    assert found(rows, task_filter={"search_text": "a[b]c"}) == ["2", "3", "abc"]


def test_any_and_all_fields() -> None:
    """``_any_`` needs one field to match, ``_all_`` each; both ignore case."""
    rows = [row("1", name="x", comment="X"), row("2", name="x"), row("3")]
    assert found(rows, task_filter={"_any_": {"fields": ["name", "comment"], "pattern": "X"}}) == ["1", "2"]
    assert found(rows, task_filter={"_all_": {"fields": ["name", "comment"], "pattern": "x"}}) == ["1"]


def test_hidden_and_archived() -> None:
    """Hidden tasks need their id or a wish, archived ones are there unless excluded."""
    rows = [row("1"), row("2", system_tags=("hidden",)), row("3", system_tags=("archived",))]
    assert found(rows) == ["1", "3"]
    assert found(rows, allow_archived=False) == ["1"]
    assert found(rows, search_hidden=True) == ["1", "2", "3"]
    assert found(rows, ids=["2"]) == ["2"]
    assert found(rows, task_filter={"system_tags": ["-archived"]}) == ["1"]


@given(
    st.lists(st.one_of(st.none(), st.floats(), st.integers(-5, 5), st.booleans()), max_size=8),
    st.one_of(st.none(), st.integers(-3, 3)),
    st.integers(-3, 3),
)
def test_parameter_range(values: list[Any], low: int | None, high: int) -> None:
    """A range takes the numbers between its ends, both included, and nothing that has no value."""
    rows = [row(f"{n:02}", parameters={"Args/lr": value}) for n, value in enumerate(values)]
    expected = [f"{n:02}" for n, v in enumerate(values) if v is not None and (low is None or v >= low) and v <= high]
    assert found(rows, task_filter={"parameters": {"Args/lr": [low, high]}}) == expected


def test_parameter_spellings() -> None:
    """A parameter is found by ClearML's key, by ours and without its section; text equals the number that it spells."""
    rows = [row("1", parameters={"Args/lr": 0.1, "Args/net.depth": 3}), row("2", parameters={"General/lr": 0.2})]
    assert found(rows, task_filter={"hyperparams.Args.lr.value": ["0.1"]}) == ["1"]
    assert found(rows, task_filter={"hyperparams.Args.net.depth": [2, 4]}) == ["1"]
    assert found(rows, task_filter={"parameters": {"lr": [0.05, 0.3]}}) == ["1", "2"]
    assert found(rows, task_filter={"parameters.Args/lr": 0.1}) == ["1"]


def test_metric_spellings() -> None:
    """A metric is found by readable titles and by ClearML's md5 keys."""
    title, series = (hashlib.md5(text.encode()).hexdigest() for text in ("loss", "train"))
    rows = [
        row("1", metrics={"loss": {"train": {"last": 0.5, "min": 0.1, "max": 0.9}}}),
        row("2", metrics={"loss": {"train": {"last": 0.4, "min": 0.3, "max": 0.8}, "val": {"last": 9.0}}}),
        row("3"),
    ]
    for name in (f"last_metrics.{title}.{series}", "last_metrics.loss.train", "metrics.loss/train"):
        assert found(rows, task_filter={f"{name}.min_value": [0.2, 1.0]}) == ["2"]
        assert found(rows, order_by=f"-{name}.max_value") == ["1", "2", "3"]
        assert found(rows, order_by=f"{name}.value") == ["2", "1", "3"]
    assert found(rows, task_filter={"last_metrics.loss.train.min_value": [None, 0.2]}) == ["1", "3"]
    assert found(rows, task_filter={"metrics": {"loss.min": [None, 0.2]}}) == ["1"]


def test_times() -> None:
    """Times compare by their moment, whatever their spelling; a pair is a range."""
    rows = [
        row("1", created="2024-01-01T00:00:00.000000Z"),
        row("2", created="2024-01-02T00:00:00+00:00"),
        row("3", created="2024-01-03T00:00:00.500000Z"),
    ]
    assert found(rows, task_filter={"created": ">2024-01-01"}) == ["2", "3"]
    assert found(rows, task_filter={"created": [">=2024-01-01", "<2024-01-02T01:00:00+01:00"]}) == ["1"]
    assert found(rows, task_filter={"created": ["2024-01-02", None]}) == ["2", "3"]
    assert found(rows, task_filter={"created": "2024-01-02"}) == ["2"]


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(), st.integers(), st.text(max_size=2)),
            st.one_of(st.floats(allow_nan=False), st.integers()),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_order(values: list[tuple[Any, Any]], down: bool) -> None:
    """Sorted hits follow the first key, then the second, then the id; what has no value comes last."""
    rows = [row(f"{n:02}", parameters={"Args/a": a, "Args/b": b}) for n, (a, b) in enumerate(values)]
    sign = "-" if down else ""
    ids = found(rows, order_by=[f"{sign}hyperparams.Args.a", "hyperparams.Args.b"])
    assert sorted(ids) == [hit["id"] for hit in rows]
    by_id = {hit["id"]: hit["parameters"] for hit in rows}
    ordered = [by_id[i] for i in ids]
    missing = [p["Args/a"] is None or p["Args/a"] == "" or p["Args/a"] != p["Args/a"] for p in ordered]
    assert missing == sorted(missing)
    for (i, p), (j, q) in zip(zip(ids, ordered, strict=True), list(zip(ids, ordered, strict=True))[1:], strict=False):
        a, b = p["Args/a"], q["Args/a"]
        if type(a) is type(b) and a == a and b == b and a not in (None, "") and b not in (None, ""):
            assert a >= b if down else a <= b
            if a == b:
                assert (p["Args/b"], i) <= (q["Args/b"], j)


def test_pages() -> None:
    """Pages and limits cut the sorted hits."""
    rows = [row(str(n)) for n in range(7)]
    assert found(rows, limit=2) == ["0", "1"]
    assert found(rows, task_filter={"page": 1, "page_size": 3}) == ["3", "4", "5"]
    assert found(rows, limit=0) == []


@pytest.mark.parametrize(
    ("task_filter", "message"),
    [
        ({"nonsense": 1}, "'nonsense'.*use one of"),
        ({"script.nonsense": 1}, "'script.nonsense'"),
        ({"name": "("}, "'name'.*regular expression"),
        ({"last_iteration": [1]}, r"'last_iteration'.*\[min, max\]"),
        ({"last_iteration": [None, None]}, "'last_iteration'"),
        ({"last_iteration": ["a", 2]}, "'last_iteration'"),
        ({"created": "yesterday"}, "'created'.*ISO"),
        ({"created": [None, None]}, "'created'"),
        ({"status": ["done"]}, "'done'.*completed"),
        ({"type": ["train"]}, "'train'.*training"),
        ({"_any_": {"fields": ["name"]}}, "'_any_'.*pattern"),
        ({"_all_": "x"}, "'_all_'.*pattern"),
        ({"page": -1, "page_size": 2}, "page"),
        ({"order_by": ["-nonsense"]}, "'nonsense'"),
        ({"parameters": {"Args/a": {"x": 1}}}, "parameters.Args/a"),
        ({"search_text": "["}, "'search_text'"),
    ],
)
def test_bad_filter_says_what_is_accepted(task_filter: dict[str, Any], message: str) -> None:
    """A filter that can't be understood names the field and what would be."""
    with pytest.raises(InvalidValueError, match=message):
        Query(task_filter=task_filter).plan()


ROWS = [
    row("1", tags=("t3",), parameters={"Args/lr": 0.001}, metrics={"loss": {"loss": {"last": 0.2, "min": 0.1}}}),
    row("2", status="failed", parameters={"Args/lr": 0.1}, last_iteration=7),
    row("3", name="O'Neil", parameters={"Args/opt": "sgd", "Args/on": True}, created="2024-02-01T00:00:00.000000Z"),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params.lr<0.01 and metrics.loss.min<0.3 and status==completed and 't3' in tags", ["1"]),
        ("", ["1", "2", "3"]),
        ("not params.lr < 0.01", ["2", "3"]),
        ("params['Args/lr'] == 0.1 or params.opt == sgd", ["2", "3"]),
        ("0.0001 < params.lr <= 0.1", ["1", "2"]),
        ("0.1 >= params.lr", ["1", "2"]),
        ("status != failed", ["1", "3"]),
        ("status in [failed, 'queued']", ["2"]),
        ("status not in ('failed',)", ["1", "3"]),
        ("'t3' not in tags", ["2", "3"]),
        ("params.lr is none", ["3"]),
        ("params.on == true", ["3"]),
        ("params.on", ["3"]),
        ('matches(name, "^O\'N")', ["3"]),
        (r"matches(id, '^[\d]$') and id != 2", ["1", "3"]),
        ('"Neil" in name', ["3"]),
        ("created > '2024-01-15'", ["3"]),
        ("created <= '2024-01-01'", ["1", "2"]),
        ("last_iteration > -1 and last_iteration == 7", ["2"]),
        ("name == id and last_iteration < 1", ["1"]),
    ],
)
def test_expression(text: str, expected: list[str]) -> None:
    """A person's line finds what it says."""
    assert found(ROWS, conditions=parse_expression(text)) == expected


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("params.lr <", 12),
        ("status == completed and foo.bar == 1", 25),
        ("open('x')", 1),
        ("__import__('os').system('true')", 1),
        ("status == (lambda: 1)", 12),
        ("params.lr + 1 < 2", 1),
        ("1 < 2", 1),
        ("matches(name, '(')", 15),
        ("params.lr < none", 13),
        ("name == f'{id}'", 9),
        ("[x for x in tags]", 1),
        ("created > noon", 11),
        ("'é' == params", 1),
    ],
)
def test_bad_expression_shows_the_place(text: str, column: int) -> None:
    """A line that can't be understood is refused, with a mark under the place."""
    with pytest.raises(InvalidValueError) as caught:
        parse_expression(text)
    assert f"column {column}:" in str(caught.value)
    assert str(caught.value).splitlines()[-1] == "  " + " " * (column - 1) + "^"


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """No text makes the parser fail in another way than by its own error."""
    try:
        conditions = parse_expression(text)
    except InvalidValueError:
        return
    Query(conditions=conditions).plan().apply(ROWS)


def test_pattern_of_any_text_matches_itself() -> None:
    """An escaped name finds exactly the task of that name."""
    assert found(ROWS, name=f"^{re.escape(chr(79) + chr(39))}") == ["3"]
