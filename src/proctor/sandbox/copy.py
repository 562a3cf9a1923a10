"""Tier C: a copy of each write root that holds hidden paths, without them, and the way back.

Landlock cannot keep a path below a readable folder from being read. So the agent works in a copy in which a decoy
stands for each hidden file, and what it changed there is brought back at the end: never onto a protected or hidden
path, and never over something that was changed beside it meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from proctor.errors import PolicyError
from proctor.sandbox.build import DECOY
from proctor.sandbox.domain import COPIES, WORK
from proctor.sandbox.layout import Layout, Mask, inside

__all__ = ["Synced", "WorkspaceCopy"]

_FICLONE = 0x40049409  # linux/fs.h: shares the blocks, where the file system can
_MAX_NAMED = 20


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a file is, as far as a look tells: it was changed if any of this is another."""

    mode: int
    size: int
    modified_ns: int
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Seen:
        size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
        times = (0, 0) if stat.S_ISDIR(status.st_mode) else (status.st_mtime_ns, status.st_ctime_ns)
        return cls(status.st_mode, size, *times, status.st_ino)


@dataclass(slots=True)
class Synced:
    """What became of the agent's changes: how many came back, and the paths that did not, at most 20 named."""

    written: int = 0
    removed: int = 0
    conflicts: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class WorkspaceCopy:
    """Copies what has to be copied. ``roots``: pairs of a write root and its copy.

    Args:
        base: the episode's own folder.
        layout: as the policy gives it, with the machine's paths.
        out: the record's folder; its ``kept`` takes the agent's version of a file that was changed on both sides.

    Raises:
        PolicyError: something in a write root cannot be copied.
    """

    def __init__(self, base: str, layout: Layout, out: str) -> None:
        self.roots: list[tuple[str, str]] = []
        self.synced: Synced | None = None
        self._layout = layout
        self._kept = f"{out}/kept"
        self._before: dict[str, tuple[_Seen, _Seen]] = {}
        decoy = DECOY.format(token=secrets.token_hex(16))
        masks = {mask.path: mask for mask in layout.masks if mask.role == "hidden"}
        for root in sorted(layout.write_roots, key=len):
            if any(inside(path, root) for path in masks) and not any(inside(root, other) for other, _ in self.roots):
                self.roots.append((root, f"{base}/{WORK}/{len(self.roots)}"))
        for root, copy in self.roots:
            os.makedirs(os.path.dirname(copy), mode=0o700, exist_ok=True)
            try:
                self._copy(root, copy, masks, decoy)
            except OSError as error:
                raise PolicyError(
                    f"files.hide: in tier C the agent works in a copy of {root}, and"
                    f" {error.filename or root} cannot be copied: {error.strerror}"
                ) from None
        if self.roots:
            # Held open and locked for as long as this process lives: whoever gets the lock knows that it does not.
            note = os.open(f"{base}/{COPIES}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            fcntl.lockf(note, fcntl.LOCK_EX)
            os.write(note, json.dumps({"out": out, "copies": self.roots}).encode())

    def _copy(self, source: str, target: str, masks: dict[str, Mask], decoy: str) -> None:
        status = os.lstat(source)
        mask = masks.get(source)
        if mask is not None:
            for name in mask.names if mask.folder else ("",):
                path = os.path.normpath(os.path.join(target, name))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(decoy)
            if mask.folder:
                os.makedirs(target, exist_ok=True)
            return
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(target)
            for name in os.listdir(source):
                self._copy(os.path.join(source, name), os.path.join(target, name), masks, decoy)
            shutil.copystat(source, target)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(self._there(os.readlink(source)), target)
        elif stat.S_ISREG(status.st_mode):
            _file(source, target)
        else:
            return  # a FIFO, socket or device of the machine's: nothing that a copy could stand for
        self._before[source] = _Seen.of(status), _Seen.of(os.lstat(target))

    def _there(self, text: str) -> str:
        """A link's text for the copy: one that leads into a copied root by its whole path leads into the copy."""
        if text.startswith("/") and not text.startswith("/proc/"):  # there it is the reader's own
            folder, name = os.path.split(text)
            real = (
                os.path.join(os.path.realpath(folder), name) if name not in {"", ".", ".."} else os.path.realpath(text)
            )
            for root, copy in self.roots:
                if inside(real, root):
                    return copy + real[len(root) :]
        return text

    def _back(self, text: str) -> str:
        """The other way: what leads into a copy leads to what it is the copy of."""
        for root, copy in self.roots:
            if inside(text, copy):
                return root + text[len(copy) :]
        return text

    # --- the way back -------------------------------------------------------------------------------------------------

    def sync(self) -> Synced:
        """Bring back what was changed. Once: another time returns the same."""
        if self.synced is None:
            self.synced = Synced()
            for root, copy in self.roots:
                self._remove(root, copy, self.synced)
                self._write(root, copy, self.synced)
        return self.synced

    def _own(self, path: str) -> bool:
        """Whether a path of the machine is the policy's to keep: never changed from here."""
        return any(inside(path, one) for one in (*self._layout.protect, *self._layout.hidden))

    def _above(self, path: str) -> bool:
        """Whether a path is a folder that holds such a path: it stays what it is."""
        return any(inside(one, path) for one in (*self._layout.protect, *self._layout.hidden))

    def _remove(self, root: str, copy: str, synced: Synced) -> None:
        """What is gone, or is of another kind now; the deepest first."""
        for path in sorted(self._before, key=len, reverse=True):
            if not inside(path, root) or path == root or self._own(path) or self._above(path):
                continue
            there = _look(copy + path[len(root) :])
            source, before = self._before[path]
            if there is not None and stat.S_IFMT(there.mode) == stat.S_IFMT(before.mode):
                continue
            now = _look(path)
            if now is None:
                continue
            if now != source:
                _name(synced.conflicts, path)
                continue
            try:
                os.rmdir(path) if stat.S_ISDIR(now.mode) else os.unlink(path)
            except OSError:
                _name(synced.failed, path)
                continue
            del self._before[path]
            synced.removed += 1

    def _write(self, root: str, copy: str, synced: Synced) -> None:
        for path, at, status in _walk(root, copy):
            there = _Seen.of(status)
            source, before = self._before.get(path, (None, None))
            if there == before or self._own(path) or (self._above(path) and not stat.S_ISDIR(status.st_mode)):
                continue
            now = _look(path)
            if now is not None and now != source and not (stat.S_ISDIR(now.mode) and stat.S_ISDIR(there.mode)):
                _name(synced.conflicts, path)
                self._keep(path[len(root) :], at, synced)
                continue
            try:
                if os.path.realpath(os.path.dirname(path)) != os.path.dirname(path):
                    raise OSError("a folder on the way was replaced")
                self._put(path, at, status)
            except OSError:
                _name(synced.failed, path)
                self._keep(path[len(root) :], at, synced)
                continue
            synced.written += 1

    def _put(self, path: str, at: str, status: os.stat_result) -> None:
        if stat.S_ISDIR(status.st_mode):
            if not os.path.isdir(path):
                os.mkdir(path)
            shutil.copystat(at, path)
            return
        part = os.path.join(os.path.dirname(path), f".proctor-{secrets.token_hex(8)}")
        try:
            if stat.S_ISLNK(status.st_mode):
                os.symlink(self._back(os.readlink(at)), part)
            else:
                _file(at, part)
            os.replace(part, path)
        except OSError:
            if os.path.lexists(part):
                os.unlink(part)
            raise

    def _keep(self, relative: str, at: str, synced: Synced) -> None:
        """Leave the agent's version beside the record: nothing that it made is lost."""
        target = self._kept + relative
        try:
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            if os.path.isfile(at) and not os.path.islink(at):
                _file(at, target)
        except OSError:
            _name(synced.failed, target)


def _file(source: str, target: str) -> None:
    with open(source, "rb") as reading, open(target, "xb") as writing:
        try:
            fcntl.ioctl(writing, _FICLONE, reading.fileno())
        except OSError:
            shutil.copyfileobj(reading, writing, 1 << 20)
    shutil.copystat(source, target)


def _look(path: str) -> _Seen | None:
    try:
        return _Seen.of(os.lstat(path))
    except OSError:
        return None


def _walk(root: str, copy: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Every folder, file and link of a copy as (the machine's path, its own, status); folders before what they hold."""
    for at, folders, files in os.walk(copy):
        folders.sort()
        for name in (*folders, *sorted(files)):
            here = os.path.join(at, name)
            status = os.lstat(here)
            if stat.S_IFMT(status.st_mode) in {stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK}:
                yield root + here[len(copy) :], here, status


def _name(where: list[str], path: str) -> None:
    if len(where) < _MAX_NAMED:
        where.append(path)
