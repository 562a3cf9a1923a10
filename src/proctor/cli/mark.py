"""``proctor mark``: the same program that every sandbox has at /run/proctor/bin/proctor."""

from __future__ import annotations

import argparse

from proctor.sandbox.mark import mark

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Send one mark to the supervisor."""
    return mark(arguments.words)
