"""Which pseudo-terminals are the agent's own, where it shares /dev/pts with every other process of the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

__all__ = ["holds", "number"]

_SLAVE = re.compile(r"/dev/pts/([0-9]{1,7})")
_MASTERS = {"/dev/ptmx", "/dev/pts/ptmx"}


def number(path: str | None) -> int | None:
    """The number of the pair whose slave a resolved path is; None where it is none."""
    match = _SLAVE.fullmatch(path or "")
    return int(match[1]) if match is not None else None


def holds(processes: Iterable[int], pair: int) -> bool:
    """Whether one of these processes has the master of a pair open (``tty-index`` of its fdinfo, Linux 4.14)."""
    for pid in processes:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") not in _MASTERS:
                    continue
                with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii", errors="replace") as file:
                    found = [line.split()[1] for line in file if line.startswith("tty-index:")]
            except (OSError, IndexError):
                continue
            if found == [str(pair)]:
                return True
    return False
