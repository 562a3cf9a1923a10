"""File calls done on behalf of their caller (tier C), where no mount keeps a protected path from being written.

The path is read once, resolved here to descriptors, judged by what they lead to, and the call is done with those very
descriptors: nothing that the caller's other threads change meanwhile, in memory or in the file system, changes what is
done. The supervisor has no more rights than the agent's user, and no capabilities.
"""

from __future__ import annotations

import errno
import os
import posixpath
import re
import signal
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from proctor.events.text import from_bytes, to_bytes
from proctor.sandbox import linux
from proctor.sandbox.layout import SHM, Layout
from proctor.sensors import notify, pairs
from proctor.sensors.memory import read, read_string
from proctor.sensors.notify import Call
from proctor.sensors.paths import Place, Resolved, Resolver, Role
from proctor.sensors.reply import Act, Reply, refusing

__all__ = ["Behalf"]

_AT_FDCWD = -100
_OWN_FD = re.compile(rb"/proc/(\d+)/fd/(\d+)")
_HOW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_TMPFILE = 0o20000000
_UTIME_NOW = 0x3FFFFFFF
_XATTR_MAX = 65536
_MAX_WAITING = 64
_KEPT: frozenset[Role] = frozenset({"protected", "hidden", "credential"})


class Behalf:
    """Resolves and does file calls.

    Args:
        layout: of tier C. Where it protects or hides anything, every change in a write root is done here; else only
            what Landlock does not decide over (modes, owners, times, attributes) and what stands for /dev/shm.
        holds_master: whether the agent has the master of a pseudo-terminal pair, by its number.
        truncates: Landlock decides over truncation (version 3, Linux 6.2).

    Attributes:
        sees_closed: opens for reading stop, so that those of what the policy hides without a decoy are recorded.
    """

    def __init__(
        self, layout: Layout, resolver: Resolver, holds_master: Callable[[int], bool], *, truncates: bool = True
    ) -> None:
        self._holds_master = holds_master
        self._resolver = resolver
        self.truncates = truncates
        self._kept = tuple(os.fsencode(path) for path in layout.kept)
        self._shm = os.fsencode(layout.shm)
        self._masked = tuple(os.fsencode(mask.path) for mask in layout.masks if not mask.covered)
        self.sees_closed = bool(layout.closed)
        self._waiting: list[int] = []
        self._held: list[int] = []

    # --- resolving ----------------------------------------------------------------------------------------------------

    def object(self, tid: int, inside: int, directory: int, path: bytes, *, follow: bool) -> Place:
        """The object that a path leads to, or where it would be made. ``resolved.object`` is None where neither is."""
        claimed = from_bytes(path)
        absolute, moved = self._absolute(tid, inside, directory, path)
        own = _OWN_FD.fullmatch(absolute or b"")
        if own is not None and follow and int(own[1]) == inside:
            return self.descriptor(tid, int(own[2]), claimed)
        if absolute is None or absolute.startswith(b"/proc/"):
            resolved = self._resolver.resolve(tid, inside, directory, path, follow=follow)
            return Place(resolved)
        flags = os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW
        fd = linux.openat2(self._resolver.root, absolute, flags, linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS)
        if fd < 0:
            return self._entry(claimed, absolute, moved)
        self._held.append(fd)
        link = os.readlink(b"/proc/self/fd/%d" % fd)
        return Place(Resolved(claimed, from_bytes(link), self._resolver.role(link), existed=True), fd=fd, moved=moved)

    def entry(self, tid: int, inside: int, directory: int, path: bytes) -> Place:
        """The entry of a folder that a path names: its last component is not followed."""
        claimed = from_bytes(path)
        absolute, moved = self._absolute(tid, inside, directory, path)
        if absolute is None or absolute.startswith(b"/proc/"):
            return Place(self._resolver.resolve(tid, inside, directory, path, follow=False))
        return self._entry(claimed, absolute, moved)

    def descriptor(self, tid: int, number: int, claimed: str | None = None) -> Place:
        """What an open descriptor of the caller leads to."""
        claimed = claimed if claimed is not None else f"fd:{number}"
        try:
            fd = os.open(f"/proc/{tid}/fd/{number}", os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return Place(Resolved(claimed, None, None, existed=False))
        self._held.append(fd)
        link = os.readlink(b"/proc/self/fd/%d" % fd)
        role = self._resolver.role(link) if link.startswith(b"/") else None
        return Place(Resolved(claimed, from_bytes(link), role, existed=True), fd=fd)

    def _absolute(self, tid: int, inside: int, directory: int, path: bytes) -> tuple[bytes | None, bool]:
        """The path from the root, and whether it was moved: what is asked of /dev/shm is done in the episode's own."""
        absolute = self._resolver.absolute(tid, inside, directory, path)
        if absolute is not None:
            folder, name = posixpath.split(posixpath.normpath(absolute))
            if folder == os.fsencode(SHM) and name:
                return self._shm + b"/" + name, True
        return absolute, False

    def _entry(self, claimed: str, absolute: bytes, moved: bool) -> Place:  # noqa: FBT001 - private, and plain here
        above, name = posixpath.split(absolute.rstrip(b"/"))
        if name in {b"", b".", b".."}:
            return Place(Resolved(claimed, None, None, existed=False))
        how = linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS
        folder = linux.openat2(self._resolver.root, above or b"/", os.O_PATH | os.O_DIRECTORY, how)
        if folder < 0:
            return Place(Resolved(claimed, None, None, existed=False))
        self._held.append(folder)
        full = os.readlink(b"/proc/self/fd/%d" % folder).rstrip(b"/") + b"/" + name
        try:
            os.lstat(name, dir_fd=folder)
            existed = True
        except OSError:
            existed = False
        resolved = Resolved(claimed, from_bytes(full), self._resolver.role(full), existed=existed)
        return Place(resolved, folder=folder, name=name, moved=moved)

    def release(self) -> None:
        """Close what was resolved for the call that is answered now."""
        for fd in self._held:
            os.close(fd)
        self._held.clear()

    # --- judging ------------------------------------------------------------------------------------------------------

    def refuses(self, *places: Place | None, whole: bool = False) -> int:
        """The errno of a change that the policy does not allow; 0 where it does. ``whole``: the names go or change."""
        for place in places:
            role = place.resolved.role if place is not None else None
            if role in _KEPT:
                return errno.EROFS  # as the read-only mounts of tier B answer
            if place is not None and whole and place.resolved.object is not None:
                name = to_bytes(place.resolved.object) + b"/"
                if any(kept.startswith(name) for kept in self._kept):
                    return errno.EBUSY  # it holds a protected path: a mount point in tier B
        return 0

    def does(self, *places: Place | None) -> bool:
        """Whether a change is done here: where Landlock alone would not let the caller, or would elsewhere."""
        return any(
            place is not None and (place.moved or (bool(self._kept) and place.resolved.role == "workspace"))
            for place in places
        )

    def truncates_unasked(self, flags: int) -> bool:
        """Whether an open empties its file although Landlock was asked for no right to write.

        Before version 3 it looks at the access mode alone: with O_RDONLY at the right to read, with 3 (which Linux
        takes for neither) at none.
        """
        return not self.truncates and bool(flags & os.O_TRUNC) and flags & os.O_ACCMODE not in {os.O_WRONLY, os.O_RDWR}

    def opens(self, place: Place) -> bool:
        """Whether an open is done here: also that of a terminal whose other side the agent holds.

        No rule can name it beforehand. The descriptor is of that very terminal: where it was closed meanwhile, and its
        number is somebody else's now, it opens nothing.
        """
        pair = pairs.number(place.resolved.object) if place.fd >= 0 else None
        return self.does(place) or (pair is not None and self._holds_master(pair))

    def closed(self, place: Place) -> bool:
        """Whether the domain lets nobody read an object, because the policy hides it or it is a system secret.

        Not so a folder among the system's own, whose names can be read.
        """
        path = to_bytes(place.resolved.object or "")
        if not any(path == one or path.startswith(one + b"/") for one in self._masked):
            return False
        return place.fd < 0 or not stat.S_ISDIR(os.fstat(place.fd).st_mode)

    # --- doing --------------------------------------------------------------------------------------------------------

    def open(self, call: Call, place: Place, flags: int, mode: int) -> Act:
        """Open for the caller. A FIFO that nobody reads yet is waited for in a process of its own."""

        def act() -> Reply | None:
            if place.fd < 0 and place.folder < 0:
                raise OSError(errno.ENOENT, "")
            plain = (flags & ~_HOW) | os.O_CLOEXEC | os.O_NOCTTY
            if place.fd >= 0:
                if flags & os.O_CREAT and flags & os.O_EXCL:
                    raise OSError(errno.EEXIST, "")
                kind = os.fstat(place.fd).st_mode
                if stat.S_ISLNK(kind):
                    raise OSError(errno.ELOOP, "")
                if stat.S_ISFIFO(kind) and not flags & os.O_NONBLOCK and flags & os.O_ACCMODE != os.O_RDWR:
                    self._wait_open(call, place, plain, flags)
                    return None
                with _umask(call.tid):
                    fd = os.open(place.link, plain, mode)
            elif flags & os.O_CREAT:
                with _umask(call.tid):
                    fd = os.open(
                        place.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY, mode, dir_fd=place.folder
                    )
            else:
                raise OSError(errno.ENOENT, "")
            return Reply(fd=fd, cloexec=bool(flags & os.O_CLOEXEC))

        return act

    def _wait_open(self, call: Call, place: Place, plain: int, flags: int) -> None:
        for pid in tuple(self._waiting):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._waiting.remove(pid)
        if len(self._waiting) >= _MAX_WAITING:
            raise OSError(errno.EAGAIN, "")
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                linux.set_parent_death_signal(signal.SIGKILL)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                if os.getppid() == parent:
                    Reply(fd=os.open(place.link, plain), cloexec=bool(flags & os.O_CLOEXEC)).send(
                        call.listener, call.id
                    )
            except OSError as error:
                notify.answer(call.listener, call.id, error.errno or errno.EIO)
            finally:
                os._exit(0)
        self._waiting.append(pid)

    def by_path(self, call: Call, op: str, first: Place, second: Place | None, mode: int, flags: int) -> Act:
        """The act of a call that names one or two paths. ``mode`` of mkdir, mknod, chmod; ``flags`` of rename."""

        def act() -> Reply | None:
            self._change(call, op, first, second, mode, flags)
            return Reply()

        return act

    @staticmethod
    def _change(call: Call, op: str, first: Place, second: Place | None, mode: int, flags: int) -> None:
        if first.folder < 0 and first.fd < 0:
            raise OSError(errno.ENOENT, "")
        if op in {"mkdir", "mknod"}:
            _make(call, first, mode, folder=op == "mkdir")
        elif op == "unlink":
            os.unlink(first.name, dir_fd=first.folder)
        elif op == "rmdir":
            os.rmdir(first.name, dir_fd=first.folder)
        elif op == "truncate":
            os.truncate(first.link, call.args[1])
        elif op == "chmod":
            os.chmod(first.link, mode & 0o7777)
        elif second is None or second.folder < 0:
            raise OSError(errno.ENOENT, "")
        elif op == "rename":
            linux.renameat2(first.folder, first.name, second.folder, second.name, flags)
        elif op == "link":
            os.link(first.link, second.name, dst_dir_fd=second.folder, follow_symlinks=True)

    def symlink(self, text: bytes, place: Place) -> Act:
        """Make a symbolic link."""

        def act() -> Reply | None:
            if place.folder < 0:
                raise OSError(errno.ENOENT, "")
            os.symlink(text, place.name, dir_fd=place.folder)
            return Reply()

        return act

    def metadata(self, call: Call, name: str, place: Place, owner: tuple[int, int]) -> Act:
        """Owner, times or extended attributes of an object. Arguments are read now, once."""
        if place.fd < 0:
            return refusing(errno.ENOENT)
        if place.resolved.role not in {"workspace", "scratch"}:
            return refusing(errno.EPERM)
        link, args = place.link, call.args
        change: Callable[[], None]
        if "chown" in name:
            change = partial(os.chown, link, *owner)
        elif "utime" in name:
            change = partial(linux.utimensat, link, _times(call, name))
        else:
            attribute = read_string(call.tid, args[1])
            size = args[3] if "set" in name else 0
            if size > _XATTR_MAX:
                return refusing(errno.E2BIG)
            value = read(call.tid, args[2], size) if size else b""
            if "set" in name:
                change = partial(os.setxattr, link, attribute, value, args[4] & 0xFFFFFFFF)
            else:
                change = partial(os.removexattr, link, attribute)

        def act() -> Reply | None:
            change()
            return Reply()

        return act


def _make(call: Call, place: Place, mode: int, *, folder: bool) -> None:
    with _umask(call.tid):
        if folder:
            os.mkdir(place.name, mode & 0o1777, dir_fd=place.folder)
        elif stat.S_IFMT(mode) in {0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK}:
            os.mknod(place.name, mode, dir_fd=place.folder)
        else:
            raise OSError(errno.EPERM, "")


def _times(call: Call, name: str) -> bytes | None:
    """Two struct timespec for utimensat(2), from what the call's own form gives; None for now."""
    pointer = call.args[1] if name in {"utime", "utimes"} else call.args[2]
    if pointer == 0:
        return None
    if name == "utime":  # struct utimbuf {time_t actime, modtime}
        access, modified = struct.unpack("=qq", read(call.tid, pointer, 16))
        return struct.pack("=4q", access, 0, modified, 0)
    raw = read(call.tid, pointer, 32)
    if name == "utimensat":
        return raw
    seconds, micro, seconds_2, micro_2 = struct.unpack("=4q", raw)  # two struct timeval
    if not (0 <= micro < 1_000_000 and 0 <= micro_2 < 1_000_000):
        raise OSError(errno.EINVAL, "")
    return struct.pack("=4q", seconds, micro * 1000, seconds_2, micro_2 * 1000)


@contextmanager
def _umask(tid: int) -> Iterator[None]:
    """Have the caller's umask (Umask of /proc/TID/status, Linux 4.7)."""
    with open(f"/proc/{tid}/status", "rb") as file:
        line = next(line for line in file if line.startswith(b"Umask:"))
    before = os.umask(int(line.split()[1], 8))
    try:
        yield
    finally:
        os.umask(before)
