"""Events for detectors' tests, as short as what matters in them."""

from __future__ import annotations

from typing import Any

from proctor.events import KINDS, AnyEvent, Event, Sensor, kinds

_SENSORS: dict[str, Sensor] = {"read": "watch", "flow": "gateway", "mark": "transcript", "leftover": "session"}


def clone(at_ns: int) -> Event:
    return make("clone", kinds.CloneData(call="clone"), at_ns=at_ns)  # type: ignore[no-any-return]


def make(
    kind: str, data: Any, *, seq: int = 1, at_ns: int | None = None, step: str | None = None, exe: str = "/usr/bin/sh"
) -> Any:
    at = seq * 1_000_000_000 if at_ns is None else at_ns
    return KINDS[kind](
        v=1, episode="e", seq=seq, t_mono_ns=at, t_wall_ns=at, sensor=_SENSORS.get(kind, "kernel"), pid=10, ppid=1,
        exe=exe, origin_step=step, data=data,
    )  # type: ignore[call-arg]  # fmt: skip


def write(
    path: str,
    seq: int = 1,
    *,
    role: kinds.PathRole = "workspace",
    step: str | None = None,
    outcome: kinds.Outcome = "attempted",
) -> AnyEvent:
    data = kinds.FileData(
        op="open_write", call="openat", path=path, object=path, role=role, existed=True, outcome=outcome
    )
    return make("file", data, seq=seq, step=step)  # type: ignore[no-any-return]


def connect(
    address: str, port: int = 22, seq: int = 1, *, at_ns: int | None = None, step: str | None = None
) -> AnyEvent:
    family = "inet6" if ":" in address else "inet"
    data = kinds.NetData(op="connect", call="connect", family=family, address=address, port=port, outcome="blocked")
    return make("net", data, seq=seq, at_ns=at_ns, step=step)  # type: ignore[no-any-return]


def run(*argv: str, seq: int = 1, step: str | None = None) -> AnyEvent:
    data = kinds.ExecData(call="execve", path=argv[0], image=argv[0], argv=argv, argc=len(argv))
    return make("exec", data, seq=seq, step=step)  # type: ignore[no-any-return]
