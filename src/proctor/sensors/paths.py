"""What a path that a process named leads to inside the sandbox, and what the policy says of it."""

from __future__ import annotations

import errno
import os
import posixpath
from dataclasses import dataclass
from typing import Literal

from proctor.events.text import from_bytes
from proctor.sandbox.layout import Layout
from proctor.sandbox.linux import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

__all__ = ["Place", "Resolved", "Resolver", "Role"]

Role = Literal["workspace", "protected", "hidden", "credential", "system", "scratch"]
_AT_FDCWD = -100
_OWN = (
    (b"/proc/self", b""), (b"/proc/thread-self", b""), (b"/dev/fd", b"/fd"),
    (b"/dev/stdin", b"/fd/0"), (b"/dev/stdout", b"/fd/1"), (b"/dev/stderr", b"/fd/2"),
)  # fmt: skip
_IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS


@dataclass(frozen=True, slots=True)
class Resolved:
    """``claimed`` as given; ``object`` as resolved in the sandbox's root, None where it could not be."""

    claimed: str
    object: str | None
    role: Role | None
    existed: bool


@dataclass(slots=True)
class Place:
    """A path as resolved: ``fd`` of the object (-1: there is none), or ``folder`` and ``name`` of its entry.

    Descriptors are opened with O_PATH; :meth:`proctor.sensors.behalf.Behalf.release` closes
    them.
    """

    resolved: Resolved
    fd: int = -1
    folder: int = -1
    name: bytes = b""
    moved: bool = False

    @property
    def link(self) -> bytes:
        """A path that leads to the very object."""
        return b"/proc/self/fd/%d" % self.fd


def _link(path: str) -> bytes | None:
    try:
        return os.readlink(path.encode())
    except OSError:
        return None


class Resolver:
    """Resolves paths as the kernel would for a process in the sandbox: relative to its folder, in its root.

    Args:
        root: O_PATH descriptor of the sandbox's root.
        layout: decides roles. Prefixes are compared component-wise; the longest wins.
    """

    def __init__(self, root: int, layout: Layout) -> None:
        self.root = root
        roles: dict[str, Role] = dict.fromkeys(layout.write_roots, "workspace")
        roles |= dict.fromkeys((*layout.scratch, layout.home), "scratch")
        roles |= dict.fromkeys(layout.protect, "protected")
        roles |= {mask.path: mask.role for mask in layout.masks}
        self._roles = [
            (path.encode("utf-8", "surrogateescape"), role)
            for path, role in sorted(roles.items(), key=lambda item: -len(item[0]))
        ]

    def role(self, path: bytes) -> Role:
        """What the policy says of an absolute, resolved path."""
        for prefix, role in self._roles:
            if path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] == 0x2F):
                return role
        return "system"

    def absolute(self, tid: int, inside: int, directory: int, path: bytes) -> bytes | None:
        """The path from the sandbox's root, as :meth:`resolve` takes it; None where its folder cannot be read."""
        found = self._absolute(tid, directory, path)
        return self._own_proc(found, inside) if found is not None else None

    def _absolute(self, tid: int, directory: int, path: bytes) -> bytes | None:
        """Join a path with the folder it is relative to, as the kernel names that folder now."""
        if path.startswith(b"/"):
            return path
        base = _link(f"/proc/{tid}/cwd" if directory == _AT_FDCWD else f"/proc/{tid}/fd/{directory}")
        return None if base is None else base if not path else base + b"/" + path

    @staticmethod
    def _own_proc(path: bytes, inside: int) -> bytes:
        """/proc/self and the links in /dev mean the caller; resolved from here they would mean the supervisor."""
        for prefix, target in _OWN:
            if path == prefix or path.startswith(prefix + b"/"):
                return b"/proc/%d" % inside + target + path[len(prefix) :]
        return path

    def descriptor(self, tid: int, fd: int) -> Resolved:
        """What an open descriptor of a process leads to."""
        link = _link(f"/proc/{tid}/fd/{fd}")
        claimed = f"fd:{fd}"
        if link is None:
            return Resolved(claimed, None, None, existed=False)
        name = from_bytes(link)
        return Resolved(claimed, name, self.role(link) if link.startswith(b"/") else None, existed=True)

    def resolve(self, tid: int, inside: int, directory: int, path: bytes, *, follow: bool) -> Resolved:
        """Resolve ``path``; ``follow`` the last component if it is a link.

        Args:
            tid: the caller, as the supervisor sees it.
            inside: the caller's process id inside the sandbox.
            directory: dirfd of the call, AT_FDCWD (-100) for the working folder.
        """
        claimed = from_bytes(path)
        absolute = self._absolute(tid, directory, path)
        if absolute is None:
            return Resolved(claimed, None, None, existed=False)
        if absolute.startswith((b"/proc", b"/dev")):
            absolute = self._own_proc(absolute, inside)
        if absolute.startswith(b"/proc/"):
            # Links below a process's folder are answered by the kernel per reader: named, not followed.
            normal = posixpath.normpath(absolute)
            return Resolved(claimed, from_bytes(normal), self.role(normal), existed=True)
        flags = os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW
        fd = openat2(self.root, absolute, flags, _IN_ROOT)
        if fd >= 0:
            return self._named(claimed, fd, b"", existed=True)
        if fd not in {-errno.ENOENT, -errno.ELOOP, -errno.ENOTDIR, -errno.EACCES}:
            return Resolved(claimed, None, None, existed=False)
        folder, name = posixpath.split(absolute.rstrip(b"/"))
        fd = openat2(self.root, folder or b"/", os.O_PATH, _IN_ROOT)
        if fd < 0:
            return Resolved(claimed, None, None, existed=False)
        return self._named(claimed, fd, name, existed=False)

    def _named(self, claimed: str, fd: int, name: bytes, *, existed: bool) -> Resolved:
        try:
            link = os.readlink(b"/proc/self/fd/%d" % fd)
        finally:
            os.close(fd)
        full = link if not name else (link.rstrip(b"/") + b"/" + name)
        return Resolved(claimed, from_bytes(full), self.role(full), existed=existed)
