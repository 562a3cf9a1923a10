from __future__ import annotations

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from proctor.detectors.rules import Correlation
from proctor.detectors.window import MAX_WINDOW, Window
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
