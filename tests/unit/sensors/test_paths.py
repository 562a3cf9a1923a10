from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proctor.sandbox.layout import Layout, Mask
from proctor.sensors.paths import Resolver

ME = os.getpid()


@pytest.fixture
def resolver(tmp_path: Path) -> Iterator[Resolver]:
    """A root of its own below ``tmp_path``: absolute links inside must stay inside."""
    for folder in ("ws/tests", "ws/sol", "etc", "tmp", "proc"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ws/tests/t.py").write_text("")
    (tmp_path / "ws/link").symlink_to("/ws/tests/t.py")
    (tmp_path / "ws/away").symlink_to("../../../../../../etc")
    (tmp_path / "ws/dangling").symlink_to("/nowhere/x")
    (tmp_path / "ws/loop").symlink_to("loop")
    layout = Layout(
        workspace="/ws", home="/home/agent", mounts=(), protect=("/ws/tests",), anchors=(), write_roots=("/ws",),
        masks=(Mask("/ws/sol", "hidden", folder=True),),
    )  # fmt: skip
    root = os.open(tmp_path, os.O_PATH)
    yield Resolver(root, layout)
    os.close(root)


def inside(tmp_path: Path, found: str | None) -> str | None:
    """A path as the sandbox would show it: here its root is only a folder, which the kernel names in front."""
    return found.removeprefix(str(tmp_path)) if found is not None else None


@pytest.mark.parametrize(
    ("path", "follow", "expected", "existed"),
    [
        (b"/ws/tests/t.py", True, "/ws/tests/t.py", True),
        (b"/ws/link", True, "/ws/tests/t.py", True),
        (b"/ws/link", False, "/ws/link", True),
        (b"/ws/away", True, "/etc", True),
        (b"/ws/new", True, "/ws/new", False),
        (b"/ws/away/new", True, "/etc/new", False),
        (b"/ws/./tests/../tests//t.py", True, "/ws/tests/t.py", True),
        (b"/../../../ws/new", True, "/ws/new", False),
        (b"/no/such/folder", True, None, False),
        (b"/ws/loop", False, "/ws/loop", True),
    ],
)  # fmt: skip
def test_paths_resolve_inside_the_root(
    resolver: Resolver,
    tmp_path: Path,
    path: bytes,
    follow: bool,
    expected: str | None,
    existed: bool,
) -> None:
    found = resolver.resolve(ME, ME, -100, path, follow=follow)
    assert inside(tmp_path, found.object) == expected
    assert found.existed is existed
    assert found.claimed == os.fsdecode(path)


@pytest.mark.parametrize(
    ("path", "role"),
    [
        (b"/ws", "workspace"), (b"/ws/a", "workspace"), (b"/ws/tests", "protected"), (b"/ws/tests/t.py", "protected"),
        (b"/ws/tests2", "workspace"), (b"/ws/sol/x", "hidden"), (b"/tmp/x", "scratch"), (b"/home/agent/.x", "scratch"),
        (b"/etc/passwd", "system"), (b"/wsx", "system"),
    ],
)  # fmt: skip
def test_roles_compare_whole_components_and_the_longest_wins(resolver: Resolver, path: bytes, role: str) -> None:
    assert resolver.role(path) == role


def test_ones_own_proc_is_the_callers(resolver: Resolver) -> None:
    assert resolver.resolve(ME, 7, -100, b"/proc/self/mem", follow=True).object == "/proc/7/mem"
    assert resolver.resolve(ME, 7, -100, b"/dev/fd/3", follow=True).object == "/proc/7/fd/3"


def test_bytes_that_are_no_utf8_survive(resolver: Resolver) -> None:
    from proctor.events.text import to_bytes

    found = resolver.resolve(ME, ME, -100, b"/ws/\xff\xfe", follow=True)
    assert to_bytes(found.claimed) == b"/ws/\xff\xfe"
