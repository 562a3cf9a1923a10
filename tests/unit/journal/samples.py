"""A small record, the same on every run; its key is for tests only and known to everyone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from proctor.events import Capabilities, Checkpoint, Close, Event, Exec, File, Gap, Mark, Open, Output
from proctor.events.kinds import (
    CapabilitiesData,
    CheckpointData,
    CloseData,
    ExecData,
    FileData,
    GapData,
    MarkData,
    OpenData,
    OutputData,
)
from proctor.events.text import from_bytes
from proctor.findings import Finding, canonical, digest
from proctor.journal.keys import SigningKey
from proctor.journal.writer import Writer

TEST_KEY = SigningKey.from_seed(bytes(range(32)))
"""TEST ONLY: everyone knows its private half."""

EPISODE = "golden-1"
GOLDEN = Path(__file__).parent / "golden"

FINDING = Finding(
    id="solution.shipped_answer:5", rule="solution.shipped_answer", category="solution.shipped_answer", level="high",
    grade="observed", outcome="attempted", authorisation="forbidden", step="step-1",
    summary="A hidden file was opened for writing.", events=(5,),
)  # fmt: skip


def envelope(seq: int, *, sensor: str = "kernel", **more: Any) -> dict[str, Any]:
    times = {"t_mono_ns": 1_000_000 * seq, "t_wall_ns": 1_750_000_000_000_000_000 + 1_000_000 * seq}
    return {"v": 1, "episode": EPISODE, "seq": seq, "sensor": sensor, **times, **more}


def opening(seq: int = 1, key: SigningKey = TEST_KEY) -> Open:
    data = OpenData(
        proctor="0.1.0", key=key.public.hex(), policy_digest="1" * 64, rules_digest="2" * 64,
        policy={"workspace": "/work", "files": {"hide": ["/work/answers.json"]}}, workspace="/work",
    )  # fmt: skip
    return Open(**envelope(seq, sensor="session"), data=data)


def mark(seq: int, name: str = "step-1") -> Mark:
    return Mark(**envelope(seq, pid=101), data=MarkData(op="begin", id=name))


def checkpoint(writer: Writer) -> Checkpoint:
    def make(data: CheckpointData) -> Checkpoint:
        return Checkpoint(**envelope(writer.count + 1, sensor="session"), data=data)

    return writer.checkpoint(make)


def body() -> list[Event]:
    """Events 2 to 7."""
    step: dict[str, Any] = {"pid": 101, "ppid": 100, "start_time": 4242}
    step |= {"origin_step": "step-1", "attribution": "lineage"}
    run = ExecData(
        call="execve", path="/usr/bin/python3", image="/usr/bin/python3.11", argv=("python3", from_bytes(b"a\xff\n")),
        argc=2, argv_digest="3" * 64, cwd="/work",
    )  # fmt: skip
    hidden = FileData(op="open_write", call="openat", path="answers.json", object="/work/answers.json", role="hidden")
    printed = OutputData(stream="stdout", bytes=3, digest="4" * 64, head="ok\n")
    return [
        Capabilities(**envelope(2, sensor="session"), data=CapabilitiesData(tier="B", landlock_abi=4)),
        mark(3),
        Exec(**envelope(4, **step), data=run),
        File(**envelope(5, exe="/usr/bin/python3.11", **step), data=hidden),
        Gap(**envelope(6, sensor="session"), data=GapData(of="watch", what="queue overflow")),
        Output(**envelope(7, sensor="session"), data=printed),
    ]


def closing(seq: int) -> Close:
    data = CloseData(
        verdict="incomplete", score_effect="void", findings=1, findings_digest=digest([FINDING]), agent_exit=0
    )
    return Close(**envelope(seq, sensor="session"), data=data)


def verdict(writer: Writer, **changes: Any) -> dict[str, Any]:
    said = {
        "episode": EPISODE, "verdict": "incomplete", "tier": "B", "agent_exit": 0,
        "findings": msgspec.json.decode(canonical([FINDING])), "responses": [], "gaps": ["watch: queue overflow"],
        "score_effect": "void", "journal": {"events": writer.count, "head": writer.head},
        "proctor": {"version": "0.1.0", "policy_digest": "1" * 64, "rules_digest": "2" * 64},
    }  # fmt: skip
    return said | changes


def make_record(directory: Path, key: SigningKey = TEST_KEY) -> None:
    """Ten events: open, six of the episode, a checkpoint, close, a checkpoint; and verdict.json."""
    directory.mkdir()
    writer = Writer(directory, key)
    writer.append(opening(key=key))
    for event in body():
        writer.append(event)
    checkpoint(writer)
    writer.append(closing(writer.count + 1))
    checkpoint(writer)
    (directory / "verdict.json").write_bytes(msgspec.json.encode(verdict(writer)) + b"\n")
    writer.close()


def journal_of(directory: Path) -> Path:
    return directory / "journal" / "000000.jsonl"
