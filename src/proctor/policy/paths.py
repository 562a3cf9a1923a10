"""Paths of ``[files]``: resolved against the workspace, and checked against what can be kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

__all__ = ["SYSTEM", "inside", "planted_link", "resolve", "roots_conflict", "writable"]

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc")
"""Folders that every sandbox shows, read-only."""

_KERNEL = ("/proc", "/sys", "/dev")
_SOURCES = "/usr/src"  # where container images keep a workspace; it holds no program


def inside(path: str, root: str) -> bool:
    """Return whether ``path`` is ``root`` or lies below it, part by part."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def resolve(text: str, workspace: str, *, folder: bool = False) -> str:
    """Return the real path of ``text``, relative to ``workspace``; ``~`` is the caller's home.

    Raises:
        ValueError: it does not exist, is not a file or folder, or the sandbox cannot show it.
    """
    if not text:
        raise ValueError("an empty path; allowed is a path relative to the workspace, or an absolute one")
    if "\0" in text:
        raise ValueError("a path with a NUL in it, which no file has; allowed is a path without")
    asked = os.path.join(workspace, os.path.expanduser(text) if text == "~" or text.startswith("~/") else text)
    path = "/" + os.path.realpath(asked).lstrip("/")
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise ValueError(f"{path} cannot be used: {error.strerror}; allowed is a path that exists") from None
    if folder and not stat.S_ISDIR(mode):
        raise ValueError(f"{path} is not a folder")
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise ValueError(f"{path} is neither a file nor a folder")
    if path == "/" or any(inside(path, root) for root in _KERNEL):
        raise ValueError(
            f"{path} cannot be shown in a sandbox; allowed is a path outside / itself, /proc, /sys and /dev"
        )
    return path


def writable(path: str) -> None:
    """Check that ``path`` may be a write root.

    Raises:
        ValueError: it is a system folder or lies in one.
    """
    if inside(path, "/boot") or any(inside(path, root) for root in SYSTEM):
        if inside(path, _SOURCES) and path != _SOURCES:
            return
        raise ValueError(f"{path} is a system folder; allowed is a folder of the user's own")


def planted_link(text: str, workspace: str, writes: Iterable[str]) -> str | None:
    """Return the first symbolic link on the way to ``text`` that an agent could replace, if there is one."""
    roots = tuple(writes)
    here = "/"
    for part in os.path.join(workspace, text).split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        step = os.path.join(here, part)
        if os.path.islink(step):
            if any(inside(here, root) for root in roots):
                return step
            step = os.path.realpath(step)
        here = step
    return None


def roots_conflict(path: str, roots: Iterable[str]) -> str | None:
    """Return the root that ``path`` is, or holds, if there is one."""
    return next((root for root in roots if inside(root, path)), None)
