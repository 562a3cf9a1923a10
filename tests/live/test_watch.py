"""``proctor watch``: other people's processes, by their cgroup. Recorded and judged, not contained."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proctor.sandbox import cgroups
from tests.live.place import PROCTOR, SECONDS, Place, Run

PYTHON = sys.executable

# In the form of SigmaHQ's rules/linux/process_creation.
RULE = """title: Base64 Encoded Pipe to Shell
id: 0b9a7d5c-6f4e-4a57-8a55-5a4b3c2d1e0f
status: test
level: medium
tags: [attack.stealth, attack.t1140]
logsource: {product: linux, category: process_creation}
detection:
  selection: {CommandLine|contains: 'base64 -d'}
  shell: {CommandLine|contains: ['| sh', '|sh', '| bash']}
  condition: selection and shell
"""

CALL_RULE = """title: A process is traced
id: 5f0f1c0a-52b4-4e2b-9a49-0a6c3d8f2b11
status: test
level: medium
tags: [attack.credential-access]
logsource: {product: proctor, category: call}
detection:
  s: {Call: ptrace, Outcome: succeeded}
  condition: s
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "pipe.yml").write_text(RULE)
    return place


@pytest.fixture
def group() -> Iterator[Path]:
    made = cgroups.create("watched")
    assert made is not None
    try:
        yield made.folder
    finally:
        made.remove()


@contextmanager
def container(group: Path, script: str, place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody's process in the cgroup: waits for a byte, then runs a script in its place."""
    enter = f'echo 0 > {group}/cgroup.procs; echo in; head -c 1 > /dev/null; exec sh -c "$1"'
    with subprocess.Popen(
        ["sh", "-c", enter, "sh", script], cwd=place.workspace, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        try:
            yield other
        finally:
            other.kill()


@contextmanager
def watching(place: Place, group: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    out = place.new_out()
    command = [PROCTOR, "watch", "--cgroup", str(group), "--out", str(out), *options]
    with subprocess.Popen(
        command,
        cwd=place.workspace,
        env=place.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as watch:
        assert watch.stderr is not None
        said = watch.stderr.readline()
        assert said.startswith(b"proctor: watch ") and b"recorded and judged, not contained" in said, (
            said + watch.stderr.read()
        )
        try:
            yield watch, out
        finally:
            watch.kill()


def watched(place: Place, group: Path, script: str, *options: str) -> Run:
    """The record of a script that runs to its end in the cgroup."""
    with container(group, script, place) as other, watching(place, group, *options) as (watch, out):
        other.communicate(b"\n", timeout=SECONDS)
        return place.finished(watch, out)


@pytest.mark.root
def test_what_its_processes_do_is_recorded_with_what_came_of_it(place: Place, group: Path) -> None:
    code = "import ctypes, os, socket; s = socket.socket(); s.connect_ex(('127.0.0.1', 9)); ctypes.CDLL(None).ptrace(0, 0, 0, 0); os.setuid(0); os.kill(os.getpid(), 9)"
    script = f'echo x > made; mv made moved; ln -s /etc/passwd link; mkdir d; cd d; rm ../moved; rm absent; (exit 3); /nonexistent; {PYTHON} -I -c "{code}"; true'
    run = watched(place, group, script)
    here = str(place.workspace)
    assert run.status == 0, run.stderr
    assert (run.verdict["verdict"], run.verdict["tier"], run.verdict["gaps"]) == ("clean", "watch", [])
    assert run.verdict["reasons"][2].endswith("recorded and judged, not contained.")
    assert run.verdict["degraded"]["containment"].startswith("none: ")
    found = [event["data"]["cmdline"][0] for event in run.of("process") if event["data"]["how"] == "found"]
    assert {"sh", "head"} >= set(found) and found
    execs = {event["data"]["argv"][0]: event["data"] for event in run.of("exec") if "argv" in event["data"]}
    assert execs["mv"]["argv"] == ["mv", "made", "moved"]
    assert execs["mv"]["image"].endswith("bin/mv") and execs["mv"]["cwd"] == here and execs["rm"]["cwd"] == here + "/d"
    files = [
        (e["data"]["op"], e["data"].get("object"), e["data"].get("target_object"), e["data"]["outcome"])
        for e in run.of("file")
    ]
    assert ("open_write", f"{here}/made", None, "succeeded") in files
    assert ("rename", f"{here}/made", f"{here}/moved", "succeeded") in files
    assert ("symlink", f"{here}/link", None, "succeeded") in files
    assert ("mkdir", f"{here}/d", None, "succeeded") in files
    assert ("unlink", f"{here}/moved", None, "succeeded") in files
    (net,) = run.of("net")
    assert (net["data"]["address"], net["data"]["port"], net["data"]["outcome"]) == ("127.0.0.1", 9, "failed")
    assert [(e["data"]["call"], e["data"]["outcome"]) for e in run.of("call")] == [
        ("ptrace", "succeeded"),
        ("setuid", "succeeded"),
    ]
    assert [(e["data"]["call"], e["data"]["signo"]) for e in run.of("signal")] == [("kill", 9)]
    ends = [(e["data"].get("code"), e["data"].get("signal")) for e in run.of("exit")]
    assert (3, None) in ends and (None, 9) in ends
    assert len(run.of("exit")) == len(run.of("process"))
    for command in ("verify", "replay", "report"):
        assert place.proctor(command, str(run.out)).returncode == 0, command
    assert place.proctor("rejudge", str(run.out)).returncode == 0
    assert b"tier watch" in run.stderr and b"not contained" in (run.out / "report.html").read_bytes()


@pytest.mark.root
def test_a_container_is_told_in_its_own_paths_and_our_numbers(place: Place, group: Path) -> None:
    """A mount and a PID namespace of its own, and a root of its own in a mount below: as container runtimes make them."""
    inner = "echo $$ > /made; cd /sub; mv /made moved; exec /usr/bin/true"
    script = (
        "mkdir root; mount -t tmpfs none root; cd root; mkdir usr sub old; mount --bind /usr usr; "
        "for link in bin lib lib64; do ln -s usr/$link $link; done; pivot_root . old; "
        f"exec chroot . /usr/bin/sh -c '{inner}'"
    )
    run = watched(place, group, f"exec unshare --mount --pid --fork sh -ec {shlex.quote(script)}")
    assert run.status == 0, run.stderr
    (made,) = [e for e in run.of("file") if e["data"]["path"] == "/made" and e["data"]["op"] == "open_write"]
    assert made["data"]["object"] == "/made"
    (moved,) = run.of("file")[-1:]
    assert (moved["data"]["op"], moved["data"]["target_object"]) == ("rename", "/sub/moved")
    (last,) = [e["data"] for e in run.of("exec") if e["data"]["path"] == "/usr/bin/true"]
    assert (last["image"], last["cwd"]) == ("/usr/bin/true", "/sub")
    assert made["pid"] > 2, "inside it is process 1"
    assert {"mount", "pivot_root", "chroot", "unshare"} <= {e["data"]["call"] for e in run.of("call")}


@pytest.mark.root
def test_a_rule_fires_on_what_it_executes_and_not_on_its_look_alike(place: Place, group: Path) -> None:
    rules = ("--rules", str(place.folder / "rules"))
    run = watched(place, group, "sh -c 'echo dHJ1ZQ== | base64 -d | sh'; true", *rules)
    assert run.status == 11, run.stderr
    (finding,) = run.verdict["findings"]
    assert (finding["rule"], finding["category"]) == ("pipe", "outside.stealth")
    assert b"proctor: pipe: " in run.stderr
    assert place.proctor("replay", *rules, str(run.out)).returncode == 0
    look_alike = watched(
        place,
        group,
        "sh -c 'echo dHJ1ZQ== | base64 --decode > decoded; sh decoded'; base64 -d < /dev/null; true",
        *rules,
    )
    assert (look_alike.status, look_alike.verdict["findings"]) == (0, [])


@pytest.mark.root
def test_a_rule_can_be_about_calls_that_a_sandbox_refuses(place: Place, group: Path) -> None:
    rules = place.folder / "rules"
    (rules / "traced.yml").write_text(CALL_RULE)
    trace = f"{PYTHON} -I -c 'import ctypes; print(ctypes.CDLL(None).ptrace(%d, 0, 0, 0))'; true"
    run = watched(place, group, trace % 0, "--rules", str(rules))
    (finding,) = run.verdict["findings"]
    assert (run.status, finding["rule"], finding["outcome"]) == (11, "traced", "succeeded")
    failed = watched(place, group, trace % 77, "--rules", str(rules))
    assert (failed.status, failed.verdict["findings"]) == (0, [])


@pytest.mark.root
def test_proctors_own_rules_judge_it_by_the_policy(place: Place, group: Path) -> None:
    place.file("tests/test_it.py", "def test_it(): assert 1 == 2\n")
    policy = place.policy('[files]\nprotect = ["tests"]\n')
    run = watched(place, group, "echo pass > tests/test_it.py; true", "--policy", policy)
    assert run.status == 10, run.stderr
    (finding,) = run.verdict["findings"]
    assert (finding["rule"], finding["outcome"]) == ("grader.test_edit", "succeeded")
    assert (place.workspace / "tests/test_it.py").read_text() == "pass\n", "it was not contained"
    assert watched(place, group, "cat tests/test_it.py; echo pass > test_other.py", "--policy", policy).status == 0


@pytest.mark.root
@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM, None])
def test_it_ends_when_asked_and_its_processes_do_not(place: Place, group: Path, signo: signal.Signals | None) -> None:
    options = ["--json", *([] if signo is not None else ["--for", "1.5"])]
    with (
        container(group, "echo x > made; exec sleep 1000", place) as other,
        watching(place, group, *options) as (watch, out),
    ):
        assert other.stdin is not None
        other.stdin.write(b"\n")
        other.stdin.flush()
        if signo is not None:
            while not (place.workspace / "made").exists():
                pass
            watch.send_signal(signo)
        run = place.finished(watch, out)
        assert other.poll() is None
    assert run.status == 0, run.stderr
    assert run.verdict["degraded"]["end"].startswith("1 processes were alive when the watch ended")
    assert b'"tier":"watch"' in run.stdout
    (close,) = run.of("close")
    assert close["data"]["empty"] is False
    assert place.proctor("rejudge", str(out)).returncode == 0


@pytest.mark.root
def test_what_it_can_see_no_more_is_a_gap(place: Place, group: Path) -> None:
    run = watched(place, group, f"echo 0 > {group.parent}/cgroup.procs; true")
    assert run.status == 12
    (gap,) = run.of("gap")
    assert "was moved out of the cgroup: what it does there is not seen" in gap["data"]["what"]


@pytest.mark.root
def test_every_call_of_a_storm_is_in_the_record(place: Place, group: Path) -> None:
    opens = f"{PYTHON} -I -c \"import os; [os.close(os.open('/dev/null', 1)) for _ in range(5000)]\""
    run = watched(place, group, f"{opens} & {opens}; wait")
    assert (run.status, run.of("gap")) == (0, [])
    assert len([e for e in run.of("file") if e["data"].get("object") == "/dev/null"]) == 10_000


@pytest.mark.root
def test_it_does_not_watch_itself(place: Place, group: Path) -> None:
    (group / "step-below").mkdir()
    enter = f"echo 0 > {group}/step-below/cgroup.procs; exec {PROCTOR} watch --cgroup {group}"
    done = subprocess.run(["sh", "-c", enter], env=place.env, capture_output=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert done.stderr.endswith(b": this process is in it; start the watch from another cgroup\n")


def test_wrong_use_is_one_line(place: Place, tmp_path: Path) -> None:
    for words in (
        ["--cgroup", str(tmp_path)],
        ["--cgroup", "/sys/fs/cgroup/absent"],
        ["--cgroup", "/proc", "--for", "0"],
        [],
    ):
        done = place.proctor("watch", *words)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done.stderr
        assert done.stderr.startswith(b"proctor: ")


@pytest.mark.root
def test_who_may_not_is_told_so(place: Place, group: Path) -> None:
    """Root without the capabilities that it takes."""
    command = [PROCTOR, "watch", "--cgroup", str(group), "--out", str(place.new_out()), "--for", "1"]
    without = ["setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon", "--inh-caps=-all", "--", *command]
    done = subprocess.run(
        without, cwd=place.workspace, env=place.env, capture_output=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"the kernel does not take the BPF programs: Operation not permitted" in done.stderr
