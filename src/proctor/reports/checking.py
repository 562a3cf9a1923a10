"""What a page says of the record that it was made from: how to check it, and where it is cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from proctor.reports.elements import Markup, code, join, tag
from proctor.reports.evidence import counted
from proctor.reports.lists import items
from proctor.reports.story import Story
from proctor.verdicts import Verdict

__all__ = ["Cut", "checking", "cut_notice"]

_COMMANDS = (
    "proctor verify --trusted-key KEY .   # is the record as it was written, and by whom\n"
    "proctor replay .                     # do its events give these findings again\n"
    "proctor report --out - .             # this page again"
)


_COMMANDS_CUT = (
    "proctor verify --trusted-key KEY .   # up to where is the record as it was written, and by whom\n"
    "proctor rejudge .                    # what its events give by the rules of now\n"
    "proctor report --out - .             # this page again, by the rules of now"
)


class Cut(NamedTuple):
    """A record that has no verdict of its own: what its end lacks, its good events, and how many of them are signed.

    ``closed``: its journal is whole, and only verdict.json is missing.
    """

    reason: str
    events: int
    signed: int | None
    closed: bool = False


def cut_notice(cut: Cut, verdict: Verdict) -> Markup:
    """Whose verdict the page shows, and what it does not know."""
    if cut.closed:
        missing = tag("strong", "This record has no verdict.json"), f" ({cut.reason}). Its journal is whole and signed."
        made = " The verdict below was made afterwards, of its events, by the rules "
        return tag("p", *missing, made, code(verdict.proctor.rules_digest, 80), ".", class_="cut")
    signed = "none of them is signed, so that nothing shows that they were not altered"
    if cut.signed is not None:
        signed = f"events 1 to {cut.signed} are signed, so that who signed them vouches for no later one"
    return tag(
        "p",
        tag("strong", "This record ends before the episode did, and has no verdict of its own"),
        f" ({cut.reason}). Its first {cut.events} events agree with one another; {signed}. What happened after them, "
        "and what outlived the agent, is not known. The verdict below was made afterwards, of them, by the rules ",
        code(verdict.proctor.rules_digest, 80), ".", class_="cut",
    )  # fmt: skip


def checking(verdict: Verdict, story: Story, cut: Cut | None) -> Iterator[Markup]:
    """How a reader checks the page against its record."""
    yield tag("h2", "How to check this")
    yield tag(
        "p",
        "This page is derived from the journal beside it and proves nothing by itself. In the folder that holds it:",
    )
    yield tag("pre", Markup(_COMMANDS if cut is None else _COMMANDS_CUT))
    yield tag(
        "p",
        "KEY is the public key of whoever ran the episode, and has to come another way than with the record. Of a "
        "record that is as it was written the first command says ",
        tag("code", "intact" if cut is None or cut.closed else "truncated"), ".",
    )  # fmt: skip
    entries = [
        join(
            f"{verdict.journal.events} events, head ",
            code(verdict.journal.head, 80),
            f", {counted(story.checkpoints, 'checkpoint', 'checkpoints')}",
        )
    ]
    if story.opened is not None:
        key = story.opened.data.key
        said = "names" if cut is not None and cut.signed is None else "signed by"
        entries.append(
            join(f"{said} ", code(key, 80), ", a key that travels with the record: compare it with one you trust")
        )
    maker = verdict.proctor
    entries.append(join("Proctor ", code(maker.version, 40), ", rules ", code(maker.rules_digest, 80)))
    yield items(entries)
