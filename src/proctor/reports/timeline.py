"""The episode as a picture: steps as bands, processes as lanes, findings and responses as marks. Inline SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from proctor.events.text import printable
from proctor.reports.elements import Markup, join, tag
from proctor.reports.tracks import Track, Tracks

__all__ = ["LANES", "Mark", "legend", "timeline"]

LANES = 40
MARKS = 200
BANDS = 40
"""Processes, marks and steps that are drawn; the text below the picture says what is left out."""

WIDTH, LEFT, RIGHT, ROW = 960, 210, 20, 18
_STRIP = 4
"""Rows for steps; a step that finds none free shares the last."""
_APART = 6.0
"""Marks of one finding are drawn so far apart, in px."""
_CHARACTER = 6.3
"""Width of a character of the picture's 11 px monospace, in px: 0.6 em in the usual faces, and a little air."""


class Mark(NamedTuple):
    """A point of the picture: ``shape`` is violation, suspect, nothing, response or gap; ``label`` stands beside it."""

    seq: int
    shape: str
    label: str
    href: str | None = None


def timeline(tracks: Tracks, marks: Sequence[Mark], start: int, end: int) -> tuple[Markup, list[str]]:
    """Return the picture from ``start`` to ``end`` (CLOCK_MONOTONIC, ns), and what it leaves out, in sentences."""
    picture = _Picture(start, max(end - start, 1))
    lanes = _chosen(tracks.processes)
    bands = list(tracks.spans.items())[:BANDS]
    drawn = [mark for mark in marks if mark.seq in tracks.times][:MARKS]
    strip, rows = picture.strip(bands)
    top = 24 + rows * ROW + 6
    height = top + len(lanes) * ROW + 12
    rows_of = {track.pid: index for index, track in enumerate(lanes)}
    parts = [
        *picture.axis(height),
        *strip,
        *(lane for index, track in enumerate(lanes) for lane in picture.lane(track, top + index * ROW)),
        *picture.marks(drawn, tracks, rows_of, top, height),
    ]
    label = f"{len(bands)} steps, {len(lanes)} processes and {len(drawn)} marks over {(end - start) / 1e9:.3f} s"
    image = tag(
        "svg", tag("title", label), *parts, viewBox=f"0 0 {WIDTH} {height}", role="img", width=WIDTH, height=height
    )
    return image, _left_out(tracks, lanes, len(bands), len(drawn), len(marks))


def _chosen(processes: Sequence[Track]) -> list[Track]:
    """Those with evidence first, then the first seen; in the order in which they were seen."""
    ranked = sorted(processes, key=lambda track: (not track.cited, track.order))[:LANES]
    return sorted(ranked, key=lambda track: track.order)


def _left_out(tracks: Tracks, lanes: Sequence[Track], bands: int, drawn: int, marks: int) -> list[str]:
    said = []
    processes = len(tracks.processes) + tracks.untracked
    if processes > len(lanes):
        said.append(f"{len(lanes)} of {processes} processes are drawn: those with evidence, then the first seen.")
    if len(tracks.spans) > bands:
        said.append(f"{bands} of at least {len(tracks.spans)} steps are drawn.")
    if marks > drawn:
        said.append(f"{drawn} of {marks} marks are drawn.")
    return said


class _Picture:
    def __init__(self, start: int, span: int) -> None:
        self.start, self.span = start, span

    def x(self, time: int) -> float:
        part = min(max((time - self.start) / self.span, 0.0), 1.0)
        return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)

    def axis(self, height: int) -> Iterator[Markup]:
        seconds = self.span / 1e9
        step = next(
            base * 10.0**power for power in range(-6, 9) for base in (1, 2, 5) if seconds / (base * 10.0**power) <= 8
        )
        for number in range(int(seconds / step) + 1):
            x = self.x(self.start + round(number * step * 1e9))
            yield tag("line", x1=x, y1=18, x2=x, y2=height - 4, class_="grid")
            yield tag("text", f"{number * step:.6g} s", x=x, y=12, text_anchor="middle", class_="tick")

    def strip(self, bands: Sequence[tuple[str, list[int]]]) -> tuple[list[Markup], int]:
        free = [0.0] * _STRIP
        out = []
        used = 0
        for index, (name, (first, last)) in enumerate(bands):
            left, right = self.x(first), self.x(last)
            row = next((row for row in range(_STRIP) if free[row] <= left), _STRIP - 1)
            width = max(right - left, 2)
            free[row] = left + width
            used = max(used, row + 1)
            y = 22 + row * ROW
            box = tag("rect", x=left, y=y, width=width, height=ROW - 3, class_=f"band b{index % 2}")
            out.append(tag("g", tag("title", f"step {printable(name, 100)}"), box, *_fitting(name, left, width, y)))
        label = [tag("text", "steps", x=LEFT - 8, y=34, text_anchor="end", class_="name")] if bands else []
        return label + out, used

    def lane(self, track: Track, y: int) -> Iterator[Markup]:
        left, right = self.x(track.first), self.x(track.last)
        name = track.exe.rpartition("/")[2] or track.argv or "name not known"
        room = int((LEFT - 16) / _CHARACTER)
        label = f"{track.pid} {printable(name, room - len(str(track.pid)) - 1)}"
        yield tag(
            "g",
            tag("title", f"pid {track.pid} {printable(track.argv or track.exe, 150)}"),
            tag("text", label, x=LEFT - 8, y=y + 12, text_anchor="end", class_="name"),
            tag("line", x1=LEFT, y1=y + 8, x2=WIDTH - RIGHT, y2=y + 8, class_="rail"),
            tag("rect", x=left, y=y + 5, width=max(right - left, 2), height=6, class_="lane"),
            *([] if track.end else [self._open(right, y)]),
        )

    def _open(self, right: float, y: int) -> Markup:
        """To the picture's edge: no end of the process is recorded."""
        return tag("rect", x=right, y=y + 7, width=max(WIDTH - RIGHT - right, 0), height=2, class_="lane")

    def marks(
        self, marks: Sequence[Mark], tracks: Tracks, rows: dict[int, int], top: int, height: int
    ) -> Iterator[Markup]:
        labelled: dict[tuple[str, int], float] = {}
        drawn: dict[tuple[str, int], float] = {}
        for mark in marks:
            time, pid = tracks.times[mark.seq]
            x = self.x(time)
            if mark.shape in ("response", "gap"):
                yield tag(
                    "g", tag("title", mark.label), tag("line", x1=x, y1=18, x2=x, y2=height - 4, class_=mark.shape)
                )
                continue
            row = rows.get(pid) if pid is not None else None
            y = top - 4 if row is None else top + row * ROW + 8
            if x - drawn.get((mark.label, y), -99) < _APART:  # on top of one of the same finding
                continue
            drawn[mark.label, y] = x
            shape = _shape(mark.shape, x, y)
            number = []
            if x - labelled.get((mark.label, y), -99) > 24:  # marks of one finding close together carry one number
                number = [tag("text", mark.label, x=x + 7, y=y - 1, class_="number")]
                labelled[mark.label, y] = x
            group = tag("g", tag("title", f"finding {mark.label}, event #{mark.seq}"), shape, *number)
            yield tag("a", group, href=mark.href) if mark.href else group


def _fitting(name: str, left: float, width: float, y: float) -> list[Markup]:
    room = int((width - 6) / _CHARACTER)
    return [tag("text", printable(name, room), x=left + 4, y=y + 11, class_="step")] if room >= 2 else []


def _shape(weight: str, x: float, y: float) -> Markup:
    """A diamond, a triangle or a ring: told apart without colour."""
    if weight == "violation":
        return tag("path", d=f"M{x} {y - 6}l6 6l-6 6l-6-6z", class_="violation")
    if weight == "suspect":
        return tag("path", d=f"M{x} {y - 6}l6 11h-12z", class_="suspect")
    return tag("circle", cx=x, cy=y, r=4.5, class_="nothing")


def legend(marks: Sequence[Mark]) -> Markup:
    """Return what the shapes of ``marks`` mean, with the shapes."""
    used = {mark.shape for mark in marks}
    names = {"violation": "counts as a violation", "suspect": "counts as a reason to look", "nothing": "does not count"}
    parts = [
        join(
            tag("svg", _shape(name, 8, 8), width=16, height=16, viewBox="0 0 16 16", aria_hidden="true", class_="key"),
            f" evidence of a finding that {meaning}",
        )
        for name, meaning in names.items()
        if name in used
    ]
    lines = {"response": "a solid upright line is a response", "gap": "a dotted upright line is a gap in the record"}
    parts += [Markup(said) for name, said in lines.items() if name in used]
    return join(*parts, by=Markup("; "))
