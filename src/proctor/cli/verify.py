"""``proctor verify``: 0 intact, 1 tampered (or not signed by a key that is trusted), 3 truncated, 2 not a record."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from proctor.journal.keys import load_trusted
from proctor.journal.verification import verify

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Check a record and say what is wrong with it."""
    trusted = load_trusted(arguments.trusted_key) if arguments.trusted_key is not None else None
    collector = load_trusted(arguments.collector_key) if arguments.collector_key is not None else None
    found = verify(Path(arguments.dir), trusted, collector)
    if found.status == "not_a_record":
        sys.stderr.write(f"proctor: {found.summary}\n")
    else:
        sys.stdout.write(found.summary + "\n")
    if found.status == "truncated":
        from proctor.session.abandoned import abandoned  # where something is missing only

        out = str(Path(arguments.dir).resolve())
        sys.stdout.write("".join(f"{one}\n" for one in abandoned() if one.out == out))
    return found.exit_status
