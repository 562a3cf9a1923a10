"""Many at once: 64 episodes open on one machine, each running commands; their memory, and what a command waits."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from candidates import bench
from measured import Prediction, Report, arguments, figure, progress
from procfs import text

PREFIXES = ("proctor-super", "proctor-outer", "proctor-init", "proctor-guard", "proctor-stdio", "proctor-launch")


def held() -> tuple[int, int]:
    """(PSS in KiB, number) of Proctor's own processes: shared pages counted by share (proc_pid_smaps(5))."""
    size = number = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and text(f"/proc/{name}/comm").strip().startswith(PREFIXES):
            found = text(f"/proc/{name}/smaps_rollup").partition("\nPss:")[2].split()
            size += int(found[0]) if found else 0
            number += 1
    return size, number


def main() -> int:
    quick = arguments(__doc__).quick
    many, commands = (8, 2) if quick else (64, 5)
    report = Report(
        "many",
        f"""{many} episodes through one warm launcher, opened one after the other and open at the same time; then in each, from
        a thread of its own, {commands} commands one after the other (workload/calls.c: the time of its first
        instruction, 2,000 write-opens). Memory: PSS of every process of Proctor's while all run. Latency: from asking
        to the command's first instruction, and from asking to its end. Alone: the same in one episode, before.""",
        {
            "memory": Prediction("memory for each episode, MB", "stated", "15 to 25"),
            "latency": Prediction("from asking for a command to its first instruction, ms", "stated", "under 1,000"),
            "whole": Prediction("verdicts", "all clean, no gap", "all clean"),
        },
        quick,
    )
    report.begin()
    with bench() as place, ExitStack() as left:
        from proctor import Episode, Launcher

        launcher = left.enter_context(Launcher())

        def work(episode: Episode, rounds: int) -> list[tuple[float, float]]:
            found = []
            for _ in range(rounds):
                start = time.monotonic_ns()
                first = int(episode.run([str(place.calls), "clock"]).stdout)
                whole = time.monotonic_ns()
                episode.run([str(place.calls), "open_write", "2000"])
                found.append(((first - start) / 1e6, (time.monotonic_ns() - whole) / 1e6))
            return found

        with Episode(workspace=place.workspace, launcher=launcher, commands=[str(place.calls)]) as one:
            alone = work(one, commands)
        episodes, opening = [], []
        for number in range(many):
            folder = place.folder / f"w{number}"
            folder.mkdir()
            start = time.monotonic_ns()
            episode = Episode(workspace=folder, launcher=launcher, commands=[str(place.calls)])
            episodes.append(left.enter_context(episode))
            opening.append((time.monotonic_ns() - start) / 1e6)
            progress(f"{number + 1} of {many} open")
        with ThreadPoolExecutor(many) as pool:
            running = [pool.submit(work, episode, commands) for episode in episodes]
            time.sleep(2.0)
            size, processes = held()
            took = [pair for one_of in running for pair in one_of.result()]
        verdicts = [episode.close() for episode in episodes]
    clean = sum(verdict is not None and verdict.verdict == "clean" and not verdict.gaps for verdict in verdicts)
    first, whole = figure([pair[0] for pair in took]), figure([pair[1] for pair in took])
    report.figures = {
        "episodes": many, "processes": processes, "pss_kb": size, "opening_ms": figure(opening),
        "first_instruction_ms": first, "write_opens_2000_ms": whole,
        "alone_first_instruction_ms": figure([pair[0] for pair in alone]),
        "alone_write_opens_2000_ms": figure([pair[1] for pair in alone]),
    }  # fmt: skip
    report.settle("memory", f"{size / many / 1000:.1f} ({processes} processes, {size / 1000:.0f} MB in all)", met=True)
    report.settle("latency", f"{first}; alone {figure([pair[0] for pair in alone])}", met=True)
    report.settle("whole", f"{clean} of {many} clean without a gap", met=clean == many)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
