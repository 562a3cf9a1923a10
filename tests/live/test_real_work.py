"""Honest work, as agents really do it, passes through the sandbox whole and is judged clean."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proctor import Episode
from proctor.session.client import Launcher
from proctor.verdicts import Verdict
from tests.live.place import SECONDS, events


@pytest.fixture(scope="module")
def launcher() -> Any:
    with Launcher() as one:
        yield one


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not on this machine")
    return found


def honest(verdict: Verdict | None, out: Path | None) -> None:
    """Clean, without a gap, and without a finding above an observation."""
    assert verdict is not None
    assert out is not None
    assert [(one.rule, one.level, one.summary) for one in verdict.findings if one.level != "informational"] == []
    assert verdict.gaps == ()
    assert verdict.verdict == "clean"
    refused = [event["data"] for event in events(out) if event["kind"] == "refused"]
    assert [one for one in refused if one["reason"] == "unreadable"] == []


@pytest.fixture(scope="module", params=["B", "C"])
def tier(request: pytest.FixtureRequest) -> Any:
    return request.param


def run(
    launcher: Launcher, tier: Any, workspace: Path, *commands: list[str], needs: tuple[str, ...] = ()
) -> list[bytes]:
    outputs = []
    with Episode(workspace=workspace, launcher=launcher, commands=needs, tier=tier) as episode:
        for argv in commands:
            done = episode.run(argv, timeout=SECONDS)
            assert done.returncode == 0, (argv, done.stdout[-2000:], done.stderr[-2000:])
            outputs.append(done.stdout)
    honest(episode.verdict, episode.out)
    return outputs


def git(*argv: str, cwd: Path) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@example"]
    subprocess.run(["git", *author, *argv], cwd=cwd, check=True, capture_output=True)


def test_git_clone_branch_and_commit(launcher: Launcher, tier: Any, tmp_path: Path) -> None:
    need("git")
    origin = tmp_path / "ws" / "origin"
    origin.mkdir(parents=True)
    git("init", "-q", cwd=origin)
    (origin / "conftest.py").write_text("")
    (origin / "a.py").write_text("x = 1\n")
    git("add", ".", cwd=origin)
    git("commit", "-qm", "first", cwd=origin)
    script = (
        "git clone -q origin copy && cd copy && git config user.name a && git config user.email a@example && "
        "git checkout -qb work && echo y=2 >> a.py && git commit -qam second && git log --oneline | wc -l && git gc -q"
    )
    (count,) = run(launcher, tier, tmp_path / "ws", ["sh", "-c", script])
    assert count.split() == [b"2"]


def test_pip_installs_a_local_wheel(launcher: Launcher, tier: Any, tmp_path: Path) -> None:
    project = tmp_path / "ws"
    (project / "src/tiny").mkdir(parents=True)
    (project / "src/tiny/__init__.py").write_text("ANSWER = 42\n")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "tiny"\nversion = "1"\n'
    )
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    install = "venv/bin/python -m pip install -q --no-index --no-deps --disable-pip-version-check dist/*.whl"
    *_, answer = run(
        launcher,
        tier,
        project,
        build,
        [sys.executable, "-m", "venv", "venv"],
        ["sh", "-c", install],
        ["sh", "-c", "venv/bin/python -c 'import tiny; print(tiny.ANSWER)'"],
    )
    assert answer == b"42\n"


def test_a_c_build(launcher: Launcher, tier: Any, tmp_path: Path) -> None:
    need("gcc")
    need("make")
    (tmp_path / "a.c").write_text('#include <stdio.h>\nint main(void) { puts("built"); return 0; }\n')
    (tmp_path / "Makefile").write_text("a: a.o\n\tgcc -o $@ $<\n%.o: %.c\n\tgcc -O2 -c -o $@ $<\n")
    *_, said = run(launcher, tier, tmp_path, ["make", "-j2"], ["./a"])
    assert said == b"built\n"


def test_a_node_script(launcher: Launcher, tier: Any, tmp_path: Path) -> None:
    node = need("node")
    (tmp_path / "a.js").write_text(
        "const fs = require('fs'), http = require('http'), {execFileSync} = require('child_process');\n"
        "fs.writeFileSync('out.txt', execFileSync('uname').toString());\n"
        "const server = http.createServer((q, r) => r.end('hello'));\n"
        "server.listen(0, '127.0.0.1', () => http.get({port: server.address().port}, r => {\n"
        "  r.on('data', d => console.log(d.toString())); r.on('end', () => server.close()); }));\n"
    )
    (said,) = run(launcher, tier, tmp_path, [node, "a.js"], needs=(node,))
    assert said == b"hello\n"


def test_pytest_with_xdist(launcher: Launcher, tier: Any, tmp_path: Path) -> None:
    """On a real project: those of mypy's own tests that its package brings with all they need."""
    modules = ["mypy.test.testtypes", "mypy.test.testsubtypes", "mypy.test.testgraph", "mypy.test.testinfer"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "--pyargs"]
    (said,) = run(launcher, tier, tmp_path, [*command, *modules, "mypyc.test.test_ircheck"])
    passed = re.search(rb"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) > 150
    assert b"failed" not in said


MULTIPROCESSING = """
import multiprocessing, sys
from multiprocessing import shared_memory


def square(number):
    return number * number


def fill(name):
    block = shared_memory.SharedMemory(name)
    block.buf[0] = 7
    block.close()


if __name__ == "__main__":
    found = []
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            found.append(sum(pool.map(square, range(50))))
    block = shared_memory.SharedMemory(create=True, size=16)
    child = context.Process(target=fill, args=(block.name,))
    child.start()
    child.join()
    found.append(block.buf[0])
    block.close()
    block.unlink()
    print(found)
"""

ASYNCIO = """
import asyncio, os, tempfile


async def echo(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()


async def main():
    tcp = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*tcp.sockets[0].getsockname())
    writer.write(b"tcp\\n")
    print((await reader.readline()).decode().strip())
    path = os.path.join(tempfile.mkdtemp(), "s")
    unix = await asyncio.start_unix_server(echo, path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"unix\\n")
    print((await reader.readline()).decode().strip())
    child = await asyncio.create_subprocess_exec("echo", "child", stdout=asyncio.subprocess.PIPE)
    print((await child.stdout.read()).decode().strip())
    print(await asyncio.to_thread(lambda: "thread"))


asyncio.run(main())
"""

THREADS = """
import os, subprocess, tempfile, threading
from concurrent.futures import ThreadPoolExecutor


def work(number):
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x" * number)
        file.flush()
        size = os.path.getsize(file.name)
    return size + int(subprocess.check_output(["echo", str(number)]))


with ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(work, range(40))))
other = threading.Thread(target=lambda: print("joined"))
other.start()
other.join()
"""


def test_multiprocessing(launcher: Launcher, tier: Any, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(MULTIPROCESSING)
    (said,) = run(launcher, tier, tmp_path, [sys.executable, "m.py"])
    assert json.loads(said) == [40425, 40425, 40425, 7]


def test_asyncio(launcher: Launcher, tier: Any, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(ASYNCIO)
    (said,) = run(launcher, tier, tmp_path, [sys.executable, "a.py"])
    assert said.split() == [b"tcp", b"unix", b"child", b"thread"]


def test_threads(launcher: Launcher, tier: Any, tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(THREADS)
    (said,) = run(launcher, tier, tmp_path, [sys.executable, "t.py"])
    assert said.split() == [b"1560", b"joined"]
