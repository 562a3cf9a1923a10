"""Live tests need a kernel that grants what tier B is made of; where it does not, they say so."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own: a namespace that was entered cannot be left again. The mount is part of the trial, since some
# systems grant a namespace without rights in it. 0x10020000: CLONE_NEWUSER | CLONE_NEWNS; 0x44000: MS_REC | MS_PRIVATE.
_TRIAL = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10020000) or libc.mount(b"none", b"/", None, ctypes.c_ulong(0x44000), None):
    sys.exit(os.strerror(ctypes.get_errno()))
"""


@pytest.fixture(scope="session", autouse=True)
def _user_namespaces() -> None:
    trial = subprocess.run([sys.executable, "-I", "-c", _TRIAL], capture_output=True, text=True, check=False)
    if trial.returncode != 0:
        pytest.skip(f"this kernel grants this user no user namespaces: {trial.stderr.strip()}")
