"""The command line and its supervisor: exit statuses, responses, limits, steps, and what happens when parts die."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tests.live.place import SECONDS, alive, events

PROCTOR = [sys.executable, "-m", "proctor"]
PY = sys.executable


class Cli:
    """``proctor run`` in a workspace, with a policy and state of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.work = place / "work"
        (self.work / "tests").mkdir(parents=True)
        (self.work / "tests/t.py").write_text("assert True\n")
        self.out = place / "record"
        self.environ = os.environ | {
            "XDG_STATE_HOME": str(place / "state"),
            "XDG_CACHE_HOME": str(place.parent / "cache"),
        }
        self.policy("")

    def policy(self, more: str) -> None:
        (self.place / "policy.toml").write_text(f'[files]\nwrite = ["."]\nprotect = ["tests/"]\n{more}')

    def argv(self, *command: str, flags: tuple[str, ...] = ()) -> list[str]:
        return [
            *PROCTOR,
            "run",
            "--policy",
            str(self.place / "policy.toml"),
            "--out",
            str(self.out),
            *flags,
            "--",
            *command,
        ]

    def start(self, *command: str, flags: tuple[str, ...] = (), **kwargs: Any) -> subprocess.Popen[bytes]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[assignment]
            self.argv(*command, flags=flags), cwd=self.work, env=self.environ, **(streams | kwargs)
        )
        return process

    def run(self, *command: str, flags: tuple[str, ...] = (), **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
        process = self.start(*command, flags=flags, **kwargs)
        try:
            stdout, stderr = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def proctor(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROCTOR, *words],
            cwd=self.work,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in events(self.out) if event["kind"] == kind]

    def verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "verdict.json").read_text())
        return found


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def until(condition: Any, what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return found


def supervisor_of(cli: Cli) -> int:
    """The supervisor of this record: forked from the command line that names it."""

    def named() -> int | None:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "comm").read_text() == "proctor-super\n" and os.fsencode(cli.out) + b"\0" in (
                    folder / "cmdline"
                ).read_bytes():
                    return int(folder.name)
            except OSError:
                continue
        return None

    found: int = until(named, "no supervisor")
    until((cli.out / "journal/000000.jsonl").exists, "no journal")
    return found


# --- the contract that scripts rely on --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "flags", "status"),
    [
        (["true"], (), 0),
        (["sh", "-c", "exit 7"], (), 0),
        (["sh", "-c", "exit 7"], ("--exit-status", "agent"), 7),
        (["sh", "-c", "kill -TERM $$"], ("--exit-status", "agent"), 143),
        (["sh", "-c", "echo 1 > tests/t.py"], (), 10),
        (["sh", "-c", "echo 1 > conftest.py"], (), 11),
    ],
)
def test_exit_statuses(cli: Cli, command: list[str], flags: tuple[str, ...], status: int) -> None:
    assert cli.run(*command, flags=flags).returncode == status
    assert (cli.out / "report.md").is_file()
    assert cli.proctor("verify", str(cli.out)).returncode == 0
    assert cli.proctor("replay", str(cli.out)).returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run"], "no command"),
        (["run", "--", "no-such-program"], "no-such-program"),
        (["run", "--policy", "/no/such/policy.toml", "--", "true"], "/no/such/policy.toml"),
        (["run", "--out", ".", "--", "true"], "which the agent can write to"),
        (["run", "--nonsense", "--", "true"], "nonsense"),
        (["thaw", "nobody"], "not running"),
        (["frobnicate"], "frobnicate"),
        (["mark", "begin"], "proctor: mark: allowed is begin ID"),
    ],
)
def test_a_users_mistake_is_one_line(cli: Cli, words: list[str], told: str) -> None:
    done = cli.proctor(*words)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_json_is_one_line_on_stdout_and_the_agents_output_goes_to_stderr(cli: Cli) -> None:
    done = cli.run("sh", "-c", "echo from the agent", flags=("--json", "--quiet"))
    (line,) = done.stdout.splitlines()
    assert json.loads(line) == cli.verdict()
    assert done.stderr == b"from the agent\n"


def test_verify_tells_tampering_and_truncation(cli: Cli) -> None:
    cli.run("sh", "-c", "echo 1 > a")
    key = (cli.place / "state/proctor/keys/signing.pub").read_text().strip()
    assert cli.proctor("verify", str(cli.out), "--trusted-key", key).returncode == 0
    assert cli.proctor("verify", str(cli.out), "--trusted-key", "ab" * 32).returncode == 1
    assert cli.proctor("verify", str(cli.place)).returncode == 2
    journal = cli.out / "journal/000000.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-3]))
    assert cli.proctor("verify", str(cli.out)).returncode == 3
    journal.write_bytes(b"".join(lines).replace(b'"op":"create"', b'"op":"unlink"', 1))
    assert cli.proctor("verify", str(cli.out)).returncode == 1


def test_streams_pass_through_whole(cli: Cli) -> None:
    size = 50_000_000
    code = f"import sys\nfor _ in range({size} // 1000): sys.stdout.write('0123456789' * 100)"
    process = cli.start(PY, "-c", code, stdin=subprocess.PIPE)
    assert process.stdout is not None
    digest, total = hashlib.sha256(), 0
    peak = 0
    supervisor = supervisor_of(cli)
    while chunk := process.stdout.read(1 << 20):
        digest.update(chunk)
        total += len(chunk)
        try:
            status = Path(f"/proc/{supervisor}/status").read_text()
            peak = int(status.partition("VmHWM:")[2].split()[0])
        except (OSError, IndexError):
            continue
    process.communicate(timeout=SECONDS)
    assert total == size
    output = next(event["data"] for event in cli.events("output") if event["data"]["stream"] == "stdout")
    assert (output["bytes"], output["digest"]) == (size, digest.hexdigest())
    assert 0 < peak < 60_000


def test_a_reader_that_leaves_and_streams_that_are_closed(cli: Cli) -> None:
    shell = f"{' '.join(cli.argv('sh', '-c', 'seq_=1; while echo y; do :; done; exit 0'))} | head -1"
    quoted = shell.replace("seq_=1; while echo y; do :; done; exit 0", "'while echo y; do :; done'")
    done = subprocess.run(
        ["sh", "-c", quoted], cwd=cli.work, env=cli.environ, capture_output=True, timeout=SECONDS, check=False
    )
    assert done.stdout == b"y\n"
    other = Cli(cli.place / "other")
    line = " ".join(other.argv("true", flags=("--quiet",)))
    done = subprocess.run(
        ["sh", "-c", f"{line} <&- >&- 2>&-"],
        cwd=other.work,
        env=other.environ,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0
    assert other.verdict()["verdict"] == "clean"


# --- responses --------------------------------------------------------------------------------------------------------

TOUCH = "import os\ntry: os.open('tests/t.py', os.O_WRONLY)\nexcept OSError: pass\nopen('after', 'w').write('x')"


def test_kill_comes_before_the_call_returns(cli: Cli) -> None:
    cli.policy('[responses]\non_violation = "kill"\n')
    done = cli.run(PY, "-c", TOUCH)
    assert done.returncode == 10
    assert not (cli.work / "after").exists()
    (response,) = cli.verdict()["responses"]
    assert (response["action"], response["finding"].partition(":")[0]) == ("kill", "grader.test_edit")
    assert cli.verdict()["agent_signal"] == signal.SIGKILL
    assert cli.proctor("verify", str(cli.out)).returncode == 0


def test_freeze_thaw_and_kill_from_another_terminal(cli: Cli) -> None:
    cli.policy('[responses]\non_violation = "log"\n[responses.category]\n"grader.test_edit" = "freeze"\n')
    busy = "import threading, time\nn = [0]\ndef spin():\n  while True:\n    n[0] += 1\n    open('count', 'w').write(str(n[0]))\n"
    process = cli.start(
        PY, "-c", busy + "threading.Thread(target=spin, daemon=True).start()\ntime.sleep(0.2)\n" + TOUCH
    )
    frozen = until(lambda: "frozen" in (said := cli.proctor("ps").stdout) and said, "never frozen")
    episode = frozen.splitlines()[1].split()[0]
    count = (cli.work / "count").read_text()
    time.sleep(0.3)
    assert (cli.work / "count").read_text() == count
    assert not (cli.work / "after").exists()
    assert cli.proctor("thaw", episode).returncode == 0
    assert process.wait(60) == 10
    process.communicate()
    assert (cli.work / "after").exists()
    assert [one["action"] for one in cli.verdict()["responses"]] == ["freeze", "thaw"]

    again = Cli(cli.place / "again")
    process = again.start("sleep", "1000")
    listed = until(lambda: "running" in (said := again.proctor("ps").stdout) and said, "never running")
    assert again.proctor("kill", listed.splitlines()[1].split()[0]).returncode == 0
    process.communicate(timeout=SECONDS)
    assert again.verdict()["responses"][0]["action"] == "kill"


def test_what_is_authorised_is_reported_and_not_answered(cli: Cli) -> None:
    cli.policy(
        '[responses]\non_violation = "kill"\n[[authorise]]\ncategory = "grader.test_edit"\nscope = "tests/"\n'
        'reason = "the task is to mend the tests"\nby = "author"\n'
    )
    assert cli.run(PY, "-c", TOUCH).returncode == 0
    (finding,) = cli.verdict()["findings"]
    assert (finding["authorisation"], finding["authority"]["by"]) == ("authorised", "author")


# --- limits and leftovers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("wall_seconds = 1", "import time\nwhile True: time.sleep(1)"),
        ("cpu_seconds = 1", "import os\nfor _ in range(2): os.fork()\nwhile True: pass"),
        (
            "memory_mb = 200",
            "import os, time\nfor _ in range(3): os.fork()\nx = bytearray(100_000_000)\ntime.sleep(60)",
        ),
    ],
)
def test_a_limit_ends_the_episode_and_is_named(cli: Cli, limit: str, code: str) -> None:
    cli.policy(f"[resources]\n{limit}\n")
    assert cli.run(PY, "-c", code).returncode == 0
    (response,) = cli.verdict()["responses"]
    assert (response["action"], response["limit"]) == ("kill", limit.split(maxsplit=1)[0])


def test_a_fork_bomb_meets_its_limit(cli: Cli) -> None:
    cli.policy("[resources]\nprocesses = 20\nwall_seconds = 3\n")
    code = "import os, time\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(0.1)"
    cli.run(PY, "-c", code)
    refused = [event["data"] for event in cli.events("refused")]
    assert {(one["reason"], one["errno"]) for one in refused} == {("limit", 11)}
    assert len(cli.events("clone")) <= 21


def test_what_outlives_the_agent_is_found_recorded_and_ended(cli: Cli) -> None:
    marker = f"98765.{random.randrange(10**9)}"
    code = f"import os\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: os.execvp('sleep', ['sleep', '{marker}'])\n  os._exit(0)\n"
    assert cli.run(PY, "-c", code + "import time; time.sleep(0.5)").returncode == 0
    assert alive(marker) == []
    (left,) = cli.verdict()["leftover"]
    assert left["cmdline"] == ["sleep", marker]
    assert [one["rule"] for one in cli.verdict()["findings"]] == ["compute.persistence"]
    execs = [event for event in cli.events("exec") if event["data"]["argv"] == ["sleep", marker]]
    root = cli.events("process")[0]["pid"]
    first = next(event for event in cli.events("process") if event["ppid"] == root)
    assert execs[0]["group"] == first["pid"]  # the double fork kept its lineage


# --- steps ------------------------------------------------------------------------------------------------------------

STEPS = """
mark() { /run/proctor/bin/proctor mark "$@"; }
true before
mark begin one
sh -c 'true in-one; sleep 0.3; true late-of-one' & kept=$!
/bin/true in-one-too
mark end one
mark begin two
/bin/echo in-two
mark begin three
/bin/echo in-either
mark end two
mark end three
wait $kept
"""


def test_markers_join_processes_to_steps(cli: Cli) -> None:
    assert cli.run("sh", "-c", STEPS).returncode == 0
    by_args = {tuple(event["data"]["argv"]): event for event in cli.events("exec")}
    late = next(
        event
        for args, event in by_args.items()
        if args[:2] == ("sh", "-c") and "late-of-one" in args[2] and len(args[2]) < 100
    )
    assert (late["origin_step"], late["attribution"]) == ("one", "marker")
    assert by_args["/bin/echo", "in-two"]["origin_step"] == "two"
    either = by_args["/bin/echo", "in-either"]
    assert "origin_step" not in either
    assert either["candidates"] == ["two", "three"]
    sleeps = [event for event in cli.events("exec") if event["data"]["argv"] == ["sleep", "0.3"]]
    assert [(event["origin_step"], event["attribution"]) for event in sleeps] == [("one", "lineage")]
    assert {event["truth"] for event in cli.events("mark")} == {"claimed"}


SHELL = """
mark() { /run/proctor/bin/proctor mark "$@"; }
mark begin one
sh -c 'REGISTER
while read line; do eval "$line"; done' <<'LINES'
/bin/echo first
/run/proctor/bin/proctor mark end one
/run/proctor/bin/proctor mark begin two
/bin/echo second
LINES
"""


@pytest.mark.parametrize(("register", "second"), [("/run/proctor/bin/proctor mark shell", "two"), (":", "one")])
def test_children_of_a_registered_shell_take_the_step_at_their_fork(cli: Cli, register: str, second: str) -> None:
    assert cli.run("sh", "-c", SHELL.replace("REGISTER", register)).returncode == 0
    steps = {
        event["data"]["argv"][1]: event.get("origin_step")
        for event in cli.events("exec")
        if event["data"]["argv"][0] == "/bin/echo"
    }
    assert steps == {"first": "one", "second": second}


# --- when parts die ---------------------------------------------------------------------------------------------------

BUSY = "import os\nn = 0\nwhile True:\n  n += 1\n  open(f'f{n % 50}', 'w').close()\n  if n % 20 == 0 and os.fork() == 0: os._exit(0)\n"


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.3])
def test_the_supervisor_dead_means_the_tree_dead(cli: Cli, delay: float) -> None:
    marker = f"m{random.randrange(10**12)}"
    process = cli.start(PY, "-c", BUSY, marker)
    supervisor = supervisor_of(cli)
    until(lambda: alive(marker), "the agent never started") if delay else None
    time.sleep(delay)
    os.kill(supervisor, signal.SIGKILL)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert b"ended without a verdict" in said
    until(lambda: alive(marker) == [], "a process outlived its supervisor")
    assert cli.proctor("verify", str(cli.out)).returncode == 3
    assert cli.proctor("ps").stdout.count("\n") == 1


def test_the_client_dead_means_the_tree_dead_and_a_gap(cli: Cli) -> None:
    marker = f"m{random.randrange(10**12)}"
    process = cli.start(PY, "-c", "import time; time.sleep(1000)", marker)
    until(lambda: (cli.out / "journal").exists() and cli.events("exec"), "the agent never started")
    process.kill()
    process.communicate()
    until(lambda: alive(marker) == [], "a process outlived its client")
    until((cli.out / "verdict.json").exists, "no verdict")
    assert cli.verdict()["verdict"] == "incomplete"
    assert cli.proctor("verify", str(cli.out)).returncode == 0


def test_signals_reach_the_agent_and_end_in_a_verdict(cli: Cli) -> None:
    code = "import signal, sys, time\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(5))\nopen('ready', 'w').close()\ntime.sleep(1000)"
    process = cli.start(PY, "-c", code, flags=("--exit-status", "agent"))
    until((cli.work / "ready").exists, "the agent never started")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 5

    other = Cli(cli.place / "other")
    process = other.start("sleep", "1000")
    until(lambda: (other.out / "journal").exists() and other.events("exec"), "the agent never started")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert other.verdict()["responses"][0]["action"] == "kill"


def test_a_record_that_cannot_be_written_ends_the_episode(cli: Cli) -> None:
    """The journal's file may not grow: as on a full disk, the first event that does not fit ends everything."""
    marker = f"m{random.randrange(10**12)}"

    def small() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    done = cli.run(PY, "-c", BUSY, marker, preexec_fn=small)
    assert done.returncode == 1
    assert b"the journal ends at event" in done.stderr
    assert b"Traceback" not in done.stderr
    until(lambda: alive(marker) == [], "a process outlived its record")
    assert cli.proctor("verify", str(cli.out)).returncode == 3


def test_a_place_that_cannot_be_written_is_one_line(cli: Cli) -> None:
    (cli.place / "file").write_text("")
    cli.out = cli.place / "file" / "record"
    done = cli.run("true")
    assert done.returncode in {1, 2}
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_hostile_names_are_inert(cli: Cli) -> None:
    code = r"""
import os
for name in (b"\x1b[31mred", b"line\nbreak", b"\xff\xfe", b"<script>alert(1)</script>", b"`|x|`", "\u202egnp.exe".encode()):
    open(name, "w").close()
    try: open(b"tests/" + name, "w")
    except OSError: pass
    os.spawnv(os.P_WAIT, b"/bin/true", [b"true", name])
"""
    done = cli.run(PY, "-c", code)
    assert done.returncode == 10
    report = (cli.out / "report.md").read_text()
    for text in (done.stderr.decode(), report):
        assert "\x1b" not in text
        assert "\u202e" not in text
    inside = [child.type for token in MarkdownIt().parse(report) for child in (token, *(token.children or ()))]
    assert "code_inline" in inside
    assert not [kind for kind in inside if kind.startswith(("html", "link", "image"))]
    assert cli.proctor("verify", str(cli.out)).returncode == 0


def test_an_agent_that_closes_everything_and_signals_everyone(cli: Cli) -> None:
    code = """
import os, signal
os.closerange(0, 1000)
for pid in (1, -1, 0, os.getppid(), 2, 3, 4, 5, 99999):
    for signo in (signal.SIGSTOP, signal.SIGKILL, signal.SIGCONT):
        if pid in (0, -1) and signo != signal.SIGCONT: continue
        if pid == os.getpid(): continue
        try: os.kill(pid, signo)
        except OSError: pass
"""
    assert cli.run(PY, "-c", code).returncode == 11  # signals for process 1, which holds the sandbox
    assert [one["rule"] for one in cli.verdict()["findings"]] == ["compute.sandbox_escape"]
    assert {event["data"]["target"] for event in cli.events("signal")} >= {1, -1, 0, 99999}
