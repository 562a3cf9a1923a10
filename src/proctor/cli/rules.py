"""``proctor rules``: every rule, whether it is evaluated, and why not. Always 0 where all of them are rules."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from proctor.detectors.compile import load
from proctor.detectors.rules import Rule, Unevaluable
from proctor.events.text import printable
from proctor.session.spec import cache_folder, folders

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each rule, then how many there are of each state."""
    rules = load([Path(folder) for folder in folders(arguments.dirs)], cache_folder())
    for title, outside in (("shipped", False), ("outside", True)):
        evaluated = [rule for rule in rules.rules if rule.outside is outside]
        left = [rule for rule in rules.unevaluable if rule.outside is outside]
        if not evaluated and not left:
            continue
        for line in sorted([*map(_line, evaluated), *map(_line, left)]):
            sys.stdout.write(line + "\n")
        part = sum(bool(rule.note) for rule in evaluated)
        told = f"{len(evaluated)} of {len(evaluated) + len(left)} evaluated" + (
            f", {part} of them in part" if part else ""
        )
        sys.stdout.write(f"{title}: {told}\n")
    return 0


def _line(rule: Rule | Unevaluable) -> str:
    name = printable(rule.name or rule.slug)
    if isinstance(rule, Unevaluable):
        return f"{name}  not evaluated: {printable(rule.reason, 400)}"
    traits = f"{rule.level}, {rule.category}" + (", for correlations only" if rule.silent else "")
    note = f"; in part: {printable(rule.note, 400)}" if rule.note else ""
    return f"{name}  evaluated ({printable(traits)}){note}"
