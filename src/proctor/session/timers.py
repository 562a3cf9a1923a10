"""When the supervisor does what no descriptor tells it to."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Timers"]


class Timers:
    """Named deadlines in CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._due: dict[str, tuple[int, Callable[[], None]]] = {}
        self._next = 0
        self._paused: dict[str, tuple[int, Callable[[], None]]] = {}

    def after(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        """Run ``action`` once in ``seconds``; an earlier timer of that name is replaced."""
        self._due[name] = (self._now() + int(seconds * 1e9), action)
        self._look()

    def cancel(self, name: str) -> None:
        """Forget a timer."""
        self._due.pop(name, None)
        self._look()

    def pause(self, name: str) -> None:
        """Hold a timer's time; one that does not run, or is paused, is left as it is."""
        if name in self._due:
            due, action = self._due.pop(name)
            self._paused[name] = (max(0, due - self._now()), action)
            self._look()

    def resume(self, name: str) -> None:
        """Let a paused timer run for what was left of it."""
        if name in self._paused:
            left, action = self._paused.pop(name)
            self._due[name] = (self._now() + left, action)
            self._look()

    def wait_seconds(self) -> float:
        """How long until the next one; -1 for ever (what epoll takes)."""
        if not self._due:
            return -1.0
        return max(0.0, (self._next - self._now()) / 1e9)

    def run(self) -> None:
        """Run what is due."""
        now = self._now()
        if not self._due or now < self._next:
            return  # asked after every event, so the common answer is cheap
        for name, (due, action) in list(self._due.items()):
            if due <= now and self._due.get(name, (None, None))[1] is action:
                del self._due[name]
                action()
        self._look()

    def _look(self) -> None:
        self._next = min((due for due, _ in self._due.values()), default=0)
