"""``proctor lint``: 0 where a text about a record says nothing stronger than the record, 1 where it does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from proctor.cli.record import verdict_of
from proctor.errors import UsageError
from proctor.events.text import printable
from proctor.journal.reader import read
from proctor.reports.ground import ground
from proctor.reports.wording import LIMIT, check, strings

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each problem: line:column, the phrase, why, and what may be said instead."""
    directory = Path(arguments.against)
    text = _text(arguments.text)
    verdict = verdict_of(directory)
    problems = check(text, ground(verdict, read(directory), strings(text)))
    for problem in problems:
        line = text.count("\n", 0, problem.start) + 1
        column = problem.start - (text.rfind("\n", 0, problem.start) + 1) + 1
        phrase = printable(" ".join(problem.phrase.split()), 80)
        sys.stdout.write(f"{line}:{column}: '{phrase}': {problem.why}; say instead: {problem.instead}\n")
    return 1 if problems else 0


def _text(name: str) -> str:
    try:
        raw = sys.stdin.buffer.read(4 * LIMIT + 1) if name == "-" else _file(Path(name))
        text = raw.decode()
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 text: byte {error.start} is not part of it") from None
    if len(text) > LIMIT:
        raise UsageError(f"{name}: longer than {LIMIT} characters, which is the most that is looked at")
    return text


def _file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4 * LIMIT + 1)
