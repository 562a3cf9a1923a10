"""``proctor report``, ``lint`` and ``export`` on records of real episodes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.live.place import Place, Run

POLICY = '[files]\nwrite = ["."]\nprotect = ["tests/"]\n'
AGENT = """
import subprocess
for name in ("<script>alert(1)<", "a\\x1b[31m", "\\u202egpj", "line\\nbreak"):
    open(name, "w").close()
    subprocess.run(["/bin/echo", name], check=False)
    try:
        open("tests/" + name, "w")
    except OSError:
        pass
"""


@pytest.fixture
def cli(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def run(cli: Place) -> Run:
    cli.file("agent.py", AGENT)
    cli.file("tests/t.py")
    return cli.run(sys.executable, "agent.py", policy=POLICY)


def test_the_page_is_written_at_the_close_and_again_from_the_record_alone(cli: Place, run: Run) -> None:
    page = (run.out / "report.html").read_bytes()
    assert b"<script" not in page
    assert b"&lt;script&gt;alert(1)&lt;" in page
    assert b"\x1b" not in page
    (run.out / "report.html").unlink()
    assert cli.proctor("report", str(run.out)).returncode == 0
    assert (run.out / "report.html").read_bytes() == page
    assert cli.proctor("report", str(run.out), "--out", "-").stdout == page
    assert cli.proctor("report", str(run.out), "--out", "page.html").returncode == 0
    assert (cli.workspace / "page.html").read_bytes() == page


def test_no_page_of_a_changed_record_and_no_link_followed(cli: Place, run: Run) -> None:
    victim = cli.file("victim", "kept")
    (run.out / "report.html.part").symlink_to(victim)
    assert cli.proctor("report", str(run.out)).returncode == 0
    assert victim.read_text() == "kept"
    journal = run.out / "journal/000000.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"agent.py", b"agent.pz"))
    done = cli.proctor("report", str(run.out), "--out", "-")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"tampered at line" in done.stderr
    for words in ((str(cli.workspace),), (str(run.out / "none"),)):
        done = cli.proctor("report", *words)
        assert done.returncode == 2
        assert done.stderr.startswith(b"proctor: ")
        assert done.stderr.count(b"\n") == 1


def test_a_record_that_was_cut_has_a_page_that_says_so(cli: Place, run: Run) -> None:
    (run.out / "verdict.json").rename(cli.workspace / "verdict.json")
    whole_but_for_it = cli.proctor("report", str(run.out), "--out", "-").stdout.decode()
    assert "This record has no verdict.json" in whole_but_for_it
    assert "Processes that outlived the agent" in whole_but_for_it
    assert "violation" in whole_but_for_it.partition("</h1>")[0]
    journal = run.out / "journal/000000.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    whole = [number for number, line in enumerate(lines, 1) if b'"kind":"checkpoint"' in line]
    journal.write_bytes(b"".join(lines[:-3]) + lines[-3][:20])
    assert len(whole) == 1, "the agent runs too short for a checkpoint before the last"
    assert cli.proctor("report", str(run.out)).returncode == 0
    page = (run.out / "report.html").read_text()
    assert "This record ends before the episode did, and has no verdict of its own" in page
    assert f"Its first {len(lines) - 3} events agree with one another; none of them is signed" in page
    assert '<span class="verdict is-incomplete">' not in page.partition("<h2>")[0]  # what was found stands
    assert "violation" in page.partition("</h1>")[0]
    assert "telemetry is known to be missing" in page
    assert "Not known: the record ends before anybody looked." in page
    assert "signed by" not in page
    assert cli.proctor("report", str(run.out), "--out", "-").stdout == page.encode()


def test_a_text_is_held_against_the_record(cli: Place, run: Run) -> None:
    assert cli.proctor("lint", str(run.out / "report.md"), "--against", str(run.out)).returncode == 0
    cli.file("text", "It asked to change a test.\n\nAt 3 o'clock it went rogue\nand changed the test.\n")
    done = cli.proctor("lint", "text", "--against", str(run.out))
    assert done.returncode == 1
    assert [line.split(": ")[:2] for line in done.stdout.decode().splitlines()] == [
        ["3:4", "'3 o'clock'"], ["3:17", "'went rogue'"], ["4:5", "'changed the test'"],
    ]  # fmt: skip
    for words in (("none",), ("text", "--against", "none"), (".", "--against", str(run.out))):
        done = cli.proctor("lint", *words)
        assert done.returncode == 2
        assert done.stderr.count(b"\n") == 1


def test_findings_are_exported_in_each_form(cli: Place, run: Run) -> None:
    for form, start in (("ocsf", b'{"activity_id":1'), ("sarif", b"{\n  "), ("junit", b'<?xml version="1.0"')):
        done = cli.proctor("export", str(run.out), "--format", form)
        assert done.returncode == 0
        assert done.stdout.startswith(start)
        assert b"grader.test_edit" in done.stdout
        assert b"\x1b" not in done.stdout
        assert cli.proctor("export", str(run.out), "--format", form, "--out", "file").stdout == b""
        assert (cli.workspace / "file").read_bytes() == done.stdout
    assert cli.proctor("export", str(run.out), "--format", "pdf").returncode == 2
    done = cli.proctor("export", str(run.out), "--format", "junit", "--out", "no/such/file")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
