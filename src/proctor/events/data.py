"""What the records of every kind have in common."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["Data", "Outcome", "PathRole"]

PathRole = Literal["workspace", "protected", "hidden", "credential", "system", "scratch"]
"""What the policy says of a path: ``workspace`` writable; ``protected`` readable, not writable; ``hidden`` masked by a
decoy; ``credential`` a system secret masked by a decoy; ``system`` readable; ``scratch`` /tmp, /dev/shm, the home."""

Outcome = Literal["attempted", "blocked", "succeeded", "failed", "unknown"]


class Data(Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of the ``data`` records."""
