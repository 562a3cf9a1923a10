"""Tier A: the kernel's tracepoints beside the supervisor. Both see the same, or the episode is incomplete."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from proctor.errors import SandboxError
from proctor.events import Event, kinds
from proctor.sandbox import cgroups
from proctor.sensors import libbpf
from proctor.sensors.freezer import Freezer
from proctor.sensors.tracepoints import Tracepoints
from proctor.sensors.tracerecords import CALL, EXEC, Record, shapes
from proctor.session.crosscheck import CrossCheck
from tests.live.place import SECONDS, Place, Run, waiting_for

OPTIONS = ("--tier", "A", "--quiet")
PYTHON = sys.executable

# What makes the two sensors see different things, if anything does: interrupted calls, threads that exec and that end
# their process while others call, processes killed while they call or before, refused and foreign calls.
HOSTILE = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
static void tick(int s) {}
static void *opener(void *a) { char n[64]; for (int i = 0; i < 40; i++) { sprintf(n, "f%d-%ld-%d", getpid(), (long)a, i);
  int f = open(n, O_CREAT | O_WRONLY, 0644); if (f >= 0) close(f); unlink(n); } return 0; }
static void *execer(void *a) { execl("/bin/true", "true", (char *)0); return 0; }
static void *waiter(void *a) { opener(a); pause(); return 0; }
int main(void) {
  pthread_t t[4]; long r;
  for (int k = 0; k < 2; k++) if (!fork()) { struct sigaction s = {.sa_handler = tick, .sa_flags = k ? SA_RESTART : 0};
    sigaction(SIGALRM, &s, 0); struct itimerval i = {{0, 700}, {0, 700}}; setitimer(ITIMER_REAL, &i, 0); opener(0); _exit(0); }
  for (int k = 0; k < 2; k++) if (!fork()) { for (long i = 0; i < 3; i++) pthread_create(t + i, 0, waiter, (void *)i);
    usleep(9000 * k); pthread_create(t + 3, 0, execer, 0); pause(); }
  for (int k = 0; k < 2; k++) if (!fork()) { for (long i = 0; i < 4; i++) pthread_create(t + i, 0, waiter, (void *)i);
    usleep(9000); exit(7); }
  for (int k = 0; k < 4; k++) { pid_t p = fork(); if (!p) for (;;) opener(0); usleep(9000); kill(p, SIGKILL); }
  for (int k = 0; k < 4; k++) { pid_t p = fork(); if (!p) for (;;) getppid(); kill(p, SIGKILL); }
  pid_t p = vfork(); if (!p) { execl("/nonexistent", "x", (char *)0); _exit(127); }
  ptrace(PTRACE_TRACEME, 0, 0, 0); syscall(425, 1, 0); syscall(SYS_unshare, 0x10000000); syscall(0x40000000 | 257, 0, 0, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(0x7f000001)}};
  int s = socket(AF_INET, SOCK_STREAM, 0); connect(s, (void *)&a, sizeof a); connect(s, (void *)8, 16);
  bind(s, (void *)&a, sizeof a); listen(s, 1);
  __asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory");
  struct { unsigned long flags, mode, resolve; } how = {O_CREAT | O_WRONLY, 0644, 0};
  syscall(437, AT_FDCWD, "how", &how, 24); how.flags = O_RDONLY; how.mode = 0; syscall(437, AT_FDCWD, "how", &how, 24);
  syscall(437, AT_FDCWD, "how", 8, 24); open((char *)8, O_WRONLY); open((char *)8, O_RDONLY);
  if (!fork()) { if (!fork()) { setsid(); for (;;) pause(); } _exit(0); }
  for (int i = 0; i < 16; i++) waitpid(-1, 0, 0);
  syscall(SYS_exit, 3);
}
"""


def reconciled(run: Run) -> dict[str, Any]:
    (event,) = run.of("reconcile")
    data: dict[str, Any] = event["data"]
    return data


def gaps(run: Run) -> list[str]:
    return [event["data"]["what"] for event in run.of("gap")]


def counts(data: dict[str, Any], who: str) -> dict[str, int]:
    return {count["kind"]: count[who] for count in data["counts"]}


@contextmanager
def a_cgroup(name: str) -> Iterator[Path]:
    group = cgroups.create(name)
    assert group is not None
    try:
        yield group.folder
    finally:
        group.remove()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(autouse=True)
def _tracepoints() -> None:
    if os.geteuid() == 0:
        Tracepoints(shapes(watch=False)).close()


@pytest.mark.root
def test_an_honest_episode_agrees(place: Place) -> None:
    place.file("main.c", "int main(void) { return 0; }")
    agent = f"gcc main.c -o prog && ./prog; mv main.c kept.c; rm kept.c; ls /nonexistent; (exit 3); {PYTHON} -c 'import subprocess as s; s.run([\"true\"])'; kill -9 $$"
    run = place.run("sh", "-c", agent, options=OPTIONS)
    assert (run.status, gaps(run)) == (0, []), run.stderr
    assert run.verdict["tier"] == "A"
    (capabilities,) = run.of("capabilities")
    assert capabilities["data"]["features"]["tracepoints"] is True
    data = reconciled(run)
    assert data["differences"] == data["dropped"] == 0
    observed = counts(data, "observed")
    assert counts(data, "recorded") == observed
    assert (
        observed["exec_succeeded"]
        == len([e for e in run.of("exec_result") if e["data"]["outcome"] == "succeeded"])
        >= 8
    )
    assert observed["fork"] == len(run.of("clone"))
    assert observed["exit"] == len(run.of("exit")) == len(run.of("process"))
    assert data["seen"] > sum(observed.values())
    assert place.proctor("verify", str(run.out)).returncode == 0
    assert place.proctor("replay", str(run.out)).returncode == 0


@pytest.mark.root
def test_what_the_two_sensors_see_in_their_own_ways_agrees(place: Place) -> None:
    program = place.workspace / "hostile"
    subprocess.run(
        ["gcc", "-O1", "-pthread", "-w", "-o", program, "-x", "c", "-"], input=HOSTILE, text=True, check=True
    )
    run = place.run("./hostile", options=OPTIONS)
    data = reconciled(run)
    assert gaps(run) == [], data
    assert len(run.of("process")) == len(run.of("exit")) == len({(e["pid"], e["start_time"]) for e in run.of("exit")})
    assert {"foreign": 1, "refused_call": 3}.items() <= counts(data, "observed").items()


@pytest.mark.root
def test_an_episode_that_is_ended_under_way_agrees(place: Place) -> None:
    busy = f"while :; do echo x > a$$; {PYTHON} -c 1; done"
    for seconds in (0.3, 0.6):
        with place.started("sh", "-c", f"({busy}) & ({busy}) & {busy}", options=OPTIONS) as (process, out):
            waiting_for(out / "journal", process)
            time.sleep(seconds)
            process.send_signal(signal.SIGTERM)
            run = place.finished(process, out)
        assert (gaps(run), reconciled(run)["differences"]) == ([], 0), reconciled(run)


def _the_cgroup(run_of: subprocess.Popen[bytes], place: Place) -> Path:
    """The cgroup that the agent's first process is in."""
    own = cgroups._own()
    assert own is not None
    found = own.glob(f"proctor-{place.supervisor(run_of)}-*")
    (folder,) = [one for one in found if "populated 1" in (one / "cgroup.events").read_text()]
    return folder


@pytest.mark.root
@pytest.mark.parametrize("acts", [True, False])
def test_a_process_moved_in_from_outside_is_a_gap(place: Place, acts: bool) -> None:
    code = "import os, sys; sys.stdin.readline(); open(os.devnull, 'w')" if acts else "import sys; sys.stdin.readline()"
    agent = "touch ready; while [ ! -e go ]; do sleep 0.02; done"
    with (
        subprocess.Popen([PYTHON, "-c", code], stdin=subprocess.PIPE) as other,
        place.started("sh", "-c", agent, options=OPTIONS) as (process, out),
    ):
        waiting_for(place.workspace / "ready", process)
        (_the_cgroup(process, place) / "cgroup.procs").write_text(str(other.pid))
        other.communicate(b"\n")
        place.file("go")
        run = place.finished(process, out)
    assert run.status == 12
    assert f"process {other.pid} was moved into the episode's cgroup, by somebody outside" in gaps(run)
    writes = f"process {other.pid}: the record has 1 fewer of openat than the tracepoints saw"
    assert (writes in gaps(run)) is acts
    assert place.proctor("verify", str(run.out)).returncode == 0


@pytest.mark.root
def test_a_process_moved_out_is_a_gap(place: Place) -> None:
    with place.started(
        "sh", "-c", "touch ready; while [ ! -e go ]; do sleep 0.02; done; echo x > made", options=OPTIONS
    ) as (process, out):
        waiting_for(place.workspace / "ready", process)
        group = _the_cgroup(process, place)
        pid = int((group / "cgroup.procs").read_text().split()[0])
        (group.parent / "cgroup.procs").write_text(str(pid))
        place.file("go")
        run = place.finished(process, out)
    assert run.status == 12
    assert f"process {pid} was moved out of the episode's cgroup, by somebody outside" in gaps(run)
    assert f"process {pid}: the record has 1 more of openat than the tracepoints saw" in gaps(run)
    assert f"process {pid}: the tracepoints did not see it end" in gaps(run)


@pytest.mark.root
def test_a_killed_supervisor_leaves_a_record_that_is_incomplete(place: Place) -> None:
    with place.started("sh", "-c", "touch ready; while :; do echo x > made; done", options=OPTIONS) as (process, out):
        waiting_for(place.workspace / "ready", process)
        os.kill(place.supervisor(process), signal.SIGKILL)
        run = place.finished(process, out)
    assert run.status == 1
    assert run.of("reconcile") == []
    assert place.proctor("verify", str(out)).returncode == 3
    assert place.proctor("rejudge", str(out)).returncode == 12


class _Gaps:
    """Stands where a recorder does, for a sensor without an episode."""

    seen = None

    def __init__(self) -> None:
        self.events: list[tuple[type[Event], Any]] = []

    def emit(self, cls: type[Event], data: Any) -> int:
        self.events.append((cls, data))
        return len(self.events)


class _Nobody:
    """A loop that never looks: the ring is not read until the end."""

    def register(self, fd: int, action: Any) -> None:
        pass


def storm(group: Path, processes: int, opens: int) -> None:
    """Write-opens by several processes in a cgroup."""
    code = f"import os\nfor i in range({opens}): os.close(os.open('/dev/null', os.O_WRONLY))"
    enter = f'echo 0 > {group}/cgroup.procs; exec {PYTHON} -I -c "$1"'
    running = [subprocess.Popen(["sh", "-c", enter, "sh", code]) for _ in range(processes)]
    assert [one.wait(SECONDS) for one in running] == [0] * processes


@pytest.mark.root
def test_records_that_the_ring_had_no_room_for_are_counted_and_a_gap() -> None:
    with a_cgroup("small-ring") as group:
        check, taken = CrossCheck(ring_bytes=4096), _Gaps()
        check._tracepoints.freezer = None
        check.begin(group, taken, _Nobody())  # type: ignore[arg-type]
        storm(group, 1, 500)
        check.close()
    (gap, reconcile) = [data for _, data in taken.events]
    assert isinstance(gap, kinds.GapData)
    assert gap.what.startswith(f"the tracepoints' ring had no room for {reconcile.dropped} records")
    assert reconcile.dropped > 400
    assert reconcile.seen > 500


@pytest.mark.root
def test_nothing_is_lost_in_a_storm_that_is_frozen_while_the_reader_is_behind() -> None:
    """bench/ebpf.py has the storm that a ring could not hold; here the machine may keep the reader off for its whole length."""
    kept: list[Record] = []
    with a_cgroup("storm") as group:
        sensor = Tracepoints(shapes(watch=True), ring_bytes=1 << 23)
        try:
            sensor.freezer = freezer = Freezer(group, guarded=True)
            sensor.attach(group, detail=True, wake=0)
            done = subprocess.Popen([PYTHON, "-c", f"import sys; sys.path[:0] = {sys.path!r}\nfrom pathlib import Path\nfrom tests.live.test_tier_a import storm\nstorm(Path({str(group)!r}), 4, 14000)"])  # fmt: skip
            while done.poll() is None:
                sensor.drain(kept.append)
            sensor.detach()
            sensor.drain(kept.append)
            totals = sensor.totals()
            freezer.close()
        finally:
            sensor.close()
    assert done.returncode == 0
    assert totals.lost == 0
    assert freezer.times > 0
    assert len([one for one in kept if one.type == CALL and one.pieces and one.pieces[0] == b"null\0dev\0"]) == 56_000
    assert len(kept) == sum(totals.seen)


@pytest.mark.root
def test_a_cgroup_does_not_stay_frozen_when_its_watcher_is_killed() -> None:
    with a_cgroup("guarded") as group:
        code = "import os, signal, sys\nfrom pathlib import Path\nfrom proctor.sensors.freezer import Freezer\nfreezer = Freezer(Path(sys.argv[1]), guarded=True)\nfreezer.level(1)\nprint(Path(sys.argv[1], 'cgroup.freeze').read_text(), flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
        ended = subprocess.run([PYTHON, "-c", code, group], capture_output=True, check=False, timeout=SECONDS)
        assert (ended.returncode, ended.stdout) == (-9, b"1\n\n")
        deadline = time.monotonic() + SECONDS
        while (group / "cgroup.freeze").read_text() != "0\n":
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.mark.root
def test_a_cgroup_made_below_is_seen_and_a_neighbour_is_not() -> None:
    kept: list[Record] = []
    with a_cgroup("outer") as group, a_cgroup("outer-neighbour") as neighbour:
        (group / "step-inner").mkdir()
        sensor = Tracepoints(shapes(watch=True))
        try:
            sensor.attach(group, detail=True, wake=0)
            storm(group / "step-inner", 1, 3)
            storm(neighbour, 1, 3)
            sensor.drain(kept.append)
        finally:
            sensor.close()
    assert len([one for one in kept if one.type == CALL and one.pieces and one.pieces[0] == b"null\0dev\0"]) == 3
    assert [one.pieces[0] for one in kept if one.type == EXEC] == [os.fsencode(PYTHON) + b"\0"]


def test_who_may_not_load_it_is_told_so_in_one_line(place: Place) -> None:
    """Root without the capabilities that it takes, and everybody else."""
    run = ["setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon", "--inh-caps=-all", "--"] if os.geteuid() == 0 else []
    out = place.new_out()
    command = [*run, *place.command("true", options=OPTIONS, out=out)]
    done = subprocess.run(
        command, cwd=place.workspace, env=place.env, capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(
        b"proctor: tier A is not to be had: the kernel does not take the BPF programs: Operation not"
    )


def test_without_libbpf_it_is_said_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise OSError("libbpf.so.1: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", missing)
    with pytest.raises(SandboxError, match=r"libbpf1\) cannot be loaded: libbpf.so.1: cannot open"):
        libbpf.library()
