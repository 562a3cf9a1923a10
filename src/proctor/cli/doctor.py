"""``proctor doctor``: which tier this machine gives, and what is missing for the next."""

from __future__ import annotations

import argparse
import sys

from proctor.session.abandoned import abandoned
from proctor.session.probe import probe

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Print what was found by trying. 0 where an episode can run, 1 where none can."""
    machine = probe()
    left = list(abandoned())
    if arguments.json:
        import json  # this form only

        found: dict[str, object] = {"tier": machine.tier, "found": machine.found, "missing": machine.missing}
        found["abandoned"] = [one.copy for one in left]
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.write(f"tier {machine.tier}\n")
        for name, answer in machine.found.items():
            sys.stdout.write(f"  {'no ' if answer else 'yes'}  {name}{': ' + answer if answer else ''}\n")
        word = "for an episode to run" if machine.tier == "none" else "for the next tier"
        for line in machine.missing:
            sys.stdout.write(f"  missing {word}: {line}\n")
        sys.stdout.write("".join(f"  {one}\n" for one in left))
    return 0 if machine.tier != "none" else 1
