"""Nothing lost: a storm of calls from four processes at a time; recorded must be what was made, exactly."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from candidates import TIERS, Bench, bench
from measured import Prediction, Report, arguments

COUNTS = {"open_write": 160_000, "fork_exit": 20_000, "rename": 20_000, "connect": 5_000}


def recorded(out: Path) -> dict[str, int]:
    found: Counter[str] = Counter()
    with (out / "journal/000000.jsonl").open("rb") as lines:
        for line in lines:
            event = json.loads(line)
            data = event["data"]
            if event["kind"] == "file" and data["op"] in {"open_write", "create"} and "storm/w" in data["path"]:
                found["open_write"] += 1
            elif event["kind"] == "file" and data["op"] == "rename":
                found["rename"] += 1
            elif event["kind"] == "net" and data["op"] == "connect":
                found["connect"] += 1
            elif event["kind"] == "clone":
                found["fork_exit"] += 1
            elif event["kind"] in {"exit", "gap"}:
                found[event["kind"]] += 1
    return dict(found)


def storm(place: Bench, tier: str, command: list[str]) -> tuple[dict[str, Any], dict[str, int], int, int]:
    """(what the workload counted, what was recorded, the journal's bytes, what verify said)."""
    out = place.folder / tier.replace(" ", "-")
    run = place.candidate(tier, command)
    run[2:2] = ["--out", str(out)]
    done = subprocess.run(run, cwd=place.workspace, env=place.environ, capture_output=True, check=True)
    verify = [sys.executable, "-m", "proctor", "verify", str(out)]
    verified = subprocess.run(verify, capture_output=True, check=False)
    return json.loads(done.stdout), recorded(out), (out / "journal/000000.jsonl").stat().st_size, verified.returncode


def main() -> int:
    quick = arguments(__doc__).quick
    counts = {kind: number // (20 if quick else 1) for kind, number in COUNTS.items()}
    report = Report(
        "nothing-lost",
        """bench/workload/calls.c makes the calls from four processes for each kind and counts them itself; the journal's
        events are counted by kind. Forks include the 16 workers. ns: the workload's own clock, bare and recorded. In
        "C protecting" the supervisor makes the changes on behalf of the callers.""",
        {tier: Prediction(f"recorded calls, {tier}", "equal to those made, of every kind, and no gap", "equal")
         for tier in TIERS},
        quick,
    )  # fmt: skip
    report.begin()
    with bench() as place:
        command = [str(place.calls), "storm", "4", *(str(counts[kind]) for kind in COUNTS)]
        bare = json.loads(subprocess.run(command, cwd=place.workspace, capture_output=True, check=True).stdout)
        for tier in TIERS:
            made, seen, size, status = storm(place, tier, command)
            wanted = {kind: made[kind]["made"] for kind in COUNTS}
            wanted["fork_exit"] += made["workers"]
            same = all(seen.get(kind) == number for kind, number in wanted.items())
            report.figures[tier] = {
                "made": wanted, "recorded": seen, "journal_bytes": size, "verify_exit_status": status,
                "us_a_call": {
                    kind: {
                        "bare": bare[kind]["ns"] / counts[kind] / 1000,
                        "recorded": made[kind]["ns"] / counts[kind] / 1000,
                    } for kind in COUNTS
                },
            }  # fmt: skip
            whole = same and "gap" not in seen and status == 0
            shown = {kind: seen.get(kind) for kind in wanted}
            report.settle(tier, f"made {wanted}, recorded {shown}", met=whole)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
