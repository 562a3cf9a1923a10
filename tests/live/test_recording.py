"""What an agent does is what the record says: every recorded kind of call, really made, and its event looked at."""

from __future__ import annotations

import hashlib
import signal
import socket
import threading
from pathlib import Path

import pytest

from proctor.events import kinds
from proctor.events.text import to_bytes
from proctor.session.client import Launcher
from tests.live.episode import Place, Ran


@pytest.fixture
def lab(tmp_path: Path, launcher: Launcher) -> Place:
    return Place(tmp_path, launcher)


def ops(ran: Ran, name: str) -> list[tuple[str, str]]:
    """(operation, call) of the file events whose path, as claimed, is ``name``."""
    return [(event.data.op, event.data.call) for event in ran.of(kinds.File, path=name)]


def test_changes_to_files(lab: Place) -> None:
    ran = lab.run("""
open("new", "w").close(); open("new", "a").close(); os.truncate("new", 5); os.chmod("new", 0o600)
f = open("new", "r+b"); os.ftruncate(f.fileno(), 3); os.fchmod(f.fileno(), 0o640); os.fchown(f.fileno(), -1, -1); f.close()
os.chown("new", -1, -1); os.mkdir("d"); os.mkfifo("fifo"); os.symlink("new", "soft"); os.link("new", "hard")
os.rename("hard", "moved"); os.unlink("moved"); os.rmdir("d"); os.close(os.memfd_create("m"))
os.close(os.open(".", os.O_TMPFILE | os.O_WRONLY))
how = struct.pack("QQQ", os.O_WRONLY | os.O_CREAT, 0o600, 0)
os.close(call(437, -100, b"by2", how, len(how)))
open("new").close()
say(0)
""")
    assert [op for op, _ in ops(ran, "new")] == [
        "create",
        "open_write",
        "truncate",
        "chmod",
        "open_write",
        "chown",
        "link",
    ]
    root = str(lab.workspace)
    by_descriptor = [
        event.data for event in ran.of(kinds.File, object=f"{root}/new") if event.data.path.startswith("fd:")
    ]
    assert [data.op for data in by_descriptor] == ["truncate", "chmod", "chown"]
    assert ops(ran, "by2") == [("create", "openat2")]
    for name, op in (("d", "mkdir"), ("fifo", "mknod"), ("soft", "symlink"), ("memfd:m", "memfd"), (".", "create")):
        assert ops(ran, name)[0][0] == op, name
    assert [op for op, _ in ops(ran, "d")] == ["mkdir", "rmdir"]
    renamed = ran.one(kinds.File, op="rename").data
    assert (renamed.object, renamed.target_object) == (f"{root}/hard", f"{root}/moved")
    assert ran.one(kinds.File, op="symlink").data.target == "new"
    assert ops(ran, "moved") == [("unlink", "unlink")]
    assert {event.truth for event in ran.of(kinds.File)} == {"racy"}
    assert {event.data.role for event in ran.of(kinds.File) if event.data.object and root in event.data.object} == {
        "workspace"
    }


def test_paths_are_resolved_from_folders_descriptors_and_links(lab: Place) -> None:
    ran = lab.run("""
os.makedirs("real/deep"); os.symlink("real", "alias")
open("alias/one", "w").close()
fd = os.open("real", os.O_RDONLY); os.close(os.open("two", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
os.chdir("real/deep"); open("../three", "w").close()
open(b"bytes-\\xff\\n", "w").close()
say(0)
""")
    root = str(lab.workspace)
    found = {event.data.path: event.data.object for event in ran.of(kinds.File, op="create")}
    assert found["alias/one"] == f"{root}/real/one"
    assert found["two"] == f"{root}/real/two"
    assert found["../three"] == f"{root}/real/three"
    assert b"bytes-\xff\n" in {to_bytes(path) for path in found}


def test_execs_and_what_became_of_them(lab: Place) -> None:
    (lab.workspace / "script").write_text("#!/bin/sh\nexit 0\n")
    (lab.workspace / "script").chmod(0o755)
    (lab.workspace / "plain").write_text("no program")
    ran = lab.run("""
number = lambda path, *argv: wait(child(lambda: os.execv(path, [path, *argv])))
number("/bin/true", "a", "b"); number("./script"); number("/no/such"); number("./plain")
fd = os.open("/bin/true", os.O_RDONLY); wait(child(lambda: os.execve(fd, ["by-fd"], {})))
m = os.memfd_create("prog", 0); os.sendfile(m, os.open("/bin/true", os.O_RDONLY), 0, 1 << 24)
wait(child(lambda: os.execve(m, ["in-memory"], {})))
wait(child(lambda: os.execv("/bin/true", [b"odd-\\xff", *["x"] * 100])))
wait(child(lambda: (threading.Thread(target=os.execv, args=("/bin/true", ["from-a-thread"])).start(), time.sleep(30))))
subprocess.run(["/bin/true", "spawned"])
say(0)
""")
    results = {event.data.ref: event for event in ran.of(kinds.ExecResult)}
    execs = {
        event.data.argv[0] if event.data.argv[0] != "/bin/true" else event.data.argv[1]: event
        for event in ran.of(kinds.Exec)
    }

    def outcome(name: str) -> str:
        return results[execs[name].seq].data.outcome

    assert {
        name: outcome(name) for name in ("a", "./script", "by-fd", "in-memory", "from-a-thread", "spawned")
    } == dict.fromkeys(("a", "./script", "by-fd", "in-memory", "from-a-thread", "spawned"), "succeeded")
    assert (outcome("/no/such"), outcome("./plain")) == ("failed", "failed")
    assert execs["/no/such"].data.image is None
    assert (execs["a"].data.image or "").endswith("/true")
    assert (execs["by-fd"].data.image or "").endswith("/true")
    assert "memfd:prog" in (execs["in-memory"].data.image or "")
    assert results[execs["a"].seq].data.argv_matches is True
    odd = next(event for name, event in execs.items() if name.startswith("odd-"))
    assert to_bytes(odd.data.argv[0]) == b"odd-\xff"
    assert (odd.data.argc, odd.data.truncated, len(odd.data.argv)) == (101, True, 64)
    assert odd.data.argv_digest == hashlib.sha256(b"\0".join([b"odd-\xff", *[b"x"] * 100])).hexdigest()


def test_ends_by_exit_and_by_signal(lab: Place) -> None:
    ran = lab.run("""
wait(child(lambda: 7))
wait(child(lambda: os.kill(os.getpid(), signal.SIGSEGV)))
victim = child(lambda: time.sleep(60)); time.sleep(0.1); os.kill(victim, signal.SIGKILL); wait(victim)
def threads():
    for _ in range(3): threading.Thread(target=time.sleep, args=(0.01,)).start()
    call(60, 9)  # the first thread alone ends; the others go on
wait(child(threads))
say(victim)
""")
    ends = [(event.data.how, event.data.code, event.data.signal) for event in ran.of(kinds.Exit)]
    assert ("call", 7, None) in ends
    by_signal = [signo for how, _, signo in ends if how == "signal"]
    assert len(by_signal) == 2
    # Where pidfds do not tell, a parent that reaps at once is quicker.
    untold = {None} if "signals that end a process" in ran.verdict.degraded else set()
    assert set(by_signal) <= {signal.SIGKILL, signal.SIGSEGV, *untold}
    assert untold or len(set(by_signal)) == 2
    killed = ran.one(kinds.Signal, signo=9)
    assert killed.data.target == ran.said
    assert killed.data.target_pid is not None
    # Every process that was seen to begin was seen to end, once.
    assert sorted(event.pid or 0 for event in ran.of(kinds.Exit)) == sorted(
        event.pid or 0 for event in ran.of(kinds.Process)
    )


def test_sockets(lab: Place) -> None:
    ran = lab.run("""
server = socket.create_server(("127.0.0.1", 0)); port = server.getsockname()[1]
socket.create_connection(("127.0.0.1", port)).close()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.sendto(b"x", ("127.0.0.1", 9)); udp.sendmsg([b"x"], [], 0, ("127.0.0.1", 10))
six = socket.socket(socket.AF_INET6); number_of(six.connect, ("::1", 9)); number_of(six.connect, ("::ffff:10.1.2.3", 9))
fast = socket.socket(); number_of(fast.sendto, b"x", 0x20000000, ("127.0.0.1", port))
u = socket.socket(socket.AF_UNIX); u.bind("s"); u.listen(); c = socket.socket(socket.AF_UNIX); c.connect("s")
a, b = socket.socketpair(); a.send(b"x"); a.sendmsg([b"y"])
say(port)
""")
    port = ran.said
    assert ran.of(kinds.Net, op="bind", address="127.0.0.1")
    assert ran.of(kinds.Net, op="listen")
    assert ran.one(kinds.Net, op="connect", port=port).data.family == "inet"
    assert ran.one(kinds.Net, call="sendto", port=9).data.address == "127.0.0.1"
    assert ran.one(kinds.Net, call="sendmsg").data.port == 10  # the one without a destination is no event
    assert ran.one(kinds.Net, address="::1").data.family == "inet6"
    assert ran.one(kinds.Net, address="10.1.2.3").data.outcome == "blocked"
    assert ran.one(kinds.Net, fastopen=True).data.port == port
    assert [event.data.op for event in ran.of(kinds.Net, address=f"{lab.workspace}/s")] == ["bind", "connect"]


def test_what_is_done_to_other_processes(lab: Place) -> None:
    ran = lab.run("""
import resource, fcntl
other = child(lambda: time.sleep(60))
resource.prlimit(other, resource.RLIMIT_NOFILE, (64, 64)); os.sched_setaffinity(other, {0}); os.setpriority(os.PRIO_PROCESS, other, 5)
resource.prlimit(os.getpid(), resource.RLIMIT_CORE, (0, 0)); os.setpriority(os.PRIO_PROCESS, 0, 1)
r, _ = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, other); fcntl.fcntl(r, 10, signal.SIGUSR1)
signal.pidfd_send_signal(os.pidfd_open(other), signal.SIGKILL); wait(other)
say(other)
""")
    other = ran.said
    controls = ran.of(kinds.ProcessControl)
    assert [(event.data.call, event.data.target) for event in controls[:4]] == [
        ("prlimit64", other), ("sched_setaffinity", other), ("setpriority", other), ("fcntl", other),
    ]  # fmt: skip
    pid = next(event.pid for event in ran.of(kinds.Process) if event.data.pid_inside == other)
    assert {event.data.target_pid for event in controls[:4]} == {pid}
    assert [event.data.args[1] for event in controls[4:]] == [10]  # F_SETSIG; nothing done to oneself is recorded
    sent = ran.one(kinds.Signal, call="pidfd_send_signal").data
    assert (sent.target, sent.target_pid, sent.signo) == (other, pid, signal.SIGKILL)


def test_a_double_fork_and_a_thread_keep_their_line(lab: Place) -> None:
    ran = lab.run("""
def twice():
    os.setsid(); child(lambda: (time.sleep(0.2), open("grandchild", "w").close())); return 0
wait(child(twice)); time.sleep(0.4)
threading.Thread(target=lambda: open("thread", "w").close()).start()
say(os.getpid())
""")
    root = next(event.pid for event in ran.of(kinds.Process) if event.data.how == "root")
    made = ran.one(kinds.File, path="grandchild")
    between = next(event for event in ran.of(kinds.Process) if event.pid == made.ppid)
    assert between.ppid == root
    assert made.group == between.pid
    assert (made.origin_step, made.attribution in {"lineage", "cgroup"}) == ("step-1", True)
    threaded = ran.one(kinds.File, path="thread")
    assert threaded.pid == root
    assert threaded.tid not in {None, root}


def test_every_call_of_four_processes_is_recorded(lab: Place) -> None:
    ran = lab.run("""
def storm(k):
    for i in range(500):
        os.close(os.open(f"w{k}", os.O_WRONLY | os.O_CREAT))
        os.rename(f"w{k}", f"r{k}"); os.rename(f"r{k}", f"w{k}")
        if i % 5 == 0: wait(child(lambda: 0))
        with socket.socket() as one: one.connect_ex(("127.0.0.1", 9))
for pid in [child(lambda k=k: storm(k)) for k in range(4)]: assert wait(pid) == 0
say(0)
""")
    opens = [
        event
        for event in ran.of(kinds.File)
        if event.data.path.startswith("w") and event.data.op in {"create", "open_write"}
    ]
    assert len(opens) == 2000
    assert len(ran.of(kinds.File, op="rename")) == 4000
    assert len(ran.of(kinds.Net, op="connect")) == 2000
    assert len(ran.of(kinds.Clone)) == 404
    assert len(ran.of(kinds.Process)) == 405
    assert ran.verdict.gaps == ()


def test_opens_of_watched_files_name_their_opener(lab: Place) -> None:
    (lab.workspace / "tests").mkdir()
    for number in range(600):
        (lab.workspace / f"tests/t{number:03}.py").write_text("x")
    (lab.workspace / "tests/run").write_text("#!/bin/sh\n")
    (lab.workspace / "tests/run").chmod(0o755)
    ran = lab.run(
        """
for _ in range(2):
    open("tests/t000.py").read(); time.sleep(0.1)
wait(child(lambda: len(open("tests/t001.py").read()) - 1)); wait(child(lambda: os.execv("tests/run", ["run"])))
for name in sorted(os.listdir("tests")): open("tests/" + name).read()
os.stat("tests/t002.py"); say(0)
""",
        policy='[files]\nwrite = ["."]\nprotect = ["tests"]\n',
    )
    reads = ran.of(kinds.Read)
    first = [event for event in reads if event.data.path.endswith("t000.py")]
    assert len(first) >= 2
    assert [event.data.how for event in first[:2]] == ["lease", "lease"]
    root = next(event.pid for event in ran.of(kinds.Process) if event.data.how == "root")
    assert {event.pid for event in first[:2]} == {root}
    assert next(event for event in reads if event.data.path.endswith("t001.py")).pid != root
    assert any(event.data.path.endswith("tests/run") and event.data.how == "lease" for event in reads)
    assert len({event.data.path for event in reads}) == 601  # beyond 512 leases inotify still tells of the open
    assert {event.attribution for event in reads if event.data.how == "inotify"} == {"time"}
    assert ran.verdict.verdict == "clean"


def test_a_file_held_open_by_somebody_else_is_watched_without_a_name(lab: Place) -> None:
    (lab.workspace / "key").write_text("x")
    with (lab.workspace / "key").open("r+"):
        ran = lab.run(
            'open("key").read(); time.sleep(0.2); say(0)', policy='[files]\nwrite = ["."]\nprotect = ["key"]\n'
        )
    (read,) = ran.of(kinds.Read)
    assert (read.data.how, read.data.opener_unknown, read.pid) == ("inotify", True, None)


def test_the_hosts_own_opens_are_not_the_agents(lab: Place) -> None:
    """A server of the host opens a protected file meanwhile: an event without an opener, and no finding."""
    (lab.workspace / "key").write_text("x")
    policy = '[files]\nwrite = ["."]\nprotect = ["key"]\n'
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            (lab.workspace / "key").read_text()
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        code = f'socket.create_connection(("127.0.0.1", {port})).recv(1); time.sleep(0.2); say(0)'
        ran = lab.run(code, policy=policy + f'[network]\nallow = ["127.0.0.1:{port}"]\n')
        thread.join()
    (read,) = ran.of(kinds.Read)
    assert (read.data.opener_unknown, read.pid) == (True, None)
    assert ran.verdict.verdict == "clean"


NESTED = """
[files]
write = ["."]
protect = ["tests", "tests/unit"]
hide = ["tests/test_a.py", "tests/hidden", "tests/hidden/deep"]
"""


@pytest.mark.parametrize("opened", ["", "tests/test_a.py", "tests/hidden/deep/key", "tests/unit/test_b.py"])
def test_what_is_hidden_inside_what_is_protected(lab: Place, opened: str) -> None:
    """Each file is watched once, by the role that wins; the supervisor's own opens are nobody's."""
    for name in ("tests/test_a.py", "tests/unit/test_b.py", "tests/hidden/x", "tests/hidden/deep/key"):
        (lab.workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (lab.workspace / name).write_text("x")
    ran = lab.run(
        "[open(name).read() for name in sys.argv[1:] if name]; time.sleep(0.1); say(0)", opened, policy=NESTED
    )
    role = "protected" if "unit" in opened else "hidden"
    seen = [(event.data.path, event.data.role, event.data.how) for event in ran.of(kinds.Read)]
    assert seen == ([(str(lab.workspace / opened), role, "lease")] if opened else [])
    assert ran.verdict.verdict == ("violation" if opened and role == "hidden" else "clean")


def test_a_child_that_nobody_waits_for_is_recorded_once(lab: Place) -> None:
    """It is found among its parent's children with every end and signal of a sibling."""
    ran = lab.run(
        """
dead = child(lambda: signal.pause())
os.kill(dead, 9)
time.sleep(0.1)
for _ in range(5):
    other = child(lambda: 0)
    os.kill(other, 0); os.waitid(os.P_PID, other, os.WEXITED)
say(dead)
"""
    )
    (dead,) = [event for event in ran.of(kinds.Process) if event.data.pid_inside == ran.said]
    assert len(ran.of(kinds.Exit, pid=dead.pid)) == 1
    assert len(ran.of(kinds.Process)) == len(ran.of(kinds.Exit)) == 7


def test_an_exec_while_other_threads_call_is_not_called_failed(lab: Place) -> None:
    program = lab.compiled(
        "threads",
        """
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/wait.h>
static void *busy(void *name) { for (;;) { int f = open(name, O_CREAT | O_WRONLY, 0600); if (f >= 0) close(f); } return 0; }
static void *leave(void *unused) { execl("/bin/true", "true", (char *)0); return 0; }
int main(void) {
    for (int k = 0; k < 8; k++) {
        if (!fork()) {
            pthread_t t;
            for (int i = 0; i < 3; i++) pthread_create(&t, 0, busy, i ? i > 1 ? "c" : "b" : "a");
            usleep(3000 * k);
            pthread_create(&t, 0, leave, 0);
            for (;;) pause();
        }
        wait(0);
    }
    return 0;
}
""",
        "-pthread",
    )
    ran = lab.run_each([[str(program)]])
    execs = {event.seq for event in ran.of(kinds.Exec, path="/bin/true")}
    outcomes = [event.data.outcome for event in ran.of(kinds.ExecResult) if event.data.ref in execs]
    assert outcomes == ["succeeded"] * 8
