"""report.html: inert whatever was recorded, within bounds, and nothing in it that the record does not hold."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser

import msgspec
from hypothesis import given, settings

from proctor.events import AnyEvent, Change, Changes, Exec, ExecResult, Exit, File, Process, Step
from proctor.events.kinds import (
    ChangeData,
    ChangesData,
    ContentData,
    ExecData,
    ExecResultData,
    ExitData,
    FileData,
    ProcessData,
    StepData,
)
from proctor.findings import Finding
from proctor.journal.lines import Entry
from proctor.reports import markdown
from proctor.reports.page import html, pages
from proctor.reports.style import CSP, CSS
from proctor.verdicts import Verdict
from tests.unit.reports.test_reports import HOSTILE, journal, opened, verdict
from tests.unit.reports.test_sentences import finding

INERT = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "ul", "li", "dl", "dt", "dd",
    "code", "bdi", "span", "strong", "article", "a", "div", "pre", "table", "thead", "tbody", "tr", "th", "td",
    "svg", "g", "text", "line", "rect", "path", "circle",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "viewbox", "role", "width", "height",
    "x", "y", "x1", "x2", "y1", "y2", "d", "cx", "cy", "r", "text-anchor", "aria-hidden", "dir",
}  # fmt: skip


class Page(HTMLParser):
    """The page as a browser's parser would see it: elements, attributes, text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.shown = ""
        self.comments = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.shown += data

    def handle_comment(self, data: str) -> None:
        self.comments += 1


def entries(events: Iterable[AnyEvent]) -> Iterator[Entry]:
    return (Entry(event.seq, f"{event.seq:064x}", event) for event in events)


@settings(max_examples=60, deadline=None)
@given(HOSTILE)
def test_foreign_text_is_text_only(text: str) -> None:
    stored = text.encode("utf-8", "replace").decode()  # no journal holds a lone surrogate: it would not be JSON
    told = verdict(text, number=3)
    # A step's name links it to its finding, so it is the journal's in both.
    findings = tuple(msgspec.structs.replace(one, step=stored) for one in told.findings)
    made = html(msgspec.structs.replace(told, findings=findings), entries(journal(stored)))
    page = Page(made)
    assert {name for name, _ in page.elements} <= INERT
    assert page.comments == 0
    for _, attributes in page.elements:
        assert set(attributes) <= ATTRIBUTES
        assert (attributes.get("href") or "#").startswith("#")
    assert all(line.isprintable() for line in made.split("\n"))
    made.encode()
    plain = Page(html(verdict("plain", number=3), entries(journal("plain"))))

    def structure(page: Page) -> list[str]:
        return [name for name, _ in page.elements if name in ("h1", "h2", "h3", "article", "table", "pre", "a")]

    assert structure(page) == structure(plain)


def test_nothing_is_loaded_and_one_style_sheet_applies() -> None:
    made = html(verdict(), entries(journal("x")))
    assert "default-src 'none'" in CSP
    assert f"<style>{CSS}</style>" in made
    assert CSP.replace("'", "&#x27;") in made
    assert not re.search(r"url\(|@import|https?:|src=|style=", made)
    assert made.index("Content-Security-Policy") < made.index("<style>")


def test_every_link_leads_to_an_anchor_of_the_page() -> None:
    told = msgspec.structs.replace(verdict(), findings=(finding(events=[1, 2, 77]),))
    page = Page(html(told, entries(journal("x"))))
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = [attributes["href"] or "" for _, attributes in page.elements if "href" in attributes]
    assert {link[1:] for link in links} <= anchors
    assert "#line-2" in links
    assert f"line 2, +4.000 s, hash {2:064x}" in page.shown
    assert "#77, not in the journal" in page.shown


def base(seq: int, pid: int, ppid: int | None = None) -> dict[str, object]:
    return {"v": 1, "episode": "e", "seq": seq, "t_mono_ns": 10**9 + seq * 10**6, "t_wall_ns": 1, "sensor": "kernel",
            "pid": pid, "ppid": ppid, "start_time": pid}  # fmt: skip


def process(seq: int, pid: int, ppid: int | None = None) -> AnyEvent:
    return Process(**base(seq, pid, ppid), data=ProcessData(how="call", cmdline=(f"cmd{pid}",)))  # type: ignore[arg-type]


def changed(seq: int, pid: int, op: str, path: str, outcome: str = "attempted") -> AnyEvent:
    data = FileData(op=op, call="openat", path=path, object=path, role="workspace", outcome=outcome)  # type: ignore[arg-type]
    return File(**base(seq, pid), data=data)  # type: ignore[arg-type]


def sections(made: str) -> dict[str, str]:
    return {part.partition("</h2>")[0]: Page(part).shown for part in made.split("<h2>")[1:]}


def quiet(*findings: Finding) -> Verdict:
    return msgspec.structs.replace(verdict(), findings=findings, responses=(), gaps=())


def test_changes_are_counted_as_asked_for() -> None:
    events = [
        opened("/w"), process(2, 5), changed(3, 5, "create", "/w/a"), changed(4, 5, "open_write", "/w/a"),
        changed(5, 5, "open_write", "/w/a"), changed(6, 5, "unlink", "/w/tests/t", "blocked"),
        changed(7, 5, "create", "/wother/x"), changed(8, 5, "memfd", "/w/m"),
    ]  # fmt: skip
    told = sections(html(quiet(), entries(events)))["Calls that would change the workspace"]
    assert "Asked to: create 1, open for writing 2, remove 1; on 2 paths; 1 of the calls refused." in told
    assert "acreate, open for writing 2 times" in told
    assert "tests/tremove1" in told
    assert "Outside the workspace: 1 call, on /wother/x." in told


def test_what_files_held_is_shown_with_its_lines() -> None:
    def held(seq: int, change: str, text: str | None, *, cut: bool = False) -> AnyEvent:
        data = ChangeData(path=f"/w/{change}", change=change, after=ContentData(bytes=5, sha256="ab" * 32), text=text, cut=cut)  # type: ignore[arg-type]  # fmt: skip
        return Change(v=1, episode="e", seq=seq, t_mono_ns=1, t_wall_ns=1, sensor="session", data=data)

    totals = ChangesData(made=1, modified=1, unchanged=2)
    events = [
        opened("/w"), held(2, "made", None), held(3, "modified", "@@ -1 +1 @@\n-<b>\n+\u202eb", cut=True),
        Changes(v=1, episode="e", seq=4, t_mono_ns=1, t_wall_ns=1, sensor="session", data=totals),
    ]  # fmt: skip
    told = sections(html(quiet(), entries(events)))["Changes in the workspace"]
    assert "1 made, 1 modified, 2 opened or replaced, and the same at the end." in told
    assert "mademade5abababababababab" in told
    assert "@@ -1 +1 @@\n-<b>\n+" in told
    assert "\u202e" not in told
    assert "… more in the journal" in told
    none = sections(html(quiet(), entries([opened("/w")])))["Changes in the workspace"]
    assert "Not known: files are compared at the end" in none


def test_the_tree_follows_parents_and_execs() -> None:
    events = [
        opened("/w"), process(2, 5), process(3, 6, 5), process(4, 7, 6),
        Exec(**base(5, 7), data=ExecData(call="execve", path="ls", argv=("ls", "-l"))),  # type: ignore[arg-type]
        ExecResult(**base(6, 7), data=ExecResultData(ref=5, outcome="succeeded")),  # type: ignore[arg-type]
        Exec(**base(7, 6), data=ExecData(call="execve", path="no", argv=("no",))),  # type: ignore[arg-type]
        ExecResult(**base(8, 6), data=ExecResultData(ref=7, outcome="failed")),  # type: ignore[arg-type]
        Exit(**base(9, 7), data=ExitData(how="call", code=3)),  # type: ignore[arg-type]
    ]  # fmt: skip
    told = sections(html(quiet(), entries(events)))["Processes"].replace("\xa0", " ")
    assert "5 cmd5" in told
    assert "   └ 6 cmd6" in told
    assert "      └ 7 ls -l" in told
    assert "status 3" in told


def test_a_page_is_bounded_and_says_what_it_leaves_out() -> None:
    text = "`<x>\n" * 5000

    def endless() -> Iterator[AnyEvent]:
        yield opened("/w")
        for number in range(2, 20_000):
            pid = 10 + number // 2
            yield (
                process(number, pid, pid - 1)
                if number % 2 == 0
                else changed(number, pid, "create", f"/w/{number}{text}")
            )

    cited = tuple(finding(summary=text, events=list(range(19_000 + each, 19_100 + each))) for each in range(400))
    made = html(msgspec.structs.replace(verdict(text, number=400), findings=cited), entries(endless()))
    told = sections(made)
    assert len(made) < 2_500_000
    assert "40 of 9999 processes are drawn" in told["Timeline"]
    assert "marks are drawn" in told["Timeline"]
    assert "9799 more processes are not shown." in told["Processes"]
    assert "on at least 5000 paths" in told["Calls that would change the workspace"]
    assert "And at least 4900 more paths." in told["Calls that would change the workspace"]
    assert "And 300 more, in verdict.json." in told["Findings"]


def test_a_process_with_evidence_is_drawn_and_listed_however_late_it_came() -> None:
    events = [opened("/w"), *(process(number, number) for number in range(2, 6000))]
    told = sections(html(quiet(finding(events=[5999])), entries(events)))
    assert "5999 cmd5999" in told["Timeline"]
    assert "cmd5999" in told["Processes"]


def test_steps_are_bands() -> None:
    def bound(seq: int, op: str) -> AnyEvent:
        return Step(v=1, episode="e", seq=seq, t_mono_ns=10**9 * seq, t_wall_ns=1, sensor="session",
                    data=StepData(op=op, id="call_1"))  # type: ignore[arg-type]  # fmt: skip

    made = html(quiet(), entries([opened("/w"), bound(2, "begin"), bound(9, "end")]))
    assert "step call_1" in sections(made)["Timeline"]
    assert '<rect x="301.2"' in made  # 1 s of 8 s into the width


def test_steps_are_told_in_order_with_what_was_found_in_them() -> None:
    def bound(seq: int, op: str, **more: int) -> AnyEvent:
        return Step(v=1, episode="e", seq=seq, t_mono_ns=10**9 * seq, t_wall_ns=1, sensor="session",
                    data=StepData(op=op, id="call_1", **more))  # type: ignore[arg-type]  # fmt: skip

    ran = Exec(**base(3, 7), data=ExecData(call="execve", path="ls", argv=("ls", "-l")))  # type: ignore[arg-type]
    ran = msgspec.structs.replace(ran, origin_step="call_1")
    events = [opened("/w"), bound(2, "begin"), ran, bound(4, "end", exit_code=3)]
    one = msgspec.structs.replace(finding(events=[3]), step="call_1")
    told = sections(html(quiet(one), entries(events)))["Steps"]
    assert "ls -l: whether it started was not seen" in told
    assert "status 3" in told
    assert told.rstrip().endswith("1")


def test_a_process_without_an_end_is_said_to_have_none() -> None:
    made = html(quiet(), entries([opened("/w"), process(2, 5)]))
    assert "no end recorded" in sections(made)["Processes"]


def test_one_pass_gives_both_reports() -> None:
    both = pages(verdict("x"), entries(journal("x")))
    assert both == (markdown(verdict("x"), journal("x")), html(verdict("x"), entries(journal("x"))))


def test_reports_are_imported_only_once_the_agent_has_ended() -> None:
    program = (
        "import sys, proctor.cli.run, proctor.session.supervisor; print([n for n in sys.modules if 'reports' in n])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
