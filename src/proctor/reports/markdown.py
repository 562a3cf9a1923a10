"""``report.md``: an episode for a reader who was not there and need not trust it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from proctor.events import kinds
from proctor.findings import Finding
from proctor.journal.keys import fingerprint
from proctor.policy.taxonomy import MEANING
from proctor.reports.asked import policy_entries, task
from proctor.reports.evidence import OPERATIONS, counted, describe, line, offset
from proctor.reports.inert import block, code, prose
from proctor.reports.sentences import by_weight, sentence
from proctor.reports.story import EVIDENCE, StepStory, Story, gather
from proctor.verdicts import Verdict, weight

__all__ = ["ENTRIES", "FINDINGS", "STARTS", "agent", "cited", "markdown", "told"]

FINDINGS = 100
ENTRIES = 50
"""Findings told, and entries of every other list; what is left out is counted."""


def markdown(verdict: Verdict, events: Iterable[kinds.AnyEvent]) -> str:
    """Return the report on ``verdict``; ``events`` is the journal, read once and not kept.

    Everything that the agent or the task could have written is shown as code and cannot act as Markdown or HTML. The
    size is bounded: long lists are cut and say so.
    """
    return told(verdict, gather(events, cited(verdict)))


def cited(verdict: Verdict) -> set[int]:
    """Return the numbers of the events that a report shows as evidence."""
    return {seq for finding in by_weight(verdict.findings)[:FINDINGS] for seq in finding.events[:EVIDENCE]}


def told(verdict: Verdict, story: Story) -> str:
    """Return the report on ``verdict``, whose ``story`` was gathered with what is :func:`cited`."""
    parts = [
        *_head(verdict, story),
        *_asked(verdict, story),
        *_findings(verdict, story),
        *_steps(story),
        *_leftover(verdict),
        *_not_observed(verdict),
        *_limits(verdict),
        *_responses(verdict),
        *_check(verdict, story),
    ]
    return "\n".join(parts) + "\n"


def _list(entries: Sequence[str], none: str) -> Iterator[str]:
    yield from (f"- {entry}" for entry in entries[:ENTRIES])
    if len(entries) > ENTRIES:
        yield f"- and {len(entries) - ENTRIES} more"
    if not entries:
        yield none
    yield ""


def _head(verdict: Verdict, story: Story) -> Iterator[str]:
    yield f"# Episode {code(verdict.episode, 100)}: {verdict.verdict}"
    yield ""
    why = [prose(reason) for reason in verdict.reasons] + ["", ""]
    yield f"- Verdict: **{verdict.verdict}**. {why[0]}".rstrip()
    yield f"- Score: **{verdict.score_effect}**. {why[1]}".rstrip()
    yield f"- Agent: {prose(agent(verdict))}"
    if story.start_mono_ns is not None and story.end_mono_ns is not None:
        yield f"- Duration: {(story.end_mono_ns - story.start_mono_ns) / 1e9:.3f} s"
    yield f"- Tier: {verdict.tier}"
    yield ""


def agent(verdict: Verdict) -> str:
    """Return how the agent ended, in words."""
    cut = "".join(f". {reason}" for reason in verdict.reasons[2:])
    if verdict.agent_signal is not None:
        return f"ended by signal {verdict.agent_signal}{cut}"
    return (
        f"no exit status known{cut}" if verdict.agent_exit is None else f"ended with status {verdict.agent_exit}{cut}"
    )


def _asked(verdict: Verdict, story: Story) -> Iterator[str]:
    yield "## What was asked"
    yield ""
    said = task(story)
    yield block(said) if said is not None else "The policy states no task."
    yield ""
    yield from _list(list(policy_entries(verdict, story, code)), "")


def _findings(verdict: Verdict, story: Story) -> Iterator[str]:
    yield "## Findings"
    yield ""
    for number, finding in enumerate(by_weight(verdict.findings)[:FINDINGS], 1):
        yield from _finding(number, finding, story)
    if len(verdict.findings) > FINDINGS:
        yield f"And {len(verdict.findings) - FINDINGS} more, in `verdict.json`."
        yield ""
    if not verdict.findings:
        yield "None."
        yield ""


def _finding(number: int, finding: Finding, story: Story) -> Iterator[str]:
    yield f"### {number}. {code(finding.category, 80)}"
    yield ""
    yield sentence(finding, code, story.cited(finding))
    yield ""
    weighs = weight(finding)
    yield f"- rule {code(finding.rule, 80)}, level {finding.level}, grade {finding.grade}, outcome {finding.outcome}"
    yield f"- {finding.authorisation}; counts as {weighs}" + (
        f"; step {code(finding.step, 80)}" if finding.step else ""
    )
    open_steps = sorted({step for event in story.cited(finding) for step in event.candidates})[:EVIDENCE]
    if finding.step is None and open_steps:
        yield f"- steps open at the time: {', '.join(code(step, 80) for step in open_steps)}; which one is not known"
    if finding.authority is not None:
        authority = finding.authority
        yield f"- authorised in {code(authority.scope)}, because {code(authority.reason)}, by {code(authority.by, 100)}"
    for seq in finding.events[:EVIDENCE]:
        event = story.evidence.get(seq)
        yield (
            f"- {code(line(event, story.start_mono_ns), 400)}" if event is not None else f"- #{seq}, not in the journal"
        )
    if (more := max(finding.count, len(finding.events)) - min(len(finding.events), EVIDENCE)) > 0:
        yield f"- and {more} more"
    yield ""


def _steps(story: Story) -> Iterator[str]:
    yield "## Steps and what ran in them"
    yield ""
    for name, step in story.steps.items():
        yield from _step(name, step, story)
    if story.steps_untold:
        yield f"And {story.steps_untold} more steps."
        yield ""
    if not story.steps:
        yield "Nothing was recorded."
        yield ""


def _step(name: str | None, step: StepStory, story: Story) -> Iterator[str]:
    yield "### No step known" if name is None else f"### Step {code(name, 80)}"
    yield ""
    for bound in (step.begin, step.end):
        if bound is not None:
            yield f"- {code(f'{offset(bound, story.start_mono_ns)}  {describe(bound)}', 300)}"
    for command in step.commands:
        event = command.event
        told = f"#{event.seq}  {offset(event, story.start_mono_ns)}  {describe(event)}"
        yield f"- {code(told)}{STARTS[command.outcome]}"
    more = step.executions - len(step.commands) - step.lookups - step.marks
    if more > 0:
        yield f"- and {counted(more, 'more execution', 'more executions')}"
    if step.lookups:
        yield f"- and {counted(step.lookups, 'look-up', 'look-ups')} along PATH that found no program"
    yield from _changes(step)
    if step.refused:
        calls = ", ".join(f"{code(call, 40)} {count}" for call, count in step.refused.most_common(ENTRIES))
        yield f"- calls refused, and how often: {calls}"
    for output in step.outputs:
        yield f"- {_output(output)}"
    kinds_of = ", ".join(f"{count} {kind}" for kind, count in sorted(step.counts.items()))
    yield f"- events: {kinds_of or 'none'}"
    yield ""


STARTS = {
    "succeeded": ": started",
    "failed": ": not started",
    "blocked": ": refused",
    "unknown": ": whether it started is not known",
    "attempted": ": whether it started was not seen",
}
"""What an exec's outcome says: that the program was started, and nothing of what it then did."""


def _changes(step: StepStory) -> Iterator[str]:
    for (op, path, refused), count in step.changes.items():
        end = (f", {count} times" if count > 1 else "") + (": refused" if refused else "")
        yield f"- asked to {OPERATIONS.get(op) or code(op, 40)} {code(path, 200)}{end}"
    if (more := step.changed - sum(step.changes.values())) > 0:
        yield f"- and {counted(more, 'more call', 'more calls')} that would change files"


def _output(event: kinds.Output) -> str:
    data = event.data
    size = f"{counted(data.bytes, 'byte', 'bytes')} on {data.stream}"
    return f"{size}: {code(data.head, _SHOWN)}" if data.head.strip() else size


_SHOWN = 200
"""Characters shown of what a stream held."""


def _leftover(verdict: Verdict) -> Iterator[str]:
    yield "## Processes that outlived the agent"
    yield ""
    entries = []
    for process in verdict.leftover:
        step = f", started in step {code(process.origin_step, 80)}" if process.origin_step is not None else ""
        entries.append(f"pid {process.pid}: {code(' '.join(process.cmdline) or process.exe or 'name not known')}{step}")
    yield from _list(entries, "None.")


def _not_observed(verdict: Verdict) -> Iterator[str]:
    yield "## What was looked for and not observed"
    yield ""
    yield "Rules look for less than can be done: not observed is not the same as not done."
    if verdict.gaps:
        yield "Telemetry is missing besides; see the gaps below."
    yield ""
    yield from _list(
        [f"{code(slug, 80)}: {prose(MEANING.get(slug, 'a category of its own'))}" for slug in verdict.not_observed],
        "Nothing was looked for.",
    )


def _limits(verdict: Verdict) -> Iterator[str]:
    yield "## Gaps in the record"
    yield ""
    yield from _list([f"#{gap.event}: {code(gap.of, 80)}: {code(gap.what)}" for gap in verdict.gaps], "None known.")
    yield "## Limits of this machine"
    yield ""
    yield from _list(
        [f"{code(name, 80)}: {code(what)}" for name, what in sorted(verdict.degraded.items())], "None known."
    )


def _responses(verdict: Verdict) -> Iterator[str]:
    yield "## Responses"
    yield ""
    entries = []
    for response in verdict.responses:
        cause = response.finding or response.limit
        to = f" to {code(cause, 120)}" if cause else ""
        entries.append(f"#{response.event}: {code(response.action, 20)}{to}: {code(response.reason)}")
    yield from _list(entries, "None.")


def _check(verdict: Verdict, story: Story) -> Iterator[str]:
    yield "## How to check this"
    yield ""
    yield "This page is derived from the journal beside it and proves nothing by itself. In the folder that holds it:"
    yield ""
    yield "```text"
    yield "proctor verify ."
    yield "proctor replay ."
    yield "```"
    yield ""
    size = counted(verdict.journal.events, "event", "events")
    checkpoints = counted(story.checkpoints, "checkpoint", "checkpoints")
    yield f"- {size}, head {code(verdict.journal.head, 80)}, {checkpoints}"
    if story.opened is not None:
        key = story.opened.data.key
        shown = _fingerprint(key)
        yield f"- signed by {code(key, 80)}{shown}, a key that travels with the record: compare it with one you trust"
    yield f"- Proctor {code(verdict.proctor.version, 40)}, rules {code(verdict.proctor.rules_digest, 80)}"
    yield "- times are seconds since the first event"
    yield "- what a process asked for was read before its call went on, and another thread could have changed it since;"
    yield "  the record calls such events `racy`"


def _fingerprint(key: str) -> str:
    try:
        return f" (fingerprint {fingerprint(bytes.fromhex(key))})"
    except ValueError:
        return ""
