from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given

from proctor.events import KINDS, VERSION, AnyEvent, Event, decode, encode
from proctor.events.kinds import Exec, ExecData, Net, NetData
from proctor.events.text import from_bytes
from tests.unit.events.strategies import events

SAMPLES = sorted((Path(__file__).parent / "samples").glob("v*.jsonl"))


def _envelope(**more: Any) -> dict[str, Any]:
    return {"v": VERSION, "episode": "e", "seq": 1, "t_mono_ns": 1, "t_wall_ns": 2, "sensor": "kernel"} | more


def _subclasses(cls: type[Event]) -> Iterator[type[Event]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


@given(events())
def test_an_event_survives_its_encoding(event: AnyEvent) -> None:
    line = encode(event)
    assert decode(line) == event
    assert encode(decode(line)) == line
    assert b"\n" not in line, "one event is one line"
    assert json.loads(line)["kind"] in KINDS


def test_every_kind_of_event_can_be_decoded() -> None:
    assert set(KINDS.values()) == set(_subclasses(Event))


@pytest.mark.parametrize("cls", KINDS.values(), ids=KINDS)
def test_records_are_frozen(cls: type[Event]) -> None:
    event = next(event for event in map(decode, _lines(SAMPLES[-1])) if type(event) is cls)
    with pytest.raises(AttributeError):
        event.seq = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        setattr(event.data, event.data.__struct_fields__[0], None)


def _lines(sample: Path) -> list[bytes]:
    return sample.read_bytes().splitlines()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_old_samples_are_read_as_they_were_written(sample: Path) -> None:
    """A renamed or retyped field breaks every record in the world; here it breaks first."""
    for line in _lines(sample):
        assert encode(decode(line)) == line


def test_the_newest_sample_holds_every_kind_and_field() -> None:
    lines = [json.loads(line) for line in _lines(SAMPLES[-1])]
    assert {line["kind"] for line in lines} == set(KINDS)
    for line in lines:
        cls = KINDS[line["kind"]]
        data = msgspec.structs.fields(cls)[-1]
        assert data.name == "data"
        missing = set(data.type.__struct_fields__) - set(line["data"])
        assert not missing, f"{line['kind']}: the sample does not show {sorted(missing)}"
        assert line["v"] == VERSION
    shown = set().union(*lines)
    assert {*Event.__struct_fields__, "kind", "data"} <= shown


def test_what_is_at_its_default_is_left_out() -> None:
    line = encode(Net(**_envelope(), data=NetData(op="listen", call="listen")))
    assert json.loads(line) == _envelope(kind="net", data={"op": "listen", "call": "listen"})


def test_an_argument_that_is_no_utf8_is_stored_and_found_again() -> None:
    argument = from_bytes(b"--name=\xff\xfe")
    event = Exec(**_envelope(), data=ExecData(call="execve", path="/bin/x", argv=("x", argument)))
    stored = decode(encode(event))
    assert isinstance(stored, Exec)
    assert stored.data.argv[1] == argument


def test_a_field_of_a_later_version_is_passed_over() -> None:
    line = json.dumps(_envelope(kind="heartbeat", later="?", data={"received": 1, "recorded": 1, "later": 0}))
    assert isinstance(decode(line.encode()), KINDS["heartbeat"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (json.dumps(_envelope(kind="no_such_kind", data={})), "no_such_kind"),
        (json.dumps(_envelope(kind="heartbeat", data={"received": 1})), "recorded"),
        (json.dumps(_envelope(kind="heartbeat", sensor="oracle", data={"received": 1, "recorded": 1})), "oracle"),
        (json.dumps(_envelope(kind="heartbeat", data={"received": "1", "recorded": 1})), "received"),
        (json.dumps({"kind": "heartbeat", "data": {"received": 1, "recorded": 1}}), "v"),
    ],
)
def test_a_line_that_is_no_event_is_refused_by_name(line: str, said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        decode(line.encode())


@pytest.mark.parametrize("line", [b"", b"{", b"\xff", b'{"kind":"heartbeat"'])
def test_a_line_that_is_no_json_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(line)


@pytest.mark.parametrize(
    ("origin", "active", "step"),
    [("o", "a", "o"), (None, "a", "a"), ("o", None, "o"), (None, None, None), ("", "a", "")],
)
def test_the_step_is_where_the_tree_started_else_the_open_one(
    origin: str | None, active: str | None, step: str | None
) -> None:
    event = Net(**_envelope(origin_step=origin, active_step=active), data=NetData(op="bind", call="bind"))
    assert event.step == step
