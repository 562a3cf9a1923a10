"""The episode's append-only, hash-chained, signed record: written, read and verified. See ``docs/journal.md``."""

from __future__ import annotations

from proctor.journal.reader import read
from proctor.journal.verification import Verification, verify
from proctor.journal.writer import Writer

__all__ = ["Verification", "Writer", "read", "verify"]
