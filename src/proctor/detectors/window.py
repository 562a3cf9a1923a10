"""The events of a correlation's time span, in bounded memory."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

from proctor.detectors.fields import Value
from proctor.detectors.rules import Correlation
from proctor.events import Event

__all__ = ["MAX_WINDOW", "Window"]

MAX_WINDOW = 10_000
"""Events that one window holds; beyond it the oldest leave early. Rules count to far less."""


class _Seen(NamedTuple):
    t: int
    value: Value
    event: Event


class Window:
    """What one group of a correlation saw within its span, by the events' own monotonic time."""

    def __init__(self, correlation: Correlation) -> None:
        self._distinct = correlation.type == "value_count"
        self._span = correlation.timespan_ns
        self._wanted = correlation.count + (correlation.op == "gt")
        self._seen: deque[_Seen] = deque()
        self._values: Counter[Value] = Counter()

    def add(self, event: Event, value: Value) -> bool:
        """Take one event; return whether the span, both its ends included, now holds what the rule counts to.

        An absent value is no value: it does not count among the distinct ones.
        """
        self._seen.append(_Seen(event.t_mono_ns, value, event))
        if value is not None:
            self._values[value] += 1
        while self._seen[0].t < event.t_mono_ns - self._span or len(self._seen) > MAX_WINDOW:
            self._drop(self._seen.popleft().value)
        return (len(self._values) if self._distinct else len(self._seen)) >= self._wanted

    def _drop(self, value: Value) -> None:
        if value is None:
            return
        self._values[value] -= 1
        if not self._values[value]:
            del self._values[value]

    def events(self) -> list[Event]:
        """The events it holds, oldest first."""
        return [seen.event for seen in self._seen]
