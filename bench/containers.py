"""What a container pays: streaming the journal to a collector, and an exported runtime's size and start-up."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from candidates import PROCTOR, Bench, bench
from cost import seconds, timed
from measured import Figure, Prediction, Report, arguments, figure, progress

WAYS = ("none", "socket", "pipe")


@contextmanager
def collector(place: Bench) -> Iterator[Path]:
    """``proctor collect`` on a unix socket."""
    socket = place.folder / "collector.sock"
    line = [PROCTOR, "collect", "--listen", f"unix:{socket}", "--keep-free-mb", "0", str(place.folder / "collected")]
    with subprocess.Popen(line, env=place.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not socket.exists():
                time.sleep(0.05)
            yield socket
        finally:
            process.terminate()


def spent() -> float:
    """CPU seconds of every process that was waited for: what other work on the machine does not change much."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def streamed(place: Bench, socket: Path, way: str, script: list[str]) -> tuple[float, float]:
    """Seconds of ``script`` under Proctor that streams so, and CPU seconds of the whole run without the reader's."""
    before = spent()
    stamp = place.workspace / "stamp"
    if way == "pipe":
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as reader:
            assert reader.stdin is not None
            fd = reader.stdin.fileno()
            os.set_inheritable(fd, True)
            place.more = ("--stream", f"fd:{fd}")
            stamp.unlink(missing_ok=True)
            subprocess.run(
                place.candidate("proctor", script), cwd=place.workspace, env=place.environ, pass_fds=[fd], check=True,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            return int(stamp.read_text()) / 1e9, spent() - before
    place.more = ("--stream", f"unix:{socket}") if way == "socket" else ()
    took = seconds(place.candidate("proctor", script), place, stamp)
    return took, spent() - before


def streaming(place: Bench, socket: Path, each: int, rounds: int) -> dict[str, dict[str, Figure]]:
    """Ratios to the run of the same round that streams nowhere, and those runs' own seconds."""
    found: dict[str, dict[str, Figure]] = {}
    for name, script in {
        "write opens": f"{place.calls} open_write {each} > /dev/null",
        "forks": f"{place.calls} fork_exit {each // 10} > /dev/null",
    }.items():
        took: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in WAYS[number % len(WAYS) :] + WAYS[: number % len(WAYS)]:
                took[way].append(streamed(place, socket, way, timed(script)))
            progress(f"{name}: {number + 1} of {rounds}")
        found[name] = {}
        for at, what in enumerate(("seconds", "CPU seconds")):
            found[name][f"{what} without"] = figure([pair[at] for pair in took["none"]])
            for way in WAYS[1:]:
                both = zip(took[way], took["none"], strict=True)
                found[name][f"{what}, {way}"] = figure([one[at] / base[at] for one, base in both])
    place.more = ()
    return found


def forget(folder: Path) -> None:
    """Put the files of ``folder`` out of the page cache, as on a node that has just mounted it."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def wall(place: Bench, program: str, socket: Path | None) -> tuple[float, float]:
    """Milliseconds of ``proctor run -- true``, from before its start to after its end; and of CPU."""
    before = spent()
    stream = [] if socket is None else ["--stream", f"unix:{socket}"]
    begin = time.monotonic_ns()
    subprocess.run(
        [program, "run", "--quiet", *stream, "--", "true"], cwd=place.workspace, env=place.environ, check=True
    )
    return (time.monotonic_ns() - begin) / 1e6, (spent() - before) * 1e3


def starting(place: Bench, runtime: Path, socket: Path, rounds: int) -> dict[str, Figure]:
    """Milliseconds of a whole ``proctor run -- true``, in rotating order."""
    started = str(runtime / "proctor")
    ways = {
        "installed": lambda: wall(place, PROCTOR, None),
        "runtime": lambda: wall(place, started, None),
        "runtime, streamed": lambda: wall(place, started, socket),
        "runtime, out of the page cache": lambda: (forget(runtime), wall(place, started, None))[1],
    }
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]:
            took[name].append(ways[name]())
        progress(f"start: {number + 1} of {rounds}")
    found = {name: figure([pair[0] for pair in values]) for name, values in took.items()}
    return found | {f"{name}, CPU": figure([pair[1] for pair in values]) for name, values in took.items()}


def size(folder: Path) -> dict[str, int]:
    """Bytes and files of an exported runtime, and the bytes of its largest parts."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    parts = {
        part: sum(p.stat().st_size for p in files if p.is_relative_to(folder / part)) for part in ("app", "python")
    }
    return {"files": len(files), "bytes": sum(path.stat().st_size for path in files), **parts}


def main() -> int:
    quick = arguments(__doc__).quick
    each, rounds, starts = (2_000, 3, 3) if quick else (5_000, 9, 9)
    report = Report(
        "containers",
        f"""Streaming: {each:,} write-opens, and {each // 10:,} forks (workload/calls.c) under tier B, without a stream, to
        `proctor collect` on a unix socket, and into a pipe that cat(1) reads; ratio to the run without of the same round,
        order rotating, {rounds} rounds; the work's own duration, without start and end, and CPU seconds of
        the whole run (RUSAGE_CHILDREN), without the reader's. Start: a whole `proctor run -- true`
        of an installation and of an exported runtime with its interpreter, {starts} rounds; out of the page cache: its files
        put out by posix_fadvise before each run. No container: it adds what its maker takes.""",
        {
            "socket": Prediction("write-opens streamed to a collector, ratio", "<= 1.5", "1.05 to 1.25 (the collector uses the other core)"),
            "cpu": Prediction("the same, ratio of CPU seconds of the whole run", "<= 1.2", "1.02 to 1.10"),
            "pipe": Prediction("write-opens streamed into a pipe, ratio", "stated", "1.05 to 1.2"),
            "start": Prediction("runtime's start, ratio to an installation's", "<= 1.3", "0.9 to 1.2: its rules are compiled, its libc is its own"),
            "cold": Prediction("runtime's start out of the page cache, ms", "stated", "600 to 1,500"),
            "size": Prediction("runtime with interpreter, MB", "<= 100", "71"),
        },
        quick,
    )  # fmt: skip
    report.begin()
    with bench() as place:
        exported = {}
        for name, options in {"without": [], "with": ["--python"]}.items():
            exported[name] = place.folder / f"runtime-{name}"
            subprocess.run(
                [PROCTOR, "export-runtime", *options, str(exported[name])], check=True, stdout=subprocess.DEVNULL
            )
        with collector(place) as socket:
            cost = streaming(place, socket, each, rounds)
            start = starting(place, exported["with"], socket, starts)
        sizes = {name: size(folder) for name, folder in exported.items()}
    report.figures = {"ratio": cost, "start_ms": start, "size": sizes}
    opens = cost["write opens"]
    report.settle("socket", f"{opens['seconds, socket']}", met=opens["seconds, socket"].median <= 1.5)
    report.settle("cpu", f"{opens['CPU seconds, socket']}", met=opens["CPU seconds, socket"].median <= 1.2)
    report.settle("pipe", f"{opens['seconds, pipe']}", met=True)
    ratio = start["runtime"].median / start["installed"].median
    cpu = start["runtime, CPU"].median / start["installed, CPU"].median
    told = f"{ratio:.2f} ({start['runtime']} to {start['installed']} ms); of CPU {cpu:.2f}"
    report.settle("start", told, met=ratio <= 1.3)
    report.settle("cold", f"{start['runtime, out of the page cache']}", met=True)
    whole = sizes["with"]["bytes"] / 1e6
    report.settle("size", f"{whole:.1f}; without {sizes['without']['bytes'] / 1e6:.1f}", met=whole <= 100)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
