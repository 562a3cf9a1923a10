from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.events import KINDS, AnyEvent, Exec, Exit, File, Net, encode
from proctor.events.kinds import ExecData, ExitData, FileData, NetData
from proctor.reports.evidence import _DESCRIBE, describe, line
from tests.unit.reports.events import sample

HOSTILE = st.text(max_size=60) | st.sampled_from(
    ["\x1b[2J", "\u202egpj.exe", "\r\n# x", "a" * 10_000, "\ud800", "\U0010ff9f"]
)


def test_every_kind_has_words() -> None:
    assert set(_DESCRIBE) == set(KINDS.values())


@given(st.sampled_from(sorted(KINDS)), HOSTILE)
def test_any_event_is_one_bounded_inert_line(kind: str, text: str) -> None:
    event = sample(kind, text)
    assert describe(event).isprintable()
    assert 0 < len(describe(event)) <= 200
    assert line(event, 0).isprintable()
    assert len(line(event, 0)) <= 350


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_sample_is_a_real_event(kind: str) -> None:
    assert b'"kind":"%s"' % kind.encode() in encode(sample(kind, "x"))


def envelope(cls: type, data: object, **more: object) -> AnyEvent:
    event: AnyEvent = cls(
        v=1, episode="e", seq=41, t_mono_ns=3_250_000_000, t_wall_ns=1, sensor="kernel", data=data, **more
    )
    return event


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ExitData(how="call", code=3), "ended with status 3"), (ExitData(how="signal", signal=9), "ended by signal 9"),
        (ExitData(how="call"), "ended with status not known"),
        (ExitData(how="signal"), "ended by a signal, which is not known"),
    ],
)  # fmt: skip
def test_an_end_that_is_not_known_is_not_made_up(data: ExitData, words: str) -> None:
    assert describe(envelope(Exit, data)) == words


def test_words_of_a_write_follow_its_outcome() -> None:
    def told(outcome: str) -> str:
        data = {"op": "open_write", "call": "openat", "path": "t.py", "object": "/w/t.py", "role": "protected"}
        return describe(envelope(File, FileData(**data, outcome=outcome)))  # type: ignore[arg-type]

    assert told("attempted") == "asked to open for writing '/w/t.py' (protected)"
    assert told("blocked").endswith("(protected); refused")
    assert told("succeeded").endswith("; succeeded")
    assert told("unknown").endswith("; outcome not known")


def test_an_evidence_line_names_number_time_process_and_act() -> None:
    event = envelope(
        Exec, ExecData(call="execve", path="sh", image="/bin/sh", argv=("sh", "-c", "id")), pid=9, exe="/bin/bash"
    )
    assert line(event, 2_000_000_000) == "#41  +1.250 s  pid 9 (/bin/bash)  asked to execute '/bin/sh': sh -c id"
    assert line(event, None).startswith("#41  pid 9")


def test_addresses_are_written_with_their_port() -> None:
    def told(address: str) -> str:
        return describe(envelope(Net, NetData(op="connect", call="connect", family="inet", address=address, port=22)))

    assert told("10.0.0.1") == "asked to connect to 10.0.0.1:22 (inet)"
    assert told("fd00::1") == "asked to connect to [fd00::1]:22 (inet)"
