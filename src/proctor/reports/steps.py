"""A page's account of the episode, step by step: when, what was started, how it ended, and which findings it has."""

from __future__ import annotations

from collections.abc import Iterator

from proctor.events import kinds
from proctor.reports.elements import Markup, code, join, tag
from proctor.reports.lists import table
from proctor.reports.markdown import FINDINGS, STARTS
from proctor.reports.sentences import by_weight
from proctor.reports.story import Command, StepStory, Story
from proctor.reports.tracks import Tracks
from proctor.verdicts import Verdict

__all__ = ["steps"]

SHOWN = 60
COMMANDS = 5
"""Steps told, and commands of each; the others are counted."""


def steps(verdict: Verdict, story: Story, tracks: Tracks) -> Iterator[Markup]:
    """What happened, in order."""
    yield tag("h2", "Steps")
    if not story.steps:
        yield tag("p", "Nothing was recorded.")
        return
    found: dict[str | None, list[Markup]] = {}
    for number, finding in enumerate(by_weight(verdict.findings)[:FINDINGS], 1):
        found.setdefault(finding.step, []).append(tag("a", str(number), href=f"#finding-{number}"))
    rows = [_row(name, step, story, tracks, found.get(name, [])) for name, step in list(story.steps.items())[:SHOWN]]
    head = ("step", "from s", "to s", "commands", "ended with", "findings")
    yield table(head, rows, ("s", "n", "n", "", "p", "p"))
    if (more := len(story.steps) - len(rows) + story.steps_untold) > 0:
        yield tag("p", f"And {more} more, in the journal.")


def _row(name: str | None, step: StepStory, story: Story, tracks: Tracks, findings: list[Markup]) -> tuple[str, ...]:
    start = story.start_mono_ns or 0
    first, last = (f"{(time - start) / 1e9:.3f}" for time in tracks.spans[name]) if name in tracks.spans else ("", "")
    told = [
        tag("div", code(_argv(command.event.data), 200), STARTS[command.outcome], _end(command, tracks))
        for command in step.commands[:COMMANDS]
    ]
    if (more := step.executions - len(told) - step.lookups - step.marks) > 0:
        told.append(tag("div", f"and {more} more", class_="soft"))
    shown = code(name, 60) if name is not None else "none known"
    return shown, first, last, join(*told), _ended(step), join(*findings, by=Markup(", "))


def _end(command: Command, tracks: Tracks) -> str:
    """How the process ended that was started."""
    track = tracks.at(command.event.t_mono_ns, command.event.pid) if command.outcome == "succeeded" else None
    return f", ended with {track.end}" if track is not None and track.end else ""


def _argv(data: kinds.ExecData) -> str:
    return " ".join(data.argv[:32]) or data.path


def _ended(step: StepStory) -> str:
    if not isinstance(step.end, kinds.Step):
        return ""
    data = step.end.data
    return (
        f"signal {data.signal}"
        if data.signal is not None
        else ""
        if data.exit_code is None
        else f"status {data.exit_code}"
    )
