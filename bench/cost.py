"""Cost: real work, opens, start-up and memory, beside bare, bubblewrap and strace in one interleaved run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from candidates import TIERS, Bench, available, bench
from measured import Figure, Prediction, Report, arguments, figure
from procfs import SUPERVISOR, text

REAL = r"""
for i in 1 2 3; do /usr/bin/python3 -c 'import asyncio, email, http.client, json, unittest, xml.dom.minidom, decimal'; done
i=0; while [ $i -lt 4 ]; do gcc -O2 -o prog main.c part.c; i=$((i+1)); done; ./prog >/dev/null
find /usr/lib/python3* /usr/share/doc -name '*.py' | wc -l >/dev/null
grep -rl 'import os' /usr/lib/python3* --include='*.py' | wc -l >/dev/null
"""
FORKS = "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done"


def seconds(command: list[str], place: Bench, stamp: Path) -> float:
    """Run a command that writes its own duration in ns to ``stamp``: start-up is measured apart."""
    stamp.unlink(missing_ok=True)
    subprocess.run(
        command,
        cwd=place.workspace,
        env=place.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return int(stamp.read_text()) / 1e9


def timed(script: str) -> list[str]:
    return ["sh", "-c", f"s=$(date +%s%N); {{ {script}\n}}; e=$(date +%s%N); echo $((e - s)) > stamp"]


def opens(place: Bench) -> list[str]:
    return timed(f"{place.calls} opens 40000 20000 > /dev/null")


def ratios(place: Bench, names: list[str], script: list[str], rounds: int) -> dict[str, Figure]:
    """Ratio to bare of each candidate, a round at a time: bare and candidate are never far apart in time."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        order = names[number % len(names) :] + names[: number % len(names)]
        took = {name: seconds(place.candidate(name, script), place, place.workspace / "stamp") for name in order}
        for name in names:
            found[name].append(took[name] / took["bare"])
    return {name: figure(values) for name, values in found.items()}


def cold(place: Bench, rounds: int) -> list[float]:
    """Milliseconds from starting ``proctor run`` to the agent's first instruction (CLOCK_MONOTONIC on both sides)."""
    found = []
    for _ in range(rounds):
        start = time.monotonic_ns()
        command = place.candidate("proctor", [str(place.calls), "clock"])
        said = subprocess.run(command, cwd=place.workspace, env=place.environ, capture_output=True, check=True).stdout
        found.append((int(said) - start) / 1e6)
    return found


def warm(place: Bench, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds to the first instruction through a warm launcher: of a new episode, and of a further command in it."""
    from proctor import Episode, Launcher

    fresh, further = [], []
    with Launcher() as launcher:
        for _ in range(rounds):
            time.sleep(0.3)  # a harness that calls a model in between
            start = time.monotonic_ns()
            with Episode(workspace=place.workspace, launcher=launcher, commands=[str(place.calls)]) as episode:
                fresh.append((int(episode.run([str(place.calls), "clock"]).stdout) - start) / 1e6)
                start = time.monotonic_ns()
                further.append((int(episode.run([str(place.calls), "clock"]).stdout) - start) / 1e6)
    return fresh, further


def memory(place: Bench) -> int:
    """Peak resident KiB of the supervisor while 20,000 write-opens and 2,000 forks are recorded."""
    command = place.candidate("proctor", [str(place.calls), "storm", "4", "20000", "2000", "100", "100"])
    process = subprocess.Popen(
        command, cwd=place.workspace, env=place.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak = 0
    while process.poll() is None:
        for name in os.listdir("/proc"):
            if name.isdigit() and text(f"/proc/{name}/comm").strip() == SUPERVISOR:
                line = text(f"/proc/{name}/status").partition("VmHWM:")[2].split()
                peak = max(peak, int(line[0]) if line else 0)
        time.sleep(0.05)
    return peak


def main() -> int:
    quick = arguments(__doc__).quick
    rounds = 3 if quick else 15
    report = Report(
        "cost",
        """Each round runs every candidate once, in rotating order; a ratio is to the bare run of the same round, timed
        inside (start-up apart). Real work: Python imports, gcc, find, grep. Opens: 40,000 read-only opens and 20,000
        stats. Start-up: CLOCK_MONOTONIC before the start against the agent's own first instruction. Medians with 95 %
        percentile-bootstrap intervals.""",
        {
            "real": Prediction("real work, ratio to bare", "<= 1.08", "1.00 to 1.06"),
            "real C": Prediction("real work in tier C, plain and protecting, ratio to bare", "<= 1.35", "1.05 to 1.25"),
            "opens": Prediction("opens, ratio to bare", "<= 1.8", "1.4 to 1.8"),
            "cold": Prediction("first instruction after `proctor run`, ms", "<= 250", "170 to 200"),
            "warm": Prediction("first instruction of a new episode through a warm launcher, ms", "<= 15", "20 to 30"),
            "memory": Prediction("supervisor's peak resident memory, MB", "<= 60", "40 to 50"),
        },
        quick,
    )
    report.begin()
    names, missing = available()
    if missing:
        report.note(f"not on this machine, so not compared: {', '.join(missing)}")
    with bench() as place:
        (place.workspace / "main.c").write_text(
            '#include <stdio.h>\nint part(int);\nint main(void) { printf("%d\\n", part(3)); return 0; }\n'
        )
        (place.workspace / "part.c").write_text("int part(int x) { return x * 2; }\n")
        cold(place, 2)
        real = ratios(place, names, timed(REAL), rounds)
        opened = ratios(place, names, opens(place), rounds)
        forked = ratios(place, names, timed(FORKS), max(3, rounds // 3))
        starts = cold(place, rounds * 2)
        fresh, further = warm(place, rounds * 2)
        peak = memory(place)
        kinds = {}
        for kind in ("open_write", "rename", "connect", "fork_exit"):
            for name in ("bare", *TIERS):
                command = place.candidate(name, [str(place.calls), kind, "2000"])
                done = subprocess.run(command, cwd=place.workspace, env=place.environ, capture_output=True, check=False)
                if done.returncode == 0 and done.stdout:
                    kinds[f"{kind} {name}"] = json.loads(done.stdout)
    report.figures = {
        "real_work": real, "opens": opened, "fork_exec_500": forked, "cold_ms": figure(starts), "warm_new_episode_ms": figure(fresh),
        "warm_further_command_ms": figure(further), "supervisor_peak_kb": peak, "one_call_at_a_time_ns": kinds,
    }  # fmt: skip
    report.settle(
        "real", ", ".join(f"{name} {value}" for name, value in real.items()), met=real["proctor"].median <= 1.08
    )
    in_c = [real[name] for name in TIERS[1:]]
    report.settle("real C", " and ".join(map(str, in_c)), met=all(one.median <= 1.35 for one in in_c))
    report.settle(
        "opens", ", ".join(f"{name} {value}" for name, value in opened.items()), met=opened["proctor"].median <= 1.8
    )
    report.settle("cold", str(figure(starts)), met=statistics.median(starts) <= 250)
    told = f"{figure(fresh)}; a further command of an open episode {figure(further)}"
    report.settle("warm", told, met=statistics.median(fresh) <= 15)
    report.settle("memory", f"{peak / 1000:.0f}", met=0 < peak <= 60_000)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
