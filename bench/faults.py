"""Faults: the supervisor killed at random moments; a gigabyte on standard output."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from candidates import Bench, bench
from measured import Prediction, Report, arguments, figure
from procfs import SUPERVISOR, text


def supervisor(out: Path) -> int | None:
    for name in os.listdir("/proc"):
        if (
            name.isdigit()
            and text(f"/proc/{name}/comm").strip() == SUPERVISOR
            and str(out) in text(f"/proc/{name}/cmdline")
        ):
            return int(name)
    return None


def alive(marker: str) -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and marker in text(f"/proc/{name}/cmdline")]


def start(place: Bench, out: Path, *command: str, **kwargs: object) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "proctor", "run", "--quiet", "--out", str(out), "--", *command]
    return subprocess.Popen(argv, cwd=place.workspace, env=place.environ, stderr=subprocess.DEVNULL, **kwargs)  # type: ignore[call-overload,no-any-return]


def killed(place: Bench, number: int) -> tuple[str, float]:
    """Kill one supervisor somewhere in a busy second; return what verify says, and ms until nothing was left."""
    out = place.folder / f"record-{number}"
    board = place.workspace / f"board-{number}"
    board.write_bytes(b"\0" * 4096)
    process = start(place, out, str(place.calls), "busy", board.name, stdout=subprocess.DEVNULL)
    while (pid := supervisor(out)) is None or not (out / "journal/000000.jsonl").exists():
        time.sleep(0.002)
    time.sleep(random.uniform(0, 1))
    at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while alive(board.name):
        time.sleep(0.001)
        if time.monotonic() - at > 10:
            return "a process survived", 10_000.0
    gone = (time.monotonic() - at) * 1000
    process.wait()
    done = subprocess.run([sys.executable, "-m", "proctor", "verify", str(out)], capture_output=True, check=False)
    return {0: "intact", 1: "tampered", 3: "truncated"}.get(done.returncode, "not a record"), gone


def flood(place: Bench, size: int) -> tuple[bool, int, float]:
    """(intact by digest on both sides, supervisor's peak KiB, seconds)."""
    out = place.folder / "record-flood"
    began = time.monotonic()
    process = start(place, out, str(place.calls), "flood", str(size), stdout=subprocess.PIPE)
    digest, total, peak, pid = hashlib.sha256(), 0, 0, None
    while process.stdout is not None and (chunk := process.stdout.read(1 << 20)):
        digest.update(chunk)
        total += len(chunk)
        pid = pid or supervisor(out)
        words = text(f"/proc/{pid}/status").partition("VmHWM:")[2].split()
        peak = max(peak, int(words[0]) if words else 0)
    process.wait()
    took = time.monotonic() - began
    events = [json.loads(line) for line in (out / "journal/000000.jsonl").read_bytes().splitlines()]
    output = next(one["data"] for one in events if one["kind"] == "output" and one["data"]["stream"] == "stdout")
    return total == size == output["bytes"] and output["digest"] == digest.hexdigest(), peak, took


def main() -> int:
    quick = arguments(__doc__).quick
    tries, size = (10, 50_000_000) if quick else (200, 1_000_000_000)
    report = Report(
        "faults",
        """The supervisor gets SIGKILL at a random moment of a busy second (write-opens and forks without end); then no
        process of the sandbox may be left, and `proctor verify` must say truncated, never tampered. A pseudo-random
        stream is written to standard output and digested on both sides.""",
        {
            "killed": Prediction("supervisor killed", f"{tries} of {tries} truncated, nothing survives", "all"),
            "flood": Prediction(f"{size:,} bytes on stdout", "intact, supervisor <= 60 MB", "intact, 45 MB"),
        },
        quick,
    )
    report.begin()
    with bench() as place:
        found = [killed(place, number) for number in range(tries)]
        intact, peak, took = flood(place, size)
    said = Counter(verdict for verdict, _ in found)
    report.figures = {
        "verify": dict(said),
        "ms_until_empty": figure([ms for _, ms in found]),
        "flood_seconds": took,
        "flood_peak_kb": peak,
    }
    report.settle(
        "killed", f"{dict(said)}; empty after {report.figures['ms_until_empty']} ms", met=said["truncated"] == tries
    )
    report.settle(
        "flood",
        f"{'intact' if intact else 'DIFFERENT'}, {peak / 1000:.0f} MB, {took:.1f} s",
        met=intact and 0 < peak <= 60_000,
    )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
