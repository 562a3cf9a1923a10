"""Live tests need a kernel that grants what tier B is made of; where it does not, they say so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proctor.session.client import Launcher
from tests.live.episode import Place

# In a process of its own: a namespace that was entered cannot be left again. The mount is part of the trial, since some
# systems grant a namespace without rights in it. 0x10020000: CLONE_NEWUSER | CLONE_NEWNS; 0x44000: MS_REC | MS_PRIVATE.
_TRIAL = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10020000) or libc.mount(b"none", b"/", None, ctypes.c_ulong(0x44000), None):
    sys.exit(os.strerror(ctypes.get_errno()))
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What only root can do is tested as root, and left out (and counted as that) for everybody else."""
    left_out = [item for item in items if item.get_closest_marker("root") and os.geteuid() != 0]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", autouse=True)
def _user_namespaces() -> None:
    trial = subprocess.run([sys.executable, "-I", "-c", _TRIAL], capture_output=True, text=True, check=False)
    if trial.returncode != 0:
        pytest.skip(f"this kernel grants this user no user namespaces: {trial.stderr.strip()}")


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """One warm launcher for all, with keys and caches of its own."""
    folder = tmp_path_factory.mktemp("proctor")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        with Launcher() as launcher:
            yield launcher


@pytest.fixture
def place(tmp_path: Path, launcher: Launcher) -> Place:
    return Place(tmp_path, launcher)
