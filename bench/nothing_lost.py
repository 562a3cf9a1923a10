"""Nothing lost: a storm of calls from four processes at a time; recorded must be what was made, exactly."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from candidates import bench
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


def main() -> int:
    quick = arguments(__doc__).quick
    counts = {kind: number // (20 if quick else 1) for kind, number in COUNTS.items()}
    report = Report(
        "nothing-lost",
        """bench/workload/calls.c makes the calls from four processes for each kind and counts them itself; the journal's
        events are counted by kind. Forks include the 16 workers. ns: the workload's own clock, bare and recorded.""",
        {"exact": Prediction("recorded calls", "equal to those made, of every kind, and no gap", "equal")},
        quick,
    )
    report.begin()
    with bench() as place:
        storm = [str(place.calls), "storm", "4", *(str(counts[kind]) for kind in COUNTS)]
        bare = json.loads(subprocess.run(storm, cwd=place.workspace, capture_output=True, check=True).stdout)
        out = place.folder / "record"
        command = [sys.executable, "-m", "proctor", "run", "--quiet", "--out", str(out), "--", *storm]
        done = subprocess.run(command, cwd=place.workspace, capture_output=True, check=True)
        made = json.loads(done.stdout)
        seen = recorded(out)
        verified = subprocess.run(
            [sys.executable, "-m", "proctor", "verify", str(out)], capture_output=True, check=False
        )
        size = (out / "journal/000000.jsonl").stat().st_size
    wanted = {kind: made[kind]["made"] for kind in COUNTS}
    wanted["fork_exit"] += made["workers"]
    same = all(seen.get(kind) == number for kind, number in wanted.items())
    report.figures = {
        "made": wanted, "recorded": seen, "journal_bytes": size, "verify_exit_status": verified.returncode,
        "us_a_call": {
            kind: {
                "bare": bare[kind]["ns"] / counts[kind] / 1000, "recorded": made[kind]["ns"] / counts[kind] / 1000,
            } for kind in COUNTS
        },
    }  # fmt: skip
    whole = same and "gap" not in seen and verified.returncode == 0
    report.settle("exact", f"made {wanted}, recorded { {kind: seen.get(kind) for kind in wanted} }", met=whole)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
