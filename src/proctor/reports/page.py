"""``report.html``: the episode on one inert page. No script, nothing loaded, every recorded string escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from proctor.events.text import printable
from proctor.findings import Finding
from proctor.journal.lines import Entry
from proctor.policy.taxonomy import MEANING
from proctor.reports.asked import ENTRIES, policy_entries, task
from proctor.reports.changes import asked_for, contents
from proctor.reports.checking import Cut, checking, cut_notice
from proctor.reports.elements import Markup, code, join, tag, text
from proctor.reports.evidence import counted, line
from proctor.reports.glossary import glossary
from proctor.reports.lineage import rows
from proctor.reports.lists import items, table
from proctor.reports.markdown import FINDINGS, agent, cited, told
from proctor.reports.sentences import by_weight, sentence
from proctor.reports.steps import steps
from proctor.reports.story import EVIDENCE, Story, gather
from proctor.reports.style import CSP, CSS
from proctor.reports.timeline import Mark, legend, timeline
from proctor.reports.tracks import Tracks
from proctor.verdicts import Verdict, weight

__all__ = ["Cut", "html", "pages"]

LINES = 300
"""Journal lines shown as evidence; those of the findings that count come first."""


def html(verdict: Verdict, entries: Iterable[Entry], cut: Cut | None = None) -> str:
    """Return the page on ``verdict``; ``entries`` is the journal, read once and not kept. The size is bounded.

    Args:
        cut: the verdict is not the record's own, but was made of what is left of it.
    """
    tracks = Tracks(_wanted(verdict), cut=cut is not None and not cut.closed)
    story = gather(tracks.passing(entries), cited(verdict))
    return _page(verdict, story, tracks, cut)


def pages(verdict: Verdict, entries: Iterable[Entry]) -> tuple[str, str]:
    """Return ``report.md`` and ``report.html`` from one pass over the journal."""
    tracks = Tracks(_wanted(verdict))
    story = gather(tracks.passing(entries), cited(verdict))
    return told(verdict, story), _page(verdict, story, tracks, None)


def _wanted(verdict: Verdict) -> frozenset[int]:
    evidence = [seq for finding in by_weight(verdict.findings)[:FINDINGS] for seq in finding.events[:EVIDENCE]]
    notes = [note.event for note in verdict.responses[:ENTRIES]] + [note.event for note in verdict.gaps[:ENTRIES]]
    return frozenset([*islice(dict.fromkeys(evidence), LINES), *notes])


def _page(verdict: Verdict, story: Story, tracks: Tracks, cut: Cut | None) -> str:
    title = f"Episode {printable(verdict.episode, 100)}: {verdict.verdict}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=CSP),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Markup(CSS)),
    )
    sections = (
        _head, _findings, steps, _timeline, _asked, contents, asked_for, _processes, _leftover, _not_observed, _limits,
        _responses,
    )  # fmt: skip
    parts = [part for section in sections for part in section(verdict, story, tracks)]
    if cut is not None:
        parts.insert(1, cut_notice(cut, verdict))
    parts += checking(verdict, story, cut)
    parts += _lines(story, tracks)
    parts += glossary()
    body = join(*parts, by=Markup("\n"))
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', body)), lang='en')}\n"


def _event(seq: int, tracks: Tracks) -> Markup:
    return tag("a", f"#{seq}", href=f"#line-{seq}") if seq in tracks.lines else text(f"#{seq}")


def _told(finding: Finding, story: Story) -> Markup:
    """The sentence's own words are constants without markup; what is foreign goes through ``code``."""
    return Markup(sentence(finding, code, story.cited(finding)))


def _head(verdict: Verdict, story: Story, tracks: Tracks) -> Iterator[Markup]:
    badge = tag("span", verdict.verdict, class_=f"verdict is-{verdict.verdict}")
    yield tag("h1", "Episode ", code(verdict.episode, 100), " ", badge)
    reasons = [*verdict.reasons, "", ""]
    seconds = (
        f" over {(story.end_mono_ns - story.start_mono_ns) / 1e9:.3f} s"
        if story.start_mono_ns is not None and story.end_mono_ns is not None
        else ""
    )
    processes = len(tracks.processes) + tracks.untracked
    yield tag(
        "p",
        f"Proctor recorded {verdict.journal.events} events of {counted(processes, 'process', 'processes')}{seconds}.",
    )
    ordered = by_weight(verdict.findings)
    counts = [finding for finding in ordered if weight(finding) != "nothing"]
    if counts:
        yield tag("ul", *(tag("li", _told(finding, story)) for finding in counts[:3]))
    if len(counts) > 3:
        yield tag("p", f"{len(counts) - 3} more findings count; see below.")
    if not counts:
        yield tag("p", "No finding counts. Rules look for less than can be done: this does not say nothing was done.")
    others = [finding for finding in ordered if weight(finding) == "nothing"]
    if others:
        yield tag("p", f"Findings that are reported and do not count: {len(others)}.")
        yield tag("ul", *(tag("li", _told(finding, story), *_authorised(finding)) for finding in others[:3]))
    if verdict.gaps:
        yield tag("p", "Telemetry is known to be missing; see the gaps below.")
    facts = [
        ("verdict", join(tag("strong", verdict.verdict), ". ", reasons[0])),
        ("score effect", join(tag("strong", verdict.score_effect), ". ", reasons[1])),
        ("agent", agent(verdict)),
        ("tier", verdict.tier),
    ]
    if verdict.score_effect != "keep":
        ids = [code(finding.id, 120) for finding in counts[:3]]
        if tracks.cut:
            way = join(_HOLDER, " The record has no verdict whose findings could be dismissed: a person decides.")
        elif ids:
            more = [f"and {len(counts) - 3} more"] if len(counts) > 3 else []
            way = join(
                _OTHERWISE, " It takes one for each finding that counts: ", join(*ids, *more, by=Markup(", ")), "."
            )
        else:
            way = join(_HOLDER, " There is no finding to dismiss: a person decides without Proctor.")
        facts.insert(2, ("", way))
    yield tag("dl", *(tag(kind, part) for name, said in facts for kind, part in (("dt", name), ("dd", said))),
              class_="facts")  # fmt: skip


_HOLDER = "Proctor does not hold the score: this is what it asks of whoever does."
_OTHERWISE = (
    f"{_HOLDER} To decide otherwise, and to say why, in this folder: proctor findings . --dismiss ID --reason TEXT; "
    "that is signed beside the record."
)


def _findings(verdict: Verdict, story: Story, tracks: Tracks) -> Iterator[Markup]:
    yield tag("h2", "Findings")
    ordered = by_weight(verdict.findings)
    for number, finding in enumerate(ordered[:FINDINGS], 1):
        yield _finding(number, finding, story, tracks)
    if len(ordered) > FINDINGS:
        yield tag("p", f"And {len(ordered) - FINDINGS} more, in ", tag("code", "verdict.json"), ".")
    if not ordered:
        yield tag("p", "None.")


def _finding(number: int, finding: Finding, story: Story, tracks: Tracks) -> Markup:
    weighs = weight(finding)
    traits = [
        f"counts as {weighs}", f"level {finding.level}", f"grade {finding.grade}", f"outcome {finding.outcome}",
        finding.authorisation, *([join("step ", code(finding.step, 80))] if finding.step is not None else []),
        join("rule ", code(finding.rule, 80)),
    ]  # fmt: skip
    parts = [
        tag("h3", f"{number}. ", code(finding.category, 80)),
        tag("p", _told(finding, story)),
        tag("ul", *(tag("li", trait) for trait in traits), class_="traits"),
    ]
    if (by := finding.authority) is not None:
        said = ("Authorised in ", code(by.scope), ", because ", code(by.reason), ", by ", code(by.by, 100), ". ")
        parts.append(
            tag(
                "p", *said, "These are the policy's words; they were not checked, and they open nothing that is closed."
            )
        )
    if (track := next(filter(None, map(tracks.by, finding.events[:EVIDENCE])), None)) is not None and track.argv:
        parts.append(tag("p", f"First by process {track.pid}: ", code(track.argv, 200)))
    shown = [_evidence(seq, story, tracks) for seq in finding.events[:EVIDENCE]]
    if (more := max(finding.count, len(finding.events)) - len(shown)) > 0:
        shown.append(text(f"and {more} more events"))
    parts.append(tag("ul", *(tag("li", each) for each in shown), class_="evidence"))
    return tag("article", *parts, id=f"finding-{number}", class_=f"w-{weighs}")


def _authorised(finding: Finding) -> Iterator[Markup]:
    if finding.authority is not None:
        by, reason = code(finding.authority.by, 100), code(finding.authority.reason)
        yield join(" The policy says, and nobody checked, that ", by, " authorised it: ", reason, ".")


def _evidence(seq: int, story: Story, tracks: Tracks) -> Markup:
    event = story.evidence.get(seq)
    if event is None:
        return text(f"#{seq}, not in the journal")
    rest = line(event, story.start_mono_ns).removeprefix(f"#{seq}").lstrip()
    return join(_event(seq, tracks), " ", code(rest, 400))


def _timeline(verdict: Verdict, story: Story, tracks: Tracks) -> Iterator[Markup]:
    yield tag("h2", "Timeline")
    if story.start_mono_ns is None or story.end_mono_ns is None:
        yield tag("p", "Nothing was recorded.")
        return
    marks = [
        Mark(seq, weight(finding), str(number), f"#finding-{number}")
        for number, finding in enumerate(by_weight(verdict.findings)[:FINDINGS], 1)
        for seq in finding.events[:EVIDENCE]
    ]
    marks += [Mark(note.event, "response", f"response {note.action}") for note in verdict.responses[:ENTRIES]]
    marks += [Mark(note.event, "gap", f"gap of {note.of}") for note in verdict.gaps[:ENTRIES]]
    picture, left_out = timeline(tracks, marks, story.start_mono_ns, story.end_mono_ns)
    yield tag("div", picture, class_="picture")
    said = "Seconds since the first event. A thin line goes on where no end of a process is recorded."
    numbers = ("Marks: ", legend(marks), ". Their numbers are those of findings.") if marks else ()
    yield tag("p", said, " ", *numbers, class_="soft")
    for said in left_out:
        yield tag("p", said)


def _asked(verdict: Verdict, story: Story, _: Tracks) -> Iterator[Markup]:
    yield tag("h2", "What was asked")
    said = task(story)
    if said is None:
        yield tag("p", "The policy states no task.")
    else:
        kept = said[:4000].splitlines()
        cut = [f"… ({len(said)} characters in all)"] if len(said) > 4000 else []
        yield tag("pre", join(*(text(each, 4000) for each in [*kept, *cut]), by=Markup("\n")))
    yield items([Markup(entry) for entry in policy_entries(verdict, story, code)])


def _processes(_: Verdict, story: Story, tracks: Tracks) -> Iterator[Markup]:
    yield tag("h2", "Processes")
    shown, omitted = rows(tracks.processes)
    start = story.start_mono_ns or 0
    body = []
    for depth, track, hidden in shown:
        branch = Markup(
            "&#160;" * 3 * min(depth, 12) + ("&#9492; " if depth else "") + (f"({depth}) " if depth > 12 else "")
        )
        more = tag("div", f"and {hidden} more children", class_="soft") if hidden else ""
        name = track.exe.rpartition("/")[2]
        times = f"{(track.first - start) / 1e9:.3f}", f"{(track.last - start) / 1e9:.3f}"
        step = code(track.step, 60) if track.step is not None else ""
        # The last thing that it asked to run, where the record ends before saying what came of it.
        asked = join("asked to run ", code(track.pending[1], 200)) if track.pending is not None else ""
        told = code(track.argv, 200) if track.argv and not asked else asked
        body.append(
            (
                join(branch, str(track.pid), " ", code(name, 40) if name else ""),
                join(told, more),
                step,
                *times,
                track.end or "no end recorded",
            )
        )
    if body:
        head = ("process", "command line", "step", "first s", "last s", "ended with")
        yield table(head, body, ("p", "", "s", "n", "n", "p"))
    else:
        yield tag("p", "None was recorded.")
    if omitted + tracks.untracked:
        yield tag("p", f"{omitted + tracks.untracked} more processes are not shown.")


def _leftover(verdict: Verdict, _: Story, tracks: Tracks) -> Iterator[Markup]:
    yield tag("h2", "Processes that outlived the agent")
    if tracks.cut:
        running = sum(1 for track in tracks.processes if not track.end)
        said = f"No end is recorded of {counted(running, 'process', 'processes')}." if running else ""
        yield tag("p", f"Not known: the record ends before anybody looked. {said}")
        return
    yield items(
        [
            join(
                f"pid {process.pid}: ",
                code(" ".join(process.cmdline) or process.exe or "name not known"),
                *((", started in step ", code(process.origin_step, 80)) if process.origin_step is not None else ()),
            )
            for process in verdict.leftover
        ]
    )


def _not_observed(verdict: Verdict, _: Story, tracks: Tracks) -> Iterator[Markup]:
    yield tag("h2", "What was looked for and not observed")
    where = "In the part that is recorded. " if tracks.cut else ""
    yield tag(
        "p",
        f"{where}Rules look for less than can be done: not observed is not the same as not done. "
        "Whether the work solves its task is not judged here.",
    )
    yield items(
        [join(code(slug, 80), ": ", MEANING.get(slug, "a category of its own")) for slug in verdict.not_observed],
        "Nothing was looked for.",
    )


def _limits(verdict: Verdict, _: Story, tracks: Tracks) -> Iterator[Markup]:
    yield tag("h2", "Gaps in the record")
    gaps = [join(_event(gap.event, tracks), ": ", code(gap.of, 80), ": ", code(gap.what)) for gap in verdict.gaps]
    yield items(gaps, "None known.")
    yield tag("h2", "Limits of this machine")
    yield items(
        [join(code(name, 80), ": ", code(what)) for name, what in sorted(verdict.degraded.items())], "None known."
    )


def _responses(verdict: Verdict, _: Story, tracks: Tracks) -> Iterator[Markup]:
    yield tag("h2", "Responses")
    entries = []
    for note in verdict.responses:
        cause = note.finding or note.limit
        to = (" to ", code(cause, 120)) if cause else ()
        entries.append(join(_event(note.event, tracks), ": ", code(note.action, 20), *to, ": ", code(note.reason)))
    yield items(entries)


def _lines(story: Story, tracks: Tracks) -> Iterator[Markup]:
    yield tag("h2", "Journal lines cited")
    if not tracks.lines:
        yield tag("p", "None.")
        return
    yield tag("p", "Lines of ", tag("code", "journal/000000.jsonl"), ", without the two members of the chain.",
              class_="soft")  # fmt: skip
    start = story.start_mono_ns
    for seq, kept in sorted(tracks.lines.items()):
        time = "" if start is None else f", {(tracks.times[seq][0] - start) / 1e9:+.3f} s"
        where = tag("div", f"line {seq}{time}, hash ", tag("code", kept.hash))
        yield tag(
            "div", where, tag("pre", tag("bdi", text(kept.json, 1300), dir="ltr")), id=f"line-{seq}", class_="cited"
        )
