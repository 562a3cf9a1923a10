"""One event of every kind, filled with a text that may be hostile."""

from __future__ import annotations

from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from proctor.events import KINDS, AnyEvent, Sensor

_SESSION = (
    "open", "capabilities", "step", "output", "heartbeat", "gap", "response", "leftover", "change", "changes", "close",
    "checkpoint",
)  # fmt: skip


def sample(kind: str, text: str, *, seq: int = 1, outcome: str | None = None) -> AnyEvent:
    """Return an event of ``kind`` in which every free text is ``text``."""
    cls = KINDS[kind]
    data = _fill(get_type_hints(cls)["data"], text)
    if outcome is not None and hasattr(data, "outcome"):
        data = msgspec.structs.replace(data, outcome=outcome)
    sensor: Sensor = "session" if kind in _SESSION else "kernel"
    event: Any = cls(  # type: ignore[call-arg]
        v=1, episode=text, seq=seq, t_mono_ns=5_000_000_000 + seq, t_wall_ns=1, sensor=sensor, pid=7, exe=text,
        origin_step=text, data=data,
    )  # fmt: skip
    assert isinstance(event, AnyEvent)
    return event


def _fill(hint: Any, text: str) -> Any:
    if hint is str:
        return text
    if hint in (int, float, bool):
        return hint(3)
    if isinstance(hint, type) and issubclass(hint, Struct):
        return hint(**{name: _fill(inner, text) for name, inner in get_type_hints(hint).items() if name[0] != "_"})
    args = get_args(hint)
    if get_origin(hint) is tuple:
        return (_fill(args[0], text), _fill(args[0], text))
    if get_origin(hint) is dict:
        return {} if args[1] is Any else {text: _fill(args[1], text)}
    if args:  # a union or a Literal: its first member
        return args[0] if isinstance(args[0], str) else _fill(args[0], text)
    raise AssertionError(hint)
