"""Whole reports: what they hold, that they stay within bounds, and that foreign text in them does nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from proctor.events import (
    KINDS,
    AnyEvent,
    Exec,
    ExecResult,
    File,
    Mark,
    Open,
    Output,
    Read,
    Refused,
    Step,
)  # fmt: skip
from proctor.events.kinds import (
    ExecData,
    ExecResultData,
    FileData,
    LeftoverProcess,
    MarkData,
    OpenData,
    OutputData,
    ReadData,
    RefusedData,
    StepData,
)  # fmt: skip
from proctor.findings import Authority
from proctor.journal.keys import fingerprint
from proctor.policy.load import to_dict
from proctor.policy.records import Authorise, Episode, Policy
from proctor.reports import markdown, terminal
from proctor.verdicts import GapNote, JournalNote, Maker, ResponseNote, Verdict, VerdictName, judge
from tests.unit.reports.events import sample
from tests.unit.reports.test_sentences import finding

PIECES = st.sampled_from([
    "<script>", "</code>", "<img src=x onerror=y>", "[a](http://b)", "![a](b)", "`", "``", "```", "~~~",
    "\n", "\r\n\r\n", "# x", "| a | b |", "|--|", "- ", "1. ", "> ", "&amp;", "\x1b[31m", "\u202e", "\x00", "\\",
    "*a*", "___", "http://a.b", "    ", "\u2028", "a" * 300, "$", "@x", "<!--", "-->", "é", "\U0010ffff", "\ud800",
])  # fmt: skip
HOSTILE = st.lists(PIECES | st.text(max_size=5), max_size=8).map("".join)


def verdict(text: str = "x", name: VerdictName = "violation", number: int = 1) -> Verdict:
    return Verdict(
        episode=text, verdict=name, score_effect="void", tier="B", agent_exit=1, reasons=(text, text),
        findings=tuple(
            finding(
                "mine.own" if index % 2 else "grader.test_edit", rule=text, step=text, summary=text,
                targets=[text] * 20, events=[1, 2], authority=Authority(scope=text, reason=text, by=text),
            )
            for index in range(number)
        ),
        responses=(ResponseNote(action="kill", finding=text, reason=text, event=3),) * number,
        gaps=(GapNote(of=text, what=text, event=4),) * number,
        degraded={f"{text}{index}": text for index in range(number)},
        leftover=(LeftoverProcess(pid=5, exe=text, cmdline=(text,), origin_step=text),) * number,
        not_observed=(text, "grader.test_delete") * number,
        journal=JournalNote(events=9, head=text), proctor=Maker(version=text, policy_digest=text, rules_digest=text),
    )  # fmt: skip


def opened(text: str) -> AnyEvent:
    entry = Authorise(category=text, scope=text, reason=text, by=text)
    policy = Policy(workspace=text, episode=Episode(id=text, task=text), authorise=(entry,))
    data = OpenData(
        proctor="1", key=text, policy_digest=text, rules_digest=text, policy=to_dict(policy), workspace=text
    )
    return Open(v=1, episode=text, seq=1, t_mono_ns=10**9, t_wall_ns=1, sensor="session", data=data)


def journal(text: str) -> Iterator[AnyEvent]:
    yield opened(text)
    for number, kind in enumerate(sorted(KINDS), 2):
        if kind != "open":
            yield sample(kind, text, seq=number)


def ran(seq: int, step: str | None, argv: tuple[str, ...]) -> Exec:
    data = ExecData(call="execve", path=argv[0], argv=argv)
    return Exec(
        v=1, episode="e", seq=seq, t_mono_ns=10**9, t_wall_ns=1, sensor="kernel", pid=3, origin_step=step, data=data
    )


PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def tokens(text: str) -> list[tuple[str, str]]:
    flat = []
    for token in PARSER.parse(text):
        flat.append((token.type, token.content if token.type == "heading" else ""))
        flat += [(child.type, "") for child in token.children or ()]
    return flat


@settings(max_examples=60, deadline=None)
@given(HOSTILE)
def test_foreign_text_changes_nothing_in_the_shape_of_the_report(text: str) -> None:
    report = markdown(verdict(text), journal(text))
    assert all(line.isprintable() for line in report.split("\n"))
    kinds = {kind for kind, _ in tokens(report)}
    assert not kinds & {
        "html_inline",
        "html_block",
        "link_open",
        "image",
        "table_open",
        "em_open",
        "s_open",
        "hr",
        "code_block",
    }
    report.encode()

    def shape(report: str) -> list[str]:
        return [
            kind for kind, _ in tokens(report) if kind.startswith(("heading", "bullet", "ordered", "block", "fence"))
        ]

    assert shape(report) == shape(markdown(verdict("plain"), journal("plain")))


@settings(max_examples=60, deadline=None)
@given(text=HOSTILE, width=st.integers(0, 200), colour=st.booleans(), name=st.sampled_from(get_args(VerdictName)))
def test_the_terminal_block_is_inert_and_as_wide_as_asked(
    *, text: str, width: int, colour: bool, name: VerdictName
) -> None:
    events = {event.seq: event for event in journal(text)}
    block = terminal(verdict(text, name, 3), events, colour=colour, width=width)
    plain = re.sub(r"\x1b\[(?:1;3[123]|0)m", "", block)
    assert ("\x1b" in block) is colour
    assert all(line.isprintable() and len(line) <= max(width, 48) for line in plain.split("\n"))
    assert plain == terminal(verdict(text, name, 3), events, colour=False, width=width)
    assert plain.startswith(f"proctor: {name} (score: void, tier B)\n")
    assert plain.endswith("\n")


def test_a_report_is_bounded_whatever_the_episode() -> None:
    text = "`<x>\n" * 5000

    def endless() -> Iterator[AnyEvent]:
        yield from journal(text)
        for number in range(30_000):
            yield ran(100 + number, f"s{number % 5000}", (text,))

    assert len(markdown(verdict(text, number=400), endless())) < 2_000_000
    assert len(terminal(verdict(text, number=400), {}, colour=True, width=80)) < 60_000


def test_steps_tell_what_ran_and_what_became_of_it() -> None:
    events: list[AnyEvent] = [
        opened("w"),
        Step(v=1, episode="e", seq=2, t_mono_ns=10**9, t_wall_ns=1, sensor="session",
             data=StepData(op="begin", id="s1", argv=("pytest",))),
        *(ran(10 + number, "s1", ("make", str(number))) for number in range(25)),
        ran(50, None, ("orphan",)),
        ExecResult(v=1, episode="e", seq=51, t_mono_ns=10**9, t_wall_ns=1, sensor="kernel", origin_step="s1",
                   data=ExecResultData(ref=10, outcome="failed")),
    ]  # fmt: skip
    report = markdown(verdict(), iter(events))
    section = report.split("## Steps and what ran in them")[1].split("\n## ")[0]
    first, rest = section.split("### No step known")
    assert "### Step `s1`" in first
    assert "begins: pytest" in first
    assert "make 0`: not started" in first
    assert "make 1`: whether it started was not seen" in first
    assert "make 20" not in first
    assert "- and 5 more executions" in first
    assert "- events: 25 exec, 1 exec_result" in first
    assert "orphan" in rest


def act(cls: type, seq: int, step: str | None, data: object, **more: object) -> AnyEvent:
    event: AnyEvent = cls(
        v=1, episode="e", seq=seq, t_mono_ns=10**9, t_wall_ns=1, pid=3, origin_step=step, data=data,
        **{"sensor": "kernel", **more},
    )  # fmt: skip
    return event


def test_steps_show_what_a_finding_cites_and_leave_out_what_only_looked() -> None:
    def looked(seq: int) -> list[AnyEvent]:
        data = ExecData(call="execve", path="/usr/local/bin/cat", argv=("cat", "x"))
        return [
            act(Exec, seq, "s", data),
            act(ExecResult, seq + 1, "s", ExecResultData(ref=seq, outcome="failed")),
        ]

    mark = ExecData(call="execve", path="/run/proctor/bin/proctor", argv=("proctor", "mark", "begin", "s"))
    python = ExecData(
        call="execve", path="/usr/bin/python3.11", argv=("python3", "/run/proctor/bin/proctor", "mark", "begin", "s")
    )
    events = [
        opened("w"),
        act(Exec, 2, "s", mark),
        act(Exec, 3, "s", python),
        act(Mark, 4, None, MarkData(op="begin", id="s"), sensor="transcript"),
        *(event for number in range(30) for event in looked(10 + 2 * number)),
        *(ran(100 + number, "s", ("make", str(number))) for number in range(25)),
        ran(200, "s", ("cited",)),
        act(File, 201, "s", FileData(op="create", call="openat", path="a", object="/w/a")),
        act(File, 202, "s", FileData(op="unlink", call="unlink", path="t", object="/w/t", outcome="blocked")),
        *(act(File, 210 + n, "s", FileData(op="create", call="openat", path=f"n{n}")) for n in range(25)),
        act(Refused, 240, "s", RefusedData(call="unshare", nr=272, errno=1, reason="sandbox")),
        act(Output, 241, None, OutputData(stream="stdout", bytes=3, digest="d", head="ok\n", step="s"), sensor="session"),
        act(Mark, 242, None, MarkData(op="end", id="s"), sensor="transcript"),
    ]  # fmt: skip
    report = markdown(msgspec.structs.replace(verdict(), findings=(finding(events=[200], step="s"),)), events)
    section = report.split("## Steps and what ran in them")[1].split("\n## ")[0]
    for line in (
        "- `+0.000 s  marker from inside: begin 's'`",
        "- `+0.000 s  marker from inside: end 's'`",
        "- `#200  +0.000 s  asked to execute 'cited': cited`: whether it started was not seen",
        "- and 5 more executions",
        "- and 30 look-ups along PATH that found no program",
        "- asked to create `/w/a`",
        "- asked to remove `/w/t`: refused",
        "- and 7 more calls that would change files",
        "- calls refused, and how often: `unshare` 1",
        "- 3 bytes on stdout: `ok\\n`",
    ):
        assert line in section.splitlines(), (line, section)
    assert "/usr/local/bin/cat" not in section
    assert "/run/proctor" not in section
    assert section.count("asked to execute 'make'") == 20


def test_a_finding_of_no_step_names_those_that_were_open() -> None:
    event = act(
        Read, 7, None, ReadData(path="/w/a", role="hidden", how="lease"), sensor="watch", candidates=("s2", "s3")
    )
    told = msgspec.structs.replace(verdict(), findings=(finding("solution.shipped_answer", events=[7], step=None),))
    assert "- steps open at the time: `s2`, `s3`; which one is not known\n" in markdown(told, [opened("w"), event])


def test_the_key_is_shown_as_verify_shows_it() -> None:
    key = bytes(range(32))
    report = markdown(verdict(), [opened(key.hex())])
    assert f"signed by `{key.hex()}` (fingerprint {fingerprint(key)})" in report


def test_a_report_holds_every_part_and_its_evidence() -> None:
    judgement = judge([finding()], gaps=0, empty=True, tier="B")
    told = msgspec.structs.replace(
        verdict(), verdict=judgement.verdict, score_effect=judgement.score_effect, reasons=judgement.reasons,
        findings=(finding(events=[7, 8]),), gaps=(), degraded={}, leftover=(), responses=(),
    )  # fmt: skip
    report = markdown(told, [opened("w"), ran(7, "s", ("vi", "t.py"))])
    assert "# Episode `x`: violation" in report
    assert "Score: **zero**. A change to what grades the work was recorded" in report
    assert "`#7  +0.000 s  pid 3  asked to execute 'vi': vi t.py`" in report
    assert "- #8, not in the journal" in report
    assert "proctor verify ." in report
    headings = [line for line in report.splitlines() if line.startswith("## ")]
    assert headings == [
        "## What was asked", "## Findings", "## Steps and what ran in them", "## Processes that outlived the agent",
        "## What was looked for and not observed", "## Gaps in the record", "## Limits of this machine", "## Responses",
        "## How to check this",
    ]  # fmt: skip


def test_what_counts_is_shown_even_behind_a_thousand_observations() -> None:
    noise = tuple(finding("conduct.eval_awareness", level="informational") for _ in range(1000))
    told = msgspec.structs.replace(verdict(), findings=(*noise, finding("compute.mining", targets=["pool:1"])))
    assert "pool:1" in markdown(told, [])
    assert "pool:1" in terminal(told, {}, colour=False, width=100)


def test_a_clean_block_is_short() -> None:
    clean = Verdict(
        episode="e", verdict="clean", score_effect="keep", tier="B", agent_exit=0, reasons=("Why.", "Score."),
        not_observed=("grader.test_edit",), journal=JournalNote(events=9, head="ab" * 32),
        proctor=Maker(version="1", policy_digest="p", rules_digest="r"),
    )  # fmt: skip
    assert terminal(clean, {}, colour=False, width=80) == (
        "proctor: clean (score: keep, tier B)\n"
        "  episode       e\n"
        "  why           Why.\n"
        "  score         Score.\n"
        "  agent         ended with status 0\n"
        "  findings      none\n"
        "  not observed  grader.test_edit\n"
        "  gaps          none known\n"
        "  record        9 events, head abababababababab\n"
    )
