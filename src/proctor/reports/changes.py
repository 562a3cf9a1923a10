"""A page's two sections on the workspace: what its files hold now and held before, and the calls that were made."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from proctor.events import kinds
from proctor.reports.elements import Markup, code, join, tag, text
from proctor.reports.evidence import counted
from proctor.reports.lists import table
from proctor.reports.story import Story
from proctor.reports.tracks import CONTENTS, Change, Tracks
from proctor.verdicts import Verdict

__all__ = ["asked_for", "contents"]

CHANGES = 100
TEXTS, TEXT = 20, 4_000
"""Files whose lines are shown, and characters of each."""

_TOTALS = {
    "made": "made", "modified": "modified", "removed": "removed",
    "unchanged": "opened or replaced, and the same at the end", "gone": "temporary, neither there before nor after",
    "not_compared": "not compared",
}  # fmt: skip


def contents(verdict: Verdict, story: Story, tracks: Tracks) -> Iterator[Markup]:
    """What the files of the write roots held before the agent first asked to change them, and at the end."""
    yield tag("h2", "Changes in the workspace")
    yield from _copy(verdict, story)
    if tracks.totals is None:
        yield tag("p", "Not known: files are compared at the end of an episode, and this record has no comparison.")
        return
    totals = [f"{count} {_TOTALS[name]}" for name in _TOTALS if (count := getattr(tracks.totals, name))]
    told = ", ".join(totals) or "none"
    yield tag("p", f"Files compared with what they held before the agent first asked to change them: {told}.")
    if not tracks.contents:
        return
    workspace = story.opened.data.workspace.rstrip("/") + "/" if story.opened is not None else ""
    yield table(
        ("file", "", "bytes before", "bytes at the end", "SHA-256 at the end, its first 16 digits"),
        [_row(event.data, workspace) for event in tracks.contents], ("", "", "n", "n", "p"),
    )  # fmt: skip
    changed = tracks.totals.made + tracks.totals.modified + tracks.totals.removed
    if changed > CONTENTS:
        yield tag("p", f"And {changed - CONTENTS} more, in the journal.")
    shown = [event.data for event in tracks.contents if event.data.text is not None]
    # What was there before and is not any more says more than a new file.
    shown.sort(key=lambda data: data.change == "made")
    for data in shown[:TEXTS]:
        yield tag("p", code(data.path.removeprefix(workspace), 200), f", {data.change}:", class_="soft")
        yield tag("pre", join(*_lines(data), by=Markup("\n")))
    if len(shown) > TEXTS:
        yield tag("p", f"The lines of {len(shown) - TEXTS} more files are in the journal.")


def _copy(verdict: Verdict, story: Story) -> Iterator[Markup]:
    """Where the agent worked in a copy: of what, and what became of it."""
    opened = story.opened
    if opened is None or opened.data.workspace == opened.data.policy.get("workspace", opened.data.workspace):
        return
    original = code(str(opened.data.policy["workspace"]), 300)
    became = verdict.degraded.get("workspace", "whether its changes were brought back is not recorded")
    yield tag(
        "p", "The agent worked in ", code(opened.data.workspace, 300), ", a copy of ", original, ": ", code(became)
    )


def _row(data: kinds.ChangeData, workspace: str) -> tuple[str, ...]:
    before, after = (str(side.bytes) if side is not None else "" for side in (data.before, data.after))
    digest = "" if data.after is None else code(data.after.sha256[:16], 16) if data.after.sha256 else "not read"
    return code(data.path.removeprefix(workspace), 200), data.change, before, after, digest


def _lines(data: kinds.ChangeData) -> Iterator[Markup]:
    said = data.text or ""
    for one in said[:TEXT].split("\n"):
        yield tag("bdi", text(one, TEXT), dir="ltr")
    if data.cut or len(said) > TEXT:
        yield text("… more in the journal")


def asked_for(_: Verdict, __: Story, tracks: Tracks) -> Iterator[Markup]:
    """Calls that would change the workspace, by path."""
    yield tag("h2", "Calls that would change the workspace")
    yield tag(
        "p",
        "Calls that the agent's processes made. A call that is not counted as refused may still have failed.",
        class_="soft",
    )
    if tracks.acts:
        asked = ", ".join(f"{name} {count}" for name, count in sorted(tracks.acts.items()))
        paths = len(tracks.changes)
        at_least = "at least " if tracks.unlisted else ""
        on = at_least + counted(paths, "path", "paths")
        yield tag("p", f"Asked to: {asked}; on {on}; {tracks.refused} of the calls refused.")
        yield table(
            ("path", "asked to", "refused"), [_change(*each) for each in islice(tracks.changes.items(), CHANGES)]
        )
        if paths > CHANGES or tracks.unlisted:
            yield tag("p", f"And {at_least}{paths - CHANGES} more paths.")
    else:
        yield tag("p", "None.")
    if tracks.elsewhere:
        named = [code(path, 200) for path in tracks.elsewhere_paths]
        told = sum(tracks.elsewhere_paths.values())
        more = [f"{tracks.elsewhere - told} more on others"] if tracks.elsewhere > told else []
        calls = counted(tracks.elsewhere, "call", "calls")
        yield tag("p", f"Outside the workspace: {calls}, on ", join(*named, *more, by=Markup(", ")), ".")


def _change(path: str, change: Change) -> tuple[str, ...]:
    acts = ", ".join(name if count == 1 else f"{name} {count} times" for name, count in change.acts.items())
    return code(path, 200), acts, str(change.refused or "")
