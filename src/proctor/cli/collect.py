"""``proctor collect``: receive journals of episodes that run elsewhere. Exit status: the worst verdict's."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from proctor.clock import SystemClock
from proctor.detectors.compile import load
from proctor.errors import UsageError
from proctor.events.text import printable
from proctor.journal.keys import fingerprint, load_or_make
from proctor.session.address import listen, parse
from proctor.session.collecting import Collector
from proctor.session.receiving import Bounds
from proctor.session.spec import cache_folder, folders, state_folder

__all__ = ["run"]

_MB = 1_000_000


def run(arguments: argparse.Namespace) -> int:
    """Receive until it is asked to end, or as many streams as it is to take."""
    address = parse(arguments.listen, "--listen")
    if not re.fullmatch("[0-7]{3,4}", arguments.socket_mode):
        raise UsageError(f"--socket-mode {printable(arguments.socket_mode, 20)}: allowed is an octal mode, as 660")
    episodes = None if arguments.episodes is None else _number(arguments.episodes, "--episodes", 1)
    bounds = Bounds(
        journal_bytes=_number(arguments.max_mb, "--max-mb", 1) * _MB,
        free_bytes=_number(arguments.keep_free_mb, "--keep-free-mb", 0) * _MB,
        silent_seconds=_number(arguments.silent_seconds, "--silent-seconds", 1),
    )
    directory = Path(arguments.dir).resolve()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"collect: {printable(str(directory))}: cannot be made ({error.strerror})") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"collect: {printable(str(directory))}: cannot be written")
    key = load_or_make(state_folder() / "keys")
    rules = load([Path(folder) for folder in folders(arguments.rules)], cache_folder())
    collector = Collector(directory, bounds, key, rules, SystemClock(), _json if arguments.json else _line)
    fd = listen(address, int(arguments.socket_mode, 8))
    sys.stderr.write(
        f"proctor: collecting from {printable(arguments.listen)} into {printable(str(directory), 300)}; "
        f"receipts are signed with key {fingerprint(key.public)}\n"
    )
    sys.stderr.flush()
    try:
        return collector.serve(fd, episodes)
    finally:
        if address.kind == "unix":
            Path(address.path).unlink(missing_ok=True)


def _number(text: str, option: str, least: int) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
        raise UsageError(f"collect: {option} {printable(text, 20)}: allowed is a whole number of {least} or more")
    return int(text)


def _json(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _line(told: dict[str, Any]) -> None:
    why = f": {printable(told['why'], 300)}" if told["why"] else ""
    if "out" in told:
        where = f"{told['events']} events, the last at {told['last_line']}, in {printable(told['out'], 300)}"
        sys.stdout.write(f"{printable(told['episode'])}: {told['verdict']} ({told['state']}{why}), {where}\n")
    else:
        sys.stdout.write(f"refused{why}\n")
    sys.stdout.flush()
