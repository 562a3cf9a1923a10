"""A place to run episodes in: a workspace, a policy, state of its own, and a reader for what was recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

__all__ = ["PROCTOR", "SECONDS", "SLOWER", "Place", "Run", "alive", "events", "waiting_for"]

PROCTOR = str(Path(sys.executable).parent / "proctor")
SLOWER = float(os.environ.get("PROCTOR_TESTS_SLOWER", "1"))
"""How many times longer everything may take; an emulated machine (tests/kernels) says so."""
SECONDS = 180 * SLOWER
"""After this long something hangs; nothing here measures time."""


def events(out: Path) -> list[dict[str, Any]]:
    """Every whole line of a journal."""
    raw = (out / "journal" / "000000.jsonl").read_bytes()
    return [json.loads(line) for line in raw.split(b"\n")[:-1]]


def alive(marker: str) -> list[int]:
    """Processes whose arguments hold ``marker``, whoever's they are."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def waiting_for(path: Path, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until ``path`` exists, or fail where it cannot any more."""
    import time

    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert process is None or process.poll() is None, f"it ended with {process.returncode} before {path} was there"
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.002)


@dataclass(frozen=True)
class Run:
    """A ``proctor run`` that ended."""

    status: int
    stdout: bytes
    stderr: bytes
    out: Path

    @property
    def events(self) -> list[dict[str, Any]]:
        return events(self.out)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] in kinds]

    @property
    def verdict(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self.out / "verdict.json").read_bytes())
        return read


class Place:
    """A workspace below ``folder``. The cache of compiled rules is shared by all places of a test session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        self.state = folder / "state"
        self.env = dict(os.environ, XDG_STATE_HOME=str(self.state), XDG_CACHE_HOME=str(folder.parent / "cache"))
        self._runs = 0

    def file(self, name: str, text: str = "", *, executable: bool = False) -> Path:
        """Write a file of the workspace."""
        path = self.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if executable:
            path.chmod(0o755)
        return path

    def policy(self, text: str) -> str:
        """Write the policy, outside of the workspace."""
        path = self.folder / "policy.toml"
        path.write_text(text)
        return str(path)

    def new_out(self) -> Path:
        self._runs += 1
        return self.folder / f"out-{self._runs}"

    def command(self, *argv: str, policy: str | None = None, options: Sequence[str] = (), out: Path) -> list[str]:
        """The command line of ``proctor run``."""
        given = [] if policy is None else ["--policy", self.policy(policy)]
        return [PROCTOR, "run", *given, "--out", str(out), *options, "--", *argv]

    def run(
        self, *argv: str, policy: str | None = None, options: Sequence[str] = (), stdin: bytes | IO[bytes] = b"",
    ) -> Run:  # fmt: skip
        """Run an agent to its end."""
        out = self.new_out()
        with_input: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        done = subprocess.run(
            self.command(*argv, policy=policy, options=options, out=out), cwd=self.workspace, env=self.env,
            capture_output=True, timeout=SECONDS, check=False, **with_input,
        )  # fmt: skip
        return Run(done.returncode, done.stdout, done.stderr, out)

    @contextmanager
    def started(
        self, *argv: str, policy: str | None = None, options: Sequence[str] = ()
    ) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """Start an agent; what still runs at the end is ended."""
        out = self.new_out()
        with subprocess.Popen(
            self.command(*argv, policy=policy, options=options, out=out), cwd=self.workspace, env=self.env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                yield process, out
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)

    def finished(self, process: subprocess.Popen[bytes], out: Path) -> Run:
        """Wait for an agent that was started."""
        stdout, stderr = process.communicate(timeout=SECONDS)
        return Run(process.returncode, stdout, stderr, out)

    def proctor(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[bytes]:
        """Any other command of Proctor's."""
        return subprocess.run(
            [PROCTOR, *words], cwd=self.workspace, env=self.env, stdin=stdin, capture_output=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip

    def supervisor(self, client: subprocess.Popen[bytes]) -> int:
        """The supervisor's pid: the child of ``proctor run``."""
        children = Path(f"/proc/{client.pid}/task/{client.pid}/children").read_text().split()
        return next(int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "proctor-super")
