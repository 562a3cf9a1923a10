from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.live.unprivileged import CHECKOUT

# Prints what a process run through tests.live.unprivileged finds. The numbers are those of tests/live/conftest.py.
_FINDINGS = """
import ctypes, json, os, pathlib, pwd, sys, tempfile, proctor
home = pathlib.Path(os.environ["HOME"])
with tempfile.TemporaryDirectory() as folder:
    temporary = os.access(folder, os.W_OK)
status = pathlib.Path("/proc/self/status").read_text()
found = {
    "uids": os.getresuid(),
    "groups": os.getgroups(),
    "capabilities": int(status.split("CapEff:")[1].split()[0], 16),
    "no_setuid_back": True,
    "prefix": sys.prefix,
    "proctor": proctor.__file__,
    "home": os.access(home, os.W_OK),
    "temporary": temporary,
    "checkout_writable": os.access(sys.argv[2], os.W_OK),
    "names": [entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == os.getuid()],
    "needed": pathlib.Path(sys.argv[1]).read_text(),
}
try:
    os.setuid(0)
    found["no_setuid_back"] = False
except PermissionError:
    pass
libc = ctypes.CDLL(None, use_errno=True)
found["namespaces"] = libc.unshare(0x10020000) or libc.mount(b"none", b"/", None, ctypes.c_ulong(0x44000), None)
print(json.dumps(found))
"""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.live.unprivileged", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_has_no_privileges_and_all_it_needs(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    needed = closed / "deeper" / "needed.txt"
    needed.parent.mkdir(parents=True)
    needed.write_text("reached")
    closed.chmod(0o700)

    done = _run("--need", str(needed), "--", sys.executable, "-c", _FINDINGS, str(needed), CHECKOUT)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 0 not in found["uids"]
    assert found["capabilities"] == 0
    assert found["no_setuid_back"]
    assert found["namespaces"] == 0
    assert found["prefix"] == sys.prefix
    assert found["proctor"].startswith(CHECKOUT)
    assert found["home"]
    assert found["temporary"]
    assert found["needed"] == "reached"
    if os.getuid() == 0:
        assert found["groups"] == []
        assert not found["checkout_writable"]
        assert found["names"] == ["proctor-tests"]


def test_the_exit_status_is_the_commands() -> None:
    assert _run("--", sys.executable, "-c", "raise SystemExit(7)").returncode == 7


def test_nothing_is_left_in_the_callers_view(tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    (tmp_path / "mine").write_text("kept")

    assert _run("--", sys.executable, "-c", "pass").returncode == 0

    assert Path("/proc/self/mountinfo").read_text(encoding="utf-8") == before
    assert (tmp_path / "mine").read_text() == "kept"
