"""What a report needs of the journal, gathered in one pass and within bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from proctor.events import kinds

__all__ = ["COMMANDS", "STEPS", "Command", "StepStory", "Story", "gather"]

STEPS = 100
COMMANDS = 20
"""Steps told, and commands told of each; the others are counted."""

_ACTS = ("kernel", "gateway", "watch")
"""Sensors that tell what processes did."""


@dataclass(slots=True)
class Command:
    """An execution that was asked for, and what became of it."""

    event: kinds.Exec
    outcome: str = "attempted"


@dataclass(slots=True)
class StepStory:
    """What was recorded of one step."""

    begin: kinds.Step | None = None
    end: kinds.Step | None = None
    commands: list[Command] = field(default_factory=list)
    executions: int = 0
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


def gather(events: Iterable[kinds.AnyEvent], wanted: Collection[int]) -> Story:
    """Return the story of ``events``, read once, with those numbered in ``wanted`` kept whole."""
    story = Story()
    pending: dict[int, Command] = {}
    untold: set[str] = set()
    for event in events:
        if story.start_mono_ns is None:
            story.start_mono_ns = event.t_mono_ns
        story.end_mono_ns = event.t_mono_ns
        if event.seq in wanted:
            story.evidence[event.seq] = event
        if isinstance(event, kinds.ExecResult) and (command := pending.pop(event.data.ref, None)) is not None:
            command.outcome = event.data.outcome
        if event.sensor == "session":
            _bounds(story, event, untold)
        elif event.sensor in _ACTS and (step := _step(story, untold, event.step)) is not None:
            step.counts[str(event.__struct_config__.tag)] += 1
            if isinstance(event, kinds.Exec):
                _command(step, event, pending)
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


def _command(step: StepStory, event: kinds.Exec, pending: dict[int, Command]) -> None:
    step.executions += 1
    if len(step.commands) < COMMANDS:
        command = Command(event)
        step.commands.append(command)
        pending[event.seq] = command
