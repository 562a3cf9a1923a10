"""What ``proctor report`` costs on a record of many events: seconds, peak memory, size of the page.

    .venv/bin/python bench/report.py [EVENTS]

The record is made up here (processes that open files, each path its own, and end) and kept in a temporary folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from proctor.events import Capabilities, Checkpoint, Close, Exit, File, Open, Process
from proctor.events.kinds import CapabilitiesData, CloseData, ExitData, FileData, OpenData, ProcessData
from proctor.findings import digest
from proctor.journal.keys import SigningKey
from proctor.journal.writer import Writer
from proctor.verdicts import JournalNote, Maker, Verdict, verdict_json


def make(out: Path, number: int) -> None:
    key = SigningKey.from_seed(bytes(32))
    writer = Writer(out, key)

    def envelope(sensor: str = "kernel", **more: Any) -> dict[str, Any]:
        seq = writer.count + 1
        return {
            "v": 1,
            "episode": "bench",
            "seq": seq,
            "t_mono_ns": seq * 10**6,
            "t_wall_ns": seq,
            "sensor": sensor,
            **more,
        }

    def checkpoint() -> None:
        writer.checkpoint(lambda data: Checkpoint(**envelope("session"), data=data))

    opened = OpenData(
        proctor="bench", key=key.public.hex(), policy_digest="p", rules_digest="r", policy={}, workspace="/w"
    )
    writer.append(Open(**envelope("session"), data=opened))
    writer.append(Capabilities(**envelope("session"), data=CapabilitiesData(tier="B")))
    for index in range(number):
        pid = 100 + index // 10
        who = {
            "pid": pid,
            "ppid": max(pid - pid % 7 - 1, 99),
            "start_time": pid,
            "exe": "/usr/bin/cc1",
            "origin_step": f"s{pid % 300}",
        }
        if index % 10 == 0:
            writer.append(Process(**envelope(**who), data=ProcessData(how="call", cmdline=("cc1", f"file{index}.c"))))
        elif index % 10 == 9:
            writer.append(Exit(**envelope(**who), data=ExitData(how="call", code=0)))
        else:
            path = f"/w/build/object{index}.o"
            writer.append(
                File(
                    **envelope(**who),
                    data=FileData(op="create", call="openat", path=path, object=path, role="workspace"),
                )
            )
    data = CloseData(verdict="clean", score_effect="keep", findings=0, findings_digest=digest([]))
    writer.append(Close(**envelope("session"), data=data))
    checkpoint()
    verdict = Verdict(
        episode="bench", verdict="clean", score_effect="keep", tier="B", journal=JournalNote(events=writer.count, head=writer.head),
        proctor=Maker(version="bench", policy_digest="p", rules_digest="r"),
    )  # fmt: skip
    (out / "verdict.json").write_bytes(verdict_json(verdict) + b"\n")
    writer.close()


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "record"
        out.mkdir()
        make(out, number)
        begin = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "proctor", "report", str(out)])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told = {
            "events": number,
            "journal_bytes": (out / "journal/000000.jsonl").stat().st_size,
            "seconds": round(time.perf_counter() - begin, 2),
            "peak_mib": round(usage.ru_maxrss / 1024, 1),
            "page_bytes": (out / "report.html").stat().st_size,
            "status": process.returncode,
        }
        print(json.dumps(told))


if __name__ == "__main__":
    main()
