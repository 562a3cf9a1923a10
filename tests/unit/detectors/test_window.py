from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.detectors.rules import Correlation
from proctor.detectors.window import MAX_WINDOW, Ordered, Span, Together, Window, window
from proctor.events import Event
from tests.unit.detectors.events import clone

SPAN = 60


def correlation(
    kind: Literal["event_count", "value_count"], count: int, op: Literal["gt", "gte"] = "gte"
) -> Correlation:
    return Correlation(type=kind, bases=("b",), timespan_ns=SPAN, op=op, count=count)


def test_the_span_includes_both_its_ends() -> None:
    window = Window(correlation("event_count", 2))
    assert not window.add(clone(0), 1)
    assert window.add(clone(SPAN), 1)
    window = Window(correlation("event_count", 2))
    assert not window.add(clone(0), 1)
    assert not window.add(clone(SPAN + 1), 1)


def test_more_than_is_not_at_least() -> None:
    window = Window(correlation("event_count", 2, "gt"))
    assert [window.add(clone(n), 1) for n in range(3)] == [False, False, True]


def test_an_absent_value_is_not_counted() -> None:
    window = Window(correlation("value_count", 2))
    assert [window.add(clone(n), value) for n, value in enumerate([None, "a", None, "a", "b"])] == [False] * 4 + [True]


def test_a_value_that_left_the_span_no_longer_counts() -> None:
    window = Window(correlation("value_count", 2))
    window.add(clone(0), "a")
    assert not window.add(clone(SPAN + 1), "b")
    assert window.add(clone(SPAN + 2), "a")


@given(st.lists(st.tuples(st.integers(0, 40), st.none() | st.integers(0, 5)), max_size=40), st.integers(1, 5))
def test_it_counts_as_the_definition_does(steps: list[tuple[int, int | None]], count: int) -> None:
    now = 0
    seen: list[tuple[int, int | None]] = []
    events, values = Window(correlation("event_count", count)), Window(correlation("value_count", count))
    for ahead, value in steps:
        now += ahead
        seen.append((now, value))
        inside = [value for at, value in seen if at >= now - SPAN]
        assert events.add(clone(now), value) == (len(inside) >= count)
        assert values.add(clone(now), value) == (len(set(inside) - {None}) >= count)
        assert [event.t_mono_ns for event in events.events()] == [at for at, _ in seen if at >= now - SPAN]


def test_its_memory_is_bounded() -> None:
    window = Window(correlation("value_count", 10 * MAX_WINDOW))
    for number in range(MAX_WINDOW + 5):
        window.add(clone(0), number)
    assert len(window.events()) == MAX_WINDOW
    assert len(window._values) == MAX_WINDOW


# --- events of different rules ----------------------------------------------------------------------------------------


def temporal(
    *bases: str, ordered: bool = False, op: Literal["gt", "gte"] = "gte", count: int | None = None
) -> Correlation:
    return Correlation(
        type="temporal_ordered" if ordered else "temporal", bases=bases, timespan_ns=SPAN, op=op,
        count=len(bases) if count is None else count,
    )  # fmt: skip


def at(seq: int, t: int) -> Event:
    return msgspec.structs.replace(clone(t), seq=seq)


def all_fed(span: Span, event: Event, names: Iterable[str]) -> bool:
    """Every rule that the event fits is told, whatever the first of them answers."""
    answers = [span.add(event, name) for name in names]
    return any(answers)


def fed(correlation: Correlation, *steps: tuple[int, str]) -> list[bool]:
    """Each step is a time and the rules that one event fits; whether the correlation holds after it."""
    span = window(correlation)
    answers = []
    for seq, (t, names) in enumerate(steps, 1):
        answers.append(all_fed(span, at(seq, t), names))
    return answers


@pytest.mark.parametrize("ordered", [False, True])
def test_all_of_the_rules_within_the_span(ordered: bool) -> None:
    wanted = temporal("a", "b", "c", ordered=ordered)
    assert fed(wanted, (0, "a"), (30, "b"), (SPAN, "c")) == [False, False, True]
    assert fed(wanted, (0, "a"), (30, "b"), (SPAN + 1, "c")) == [False, False, False]
    assert fed(wanted, (0, "a"), (1, "a"), (2, "c")) == [False, False, False]


def test_the_order_matters_only_where_it_is_asked_for() -> None:
    assert fed(temporal("a", "b"), (0, "b"), (1, "a")) == [False, True]
    assert fed(temporal("a", "b", ordered=True), (0, "b"), (1, "a")) == [False, False]
    assert fed(temporal("a", "b", ordered=True), (0, "b"), (1, "a"), (2, "b")) == [False, False, True]
    assert fed(temporal("a", "b", "a", ordered=True), (0, "a"), (1, "b"), (2, "a")) == [False, False, True]


def test_one_event_may_fit_two_rules_but_cannot_follow_itself() -> None:
    assert fed(temporal("a", "b"), (0, "ab")) == [True]
    assert fed(temporal("a", "b", ordered=True), (0, "ab"), (1, "ab")) == [False, True]
    assert fed(temporal("a", "b", ordered=True), (0, "ba"), (1, "ba")) == [False, True]
    assert fed(temporal("a", "a", ordered=True), (0, "a"), (1, "a")) == [False, True]


def test_a_later_beginning_stands_in_for_one_that_left_the_span() -> None:
    wanted = temporal("a", "b", "c", ordered=True)
    assert fed(wanted, (0, "a"), (1, "b"), (50, "a"), (55, "b"), (70, "c"))[-1]
    assert not fed(wanted, (0, "a"), (1, "b"), (50, "a"), (70, "c"))[-1]


def test_as_many_rules_as_the_condition_says() -> None:
    assert fed(temporal("a", "b", "c", count=2), (0, "a"), (1, "c")) == [False, True]
    assert fed(temporal("a", "b", "c", op="gt", count=2), (0, "a"), (1, "c"), (2, "b")) == [False, False, True]


def brute(seen: Sequence[tuple[int, int, str]], bases: Sequence[str], *, ordered: bool) -> bool:
    """The definition: some choice of events, the last one's span holding all of them."""
    now = seen[-1][1]
    inside = [[(seq, t) for seq, t, names in seen if base in names and t >= now - SPAN] for base in bases]
    if not ordered:
        return all(inside)
    last = seen[-1][0]
    return any(
        chosen[-1][0] == last and all(one[0] < next_[0] for one, next_ in itertools.pairwise(chosen))
        for chosen in itertools.product(*inside)
    )


STEPS = st.lists(st.tuples(st.integers(0, 40), st.sets(st.sampled_from("abc"), min_size=1)), min_size=1, max_size=9)


@given(STEPS, st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
def test_they_hold_where_the_definition_does(steps: list[tuple[int, set[str]]], bases: list[str]) -> None:
    now = 0
    distinct = sorted(set(bases))
    together, ordered = Together(temporal(*distinct)), Ordered(temporal(*bases, ordered=True))
    seen: list[tuple[int, int, str]] = []
    for seq, (ahead, names) in enumerate(steps, 1):
        now += ahead
        event = at(seq, now)
        seen.append((seq, now, "".join(names)))
        fits = [name for name in sorted(names) if name in bases]
        if not fits:
            continue
        assert all_fed(together, event, fits) == brute(seen, distinct, ordered=False)
        answer = all_fed(ordered, event, fits)
        assert answer == brute(seen, bases, ordered=True)
        if answer:
            found = ordered.events()
            assert [one.seq for one in found] == sorted({one.seq for one in found})
            assert found[-1].t_mono_ns - found[0].t_mono_ns <= SPAN


def test_a_flood_of_one_rule_s_events_pushes_out_no_other() -> None:
    for ordered in (False, True):
        span = window(temporal("a", "b", "c", ordered=ordered))
        span.add(at(1, 0), "a")
        for seq in range(2, MAX_WINDOW + 10):
            span.add(at(seq, 1), "b")
        assert span.add(at(MAX_WINDOW + 10, 2), "c")
        assert [event.seq for event in span.events()] == [1, MAX_WINDOW + 9, MAX_WINDOW + 10]


def test_an_ordered_one_s_memory_is_bounded() -> None:
    span = Ordered(temporal("a", "b", ordered=True))
    for seq in range(1, 1000):
        span.add(at(seq, seq), "ab"[seq % 2])
    assert sum(map(len, span._chains)) <= 3
    assert len(span._new) == 1
