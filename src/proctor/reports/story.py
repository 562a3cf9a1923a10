"""What a report needs of the journal, gathered in one pass and within bounds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from proctor.events import kinds
from proctor.findings import Finding

__all__ = ["CHANGES", "COMMANDS", "EVIDENCE", "STEPS", "Command", "StepStory", "Story", "gather"]

EVIDENCE = 10
"""Events cited of each finding."""
STEPS = 100
COMMANDS = 20
CHANGES = 20
"""Steps told; commands told of each, and changes of files; the others are counted."""
_CALLS = 100
"""Different refused calls of a step that are counted by name; there are not so many, but a name is foreign text."""
_STREAMS = 6
"""Streams of a step whose beginning is kept; a harness runs one command a step."""
_MARK_PROGRAM = re.compile(r"(/run/proctor|/.*/proctor-[^/]+/run)/bin/proctor")
"""``proctor mark`` in every sandbox of tier B, and of tier C."""

_ACTS = ("kernel", "gateway", "watch")
"""Sensors that tell what processes did."""


@dataclass(slots=True)
class Command:
    """An execution that was asked for, and what became of it."""

    event: kinds.Exec
    outcome: str = "attempted"


@dataclass(slots=True)
class StepStory:
    """What was recorded of one step.

    ``executions`` counts all that were asked for, with the ``lookups`` along PATH that found nothing and the ``marks``
    that were set, which are not among the ``commands``. ``changes`` are operations on paths with how often, refused or
    not; ``changed`` counts them all. ``refused`` are calls by name.
    """

    begin: kinds.Step | kinds.Mark | None = None
    end: kinds.Step | kinds.Mark | None = None
    commands: list[Command] = field(default_factory=list)
    executions: int = 0
    lookups: int = 0
    marks: int = 0
    changes: dict[tuple[str, str, bool], int] = field(default_factory=dict)
    changed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    outputs: list[kinds.Output] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Story:
    """The episode, as far as a report tells it. ``steps`` has None for what no step is known of."""

    start_mono_ns: int | None = None
    end_mono_ns: int | None = None
    opened: kinds.Open | None = None
    checkpoints: int = 0
    steps: dict[str | None, StepStory] = field(default_factory=dict)
    steps_untold: int = 0
    evidence: dict[int, kinds.AnyEvent] = field(default_factory=dict)

    def cited(self, finding: Finding) -> list[kinds.AnyEvent]:
        """The first events that a finding rests on, as far as they are at hand."""
        return [self.evidence[seq] for seq in finding.events[:EVIDENCE] if seq in self.evidence]


def gather(events: Iterable[kinds.AnyEvent], wanted: Collection[int]) -> Story:
    """Return the story of ``events``, read once, with those numbered in ``wanted`` kept whole."""
    story = Story()
    pending: dict[int, tuple[StepStory, Command]] = {}
    untold: set[str] = set()
    for event in events:
        if story.start_mono_ns is None:
            story.start_mono_ns = event.t_mono_ns
        story.end_mono_ns = event.t_mono_ns
        if event.seq in wanted:
            story.evidence[event.seq] = event
        if isinstance(event, kinds.ExecResult) and (told := pending.pop(event.data.ref, None)) is not None:
            _ended(*told, event.data.outcome, wanted)
        if event.sensor == "session" or isinstance(event, kinds.Mark):
            _bounds(story, event, untold)
        elif event.sensor in _ACTS and (step := _step(story, untold, event.step)) is not None:
            step.counts[str(event.__struct_config__.tag)] += 1
            if isinstance(event, kinds.Exec):
                _command(step, event, pending, wanted)
            elif isinstance(event, kinds.File):
                _change(step, event)
            elif isinstance(event, kinds.Refused) and (event.data.call in step.refused or len(step.refused) < _CALLS):
                step.refused[event.data.call] += 1
    story.steps_untold = len(untold)
    return story


def _bounds(story: Story, event: kinds.AnyEvent, untold: set[str]) -> None:
    match event:
        case kinds.Open():
            story.opened = event
        case kinds.Checkpoint():
            story.checkpoints += 1
        case kinds.Step(data=data) if (step := _step(story, untold, data.id)) is not None:
            if data.op == "begin":
                step.begin = event
            else:
                step.end = event
        case kinds.Mark(data=data) if data.op in {"begin", "end"}:
            if (step := _step(story, untold, data.id)) is not None:
                if data.op == "begin":
                    step.begin = step.begin or event
                elif not isinstance(step.end, kinds.Step):
                    step.end = event
        case kinds.Output(data=data) if (step := _step(story, untold, data.step)) is not None:
            if len(step.outputs) < _STREAMS and data.bytes:
                step.outputs.append(event)
        case _:
            pass


def _step(story: Story, untold: set[str], name: str | None) -> StepStory | None:
    found = story.steps.get(name)
    if found is None:
        if name is not None and len(story.steps) >= STEPS:
            if len(untold) < 100_000:  # names come from the agent's side: their number is bounded here
                untold.add(name)
            return None
        found = story.steps[name] = StepStory()
    return found


def _command(
    step: StepStory, event: kinds.Exec, pending: dict[int, tuple[StepStory, Command]], wanted: Collection[int]
) -> None:
    step.executions += 1
    cited = event.seq in wanted
    if not cited and _marks(event.data):  # its marks are told as such
        step.marks += 1
    elif cited or len(step.commands) < COMMANDS:
        command = Command(event)
        step.commands.append(command)
        pending[event.seq] = step, command


def _marks(data: kinds.ExecData) -> bool:
    """Whether it is ``proctor mark``, by its own path or by the system's Python that its ``#!`` line leads to."""
    python = (data.image or data.path).startswith("/usr/bin/python3")
    named = data.argv[1] if python and len(data.argv) > 1 else data.path
    return _MARK_PROGRAM.fullmatch(named) is not None


def _ended(step: StepStory, command: Command, outcome: str, wanted: Collection[int]) -> None:
    """Say what became of an execution; one that only looked for a program along PATH makes room for another."""
    command.outcome = outcome
    data = command.event.data
    name = data.argv[0] if data.argv else ""
    looked_for = bool(name) and "/" not in name and data.path.endswith(f"/{name}")
    if outcome == "failed" and looked_for and command.event.seq not in wanted:
        step.commands.remove(command)
        step.lookups += 1


def _change(step: StepStory, event: kinds.File) -> None:
    data = event.data
    key = data.op, data.target_object or data.target or data.object or data.path, data.outcome == "blocked"
    step.changed += 1
    if key in step.changes or len(step.changes) < CHANGES:
        step.changes[key] = step.changes.get(key, 0) + 1
