"""What one trapped call costs the supervisor: its own processor time per call, and with --profile where it goes.

Processor time (schedstat, nanoseconds) is read between the agent's two halts, so start and end are not in it; and it
hardly depends on what else runs on the machine, so that a change of the hot path can be judged on a noisy one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from candidates import PROCTOR, Bench, Missing, bench
from measured import Prediction, Report, arguments, figure, progress
from procfs import cpu_ns, supervisor_of

PY_SPY = str(Path(sys.executable).with_name("py-spy"))
KINDS = {"open_write": 20_000, "rename": 10_000, "connect": 10_000, "fork_exit": 4_000, "exec": 2_000}
METHOD = """One `proctor run` for each kind and round. The agent (workload/calls.c, `paced`) halts, makes COUNT calls of one
kind, and halts again; between the halts: processor time of the supervisor's thread (first field of
/proc/PID/schedstat, user and system), wall time by the agent's clock. fork_exit is fork, exit in the child, wait;
exec is posix_spawn of /bin/true, exit, wait. Medians over the rounds with 95 % bootstrap intervals."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", choices=sorted(KINDS), action="append", help="only this kind of call (repeatable)")
    parser.add_argument("--profile", metavar="FILE", help="py-spy writes where the time went (raw stacks) to FILE")


def one(place: Bench, kind: str, count: int, profile: str | None = None) -> tuple[float, float]:
    """(processor time of the supervisor, wall time), both in microseconds a call."""
    agent = subprocess.Popen(
        [PROCTOR, "run", "--quiet", "--", str(place.calls), "paced", kind, str(count)],
        cwd=place.workspace, env=place.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    assert agent.stdin is not None
    assert agent.stdout is not None
    spy = None
    with agent:
        assert agent.stdout.readline() == b"begin\n"
        supervisor = supervisor_of(agent.pid)
        if profile is not None:
            spy = subprocess.Popen(
                [PY_SPY, "record", "--rate", "500", "--format", "raw", "--output", profile, "--pid", str(supervisor)],
                stdout=subprocess.DEVNULL,
            )
            time.sleep(1.0)  # until it samples
        before = cpu_ns(supervisor)
        agent.stdin.write(b".")
        wall = int(agent.stdout.readline())
        used = cpu_ns(supervisor) - before
        agent.stdin.write(b".")
    if spy is not None:
        spy.wait()
    assert agent.returncode == 0, f"proctor run ended with {agent.returncode}"
    return used / count / 1000, wall / count / 1000


def main() -> int:
    chosen = arguments(__doc__, own=options)
    kinds = {kind: KINDS[kind] // (4 if chosen.quick else 1) for kind in chosen.kind or KINDS}
    rounds = 3 if chosen.quick else 9
    report = Report(
        "hot_path",
        METHOD,
        {
            "open_write": Prediction(
                "supervisor's processor time for one write-open", "stated with its spread", "under 60 us"
            ),
            "exec": Prediction(
                "supervisor's processor time for one spawn of /bin/true", "stated with its spread", "under 500 us"
            ),
        },
        chosen.quick,
    )
    with bench() as place:
        if chosen.profile is not None:
            if not os.access(PY_SPY, os.X_OK):
                raise Missing("py-spy is not installed beside this interpreter (see bench/README.md)")
            for kind, count in kinds.items():
                target = str(Path(chosen.profile).with_suffix(f".{kind}"))
                one(place, kind, count, target)
                print(f"  written: {target}")
            return 0
        report.begin()
        used: dict[str, list[float]] = {kind: [] for kind in kinds}
        wall: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(rounds):
            for kind, count in kinds.items():
                progress(f"round {turn + 1} of {rounds}: {kind}")
                cpu, elapsed = one(place, kind, count)
                used[kind].append(cpu)
                wall[kind].append(elapsed)
        progress("")
    for kind in kinds:
        report.figures[kind] = {"supervisor_cpu_us": figure(used[kind]), "wall_us": figure(wall[kind])}
        print(f"  {kind}: supervisor {figure(used[kind])} us, wall {figure(wall[kind])} us a call")
        if kind in report.predictions:
            report.settle(kind, f"{figure(used[kind])} us", met=True)
    return report.finish()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Missing as missing:
        sys.exit(f"hot_path: {missing}")
