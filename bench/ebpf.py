"""Tier A: honest episodes that must reconcile, its cost beside tier B, and a storm that a watch must lose nothing of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from candidates import Bench, bench
from cost import FORKS, REAL, opens, timed
from measured import Figure, Prediction, Report, arguments, figure, progress

# One after the other, each a kind of honest work of its own.
HONEST = (
    "for i in 1 2 3 4 5; do /bin/true; done; echo x > a; mv a b; rm b",
    "/usr/bin/python3 -c 'import asyncio, json, unittest, subprocess; subprocess.run([\"true\"])'",
    "gcc -O2 -o prog main.c part.c && ./prog",
    "./calls storm 2 200 40 40 20",
    "find /usr/include -name '*.h' | xargs grep -l stdio | wc -l; tar cf t.tar main.c part.c && tar tf t.tar; rm t.tar",
    "(sleep 0.05 & sleep 0.02; kill $!); (exit 3); timeout 0.1 sleep 5; true",
    "/usr/bin/python3 -c 'import threading as t, tempfile as f; [x.start() for x in [t.Thread(target=f.TemporaryFile) for _ in range(20)]]'",
    "/usr/bin/python3 -c 'import multiprocessing as m; print(sum(m.Pool(2).map(abs, range(50))))'",
    "make -f - <<< 'all: ; @true' 2>/dev/null; git init -q g && cd g && git status >/dev/null; cd ..; rm -r g",
    "seq 1 200 | sort -r | head -3; cp main.c copy.c; chmod 600 copy.c; ln -s copy.c link; rm copy.c link",
)


def reconciled(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"gaps": []}
    with (out / "journal/000000.jsonl").open("rb") as lines:
        for line in lines:
            if b'"kind":"reconcile"' in line[:200]:
                found |= json.loads(line)["data"]
            elif b'"kind":"gap"' in line[:200]:
                found["gaps"].append(json.loads(line)["data"]["what"])
    return found


def run(place: Bench, tier: str, command: list[str], out: Path | None = None) -> list[str]:
    del place
    where = ["--out", str(out)] if out is not None else []
    return [str(Path(sys.executable).with_name("proctor")), "run", "--quiet", "--tier", tier, *where, "--", *command]


def honest(place: Bench, episodes: int) -> tuple[dict[str, Any], list[str]]:
    """Totals over all episodes, and every difference."""
    from proctor import Episode, Launcher

    totals: Counter[str] = Counter()
    said: list[str] = []
    with Launcher() as launcher:
        for number in range(episodes):
            progress(f"episode {number + 1} of {episodes}")
            script = HONEST[number % len(HONEST)]
            with Episode(workspace=place.workspace, launcher=launcher, tier="A", commands=["bash"]) as episode:
                episode.run(["bash", "-c", script])
            assert episode.out is not None
            data = reconciled(episode.out)
            said += [f"{script[:30]}: {gap}" for gap in data["gaps"]]
            totals.update({count["kind"]: count["observed"] for count in data["counts"]})
            totals.update({name: data[name] for name in ("processes", "differences", "unresolved", "seen", "dropped")})
            totals["episodes"] += 1
            totals["agreeing"] += not data["gaps"] and data["differences"] == 0
    return dict(totals), said


def ratios(place: Bench, script: list[str], rounds: int) -> dict[str, Figure]:
    """Ratios to bare, and of A to B, a round at a time: of the time that passed, and of processor time (``cpu``).

    Processor time is that of everything that the run's process waited for, start-up and supervisor included.
    """
    found: dict[str, list[float]] = {name: [] for name in ("B", "A", "A to B", "cpu B", "cpu A", "cpu A to B")}
    stamp = place.workspace / "stamp"
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        took, used = {}, {}
        for name in [("bare", "B", "A"), ("A", "bare", "B"), ("B", "A", "bare")][number % 3]:
            command = script if name == "bare" else run(place, name, script)
            stamp.unlink(missing_ok=True)
            process = subprocess.Popen(
                command,
                cwd=place.workspace,
                env=place.environ,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            took[name] = int(stamp.read_text()) / 1e9
            used[name] = usage.ru_utime + usage.ru_stime
        for name in ("A", "B"):
            found[name].append(took[name] / took["bare"])
            found[f"cpu {name}"].append(used[name] / used["bare"])
        found["A to B"].append(took["A"] / took["B"])
        found["cpu A to B"].append(used["A"] / used["B"])
    return {name: figure(values) for name, values in found.items()}


def starts(place: Bench, rounds: int) -> dict[str, Figure]:
    """Milliseconds from `proctor run` to the first instruction."""
    found: dict[str, list[float]] = {"B": [], "A": []}
    for _ in range(rounds):
        for tier in ("A", "B"):
            begin = time.monotonic_ns()
            done = subprocess.run(
                run(place, tier, ["./calls", "clock"]),
                cwd=place.workspace,
                env=place.environ,
                capture_output=True,
                check=True,
            )
            found[tier].append((int(done.stdout) - begin) / 1e6)
    return {tier: figure(values) for tier, values in found.items()}


def stormed(place: Bench, opened: int, *, freeze: bool) -> dict[str, Any]:
    """A watch of four processes that open for writing, as fast as they can."""
    from proctor.sandbox import cgroups

    group = cgroups.create(f"storm-{os.getpid()}")
    assert group is not None
    out = place.folder / f"watch-{freeze}"
    proctor = str(Path(sys.executable).with_name("proctor"))
    more = [] if freeze else ["--no-freeze"]
    watch = subprocess.Popen(
        [proctor, "watch", "--cgroup", str(group.folder), "--out", str(out), *more],
        env=place.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watch.stderr is not None
    watch.stderr.readline()
    enter = f"echo 0 > {group.folder}/cgroup.procs; exec ./calls storm 4 {opened} 4 4 4"
    begin = time.monotonic()
    done = subprocess.run(["sh", "-c", enter], cwd=place.workspace, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - begin
    watch.communicate()
    group.remove()
    made = json.loads(done.stdout)["open_write"]["made"]
    recorded = 0
    with (out / "journal/000000.jsonl").open("rb") as lines:
        recorded = sum(b'"kind":"file"' in line and b"storm/w" in line and b'"open_write"' in line for line in lines)
    verdict = json.loads((out / "verdict.json").read_bytes())
    return {
        "made": made, "recorded": recorded, "seconds": round(seconds, 2), "gaps": [gap["what"] for gap in verdict["gaps"]],
        "freezes": verdict["degraded"].get("freezes", "none"),
    }  # fmt: skip


def main() -> int:
    quick = arguments(__doc__).quick
    episodes, rounds, opened = (10, 3, 16_000) if quick else (100, 9, 160_000)
    report = Report(
        "ebpf",
        f"""{episodes} episodes of ten kinds of honest work (bench/ebpf.py: HONEST) in tier A; each must reconcile. Cost: the
        work of bench/cost.py, bare, tier B and tier A in rotating order, timed inside; start-up apart. Storm: four
        processes make {opened} write-opens in a cgroup that `proctor watch` watches, with and without freezing.""",
        {
            "honest": Prediction("honest episodes that reconcile", "all", "all"),
            "real": Prediction("real work in tier A, processor time, ratio to tier B", "<= 1.15", "1.02 to 1.10"),
            "start": Prediction("first instruction in tier A, ms more than in tier B", "stated", "150 to 400"),
            "storm": Prediction("write-opens recorded by a watch that freezes", "all that were made, no gap", "all"),
            "loss": Prediction("without freezing: what is lost", "a gap, where anything is", "a gap"),
        },
        quick,
    )  # fmt: skip
    report.begin()
    with bench() as place:
        (place.workspace / "main.c").write_text(
            '#include <stdio.h>\nint part(int);\nint main(void) { printf("%d\\n", part(3)); return 0; }\n'
        )
        (place.workspace / "part.c").write_text("int part(int x) { return x * 2; }\n")
        totals, said = honest(place, episodes)
        report.figures["honest"] = totals
        report.settle(
            "honest",
            f"{totals['agreeing']} of {totals['episodes']}; {totals['seen']} records; {said[:5]}",
            met=totals["agreeing"] == totals["episodes"],
        )
        real = ratios(place, timed(REAL), rounds)
        forks = ratios(place, timed(FORKS), max(3, rounds // 3))
        read = ratios(place, opens(place), max(3, rounds // 3))
        begun = starts(place, rounds * 2)
        report.figures |= {"real_work": real, "fork_exec_500": forks, "opens": read, "cold_ms": begun}
        told = f"{real['cpu A to B']}; of the time that passed {real['A to B']}; to bare: A {real['A']}, B {real['B']}"
        report.settle("real", told, met=real["cpu A to B"].median <= 1.15)
        report.settle("start", f"A {begun['A']}, B {begun['B']}", met=True)
        with_it, without = stormed(place, opened, freeze=True), stormed(place, opened, freeze=False)
        report.figures |= {"storm": with_it, "storm_without_freezing": without}
        report.settle(
            "storm",
            f"{with_it['recorded']} of {with_it['made']}, frozen: {with_it['freezes']}",
            met=with_it["recorded"] == with_it["made"] and not with_it["gaps"],
        )
        lost = without["made"] - without["recorded"]
        report.settle(
            "loss",
            f"{lost} of {without['made']} write-opens, {without['gaps'][:1]}",
            met=bool(without["gaps"]) == (lost > 0),
        )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
