"""A record of five million events: what verify, replay and report take, in seconds, events a second and memory."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from itertools import count
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from candidates import PROCTOR, Bench, bench
from cost import REAL
from measured import Prediction, Report, arguments, progress
from msgspec import json as msgjson
from msgspec import structs
from procfs import text

from proctor.detectors.compile import load
from proctor.detectors.engine import Engine
from proctor.events import Capabilities, Checkpoint, Close, Open, kinds
from proctor.findings import digest
from proctor.journal.keys import SigningKey
from proctor.journal.reader import read
from proctor.journal.writer import Writer
from proctor.policy.load import from_dict
from proctor.verdicts import JournalNote, Maker, Verdict, judge, not_observed, verdict_json

EVENTS = (500_000, 5_000_000)
MEMORY_MIB = 256
STEPS = 300
_PIDS = 4_000_000  # below PID_MAX_LIMIT of 64-bit kernels (linux/threads.h)
_CHECKPOINT = 20_000

# Beside the real work: files with changes, and one attempt on what is protected, so that there is a finding.
WORK = (
    "mkdir -p d; i=0; while [ $i -lt 200 ]; do echo $i > d/f$i; mv d/f$i d/g$i; i=$((i+1)); done; rm -r d; "
    "echo x >> kept 2>/dev/null; true"
)
METHOD = """One real episode in tier B (Python imports, gcc, find, grep as in bench/cost.py, 200 files made and renamed, one
attempt on a protected file) is recorded under --all-opens. Its events are written again through the same Writer until
there are EVENTS of them, in 300 steps: numbers, references, times, process ids and start times shifted, and each copy's
workspace paths its own, so that nothing repeats but programs and system files; findings and verdict are computed as at
an episode's end. Then verify, replay and report are each run once as their own process: wall seconds, peak resident
memory (VmHWM, looked at every 20 ms)."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, action="append", help="this many instead (repeatable)")


def recorded(place: Bench) -> list[kinds.AnyEvent]:
    """The events of one real episode."""
    (place.workspace / "main.c").write_text("int part(int);\nint main(void) { return part(0); }\n")
    (place.workspace / "part.c").write_text("int part(int x) { return x * 2; }\n")
    out = place.folder / "once"
    policy = str(place.folder / "policy.toml")
    subprocess.run(
        [PROCTOR, "run", "--quiet", "--all-opens", "--policy", policy, "--out", str(out), "--", "sh", "-c", REAL + WORK],
        cwd=place.workspace, env=place.environ, stdout=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return list(read(out))


def _moved(
    event: kinds.AnyEvent, seq: int, numbers: dict[int, int], later_ns: int, copy: int, workspace: str
) -> kinds.AnyEvent:
    """``event`` as one of the copy numbered ``copy``: later, with a process and files of its own."""
    changed: dict[str, Any] = {
        "seq": seq,
        "t_mono_ns": event.t_mono_ns + later_ns,
        "t_wall_ns": event.t_wall_ns + later_ns,
        "origin_step": f"step {copy % STEPS}",
        "attribution": "lineage",
        "start_time": (event.start_time or 0) + copy,
    }
    for name in ("pid", "tid", "ppid"):
        value = getattr(event, name)
        if value is not None:
            changed[name] = (value + copy * 10_000) % _PIDS + 1
    numbers[event.seq] = seq
    data: dict[str, Any] = {}
    if isinstance(event, kinds.ExecResult | kinds.Result):
        data["ref"] = numbers[event.data.ref]
    elif isinstance(event, kinds.File):
        for name in ("path", "object", "target", "target_object"):
            value = getattr(event.data, name)
            if value is not None and not value.endswith("/kept"):
                data[name] = value.replace(workspace, f"{workspace}/{copy}")
    if data:
        changed["data"] = structs.replace(event.data, **data)
    return structs.replace(event, **changed)


def make(place: Bench, events: list[kinds.AnyEvent], number: int, out: Path) -> int:
    """Write a record of at least ``number`` events and its verdict; return the journal's size in bytes."""
    opened, capabilities = events[0], events[1]
    assert isinstance(opened, Open)
    assert isinstance(capabilities, Capabilities)
    inner = [event for event in events[2:] if event.sensor == "kernel"]
    out.mkdir()
    key = SigningKey.from_seed(bytes(32))
    writer = Writer(out, key)
    rules = load([], Path(place.environ["XDG_CACHE_HOME"]) / "proctor")
    engine = Engine(rules, from_dict(opened.data.policy))

    def put(event: kinds.AnyEvent) -> None:
        engine.feed(event)
        writer.append(event)

    def checkpoint() -> None:
        def make_event(data: kinds.CheckpointData) -> Checkpoint:
            at = {"seq": writer.count + 1, "t_mono_ns": latest.t_mono_ns, "t_wall_ns": latest.t_wall_ns}
            return Checkpoint(v=opened.v, episode=opened.episode, sensor="session", data=data, **at)

        writer.checkpoint(make_event)

    put(structs.replace(opened, data=structs.replace(opened.data, key=key.public.hex())))
    put(capabilities)
    latest: kinds.AnyEvent = capabilities
    span = inner[-1].t_mono_ns - inner[0].t_mono_ns + 1_000_000
    for copy in count():
        numbers: dict[int, int] = {}
        for event in inner:
            latest = _moved(event, writer.count + 1, numbers, copy * span, copy, opened.data.workspace)
            put(latest)
            if writer.count % _CHECKPOINT == 0:
                checkpoint()
        if writer.count >= number:
            break
    findings = engine.findings()
    judged = judge(findings, gaps=0, empty=True, tier="B")
    put(
        Close(
            v=opened.v, episode=opened.episode, seq=writer.count + 1, t_mono_ns=latest.t_mono_ns,
            t_wall_ns=latest.t_wall_ns, sensor="session",
            data=kinds.CloseData(
                verdict=judged.verdict, score_effect=judged.score_effect, findings=len(findings),
                findings_digest=digest(findings),
            ),
        )
    )  # fmt: skip
    checkpoint()
    verdict = Verdict(
        episode=opened.episode, verdict=judged.verdict, score_effect=judged.score_effect, reasons=judged.reasons,
        tier="B", findings=findings, not_observed=not_observed(rules.categories, findings),
        journal=JournalNote(events=writer.count, head=writer.head),
        proctor=Maker(
            version=opened.data.proctor, policy_digest=opened.data.policy_digest, rules_digest=rules.digest
        ),
    )  # fmt: skip
    (out / "verdict.json").write_bytes(verdict_json(verdict) + b"\n")
    writer.close()
    return (out / "journal/000000.jsonl").stat().st_size


def run(place: Bench, *command: str) -> tuple[float, float, int]:
    """(seconds, peak resident MiB, exit status) of one command of ours."""
    begin = perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "proctor", *command],
        env=place.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    peak = 0
    while process.poll() is None:  # ru_maxrss would begin with what this process had when it forked
        line = text(f"/proc/{process.pid}/status").partition("VmHWM:")[2].split()
        peak = max(peak, int(line[0]) if line else 0)
        sleep(0.02)
    return perf_counter() - begin, peak / 1024, process.returncode


def main() -> int:
    chosen = arguments(__doc__, own=options)
    sizes = chosen.events or ((20_000, 50_000) if chosen.quick else EVENTS)
    report = Report(
        "long-record",
        METHOD,
        {
            "whole": Prediction("verify, replay and report at every size", "each ends with status 0", "0"),
            "bounded": Prediction(
                "peak memory at the largest size, MiB",
                f"<= {MEMORY_MIB}, and <= 1.5 times that at the smallest",
                "60 to 120",
            ),
            "rates": Prediction("events a second", "stated", "verify 80,000; replay 40,000; report 30,000"),
        },
        chosen.quick,
    )
    report.begin()
    told: dict[int, dict[str, Any]] = {}
    with bench() as place:
        events = recorded(place)
        report.figures["recorded_events"] = len(events)
        report.figures["kinds"] = dict(Counter(str(event.__struct_config__.tag) for event in events).most_common())
        for number in sizes:
            out = place.folder / f"record-{number}"
            size = make(place, events, number, out)
            progress(f"{number:,} events written, {size / 1e6:,.0f} MB")
            told[number] = {"journal_bytes": size}
            for command in ("verify", "replay", "report"):
                took, peak, status = run(place, command, str(out))
                told[number][command] = {
                    "seconds": took, "events_per_second": number / took, "peak_mib": peak, "status": status,
                }  # fmt: skip
                progress(f"{command}: {json.dumps(told[number][command])}")
            told[number]["page_bytes"] = (out / "report.html").stat().st_size
            verdict = msgjson.decode((out / "verdict.json").read_bytes(), type=Verdict)
            told[number]["findings"] = len(verdict.findings)
    report.figures["by_events"] = told
    commands = ("verify", "replay", "report")
    statuses = {number: [one[command]["status"] for command in commands] for number, one in told.items()}
    report.settle("whole", str(statuses), met=not any(map(any, statuses.values())))
    most, least = told[max(told)], told[min(told)]
    peaks = {command: (least[command]["peak_mib"], most[command]["peak_mib"]) for command in commands}
    report.settle(
        "bounded",
        ", ".join(f"{command} {high:.0f} (smallest: {low:.0f})" for command, (low, high) in peaks.items()),
        met=all(high <= MEMORY_MIB and high <= 1.5 * low for low, high in peaks.values()),
    )
    rates = ", ".join(f"{command} {most[command]['events_per_second']:,.0f}" for command in commands)
    report.settle("rates", rates, met=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
