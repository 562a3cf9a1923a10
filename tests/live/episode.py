"""Real episodes for tests: an agent of a few lines of Python or C, and the record it left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import proctor
from proctor.events import AnyEvent, Event, kinds
from proctor.journal.reader import read
from proctor.session.client import Launcher
from proctor.session.episode import Completed
from proctor.verdicts import Verdict
from tests.live.place import SECONDS

PYTHON = sys.executable

# What every agent starts with: raw system calls that answer with minus errno, and say() for what it found.
PRELUDE = """
import ctypes, errno, json, os, signal, socket, struct, subprocess, sys, threading, time
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
def call(number, *args):
    args = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = _libc.syscall(ctypes.c_long(number), *args)
    return -ctypes.get_errno() if result < 0 else result
def number_of(action, *args, **named):
    try:
        action(*args, **named)
    except OSError as error:
        return error.errno
    return 0
def child(action):
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = action() or 0
        finally:
            os._exit(status)
    return pid
def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def say(value):
    sys.stdout.write(json.dumps(value))
    sys.stdout.flush()
"""

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished episode."""

    done: tuple[Completed, ...]
    verdict: Verdict
    out: Path
    events: tuple[AnyEvent, ...] = field(repr=False)

    @property
    def said(self) -> Any:
        """What the last command said."""
        last = self.done[-1]
        assert last.stdout, (last.returncode, last.stderr.decode(errors="replace"))
        return json.loads(last.stdout)

    def of(self, kind: type[E], **fields: Any) -> list[E]:
        """Events of a kind whose data, or else envelope, have these values."""
        missing = object()

        def has(event: AnyEvent, name: str, value: object) -> bool:
            found = getattr(event.data, name, missing)
            return bool((getattr(event, name) if found is missing else found) == value)

        return [
            cast("E", event)
            for event in self.events
            if isinstance(event, kind) and all(has(event, name, value) for name, value in fields.items())
        ]

    def one(self, kind: type[E], **fields: Any) -> E:
        """The only such event."""
        found = self.of(kind, **fields)
        assert len(found) == 1, (fields, found, [event for event in self.events if isinstance(event, kind)])
        return found[0]

    def refused(self, call: str) -> list[kinds.Refused]:
        """What was refused under this name."""
        return self.of(kinds.Refused, call=call)


class Place:
    """A workspace, and episodes in it. ``host`` is a folder beside it that no policy shows."""

    def __init__(self, folder: Path, launcher: Launcher) -> None:
        self.workspace = folder / "workspace"
        self.host = folder / "host"
        self.workspace.mkdir()
        self.host.mkdir()
        self._folder = folder
        self._launcher = launcher
        self._episodes = 0

    def policy(self, text: str) -> Path:
        """A policy file outside the workspace."""
        file = self._folder / "policy.toml"
        file.write_text(text)
        return file

    def compiled(self, name: str, source: str, *options: str) -> Path:
        """Compile C into the workspace."""
        program = self.workspace / name
        subprocess.run(
            ["gcc", "-O1", "-o", str(program), *options, "-x", "c", "-"], input=source, text=True, check=True
        )
        return program

    def open(self, policy: str = "") -> proctor.Episode:
        """An episode to run commands in."""
        self._episodes += 1
        return proctor.Episode(
            self.policy(policy) if policy else None,
            workspace=self.workspace,
            out=self._folder / f"out-{self._episodes}",
            launcher=self._launcher,
        )

    def run(self, code: str, *arguments: str | bytes, policy: str = "") -> Ran:
        """One episode of one agent: Python after ``PRELUDE``."""
        words = [word if isinstance(word, str) else word.decode("utf-8", "surrogateescape") for word in arguments]
        return self.run_each([[PYTHON, "-I", "-c", PRELUDE + code, *words]], policy=policy)

    def run_each(self, commands: Sequence[Sequence[str]], *, policy: str = "") -> Ran:
        """One episode, each command a step."""
        done = []
        with self.open(policy) as episode:
            for argv in commands:
                done.append(episode.run(argv, timeout=SECONDS))
                if episode.verdict is not None:
                    break
        return finished(episode, *done)


def finished(episode: proctor.Episode, *done: Completed) -> Ran:
    """The record of a closed episode."""
    assert episode.verdict is not None
    assert episode.out is not None
    return Ran(done, episode.verdict, episode.out, tuple(read(episode.out)))
