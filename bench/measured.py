"""What every script here shares: predictions before, figures with intervals after, one dated JSON with machine and method."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Figure:
    """A median with its 95 % interval (percentile bootstrap, 10,000 resamples, fixed seed), and what it was made of."""

    median: float
    low: float
    high: float
    n: int
    smallest: float
    largest: float

    def __str__(self) -> str:
        return f"{_short(self.median)} [{_short(self.low)}, {_short(self.high)}]"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def figure(values: Sequence[float]) -> Figure:
    """The median of ``values`` and the interval that the bootstrap gives it. One value has itself as its interval."""
    chance = random.Random(20_250_101)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    low, high = medians[int(0.025 * _RESAMPLES)], medians[int(0.975 * _RESAMPLES) - 1]
    return Figure(statistics.median(values), low, high, len(values), min(values), max(values))


@dataclass
class Prediction:
    """What was expected before the run, and what came of it. ``goal`` is what must hold; ``expected`` a guess."""

    what: str
    goal: str
    expected: str
    outcome: str | None = None
    met: bool | None = None


@dataclass
class Report:
    """One run of one script, on its way to ``results/``."""

    name: str
    method: str
    predictions: dict[str, Prediction]
    quick: bool
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Write down, on the terminal and in the file, what is expected, before anything is measured."""
        self._started = dt.datetime.now(dt.UTC)
        self._load = os.getloadavg()
        print(f"{self.name}{' (quick: preliminary figures)' if self.quick else ''}")
        for prediction in self.predictions.values():
            print(f"  expected: {prediction.what}: {prediction.expected} (goal: {prediction.goal})")
        self._write()

    def settle(self, key: str, outcome: str, *, met: bool) -> None:
        """Put the outcome beside its prediction."""
        prediction = self.predictions[key]
        prediction.outcome, prediction.met = outcome, met
        print(f"  {'met   ' if met else 'NOT MET'} {prediction.what}: {outcome} (goal: {prediction.goal})")

    def note(self, text: str) -> None:
        """Say something that a reader of the figures must know."""
        self.notes.append(text)
        print(f"  note: {text}")

    def finish(self) -> int:
        """Write the result; return the script's exit status: 0 where every goal that was measured was met."""
        path = self._write()
        print(f"  written: {path.relative_to(RESULTS.parents[1])}")
        return 0 if all(prediction.met is not False for prediction in self.predictions.values()) else 1

    def _write(self) -> Path:
        RESULTS.mkdir(exist_ok=True)
        name = f"{self._started:%Y-%m-%dT%H%M%SZ}-{self.name}{'-quick' if self.quick else ''}.json"
        content = {
            "name": self.name,
            "preliminary": self.quick,
            "started": self._started.isoformat(timespec="seconds"),
            "ended": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "machine": machine() | {"load_before": self._load, "load_after": os.getloadavg()},
            "versions": versions(),
            "method": " ".join(self.method.split()),
            "predictions": {key: asdict(prediction) for key, prediction in self.predictions.items()},
            "figures": _plain(self.figures),
            "notes": self.notes,
        }
        path = RESULTS / name
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return path


def _plain(value: Any) -> Any:
    if isinstance(value, Figure):
        return {name: round(number, 4) for name, number in asdict(value).items()}
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value


def machine() -> dict[str, Any]:
    """What of this machine matters to the figures, and nothing that names it."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    clock = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    return {
        "cpus": os.cpu_count(),
        "cpu": cpu[1] if cpu else platform.machine(),
        "memory_mb": int(memory[1]) // 1024 if memory else None,
        "kernel": platform.release(),
        "clocksource": clock.read_text(encoding="ascii").strip() if clock.exists() else None,
        "user": "root" if os.getuid() == 0 else "unprivileged",
    }


def versions() -> dict[str, str | None]:
    """Versions of what was measured, and of what it was measured with."""
    from proctor import __version__

    root = str(RESULTS.parents[1])
    commit = _first_line(["git", "-C", root, "rev-parse", "--short", "HEAD"])
    changed = _first_line(["git", "-C", root, "status", "--porcelain", "--", "src"])
    return {
        "proctor": f"{__version__} {commit or ''}{' with changes in src' if changed else ''}".strip(),
        "python": platform.python_version(),
        "gcc": _first_line(["gcc", "--version"]),
        "bubblewrap": _first_line(["bwrap", "--version"]),
        "strace": _first_line(["strace", "--version"]),
        "libc": " ".join(platform.libc_ver()),
    }


def _first_line(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else None


def arguments(doc: str | None, **extra: Callable[[argparse.ArgumentParser], Any]) -> argparse.Namespace:
    """The command line that every script has: ``--quick``, and what ``extra`` adds."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repetitions; the figures are marked preliminary")
    for add in extra.values():
        add(parser)
    return parser.parse_args()


def progress(text: str) -> None:
    """One line over and over, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K  {text}")
        sys.stderr.flush()
