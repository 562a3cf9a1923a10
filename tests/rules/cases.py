"""Rule files as a person reads them, and their cases as real events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from proctor.detectors.compile import SHIPPED
from proctor.events import AnyEvent, decode

FILES = sorted(SHIPPED.rglob("*.yml"))

_SENSORS = {"read": "watch", "usage": "resources", "flow": "gateway", "mark": "transcript", "leftover": "session"}


def slug(path: Path) -> str:
    return ".".join(path.relative_to(SHIPPED).with_suffix("").parts)


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def cases(kind: str) -> Iterator[tuple[Path, str, list[AnyEvent]]]:
    """Every case of a kind (``firing`` or ``benign``): its file, its name, its events."""
    for path in FILES:
        for document in documents(path):
            for case in document.get("cases", {}).get(kind, []):
                yield path, case["name"], list(_events(case["events"]))


def _fill(value: Any, number: int) -> Any:
    if value == "{i}":
        return number
    if isinstance(value, str):
        return value.replace("{i}", str(number))
    if isinstance(value, list):
        return [_fill(item, number) for item in value]
    if isinstance(value, dict):
        return {key: _fill(item, number) for key, item in value.items()}
    return value


def _events(written: list[dict[str, Any]]) -> Iterator[AnyEvent]:
    seq = 0
    for one in written:
        given = dict(one)
        repeat, start = given.pop("repeat", 1), given.pop("t", 0)
        for number in range(1, repeat + 1):
            seq += 1
            at = int((start + 0.1 * seq) * 1e9)
            envelope = {
                "v": 1, "episode": "case", "seq": seq, "t_mono_ns": at, "t_wall_ns": at, "pid": 10, "ppid": 1,
                "sensor": _SENSORS.get(given["kind"], "kernel"),
            }  # fmt: skip
            yield decode(msgspec.json.encode(envelope | _fill(given, number)))
