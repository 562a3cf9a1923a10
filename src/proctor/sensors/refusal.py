"""A handler's answer: this call does not run."""

from __future__ import annotations

from typing import Literal

__all__ = ["Reason", "Refusal"]

Reason = Literal["sandbox", "foreign_arch", "unknown_call", "unreadable", "limit", "response", "domain"]


class Refusal(Exception):
    """Raised by a handler; the sensor records it and answers the call with ``errno``."""

    def __init__(self, number: int, reason: Reason, path: str | None = None) -> None:
        super().__init__(reason)
        self.errno = number
        self.reason: Reason = reason
        self.path = path
