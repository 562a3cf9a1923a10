"""Tier C: what stands in for namespaces and mounts where the kernel gives none: private folders and a Landlock domain.

The agent sees the machine's own paths. What it may read and write is the domain's list; a place below one that is
allowed cannot be taken out again: where paths are protected the supervisor makes every change in a write root on the
agent's behalf (:mod:`proctor.sensors.behalf`), and where they are hidden the agent works in a copy without them
(:mod:`proctor.sandbox.copy`).
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from proctor.sandbox import build, linux
from proctor.sandbox.layout import DEVICES, SYSTEM, Layout

__all__ = ["COPIES", "WORK", "abandon", "folders", "marker_socket", "places", "ruleset"]

WORK = "work"
"""The copies of write roots, in an episode's folder; see :mod:`proctor.sandbox.copy`."""
COPIES = "copies.json"
"""What the copies are of, and whose; locked by the supervisor."""

_FILE_RIGHTS = build.EXECUTE | build.WRITE_FILE | build.READ_FILE | build.TRUNCATE | build.IOCTL_DEV
"""Rights that a rule on something other than a folder may name (landlock(7))."""
_READ = build.EXECUTE | build.READ_FILE | build.READ_DIR
_BIND_TCP, _CONNECT_TCP = 1, 2
_SCOPE_ABSTRACT_SOCKET, _SCOPE_SIGNAL = 1, 2


def places() -> tuple[str, ...]:
    """Where an episode's folder may be."""
    return tuple(dict.fromkeys((tempfile.gettempdir(), "/var/tmp", "/dev/shm")))  # noqa: S108 - a folder of our own


@contextmanager
def folders(write_roots: Sequence[str], name: str) -> Iterator[str]:
    """Make the folders that the episode has for itself, outside every write root; remove them at the end.

    Args:
        name: of the folder that holds them. The guard knows it too, and removes what a killed supervisor leaves.

    Raises:
        OSError: there is no place for them.
    """
    outside = None
    for place in places():
        real = os.path.realpath(place) + "/"
        if (
            outside is None
            and os.access(place, os.W_OK)
            and not any(real.startswith(f"{root}/") for root in write_roots)
        ):
            outside = place
    base = f"{outside or tempfile.gettempdir()}/{name}"
    os.mkdir(base, 0o700)
    try:
        for part in ("tmp", "shm", "home", "run"):
            os.mkdir(f"{base}/{part}", 0o700)
        yield base
    finally:
        _remove(base)


def abandon(name: str) -> None:
    """Remove an episode's folder after its supervisor, but for copies that hold the agent's work."""
    for place in places():
        base = f"{place}/{name}"
        if not os.path.isdir(base):
            continue
        if not os.path.exists(f"{base}/{COPIES}"):  # written once the agent may work in them
            _remove(base)
            continue
        for part in os.listdir(base):
            if part not in {WORK, COPIES}:
                _remove(f"{base}/{part}")


def _remove(path: str) -> None:
    """Remove a folder and all in it, also below folders that the agent made unreadable."""
    shutil.rmtree(path, ignore_errors=True)
    if os.path.isdir(path) and not os.path.islink(path):
        _open_up(path)
        shutil.rmtree(path, ignore_errors=True)


def _open_up(path: str) -> None:
    try:
        os.chmod(path, 0o700)
        with os.scandir(path) as entries:
            folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for folder in folders:
        _open_up(folder)


def _without(path: str, excluded: tuple[str, ...]) -> Iterator[str]:
    """``path``, or where it holds something excluded, everything else below it."""
    if path in excluded:
        return
    if not any(one.startswith(path.rstrip("/") + "/") for one in excluded):
        yield path
        return
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.is_symlink():  # a rule would follow it; what it leads to has a rule or has none
                yield from _without(entry.path, excluded)


def ruleset(layout: Layout, abi: int) -> int:
    """Return the Landlock rule set of an episode without namespaces.

    Where the kernel can (version 4), it binds and connects no TCP socket: those that the agent holds bound or connected
    were made by the supervisor. From version 6 on signals and abstract sockets stay inside as well.
    """
    handled = build.handled_rights(abi)
    number = linux.landlock_create(
        handled,
        _BIND_TCP | _CONNECT_TCP if abi >= 4 else 0,
        _SCOPE_ABSTRACT_SOCKET | _SCOPE_SIGNAL if abi >= 6 else 0,
    )

    def allow(path: str, rights: int) -> None:
        rights &= handled if os.path.isdir(path) else handled & _FILE_RIGHTS
        if rights and os.path.lexists(path):
            linux.landlock_add(number, path, rights)

    secret = tuple(mask.path for mask in layout.masks if not mask.covered)
    for root in (*SYSTEM, "/proc", *(mount.path for mount in layout.mounts if not mount.writable)):
        if not os.path.exists(root):
            continue
        for path in _without(os.path.realpath(root), secret):
            allow(path, _READ)
        allow(root, build.READ_DIR)
    # No rule for a slave: one on /dev/pts would open this user's other terminals. The supervisor opens the agent's own.
    for name in (*DEVICES, "ptmx"):
        allow(f"/dev/{name}", build.READ_FILE | build.WRITE_FILE | build.IOCTL_DEV)
    for root in layout.write_roots:
        allow(root, _READ if layout.kept else handled)
    for root in layout.scratch:
        allow(root, handled)
    allow(layout.run, _READ)
    return number


def marker_socket(layout: Layout, mark_program: bytes) -> socket.socket:
    """Put ``proctor mark`` and its socket into the episode's own folder; return the listening socket."""
    marker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    marker.bind(layout.run + "/mark.sock")
    marker.listen(16)
    folder = layout.run + "/bin"
    os.mkdir(folder)
    with open(folder + "/proctor", "wb") as file:
        file.write(mark_program)
    os.chmod(folder + "/proctor", 0o755)  # noqa: S103 - to be run by the agent, who may not write here
    return marker
