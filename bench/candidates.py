"""The ways to run a command that are compared: bare, bubblewrap, strace, sandlock, Proctor in its tiers; and where they run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROCTOR = str(Path(sys.executable).with_name("proctor"))
TIERS = ("proctor", "proctor C", "proctor C protecting")
"""Tier B; tier C; and tier C where the policy protects a file of the workspace, so that changes are made on behalf."""
_GCC = ("gcc", "-O2", "-Wall", "-o")


class Missing(Exception):
    """A program that must be installed by hand is not there."""


@dataclass
class Bench:
    """Folders of one measurement: the workspace (writable in every candidate), and Proctor's state.

    ``more``: further options of ``proctor run``.
    """

    folder: Path
    workspace: Path
    calls: Path
    environ: dict[str, str]
    more: tuple[str, ...] = ()

    def candidate(self, name: str, command: Sequence[str]) -> list[str]:
        """The command line that runs ``command`` in the workspace under the candidate ``name``."""
        work = str(self.workspace)
        if name == "bare":
            return list(command)
        if name == "bubblewrap":
            # What tier B builds, as far as bubblewrap goes: every namespace, the workspace writable, the rest read-only.
            return [
                "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--dev", "/dev",
                "--proc", "/proc", "--tmpfs", "/tmp", "--bind", work, work, "--chdir", work, *command,
            ]  # fmt: skip
        if name == "strace":
            # The same kinds of call as Proctor records. strace's filter cannot look at an open's flags: reads stop too.
            return [
                "strace", "--seccomp-bpf", "-f", "-qq", "-o", str(self.folder / "strace.out"), "-e",
                ("trace=%process,%signal,open,openat,openat2,creat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
                "unlink,unlinkat,mkdir,mkdirat,rmdir,truncate,ftruncate,chmod,fchmod,fchmodat,connect,bind,listen,sendto"),
                *command,
            ]  # fmt: skip
        if name == "sandlock":
            runner = str(HERE / "workload" / "under_sandlock.py")
            return [sys.executable, runner, str(self.folder / "sandlock.out"), work, *command]
        if name not in TIERS:
            raise ValueError(name)
        protecting = ["--policy", str(self.folder / "policy.toml")] if name.endswith("protecting") else []
        return [
            PROCTOR,
            "run",
            "--quiet",
            "--tier",
            "C" if "C" in name else "B",
            *self.more,
            *protecting,
            "--",
            *command,
        ]


def available() -> tuple[list[str], list[str]]:
    """The candidates of this machine, and the programs that are missing for the others."""
    needed = {"bare": None, "bubblewrap": "bwrap", "strace": "strace"} | dict.fromkeys(TIERS)
    missing = [program for program in needed.values() if program is not None and shutil.which(program) is None]
    return [name for name, program in needed.items() if program is None or shutil.which(program)], missing


@contextmanager
def bench() -> Iterator[Bench]:
    """A workspace with the compiled workload in it, and a state folder beside it; both are removed at the end.

    Raises:
        Missing: there is no C compiler.
    """
    if shutil.which("gcc") is None:
        raise Missing("gcc is not installed; the workload is a C program (see bench/README.md)")
    # Not below /tmp: the sandbox mounts its own there, and bubblewrap as it is used here does too.
    with tempfile.TemporaryDirectory(prefix="proctor-bench-", dir="/var/tmp") as folder:
        base = Path(folder).resolve()
        workspace = base / "workspace"
        workspace.mkdir()
        calls = workspace / "calls"
        (workspace / "kept").write_text("protected\n")
        (base / "policy.toml").write_text('[files]\nwrite = ["."]\nprotect = ["kept"]\n')
        subprocess.run([*_GCC, str(calls), str(HERE / "workload" / "calls.c")], check=True)
        environ = os.environ | {"XDG_STATE_HOME": str(base / "state"), "XDG_CACHE_HOME": str(base / "cache")}
        os.environ.update(environ)
        yield Bench(base, workspace, calls, environ)
