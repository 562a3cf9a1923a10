"""A finished record, as the commands that tell of one need it: verified, with its verdict."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from proctor.errors import RecordError, UsageError
from proctor.journal.reader import open_regular
from proctor.journal.verdict_file import FILE
from proctor.journal.verification import verify
from proctor.session.closing import write_whole
from proctor.verdicts import Verdict

__all__ = ["put", "verdict_of"]


def verdict_of(directory: Path) -> Verdict:
    """Return the verdict of the record in ``directory``.

    Raises:
        UsageError: it is no record, or not as it was written, or has no end: nothing is told of such a one.
    """
    found = verify(directory)
    if found.status == "not_a_record":
        raise UsageError(found.reason)
    if found.status != "intact":
        where = "" if found.line is None else f" at line {found.line}"
        raise UsageError(f"{directory}: the record is {found.status}{where}: {found.reason}; an intact one is needed")
    try:
        with open_regular(directory / FILE) as file:
            return msgspec.json.decode(file.read(), type=Verdict)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{directory / FILE}: not a verdict that this version reads: {error}") from None


def put(path: str | None, content: str) -> None:
    """Write ``content`` to the file ``path``, or to standard output for None and ``-``.

    Raises:
        UsageError: the file cannot be written.
    """
    raw = content.encode("utf-8", "replace")
    if path in (None, "-"):
        sys.stdout.buffer.write(raw)
        return
    try:
        write_whole(Path(str(path)), raw)
    except RecordError as error:
        raise UsageError(f"--out {error}") from None
