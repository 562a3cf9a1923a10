"""Calls that change the file system, as ``file`` events."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from proctor.events import kinds
from proctor.events.text import from_bytes
from proctor.sandbox import calls
from proctor.sensors.memory import read, read_string
from proctor.sensors.notify import Call, signed
from proctor.sensors.paths import Place, Resolved, Resolver
from proctor.sensors.processes import Proc
from proctor.sensors.refusal import Refusal
from proctor.sensors.reply import Act, refusing

if TYPE_CHECKING:
    from proctor.sensors.behalf import Behalf
    from proctor.sensors.contents import Contents
    from proctor.sensors.kernel import Sink

__all__ = ["FileCalls", "operation"]

_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _AT_REMOVEDIR, _AT_SYMLINK_FOLLOW, _AT_EMPTY_PATH = -100, 0x100, 0x200, 0x400, 0x1000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_TMPFILE = 0o20000000


class _Shape(NamedTuple):
    """Where a call keeps its arguments: (dirfd, path) pairs, then flags and mode; -1 where it has none."""

    op: str
    paths: tuple[tuple[int, int], ...]
    flags: int = -1
    mode: int = -1
    follow: bool = True


_SHAPES = {
    "open": _Shape("open", ((-1, 0),), 1, 2),
    "openat": _Shape("open", ((0, 1),), 2, 3),
    "openat2": _Shape("open", ((0, 1),)),
    "creat": _Shape("open", ((-1, 0),), -1, 1),
    "mkdir": _Shape("mkdir", ((-1, 0),), -1, 1, follow=False),
    "mkdirat": _Shape("mkdir", ((0, 1),), -1, 2, follow=False),
    "mknod": _Shape("mknod", ((-1, 0),), -1, 1, follow=False),
    "mknodat": _Shape("mknod", ((0, 1),), -1, 2, follow=False),
    "link": _Shape("link", ((-1, 0), (-1, 1)), follow=False),
    "linkat": _Shape("link", ((0, 1), (2, 3)), 4, follow=False),
    "rename": _Shape("rename", ((-1, 0), (-1, 1)), follow=False),
    "renameat": _Shape("rename", ((0, 1), (2, 3)), follow=False),
    "renameat2": _Shape("rename", ((0, 1), (2, 3)), 4, follow=False),
    "unlink": _Shape("unlink", ((-1, 0),), follow=False),
    "unlinkat": _Shape("unlink", ((0, 1),), 2, follow=False),
    "rmdir": _Shape("rmdir", ((-1, 0),), follow=False),
    "truncate": _Shape("truncate", ((-1, 0),)),
    "chmod": _Shape("chmod", ((-1, 0),), -1, 1),
    "fchmodat": _Shape("chmod", ((0, 1),), -1, 2),
    "fchmodat2": _Shape("chmod", ((0, 1),), 3, 2),
    "chown": _Shape("chown", ((-1, 0),)),
    "lchown": _Shape("chown", ((-1, 0),), follow=False),
    "fchownat": _Shape("chown", ((0, 1),), 4),
}
_ENTRIES = {"mkdir", "mknod", "rename", "unlink", "rmdir"}
_METADATA = tuple(name for name in calls.CONFINED if "utime" in name or "xattr" in name)
_BY_DESCRIPTOR = {"ftruncate": "truncate", "fchmod": "chmod", "fchown": "chown"}


def operation(name: str, args: Sequence[int]) -> tuple[str, int | None, int | None]:
    """(op of the ``file`` event, flags, mode) of a call by its name and registers, where it has them."""
    if name in _BY_DESCRIPTOR:
        return _BY_DESCRIPTOR[name], None, args[1] & 0o7777 if name == "fchmod" else None
    shape = _SHAPES.get(name)
    if shape is None:
        return ("symlink" if name.startswith("symlink") else "memfd"), None, None
    flags = args[shape.flags] & 0xFFFFFFFF if shape.flags >= 0 else None
    if name == "openat2":  # the tracepoints put struct open_how's flags in the place of its address
        flags = args[2] & 0xFFFFFFFF
    elif name == "creat":
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
    return shape.op, flags, args[shape.mode] & 0xFFFF if shape.mode >= 0 else None


def _owner(call: Call, name: str) -> tuple[int, int]:
    first = 2 if name == "fchownat" else 1
    return signed(call.args[first]), signed(call.args[first + 1])


def _blocked(*found: Resolved | None) -> bool:
    """Whether the mounts make the call fail whatever it is: its object lies on a read-only mount."""
    return any(
        one is not None
        and (
            one.role in {"protected", "hidden", "credential"}
            or (one.role == "system" and one.object is not None and not one.object.startswith(("/proc/", "/dev/")))
        )
        for one in found
    )


class FileCalls:
    """Handlers for every call that changes files."""

    def __init__(
        self, sink: Sink, resolver: Resolver, behalf: Behalf | None = None, *, all_opens: bool = False,
        contents: Contents | None = None,
    ) -> None:  # fmt: skip
        self.before_nonblocking: Callable[[str, Proc, int], None] = lambda _path, _proc, _tid: None
        self._contents = contents
        self._sink = sink
        self._resolver = resolver
        self._behalf = behalf
        self._all_opens = all_opens
        self.handlers: dict[str, Callable[[Call, Proc, str], Act | None]] = {
            **dict.fromkeys(_SHAPES, self._by_path),
            **dict.fromkeys(_BY_DESCRIPTOR, self._by_descriptor),
            "symlink": self._symlink,
            "symlinkat": self._symlink,
            "memfd_create": self._memfd,
        }
        self.handlers.update({name: self._open for name, shape in _SHAPES.items() if shape.op == "open"})
        if behalf is not None:
            self.handlers.update(dict.fromkeys(_METADATA, self._metadata))

    def _resolve(self, call: Call, proc: Proc, directory: int, at: int, *, follow: bool, entry: bool = False) -> Place:
        """What a path leads to. ``entry``: the name itself is to change. Descriptors are held in tier C only."""
        path = read_string(call.tid, call.args[at])
        fd = _AT_FDCWD if directory < 0 else signed(call.args[directory])
        if self._behalf is None:
            return Place(self._resolver.resolve(call.tid, proc.inside, fd, path, follow=follow))
        if entry:
            return self._behalf.entry(call.tid, proc.inside, fd, path)
        return self._behalf.object(call.tid, proc.inside, fd, path, follow=follow)

    def _descriptor(self, call: Call, number: int) -> Place:
        if self._behalf is None:
            return Place(self._resolver.descriptor(call.tid, number))
        return self._behalf.descriptor(call.tid, number)

    def _emit(self, call: Call, proc: Proc, data: kinds.FileData) -> None:
        if self._contents is not None and data.outcome == "attempted":
            self._contents.about_to(data)
        self._sink.emit(kinds.File, data, proc=proc, tid=call.tid, truth="racy")

    def _open(self, call: Call, proc: Proc, name: str) -> Act | None:
        shape = _SHAPES[name]
        mode = call.args[shape.mode] & 0o7777 if shape.mode >= 0 else 0
        if name == "openat2" and self._behalf is not None and not self._behalf.truncates:
            # Its flags lie in memory: O_TRUNC could be added after they were judged. Programs fall back to openat.
            raise Refusal(errno.ENOSYS, "sandbox")
        if name == "openat2":  # struct open_how {u64 flags, mode, resolve}, linux/openat2.h
            flags, how_mode, _ = struct.unpack("=QQQ", read(call.tid, call.args[2], 24))
            mode = how_mode & 0o7777
        elif name == "creat":
            flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
        else:
            flags = call.args[shape.flags] & 0xFFFFFFFF
        reads = not flags & (_WRITES | os.O_CREAT | _TMPFILE)
        if flags & (os.O_NONBLOCK | os.O_DIRECTORY) == os.O_NONBLOCK:
            self._will_not_wait(call, proc, shape.paths[0], follow=not flags & os.O_NOFOLLOW)
        if reads and not self._all_opens and (self._behalf is None or not self._behalf.sees_closed):
            return None
        exclusive = flags & (os.O_CREAT | os.O_EXCL) == os.O_CREAT | os.O_EXCL
        directory, at = shape.paths[0]
        place = self._resolve(call, proc, directory, at, follow=not exclusive and not flags & os.O_NOFOLLOW)
        found = place.resolved
        closed = self._behalf is not None and self._behalf.closed(place)
        if reads and not self._all_opens and not closed:
            return None
        creates = (bool(flags & os.O_CREAT) and not found.existed) or bool(flags & _TMPFILE == _TMPFILE)
        op = "create" if creates else "open_write" if flags & _WRITES else "open"
        self._emit(
            call,
            proc,
            kinds.FileData(
                op=op,
                call=name,
                path=found.claimed,
                object=found.object,
                role=found.role,
                flags=flags,
                mode=mode if creates else None,
                existed=found.existed,
                outcome="blocked" if closed or (op != "open" and _blocked(found)) else "attempted",
            ),
        )
        if self._behalf is None or reads:
            return None
        if refused := self._behalf.refuses(place):
            return refusing(refused)
        unasked = self._behalf.truncates_unasked(flags)
        if unasked and found.role not in {"workspace", "scratch"}:
            return refusing(errno.EACCES if found.existed else errno.ENOENT)
        return self._behalf.open(call, place, flags, mode) if unasked or self._behalf.opens(place) else None

    def _will_not_wait(self, call: Call, proc: Proc, path: tuple[int, int], *, follow: bool) -> None:
        directory, at = path
        fd = _AT_FDCWD if directory < 0 else signed(call.args[directory])
        raw = read_string(call.tid, call.args[at])
        found = self._resolver.resolve(call.tid, proc.inside, fd, raw, follow=follow)
        if found.object is not None:
            self.before_nonblocking(found.object, proc, call.tid)

    def _by_path(self, call: Call, proc: Proc, name: str) -> Act | None:
        shape = _SHAPES[name]
        flags = call.args[shape.flags] & 0xFFFFFFFF if shape.flags >= 0 else 0
        op, follow = shape.op, shape.follow
        if op == "unlink" and flags & _AT_REMOVEDIR:
            op = "rmdir"
        elif op == "link":
            follow = bool(flags & _AT_SYMLINK_FOLLOW)
        elif shape.flags >= 0 and flags & _AT_SYMLINK_NOFOLLOW:
            follow = False
        directory, at = shape.paths[0]
        if flags & _AT_EMPTY_PATH and op in {"link", "chmod", "chown"} and read_string(call.tid, call.args[at]) == b"":
            first = self._descriptor(call, signed(call.args[directory]))
        else:
            first = self._resolve(call, proc, directory, at, follow=follow, entry=op in _ENTRIES)
        second = self._resolve(call, proc, *shape.paths[1], follow=False, entry=True) if len(shape.paths) > 1 else None
        found, target = first.resolved, second.resolved if second is not None else None
        mode = call.args[shape.mode] & 0xFFFF if shape.mode >= 0 else None
        blocked = _blocked(found, target) or (op == "mknod" and stat.S_IFMT(mode or 0) in {stat.S_IFBLK, stat.S_IFCHR})
        self._emit(
            call, proc,
            kinds.FileData(
                op=op, call=name, path=found.claimed, object=found.object, role=found.role,
                target=target.claimed if target else None, target_object=target.object if target else None,
                target_role=target.role if target else None, flags=flags or None, mode=mode, existed=found.existed,
                outcome="blocked" if blocked else "attempted",
            ),
        )  # fmt: skip
        if self._behalf is None:
            return None
        whole = op in {"rename", "unlink", "rmdir"}
        if refused := self._behalf.refuses(first, second, whole=whole):
            return refusing(refused)
        if op == "chown":
            return self._behalf.metadata(call, name, first, _owner(call, name))
        if op == "link" and self._behalf.does(first, second) and found.role not in {"workspace", "scratch"}:
            return refusing(errno.EXDEV)  # as between the mounts of tier B
        # Landlock decides over no modes, and over truncate(2) only from its version 3 on.
        if op in {"chmod", "truncate"} and found.role not in {"workspace", "scratch"}:
            return refusing(errno.EPERM if op == "chmod" else errno.EACCES)
        if op in {"chmod", "truncate"} or self._behalf.does(first, second):
            return self._behalf.by_path(call, op, first, second, mode or 0, flags)
        return None

    def _by_descriptor(self, call: Call, proc: Proc, name: str) -> Act | None:
        place = self._descriptor(call, signed(call.args[0]))
        found = place.resolved
        mode = call.args[1] & 0o7777 if name == "fchmod" else None
        self._emit(
            call, proc,
            kinds.FileData(
                op=_BY_DESCRIPTOR[name], call=name, path=found.claimed, object=found.object, role=found.role, mode=mode,
                existed=found.existed, outcome="blocked" if _blocked(found) else "attempted",
            ),
        )  # fmt: skip
        if self._behalf is None or name == "ftruncate":
            return None  # what can be truncated through a descriptor was opened for writing, and judged then
        if refused := self._behalf.refuses(place):
            return refusing(refused)
        if name == "fchown":
            return self._behalf.metadata(call, name, place, _owner(call, name))
        if found.role not in {"workspace", "scratch"}:
            return None if not (found.object or "").startswith("/") else refusing(errno.EPERM)
        return self._behalf.by_path(call, "chmod", place, None, mode or 0, 0)

    def _metadata(self, call: Call, proc: Proc, name: str) -> Act | None:
        """Times and extended attributes: recorded in tier C, where the supervisor sets them."""
        behalf = self._behalf
        if behalf is None:
            return None
        by_descriptor = name in {"fsetxattr", "fremovexattr"}
        directory, at = (0, 1) if name in {"utimensat", "futimesat"} else (-1, 0)
        if by_descriptor or (directory == 0 and call.args[at] == 0):
            place = behalf.descriptor(call.tid, signed(call.args[0]))
        else:
            nofollow = name.startswith("l") or (name == "utimensat" and call.args[3] & _AT_SYMLINK_NOFOLLOW)
            place = self._resolve(call, proc, directory, at, follow=not nofollow)
        found = place.resolved
        self._emit(
            call, proc,
            kinds.FileData(
                op="utimes" if "utime" in name else "xattr", call=name, path=found.claimed, object=found.object,
                role=found.role, existed=found.existed, outcome="blocked" if _blocked(found) else "attempted",
            ),
        )  # fmt: skip
        if refused := behalf.refuses(place):
            return refusing(refused)
        return behalf.metadata(call, name, place, (-1, -1))

    def _symlink(self, call: Call, proc: Proc, name: str) -> Act | None:
        """A symbolic link's text need not lead anywhere: it is recorded as ``target``, the new link as ``object``."""
        raw = read_string(call.tid, call.args[0])
        text = from_bytes(raw)
        place = self._resolve(call, proc, *((-1, 1) if name == "symlink" else (1, 2)), follow=False, entry=True)
        found = place.resolved
        self._emit(
            call, proc,
            kinds.FileData(
                op="symlink", call=name, path=found.claimed, object=found.object, role=found.role, target=text,
                existed=found.existed, outcome="blocked" if _blocked(found) else "attempted",
            ),
        )  # fmt: skip

        if self._behalf is None:
            return None
        if refused := self._behalf.refuses(place):
            return refusing(refused)
        return self._behalf.symlink(raw, place) if self._behalf.does(place) else None

    def _memfd(self, call: Call, proc: Proc, name: str) -> None:
        label = from_bytes(read_string(call.tid, call.args[0]))
        self._emit(call, proc, kinds.FileData(op="memfd", call=name, path=f"memfd:{label}", existed=False))
