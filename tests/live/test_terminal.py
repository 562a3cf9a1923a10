"""``proctor run --tty`` and job control, driven by a real terminal as a person would."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.person import Person, sitting
from tests.live.place import PROCTOR, SECONDS, Place, Run, alive, events

TIERS = pytest.mark.parametrize("tier", ["B", "C"])
BASH = ("bash", "--norc", "--noprofile", "-i")
PROMPT = rb"\$> "
PY = sys.executable


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.env |= {"PS1": "host> ", "NO_COLOR": "1"}
    return place


def prompted(person: Person) -> Person:
    """Wait for bash, and have it say what cannot be taken for anything else."""
    person.sees(rb"bash-[\d.]+[$#] ")
    person.type("bind 'set enable-bracketed-paste off'; PS1='$''> '\r")
    person.sees(rb"[\n\r]\$> ")
    return person


class At:
    """A person, and the record that is being made."""

    def __init__(self, place: Place, person: Person, out: Path) -> None:
        self.place, self.person, self.out = place, person, out

    def ended(self) -> Run:
        status = self.person.leaves()
        return Run(status, self.person.shown, b"", self.out)

    def supervisor(self) -> int:
        return self.place.supervisor(self.person.process)


@contextmanager
def at(place: Place, *argv: str, options: tuple[str, ...] = ("--tty",), policy: str | None = None) -> Iterator[At]:
    """``proctor run`` as the terminal's only program."""
    out = place.new_out()
    with sitting(place.command(*argv, policy=policy, options=options, out=out), place.workspace, place.env) as person:
        yield At(place, person, out)


@contextmanager
def shell(place: Place) -> Iterator[Person]:
    """An interactive shell, with a short way to say ``proctor``."""
    (place.folder / "inputrc").write_text("set enable-bracketed-paste off\n")
    env = dict(place.env, PATH=f"{Path(PROCTOR).parent}:{os.environ['PATH']}", INPUTRC=str(place.folder / "inputrc"))
    with sitting(["bash", "--norc", "--noprofile", "-i"], place.workspace, env) as person:
        person.sees("host> ")
        yield person


def state(pid: int) -> str:
    """The state letter of a process (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def until(condition: object, what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def verified(place: Place, run: Run) -> None:
    assert place.proctor("verify", str(run.out)).returncode == 0
    assert place.proctor("replay", str(run.out)).returncode == 0


# --- a terminal of its own --------------------------------------------------------------------------------------------


@TIERS
def test_a_shell_with_job_control(place: Place, tier: str) -> None:
    """Every key is a byte; the agent's own line discipline makes signals of it. Nothing of that is a finding."""
    nap, other = (500_000 + 2 * os.getpid() + n for n in (0, 1))  # other tests have sleeping processes, too
    with at(place, *BASH, options=("--tty", "--tier", tier)) as it:
        person = prompted(it.person)
        person.type("tty; stty size; tput cols; echo term=$TERM\r")
        own = person.sees(rb"\n(/dev/pts/\d+)\r\n30 100\r\n100\r\nterm=xterm\r\n")[1].decode()
        assert tier == "C" or own == "/dev/pts/0"
        person.sees(PROMPT)
        person.type(f"echo by-name > {own}; echo by-tty > /dev/tty\r")
        person.sees(rb"\nby-name\r\nby-tty\r\n\$> ")
        person.type(f"sleep {nap}\r")
        until(lambda: alive(f"sleep\x00{nap}"), "no sleep")
        person.type(b"\x1a")
        person.sees(f"Stopped +sleep {nap}")
        person.sees(PROMPT)
        person.type("bg; jobs\r")
        person.sees(f"Running +sleep {nap}")
        person.sees(PROMPT)
        person.type("fg\r")
        person.sees(f"\nsleep {nap}\r\n")
        person.type(b"\x03")
        person.sees(PROMPT)
        person.type("echo status=$?\r")
        person.sees("status=130")
        person.sees(PROMPT)
        person.type(f"sleep {other}; echo status=$?\r")
        until(lambda: alive(f"sleep\x00{other}"), "no sleep")
        time.sleep(0.2)
        person.type(b"\x1c")
        person.sees("\nstatus=131")
        person.sees(PROMPT)
        person.type("exit 3\r")
        run = it.ended()
        assert person.modes == person.usual
    assert run.status == 0
    assert run.verdict["verdict"] == "clean"
    assert run.verdict["findings"] == []
    assert run.verdict["agent_exit"] == 3
    assert "streams" in run.verdict["degraded"]
    assert run.of("output") == []
    assert run.of("capabilities")[0]["data"]["features"]["terminal"]
    dead = {event["data"].get("signal") for event in run.of("exit")}
    assert {signal.SIGINT, signal.SIGQUIT} <= dead
    assert any(event["data"]["argv"] == ["sleep", str(nap)] for event in run.of("exec"))
    verified(place, run)


@TIERS
def test_the_end_of_input_and_a_background_job_that_reads(place: Place, tier: str) -> None:
    with at(place, *BASH, options=("--tty", "--tier", tier)) as it:
        person = prompted(it.person)
        person.type("echo now; cat\r")
        person.sees("\nnow\r\n")  # the shell's own line editing is over
        person.type("to cat\r")
        person.sees("to cat\r\nto cat\r\n")
        person.type(b"\x04")
        person.sees(PROMPT)
        person.type("cat &\r")
        person.sees(rb"\[1\] \d+\r\n")
        person.sees(PROMPT)
        person.type("while ! jobs | grep Stopped; do sleep 0.1; done\r")  # SIGTTIN
        person.sees(rb"Stopped +cat")
        person.sees(PROMPT)
        person.type("kill -9 %1\r")
        person.sees(PROMPT)
        person.type("while jobs | grep Stopped; do sleep 0.1; done; exit\r")
        run = it.ended()
        assert person.modes == person.usual
    assert run.status == 0
    assert run.verdict["findings"] == []


@TIERS
def test_python_reads_lines_and_the_window_changes(place: Place, tier: str) -> None:
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGWINCH, lambda *_: print('size', *os.get_terminal_size(), flush=True))\n"
        "print('isatty', [os.isatty(fd) for fd in (0, 1, 2)], os.ttyname(0).startswith('/dev/pts/'), flush=True)\n"
        "while True:\n"
        "  try: print('got', input('? '), flush=True)\n"
        "  except EOFError: break\n"
        "  except KeyboardInterrupt: print('interrupted', flush=True)\n"
    )
    with at(place, PY, "-c", code, options=("--tty", "--quiet", "--tier", tier)) as it:
        person = it.person
        person.sees(r"isatty \[True, True, True\] True")
        person.sees(r"\? ")
        person.resize(41, 77)
        # A signal between Python's prompt and its read is handled after the read.
        person.type("one\r")
        person.sees("size 77 41")
        person.sees("got one")
        person.type(b"\x03")
        person.sees("interrupted")
        person.type(b"\x04")
        run = it.ended()
        assert person.modes == person.usual
    assert run.status == 0


@TIERS
def test_large_output_is_whole_and_in_order_and_comes_before_the_status(place: Place, tier: str) -> None:
    lines = 1_000_000  # 20 MB
    code = f"import sys\nfor n in range({lines}): sys.stdout.write(f'{{n:018}}\\n')"
    with at(place, PY, "-c", code, options=("--tty", "--quiet", "--tier", tier)) as it:
        assert it.ended().status == 0
        shown = it.person.shown
    assert shown[: 20 * lines].split(b"\r\n")[:-1] == [b"%018d" % n for n in range(lines)]
    assert len(shown) < 20 * lines + 200


def test_a_terminal_that_takes_nothing_holds_up_nobody_but_the_agent(place: Place) -> None:
    """As a stopped one: the supervisor goes on, the way out works, and what was written is shown once it is read."""
    code = "import os\nopen('ready', 'w').close()\nwhile True: os.write(1, b'x' * 1000)"
    with at(place, PY, "-c", code, options=("--tty", "--quiet")) as it:
        until((place.workspace / "ready").exists, "the agent never started")
        time.sleep(1.0)  # nobody reads
        it.person.type(b"\x1d\x1d\x1d")
        until((it.out / "verdict.json").exists, "the way out did not work")
        assert it.person.process.poll() is None
        run = it.ended()
    assert run.verdict["responses"][0]["reason"] == "proctor run was asked to end at the terminal (Ctrl-] three times)"
    assert it.person.shown.count(b"x") > 4096


def test_the_way_out_of_an_agent_that_takes_every_key(place: Place) -> None:
    code = "import sys, tty\ntty.setraw(0)\nprint('raw', flush=True)\nwhile True: print(ord(sys.stdin.read(1)), flush=True)"
    with at(place, PY, "-c", code) as it:
        person = it.person
        person.sees("raw")
        person.type(b"\x03")
        person.sees("3\r?\n")
        person.type(b"\x1d\x1d")
        person.sees("29\r?\n29\r?\n")
        time.sleep(1.1)
        person.type(b"\x1d")  # not the third within a second
        person.sees("29\r?\n")
        assert person.process.poll() is None
        person.type(b"\x1d\x1d\x1d")
        run = it.ended()
        assert person.modes == person.usual
    assert run.verdict["responses"][0]["action"] == "kill"
    assert run.verdict["verdict"] == "clean"


FULL_SCREEN = r"""
import sys, time
sys.stdout.write("\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?2004h\x1b=drawn"); sys.stdout.flush()
time.sleep(1000)
"""
TIDY = b"\x1b>\x1b[?2004l\x1b[?1000l\x1b[?25h\x1b[?1049l\x1b[0m"


@pytest.mark.parametrize("how", ["TERM", "HUP", "supervisor", "proctor kill", "wall"])
def test_the_terminal_is_given_back_however_it_ends(place: Place, how: str) -> None:
    """Modes as they were, and what a full-screen program switched on switched off."""
    policy = "[resources]\nwall_seconds = 2\n" if how == "wall" else None
    with at(place, PY, "-c", FULL_SCREEN, policy=policy) as it:
        person = it.person
        person.sees("drawn")
        assert person.modes != person.usual
        if how in {"TERM", "HUP"}:
            person.process.send_signal(getattr(signal, f"SIG{how}"))
        elif how == "supervisor":
            os.kill(it.supervisor(), signal.SIGKILL)
        elif how == "proctor kill":
            episode = events(it.out)[0]["episode"]
            assert place.proctor("kill", episode).returncode == 0
        status = person.leaves()
        assert person.modes == person.usual
        assert TIDY in person.shown.partition(b"drawn")[2]
    assert status == (1 if how == "supervisor" else 0)
    if how == "supervisor":
        assert b"ended without a verdict" in person.shown.partition(TIDY)[2]


@TIERS
def test_findings_wait_and_a_freeze_gives_the_terminal_back(place: Place, tier: str) -> None:
    place.file("tests/t.py", "assert True\n")
    policy = '[files]\nwrite = ["."]\nprotect = ["tests/"]\n[responses.category]\n"grader.test_edit" = "{action}"\n'
    code = r"""
import os, sys, time
print('\x1b[?1049hdrawn', flush=True)
try: os.open('tests/t.py', os.O_WRONLY)
except OSError: pass
print('on', flush=True); time.sleep(2); print('\x1b[?1049lover', flush=True)
"""
    with at(place, PY, "-c", code, policy=policy.format(action="log"), options=("--tty", "--tier", tier)) as it:
        assert it.ended().status == 10
        shown = it.person.shown
    assert b"grader.test_edit" not in shown[shown.index(b"drawn") : shown.index(b"over")]
    assert b"proctor: grader.test_edit: " in shown.partition(b"over")[2]

    place.file("tests/t.py", "assert True\n")
    with at(place, PY, "-c", code, policy=policy.format(action="freeze"), options=("--tty", "--tier", tier)) as it:
        person = it.person
        episode = person.sees("proctor: frozen: .*`proctor thaw ([^`]+)`")[1].decode()
        assert person.modes == person.usual
        assert b"\x1b[?1049l" in person.shown
        assert place.proctor("thaw", episode).returncode == 0
        person.sees(rb"\x1b\[\?1049hon\r\n")
        assert person.modes != person.usual
        assert it.ended().status == 10
        assert person.modes == person.usual


def test_what_the_terminal_answers_at_the_end_never_reaches_the_shell(place: Place) -> None:
    """An agent can have a terminal 'type' by asking it for a report; what it did not take itself is thrown away."""
    with shell(place) as person:
        person.type("proctor run --quiet --tty -- sh -c 'stty raw -echo; echo asked; sleep 0.5'; cat\r")
        person.sees("\nasked")
        person.type("echo injected\r")
        time.sleep(2.0)
        person.type("plain\r")
        person.sees("plain\r\nplain\r\n")
        assert b"injected" not in person.shown


@TIERS
def test_nothing_inside_can_type_at_the_persons_terminal(place: Place, tier: str) -> None:
    code = """
import errno, fcntl, json, os
answers = {}
def tried(name, action):
    try: answers[name] = str(action())
    except OSError as error: answers[name] = errno.errorcode[error.errno]
theirs = os.environ["THEIRS"]
tried("own", lambda: fcntl.ioctl(0, 0x5412, b"x"))
tried("their write", lambda: os.write(os.open(theirs, os.O_WRONLY | os.O_NOCTTY), b"spoilt"))
tried("their read", lambda: os.open(theirs, os.O_RDONLY | os.O_NOCTTY))
tried("their ioctl", lambda: fcntl.ioctl(os.open(theirs, os.O_RDWR | os.O_NOCTTY), 0x5412, b"x"))
held = [f"/proc/self/fd/{fd}" for fd in range(256)]
answers["open"] = [name for name in held if os.path.lexists(name) and os.readlink(name) == theirs]
answers["own name"] = os.ttyname(0)
open("answers.json", "w").write(json.dumps(answers))
"""
    out = place.new_out()
    # Two: in tier B the agent's own is number 0 of the sandbox's, and must not have the other's name by chance.
    first, second = os.openpty(), os.openpty()
    try:
        theirs = os.ttyname(max(first[1], second[1], key=lambda slave: int(os.ttyname(slave).rpartition("/")[2])))
        policy = place.policy(f'[env.set]\nTHEIRS = "{theirs}"\n')
        command = [PROCTOR, "run", "--policy", policy, "--out", str(out), "--tty", "--quiet", "--tier", tier]
        with sitting([*command, "--", PY, "-c", code], place.workspace, place.env) as person:
            assert person.leaves() in {0, 11}
        answers = json.loads((place.workspace / "answers.json").read_text())
        assert answers["own name"] != theirs
        assert {answers["their write"], answers["their read"], answers["their ioctl"]} <= {"EACCES", "ENOENT"}
    finally:
        for fd in (*first, *second):
            os.close(fd)
    assert answers["own"] == "EPERM"
    assert answers["open"] == []
    assert any(event["data"]["call"] == "ioctl" for event in Run(0, b"", b"", out).of("refused"))


PAIRS = """
import json, os, pty, sys
master, slave = os.openpty()
os.write(slave, b"through")
found = {"name": os.ttyname(slave), "through": os.read(master, 99).decode()}
pid, fd = pty.fork()
if pid == 0: os.execvp("sh", ["sh", "-c", "tty; echo named > /dev/tty; echo opened > $(tty)"])
shown = b""
try:
    while piece := os.read(fd, 999): shown += piece
except OSError: pass
found |= {"shown": shown.decode(), "status": os.waitpid(pid, 0)[1], "theirs": "opened"}
try: os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
except OSError as error: found["theirs"] = error.strerror
print(json.dumps(found))
"""


@TIERS
def test_the_agent_opens_pairs_of_its_own_and_nobody_elses(place: Place, tier: str) -> None:
    """As tmux, script and pexpect do. In tier C, where /dev/pts is the machine's, by whose master it is."""
    master, slave = os.openpty()
    theirs = os.ttyname(slave)
    try:
        number = int(theirs.rpartition("/")[2])
        outside = theirs if tier == "C" else f"/dev/pts/{number + 1000}"  # in tier B the numbers are the sandbox's own
        run = place.run(PY, "-c", PAIRS, outside, options=["--quiet", "--tier", tier])
    finally:
        os.close(slave)
        os.close(master)
    assert run.stdout, run.stderr.decode()
    found = json.loads(run.stdout)
    assert found["through"] == "through"
    assert re.fullmatch(r"/dev/pts/\d+\r\nnamed\r\nopened\r\n", found["shown"]), found
    assert found["status"] == 0
    assert found["theirs"] == ("Permission denied" if tier == "C" else "No such file or directory")
    assert run.status == 0


@pytest.mark.parametrize(
    ("redirect", "told"),
    [("< /dev/null", "standard input is none"), ("> out.txt", "standard output is none"), ("--json 2> err.txt", "")],
)
def test_without_a_terminal_there_is_one_clear_line(place: Place, redirect: str, told: str) -> None:
    """``--json`` shows the agent on standard error, which then has to be the terminal."""
    rest = redirect.removeprefix("--json ")
    words = "--json " if "--json" in redirect else ""
    with shell(place) as person:
        person.type(f"proctor run --tty {words}-- touch ran {rest if words else redirect}; echo status=$?\r")
        person.sees("\nstatus=2\r")
    text = person.shown.decode() if told else (place.workspace / "err.txt").read_text()
    assert f"proctor: run: --tty needs a terminal, and {told or 'standard error is none'}" in text
    assert not (place.workspace / "ran").exists()


# --- job control ------------------------------------------------------------------------------------------------------

COUNT = "import itertools, time\nfor n in itertools.count():\n  open('count', 'a').write(f'{n} '); time.sleep(0.02)"


def counted(place: Place) -> str:
    file = place.workspace / "count"
    return file.read_text() if file.exists() else ""


def stands(place: Place) -> bool:
    before = counted(place)
    time.sleep(0.3)
    return before == counted(place) != ""


def goes(place: Place) -> None:
    before = counted(place)
    until(lambda: counted(place) not in {before, ""}, "the agent does not go on")


def started(place: Place, person: Person, options: str = "") -> Path:
    """Start the counting agent from a shell; return its record."""
    out = place.new_out()
    place.file("agent.py", COUNT)
    person.type(f"proctor run --out {out} {options} -- {PY} agent.py\r")
    goes(place)
    return out


@pytest.mark.parametrize("options", ["--tier B", "--tier C", "--tty --tier B", "--tty --tier C"])
def test_ctrl_z_stops_both_and_fg_and_bg_continue_both(place: Place, options: str) -> None:
    policy = place.policy("[resources]\nwall_seconds = 6\n")
    with shell(place) as person:
        out = started(place, person, f"{options} --policy {policy}")
        usual = person.modes
        if "--tty" in options:  # its Ctrl-Z is the agent's; who stops the job from outside stops both as well
            client = events_client(out)
            os.kill(client, signal.SIGTSTP)
        else:
            person.type(b"\x1a")
        person.sees(r"Stopped .*host> ")
        assert stands(place)
        assert " stopped " in place.proctor("ps").stdout.decode()
        if "--tty" in options:
            assert person.modes != usual
        stopped = time.monotonic()
        time.sleep(2.0)
        if "--tty" not in options:
            person.type("bg\r")
            person.sees("host> ")
            goes(place)
            person.type("echo the shell reads\r")  # and no background job takes it
            person.sees("\nthe shell reads\r\n")
        away = time.monotonic() - stopped
        begun = time.monotonic()
        person.type("fg\r")
        goes(place)
        person.sees("proctor: clean")
        assert away > 2.0
        person.type("echo over\r")
        person.sees("\nover\r\n")
        assert time.monotonic() - begun < SECONDS
    run = Run(0, b"", b"", out)
    reasons = [note["reason"] for note in run.verdict["responses"]]
    assert reasons[:2] == [
        "the agent was stopped, as the caller asked, who stops too (SIGTSTP)",
        "the agent was let go on, as the caller goes on (SIGCONT)",
    ]
    assert run.verdict["responses"][-1]["limit"] == "wall_seconds"
    record = run.events
    first, last = record[0]["t_mono_ns"], record[-1]["t_mono_ns"]
    assert last - first > 8e9  # six seconds of its own, and those that it was stopped
    assert run.verdict["verdict"] == "clean"
    verified(place, run)


def events_client(out: Path) -> int:
    """The ``proctor run`` that makes this record."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if os.fsencode(out) in words and (folder / "comm").read_text() == "proctor\n":
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(out)


def test_continuing_the_job_does_not_undo_a_freeze(place: Place) -> None:
    """A frozen agent stays frozen through Ctrl-Z and fg; one that is thawed while its job is stopped waits for fg."""
    place.file("tests/t.py", "assert True\n")
    policy = place.policy('[files]\nwrite = ["."]\nprotect = ["tests/"]\n[responses]\non_violation = "freeze"\n')
    code = COUNT.replace(
        "import itertools, time\n", "import itertools, os, time\ntry: os.unlink('tests/t.py')\nexcept OSError: pass\n"
    )
    with shell(place) as person:
        place.file("agent.py", code)
        person.type(f"proctor run --policy {policy} -- {PY} agent.py\r")
        episode = person.sees("proctor: frozen: .*`proctor thaw ([^`]+)`")[1].decode()
        person.type(b"\x1a")
        person.sees(r"Stopped .*host> ")
        person.type("fg\r")
        person.sees("fg\r\n")
        time.sleep(0.5)
        assert counted(place) == ""
        assert " frozen " in place.proctor("ps").stdout.decode()
        person.type(b"\x1a")
        person.sees(r"Stopped .*host> ")
        assert place.proctor("thaw", episode).returncode == 0
        time.sleep(0.5)
        assert counted(place) == ""
        assert " stopped " in place.proctor("ps").stdout.decode()
        person.type("fg\r")
        goes(place)
        assert place.proctor("kill", episode).returncode == 0
        person.sees("proctor: violation")


def test_a_terminal_that_is_closed_ends_the_episode_with_a_verdict(place: Place) -> None:
    with at(place, PY, "-c", COUNT) as it:
        goes(place)
        os.close(it.person.master)
        it.person.master = os.open(os.devnull, os.O_RDONLY)
        until((it.out / "verdict.json").exists, "no verdict")
        it.person.process.wait(SECONDS)
    run = Run(0, b"", b"", it.out)
    assert run.verdict["verdict"] == "clean"
    assert run.verdict["responses"][0]["reason"] == "proctor run was asked to end (SIGHUP)"


def test_started_in_the_background_it_waits_to_have_the_terminal(place: Place) -> None:
    with shell(place) as person:
        person.type("proctor run --quiet --tty -- sh -c 'stty size; echo over' &\r")
        person.sees("host> ")
        person.type("while ! jobs | grep Stopped; do sleep 0.1; done\r")
        person.sees(r"Stopped .*host> ")
        person.type("fg\r")
        person.sees("30 100\r\nover\r\n.*host> ")


def test_what_the_agent_stopped_itself_stays_stopped(place: Place) -> None:
    """An agent that stops itself does not stop Proctor, and what it stopped is not continued by a fg."""
    code = (
        "import os, signal, subprocess, time, itertools\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        "child.send_signal(signal.SIGSTOP)\n"
        "os.waitid(os.P_PID, child.pid, os.WSTOPPED)\n"
        "for n in itertools.count():\n"
        "  open('count', 'a').write(open(f'/proc/{child.pid}/stat').read().split()[2]); time.sleep(0.02)"
    )
    with shell(place) as person:
        place.file("own.py", code)
        person.type(f"proctor run -- {PY} own.py\r")
        until(lambda: counted(place).endswith("T"), "never stopped")
        person.type(b"\x1a")
        person.sees(r"Stopped .*host> ")
        person.type("fg\r")
        goes(place)
        until(lambda: counted(place) != "", "nothing")
        assert counted(place).endswith("T")
        person.type(b"\x03")
        person.sees("proctor: clean")


def test_an_agent_that_stops_itself_does_not_stop_proctor(place: Place) -> None:
    with place.started("sh", "-c", "touch ready; kill -STOP $$; exit 4", options=["--exit-status", "agent"]) as (
        client,
        out,
    ):
        until((place.workspace / "ready").exists, "never started")
        until(lambda: any(e["kind"] == "signal" for e in events(out)), "no signal")
        root = next(e["pid"] for e in events(out) if e["kind"] == "process")
        until(lambda: state(root) == "T", "never stopped")
        assert state(client.pid) != "T"
        os.kill(root, signal.SIGCONT)
        assert place.finished(client, out).status == 4


@pytest.mark.parametrize(("key", "number"), [(b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT)])
def test_keys_that_end_go_to_the_agent_and_the_second_ends_the_episode(place: Place, key: bytes, number: int) -> None:
    code = (
        "import os, signal, time\n"
        "for number in (signal.SIGINT, signal.SIGQUIT):\n"
        "  signal.signal(number, lambda n, _: os.write(1, b'agent got %d\\n' % n))\n"
        "print('ready', flush=True)\nwhile True: time.sleep(1)"
    )
    with at(place, PY, "-c", code, options=()) as it:
        it.person.sees("\nready")
        it.person.type(key)
        it.person.sees(f"agent got {int(number)}")
        it.person.type(key)
        run = it.ended()
    first, second = run.verdict["responses"]
    assert first["reason"] == f"{signal.Signals(number).name} was passed on to the agent, as the caller asked"
    assert second["action"] == "kill"
    assert run.status == 0


def test_typing_without_a_terminal_of_its_own(place: Place) -> None:
    """Standard input is a pipe, fed with what is typed in the foreground; Ctrl-D is its end."""
    with at(place, "sh", "-c", "cat; echo done", options=()) as it:
        it.person.sees("proctor: episode .*\n")
        it.person.type("a line\r")
        it.person.sees("a line\r\na line\r\n")
        it.person.type(b"\x04")
        it.person.sees("done\r\n")
        run = it.ended()
    assert run.status == 0
    streams = {event["data"]["stream"]: event["data"] for event in run.of("output")}
    assert streams["stdin"]["bytes"] == len("a line\n")


def test_a_background_job_leaves_the_terminal_to_the_shell(place: Place) -> None:
    """Only what is typed while it is in the foreground is the agent's."""
    with shell(place) as person:
        person.type(f"proctor run --quiet -- {PY} -c \"print('heard', input())\" &\r")
        person.sees("host> ")
        for number in range(5):
            person.type(f"echo $(({number} + 70))\r")
            person.sees(f"\n{number + 70}\r\n")
            time.sleep(0.3)
        person.type("fg\r")
        person.sees(rb"\r\nproctor run [^\n]*\n")
        person.type("for the agent\r")
        person.sees("heard for the agent\r\n")


@TIERS
def test_stopped_by_a_signal_that_nobody_can_catch(place: Place, tier: str) -> None:
    """SIGSTOP leaves proctor run no time to tidy up; a shell sets its own modes, and after SIGCONT they are set again."""
    with shell(place) as person:
        out = started(place, person, f"--tty --tier {tier}")
        raw = person.modes
        client = events_client(out)
        os.kill(client, signal.SIGSTOP)
        person.sees(r"Stopped .*host> ")
        assert person.modes != raw
        person.type("fg\r")
        until(lambda: person.modes == raw, "never raw again")
        person.type(b"\x03")
        person.sees("proctor: clean")
        person.sees("host> ")
        person.type("stty -a\r")
        assert b" -icanon" not in person.sees("isig.*host> ")[0]


# --- Proctor's own lines ----------------------------------------------------------------------------------------------


def test_a_finding_begins_a_line_of_its_own_at_a_terminal(place: Place) -> None:
    """However far the agent's own line has come: a width of blanks but one wraps, or is written over."""
    place.file("tests/t.py", "assert True\n")
    policy = '[files]\nwrite = ["."]\nprotect = ["tests/"]\n'
    code = (
        "import os, sys, time\nsys.stderr.write('half a line'); sys.stderr.flush()\ntime.sleep(0.3)\n"
        "try: os.open('tests/t.py', os.O_WRONLY)\nexcept OSError: pass\ntime.sleep(0.3)\nsys.stderr.write('the rest\\n')"
    )
    with at(place, PY, "-c", code, options=(), policy=policy) as it:
        it.person.sees(rb"half a line {99}\rproctor: grader.test_edit: [^\n]*\r\nthe rest\r\n")
        assert it.ended().status == 10


def test_nothing_else_is_open_in_the_agent(place: Place) -> None:
    """The master is held outside: neither it nor the person's terminal is among the agent's descriptors."""
    code = "import os; print({n: os.readlink(f'/proc/self/fd/{n}') for n in range(64) if os.path.lexists(f'/proc/self/fd/{n}')})"
    with at(place, PY, "-c", code, options=("--tty", "--quiet")) as it:
        it.ended()
    shown = it.person.shown.decode()
    assert re.search(r"\{0: '/dev/pts/0', 1: '/dev/pts/0', 2: '/dev/pts/0'(, 3: '/proc/\d+/fd')?\}", shown), shown
