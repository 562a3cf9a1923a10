"""The command line as scripts and terminals meet it."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.live.place import PROCTOR, SECONDS, Place, alive, waiting_for

PROTECT = '[files]\nprotect = ["tests/"]\n'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.file("tests/t.py", "x = 1\n")
    return place


def _lines(stderr: bytes) -> list[str]:
    assert b"Traceback" not in stderr, stderr.decode()
    return stderr.decode().splitlines()


# --- what a script sees -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139), ("echo > tests/t.py; exit 4", 4),
    ],
)  # fmt: skip
def test_the_agents_own_status(place: Place, agent: str, expected: int) -> None:
    run = place.run("sh", "-c", agent, policy=PROTECT, options=["--exit-status", "agent", "--quiet"])
    assert run.status == expected


def test_a_killed_agents_status_is_its_signal(place: Place) -> None:
    policy = PROTECT + '[responses]\non_violation = "kill"\n'
    assert place.run("sh", "-c", "echo > tests/t.py", policy=policy).status == 10
    run = place.run("sh", "-c", "echo > tests/t.py", policy=policy, options=["--exit-status", "agent"])
    assert run.status == 128 + signal.SIGKILL


def test_json_is_for_scripts_and_quiet_says_nothing(place: Place) -> None:
    agent = ("sh", "-c", "echo out; echo err >&2; { echo > tests/t.py; } 2>/dev/null; true")
    run = place.run(*agent, policy=PROTECT, options=["--json"])
    (line,) = run.stdout.splitlines()
    verdict = json.loads(line)
    assert set(verdict) >= {
        "episode", "verdict", "tier", "agent_exit", "findings", "responses", "gaps", "score_effect", "journal", "proctor",
    }  # fmt: skip
    assert set(verdict["findings"][0]) >= {
        "rule", "category", "grade", "outcome", "authorisation", "step", "summary", "events",
    }  # fmt: skip
    assert set(verdict["journal"]) == {"events", "head"}
    assert (verdict["verdict"], verdict["agent_exit"], verdict["tier"]) == ("violation", 0, "B")
    assert b"out\n" in run.stderr
    assert b"proctor: violation" in run.stderr
    quiet = place.run(*agent, policy=PROTECT, options=["--quiet"])
    assert (quiet.status, quiet.stdout, quiet.stderr) == (10, b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("[files]\nwrite = 3\n", r"policy\.toml:2: files\.write"),
        ("[files\n", r"policy\.toml:1"),
        ("[nonsense]\n", r"policy\.toml:1: .*nonsense"),
        ('[files]\nprotect = ["absent"]\n', r"policy\.toml:2: .*absent"),
        ('[network]\nallow = ["example.com"]\n', r"policy\.toml:2: .*port"),
        ('[responses]\non_violation = "explode"\n', r"policy\.toml:2: .*explode"),
        ('[episode]\nid = "../up"\n', r"policy\.toml:2: .*id"),
    ],
)
def test_a_bad_policy_is_one_line_and_nothing_runs(place: Place, policy: str, told: str) -> None:
    run = place.run("touch", "ran", policy=policy)
    assert run.status == 2
    (line,) = _lines(run.stderr)
    assert re.search(told, line), line
    assert not (place.workspace / "ran").exists()
    assert not run.out.exists()


@pytest.mark.parametrize("options", [(), ("--quiet",)])
def test_a_policy_that_the_agent_can_write_is_warned_of(place: Place, options: tuple[str, ...]) -> None:
    inside = place.file("policy.toml", PROTECT)
    place.file("tests/t.py")
    out = place.new_out()
    agent = ["sh", "-c", f"echo > {inside}; echo > tests/t.py"]
    done = place.proctor("run", "--policy", str(inside), "--out", str(out), *options, "--", *agent)
    assert done.returncode == 10
    warned = [line for line in _lines(done.stderr) if "warning" in line]
    assert len(warned) == (0 if options else 1)
    assert all(line.startswith(f"proctor: warning: {inside} lies in {place.workspace}, ") for line in warned)


def test_commands_that_cannot_run(place: Place) -> None:
    place.file("noise", "\x01 no program", executable=True)
    place.file("plain", "echo")
    place.file("gone", "#!/no/such/interpreter\n", executable=True)
    for argv in (["no-such-program"], ["./noise"], ["./plain"], ["./tests"], ["./gone"], ["/no/such/file"], [""]):
        run = place.run(*argv)
        assert run.status == 2, (argv, run.stderr)
        told = [line for line in _lines(run.stderr) if not line.startswith("proctor: episode ")]
        assert len(told) == 1, run.stderr
        assert Path(argv[0]).name in told[0]


def test_folders_that_cannot_take_a_record(place: Place) -> None:
    full = place.folder / "full"
    full.mkdir()
    (full / "file").touch()
    for out in (full, full / "file", place.workspace, place.workspace / "deep" / "er", full / "file" / "below"):
        done = place.proctor("run", "--out", str(out), "--", "touch", "ran")
        assert done.returncode == 2, done.stderr
        (line,) = _lines(done.stderr)
        assert str(out) in line
    loop = place.folder / "loop"
    loop.symlink_to(loop)
    done = place.proctor("run", "--out", str(loop), "--", "touch", "ran")
    assert (done.returncode, len(_lines(done.stderr))) == (2, 1), done.stderr
    long = place.folder / ("n" * 300)
    done = place.proctor("run", "--out", str(long), "--", "touch", "ran")
    assert (done.returncode, len(_lines(done.stderr))) == (2, 1)
    assert b"cannot be used (File name too long)" in done.stderr
    if os.getuid() != 0:  # root may enter any folder
        closed = place.folder / "closed"
        closed.mkdir(mode=0o000)
        done = place.proctor("run", "--out", str(closed / "out"), "--", "touch", "ran")
        told = f"proctor: output folder {closed / 'out'}: cannot be used (Permission denied); choose another"
        assert (done.returncode, _lines(done.stderr)) == (2, [told])
    link = place.folder / "link"
    link.symlink_to(place.workspace)
    assert place.proctor("run", "--out", str(link / "out"), "--", "touch", "ran").returncode == 2
    assert not (place.workspace / "ran").exists()
    empty = place.folder / "empty"
    empty.mkdir()
    assert place.proctor("run", "--out", str(empty), "--", "touch", "ran").returncode == 0
    assert place.proctor("verify", str(empty)).returncode == 0


def test_a_working_folder_that_is_gone(place: Place) -> None:
    gone = place.folder / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", f'rmdir "{gone}"; exec "{PROCTOR}" run -- true'], cwd=gone, env=place.env, capture_output=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(_lines(done.stderr)) == 1


def test_episode_ids(place: Place) -> None:
    """The longest id that is allowed works, one that is running already is refused, and one left by a kill is not."""
    longest = "a" * 100
    with place.started("sh", "-c", "touch ready; sleep 1000", policy=f'[episode]\nid = "{longest}"\n') as (
        process,
        out,
    ):
        waiting_for(place.workspace / "ready", process)
        again = place.run("true", policy=f'[episode]\nid = "{longest}"\n')
        assert again.status == 2, again.stderr
        assert len(_lines(again.stderr)) == 1
        assert place.proctor("kill", longest).returncode == 0
        assert place.finished(process, out).status == 0
    (place.workspace / "ready").unlink()
    with place.started("sh", "-c", "touch ready; sleep 1000", policy='[episode]\nid = "e"\n') as (process, out):
        waiting_for(place.workspace / "ready", process)
        os.kill(place.supervisor(process), signal.SIGKILL)
        assert place.finished(process, out).status == 1
    left = place.run("true", policy='[episode]\nid = "e"\n')
    assert left.status == 0, left.stderr
    policy = place.policy('[episode]\nid = "twice"\n')
    assert [place.proctor("run", "--policy", policy, "--", "true").returncode for _ in range(2)] == [0, 2]
    told = place.proctor("run", "--policy", policy, "--", "true").stderr.decode()
    assert told.startswith("proctor: episode.id = 'twice': ")
    assert "choose another id" in told


def test_a_long_command_line(place: Place) -> None:
    """Longer than a packet between Proctor's processes."""
    words = [f"{number:0100}" for number in range(15_000)]
    run = place.run("sh", "-c", "echo $#", "sh", *words, options=["--quiet"])
    assert (run.status, run.stdout) == (0, b"15000\n"), run.stderr[-500:]
    data = next(e["data"] for e in run.of("exec") if e["data"]["argc"] > 1000)
    assert data["truncated"]
    assert data["argc"] == 15_004
    joined = "\0".join(["sh", "-c", "echo $#", "sh", *words])
    assert data["argv_digest"] == hashlib.sha256(joined.encode()).hexdigest()


def test_arguments_and_environment_of_any_bytes(place: Place) -> None:
    out = place.new_out()
    policy = place.policy('[env]\npass = ["ODD"]\n')
    argv: list[str | bytes] = [
        PROCTOR,
        "run",
        "--quiet",
        "--policy",
        policy,
        "--out",
        str(out),
        "--",
        "printf",
        "%s.",
        b"\xff\xfe",
        "\u00e9",
    ]
    done = subprocess.run(
        argv, cwd=place.workspace, env={**place.env, "ODD": os.fsdecode(b"\xfd")}, capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"\xff\xfe.\xc3\xa9."), done.stderr
    run = place.run("sh", "-c", 'printf "$ODD"', options=["--quiet"])
    assert run.stdout == b""


# --- the standard streams ---------------------------------------------------------------------------------------------


def test_streams_pass_through_untouched_and_are_digested(place: Place) -> None:
    data = bytes(range(256)) * 8000
    run = place.run("sh", "-c", "tee /dev/stderr", stdin=data, options=["--quiet"])
    assert (run.status, run.stdout, run.stderr) == (0, data, data)
    digest = hashlib.sha256(data).hexdigest()
    outputs = {e["data"]["stream"]: (e["data"]["bytes"], e["data"]["digest"]) for e in run.of("output")}
    assert outputs == dict.fromkeys(("stdin", "stdout", "stderr"), (len(data), digest))


def test_one_descriptor_for_both_outputs(place: Place) -> None:
    out = place.new_out()
    done = subprocess.run(
        place.command("sh", "-c", "for i in 1 2 3; do echo o; echo e >&2; done", options=["--quiet"], out=out),
        cwd=place.workspace, env=place.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert sorted(done.stdout.split()) == [b"e"] * 3 + [b"o"] * 3


def test_input_that_nobody_reads_holds_nothing_up(place: Place) -> None:
    out = place.new_out()
    read, write = os.pipe()
    try:
        done = subprocess.run(
            place.command("echo", "done", options=["--quiet"], out=out), cwd=place.workspace, env=place.env, stdin=read,
            capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, b"done\n")
    finally:
        os.close(read)
        os.close(write)


def test_a_reader_that_leaves_ends_the_agent_as_it_would_without_proctor(place: Place) -> None:
    out = place.new_out()
    line = subprocess.list2cmdline(place.command("yes", options=["--quiet", "--exit-status", "agent"], out=out))
    done = subprocess.run(
        ["bash", "-c", f"{line} | head -1; echo ${{PIPESTATUS[0]}}"], cwd=place.workspace, env=place.env,
        capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    first, status = done.stdout.split()
    assert first == b"y"
    assert int(status) in {1, 128 + signal.SIGPIPE}, done.stderr
    assert json.loads((out / "verdict.json").read_text())["verdict"] == "clean"
    assert place.proctor("verify", str(out)).returncode == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(place: Place, closed: str) -> None:
    """The agent finds the null device there, and nothing of Proctor's."""
    out = place.new_out()
    agent = "cat; ls -l /proc/$$/fd > fds; echo out; echo err >&2"
    line = " ".join(f"'{word}'" for word in place.command("sh", "-c", agent, out=out))
    done = subprocess.run(
        ["sh", "-c", f"{line} {closed}"], cwd=place.workspace, env=place.env, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == (b"" if " >&-" in f" {closed}" else b"out\n")
    assert b"Traceback" not in done.stderr
    assert place.proctor("verify", str(out)).returncode == 0
    held = [line for line in (place.workspace / "fds").read_text().splitlines() if "->" in line]
    assert not [line for line in held if "socket" in line], held


def test_all_closed_for_the_other_commands(place: Place) -> None:
    run = place.run("true")
    for words in (f"verify {run.out}", "ps", "doctor", f"replay {run.out}"):
        done = subprocess.run(
            ["sh", "-c", f"'{PROCTOR}' {words} <&- >&- 2>&-"],
            cwd=place.workspace,
            env=place.env,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, words
    for words in (f"verify {run.out}", f"replay {run.out} --json"):
        full = subprocess.run(
            ["sh", "-c", f"'{PROCTOR}' {words} > /dev/full"], cwd=place.workspace, env=place.env, capture_output=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        assert full.returncode == 1, words
        assert len(_lines(full.stderr)) <= 1, full.stderr


def test_a_verdict_that_nobody_can_take(place: Place) -> None:
    out = place.new_out()
    line = " ".join(f"'{word}'" for word in place.command("true", options=["--json"], out=out))
    done = subprocess.run(
        ["sh", "-c", f"{line} > /dev/full"],
        cwd=place.workspace,
        env=place.env,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert (out / "verdict.json").exists()


def test_in_a_terminal(place: Place) -> None:
    """With a terminal for its streams, and an agent that asks for its size and draws on it."""
    out = place.new_out()
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        place.command("sh", "-c", "printf 'a\\033[1mb\\n'; read line; echo got $line", out=out), cwd=place.workspace,
        env={**place.env, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        os.write(ours, b"typed\n")
        said = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:
                break
            if not chunk:
                break
            said += chunk
        process.wait(SECONDS)
    os.close(ours)
    assert process.returncode == 0
    assert b"a\x1b[1mb\r\n" in said
    assert b"got typed" in said
    assert b"clean" in said


# --- signals ----------------------------------------------------------------------------------------------------------

CATCHES = """
import os, signal, sys, time
seen = []
signal.signal(signal.SIGINT, lambda *_: (seen.append(1), open("caught", "w").close()))
open("ready", "w").close()
while not (seen and "leave" in sys.argv): time.sleep(0.02)
sys.exit(9)
"""


def test_an_interrupt_reaches_the_agent(place: Place) -> None:
    agent = (sys.executable, "-c", CATCHES, "leave")
    with place.started(*agent, options=["--exit-status", "agent"]) as (process, out):
        waiting_for(place.workspace / "ready", process)
        process.send_signal(signal.SIGINT)
        run = place.finished(process, out)
    assert (run.status, run.verdict["verdict"]) == (9, "clean")
    assert [one["action"] for one in run.verdict["responses"]] == ["log"]
    assert len(run.verdict["reasons"]) == 2


def test_an_interrupt_reaches_what_the_agent_waits_for(place: Place) -> None:
    """As from a terminal, where the whole foreground group gets it: bash goes on waiting for its child otherwise."""
    agent = ("bash", "-c", f"touch ready; sleep 982{os.getpid()}; echo not reached")
    with place.started(*agent, options=["--exit-status", "agent"]) as (process, out):
        waiting_for(place.workspace / "ready", process)
        while not alive(f"sleep\0982{os.getpid()}"):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        run = place.finished(process, out)
    assert run.status == 128 + signal.SIGINT, run.stderr
    assert run.stdout == b""


def test_a_second_interrupt_ends_the_episode(place: Place) -> None:
    with place.started(sys.executable, "-c", CATCHES) as (process, out):
        waiting_for(place.workspace / "ready", process)
        process.send_signal(signal.SIGINT)
        waiting_for(place.workspace / "caught", process)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        run = place.finished(process, out)
    assert run.status == 0
    assert [(one["action"], one["reason"]) for one in run.verdict["responses"]] == [
        ("log", "SIGINT was passed on to the agent, as the caller asked"),
        ("kill", "proctor run was interrupted (Ctrl-C)"),
    ]
    told = "Proctor ended the agent before it ended by itself: proctor run was interrupted (Ctrl-C)."
    assert run.verdict["reasons"][2:] == [told]
    said = " ".join(run.stderr.decode().split())
    assert f"agent ended by signal 9. {told}" in said
    assert f"- Agent: ended by signal 9. {told}" in (run.out / "report.md").read_text().replace("\\", "")
    assert run.verdict["agent_signal"] == signal.SIGKILL
    assert place.proctor("verify", str(out)).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_gives_a_verdict(place: Place, number: signal.Signals) -> None:
    agent = f"trap '' TERM HUP INT; echo > tests/t.py; touch ready; while :; do sleep 981{os.getpid()}; done"
    with place.started("sh", "-c", agent, policy=PROTECT) as (process, out):
        waiting_for(place.workspace / "ready", process)
        process.send_signal(number)
        run = place.finished(process, out)
    assert run.status == 10
    assert run.verdict["agent_signal"] == signal.SIGKILL
    assert f"by itself: proctor run was asked to end ({number.name})." in run.verdict["reasons"][2]
    assert not alive(f"981{os.getpid()}")
    assert place.proctor("verify", str(out)).returncode == 0


def test_signals_at_any_moment(place: Place) -> None:
    """From the first instruction on: a status that is one of the contract's or the signal's own, and nothing left."""
    marker = f"980{os.getpid()}"
    for number in range(12):
        with place.started("sleep", marker) as (process, _out):
            time.sleep(0.03 * number)
            process.send_signal(signal.SIGTERM if number % 2 else signal.SIGINT)
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=SECONDS)
            if b"Fatal Python error: init" not in stderr:  # the interpreter's own word, before a line of ours has run
                assert process.returncode in {0, -signal.SIGINT, -signal.SIGTERM}, (process.returncode, stderr)
        deadline = time.monotonic() + SECONDS
        while alive(f"sleep\0{marker}"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


# --- the other commands -----------------------------------------------------------------------------------------------


def test_verify_and_replay(place: Place) -> None:
    run = place.run("sh", "-c", "echo > tests/t.py; echo x > made", policy=PROTECT)
    verified = place.proctor("verify", str(run.out))
    assert verified.returncode == 0, verified.stdout
    key = place.state / "proctor" / "keys" / "signing.pub"
    other = place.folder / "other.pub"
    other.write_text("ab" * 32 + "\n")
    for trusted, status in (
        (str(key), 0),
        (key.read_text().strip(), 0),
        (str(other), 1),
        ("nonsense", 2),
        ("/no/file", 2),
    ):
        done = place.proctor("verify", str(run.out), "--trusted-key", trusted)
        assert done.returncode == status, (trusted, done)
        assert len(done.stdout.splitlines()) + len(_lines(done.stderr)) >= 1

    replayed = place.proctor("replay", str(run.out), "--json")
    assert replayed.returncode == 0
    again = json.loads(replayed.stdout)
    assert [finding["rule"] for finding in again] == ["grader.test_edit"]
    assert again == run.verdict["findings"]

    journal = run.out / "journal" / "000000.jsonl"
    whole = journal.read_bytes()
    changed = whole.replace(b'"role":"protected"', b'"role":"workspace"')
    assert changed != whole
    journal.write_bytes(changed)
    told = place.proctor("verify", str(run.out))
    assert told.returncode == 1
    assert b"line" in told.stdout
    done = place.proctor("replay", str(run.out))
    assert done.returncode == 1
    number = 1 + next(n for n, line in enumerate(changed.splitlines()) if b'"role":"workspace"' in line)
    assert f"the record is tampered at line {number}: ".encode() in done.stderr
    assert f"; reading stopped before line {number}\n".encode() in done.stderr
    journal.write_bytes(whole)
    said = (run.out / "verdict.json").read_bytes()
    (run.out / "verdict.json").write_bytes(said.replace(b'"verdict":"violation"', b'"verdict":"clean"'))
    done = place.proctor("replay", str(run.out))
    assert done.returncode == 1
    assert b"the record is tampered: verdict.json differs from the journal in verdict" in done.stderr
    (run.out / "verdict.json").write_bytes(said)
    assert place.proctor("replay", str(run.out)).returncode == 0

    for content, statuses in (
        (whole[: len(whole) // 2], {3}),
        (b"", {3}),
        (b"nonsense\n", {1}),
        (b"\x00" * 100, {2, 3}),
    ):
        journal.write_bytes(content)
        done = place.proctor("verify", str(run.out))
        assert done.returncode in statuses, (content[:20], done)
        again_done = place.proctor("replay", str(run.out))
        assert again_done.returncode in {1, 2}
        assert len(_lines(again_done.stderr)) <= 2

    for folder in (place.folder / "absent", place.workspace, journal):
        for command in ("verify", "replay"):
            done = place.proctor(command, str(folder))
            assert done.returncode == 2
            assert len(_lines(done.stderr)) == 1, done


def test_a_folder_that_is_no_record(place: Place) -> None:
    path = place.workspace / "journal/000000.jsonl"
    for command in ("verify", "replay"):
        done = place.proctor(command, str(place.workspace))
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.decode() == f"proctor: not a record: {path}: no journal is there\n"
    path.parent.mkdir()
    path.symlink_to("elsewhere")
    for command in ("verify", "replay"):
        done = place.proctor(command, str(place.workspace))
        assert done.returncode == 2
        assert done.stderr.endswith(b": the journal is a symbolic link, which is not followed\n")


def test_doctor_and_ps(place: Place) -> None:
    assert place.proctor("ps").stdout.count(b"\n") == 1
    doctor = place.proctor("doctor")
    assert doctor.returncode == 0
    assert doctor.stdout.startswith(b"tier B\n")
    assert json.loads(place.proctor("doctor", "--json").stdout)["tier"] == "B"
    hostile = "\x1b[31m\nred"
    with place.started("sh", "-c", "touch ready; sleep 1000", hostile, policy='[episode]\nid = "e"\n') as (
        process,
        out,
    ):
        waiting_for(place.workspace / "ready", process)
        shown = place.proctor("ps").stdout
        assert shown.count(b"\n") == 2
        assert b"\x1b" not in shown
        assert b"running" in shown
        refused = place.proctor("thaw", "e")
        assert (refused.returncode, len(_lines(refused.stderr))) == (2, 1)
        assert place.proctor("kill", "e").returncode == 0
        run = place.finished(process, out)
    assert run.status == 0
    assert run.verdict["responses"][0]["reason"] == "asked for with proctor kill"
    assert place.proctor("ps").stdout.count(b"\n") == 1
    for name in ("e", "../../x", "a/b", "", "x" * 300):
        assert place.proctor("kill", name).returncode == 2
    # A socket that a killed supervisor left, or that is nobody's, is no episode.
    (place.state / "proctor" / "run" / "old.sock").write_text("")
    assert place.proctor("ps").stdout.count(b"\n") == 1
