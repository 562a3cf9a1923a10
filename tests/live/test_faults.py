"""What is left when a part of Proctor dies, the disk is full, or the agent means harm."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from proctor.journal.verification import verify
from tests.live.place import PROCTOR, SECONDS, Place, alive, events, waiting_for

PROTECT = '[files]\nprotect = ["tests/"]\n'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.file("tests/t.py", "x = 1\n")
    return place


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def _below(pid: int) -> dict[str, int]:
    """Descendants by name; where several have one name, the last."""
    found = {}
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found[Path(f"/proc/{child}/comm").read_text().strip()] = int(child)
            found |= _below(int(child))
    return found


# It forks, writes, renames, ends children by signals, and leaves daemons of other sessions behind.
STORM = """
import os, signal, sys, time
n = 0
while True:
    n += 1
    with open(f"f{n}", "w") as file: file.write("x")
    os.rename(f"f{n}", f"g{n}")
    pid = os.fork()
    if pid == 0:
        if n % 7 == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(0.5)
            os._exit(0)
        if n % 3 == 0: time.sleep(60)
        os._exit(0)
    if n % 3 == 0: os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


@pytest.mark.parametrize("seed", range(20))
def test_the_supervisor_killed_at_a_random_moment(place: Place, seed: int) -> None:
    marker = f"storm-{os.getpid()}-{seed}-{random.randrange(10**9)}"
    moment = random.Random(seed).random()
    with place.started(sys.executable, "-I", "-S", "-c", STORM, marker, options=["--quiet"]) as (process, out):
        if seed % 5:
            waiting_for(out / "journal" / "000000.jsonl", process)
        else:  # while it is being set up
            _until(lambda: "proctor-super" in _below(process.pid), "no supervisor")
        time.sleep(moment * 0.4)
        os.kill(place.supervisor(process), signal.SIGKILL)
        _, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, stderr
    # Its calls fail closed until it is gone, so the agent may have had a last word; Proctor's own is one line.
    said = [line for line in stderr.splitlines() if line.startswith(b"proctor: ")]
    assert said == [b"proctor: the supervisor ended without a verdict; its record verifies up to the last checkpoint"]
    _until(lambda: not [pid for pid in alive(marker) if pid != process.pid], "a process outlived its supervisor")
    if (out / "journal").exists():
        found = verify(out)
        assert found.status in {"truncated", "not_a_record"}, found
        if found.status == "truncated":
            assert found.events == len(events(out)), found
            # Nothing was done that is not in the record.
            recorded = {
                e["data"][name]
                for e in events(out)
                if e["kind"] == "file"
                for name in ("path", "target")
                if name in e["data"]
            }
            assert {path.name for path in place.workspace.glob("[fg]*")} <= recorded
            assert len(events(out)) == (out / "journal" / "000000.jsonl").read_bytes().count(b"\n")


@pytest.mark.parametrize("name", ["proctor-init", "proctor-outer", "proctor-stdio"])
def test_another_part_killed(place: Place, name: str) -> None:
    """The tree ends or the record has a gap; there is a verdict either way, and it verifies."""
    marker = f"984{os.getpid()}"
    agent = ("sh", "-c", f"touch ready; sleep {marker} & while [ ! -e go ]; do sleep 0.02; done; echo said")
    with place.started(*agent) as (process, out):
        waiting_for(place.workspace / "ready", process)
        # It may be forked, or have its name, only after the agent has begun.
        _until(lambda: name in _below(place.supervisor(process)), f"no {name}")
        os.kill(_below(place.supervisor(process))[name], signal.SIGKILL)
        (place.workspace / "go").touch()
        run = place.finished(process, out)
    assert b"Traceback" not in run.stderr, run.stderr.decode()
    assert place.proctor("verify", str(out)).returncode == 0
    assert not alive(f"sleep\0{marker}")
    if name == "proctor-stdio":
        assert (run.status, run.verdict["verdict"]) == (12, "incomplete")
    else:
        assert run.verdict["agent_signal"] == signal.SIGKILL
        assert run.status in {0, 12}


def test_the_client_killed(place: Place) -> None:
    marker = f"979{os.getpid()}"
    with place.started("sh", "-c", f"touch ready; setsid sleep {marker} & sleep {marker}") as (process, out):
        waiting_for(place.workspace / "ready", process)
        process.kill()
        process.wait()
    _until((out / "verdict.json").exists, "no verdict")
    _until(lambda: not alive(f"sleep\0{marker}"), "a process outlived its client")
    verdict = json.loads((out / "verdict.json").read_text())
    assert (verdict["verdict"], [gap["of"] for gap in verdict["gaps"]]) == ("incomplete", ["session"])
    _until((out / "report.md").exists, "no report")
    assert place.proctor("verify", str(out)).returncode == 0


def test_the_supervisor_killed_while_the_tree_is_frozen(place: Place) -> None:
    marker = f"frozen-{os.getpid()}"
    policy = PROTECT + '[responses]\non_violation = "freeze"\n'
    with place.started(sys.executable, "-c", "open('tests/t.py', 'w')", marker, policy=policy) as (process, out):
        _until(lambda: b"frozen" in place.proctor("ps").stdout, "never frozen")
        os.kill(place.supervisor(process), signal.SIGKILL)
        process.communicate(timeout=SECONDS)
    _until(lambda: not alive(marker), "a frozen process outlived its supervisor")
    assert verify(out).status == "truncated"


# --- the disk ---------------------------------------------------------------------------------------------------------


def _in_private_mounts(place: Place, script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell script as root of a mount namespace of its own."""
    unshare = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    return subprocess.run(
        [*unshare, "--propagation", "private", "sh", "-c", script], cwd=place.workspace, env=place.env,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("kilobytes", [4, 8, 64, 400])
def test_a_full_disk(place: Place, kilobytes: int) -> None:
    """Whatever there is room for: one line, status 1, nothing left running, and what was written is good."""
    marker = f"full-{os.getpid()}-{kilobytes}"
    out = place.folder / "small"
    out.mkdir()
    run = shlex.join(place.command(sys.executable, "-I", "-S", "-c", STORM, marker, options=["--quiet"], out=out / "r"))
    verified = shlex.join([PROCTOR, "verify", str(out / "r")])
    done = _in_private_mounts(
        place,
        f"mount -t tmpfs -o size={kilobytes}k none {out} && {run}; echo status $?; {verified} >/dev/null 2>&1; echo verify $?",
    )
    assert done.stdout.splitlines()[0] == b"status 1", done
    assert done.stdout.splitlines()[1] in {b"verify 3", b"verify 2"}
    assert len(done.stderr.splitlines()) == 1, done.stderr.decode()
    assert b"No space left" in done.stderr or b"could be written" in done.stderr
    _until(lambda: not alive(marker), "a process outlived its record")


def test_a_disk_that_is_full_when_the_verdict_is_written(place: Place) -> None:
    """The journal fits, the report does not: that is a failure, in one line, and the record says what happened."""
    out = place.folder / "small"
    out.mkdir()
    statuses = set()
    run = shlex.join(place.command("sh", "-c", "echo > tests/t.py", policy=PROTECT, options=["--quiet"], out=out / "r"))
    for kilobytes in (8, 12, 16, 24):
        done = _in_private_mounts(
            place, f"mount -t tmpfs -o size={kilobytes}k none {out} && {run}; echo status $?; ls {out}/r"
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        status = int(done.stdout.split()[1])
        assert status in {1, 10}, done
        assert len([line for line in done.stderr.splitlines() if line.startswith(b"proctor: ")]) == (status == 1), (
            done.stderr
        )
        statuses.add(status)
        assert b".part" not in done.stdout
    assert 1 in statuses


def test_an_output_folder_that_is_read_only(place: Place) -> None:
    out = place.folder / "fixed"
    out.mkdir()
    run = shlex.join(place.command("touch", "ran", options=["--quiet"], out=out / "r"))
    done = _in_private_mounts(
        place, f"mount --bind {out} {out} && mount -o remount,bind,ro {out} && {run}; echo status $?"
    )
    assert done.stdout == b"status 2\n", done
    assert len(done.stderr.splitlines()) == 1, done.stderr.decode()
    assert not (place.workspace / "ran").exists()


def test_state_that_cannot_be_written(place: Place) -> None:
    """No key can be made and no default folder: one line each."""
    place.state.mkdir()
    bind = f"mount --bind {place.state} {place.state} && mount -o remount,bind,ro {place.state}"
    for words in (["--out", str(place.folder / "elsewhere")], []):
        run = shlex.join([PROCTOR, "run", "--quiet", *words, "--", "touch", "ran"])
        done = _in_private_mounts(place, f"{bind} && {run}; echo status $?")
        assert done.stdout in {b"status 2\n", b"status 1\n"}, done
        assert len(done.stderr.splitlines()) == 1, done.stderr.decode()
    assert not (place.workspace / "ran").exists()


# --- the agent --------------------------------------------------------------------------------------------------------

HOSTILE = r"""
import os, sys
names = [b"\x1b]0;owned\x07", b"a\nproctor: clean (score: keep)\n", b"\xff\xfe\x80", b"\r\x1b[2K", "\u202e\u2066x".encode(), b"x" * 255, b"[a](javascript:b)", b"| # `", b"\xc2\x9b31m"]
for name in names:
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    for call in (lambda: os.open(b"tests/" + name, os.O_CREAT | os.O_WRONLY), lambda: os.unlink(b"tests/" + name), lambda: os.open(b"answers/" + name, 0)):
        try: call()
        except OSError: pass
    if os.fork() == 0:
        os.execve("/bin/true", [name, name], {name.replace(b"=", b""): name})
    os.wait()
    os.write(1, name + b"\n"); os.write(2, name + b"\n")
os.mkdir(b"\x1b[31m dir"); os.chdir(b"\x1b[31m dir")
os.fork() == 0 and os.execv("/bin/sh", [b"\x1b[31m\n", b"-c", b"exit 0"])
"""


def test_hostile_names_are_inert_wherever_they_are_shown(place: Place) -> None:
    for name in (b"\x1b[31mred", b"a\nb", b"\xff", "\u202eevil".encode()):
        (place.workspace / "answers").mkdir(exist_ok=True)
        Path(os.fsdecode(os.fsencode(place.workspace / "answers") + b"/" + name)).write_text("secret")
    policy = '[files]\nprotect = ["tests/"]\nhide = ["answers/"]\n'
    run = place.run(sys.executable, "-c", HOSTILE, policy=policy, options=["--json"])
    assert run.status == 10, run.stderr
    quiet = place.run(sys.executable, "-c", "pass", "\x1b[31m\n", policy=policy)
    report = (run.out / "report.md").read_bytes()
    shown = [report, run.stdout, quiet.stderr]
    for words in (["verify", str(run.out)], ["replay", str(run.out)], ["replay", "--json", str(run.out)]):
        done = place.proctor(*words)
        assert done.returncode == 0, done
        shown += [done.stdout, done.stderr]
    # Of what went to standard error, the agent's own words pass through; Proctor's lines are looked at alone.
    own = run.stderr[run.stderr.rindex(b"\nproctor: violation") :]
    for text in (*shown, own):
        decoded = text.decode()
        assert not [char for char in decoded if not char.isprintable() and char != "\n"], decoded[:2000]
    assert b"\nproctor: clean" not in own
    assert json.loads(run.stdout) == run.verdict


def test_an_agent_that_signals_everything_it_sees(place: Place) -> None:
    agent = """
import os, signal, subprocess
other = subprocess.Popen(["sleep", "1000"])
pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
for signo in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
    for pid in [1, *pids, *range(1, 3000)]:
        if pid in (os.getpid(), other.pid): continue
        try: os.kill(pid, signo)
        except OSError: pass
os.kill(-1, signal.SIGKILL)
print(other.wait())
"""
    run = place.run(sys.executable, "-c", agent)
    assert run.stdout == b"-9\n", run.stderr
    assert run.verdict["agent_exit"] == 0
    assert run.verdict["gaps"] == []
    assert len(run.of("signal")) >= 3 * 2998
    killed = [e["data"]["signal"] for e in run.of("exit") if e["data"]["how"] == "signal"]
    assert killed == [9]


def test_an_agent_that_closes_everything_and_goes_on(place: Place) -> None:
    agent = """
import os, time
os.closerange(0, 4096)
for n in range(50): os.close(os.open(f"f{n}", os.O_CREAT | os.O_WRONLY))
if os.fork() == 0:
    os.setsid()
    os.open("child", os.O_CREAT | os.O_WRONLY)
    os._exit(0)
os.wait()
os._exit(5)
"""
    run = place.run(sys.executable, "-c", agent, options=["--exit-status", "agent"])
    assert run.status == 5
    assert len([e for e in run.of("file") if e["data"]["op"] == "create"]) == 51
    assert run.verdict["verdict"] == "clean"


def test_an_agent_that_never_ends(place: Place) -> None:
    agent = f"trap '' TERM INT HUP; while :; do setsid sleep 978{os.getpid()}; done"
    run = place.run("sh", "-c", agent, policy="[resources]\nwall_seconds = 0.5\n")
    assert [(one["action"], one["limit"]) for one in run.verdict["responses"]] == [("kill", "wall_seconds")]
    assert run.verdict["agent_signal"] == signal.SIGKILL
    assert not alive(f"sleep\0978{os.getpid()}")


def test_thousands_of_findings(place: Place) -> None:
    """Each in a step of its own; those beyond a thousand are one together."""
    agent = """
import os, socket
def mark(line):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/run/proctor/mark.sock")
        connection.sendall(line.encode())
        connection.recv(100)
for n in range(2_000):
    mark(f"begin s{n}")
    try: os.open("tests/t.py", os.O_WRONLY)
    except OSError: pass
    mark(f"end s{n}")
"""
    run = place.run(sys.executable, "-c", agent, policy=PROTECT, options=["--quiet"])
    assert run.status == 10
    assert [finding["count"] for finding in run.verdict["findings"]] == [1] * 1_000 + [1_000]
    assert place.proctor("verify", str(run.out)).returncode == 0
    assert place.proctor("replay", str(run.out)).returncode == 0


def test_ten_thousand_targets_of_one_finding(place: Place) -> None:
    agent = """
import os
for n in range(10_000):
    try: os.open(f"tests/{n}", os.O_CREAT | os.O_WRONLY)
    except OSError: pass
"""
    policy = PROTECT + '[[authorise]]\ncategory = "grader"\nscope = "tests/"\nreason = "r"\nby = "b"\n'
    run = place.run(sys.executable, "-c", agent, policy=policy, options=["--quiet"])
    (finding,) = run.verdict["findings"]
    assert finding["authorisation"] == "authorised"
    assert run.status == 0
