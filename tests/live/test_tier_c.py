"""Tier C: no namespaces. What mounts and namespaces keep out elsewhere, Landlock and the supervisor keep out here."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import docker_default
from tests.live.place import SECONDS, Place, Run, alive, waiting_for

GUARDED = '[files]\nwrite = ["."]\nprotect = ["tests/", "kept.txt"]\n'
C = ("--tier", "C", "--quiet")
TRIED = """
import ctypes, errno, fcntl, json, os, socket, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
answers = {}
def tried(name, action):
    try:
        got = action()
        answers[name] = "done" if got is None or not isinstance(got, int) or got >= 0 else errno.errorcode[ctypes.get_errno()]
    except OSError as error:
        answers[name] = errno.errorcode[error.errno]
def said():
    print(json.dumps(answers), flush=True)
"""


@pytest.fixture(scope="session", autouse=True)
def _user_namespaces() -> None:
    """Nothing here needs them."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.file("tests/t.py", "the test\n")
    made.file("kept.txt", "kept\n")
    return made


def python(place: Place, script: str, *arguments: str, policy: str | None = GUARDED) -> tuple[Run, dict[str, Any]]:
    """Run a script that says what it was answered."""
    run = place.run(sys.executable, "-c", TRIED + script + "\nsaid()", *arguments, policy=policy, options=C)
    assert run.stdout, run.stderr.decode()
    return run, json.loads(run.stdout.splitlines()[-1])


def number_of(action: Callable[..., object], *arguments: object) -> int:
    try:
        action(*arguments)
    except OSError as error:
        return error.errno or 0
    return 0


def clean(run: Run) -> None:
    assert (run.status, run.verdict["verdict"], run.verdict["tier"]) == (0, "clean", "C"), (run.stderr, run.verdict)


# --- files ------------------------------------------------------------------------------------------------------------


def test_protected_paths_stay_as_they_are(place: Place) -> None:
    run, answers = python(place, """
os.mkdir("d"); os.symlink("../tests/t.py", "d/link"); open("own", "w").close()
reading = os.open("tests/t.py", os.O_RDONLY); folder = os.open("tests", os.O_RDONLY)
tried("write", lambda: open("tests/t.py", "w"))
tried("append through a link", lambda: open("d/link", "a"))
tried("dot dot", lambda: open("d/../tests/./t.py", "r+"))
tried("relative to a folder", lambda: os.open("t.py", os.O_WRONLY, dir_fd=folder))
tried("opened again", lambda: open(f"/proc/self/fd/{reading}", "w"))
tried("truncate", lambda: os.truncate("tests/t.py", 0))
tried("ftruncate", lambda: os.ftruncate(reading, 0))
tried("unlink", lambda: os.unlink("tests/t.py"))
tried("rename away", lambda: os.rename("tests/t.py", "gone"))
tried("rename the folder", lambda: os.rename("tests", "other"))
tried("rename over", lambda: os.rename("own", "kept.txt"))
tried("exchange", lambda: libc.syscall(316, -100, b"own", -100, b"kept.txt", 2))
tried("link out", lambda: os.link("tests/t.py", "second"))
tried("link in", lambda: os.link("own", "tests/new"))
tried("create", lambda: open("tests/new", "x"))
tried("mkdir", lambda: os.mkdir("tests/sub"))
tried("symlink", lambda: os.symlink("x", "tests/s"))
tried("mknod", lambda: os.mkfifo("tests/f"))
tried("rmdir", lambda: os.rmdir("tests"))
tried("chmod", lambda: os.chmod("tests/t.py", 0o777))
tried("fchmod", lambda: os.fchmod(reading, 0o777))
tried("chown", lambda: os.chown("tests/t.py", os.getuid(), os.getgid()))
tried("fchown", lambda: os.fchown(reading, os.getuid(), os.getgid()))
tried("utime", lambda: os.utime("tests/t.py", (1, 1)))
tried("futimens", lambda: os.utime(reading, (1, 1)))
tried("setxattr", lambda: os.setxattr("tests/t.py", "user.a", b"b"))
tried("fsetxattr", lambda: os.setxattr(reading, "user.a", b"b"))
tried("unnamed file", lambda: os.open("tests", os.O_TMPFILE | os.O_WRONLY))
attributes = struct.pack("i", 0)
tried("attributes", lambda: fcntl.ioctl(reading, 0x40086602, attributes))
""")  # fmt: skip
    assert {name: answer for name, answer in answers.items() if answer == "done"} == {}
    assert {answers[name] for name in ("write", "unlink", "chmod", "link out", "create")} == {"EROFS"}
    kept = place.workspace / "tests"
    assert sorted(os.listdir(kept)) == ["t.py"]
    status = (kept / "t.py").stat()
    assert ((kept / "t.py").read_text(), status.st_nlink, status.st_mode & 0o777) == ("the test\n", 1, 0o644)
    assert status.st_mtime > 1000
    assert os.listxattr(kept / "t.py") == []
    assert (place.workspace / "kept.txt").read_text() == "kept\n"
    assert run.status == 10
    outcomes = {event["data"]["outcome"] for event in run.of("file") if event["data"].get("role") == "protected"}
    assert outcomes == {"blocked"}
    assert {finding["outcome"] for finding in run.verdict["findings"]} == {"blocked"}


def test_a_folder_above_a_protected_path_cannot_be_moved(place: Place) -> None:
    place.file("a/b/inner.py", "inner\n")
    policy = '[files]\nwrite = ["."]\nprotect = ["a/b/inner.py"]\n'
    _, answers = python(place, """
os.mkdir("empty")
tried("a", lambda: os.rename("a", "z"))
tried("b", lambda: os.rename("a/b", "z"))
tried("over", lambda: libc.syscall(316, -100, b"empty", -100, b"a", 2))
tried("beside", lambda: open("a/b/other.py", "w"))
""", policy=policy)  # fmt: skip
    assert answers == {"a": "EBUSY", "b": "EBUSY", "over": "EBUSY", "beside": "done"}


def test_what_is_done_for_the_caller_is_as_if_it_had_done_it(place: Place) -> None:
    run, answers = python(place, """
os.umask(0o027)
open("plain", "w").write("x"); os.mkdir("folder", 0o777); os.mkfifo("fifo", 0o666)
fd = os.open("made", os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
os.write(fd, b"made"); os.lseek(fd, 0, 0); assert os.read(fd, 9) == b"made"
kept = os.open("plain", os.O_WRONLY | os.O_APPEND);
os.write(kept, b"y"); assert open("plain").read() == "xy"
for flags, expected in ((os.O_CREAT | os.O_EXCL | os.O_WRONLY, "EEXIST"), (os.O_WRONLY | os.O_DIRECTORY, "ENOTDIR")):
    try: os.open("plain", flags); raise SystemExit("opened")
    except OSError as error: assert errno.errorcode[error.errno] == expected, error
try: open("no/such", "w"); raise SystemExit("made")
except FileNotFoundError: pass
os.symlink("plain", "link")
try: os.open("link", os.O_WRONLY | os.O_NOFOLLOW); raise SystemExit("followed")
except OSError as error: assert error.errno == errno.ELOOP
open("link", "a").write("z"); assert open("plain").read() == "xyz"
os.link("plain", "hard"); assert os.stat("hard").st_ino == os.stat("plain").st_ino
os.rename("hard", "folder/moved")
open(os.environ["TMPDIR"] + "/t", "w").write("t"); os.rename(os.environ["TMPDIR"] + "/t", "from-tmp")
os.truncate("plain", 1); assert os.stat("plain").st_size == 1
os.chmod("plain", 0o600); os.utime("plain", ns=(5, 7_000_000_001)); tried("attribute", lambda: os.setxattr("plain", "user.k", b"v"))
unnamed = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600); os.write(unnamed, b"u")
os.unlink("link")
libc.syscall(316, -100, b"made", -100, b"from-tmp", 2); assert open("made").read() == "t"
with open("out", "w") as out: subprocess.run(["sh", "-c", "echo said > /dev/stdout"], stdout=out, check=True)
assert open("out").read() == "said\\n"
""")  # fmt: skip
    clean(run)
    folder = place.workspace

    def mode(name: str) -> int:
        return (folder / name).stat().st_mode & 0o777

    assert (mode("folder"), mode("fifo"), mode("from-tmp"), mode("plain")) == (0o750, 0o640, 0o640, 0o600)
    assert (folder / "plain").stat().st_mtime_ns == 7_000_000_001
    # As it answers us here: tmpfs has attributes of users from Linux 6.6 on.
    ours = errno.errorcode.get(number_of(os.setxattr, folder / "from-tmp", "user.k", b"v"), "done")
    assert answers["attribute"] == ours
    if ours == "done":
        assert os.getxattr(folder / "plain", "user.k") == b"v"
    assert (folder / "folder" / "moved").exists()


def test_a_fifo_holds_up_its_caller_and_nobody_else(place: Place) -> None:
    script = (
        "mkfifo f; (echo through > f; echo written) & sleep 0.3; echo x > meanwhile; read line < f; echo $line; wait"
    )
    run = place.run("sh", "-c", script, policy=GUARDED, options=C)
    clean(run)
    assert sorted(run.stdout.split()) == [b"through", b"written"]
    waiting = place.run("sh", "-c", "mkfifo g; (echo never > g) & sleep 0.2", policy=GUARDED, options=C)
    assert waiting.verdict["agent_exit"] == 0  # and the one that waits for ever is ended with the episode


def test_5000_races_for_a_protected_path(place: Place) -> None:
    """Two threads: one opens for writing, one keeps changing the path under it, in memory and in the file system."""
    _, answers = python(place, """
buffer = ctypes.create_string_buffer(b"own-file-name", 64)
stop = False
def change():
    while not stop:
        ctypes.memmove(buffer, b"tests/t.py\\0", 11); ctypes.memmove(buffer, b"own-file\\0", 9)
threading.Thread(target=change, daemon=True).start()
def swap():
    while not stop:
        for target in ("own-file", "tests/t.py"):
            try: os.symlink(target, "next"); os.rename("next", "swapped")
            except OSError: pass
threading.Thread(target=swap, daemon=True).start()
opened = refused = 0
for number in range(2500):
    for path in (buffer, b"swapped"):
        fd = libc.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        if fd >= 0: opened += 1; os.write(fd, b"raced"); os.close(fd)
        else: refused += 1
stop = True
answers["opened"], answers["refused"] = opened, refused
""")  # fmt: skip
    assert (place.workspace / "tests" / "t.py").read_text() == "the test\n"
    assert answers["opened"] + answers["refused"] == 5000
    assert min(answers["opened"], answers["refused"]) > 0, "nothing raced"


def test_the_rest_of_the_machine_is_out_of_reach(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret\n")
    with tempfile.NamedTemporaryFile(dir="/tmp") as other:
        run, answers = python(place, """
outside, other = sys.argv[1:]
tried("read", lambda: open(outside)); tried("write", lambda: open(outside, "w")); tried("list", lambda: os.listdir("/root"))
tried("chmod", lambda: os.chmod(outside, 0o777)); tried("utime", lambda: os.utime(outside))
tried("unlink", lambda: os.unlink(outside)); tried("link", lambda: os.link(outside, "mine"))
tried("shared /tmp", lambda: open(other)); tried("new in /tmp", lambda: open("/tmp/new", "x"))
tried("shadow", lambda: open("/etc/shadow")); tried("system", lambda: open("/usr/new", "x"))
tried("sysctl", lambda: open("/proc/sys/kernel/hostname", "w"))
tried("symlink", lambda: os.symlink(outside, "way")); tried("through it", lambda: open("way", "w"))
""", str(outside), other.name)  # fmt: skip
    assert {name for name, answer in answers.items() if answer == "done"} == {"symlink"}, answers
    assert outside.read_text() == "secret\n"
    assert outside.stat().st_mode & 0o777 == 0o644
    assert outside.stat().st_nlink == 1
    assert run.verdict["tier"] == "C"


def test_what_the_episode_had_for_itself_is_gone_with_it(place: Place) -> None:
    script = 'echo "$TMPDIR $HOME"; echo x > "$TMPDIR/t"; cat "$TMPDIR/t"; touch "$HOME/h"; command -v proctor'
    run = place.run("sh", "-c", script, options=C)
    clean(run)
    tmp, home = run.stdout.split()[:2]
    assert not Path(os.fsdecode(tmp)).exists()
    assert not Path(os.fsdecode(home)).exists()


def test_hidden_content_is_never_read(place: Place) -> None:
    place.file("solutions/deep/answer.txt", "the answer\n")
    place.file("answers.json", "the other answer\n")
    place.file("run.sh", "#!/bin/sh\necho the answer is here\n", executable=True)
    place.file("work.txt", "work\n")
    policy = '[files]\nwrite = ["."]\nprotect = ["tests/"]\nhide = ["solutions/", "answers.json", "run.sh"]\n'
    run, answers = python(place, """
import mmap, shutil
seen = []
def reads(name, action):
    def act(): seen.append(action())
    tried(name, act)
reads("open", lambda: open("solutions/deep/answer.txt").read())
reads("absolute", lambda: open(os.path.abspath("answers.json")).read())
os.symlink("answers.json", "link"); reads("link", lambda: open("link").read())
reads("dot dot", lambda: open("solutions/../answers.json").read())
folder = os.open("solutions/deep", os.O_RDONLY)
reads("relative", lambda: os.read(os.open("answer.txt", os.O_RDONLY, dir_fd=folder), 999).decode())
held = os.open("answers.json", os.O_PATH)
reads("held", lambda: open(f"/proc/self/fd/{held}").read())
reads("through proc", lambda: open(f"/proc/{os.getpid()}/cwd/answers.json").read())
os.symlink(os.getcwd(), os.environ["TMPDIR"] + "/way")
reads("through tmp", lambda: open(os.environ["TMPDIR"] + "/way/answers.json").read())
reads("mapped", lambda: mmap.mmap(os.open("answers.json", os.O_RDONLY), 0, prot=mmap.PROT_READ).read().decode())
reads("copied", lambda: (shutil.copyfile("answers.json", "mine"), open("mine").read())[1])
tried("moved", lambda: os.rename("answers.json", "mine2")); tried("linked", lambda: os.link("answers.json", "mine3"))
tried("folder moved", lambda: os.rename("solutions", "mine4")); tried("written", lambda: open("answers.json", "r+"))
tried("run", lambda: subprocess.run(["./run.sh"], check=True)); tried("run by sh", lambda: subprocess.run(["sh", "run.sh"]))
assert sorted(os.listdir("solutions/deep")) == ["answer.txt"]
assert open("work.txt").read() == "work\\n"; assert open("tests/t.py").read() == "the test\\n"
open("new", "w").write("n"); assert open("new").read() == "n"
answers["seen"] = seen
""", policy=policy)  # fmt: skip
    seen = answers.pop("seen")
    assert [text for text in seen if "answer" in text] == []
    assert len(seen) >= 8
    assert len({text for text in seen if text.startswith("This content is withheld")}) == 1
    assert {answers[name] for name in ("moved", "linked", "folder moved", "written")} <= {"EROFS", "EBUSY"}
    assert answers["run"] != "done"
    assert b"here" not in run.stdout
    assert (run.status, {finding["rule"] for finding in run.verdict["findings"]}) == (10, {"solution.shipped_answer"})
    assert "a copy of" in run.verdict["degraded"]["workspace"]
    assert (place.workspace / "answers.json").read_text() == "the other answer\n"
    assert (place.workspace / "new").read_text() == "n"
    assert (place.workspace / "mine").read_text().startswith("This content is withheld")
    named = [event for event in run.of("read") if event["data"]["role"] == "hidden"]
    assert any(event.get("pid") for event in named)
    assert {Path(event["data"]["path"]).name for event in named} >= {"answer.txt", "answers.json"}
    assert any(event["data"]["role"] == "protected" for event in run.of("read"))


def test_what_is_hidden_outside_the_workspace_is_closed_and_who_asks_is_recorded(place: Place, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "held out").mkdir(parents=True)
    (data / "held out/answers.json").write_text("the answer\n")
    (data / "open.txt").write_text("open\n")
    policy = f'[files]\nwrite = ["."]\nread = ["{data}"]\nhide = ["{data}/held out"]\n'
    run, answers = python(place, """
data = sys.argv[1]
assert open(data + "/open.txt").read() == "open\\n"
os.symlink(data + "/held out/answers.json", "way")
tried("read", lambda: open(data + "/held out/answers.json")); tried("by a link", lambda: open("way"))
tried("not there", lambda: open(data + "/held out/other")); tried("listed", lambda: os.listdir(data + "/held out"))
""", str(data), policy=policy)  # fmt: skip
    assert answers == {"read": "EACCES", "by a link": "EACCES", "not there": "ENOENT", "listed": "done"}
    opens = [event["data"] for event in run.of("file") if event["data"]["op"] == "open"]
    asked = [(Path(data["path"]).name, data["role"], data["outcome"]) for data in opens]
    assert asked == [(name, "hidden", "blocked") for name in ("answers.json", "way", "other")]
    found = [(finding["rule"], finding["outcome"]) for finding in run.verdict["findings"]]
    assert (run.status, set(found)) == (10, {("solution.shipped_answer", "blocked")})
    honest = place.run("sh", "-c", f"cat {data}/open.txt", policy=policy, options=C)
    clean(honest)
    assert honest.of("file") == []


def test_system_secrets_are_closed_and_seen_where_all_opens_are(place: Place) -> None:
    mine = os.access("/etc/shadow", os.R_OK)
    for options, seen in ((C, False), ((*C, "--all-opens"), True)):
        run = place.run(
            sys.executable, "-c", "try: open('/etc/sha' + 'dow')\nexcept OSError as e: print(e.errno)", options=options
        )
        assert run.stdout == b"13\n"
        found = [event["data"] for event in run.of("file") if event["data"]["path"] == "/etc/shadow"]
        # To somebody who could not read it outside either it is one of the system's files.
        expected = [("credential", "blocked") if mine else ("system", "attempted")] if seen else []
        assert [(data["role"], data.get("outcome", "attempted")) for data in found] == expected
        rules = {finding["rule"] for finding in run.verdict["findings"]}
        assert rules == ({"compute.credential_access"} if seen and mine else set())


def test_an_honest_agent_beside_hidden_paths_is_clean(place: Place) -> None:
    place.file("answers.json", "the answer\n")
    place.file("made.c", "int main(void) { return 0; }\n")
    policy = '[files]\nwrite = ["."]\nprotect = ["tests/"]\nhide = ["answers.json"]\n'
    script = "gcc -o made made.c && ./made && ls -l && python3 -c 'print(1)' && cp -r tests copy && cat copy/t.py"
    run = place.run("sh", "-c", script, policy=policy, options=C)
    clean(run)
    assert run.stdout.endswith(b"the test\n")
    assert subprocess.run([place.workspace / "made"], check=False).returncode == 0


def test_changes_of_a_copy_come_back_through_policy(place: Place) -> None:
    for name in ("a", "b", "gone", "folder/inner", "old/x"):
        place.file(name, name)
    place.file("answers.json", "the answer\n")
    (place.workspace / "link").symlink_to("a")
    (place.workspace / "whole").symlink_to(place.workspace / "a")
    policy = '[files]\nwrite = ["."]\nprotect = ["tests/"]\nhide = ["answers.json"]\n'
    ready = f"ready-{os.getpid()}-{time.monotonic_ns()}"
    script = f"""
echo changed > a; rm gone; mkdir -p new/deep; echo n > new/deep/f; mv folder moved; rm -rf old; ln -s elsewhere old
cat whole > through; echo more >> whole; ln -s "$PWD/b" own; cat {place.workspace}/b; ln -sf b link; chmod 700 b; echo x > tests/t.py; rm -f answers.json; echo both > raced; touch {ready}
while :; do sleep 0.05; done
"""
    with place.started("sh", "-c", script, policy=policy, options=C) as (process, out):
        deadline = time.monotonic() + SECONDS
        while not list(Path(tempfile.gettempdir()).glob(f"proctor-*/work/0/{ready}")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not (place.workspace / ready).exists()  # what happens in the copy is not seen out here
        (place.workspace / "raced").write_text("outside\n")
        process.send_signal(signal.SIGTERM)
        run = place.finished(process, out)
    folder = place.workspace
    assert (folder / "a").read_text() == "changed\nmore\n"
    assert (folder / "through").read_text() == "changed\n"
    assert os.readlink(folder / "own") == str(folder / "b")
    assert os.readlink(folder / "whole") == str(folder / "a")
    assert run.stdout == b""  # a path that a program itself holds leads to the original, which is closed
    assert (folder / "new/deep/f").read_text() == "n\n"
    assert (folder / "moved/inner").read_text() == "folder/inner"
    assert sorted(name for name in ("gone", "folder") if (folder / name).exists()) == []
    assert (os.readlink(folder / "old"), os.readlink(folder / "link")) == ("elsewhere", "b")
    assert (folder / "b").stat().st_mode & 0o777 == 0o700
    assert (folder / "tests/t.py").read_text() == "the test\n"
    assert (folder / "answers.json").read_text() == "the answer\n"
    # Changed on both sides: theirs stays, the agent's is kept beside the record, and the record says so.
    assert (folder / "raced").read_text() == "outside\n"
    assert (out / "kept" / "raced").read_text() == "both\n"
    assert any("changed on both sides" in gap["what"] for gap in run.verdict["gaps"])
    assert [name for name in os.listdir(folder) if name.startswith(".proctor-")] == []


@pytest.mark.parametrize("tier", ["B", "C"])
def test_an_open_that_does_not_wait_is_not_failed_by_a_lease(place: Place, tier: str) -> None:
    """GNU tar and file(1) open with O_NONBLOCK, and the kernel answers EAGAIN where a lease would have to be broken."""
    place.file("tests/t.py", "t\n")
    place.file("answers", "42\n")
    agent = """
import os
got = []
for path in ("tests/t.py", "answers", "tests/t.py", "answers") * 5:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    got.append(os.read(fd, 100))
    os.close(fd)
print(len(got), got[0], b"42" in b"".join(got))
"""
    policy = '[files]\nwrite = ["."]\nprotect = ["tests/"]\nhide = ["answers"]\n'
    run = place.run(sys.executable, "-c", agent, policy=policy, options=["--quiet", "--tier", tier])
    assert run.stdout == b"20 b't\\n' False\n", run.stderr
    read = [(Path(event["data"]["path"]).name, event["data"]["role"], event["pid"]) for event in run.of("read")]
    assert len(read) == 20
    assert {one[:2] for one in read} == {("t.py", "protected"), ("answers", "hidden")}
    assert len({pid for *_, pid in read}) == 1
    (finding,) = run.verdict["findings"]
    assert (finding["category"], finding["outcome"], finding["count"]) == ("solution.shipped_answer", "succeeded", 10)


@pytest.mark.parametrize("tier", ["B", "C"])
def test_an_episode_leaves_no_cgroup(place: Place, tier: str) -> None:
    run = place.run("true", policy='[episode]\nid = "leaves-nothing"\n', options=["--quiet", "--tier", tier])
    assert run.status == 0
    made = [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if folder.endswith("-leaves-nothing")]
    assert made == []


@pytest.mark.parametrize("tier", ["B", "C"])
def test_all_opens_are_recorded(place: Place, tier: str) -> None:
    place.file("many", "x")
    agent = "import os\nfor number in range(500): os.close(os.open('many', os.O_RDONLY))\ntry: open('missing')\nexcept OSError: pass"
    run = place.run(sys.executable, "-c", agent, options=["--tier", tier, "--all-opens", "--quiet"])
    assert (run.status, run.verdict["tier"]) == (0, tier)
    opens = [event["data"] for event in run.of("file") if event["data"]["op"] == "open"]
    assert len([data for data in opens if data["path"] == "many" and data["existed"]]) == 500
    assert [data["existed"] for data in opens if data["path"] == "missing"] == [False]
    assert any(data["path"].endswith("/libc.so.6") for data in opens)


# --- network ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def service() -> Iterator[int]:
    """A service of the host on the loopback that answers each connection with a line."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"reached\n")

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


CONNECTS = """
def asked(address, family=socket.AF_INET):
    with socket.socket(family) as s:
        s.settimeout(20); s.connect(address); answers["said"] = s.recv(100).decode()
"""


def test_only_what_is_allowed_is_reached(place: Place, service: int) -> None:
    run, answers = python(
        place,
        CONNECTS + f"tried('allowed', lambda: asked(('127.0.0.1', {service})))\n"
        f"tried('again', lambda: [s := socket.create_connection(('localhost', {service})), s.recv(9)][1] and None)",
        policy=f'[network]\nallow = ["127.0.0.1:{service}"]\n',
    )
    assert answers == {"allowed": "done", "again": "done", "said": "reached\n"}
    clean(run)
    flows = [event["data"] for event in run.of("flow")]
    assert [flow["phase"] for flow in flows].count("open") == 2
    root = next(event["pid"] for event in run.of("process") if event["data"]["how"] == "root")
    assert {event["pid"] for event in run.of("flow") if event["data"]["phase"] == "open"} == {root}

    _, answers = python(place, CONNECTS + f"""
tried("host", lambda: asked(("127.0.0.1", {service}))); tried("any", lambda: asked(("0.0.0.0", {service})))
tried("outside", lambda: asked(("192.0.2.1", 80))); tried("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {service})))
tried("ping", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP))
tried("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW)); tried("packet", lambda: socket.socket(17, socket.SOCK_RAW))
tried("datagrams", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
tried("a pair of them", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
tried("fast open", lambda: socket.socket().sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", {service})))
tried("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
tried("listen unbound", lambda: socket.socket().listen())
tried("not a socket", lambda: libc.connect(1, struct.pack("=HH4s8x", 2, 80, b"\\x7f\\0\\0\\1"), 16))
""", policy=None)  # fmt: skip
    assert "done" not in answers.values(), answers
    assert "said" not in answers


def test_what_was_set_before_a_socket_was_connected_stays(place: Place, service: int) -> None:
    run, answers = python(place, """
import select
def options(s):
    return [
        s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), s.getsockopt(socket.SOL_TCP, socket.TCP_NODELAY),
        s.getsockopt(socket.SOL_TCP, socket.TCP_KEEPIDLE), s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16).hex(),
        s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), s.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8).hex(),
        s.getsockopt(socket.SOL_IP, socket.IP_TOS), s.getblocking(), s.get_inheritable(),
    ]
def made(kind=0):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM | kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1); s.setsockopt(socket.SOL_TCP, socket.TCP_NODELAY, 1)
    s.setsockopt(socket.SOL_TCP, socket.TCP_KEEPIDLE, 77); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 9, 0))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 30000); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3))
    s.setsockopt(socket.SOL_IP, socket.IP_TOS, 8)
    return s
port = int(sys.argv[1])
with made() as s:
    before = options(s); s.connect(("127.0.0.1", port)); answers["connected"] = options(s) == before and before[2] == 77
with made(socket.SOCK_NONBLOCK) as s:
    before = options(s); s.connect_ex(("127.0.0.1", port)); answers["without waiting"] = options(s) == before
with made() as server, made() as s:
    before = options(server); server.bind(("127.0.0.5", 0)); server.listen(); answers["listening"] = options(server) == before
    s.bind(("127.0.0.6", 0)); own = s.getsockname(); s.connect(server.getsockname())
    answers["bound before"] = s.getsockname() == own == server.accept()[1]; answers["then connected"] = options(s) == before
with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as s:
    server.bind(os.environ["TMPDIR"] + "/u"); server.listen(); s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    s.connect(os.environ["TMPDIR"] + "/u"); answers["unix"] = s.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED) == 1
with socket.socket() as s, select.epoll() as watching:
    s.setsockopt(socket.SOL_SOCKET, 25, b"lo")
    watching.register(s, select.EPOLLIN); s.connect(("127.0.0.1", port)); answers["epoll"] = watching.poll(0.2)
""", str(service), policy=f'[network]\nallow = ["127.0.0.1:{service}"]\n')  # fmt: skip
    assert answers.pop("epoll") == []  # what cannot be given back, and is said
    assert answers == dict.fromkeys(answers, True)
    clean(run)
    lost = [event["data"]["lost"] for event in run.of("net") if event["data"].get("lost")]
    assert lost == [["1:25", "epoll"]]  # SO_BINDTODEVICE


CLIENTS = {
    "node": """
const net = require('net'); const s = net.connect({port: +process.argv[1], host: '127.0.0.1', noDelay: true, keepAlive: true});
s.on('data', d => { process.stdout.write(d); s.destroy(); });
""",
    "java": """
import java.net.*; import java.nio.*; import java.nio.channels.*;
public class Main { public static void main(String[] a) throws Exception {
    Selector selector = Selector.open(); SocketChannel c = SocketChannel.open(); c.configureBlocking(false);
    c.setOption(StandardSocketOptions.TCP_NODELAY, true); c.register(selector, SelectionKey.OP_CONNECT);
    c.connect(new InetSocketAddress("127.0.0.1", Integer.parseInt(a[0]))); ByteBuffer b = ByteBuffer.allocate(64);
    while (true) { if (selector.select(5000) == 0) { System.out.println("nothing came"); return; }
        for (SelectionKey key : selector.selectedKeys()) {
            if (key.isConnectable() && c.finishConnect()) key.interestOps(SelectionKey.OP_READ);
            else if (key.isReadable()) { c.read(b); System.out.print(new String(b.array(), 0, b.position())); return; } }
        selector.selectedKeys().clear(); } } }
""",
}


@pytest.mark.parametrize("program", ["asyncio", *CLIENTS])
def test_clients_that_wait_with_epoll(place: Place, service: int, program: str) -> None:
    asyncio = f"import asyncio\nasync def main():\n reader, _writer = await asyncio.open_connection('127.0.0.1', {service})\n return await reader.read()\nprint(asyncio.run(main()).decode(), end='')"
    argv = [sys.executable, "-c", asyncio]
    if program != "asyncio":
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on this machine")
        place.file("Main.java", CLIENTS["java"])
        argv = (
            ["java", "Main.java", str(service)] if program == "java" else ["node", "-e", CLIENTS["node"], str(service)]
        )
    run = place.run(*argv, policy=f'[files]\nwrite = ["."]\n[network]\nallow = ["127.0.0.1:{service}"]\n', options=C)
    assert run.stdout == b"reached\n", run.stderr
    assert [event["data"]["lost"] for event in run.of("net") if event["data"].get("lost")] == []


def test_the_hosts_unix_sockets_are_not_reached(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "host.sock"
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as abstract:
        named.bind(str(path))
        named.listen()
        abstract.bind(f"\0proctor-test-{os.getpid()}")
        abstract.listen()
        _, answers = python(place, """
for name, address in (("path", sys.argv[1]), ("abstract", "\\0" + sys.argv[2])):
    tried(name, lambda: socket.socket(socket.AF_UNIX).connect(address))
""", str(path), f"proctor-test-{os.getpid()}", policy=None)  # fmt: skip
    assert answers == {"path": "EACCES", "abstract": "ECONNREFUSED"}


@pytest.mark.parametrize("policy", [GUARDED, None], ids=["on behalf", "direct"])
def test_the_agents_own_servers_work(place: Place, policy: str | None) -> None:
    run, answers = python(place, """
import asyncio, multiprocessing
def echo(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as server:
        server.bind(address); server.listen()
        threading.Thread(target=lambda: (c := server.accept()[0], c.sendall(c.recv(9).upper())), daemon=True).start()
        with socket.socket(family, kind) as client:
            client.connect(server.getsockname()); client.sendall(b"hello")
            assert client.recv(9) == b"HELLO"
        return None
tried("loopback", lambda: echo(socket.AF_INET, ("127.0.0.1", 0)))
tried("ipv6", lambda: echo(socket.AF_INET6, ("::1", 0)))
tried("every address", lambda: echo(socket.AF_INET, ("", 0)))
tried("unix in tmp", lambda: echo(socket.AF_UNIX, os.environ["TMPDIR"] + "/s"))
tried("abstract", lambda: echo(socket.AF_UNIX, f"\\0own-{os.getpid()}"))
tried("seqpacket", lambda: echo(socket.AF_UNIX, os.environ["TMPDIR"] + "/q", socket.SOCK_SEQPACKET))
async def talk():
    async def serve(reader, writer):
        writer.write(await reader.readline()); await writer.drain(); writer.close()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\\n"); assert await reader.read() == b"line\\n"
tried("asyncio", lambda: asyncio.run(talk()))
with socket.create_server(("0.0.0.0", 0)) as server: answers["bound"] = server.getsockname()[0]
""", policy=policy)  # fmt: skip
    bound = answers.pop("bound")
    assert {name: answer for name, answer in answers.items() if answer != "done"} == {}
    assert bound == "127.0.0.1"
    clean(run)


def test_an_open_empties_only_what_may_be_written(place: Place) -> None:
    """Without a right to write asked for, which Landlock looks at alone before its version 3 (Linux 6.2)."""
    outside = place.folder / "outside"
    (outside / "shown").mkdir(parents=True)
    for name in ("shown/one", "withheld"):
        (outside / name).write_text("kept\n")
    place.file("own", "mine\n")
    place.file("other", "mine\n")
    _, answers = python(place, """
NEITHER = 3  # neither read nor write, open(2)
for name, path in {"shown": sys.argv[1] + "/shown/one", "withheld": sys.argv[1] + "/withheld", "protected": "kept.txt"}.items():
    tried(f"{name}, to read", lambda: os.open(path, os.O_RDONLY | os.O_TRUNC))
    tried(f"{name}, for neither", lambda: os.open(path, NEITHER | os.O_TRUNC))
    tried(f"{name}, openat2", lambda: libc.syscall(437, -100, path.encode(), struct.pack("QQQ", os.O_TRUNC, 0, 0), 24))
tried("absent", lambda: os.open(sys.argv[1] + "/shown/none", os.O_RDONLY | os.O_TRUNC))
emptied = os.open("own", os.O_RDONLY | os.O_TRUNC); os.close(os.open("other", NEITHER | os.O_TRUNC))
answers["own"] = [os.read(emptied, 10).decode(), open("other").read()]
""", str(outside), policy=GUARDED + f'read = ["{outside}/shown"]\n')  # fmt: skip
    assert answers.pop("own") == ["", ""]
    assert set(answers.values()) <= {"EACCES", "EROFS", "ENOENT", "ENOSYS"}, answers
    assert [(outside / name).read_text() for name in ("shown/one", "withheld")] == ["kept\n"] * 2
    assert (place.workspace / "kept.txt").read_text() == "kept\n"


# --- processes --------------------------------------------------------------------------------------------------------


def test_other_processes_of_the_user_are_out_of_reach(place: Place) -> None:
    with subprocess.Popen(["sleep", "1000"]) as outsider:
        try:
            _, answers = python(place, """
import resource, signal
pid = int(sys.argv[1]); r, _ = os.pipe(); pair = socket.socketpair()
for name, action in {
    "kill": lambda: os.kill(pid, 9), "look": lambda: os.kill(pid, 0), "group": lambda: os.killpg(os.getpgid(pid), 9),
    "tgkill": lambda: libc.syscall(234, pid, pid, 9), "tkill": lambda: libc.syscall(200, pid, 9),
    "pidfd": lambda: signal.pidfd_send_signal(os.pidfd_open(pid), 9),
    "folder as a pidfd": lambda: signal.pidfd_send_signal(os.open(f"/proc/{pid}", os.O_RDONLY), 9),
    "owner": lambda: fcntl.fcntl(r, fcntl.F_SETOWN, pid), "owner in memory": lambda: fcntl.fcntl(r, 15, struct.pack("ii", 1, pid)),
    "owner by ioctl": lambda: fcntl.ioctl(pair[0], 0x8901, struct.pack("i", pid)),
    "group by ioctl": lambda: fcntl.ioctl(pair[0], 0x8902, struct.pack("i", pid)),
    "prlimit": lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)),
    "priority": lambda: os.setpriority(os.PRIO_PROCESS, pid, 19), "user": lambda: os.setpriority(os.PRIO_USER, 0, 19),
    "affinity": lambda: os.sched_setaffinity(pid, {0}), "ptrace": lambda: libc.ptrace(16, pid, 0, 0),
    "memory": lambda: open(f"/proc/{pid}/mem", "rb"), "environment": lambda: open(f"/proc/{pid}/environ").read(),
    "supervisor": lambda: os.kill(os.getppid(), 9), "semaphore": lambda: libc.semget(0x1234, 1, 0o1600),
    "shared memory": lambda: libc.shmget(0x1234, 4096, 0o1600), "queue": lambda: libc.msgget(0x1234, 0o1600),
}.items():
    tried(name, action)
""", str(outsider.pid), policy=None)  # fmt: skip
            assert "done" not in answers.values(), answers
            assert outsider.poll() is None
        finally:
            outsider.kill()


def test_signals_through_descriptors_reach_the_own_processes(place: Place) -> None:
    run, answers = python(place, """
import signal
child = subprocess.Popen(["sleep", "1000"]); own = os.pidfd_open(child.pid)
tried("look", lambda: signal.pidfd_send_signal(own, 0))
tried("end", lambda: signal.pidfd_send_signal(own, 15))
answers["child"] = child.wait(20)
tried("again", lambda: signal.pidfd_send_signal(own, 15))
""", policy=None)  # fmt: skip
    assert answers == {"look": "done", "end": "done", "child": -15, "again": "ESRCH"}
    assert [(one["data"]["signo"], one["data"]["call"]) for one in run.of("signal")[:2]] == [
        (0, "pidfd_send_signal"),
        (15, "pidfd_send_signal"),
    ]


def test_a_signal_to_everyone_stays_inside(place: Place) -> None:
    with subprocess.Popen(["sleep", "1000"]) as outsider:
        try:
            run, answers = python(place, """
child = subprocess.Popen(["sleep", "1000"])
tried("everyone", lambda: os.kill(-1, 9))
answers["child"] = child.wait(20)
""", policy=None)  # fmt: skip
            assert answers == {"everyone": "done", "child": -9}
            assert outsider.poll() is None
            assert run.verdict["agent_exit"] == 0
        finally:
            outsider.kill()


DETACHED = """
import os, sys, time
marker = sys.argv[1]
for number in range(4):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("/bin/sleep", ["sleep", marker])
        os._exit(0)
open("ready", "w").close()
time.sleep(1000)
"""


def _named(name: str, supervisor: int) -> int:
    """The pid of a part below the supervisor."""
    queue = [supervisor]
    while queue:
        pid = queue.pop()
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            return pid
        for thread in os.listdir(f"/proc/{pid}/task"):
            queue += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    raise AssertionError(name)


@pytest.mark.parametrize("part", ["proctor-super", "proctor-guard", "proctor-init"])
def test_whatever_part_is_killed_the_tree_dies(place: Place, part: str) -> None:
    """Also processes that left their parents and their sessions."""
    marker = f"97{os.getpid()}"
    with place.started(sys.executable, "-c", DETACHED, marker, options=C) as (process, out):
        waiting_for(place.workspace / "ready", process)
        deadline = time.monotonic() + SECONDS
        while len(alive(f"sleep\0{marker}")) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # `proctor run` forks the supervisor, which leads the session of all below it.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(_named(part, int(children[0])), signal.SIGKILL)
        run = place.finished(process, out)
        deadline = time.monotonic() + SECONDS
        while alive(f"sleep\0{marker}"):
            assert time.monotonic() < deadline, "something outlived the episode"
            time.sleep(0.01)
    if part == "proctor-super":
        assert run.status == 1
        assert place.proctor("verify", str(out)).returncode == 3
    elif part == "proctor-guard":
        assert (run.status, run.verdict["verdict"]) == (12, "incomplete")
    else:
        assert run.verdict["agent_signal"] == signal.SIGKILL
        assert place.proctor("verify", str(out)).returncode == 0


@pytest.mark.parametrize("hides", [False, True])
def test_what_a_killed_supervisor_leaves_is_removed_or_named(place: Place, hides: bool) -> None:
    place.file("answers.json", "the answer\n")
    script = 'echo work > made; mkdir "$TMPDIR/shut"; chmod 0 "$TMPDIR/shut"; echo "$TMPDIR" > /proc/self/fd/1; exec sleep 1000'
    policy = '[files]\nwrite = ["."]\n' + ('hide = ["answers.json"]\n' if hides else "")
    with place.started("sh", "-c", script, policy=policy, options=C) as (process, out):
        assert process.stdout is not None
        base = Path(os.fsdecode(process.stdout.readline().strip())).parent
        assert base.is_dir()
        assert os.fsencode(base) not in place.proctor("doctor").stdout  # it lives
        os.kill(place.supervisor(process), signal.SIGKILL)
        process.wait(SECONDS)
        deadline = time.monotonic() + SECONDS
        while (base / "tmp").exists():
            assert time.monotonic() < deadline, "its folder stayed"
            time.sleep(0.01)
    said = place.proctor("verify", str(out))
    assert said.returncode == 3
    if not hides:
        assert not base.exists()
        assert b"copy" not in said.stdout
        return
    try:
        assert sorted(os.listdir(base)) == ["copies.json", "work"]
        assert (base / "work/0/made").read_text() == "work\n"
        assert not (place.workspace / "made").exists()
        line = f"an agent's work was not brought back, its supervisor was killed: {base}/work/0, the copy of {place.workspace}"
        assert line in said.stdout.decode()
        assert line in place.proctor("doctor").stdout.decode()
        assert str(base / "work/0") in json.loads(place.proctor("doctor", "--json").stdout)["abandoned"]
    finally:
        shutil.rmtree(base)


def test_marks_and_leftovers(place: Place) -> None:
    marker = f"96{os.getpid()}"
    script = f"proctor mark begin one; true; proctor mark end one; setsid sleep {marker} & sleep 0.2"
    run = place.run("sh", "-c", script, options=C)
    assert [event["data"]["op"] for event in run.of("mark")] == ["begin", "end"]
    assert any(event.get("active_step") == "one" for event in run.of("exec"))
    assert [process["cmdline"] for process in run.verdict["leftover"]] == [["sleep", marker]]
    assert not alive(f"sleep\0{marker}")


def test_a_frozen_episode_goes_on_with_the_call_refused(place: Place) -> None:
    policy = GUARDED + '[responses]\non_violation = "freeze"\n'
    agent = ("sh", "-c", "echo > tests/t.py; echo after > after")
    with place.started(*agent, policy=policy, options=["--tier", "C"]) as (process, out):
        deadline = time.monotonic() + SECONDS
        while not (listed := _frozen(place)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not (place.workspace / "after").exists()
        episode = listed.split()[0]
        assert place.proctor("thaw", episode).returncode == 0
        run = place.finished(process, out)
    assert (run.status, (place.workspace / "after").read_text()) == (10, "after\n")


def _frozen(place: Place) -> str:
    """The line of ``proctor ps`` that shows a frozen episode."""
    return next((line for line in place.proctor("ps").stdout.decode().splitlines() if "frozen" in line), "")


# --- a default container ----------------------------------------------------------------------------------------------


@pytest.fixture
def container() -> list[str]:
    """The command line that runs what follows as in a default container."""
    profile = docker_default.profile()
    if isinstance(profile, str):
        pytest.skip(profile)
    return [sys.executable, "-m", "tests.live.docker_default", str(profile), "--"]


def test_in_a_default_container_tier_c_is_taken(place: Place, container: list[str]) -> None:
    root = str(Path(__file__).resolve().parents[2])
    env = place.env | {"PYTHONPATH": root}
    doctor = [sys.executable, "-m", "proctor", "doctor", "--json"]
    said = subprocess.run([*container, *doctor], env=env, capture_output=True, timeout=SECONDS, check=False)
    assert json.loads(said.stdout)["tier"] == "C", said.stderr
    out = place.new_out()
    agent = (
        "echo x > made; echo y > tests/t.py; python3 -c 'import multiprocessing as m; print(m.Pool(2).map(abs, [-1]))'"
    )
    command = place.command("sh", "-c", agent, policy=GUARDED, options=["--quiet"], out=out)
    done = subprocess.run(
        [*container, sys.executable, "-m", "proctor", *command[1:]],
        cwd=place.workspace, env=env, capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    run = Run(done.returncode, done.stdout, done.stderr, out)
    assert (run.status, run.stdout) == (10, b"[1]\n"), run.stderr
    assert (run.verdict["tier"], (place.workspace / "made").read_text()) == ("C", "x\n")
    assert (place.workspace / "tests" / "t.py").read_text() == "the test\n"


NESTED = """
import os, sys
from proctor.sandbox import linux
from proctor.session.probe import _ALLOW_ALL
linux.set_no_new_privs()
os.set_inheritable(linux.seccomp_listener(_ALLOW_ALL, killable=False), True)
os.execv(sys.executable, [sys.executable, "-m", "proctor", *sys.argv[1:]])
"""


def test_a_listener_above_is_recognised_and_said(place: Place) -> None:
    """As below a runtime that has one, or inside another Proctor: the kernel allows one listener above a process."""
    for tier in ("B", "C"):
        command = place.command("true", options=["--quiet", "--tier", tier], out=place.new_out())[1:]
        done = subprocess.run(
            [sys.executable, "-c", NESTED, *command], cwd=place.workspace, env=place.env, capture_output=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr.decode()
        assert b"a seccomp listener above this process takes its calls already" in done.stderr
    said = subprocess.run(
        [sys.executable, "-c", NESTED, "doctor"], env=place.env, capture_output=True, timeout=SECONDS, check=False
    )
    assert said.returncode == 1
    assert said.stdout.startswith(b"tier none\n")
    assert b"a seccomp listener above this process" in said.stdout
