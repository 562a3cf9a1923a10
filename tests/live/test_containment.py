"""What the sandbox keeps in, out and away: every way is really tried from inside, and its record looked at."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proctor import Episode
from proctor.policy.records import Env, Files, Policy
from proctor.session.client import Launcher
from tests.live.place import SECONDS, events

PRELUDE = """
import ctypes, errno, json, os, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(number, *args)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else result


def attempt(action):
    try:
        return action()
    except OSError as error:
        return errno.errorcode[error.errno]


out = {}
"""


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as one:
        yield one


class Inside:
    """Runs Python inside a sandbox; keeps what it printed and what was recorded."""

    def __init__(self, launcher: Launcher, policy: Policy) -> None:
        self._launcher = launcher
        self._policy = policy
        self.events: list[dict[str, Any]] = []
        self.verdict = ""

    def python(self, code: str) -> dict[str, Any]:
        script = PRELUDE + textwrap.dedent(code) + "\nprint(json.dumps(out))\n"
        with Episode(policy=self._policy, workspace=self._policy.workspace, launcher=self._launcher) as episode:
            done = episode.run([sys.executable, "-c", script], timeout=SECONDS)
        assert done.returncode == 0, done.stderr.decode()
        assert episode.out is not None
        assert episode.verdict is not None
        self.events = events(episode.out)
        self.verdict = episode.verdict.verdict
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def refused(self) -> set[tuple[str, str]]:
        return {(event["data"]["call"], event["data"]["reason"]) for event in self.events if event["kind"] == "refused"}


@pytest.fixture
def inside(launcher: Launcher, tmp_path: Path) -> Inside:
    work = tmp_path / "work"
    work.mkdir()
    return Inside(launcher, Policy(workspace=str(work), files=Files(write=(str(work),))))


def test_the_rest_of_the_host_is_absent(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("secret")
    home = os.path.expanduser("~")
    found = inside.python(f"""
        out["outside"] = attempt(lambda: open({str(tmp_path / "outside.txt")!r}).read())
        out["root"] = sorted(os.listdir("/"))
        out["home"] = attempt(lambda: os.listdir({home!r}))
        out["processes"] = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        out["descriptors"] = sorted(int(name) for name in os.listdir("/proc/self/fd"))
        out["environ"] = sorted(os.environ)
    """)
    assert found["outside"] == "ENOENT"
    assert not {"var", "sys", "boot", "srv", "mnt", "media"} & set(found["root"])
    assert found["home"] in ("ENOENT", []) or "bin" not in found["home"]
    assert len(found["processes"]) == 2
    assert len([fd for fd in found["descriptors"] if fd > 2]) == 1  # the folder being listed
    assert set(found["environ"]) <= {
        "HOME", "LANG", "LC_CTYPE", "LOGNAME", "PATH", "PROCTOR_EPISODE", "SHELL", "TMPDIR", "USER",
    }  # fmt: skip


def test_the_environment_is_what_the_policy_says(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "tok-0123456789abcdef")
    monkeypatch.setenv("OTHER", "unseen")
    env = Env(pass_=("API_TOKEN", "ABSENT"), set={"MODEL": "local"})
    inside = Inside(launcher, Policy(workspace=str(tmp_path), files=Files(write=(str(tmp_path),)), env=env))
    found = inside.python("""
        out["environ"] = dict(os.environ)
        print(os.environ["API_TOKEN"], file=sys.stderr)
    """)
    assert found["environ"]["API_TOKEN"] == "tok-0123456789abcdef"
    assert found["environ"]["MODEL"] == "local"
    assert "OTHER" not in found["environ"]
    assert "ABSENT" not in found["environ"]
    assert "tok-0123456789abcdef" not in json.dumps(inside.events)


def test_only_the_write_roots_can_be_written(inside: Inside) -> None:
    found = inside.python("""
        for path in ("/usr/x", "/etc/x", "/x", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/run/proctor/bin/proctor"):
            out[path] = attempt(lambda: open(path, "w").close())
        for path in ("here.txt", "/tmp/x", "/dev/shm/x", os.environ["HOME"] + "/x"):
            out[path] = attempt(lambda: open(path, "w").close())
    """)
    home = next(path for path in found if path.startswith("/home/"))
    assert {path for path, said in found.items() if said is None} == {"here.txt", "/tmp/x", "/dev/shm/x", home}
    assert all(said in {"EROFS", "EACCES", "EPERM", "ENOENT"} for said in found.values() if said is not None)


def test_no_privileges_are_left(inside: Inside) -> None:
    found = inside.python("""
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        out["status"] = {name: status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")}
        out["chroot"] = call(161, b"/")
        out["setuid"] = attempt(lambda: os.setuid(12345))
    """)
    zero = "0" * 16
    assert found["status"] == {
        "CapEff": zero, "CapPrm": zero, "CapBnd": zero, "CapAmb": zero, "NoNewPrivs": "1", "Seccomp": "2",
    }  # fmt: skip
    assert found["chroot"] == "EPERM"
    assert found["setuid"] in {"EPERM", "EINVAL"}


CALLS = {
    "unshare": ("call(272, 0x10000000)", "EPERM"),
    "setns": ("call(308, 0, 0)", "EPERM"),
    "mount": ("call(165, b'none', b'/tmp', b'tmpfs', 0, None)", "EPERM"),
    "umount2": ("call(166, b'/tmp', 2)", "EPERM"),
    "pivot_root": ("call(155, b'/tmp', b'/tmp')", "EPERM"),
    "ptrace": ("call(101, 16, os.getppid(), 0, 0)", "EPERM"),
    "process_vm_readv": ("call(310, os.getppid(), None, 0, None, 0, 0)", "EPERM"),
    "process_vm_writev": ("call(311, os.getppid(), None, 0, None, 0, 0)", "EPERM"),
    "pidfd_getfd": ("call(438, 0, 0, 0)", "EPERM"),
    "io_uring_setup": ("call(425, 4, None)", "ENOSYS"),
    "bpf": ("call(321, 0, None, 0)", "EPERM"),
    "userfaultfd": ("call(323, 0)", "EPERM"),
    "perf_event_open": ("call(298, None, 0, -1, -1, 0)", "EPERM"),
    "open_by_handle_at": ("call(304, 0, None, 0)", "EPERM"),
    "keyctl": ("call(250, 0, 0, 0)", "EPERM"),
    "clone": ("call(56, 0x10000000 | 17, 0, 0, 0, 0)", "EPERM"),
    "ioctl": ("call(16, 0, 0x5412, b'x')", "EPERM"),
    "nr1000": ("call(1000)", "ENOSYS"),
}


def test_calls_that_are_never_allowed_are_refused_and_recorded(inside: Inside) -> None:
    lines = [f"out[{name!r}] = {code}" for name, (code, _) in CALLS.items()]
    lines += [
        'out["raw"] = attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))',
        'out["packet"] = attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))',
        'out["vsock"] = attempt(lambda: socket.socket(40, socket.SOCK_STREAM))',
        'out["grandchild"] = call(56, 0x8000 | 17, 0, 0, 0, 0)',
    ]
    found = inside.python("\n".join(lines))
    assert {name: found[name] for name in CALLS} == {name: answer for name, (_, answer) in CALLS.items()}
    assert (found["raw"], found["packet"], found["vsock"]) == ("EPERM", "EAFNOSUPPORT", "EAFNOSUPPORT")
    assert found["grandchild"] == "EPERM"
    recorded = {name for name, _ in inside.refused()}
    assert {*CALLS, "socket"} <= recorded
    assert inside.verdict == "suspect"


def test_a_call_of_another_architecture_is_refused_and_recorded(inside: Inside) -> None:
    """getpid by int 0x80 (i386's number 20), from code written into memory."""
    found = inside.python("""
        import mmap
        code = bytes.fromhex("b814000000" "cd80" "4898" "c3")  # mov eax, 20; int 0x80; cdqe; ret
        area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        area.write(code)
        address = ctypes.addressof(ctypes.c_char.from_buffer(area))
        out["answer"] = ctypes.CFUNCTYPE(ctypes.c_long)(address)()
    """)
    assert found["answer"] == -38  # ENOSYS
    assert ("nr20", "foreign_arch") in inside.refused()


def test_the_network_is_its_own(inside: Inside) -> None:
    with socket.create_server(("127.0.0.1", 0)) as host, socket.socket(socket.AF_UNIX) as abstract:
        port = host.getsockname()[1]
        abstract.bind(f"\0proctor-test-{port}")
        abstract.listen()
        found = inside.python(f"""
            def reach(family, address):
                with socket.socket(family) as one:
                    one.settimeout(2)
                    return errno.errorcode.get(one.connect_ex(address), 0)
            out["loopback"] = reach(socket.AF_INET, ("127.0.0.1", {port}))
            out["abstract"] = reach(socket.AF_UNIX, "\\0proctor-test-{port}")
            out["private"] = reach(socket.AF_INET, ("10.9.0.1", 80))
            out["six"] = reach(socket.AF_INET6, ("fd00::1", 80))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                out["udp"] = attempt(lambda: one.sendto(b"x", ("10.9.0.1", 53)))
            out["interfaces"] = [name for _, name in socket.if_nameindex()]
        """)
    assert found == {
        "loopback": "ECONNREFUSED", "abstract": "ECONNREFUSED", "private": "ENETUNREACH", "six": "ENETUNREACH",
        "udp": "ENETUNREACH", "interfaces": ["lo"],
    }  # fmt: skip
    asked = {
        (event["data"]["op"], event["data"].get("address"), event["data"].get("outcome", "attempted"))
        for event in inside.events
        if event["kind"] == "net"
    }
    assert {
        ("connect", "10.9.0.1", "blocked"), ("connect", "fd00::1", "blocked"), ("sendto", "10.9.0.1", "blocked"),
        ("connect", "127.0.0.1", "attempted"),
    } <= asked  # fmt: skip


def test_a_socket_of_the_host_that_appears_later_is_refused(launcher: Launcher, tmp_path: Path) -> None:
    policy = Policy(workspace=str(tmp_path), files=Files(write=(str(tmp_path),)))
    with Episode(policy=policy, workspace=str(tmp_path), launcher=launcher) as episode:
        episode.run(["true"])
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "host.sock"))
            server.listen()
            code = "import socket\nwith socket.socket(socket.AF_UNIX) as s: print(s.connect_ex('host.sock'))"
            done = episode.run([sys.executable, "-c", code])
    assert done.stdout == b"13\n"  # EACCES
    assert episode.out is not None
    refused = [event["data"] for event in events(episode.out) if event["kind"] == "refused"]
    assert [(one["call"], one["path"]) for one in refused] == [("connect", str(tmp_path / "host.sock"))]


@pytest.fixture
def guarded(launcher: Launcher, tmp_path: Path) -> Inside:
    work = tmp_path / "work"
    for name, text in (("pkg/tests/t.py", "assert True\n"), ("sol/answer.txt", "forty-two"), ("key.json", "forty-two")):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    files = Files(
        write=(str(work),), protect=(str(work / "pkg/tests"),), hide=(str(work / "sol"), str(work / "key.json"))
    )
    return Inside(launcher, Policy(workspace=str(work), files=files))


def test_protected_files_stay_as_they_are(guarded: Inside) -> None:
    found = guarded.python("""
        t = "pkg/tests/t.py"
        out["write"] = attempt(lambda: open(t, "w"))
        out["append"] = attempt(lambda: open(t, "a"))
        out["create"] = attempt(lambda: open("pkg/tests/new.py", "w"))
        out["unlink"] = attempt(lambda: os.unlink(t))
        out["rename"] = attempt(lambda: os.rename(t, "pkg/x"))
        open("mine", "w").close()
        out["onto"] = attempt(lambda: os.rename("mine", t))
        out["folder"] = attempt(lambda: os.rename("pkg/tests", "pkg/off"))
        out["parent"] = attempt(lambda: os.rename("pkg", "off"))
        out["link"] = attempt(lambda: os.link(t, "hard"))
        out["chmod"] = attempt(lambda: os.chmod(t, 0o777))
        out["truncate"] = attempt(lambda: os.truncate(t, 0))
        out["proc"] = attempt(lambda: os.open("/proc/self/fd/%d" % os.open(t, os.O_RDONLY), os.O_WRONLY))
        os.symlink(t, "soft")
        out["symlink"] = attempt(lambda: open("soft", "w"))
        out["read"] = open(t).read()
    """)
    read = found.pop("read")
    assert read == "assert True\n"
    assert set(found.values()) <= {"EROFS", "EBUSY", "EXDEV", "EACCES", "EPERM"}, found
    work = Path(guarded._policy.workspace)
    assert (work / "pkg/tests/t.py").read_text() == "assert True\n"
    assert not (work / "pkg/tests/new.py").exists()
    touched = [event["data"] for event in guarded.events if event["kind"] == "file"]
    through_link = [one for one in touched if one["path"] == "soft" and one["op"] == "open_write"]
    assert [one["object"] for one in through_link] == [str(work / "pkg/tests/t.py")]
    assert guarded.verdict == "violation"


def test_hidden_content_is_never_read(guarded: Inside) -> None:
    found = guarded.python("""
        os.symlink("key.json", "soft")
        out["open"] = open("key.json").read()
        out["symlink"] = open("soft").read()
        out["fd"] = open("/proc/self/fd/%d" % os.open("key.json", os.O_RDONLY)).read()
        out["root"] = open("/proc/self/root" + os.path.abspath("key.json")).read()
        out["folder"] = open("sol/answer.txt").read()
        out["rename"] = attempt(lambda: os.rename("key.json", "x"))
        out["link"] = attempt(lambda: os.link("key.json", "x"))
        out["unlink"] = attempt(lambda: os.unlink("key.json"))
        out["grep"] = os.popen("grep -r forty-two . | wc -l").read().strip()
    """)
    assert "forty-two" not in json.dumps(found)
    assert found["grep"] == "0"
    assert (found["rename"], found["unlink"]) == ("EBUSY", "EBUSY")
    opened = {event["data"]["path"] for event in guarded.events if event["kind"] == "read"}
    work = guarded._policy.workspace
    assert {f"{work}/key.json", f"{work}/sol/answer.txt"} <= opened
    named = [event for event in guarded.events if event["kind"] == "read" and event["data"]["how"] == "lease"]
    assert any(event.get("exe", "").rpartition("/")[2].startswith("python") for event in named)


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="the filter is for 64-bit programs")
def test_a_process_that_hides_its_memory_hides_nothing_from_the_record(inside: Inside) -> None:
    """PR_SET_DUMPABLE 0: its arguments are read all the same, or its calls are refused; never let through unread."""
    found = inside.python("""
        libc.prctl(4, 0, 0, 0, 0)
        out["write"] = attempt(lambda: open("dark.txt", "w").close())
        out["exec"] = os.spawnv(os.P_WAIT, "/bin/true", ["true"])
    """)
    files = [
        event["data"] for event in inside.events if event["kind"] == "file" and event["data"]["path"] == "dark.txt"
    ]
    unreadable = [one for one in inside.refused() if one[1] == "unreadable"]
    if found["write"] is None:
        assert len(files) == 1
        assert unreadable == []
    else:
        assert found["write"] == "EPERM"
        assert unreadable
