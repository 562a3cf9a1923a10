from __future__ import annotations

import re
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.detectors.matching import MAX_TEXT, Facts, predicate
from proctor.detectors.rules import And, Match, Node, Not, Or


def fits(node: Node, **fields: Any) -> bool:
    return predicate(node)(Facts(fields, {name: itemgetter(name) for name in fields}))


def on(op: str, value: object, found: object, *, cased: bool = False) -> bool:
    return fits(Match("F", op, value, cased), F=found)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("op", "value", "yes", "no"),
    [
        ("equals", "ab", ["ab", "AB", "Ab"], ["abc", "", None, "a"]),
        ("equals", 443, [443, "443"], [44, None, "4430"]),
        ("equals", True, [True, "true"], [False, None, 1]),
        ("contains", "ab", ["xaBx", "ab"], ["a b", None]),
        ("contains", "", ["", "x"], [None]),
        ("startswith", "ab", ["ABc"], ["cab", None]),
        ("endswith", "ab", ["cAB"], ["abc", None]),
        ("wildcard", "a*b", ["ab", "AxxB", "a\nb"], ["a", "abc", "xab", None]),
        ("wildcard", "a?", ["ab", "a\n"], ["a", "abc"]),
        ("wildcard", "a*?", ["ab", "abc"], ["a"]),
        ("wildcard", "ab*ba", ["abba", "abxba"], ["aba"]),
        ("wildcard", r"a\*b*", ["a*b", "a*bc"], ["axb"]),
        ("wildcard", r"a\\*", ["a\\", "a\\b"], ["ab"]),
        ("re", "^a+$", ["a", "aa"], ["A", "ab", None]),
        ("re", "a", ["bab"], ["b"]),
        ("lt", 5, [4, -1], [5, 6, None, "4", True]),
        ("lte", 5, [5], [6]),
        ("gt", 5, [6], [5, None]),
        ("gte", 5, [5], [4]),
        ("cidr", "10.0.0.0/8", ["10.1.2.3"], ["11.0.0.1", "10.1.2", "", None, 10, "::10.0.0.1", "1" * 5000]),
        ("cidr", "fc00::/7", ["fd00::1", "FD00:0::1"], ["fe80::1", "10.0.0.1"]),
        ("exists", True, ["", "x", 0, False], [None]),
        ("exists", False, [None], ["", 0]),
        ("null", None, [None, ""], ["x", "null"]),
    ],
)
def test_each_operator(op: str, value: object, yes: list[object], no: list[object]) -> None:
    assert [found for found in yes if not on(op, value, found)] == []
    assert [found for found in no if on(op, value, found)] == []


def test_cased_is_cased() -> None:
    assert on("contains", "Ab", "xAbx", cased=True)
    assert not on("contains", "Ab", "xabx", cased=True)


def test_a_field_that_the_kind_lacks_is_absent() -> None:
    assert not fits(Match("Other", "equals", "a"), F="a")
    assert fits(Match("Other", "exists", value=False), F="a")


def test_a_regular_expression_sees_no_more_than_its_bound() -> None:
    assert on("re", "b", "a" * (MAX_TEXT - 1) + "b")
    assert not on("re", "b", "a" * MAX_TEXT + "b")


def test_nothing_else_has_that_bound() -> None:
    long = "a" * 100_000 + "b"
    assert on("endswith", "b", long)
    assert on("wildcard", "a*?b", long)


LETTERS = st.text(alphabet="ab\n", max_size=8)


@given(st.text(alphabet="ab*?", max_size=6), LETTERS)
def test_wildcards_mean_what_the_regular_expression_means(pattern: str, found: str) -> None:
    meaning = "".join({"*": ".*", "?": "."}.get(letter, letter) for letter in pattern)
    assert on("wildcard", pattern, found, cased=True) == (re.fullmatch(meaning, found, re.DOTALL) is not None)


MATCHES = st.builds(
    Match,
    st.sampled_from(["F", "G"]),
    st.sampled_from(["equals", "contains", "startswith", "endswith"]),
    st.sampled_from(["a", "b", "ab"]),
    st.booleans(),
)
NODES: st.SearchStrategy[Node] = st.recursive(
    MATCHES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


def meaning(node: Node, fields: dict[str, str | None]) -> bool:
    """The definition, as plainly as it can be written."""
    if isinstance(node, Not):
        return not meaning(node.item, fields)
    if isinstance(node, And):
        return all(meaning(item, fields) for item in node.items)
    if isinstance(node, Or):
        return any(meaning(item, fields) for item in node.items)
    found = fields[node.field]
    if found is None:
        return False
    found = found if node.cased else found.lower()
    text = str(node.value)
    return {
        "equals": found == text,
        "contains": text in found,
        "startswith": found.startswith(text),
        "endswith": found.endswith(text),
    }[node.op]


@given(NODES, st.none() | st.text("abAB", max_size=3), st.none() | st.text("abAB", max_size=3))
def test_conditions_mean_what_they_say(node: Node, f: str | None, g: str | None) -> None:
    assert fits(node, F=f, G=g) == meaning(node, {"F": f, "G": g})


def test_a_field_is_taken_out_once() -> None:
    taken: list[str] = []

    def take(_: object) -> str:
        taken.append("F")
        return "Ab"

    facts = Facts(None, {"F": take})
    node = Or((Match("F", "equals", "x"), Match("F", "contains", "y"), Match("F", "equals", "ab")))
    assert predicate(node)(facts)
    assert taken == ["F"]
