"""Run a command as an unprivileged user, whoever calls.

::

    python -m tests.live.unprivileged [--need PATH]... -- COMMAND [ARG]...

Called by root: in a mount namespace of its own, what the command needs (the interpreter, its environment, this
checkout, the data beside it if there is some, each PATH) is made reachable below folders that the user may not enter, and read-only; /tmp is fresh; home
and XDG folders are new ones in it. Then the process becomes a user with no other processes and no privileges, and the
command takes its place. Called by anyone else: the command takes its place at once.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from typing import NoReturn

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.environ.get("PROCTOR_DATA") or os.path.join(os.path.dirname(CHECKOUT), "shared", "data")
"""Outside data that some tests read; not everybody has it."""
NAME = "proctor-tests"
FIRST_UID = 61184  # where systemd's range for short-lived users begins: no person's, no package's

# linux/sched.h and linux/mount.h
CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    encoded = (None if text is None else os.fsencode(text) for text in (source, target, kind))
    _check(
        _libc.mount(*encoded, ctypes.c_ulong(flags), None if options is None else options.encode()), f"mount {target}"
    )


@contextmanager
def _acting_as(uid: int) -> Iterator[None]:
    """Let the kernel answer for the user: its checks follow the effective ids."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _barrier(path: str, uid: int) -> str | None:
    """Return the topmost folder on the way to ``path`` (itself included) that the user may not enter, or None."""
    with _acting_as(uid):
        for folder in accumulate(path.split("/")[1:], os.path.join, initial="/"):
            if os.path.lexists(folder) and not os.path.isdir(folder):
                return None
            try:
                os.stat(os.path.join(folder, "."))
            except PermissionError:
                return folder
    return None


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _bind_read_only(descriptor: int, target: str) -> None:
    """Show what ``descriptor`` holds at ``target``, which is made where it is missing."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o644))
    _mount(f"/proc/self/fd/{descriptor}", target, flags=MS_BIND | MS_REC)
    # The values of ST_NOSUID, ST_NODEV and ST_NOEXEC are those of their MS_ twins (statvfs(3)).
    kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mount("none", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def _cover(folder: str, needs: Iterable[str], mode: int = 0o755) -> None:
    """Mount an empty folder over ``folder`` and show again, read-only, what of ``needs`` lies in it."""
    shown: list[str] = []
    for need in sorted(needs):
        if need == folder:
            shown.extend(os.path.join(folder, name) for name in os.listdir(folder))
        elif _inside(need, folder) and not any(_inside(need, other) for other in shown):
            shown.append(need)
    # Opened first: afterwards these paths lead into the empty folder.
    descriptors = {path: os.open(path, os.O_PATH) for path in shown if os.path.exists(path)}
    _mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode:o}")
    for path, descriptor in descriptors.items():
        _bind_read_only(descriptor, path)
        os.close(descriptor)


def _needs(extra: Iterable[str]) -> list[str]:
    """Return the paths the interpreter and the tests live at: as they are named, and where those names lead."""
    data = [DATA] if os.path.isdir(DATA) else []
    named = [CHECKOUT, *data, sys.prefix, sys.base_prefix, sys.base_exec_prefix, os.path.dirname(sys.executable)]
    named = [os.path.abspath(path) for path in (*named, *extra)]
    resolved = [os.path.realpath(path) for path in (*named, sys.executable)]
    # Resolved ones first: with those reachable most names are, too.
    return list(dict.fromkeys(resolved + named))


def _unreadable(needs: Iterable[str], uid: int) -> str | None:
    with _acting_as(uid):
        for path in (*needs, os.path.join(CHECKOUT, "pyproject.toml"), os.path.abspath(__file__)):
            if not os.access(path, os.R_OK, effective_ids=True):
                return path
    return None


def _become(uid: int) -> None:
    """Give up root for good, under a name and with a home that exist only here."""
    for file, entry in (("passwd", f"{NAME}:x:{uid}:{uid}::/tmp/home:/bin/sh\n"), ("group", f"{NAME}:x:{uid}:\n")):
        with open(f"/etc/{file}", encoding="utf-8") as original, open(f"/tmp/{file}", "w", encoding="utf-8") as copy:
            copy.write(original.read() + entry)
            os.fchmod(copy.fileno(), 0o644)
        _mount(f"/tmp/{file}", f"/etc/{file}", flags=MS_BIND)
        os.unlink(f"/tmp/{file}")
    os.mkdir("/tmp/home", 0o700)
    os.chown("/tmp/home", uid, uid)
    os.umask(0o022)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _environment(caller: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's environment, with home, temporary and state folders that the user can write."""
    kept = {
        name: value
        for name, value in caller.items()
        if not name.startswith(("XDG_", "SUDO_", "PYTEST_")) and name not in {"TEMP", "TMP", "MAIL"}
    }
    return kept | {
        "HOME": "/tmp/home",
        "XDG_STATE_HOME": "/tmp/home/.local/state",
        "XDG_CACHE_HOME": "/tmp/home/.cache",
        "XDG_CONFIG_HOME": "/tmp/home/.config",
        "TMPDIR": "/tmp",
        "USER": NAME,
        "LOGNAME": NAME,
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/home/.hypothesis",
    }


def _without_privileges(command: list[str], extra: Iterable[str]) -> NoReturn:
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    uid = next(uid for uid in range(FIRST_UID, 65520) if uid not in taken)
    try:
        with _acting_as(uid):
            pass
        _check(_libc.unshare(CLONE_NEWNS), "unshare(CLONE_NEWNS)")
        _mount("none", "/", flags=MS_REC | MS_PRIVATE)
    except OSError as error:
        # Root of a container, most likely. Only where everything is promised to be there is that a failure.
        print(f"SKIPPED: nothing ran as an unprivileged user: this root may not become one in private ({error})")
        sys.exit(1 if os.environ.get("CI") else 0)
    needs = _needs(extra)
    _cover("/tmp", needs, 0o1777)
    for need in needs:
        if barrier := _barrier(need, uid):
            _cover(barrier, needs)
    checkout = os.open(CHECKOUT, os.O_PATH)
    _bind_read_only(checkout, CHECKOUT)
    os.close(checkout)
    if path := _unreadable(needs, uid):
        sys.exit(f"{path} cannot be read by other users; allow it: chmod -R go+rX {CHECKOUT}")
    _become(uid)
    os.chdir(CHECKOUT)
    os.execvpe(command[0], command, _environment(os.environ))


def main() -> NoReturn:
    parser = argparse.ArgumentParser(prog="python -m tests.live.unprivileged", description="Run COMMAND without root.")
    parser.add_argument("--need", action="append", default=[], metavar="PATH", help="a path the command must reach")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    options = parser.parse_args()
    if os.geteuid() == 0:
        _without_privileges(options.command, options.need)
    os.execvp(options.command[0], options.command)


if __name__ == "__main__":
    main()
