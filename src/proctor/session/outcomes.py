"""What became of a file call that a finding rests on: a second look, once the caller makes its next call or ends.

A notification precedes its call, so its event can only say ``attempted``. By the caller's next call the first one has
returned, and the file itself shows what it did. Another process could have done the same in between: ``how`` says what
was seen, no more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from proctor.events import kinds
from proctor.events.text import to_bytes
from proctor.sandbox.linux import RESOLVE_IN_ROOT, openat2

__all__ = ["Outcomes"]


@dataclass(frozen=True, slots=True)
class _Look:
    seq: int
    data: kinds.FileData
    changed_ns: int | None


class Outcomes:
    """File calls whose outcome is to be looked at, by the thread that made them."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._by_tid: dict[int, _Look] = {}

    def __bool__(self) -> bool:
        return bool(self._by_tid)

    def _status(self, path: str | None) -> os.stat_result | None:
        if path is None or not path.startswith("/"):
            return None
        fd = openat2(self._root, to_bytes(path), os.O_PATH | os.O_NOFOLLOW, RESOLVE_IN_ROOT)
        if fd < 0:
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def expect(self, tid: int, seq: int, data: kinds.FileData) -> None:
        """Look at this call's outcome when ``tid`` makes its next call."""
        status = self._status(data.object)
        self._by_tid[tid] = _Look(seq, data, status.st_ctime_ns if status is not None else None)

    def take(self, tid: int) -> kinds.ResultData | None:
        """The outcome of the thread's earlier call, if one is awaited."""
        look = self._by_tid.pop(tid, None)
        if look is None:
            return None
        outcome, how = self._judge(look)
        return kinds.ResultData(ref=look.seq, outcome=outcome, how=how)

    def _judge(self, look: _Look) -> tuple[kinds.Outcome, str]:
        data = look.data
        status = self._status(data.object)
        if data.op in {"unlink", "rmdir"}:
            return ("succeeded", "the name is gone") if status is None else ("failed", "the name is still there")
        if data.op in {"rename", "link", "symlink"} and data.op != "symlink":
            there = self._status(data.target_object)
            return (
                ("succeeded", "the new name is there") if there is not None else ("failed", "the new name is not there")
            )
        if status is None:
            return "failed", "there is no such file"
        if not data.existed:
            return "succeeded", "the file is there now"
        if status.st_ctime_ns != look.changed_ns:
            return "succeeded", "the file was changed since"
        return "unknown", "the file is as it was"
