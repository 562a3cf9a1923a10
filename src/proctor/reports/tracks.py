"""Processes, spans of steps, and changes asked for, gathered from the journal as it passes and within bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from proctor.events import kinds
from proctor.journal.lines import Entry
from proctor.reports.story import STEPS

__all__ = ["Change", "Line", "Track", "Tracks"]

PROCESSES = 5_000
PATHS = 5_000
"""Processes and paths that are kept; the others are counted. Both are the agent's to multiply."""
CONTENTS = 100
"""Files whose change of content is kept; the totals count all."""
ELSEWHERE = 20
"""Paths outside the workspace that are named."""
ARGV = 200
LINE = 1_200
"""Characters kept of a command line, and of a cited journal line."""

_ACTS = ("kernel", "gateway", "watch")
_GROUPS = {
    "create": "create", "mkdir": "create", "mknod": "create", "link": "create", "symlink": "create",
    "open_write": "open for writing", "truncate": "open for writing", "rename": "rename", "unlink": "remove",
    "rmdir": "remove", "chmod": "change mode or owner", "chown": "change mode or owner",
}  # fmt: skip


@dataclass(slots=True)
class Line:
    """A cited line of the journal: its hash, and the event's JSON as it stands there, cut."""

    hash: str
    json: str


@dataclass(slots=True)
class Track:
    """One process, from its first to its last event."""

    pid: int
    start_time: int | None
    first: int
    last: int
    order: int
    parent: Track | None = None
    exe: str = ""
    argv: str = ""
    end: str = ""
    step: str | None = None
    cited: bool = False
    pending: tuple[int, str] | None = None


@dataclass(slots=True)
class Change:
    """What was asked for on one path: how often each act, and how many of them were refused."""

    acts: Counter[str] = field(default_factory=Counter)
    refused: int = 0


@dataclass(slots=True)
class Tracks:
    """Gathered by :meth:`passing`; ``wanted`` are the numbers of the events whose lines and processes are kept.

    ``cut``: the journal has no end.
    """

    wanted: Collection[int]
    lines: dict[int, Line] = field(default_factory=dict)
    processes: list[Track] = field(default_factory=list)
    untracked: int = 0
    spans: dict[str, list[int]] = field(default_factory=dict)
    changes: dict[str, Change] = field(default_factory=dict)
    acts: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    elsewhere: int = 0
    elsewhere_paths: Counter[str] = field(default_factory=Counter)
    cut: bool = False
    unlisted: int = 0
    contents: list[kinds.Change] = field(default_factory=list)
    totals: kinds.ChangesData | None = None
    times: dict[int, tuple[int, int | None]] = field(default_factory=dict)
    _now: dict[int, Track] = field(default_factory=dict)
    _workspace: str = ""

    def passing(self, entries: Iterable[Entry]) -> Iterator[kinds.AnyEvent]:
        """Yield the events of ``entries``, each looked at on its way."""
        for entry in entries:
            event = entry.event
            if event.seq in self.wanted:
                # As it is stored, but for the chain's two members: decoding and encoding are each other's inverse.
                raw = kinds.encode(event)
                cut = raw[: LINE * 4].decode("utf-8", "ignore")[:LINE]
                self.lines[event.seq] = Line(entry.hash, cut + (f"… ({len(raw)} bytes)" if len(raw) > LINE else ""))
                self.times[event.seq] = event.t_mono_ns, event.pid
            if isinstance(event, kinds.Open):
                self._workspace = event.data.workspace
            self._span(event)
            if event.sensor in _ACTS and event.pid is not None:
                self._process(event, event.pid)
            if isinstance(event, kinds.File):
                self._file(event.data)
            elif isinstance(event, kinds.Change) and len(self.contents) < CONTENTS:
                self.contents.append(event)
            elif isinstance(event, kinds.Changes):
                self.totals = event.data
            yield event

    def by(self, seq: int) -> Track | None:
        """The process of a wanted event; None where it has none or is not known."""
        return self.at(*self.times.get(seq, (0, None)))

    def at(self, time: int, pid: int | None) -> Track | None:
        """The process with a number at a time (CLOCK_MONOTONIC, ns)."""
        here = (track for track in self.processes if track.pid == pid and track.first <= time <= track.last)
        return next(here, None) if pid is not None else None

    def _span(self, event: kinds.AnyEvent) -> None:
        name = event.data.id if isinstance(event, kinds.Step) else event.step
        if name is None:
            return
        span = self.spans.get(name)
        if span is not None:
            span[1] = event.t_mono_ns
        elif len(self.spans) < STEPS:
            self.spans[name] = [event.t_mono_ns, event.t_mono_ns]

    def _process(self, event: kinds.AnyEvent, pid: int) -> None:
        track = self._now.get(pid)
        if track is None or (None not in (start := (track.start_time, event.start_time)) and start[0] != start[1]):
            track = self._begin(event, pid)
            if track is None:
                return
        track.last = event.t_mono_ns
        track.cited = track.cited or event.seq in self.wanted
        track.exe = (event.exe or track.exe)[:ARGV]
        track.step = track.step if track.step is not None else event.step
        match event:
            case kinds.Process(data=data):
                track.argv = track.argv or _argv(data.cmdline)
            case kinds.Exec(data=data):
                track.pending = event.seq, _argv(data.argv)
            case kinds.ExecResult(data=done) if track.pending is not None and track.pending[0] == done.ref:
                track.argv = track.pending[1] if done.outcome == "succeeded" else track.argv
                track.pending = None
            case kinds.Exit(data=data):
                number = data.signal if data.how == "signal" else data.code
                track.end = f"{'signal' if data.how == 'signal' else 'status'} {'?' if number is None else number}"
            case _:
                pass

    def _begin(self, event: kinds.AnyEvent, pid: int) -> Track | None:
        if len(self.processes) >= PROCESSES and event.seq not in self.wanted:
            self._now.pop(pid, None)
            self.untracked += isinstance(event, kinds.Process)
            return None
        parent = self._now.get(event.ppid) if event.ppid is not None and event.ppid != pid else None
        track = Track(pid, event.start_time, event.t_mono_ns, event.t_mono_ns, len(self.processes), parent)
        self.processes.append(track)
        self._now[pid] = track
        return track

    def _file(self, data: kinds.FileData) -> None:
        group = _GROUPS.get(data.op)
        path = data.object or data.path
        if group is None:
            return
        inside = path.startswith(self._workspace.rstrip("/") + "/") and self._workspace != ""
        if not inside:
            self.elsewhere += 1
            if path in self.elsewhere_paths or len(self.elsewhere_paths) < ELSEWHERE:
                self.elsewhere_paths[path[:ARGV]] += 1
            return
        refused = data.outcome == "blocked"
        self.acts[group] += 1
        self.refused += refused
        name = path[len(self._workspace.rstrip("/")) + 1 :][:ARGV]
        change = self.changes.get(name)
        if change is None:
            if len(self.changes) >= PATHS:
                self.unlisted += 1
                return
            change = self.changes[name] = Change()
        change.acts[group] += 1
        change.refused += refused


def _argv(argv: tuple[str, ...]) -> str:
    return " ".join(argv[:32])[:ARGV]
