"""The events of a correlation's time span, in bounded memory."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple, Protocol

from proctor.detectors.objects import Value
from proctor.detectors.rules import Correlation
from proctor.events import Event

__all__ = ["MAX_WINDOW", "Ordered", "Span", "Together", "Window", "window"]

MAX_WINDOW = 10_000
"""Events that one window holds; beyond it the oldest leave early. Rules count to far less."""


class Span(Protocol):
    """What one group of a correlation saw within its span, by the events' own monotonic time."""

    def add(self, event: Event, value: Value) -> bool:
        """Take one event; return whether the correlation now holds."""

    def events(self) -> list[Event]:
        """The events it rests on, oldest first."""


def window(correlation: Correlation) -> Span:
    """Return an empty span for one group of ``correlation``."""
    if correlation.type == "temporal":
        return Together(correlation)
    return Ordered(correlation) if correlation.type == "temporal_ordered" else Window(correlation)


class _Seen(NamedTuple):
    t: int
    value: Value
    event: Event


class Window:
    """Counts events, or distinct values, within the span."""

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


class Together:
    """Events of different rules within the span, in any order.

    Only the last event of each rule is kept: where any of its events lies within the span, the last one does. So its
    memory does not grow, and no flood of one rule's events pushes out another's.
    """

    def __init__(self, correlation: Correlation) -> None:
        self._span = correlation.timespan_ns
        self._wanted = correlation.count + (correlation.op == "gt")
        self._last: dict[Value, Event] = {}

    def add(self, event: Event, value: Value) -> bool:
        """Take one event; ``value`` names the rule that it fits."""
        self._last[value] = event
        return sum(seen.t_mono_ns >= event.t_mono_ns - self._span for seen in self._last.values()) >= self._wanted

    def events(self) -> list[Event]:
        """The last event of each rule that lies within the span of the latest, oldest first."""
        latest = max((event.t_mono_ns for event in self._last.values()), default=0)
        within = {event.seq: event for event in self._last.values() if event.t_mono_ns >= latest - self._span}
        return [within[seq] for seq in sorted(within)]


class Ordered:
    """One event of each rule within the span, in the rules' order; no event stands for two of them.

    For each rule the one chain is kept that ends with it and began last: whatever can follow an earlier one can follow
    it, and it has the most of the span left. So its memory is that of one chain for each rule.
    """

    def __init__(self, correlation: Correlation) -> None:
        self._span = correlation.timespan_ns
        self._bases = correlation.bases
        self._chains: list[tuple[Event, ...]] = [()] * len(correlation.bases)
        self._new: dict[int, tuple[Event, ...]] = {}
        self._at = 0

    def add(self, event: Event, value: Value) -> bool:
        """Take one event; ``value`` names the rule that it fits. It may come again for another rule that it fits."""
        if event.seq != self._at:  # chains that this event made are followed only by later events
            for place, chain in self._new.items():
                self._chains[place] = chain
            self._new.clear()
            self._at = event.seq
        for place, base in enumerate(self._bases):
            if base != value:
                continue
            before = self._chains[place - 1] if place else ()
            if place and (not before or before[0].t_mono_ns < event.t_mono_ns - self._span):
                continue
            self._new[place] = (*before, event)
        return len(self._bases) - 1 in self._new

    def events(self) -> list[Event]:
        """The events of the chain that is whole; none where none is."""
        return list(self._new.get(len(self._bases) - 1, ()))
