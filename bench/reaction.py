"""Reaction: an offending call never returns before the tree is dead, or frozen."""

from __future__ import annotations

import mmap
import struct
import sys
import threading
import time
from pathlib import Path

from candidates import bench
from measured import Prediction, Report, arguments, figure

from proctor import Episode, Launcher
from proctor.policy.records import Files, Policy, Responses
from proctor.session.control import ask, running


def board(path: Path) -> mmap.mmap:
    path.write_bytes(b"\0" * 4096)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 4096)


def one(launcher: Launcher, policy: Policy, calls: Path, workspace: Path, action: str) -> tuple[bool, float]:
    """One try: (did the call return, or anything run on?, ms from the call to the child's last sign of life)."""
    shared = board(workspace / "shared")
    with Episode(policy=policy, workspace=workspace, launcher=launcher, commands=[str(calls)]) as episode:
        if action == "kill":
            episode.run([str(calls), "touch", "protected", "shared"])
            returned, before, last, _ = struct.unpack_from("=4Q", shared)
            return bool(returned), (last - before) / 1e6
        name = episode.out.name if episode.out is not None else ""
        thread = threading.Thread(target=episode.run, args=([str(calls), "touch", "protected", "shared"],))
        thread.start()
        while not any(state["episode"] == name and state["state"] == "frozen" for state in running()):
            time.sleep(0.002)
        returned, before, last, _ = struct.unpack_from("=4Q", shared)
        time.sleep(0.02)
        later = struct.unpack_from("=4Q", shared)
        ask(name, {"op": "kill"})
        thread.join()
        return bool(returned or later[0]) or later[2] != last, (last - before) / 1e6


def main() -> int:
    quick = arguments(__doc__).quick
    tries = 20 if quick else 1000
    report = Report(
        "reaction",
        """The agent opens a protected file for writing and, the moment the call returns, stores 1 into memory shared with
        this script; its child stores the time there without end. After the response the 1 must not be there and, while
        frozen, the time must stand still. ms: from the call to the child's last sign of life.""",
        {
            action: Prediction(f"{action}: tries in which the call returned or something ran on", f"0 of {tries}", "0")
            for action in ("kill", "freeze")
        },
        quick,
    )
    report.begin()
    with bench() as place, Launcher() as launcher:
        workspace = place.workspace
        (workspace / "protected").write_text("x")
        for action in ("kill", "freeze"):
            policy = Policy(
                workspace=str(workspace), files=Files(write=(str(workspace),), protect=(str(workspace / "protected"),)),
                responses=Responses(on_violation=action),  # type: ignore[arg-type]
            )  # fmt: skip
            found = [one(launcher, policy, place.calls, workspace, action) for _ in range(tries)]
            failed = sum(returned for returned, _ in found)
            report.figures[action] = {"tries": tries, "failed": failed, "ms": figure([ms for _, ms in found])}
            report.settle(
                action,
                f"{failed} of {tries}; {report.figures[action]['ms']} ms to the last sign of life",
                met=failed == 0,
            )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
