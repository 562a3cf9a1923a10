"""Every open recorded: 160,000 opens for reading by four processes under --all-opens, and what they cost."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

from candidates import TIERS, available, bench
from cost import ratios, seconds, timed
from measured import Prediction, Report, arguments

PROCESSES = 4


def recorded(out: Path, path: str) -> tuple[int, int]:
    """(opens for reading of ``path``, gaps) that a journal holds."""
    opens = gaps = 0
    with (out / "journal/000000.jsonl").open("rb") as lines:
        for line in lines:
            event = json.loads(line)
            opens += event["kind"] == "file" and event["data"]["op"] == "open" and event["data"]["path"] == path
            gaps += event["kind"] == "gap"
    return opens, gaps


def main() -> int:
    quick = arguments(__doc__).quick
    each, rounds = (2_000, 3) if quick else (40_000, 3)
    report = Report(
        "all-opens",
        f"""{PROCESSES} processes open one file for reading {each:,} times each (workload/calls.c opens). Lost: the opens
        that a journal holds against those made, one run in each tier. Cost: ratio to the bare run of the same round, in
        rotating order, beside strace with the filter of bench/candidates.py, which stops at reading opens too, and sandlock
        with a Python handler that writes each open's path to a file (bench/workload/under_sandlock.py).""",
        {
            "none lost": Prediction("recorded opens", "equal to those made, in each tier, and no gap", "equal"),
            "cost": Prediction("opens under --all-opens, ratio to bare", "<= 10", "25 to 80"),
        },
        quick,
    )
    report.begin()
    names, missing = available()
    # It stops every open, whatever is asked of it: so it is a peer only here.
    (names if find_spec("sandlock") else missing).append("sandlock")
    if missing:
        report.note(f"not on this machine, so not compared: {', '.join(missing)}")
    with bench() as place:
        one = f"{place.calls} opens {each} 0 > /dev/null"
        script = timed(" & ".join([one] * PROCESSES) + " & wait")
        place.more = ("--all-opens",)
        seen = {}
        for tier in TIERS:
            out = place.folder / tier.replace(" ", "-")
            command = place.candidate(tier, script)
            command[2:2] = ["--out", str(out)]
            seconds(command, place, place.workspace / "stamp")
            seen[tier] = recorded(out, "storm/read")
        taken = [name for name in names if name in {"bare", "strace", "sandlock", *TIERS}]
        cost = ratios(place, taken, script, rounds)
    made = each * PROCESSES
    report.figures = {"made": made, "recorded_and_gaps": seen, "ratio": cost}
    report.settle("none lost", f"made {made}, recorded {seen}", met=all(one == (made, 0) for one in seen.values()))
    told = ", ".join(f"{name} {value}" for name, value in cost.items())
    report.settle("cost", told, met=all(cost[tier].median <= 10 for tier in TIERS))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
