"""An exported runtime in images that know nothing of Proctor, with a collector outside.

Neither Docker nor Kubernetes runs here: a container is a root file system entered by pivot_root, in mount and PID
namespaces of its own (tests/live/image.py), also with Docker's default capabilities under its published profile.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from proctor.events import kinds
from proctor.findings import digest
from proctor.journal import Writer, read
from proctor.journal.keys import SigningKey
from tests.live import docker_default, image
from tests.live.place import PROCTOR, SECONDS, Place, alive, events, waiting_for

START = "/opt/proctor/proctor"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, also for all workers of pytest-xdist: nothing ever writes to it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported-runtime"
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            line = [PROCTOR, "export-runtime", "--python", str(folder)]
            subprocess.run(line, check=True, capture_output=True, timeout=5 * SECONDS)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class Collector:
    """``proctor collect`` on a unix socket that whoever is in a container may write to."""

    def __init__(self, place: Place, *options: str) -> None:
        self.place = place
        self.folder = place.folder / "collector"
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.socket = self.folder / "socket" / "c.sock"
        self.socket.parent.mkdir()
        self.socket.parent.chmod(0o755)
        self.records = self.folder / "records"
        self.process = subprocess.Popen(
            [PROCTOR, "collect", "--listen", f"unix:{self.socket}", "--socket-mode", "666", "--keep-free-mb", "0", "--json",
             *options, str(self.records)], env=place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        waiting_for(self.socket, self.process)

    def ended(self) -> tuple[int, list[dict[str, object]]]:
        """Wait until it has as many episodes as it is to take; return its status, and what it says of each."""
        stdout, stderr = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode in {0, 10, 11, 12}, stderr
        return self.process.returncode, [json.loads(line) for line in stdout.splitlines()]

    @property
    def record(self) -> Path:
        (found,) = self.records.iterdir()
        return found


Collecting = Callable[..., Collector]


@pytest.fixture
def collecting(place: Place) -> Iterator[Collecting]:
    with contextlib.ExitStack() as left:

        def start(*options: str) -> Collector:
            made = Collector(place, *options)
            left.enter_context(made.process)
            left.callback(made.process.kill)
            return made

        yield start


def container(
    root: Path, runtime: Path, collector: Collector, *words: str, options: tuple[str, ...] = (), **how: object
) -> list[str]:
    """The command line of ``proctor run`` in an image, as PID 1."""
    binds = [f"{runtime}:/opt/proctor:ro", f"{collector.socket.parent}:/run/collector"]
    start = how.pop("start", [START])
    line = [*start, "run", "--quiet", "--stream", "unix:/run/collector/c.sock", *options, "--", *words]  # type: ignore[misc]
    return image.command(root, *line, binds=binds, **how)  # type: ignore[arg-type]


def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=SECONDS, check=False)


def key_of(place: Place) -> str:
    return str(place.state / "proctor" / "keys" / "signing.pub")


def verified(place: Place, record: Path) -> str:
    """The record is intact and was received by the collector's key: asked for outside."""
    done = place.proctor("verify", "--collector-key", key_of(place), str(record))
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.decode()


AGENT = """
echo x > /work/made; proctor mark begin one; echo "mark $?"; proctor mark end one
ls /run; cat /run/collector/c.sock 2>&1; ls -l /proc/self/fd | cat
"""


def test_in_an_image_without_python(place: Place, runtime: Path, collecting: Collecting) -> None:
    root = image.debian(place.folder / "image")
    collector = collecting("--episodes", "1")
    before = sorted(str(path) for path in runtime.rglob("*"))
    done = run(container(root, runtime, collector, "sh", "-c", AGENT))
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode()
    assert "mark 0" in said
    assert said.splitlines()[1] == "proctor" and "collector" not in said.splitlines()[1]
    assert "socket:" not in said
    status, (told,) = collector.ended()
    assert (status, told["state"], told["verdict"]) == (0, "complete", "clean")
    assert "received by a collector" in verified(place, collector.record)
    assert place.proctor("replay", str(collector.record)).returncode == 0
    assert place.proctor("report", str(collector.record)).returncode == 0
    (kept,) = (root / "tmp").glob("proctor-*/.local/state/proctor/episodes/*")
    for name in ("verdict.json", "report.md", "journal/000000.jsonl"):
        assert (kept / name).read_bytes() == (collector.record / name).read_bytes(), name
    assert not list((root / "tmp").glob("proctor-*/.local/state/proctor/keys")), "a key was stored in the container"
    assert (root / "work" / "made").read_text() == "x\n"
    assert sorted(str(path) for path in runtime.rglob("*")) == before


def test_in_an_image_without_a_libc_or_a_shell(place: Place, runtime: Path, collecting: Collecting) -> None:
    root = image.static(place.folder / "image")
    collector = collecting("--episodes", "1")
    manifest = json.loads((runtime / "manifest.json").read_text())
    start = [word.replace("DIR", "/opt/proctor") for word in manifest["command_without_a_shell"]]
    done = run(container(root, runtime, collector, "/agent", start=start))
    assert (done.returncode, done.stderr) == (0, b"")
    assert collector.ended()[0] == 0
    verified(place, collector.record)
    assert (root / "work" / "made").read_text() == "made"
    assert any(event["kind"] == "file" and event["data"]["path"] == "made" for event in events(collector.record))


@pytest.mark.parametrize("uid", [None, 4242])
def test_under_dockers_defaults(place: Place, runtime: Path, collecting: Collecting, uid: int | None) -> None:
    profile = docker_default.profile()
    if isinstance(profile, str):
        pytest.skip(profile)
    if os.getuid() != 0:
        uid = None  # who is not root can be nobody else
    root = image.debian(place.folder / "image")
    collector = collecting("--episodes", "1")
    done = run(container(root, runtime, collector, "sh", "-c", AGENT, uid=uid, profile=profile))
    assert done.returncode == 0, done.stderr
    assert b"mark 0" in done.stdout
    assert b"cat: /run/collector/c.sock" in done.stdout and b"socket:" not in done.stdout
    assert collector.ended()[0] == 0
    verified(place, collector.record)
    assert json.loads((collector.record / "verdict.json").read_text())["tier"] == "C"
    receipt = json.loads((collector.record / "receipt.json").read_text())
    assert receipt["peer"]["uid"] == (uid or os.getuid())


@contextlib.contextmanager
def started(command: list[str], mark: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A container whose agent has made ``mark``; with the pid of its PID 1."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            waiting_for(mark, process)
            below = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while not below.read_text():
                time.sleep(0.01)
            yield process, int(below.read_text().split()[0])
        finally:
            process.kill()


def children(pid: int) -> list[tuple[int, str]]:
    """Children of a process, with their state (proc_pid_stat(5))."""
    numbers = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [(one, Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[0]) for one in numbers]


ORPHAN = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
for name in ("user", "pid") if os.getuid() else ("pid",):
    assert libc.setns(os.open(f"/proc/{sys.argv[1]}/ns/{name}", os.O_RDONLY), 0) == 0
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.3)
        os._exit(0)
    os._exit(0)
os.wait()
"""


def test_as_pid_1_it_reaps_and_closes_the_verdict_at_sigterm(
    place: Place, runtime: Path, collecting: Collecting
) -> None:
    root = image.debian(place.folder / "image")
    collector = collecting("--episodes", "1")
    agent = "trap '' TERM; echo x > /work/made; sleep 1000"
    with started(container(root, runtime, collector, "sh", "-c", agent), root / "work" / "made") as (process, first):
        assert Path(f"/proc/{first}/status").read_text().split("NSpid:")[1].split("\n")[0].split()[-1] == "1"
        # As `docker exec` or a probe does: what they leave behind becomes PID 1's.
        subprocess.run([sys.executable, "-c", ORPHAN, str(first)], check=True, timeout=SECONDS)
        deadline = time.monotonic() + SECONDS
        while len(children(first)) > 1:
            assert time.monotonic() < deadline, children(first)
            time.sleep(0.05)
        os.kill(first, signal.SIGTERM)
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0
    status, (told,) = collector.ended()
    assert (status, told["state"]) == (0, "complete")
    verified(place, collector.record)
    verdict = json.loads((collector.record / "verdict.json").read_text())
    assert [response["action"] for response in verdict["responses"]] == ["kill"]
    assert "SIGTERM" in verdict["reasons"][2]
    assert alive(str(root)) == []


def test_as_pid_1_it_heeds_sigterm_before_there_is_an_episode(place: Place, runtime: Path) -> None:
    root = image.debian(place.folder / "image")
    os.mkfifo(root / "work" / "policy.toml")  # whose other end never comes
    line = [START, "run", "--policy", "/work/policy.toml", "--", "true"]
    command = image.command(root, *line, binds=[f"{runtime}:/opt/proctor:ro"])
    with started(command, root / "work" / "policy.toml") as (process, first):
        deadline = time.monotonic() + SECONDS
        while not children(first):  # the supervisor, which is forked first of all
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(first, signal.SIGTERM)
        process.communicate(timeout=SECONDS)
        assert process.returncode == 128 + signal.SIGTERM


def test_a_container_that_is_killed_leaves_a_record_that_says_so(
    place: Place, runtime: Path, collecting: Collecting
) -> None:
    root = image.debian(place.folder / "image")
    collector = collecting("--episodes", "1")
    agent = "echo x > /work/made; sleep 1000"
    with started(container(root, runtime, collector, "sh", "-c", agent), root / "work" / "made") as (_, first):
        os.kill(first, signal.SIGKILL)
        status, (told,) = collector.ended()
    assert (status, told["state"], told["verdict"]) == (12, "cut", "incomplete")
    assert str(told["last_line"]).startswith("20")
    assert any(event["kind"] == "file" and event["data"]["path"] == "/work/made" for event in events(collector.record))
    done = place.proctor("verify", "--collector-key", key_of(place), str(collector.record))
    assert done.returncode == 3, done.stdout
    assert b"; cut: the other end closed it" in done.stdout
    assert place.proctor("rejudge", str(collector.record)).returncode == 12
    lines = (collector.record / "journal" / "000000.jsonl").read_bytes().splitlines(keepends=True)
    (collector.record / "journal" / "000000.jsonl").write_bytes(b"".join(lines[:-1]))
    assert place.proctor("verify", str(collector.record)).returncode == 1, "a line lost since went unnoticed"


# --- the collector, seen from a machine's own sandbox -----------------------------------------------------------------


def test_a_collector_that_dies_ends_the_agent_with_a_gap(place: Place, collecting: Collecting) -> None:
    collector = collecting()
    made = place.workspace / "made"
    options = ["--quiet", "--stream", f"unix:{collector.socket}"]
    with place.started("sh", "-c", "echo x > made; sleep 1000; echo y > late", options=options) as (process, out):
        waiting_for(made, process)
        for pid, _ in children(collector.process.pid):
            os.kill(pid, signal.SIGKILL)
        found = place.finished(process, out)
    assert (found.status, found.verdict["verdict"]) == (12, "incomplete"), found.stderr
    assert [gap["of"] for gap in found.verdict["gaps"]] == ["collector"]
    assert b"the collector does not have the whole record" in found.stderr
    assert not (place.workspace / "late").exists()


TRIES = """
import ctypes, glob, json, os, socket, sys
path, names = sys.argv[1], sys.argv[2:]
libc = ctypes.CDLL(None, use_errno=True)
def named(name):
    try: return open(f"/proc/{name}/comm").read().startswith("proctor")
    except OSError: return False
pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and named(name)]  # supervisor and collector are
def connect():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)
        return one.send(b"forged\\n") > 0
def descriptors():
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link).startswith("socket:"): return True
        except OSError: pass
def taken():
    for pid in pids:
        process = libc.syscall(434, pid, 0)
        if process >= 0 and any(libc.syscall(438, process, fd, 0) >= 0 for fd in range(3, 30)): return True
def replaced():
    os.rename(path, path + ".old")
    os.rename(path + ".old", path)
    return True
told = {}
for name in names:
    try: told[name] = bool(globals()[name]())
    except OSError: told[name] = False
print(json.dumps(told))
"""
NAMES = ("connect", "descriptors", "taken", "replaced")


@pytest.mark.parametrize("tier", ["B", "C"])
def test_the_agent_reaches_neither_socket_nor_descriptor(place: Place, collecting: Collecting, tier: str) -> None:
    collector = collecting("--episodes", "2")
    line = [sys.executable, "-c", TRIES, str(collector.socket), *NAMES]
    free = subprocess.run(line, capture_output=True, check=True, timeout=SECONDS)
    assert json.loads(free.stdout) == dict.fromkeys(NAMES, True), "outside a sandbox each of them succeeds"
    found = place.run(*line, options=["--quiet", "--tier", tier, "--stream", f"unix:{collector.socket}"])
    assert json.loads(found.stdout) == dict.fromkeys(NAMES, False)
    _, told = collector.ended()
    assert [one["state"] for one in told] == ["refused", "complete"]


def test_a_collector_that_the_agent_could_reach_is_refused(place: Place) -> None:
    for address, policy, said in (
        (f"unix:{place.workspace}/c.sock", None, b"which the agent can see"),
        ("unix:/etc/c.sock", None, b"which the agent can see"),
        ("tcp:127.0.0.1:4499", '[files]\nwrite = ["."]\n[network]\nallow = ["127.0.0.1:4499"]\n', b"[network] allow"),
        ("tcp:192.0.2.1:4499", None, b"not a loopback address"),
        ("unix:/nowhere/c.sock", None, b"no collector is reached there"),
        ("fd:99", None, b"Bad file descriptor"),
    ):
        done = place.run("touch", "ran", policy=policy, options=["--stream", address])
        assert (done.status, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert said in done.stderr
        assert not (place.workspace / "ran").exists()


def test_a_stream_over_a_pipe(place: Place) -> None:
    read, write = os.pipe()
    records = place.folder / "records"
    with subprocess.Popen(
        [PROCTOR, "collect", "--listen", f"fd:{read}", "--json", "--keep-free-mb", "0", str(records)], env=place.env,
        pass_fds=[read], stdout=subprocess.PIPE,
    ) as collector:  # fmt: skip
        os.close(read)
        out = place.new_out()
        command = place.command("true", options=["--quiet", "--stream", f"fd:{write}"], out=out)
        assert (
            subprocess.run(command, cwd=place.workspace, env=place.env, pass_fds=[write], check=False).returncode == 0
        )
        os.close(write)
        stdout, _ = collector.communicate(timeout=SECONDS)
    assert (collector.returncode, json.loads(stdout)["state"]) == (0, "complete")
    verified(place, next(records.iterdir()))


def test_a_collector_that_is_asked_to_end_lets_open_streams_end(place: Place, collecting: Collecting) -> None:
    collector = collecting()
    go = place.workspace / "go"
    options = ["--quiet", "--stream", f"unix:{collector.socket}"]
    agent = "echo x > made; while [ ! -e go ]; do sleep 0.05; done"
    with place.started("sh", "-c", agent, options=options) as (process, out):
        waiting_for(place.workspace / "made", process)
        collector.process.send_signal(signal.SIGTERM)
        while connectable(collector.socket):  # none is taken any more
            time.sleep(0.02)
        go.touch()
        assert place.finished(process, out).status == 0
    status, (told,) = collector.ended()
    assert (status, told["state"]) == (0, "complete")


def connectable(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect_ex(str(path)) == 0


PROTECTING = '[files]\nwrite = ["."]\nprotect = ["tests/"]\n'


def test_a_sender_that_states_another_verdict_than_its_events_give(place: Place, collecting: Collecting) -> None:
    """A container that was taken over has the key: its journal is well chained and signed, and says `clean`."""
    place.file("tests/t.py", "the test\n")
    honest = place.run("sh", "-c", "echo x > tests/t.py", policy=PROTECTING, options=["--quiet"])
    assert honest.verdict["verdict"] == "violation"
    key = SigningKey.new()
    forged = place.folder / "forged"
    forged.mkdir()
    writer = Writer(forged, key)
    for event in read(honest.out):
        if isinstance(event, kinds.Checkpoint):
            again = event
            writer.checkpoint(lambda data, event=again: structs.replace(event, data=data))  # type: ignore[misc]
        elif isinstance(event, kinds.Open):
            writer.append(structs.replace(event, data=structs.replace(event.data, key=key.public.hex())))
        elif isinstance(event, kinds.Close):
            stated = {"verdict": "clean", "score_effect": "keep", "findings": 0, "findings_digest": digest([])}
            writer.append(structs.replace(event, data=structs.replace(event.data, **stated)))
        else:
            writer.append(event)
    writer.close()
    collector = collecting("--episodes", "1")
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(collector.socket))
        one.sendall((forged / "journal" / "000000.jsonl").read_bytes())
        one.shutdown(socket.SHUT_WR)
        assert b'"state":"complete"' in one.recv(1 << 16)
    status, (told,) = collector.ended()
    assert (status, told["verdict"]) == (10, "violation")
    assert "do not give the findings" in str(told["why"])
    assert sorted(path.name for path in collector.record.iterdir()) == ["journal", "receipt.json"]
    assert place.proctor("verify", str(collector.record)).returncode == 3


@pytest.mark.parametrize("tier", ["B", "C"])
def test_a_stream_over_loopback_that_the_agent_does_not_reach(place: Place, tier: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agent = f"import socket; socket.create_connection(('127.0.0.1', {port})).send(b'forged')"
    line = [PROCTOR, "collect", "--listen", f"tcp:127.0.0.1:{port}", "--episodes", "1", "--json", "--keep-free-mb", "0"]
    with subprocess.Popen(
        [*line, str(place.folder / "records")], env=place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as collector:
        assert collector.stderr is not None and b"collecting from" in collector.stderr.readline()
        options = ["--quiet", "--tier", tier, "--stream", f"tcp:127.0.0.1:{port}"]
        found = place.run(sys.executable, "-c", agent, options=options)
        assert b"refused" in found.stderr or b"denied" in found.stderr or b"not permitted" in found.stderr, found.stderr
        stdout, _ = collector.communicate(timeout=SECONDS)
    assert json.loads(stdout)["state"] == "complete"
    assert any(event["kind"] == "net" and event["data"]["op"] == "connect" for event in found.events)


def test_a_runtime_that_the_agent_could_change_is_refused(place: Place, runtime: Path) -> None:
    policy = place.policy(f'[files]\nwrite = ["{runtime}"]\n')
    line = [str(runtime / "proctor"), "run", "--policy", policy, "--", "true"]
    done = subprocess.run(line, cwd=place.workspace, env=place.env, capture_output=True, timeout=SECONDS, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert b"which the agent can write to" in done.stderr
