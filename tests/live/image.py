"""A container's image and what starts a process in it, without Docker: a root file system, entered by pivot_root.

::

    python -m tests.live.image ROOT [--bind SOURCE:TARGET[:ro]]... [--uid N] [--profile FILE] -- COMMAND [ARG]...

COMMAND becomes PID 1 of a new PID namespace, in a new mount namespace whose root is ROOT; without root also in a new user
namespace, as its root. ``--profile``: with Docker's default capabilities, under its published seccomp profile.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import NoReturn

from proctor.runtime import interpreter
from tests.live import docker_default
from tests.live.unprivileged import (
    CLONE_NEWNS,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    _check,
    _libc,
    _mount,
)

CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
MNT_DETACH = 2
PROGRAMS = ("sh", "cat", "ls", "sleep", "id", "touch", "mkdir", "rm", "kill", "env", "readlink", "head")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
FOLDERS = ("proc", "dev", "etc", "tmp", "run", "var/tmp", "work", "opt/proctor")


def folders(root: Path) -> None:
    """What a container's runtime makes in any image."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "work", "var/tmp"):
        (root / name).chmod(0o1777)
    for name in DEVICES:
        (root / "dev" / name).touch()


def debian(root: Path) -> Path:
    """An image of this machine's own programs and libraries: a shell and some tools, no Python."""
    folders(root)
    found = interpreter.find()
    programs = [Path(os.path.realpath(str(shutil.which(name)))) for name in PROGRAMS]
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    for name, path in zip(PROGRAMS, programs, strict=True):
        shutil.copy(path, root / "usr/bin" / name)
    libraries = root / "lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    for name, path in interpreter.libraries(found, programs).items():
        shutil.copy(path, libraries / name)
    (root / "lib64").mkdir()
    (root / "lib64" / found.loader.name).symlink_to(f"../lib/x86_64-linux-gnu/{found.loader.name}")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    return root


def static(root: Path) -> Path:
    """An image of one program: /agent makes the file "made" where it stands, and ends. No libc, no shell, no /usr."""
    folders(root)
    code = bytes.fromhex(
        "b802000000"  # mov eax, 2            open(2)
        "488d3d2a000000"  # lea rdi, [rip+42]  "made"
        "be41000000"  # mov esi, O_WRONLY | O_CREAT
        "baa4010000"  # mov edx, 0644
        "0f05"  # syscall
        "89c7"  # mov edi, eax
        "b801000000"  # mov eax, 1            write(2)
        "488d3510000000"  # lea rsi, [rip+16]  "made"
        "ba04000000"  # mov edx, 4
        "0f05"  # syscall
        "31ff"  # xor edi, edi
        "b83c000000"  # mov eax, 60           exit(2)
        "0f05"  # syscall
    )
    program = code + b"made\0"
    base, start = 0x400000, 0x78
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += (2).to_bytes(2, "little") + (62).to_bytes(2, "little") + (1).to_bytes(4, "little")
    header += (base + start).to_bytes(8, "little") + (64).to_bytes(8, "little") + bytes(12)
    header += b"".join(n.to_bytes(2, "little") for n in (64, 56, 1, 0, 0, 0))
    size = start + len(program)
    segment = (1).to_bytes(4, "little") + (5).to_bytes(4, "little")
    segment += b"".join(n.to_bytes(8, "little") for n in (0, base, base, size, size, 0x1000))
    (root / "agent").write_bytes(header + segment + program)
    (root / "agent").chmod(0o755)
    return root


def command(
    root: Path, *words: str, binds: list[str], uid: int | None = None, profile: Path | None = None
) -> list[str]:
    """The command line that runs ``words`` in an image."""
    given = [word for bind in binds for word in ("--bind", bind)]
    given += [] if uid is None else ["--uid", str(uid)]
    given += [] if profile is None else ["--profile", str(profile)]
    return [sys.executable, "-m", "tests.live.image", str(root), *given, "--", *words]


def _bind(root: str, bind: str) -> None:
    source, target, *how = bind.split(":")
    inside = root + target
    if os.path.isdir(source):
        os.makedirs(inside, exist_ok=True)
    _mount(source, inside, flags=MS_BIND | MS_REC)
    kept = os.statvfs(inside).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if how == ["ro"]:
        _mount("none", inside, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def _first(root: str, options: argparse.Namespace) -> NoReturn:
    """PID 1 of the container: build its mounts, give up what Docker gives up, become the command."""
    _check(_libc.prctl(1, signal.SIGKILL, 0, 0, 0), "prctl")  # PR_SET_PDEATHSIG: no test leaves a container behind
    _mount("none", "/", flags=MS_REC | MS_PRIVATE)
    _mount(root, root, flags=MS_BIND | MS_REC)
    for name in DEVICES:
        _mount(f"/dev/{name}", f"{root}/dev/{name}", flags=MS_BIND)
    for bind in options.bind:
        _bind(root, bind)
    _mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    profile = json.loads(Path(options.profile).read_text()) if options.profile else None
    if profile is not None:
        ctypes.CDLL("libseccomp.so.2")  # while it can be found
    os.chdir(root)
    _check(_libc.syscall(155, b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/work")
    if options.uid is not None:
        os.setgroups([])
        os.setresgid(options.uid, options.uid, options.uid)
        os.setresuid(options.uid, options.uid, options.uid)
    if profile is not None:
        docker_default.confine(profile)
    environment = {"PATH": "/usr/bin:/bin"}
    if options.uid is None:
        environment["HOME"] = "/root"
    os.execve(options.command[0], options.command, environment)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.live.image")
    parser.add_argument("root")
    parser.add_argument("--bind", action="append", default=[])
    parser.add_argument("--uid", type=int)
    parser.add_argument("--profile")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | CLONE_NEWPID | (CLONE_NEWUSER if uid else 0)
    _check(_libc.unshare(flags), "unshare")
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    pid = os.fork()
    if pid == 0:
        try:
            _first(os.path.realpath(options.root), options)
        finally:
            os._exit(127)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signo, _: os.kill(pid, signo))
    _, status = os.waitpid(pid, 0)
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
