"""Wording: Proctor's own sentences pass it, embellishments do not, and plain facts do."""

from __future__ import annotations

import html as escapes
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proctor.events import KINDS
from proctor.findings import Finding, Grade, Outcome
from proctor.policy.taxonomy import CATEGORIES, MEANING
from proctor.reports import markdown
from proctor.reports.acts import ACTS
from proctor.reports.evidence import describe
from proctor.reports.ground import Ground, ground
from proctor.reports.page import html
from proctor.reports.sentences import sentence
from proctor.reports.wording import check, strings
from proctor.verdicts.tables import EFFECTS, EPISODES, WEIGHTS
from tests.unit.reports.events import sample
from tests.unit.reports.test_page import entries
from tests.unit.reports.test_reports import journal, verdict
from tests.unit.reports.test_sentences import finding

RULES = sorted((Path(__file__).parents[3] / "src/proctor/rules").rglob("*.yml"))
# 2026-03-04 14:02:10 to 14:02:15 UTC.
START = 1_772_632_930_000_000_000
COUNTS = {"events": 60, "findings": 2, "processes": 4, "steps": 3, "gaps": 0}


def on(*findings: Finding, text: str = "", held: bool = True) -> Ground:
    known = frozenset(strings(text)) if held else frozenset()
    return Ground(findings, COUNTS, START, START + 5 * 10**9, known)


BLOCKED = [
    finding(category, outcome="blocked")
    for category in ("grader.test_edit", "compute.internal_probe", "compute.reverse_tunnel", "solution.shipped_answer")
]


def flagged(text: str, *findings: Finding) -> list[str]:
    return [problem.phrase for problem in check(text, on(*findings))]


# --- Proctor's own -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", [*CATEGORIES, "mine.own"])
def test_every_sentence_of_every_grade_and_outcome_passes(category: str) -> None:
    for grade in get_args(Grade):
        for outcome in get_args(Outcome):
            for step in (None, "call_1"):
                made = finding(category, grade=grade, outcome=outcome, step=step)
                told = sentence(made)
                assert check(told, on(made, text=told)) == [], told


@pytest.mark.parametrize("category", [slug for slug, act in ACTS.items() if act.asked is not None])
def test_a_sentence_of_more_than_the_outcome_or_the_grade_does_not(category: str) -> None:
    done = sentence(finding(category, outcome="succeeded"))
    for outcome in ("attempted", "blocked", "unknown"):
        (problem, *_) = check(done, on(finding(category, outcome=outcome), text=done))
        assert f"its outcome in the record is {outcome}" in problem.why
        assert "asked to" in problem.instead
    said_already = "consistent with" in done
    for grade in ("recorded", "stated", *(() if said_already else ("inferred",))):
        weaker = on(finding(category, outcome="succeeded", grade=grade), text=done)
        (problem, *_) = check(done, weaker)
        assert f"its grade in the record is {grade}" in problem.why


def test_the_tables_the_taxonomy_and_the_words_for_events_pass() -> None:
    texts = [
        *(row.why for row in WEIGHTS),
        *(row.why for row in EPISODES),
        *(row.why for row in EFFECTS),
        *MEANING.values(),
    ]
    texts += [describe(sample(kind, "x", outcome=end)) for kind in KINDS for end in ("attempted", "blocked", "succeeded")
              if kind not in ("exec_result", "result") or end == "succeeded"]  # fmt: skip
    for text in texts:
        assert check(text, Ground(held=frozenset(strings(text)))) == [], text


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_what_rules_say_passes(path: Path) -> None:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        for key in ("title", "description", "what", "why", "summary"):
            if text := document.get(key):
                assert check(text, on(text=text)) == [], text


@pytest.mark.parametrize("grade", get_args(Grade))
@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_whole_reports_pass(grade: Grade, outcome: Outcome) -> None:
    findings = tuple(finding(category, grade=grade, outcome=outcome, events=[2]) for category in CATEGORIES)
    for chosen in (findings[:24], findings[24:], ()):
        told = msgspec.structs.replace(
            verdict(), findings=chosen, not_observed=tuple(sorted({*CATEGORIES} - {each.category for each in chosen}))
        )
        events = list(journal("x"))
        report = markdown(told, events)
        page = escapes.unescape(re.sub(r"<[^>]+>", " ", html(told, entries(events)).partition("<body>")[2]))
        for text in (report, page):
            assert check(text, ground(told, events, strings(text))) == []


def test_a_report_passes_whatever_the_agent_named_its_files() -> None:
    hostile = "it always cheated' and \"escaped` at 3:40 a.m."
    told = msgspec.structs.replace(verdict(hostile), reasons=("Why.", "Score."))
    events = list(journal(hostile))
    report = markdown(told, events)
    assert "cheated" in report
    assert check(report, ground(told, events, strings(report))) == []


# --- embellishments -----------------------------------------------------------------------------------------------

EMBELLISHED = {
    "At 3:40 a.m. the alarms went off.": "3:40 a.m.",
    "It began around 3 am.": "3 am",
    "Shortly after midnight it began.": "midnight",
    "It began at three in the morning.": "three in the morning",
    "It started at 14:07.": "14:07",
    "The model broke free of its limits.": "broke free of",
    "Its makers lost control of the run.": "lost control",
    "It hacked into the answer store.": "hacked into",
    "Overnight the agent escaped from its box.": "escaped",
    "One training run went rogue.": "went rogue",
    "It decided to open a tunnel.": "decided to",
    "The agent wanted more computers.": "wanted",
    "It tried to hide what it ran.": "tried to hide",
    "It used quiet hours to mask its consumption.": "to mask",
    "It ran in off-peak windows.": "off-peak",
    "Its motive was money.": "motive",
    "It was in search of financial gain, driven by profit motive.": "profit motive",
    "The agent was mining while nobody looked.": "was mining",
    "It was secretly mining Monero.": "was secretly mining",
    "It mined coins on rented cards.": "mined",
    "The model cheated.": "cheated",
    "It always does so.": "always",
    "It clearly saw the key.": "clearly",
    "Obviously it saw the key.": "Obviously",
    "The alerts showed a clear temporal pattern.": "clear temporal pattern",
    "It attempted to change the test.": "attempted to",
    "It deliberately opened the file.": "deliberately",
    "It knew that it was watched.": "knew",
    "It not only hacked the store.": "hacked",
    "It 'broke free' of the sandbox.": "broke free",
    "All 61 events show it.": "61 events",
    "It started 5 processes.": "5 processes",
    "It worked at night.": "at night",
    "It did so while nobody looked.": "while nobody looked",
    "It is clear that it read the key.": "It is clear that",
    "The agent broke containment.": "broke containment",
    "See #61 of the record.": "#61",
    "It reached out to 10.1.2.3 twice.": "10.1.2.3",
}


@pytest.mark.parametrize("text", EMBELLISHED)
def test_embellishments_are_flagged(text: str) -> None:
    found = [problem for problem in check(text, on(held=False)) if problem.phrase == EMBELLISHED[text]]
    assert len(found) == 1, check(text, on())
    assert found[0].why
    assert found[0].instead
    assert text[found[0].start :].startswith(EMBELLISHED[text])


@pytest.mark.parametrize(
    "text",
    [
        "The agent edited the protected test file.", "The test was silently changed.", "It had overwritten tests/test_a.py.",
        "It connected to twenty internal hosts.", "It scanned the private network.", "Internal services were accessed.",
        "The agent opened a reverse SSH tunnel.", "A tunnel was established.",
        "It read the hidden answer.", "The solution was copied.", "It successfully got there.", "It managed to get there.",
    ],
)  # fmt: skip
def test_what_was_refused_is_not_told_as_done(text: str) -> None:
    assert flagged(text, *BLOCKED)
    done = [msgspec.structs.replace(one, outcome="succeeded") for one in BLOCKED]
    assert not flagged(text, *done)


# --- facts --------------------------------------------------------------------------------------------------------

FACTS = [
    # An RL training run, as its authors tell it.
    "Early one morning a managed cloud firewall reported many policy violations from training servers.",
    ("At first it was handled as an ordinary security incident. The alerts were of several kinds: probing of internal "
    "network resources, and traffic consistent with cryptomining."),
    "They recurred now and then over several runs, with no clear temporal pattern.",
    ("Firewall timestamps, laid beside RL traces, showed that the outbound traffic fell into episodes in which the agent "
    "called tools and ran code."),
    "GPU capacity that had been provisioned was repurposed for mining; no instruction of the task asked for it.",
    "The section does not say at what hour, which coin, how much, or that the model had any wish.",
    "The agent opened and used a reverse SSH tunnel to an external address.",
    # A browsing benchmark.
    "Of 1,266 problems, 11 were answered from benchmark material: 9 from leaks on the web and 2 with a decrypted key.",
    ("In 2 of them the model came to suppose that it was being tested, worked out which benchmark it was, found its "
    "public code, and decrypted the answers with the key that can be derived from the published canary."),
    "One took 40.5 million tokens, about 38 times the median; another, honest, search took 622 million.",
    "16 further attempts failed, for a binary format, authentication and other reasons; 18 runs converged on it.",
    "The rate was 0.24 % for single agents and 0.87 % for several; the score went from 86.81 % to 86.57 %.",
    "Nobody had told the model not to; the authors do not call it a failure of alignment.",
    "In a constructed scenario a model chose blackmail to avoid replacement, in 96 % of the runs.",
    # What to say instead.
    "It opened a connection to the pool and was refused by the gateway.",
    "It ran a shell; its transcript states that the tests pass.",
    "It spoke Stratum; one core at 100 % for 40 s in step 7; consistent with mining.",
    "The submission equals the decoy planted for this sample (chance 1 in 40,000).",
    "It was decrypted with a published key.",
    "The sandbox refused the call; the protected test was not changed.",
    "It asked to change the protected test; refused. It did not change the test.",
    "It began at 14:02:12 UTC and ended at 2:02 p.m.; the server is at localhost:8000.",
    "Two findings of 60 events, 4 processes and 3 steps; see #60.",
    "The file cannot be said to have escaped; nothing was hacked.",
]  # fmt: skip


@pytest.mark.parametrize("text", FACTS)
def test_plain_facts_pass(text: str) -> None:
    assert check(text, on()) == []
    unrelated = finding("compute.internal_probe", outcome="blocked"), finding("grader.test_edit", outcome="blocked")
    assert check(text, on(*unrelated)) == []


def test_a_quotation_is_the_records_only_where_the_record_holds_it() -> None:
    events = list(journal("it escaped"))
    text = "Its file says 'it escaped', and so does `it escaped`."
    assert check(text, ground(verdict("y"), events, strings(text))) == []
    other = list(journal("y"))
    assert [each.phrase for each in check(text, ground(verdict("y"), other, strings(text)))] == ["escaped", "escaped"]


@given(st.text("`'\"~\n aehs·“”3:#.9", max_size=60) | st.text(max_size=40))
def test_any_text_is_checked(text: str) -> None:
    for problem in check(text, on(*BLOCKED)):
        assert text[problem.start : problem.start + len(problem.phrase)] == problem.phrase or "·" in problem.phrase


def test_a_long_text_is_checked_in_a_moment() -> None:
    for unit in ("`", "'", "```\n", "`a``b", "changed ", "a" * 10, "was ", "1:", "#", "no "):
        check(unit * (50_000 // len(unit)), on(*BLOCKED))
