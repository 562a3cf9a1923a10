"""What the README shows, run: its command and what it prints, and its library example."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_readme import blocks
from tests.live.place import PROCTOR, SECONDS, Place, events


def same(text: str, workspace: str) -> str:
    """The text without what differs from run to run: places, ids, numbers, temporary names, line breaks."""
    text = text.replace(workspace, "/home/me/task")
    for pattern, name in (
        (r"episode \S+,", "episode ID,"),
        (r"record in \S+", "record in DIR"),
        (r"\bsed\w{6}\b", "sedNAME"),
        (r"pid \d+ \(\S*/sed\)", "pid N (SED)"),
        (r"#\d+", "#N"),
    ):
        text = re.sub(pattern, name, text)
    return " ".join(text.split())


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for lines of 100 characters."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve() / "p"
        place.mkdir()
        yield place


def test_the_command_prints_what_is_shown(short: Path) -> None:
    (block,) = [block for block in blocks("console") if "proctor run" in block]
    first, *shown = block.splitlines()
    place = Place(short)
    place.file("tests/test_a.py", "assert 1 + 1 == 2\n")
    place.file("solutions/answer.txt", "2\n")
    (policy,) = blocks("toml")
    place.policy(policy)
    argv = shlex.split(first.removeprefix("$ "))
    assert argv[:4] == ["proctor", "run", "--policy", "../policy.toml"]
    done = subprocess.run(
        [PROCTOR, "run", "--policy", "../policy.toml", *argv[4:]],
        cwd=place.workspace,
        env=place.env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 10, done.stderr
    printed = same(done.stderr, str(place.workspace))
    (record,) = (place.state / "proctor/episodes").iterdir()
    # Both write to one stream, and sed writes its line in pieces: its own words are taken from the record.
    agents = [event["data"] for event in events(record) if event["kind"] == "output"]
    (said,) = [same(data["head"], str(place.workspace)) for data in agents if data["stream"] == "stderr"]
    lines = [line for line in shown if line.strip() != "…"]
    assert len(lines) > 8
    for line in lines:
        wanted = same(line, str(place.workspace))
        assert wanted in (printed if line.startswith(("proctor:", "  ")) else said)


def test_the_library_example_runs(tmp_path: Path) -> None:
    (code,) = blocks("python")
    place = Place(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.workspace,
        env=place.env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "b'hello\\n' clean keep\n"), done.stderr


def test_the_commands_on_a_record_answer(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("console") if "proctor verify" in block]
    place = Place(tmp_path)
    run = place.run("true")
    key = place.state / "proctor/keys/signing.pub"
    for line in block.splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        assert words[0] == "proctor"
        filled = [
            {"DIR": str(run.out), "KEY": str(key), "TEXT": str(run.out / "report.md")}.get(word, word)
            for word in words[1:]
        ]
        done = place.proctor(*filled)
        assert done.returncode == 0, (line, done.stderr)
