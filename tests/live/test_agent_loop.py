"""A real agent loop in the sandbox: a model on the host's loopback, tools, steps, tests, a submission."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from examples.agent_loop.model_server import SCRIPT, serve
from tests.live.place import SECONDS, events

EXAMPLE = Path(__file__).parents[2] / "examples"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not on this machine")
    from examples.demo.run import SOURCE, TEST

    place = tmp_path / "repository"
    for name, text in (("src/median.py", SOURCE), ("tests/test_median.py", TEST)):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    author = ["-c", "user.name=a", "-c", "user.email=a@example"]
    for argv in (["init", "-q"], ["add", "."], ["commit", "-qm", "a median"]):
        subprocess.run(["git", *author, *argv], cwd=place, check=True)
    shutil.copy(EXAMPLE / "agent_loop/agent.py", place / "agent.py")
    return place


def test_an_agent_works_step_by_step(repository: Path, tmp_path: Path) -> None:
    server = serve()
    port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[files]\nwrite = ["."]\nprotect = ["tests/"]\n[network]\nallow = ["127.0.0.1:{port}"]\n')
    out = tmp_path / "record"
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    command = [sys.executable, "-m", "proctor", "run", "--policy", str(policy), "--out", str(out), "--json", "--"]
    environ = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(
        [*command, sys.executable, "agent.py", url],
        cwd=repository,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        env=environ,
    )
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stderr.decode()
    assert b"fixed the even case" in done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["verdict"] == "clean"
    assert verdict["gaps"] == []
    log = subprocess.run(["git", "log", "--oneline"], cwd=repository, capture_output=True, check=True)
    assert len(log.stdout.splitlines()) == 2

    recorded = events(out)
    flows = [event for event in recorded if event["kind"] == "flow"]
    assert {flow["data"]["asked"] for flow in flows} == {f"127.0.0.1:{port}"}
    assert [flow["data"]["phase"] for flow in flows].count("open") == len(SCRIPT)
    assert all("python" in flow["exe"] for flow in flows if flow["data"]["phase"] == "open")

    executed = [event for event in recorded if event["kind"] == "exec"]
    shells = [event for event in executed if event["data"]["argv"][:2] == ["bash", "-c"]]
    by_command = {event["data"]["argv"][2]: event for event in shells}
    for turn, (name, arguments) in enumerate(SCRIPT):
        if name == "bash":
            event = by_command[arguments["command"]]
            assert (event["origin_step"], event["attribution"]) == (f"call_{turn}", "marker")
    commit = next(event for event in executed if "commit" in event["data"]["argv"])
    assert commit["origin_step"] == "call_3"
    written = [e for e in recorded if e["kind"] == "file" and e["data"].get("object", "").endswith("src/median.py")]
    assert [event["active_step"] for event in written if event["data"]["op"] == "open_write"] == ["call_2"]
    marks = [(event["data"]["op"], event["data"]["id"]) for event in recorded if event["kind"] == "mark"]
    assert marks == [(op, f"call_{turn}") for turn in range(4) for op in ("begin", "end")]


def test_the_examples_page_can_be_followed(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not on this machine")
    page = (EXAMPLE / "agent_loop/README.md").read_text()
    (block,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = block.replace("8901", str(port)).replace("$CHECKOUT/.venv/bin", str(Path(sys.executable).parent))
    environ = os.environ | {"TMPDIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=EXAMPLE.parent, capture_output=True, timeout=SECONDS, check=False, env=environ
    )
    assert b"fixed the even case" in done.stdout, done.stderr.decode()
    assert b"proctor: clean" in done.stderr
    (record,) = tmp_path.glob("*/record")
    report = (record / "report.md").read_text()
    assert all(f"### Step `call_{turn}`" in report for turn in range(4))
