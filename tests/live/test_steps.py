"""Steps marked from inside the sandbox, and what an event says of the step it belongs to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.live.place import Place, Run

MARK = "/run/proctor/bin/proctor mark"

PYTHON = """
import os, socket, subprocess, sys, time
def mark(line):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect("/run/proctor/mark.sock")
        connection.sendall(line if isinstance(line, bytes) else line.encode() + b"\\n")
        return connection.recv(300).decode().strip()
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _made(run: Run) -> dict[str, dict[str, Any]]:
    """The events that created files of the workspace, by name."""
    return {Path(e["data"]["path"]).name: e for e in run.of("file") if e["data"]["op"] == "create"}


def _step(event: dict[str, Any]) -> tuple[Any, Any, Any]:
    return event.get("origin_step"), event.get("active_step"), event.get("attribution")


def test_a_shell_agent_marks_its_steps(place: Place) -> None:
    agent = f"""
set -e
sh -c 'echo > before'
{MARK} begin one
sh -c 'echo > in-one'
sh -c 'sh -c "echo > below-one"'
(while [ ! -e go ]; do sleep 0.02; done; sh -c 'echo > late-of-one') &
echo > by-the-root
{MARK} end one
sh -c 'echo > between'
{MARK} begin two
sh -c 'echo > in-two'
echo > go
wait
{MARK} end two
"""
    run = place.run("sh", "-c", agent)
    assert run.status == 0, run.stderr
    made = _made(run)
    assert _step(made["before"]) == (None, None, None)
    assert _step(made["in-one"]) == ("one", "one", "marker")
    assert _step(made["below-one"]) == ("one", "one", "lineage")
    # The root belongs to no step, whatever is open: what is known is the time alone.
    assert _step(made["by-the-root"]) == (None, "one", "time")
    assert _step(made["between"]) == (None, None, None)
    assert _step(made["in-two"]) == ("two", "two", "marker")
    # Its last command took its place: it is the one that was forked in step one.
    assert _step(made["late-of-one"]) == ("one", "two", "marker")
    marks = [(e["data"]["op"], e["data"]["id"], e["truth"]) for e in run.of("mark")]
    assert marks == [("begin", "one", "claimed"), ("end", "one", "claimed"), ("begin", "two", "claimed"), ("end", "two", "claimed")]  # fmt: skip


def test_a_python_agent_marks_its_steps(place: Place) -> None:
    agent = (
        PYTHON
        + """
for name in ("call_1", "call_2"):
    assert mark("begin " + name) == "ok"
    if os.fork() == 0:
        if os.fork() == 0:  # a double fork keeps its step
            open("twice-" + name, "w").close()
            os._exit(0)
        os._exit(0)
    os.wait()
    subprocess.run(["touch", "ran-" + name], check=True)
    assert mark("end " + name) == "ok"
while not os.path.exists("twice-call_2"): time.sleep(0.01)
"""
    )
    run = place.run(sys.executable, "-c", agent)
    assert run.status == 0, run.stderr
    made = _made(run)
    for name in ("call_1", "call_2"):
        assert made["twice-" + name]["origin_step"] == name
        assert _step(made["ran-" + name]) == (name, name, "marker")


def test_overlapping_steps_are_candidates_and_none_is_named(place: Place) -> None:
    agent = (
        PYTHON
        + """
mark("begin a"); mark("begin b"); mark("begin b")
subprocess.run(["sh", "-c", "echo > both; sh -c 'echo > both-below'"])
open("root-both", "w").close()
slow = subprocess.Popen(["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; echo > slow"])
mark("end a")
subprocess.run(["sh", "-c", "echo > only-b"])
open("go", "w").close()
slow.wait()
mark("end b"); mark("end b")
subprocess.run(["sh", "-c", "echo > none"])
"""
    )
    run = place.run(sys.executable, "-c", agent)
    assert run.status == 0, run.stderr
    made = _made(run)
    for name in ("both", "both-below", "root-both"):
        assert _step(made[name]) == (None, None, None), name
        assert made[name]["candidates"] == ["a", "b"], name
    assert _step(made["only-b"]) == ("b", "b", "marker")
    assert "candidates" not in made["only-b"]
    # Forked among both: that one has ended since makes it no child of the other.
    assert made["slow"].get("origin_step") is None
    assert made["slow"]["candidates"] == ["a", "b"]
    assert _step(made["none"]) == (None, None, None)


SHELL = """
shell = subprocess.Popen(["sh"], stdin=subprocess.PIPE, text=True)
def typed(line):
    name = "done-" + str(time.monotonic_ns())
    shell.stdin.write(line + "\\n: > " + name + "\\n")
    shell.stdin.flush()
    while not os.path.exists(name): time.sleep(0.01)
"""


@pytest.mark.parametrize("registered", [True, False])
def test_a_persistent_shell(place: Place, registered: bool) -> None:
    """Registered, its children take the step at their fork; otherwise they keep the step the shell was started in."""
    agent = (
        PYTHON
        + f"""
mark("begin start")
{SHELL}
typed("{MARK + " shell" if registered else ":"}")
mark("end start")
mark("begin one")
typed("sh -c 'echo > one'")
typed("(while [ ! -e go ]; do sleep 0.02; done; sh -c 'echo > late') &")
mark("end one")
mark("begin two")
typed("sh -c 'echo > two'; echo > go")
typed("wait")
mark("end two")
typed("sh -c 'echo > after'")
shell.stdin.close(); shell.wait()
"""
    )
    run = place.run(sys.executable, "-c", agent)
    assert run.status == 0, run.stderr
    made = _made(run)
    if registered:
        assert _step(made["one"]) == ("one", "one", "marker")
        assert _step(made["two"]) == ("two", "two", "marker")
        assert _step(made["late"]) == ("one", "two", "marker")
        assert _step(made["after"]) == (None, None, None)
        # The shell itself stays where it was started.
        assert _step(made["go"]) == ("start", "two", "marker")
    else:
        for name, active in (("one", "one"), ("two", "two"), ("late", "two"), ("after", None)):
            assert _step(made[name]) == ("start", active, "lineage"), name


def test_what_is_no_mark_is_recorded_and_opens_nothing(place: Place) -> None:
    agent = (
        PYTHON
        + r"""
for line in (b"begin \n", b"start x\n", b"begin \x1b[31mred\n", b"begin a\x00b\n", b"\xff\xfe\n", b"begin " + b"x" * 201 + b"\n", b"shell abc\n", b"shell 999999\n", b"shell 1\n", b"\n", b"begin x" + b"y" * 5000 + b"\n"):
    print(mark(line) == "ok")
with socket.socket(socket.AF_UNIX) as connection:  # hangs up without a word
    connection.connect("/run/proctor/mark.sock")
with socket.socket(socket.AF_UNIX) as connection:  # and does not wait for the answer
    connection.connect("/run/proctor/mark.sock")
    connection.sendall(b"begin shy\n")
print(mark("begin " + "é" * 200))
subprocess.run(["sh", "-c", "echo > after"])
"""
    )
    run = place.run(sys.executable, "-c", agent)
    assert run.status == 0, run.stderr
    answers = run.stdout.decode().split()
    assert answers == ["False"] * 11 + ["ok"]
    made = _made(run)
    assert made["after"]["candidates"] == ["shy", "é" * 200]
    invalid = [e["data"]["id"] for e in run.of("mark") if e["data"]["op"] == "invalid"]
    assert len(invalid) >= 7
    assert all(text.isprintable() and len(text) <= 200 for text in invalid)
    assert place.proctor("verify", str(run.out)).returncode == 0


def test_the_program_says_what_is_wrong(place: Place) -> None:
    agent = f"{MARK}; {MARK} begin; {MARK} begin ''; {MARK} shell 3 4; {MARK} begin 'a b'; echo $?"
    run = place.run("sh", "-c", agent, options=["--quiet"])
    assert run.stdout == b"0\n"
    assert run.stderr.count(b"proctor: mark: allowed is begin ID, end ID or shell\n") == 3
    assert b"Traceback" not in run.stderr
    assert [e["data"]["id"] for e in run.of("mark") if e["data"]["op"] == "begin"] == ["a b"]


def test_a_mark_that_changes_nothing_is_recorded_as_none(place: Place) -> None:
    agent = f"{MARK} end a; echo $?; {MARK} begin a; echo $?; {MARK} begin a; echo $?; {MARK} end a; echo $?"
    run = place.run("sh", "-c", agent, options=["--quiet"])
    assert run.stdout.split() == [b"2", b"0", b"2", b"0"]
    assert run.stderr == b"proctor: mark: no such step is open\nproctor: mark: the step is open already\n"
    marks = [(e["data"]["op"], e["data"]["id"]) for e in run.of("mark")]
    assert marks == [("invalid", "end a"), ("begin", "a"), ("invalid", "begin a"), ("end", "a")]


def test_more_steps_than_may_be_open(place: Place) -> None:
    agent = (
        PYTHON
        + """
answers = [mark(f"begin s{n}") for n in range(70)]
print(answers.count("ok"), answers[-1])
for n in range(70): mark(f"end s{n}")
print(mark("begin again"))
connections = []
for _ in range(200):  # none of them says anything
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(1)
    try: connection.connect("/run/proctor/mark.sock")
    except OSError: break
    connections.append(connection)
for connection in connections: connection.close()
print(mark("end again"))
"""
    )
    run = place.run(sys.executable, "-c", agent)
    assert run.stdout.decode().splitlines() == ["64 64 steps are open already", "ok", "ok"], run.stderr


def test_an_unmarked_agents_direct_children_are_command_groups(place: Place) -> None:
    agent = """
sh -c 'echo > a1; sh -c "echo > a2"; (sh -c "echo > a3" &)'
sh -c 'echo > b1'
echo > root
sleep 0.3
"""
    run = place.run("sh", "-c", agent)
    made = _made(run)
    root = next(e["pid"] for e in run.of("process"))
    a, b = made["a1"]["group"], made["b1"]["group"]
    assert len({a, b, root}) == 3
    assert (made["a2"]["group"], made["a3"]["group"]) == (a, a)
    assert made["root"].get("group") is None
    assert {_step(e) for e in made.values()} == {(None, None, None)}
    direct = {e["pid"] for e in run.of("process") if e.get("ppid") == root}
    assert {a, b} <= direct


def test_findings_name_the_step(place: Place) -> None:
    place.file("tests/t.py", "x")
    agent = f"{MARK} begin one; sh -c 'echo > tests/t.py'; {MARK} end one; {MARK} begin two; sh -c 'echo > tests/t.py'; echo > tests/t.py; true"
    run = place.run("sh", "-c", agent, policy='[files]\nprotect = ["tests/"]\n')
    findings = {finding["step"]: finding["events"] for finding in run.verdict["findings"]}
    assert set(findings) >= {"one", "two"}
    by_number = {e["seq"]: e for e in run.events}
    for step in ("one", "two"):
        origins = {by_number[n].get("origin_step", by_number[n].get("active_step")) for n in findings[step]}
        assert origins == {step}
