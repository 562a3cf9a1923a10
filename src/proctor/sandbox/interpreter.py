"""What a command needs to be readable in order to start: its executable, its interpreter and their prefixes.

Nothing is assumed: the path is searched, links are followed one by one, ``#!`` lines and ``pyvenv.cfg`` are read, and
each folder found on the way is one that the sandbox must show.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

from proctor.errors import UsageError

__all__ = ["Command", "mark_program", "resolve", "runtime_folder"]

_BIN_FOLDERS = ("bin", "sbin", "shims", "Scripts", "libexec")
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc")
_MAX_STEPS = 16


@dataclass(frozen=True, slots=True)
class Command:
    """A command ready to run: the path of its executable, and the folders and files it must be able to read."""

    path: str
    readable: tuple[str, ...]


def runtime_folder() -> str | None:
    """The folder of an exported runtime with an interpreter of its own that this is run from; None elsewhere."""
    app = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    root = os.path.dirname(app)
    there = os.path.basename(app) == "app" and os.path.isfile(f"{root}/manifest.json")
    return root if there and os.path.isdir(f"{root}/python") else None


def mark_program() -> bytes:
    """The program ``proctor mark`` of a sandbox: for its Python, or a runtime's, since the image may have none."""
    root = runtime_folder()
    if root is not None:
        return f'#!/bin/sh\nexec {shlex.quote(f"{root}/proctor")} "$@"\n'.encode("utf-8", "surrogateescape")
    with open(f"{os.path.dirname(os.path.abspath(__file__))}/mark.py", "rb") as file:
        return file.read()


def _search(name: str, search_path: str, folder: str) -> str:
    if "/" in name:
        path = os.path.normpath(os.path.join(folder, name))
        if not os.path.lexists(path):
            raise UsageError(f"command {name!r}: no such file")
        return path
    for part in search_path.split(os.pathsep):
        path = os.path.join(folder, part or ".", name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return os.path.normpath(path)
    raise UsageError(f"command {name!r}: not found in PATH")


def _in_system(path: str) -> bool:
    return any(path == root or path.startswith(root + "/") for root in _SYSTEM)


def _prefix(path: str) -> str | None:
    """The folder to show for an executable: the one above ``bin``, or the file alone where that would show too much."""
    folder = os.path.dirname(path)
    above = os.path.dirname(folder)
    if (
        os.path.basename(folder) in _BIN_FOLDERS and above.count("/") >= 2 and above != os.path.expanduser("~")
    ):  # never a top folder
        return above
    return path


def _virtual_environment(path: str) -> list[str]:
    """The base interpreter's folder, if ``path`` lies in a virtual environment (PEP 405)."""
    config = os.path.join(os.path.dirname(os.path.dirname(path)), "pyvenv.cfg")
    try:
        with open(config, encoding="utf-8", errors="replace") as file:
            lines = [line.partition("=") for line in file]
    except OSError:
        return []
    values = {key.strip().lower(): value.strip() for key, _, value in lines}
    return [os.path.join(values["home"], "python3")] if values.get("home") else []


def _shebang(path: str, search_path: str, folder: str) -> list[str]:
    """The interpreter named by a ``#!`` line, and for ``env`` the program that it will look up."""
    try:
        with open(path, "rb") as file:
            first = file.readline(256)
    except OSError as error:
        raise UsageError(f"command {path}: cannot be read ({error.strerror})") from None
    if not first.startswith(b"#!"):
        return []
    words = os.fsdecode(first[2:]).split()
    if not words:
        return []
    found = [words[0]]
    if os.path.basename(words[0]) == "env":
        named = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), None)
        if named is not None:
            found.append(_search(named, search_path, folder))
    return found


def resolve(name: str, *, search_path: str, folder: str) -> Command:
    """Find ``name`` as a shell would and everything it needs to start.

    Args:
        name: the command's first word.
        search_path: PATH to search.
        folder: the folder that relative paths start from.

    Raises:
        UsageError: there is no such command, it may not be executed, or its interpreter is missing.
    """
    start = _search(name, search_path, folder)
    if not os.access(start, os.X_OK):
        raise UsageError(f"command {start}: may not be executed by this user, or its folder may not be entered")
    readable: list[str] = []
    queue, seen = [start], set[str]()
    while queue and len(seen) < _MAX_STEPS:
        path = os.path.normpath(queue.pop(0))
        if path in seen:
            continue
        seen.add(path)
        if not os.path.lexists(path):
            raise UsageError(f"command {start}: needs {path}, which is not there")
        prefix = _prefix(path)
        if prefix is not None and not _in_system(path) and prefix not in readable:
            readable.append(prefix)
        queue += _virtual_environment(path)
        real_folder = os.path.realpath(os.path.dirname(path))
        direct = os.path.join(real_folder, os.path.basename(path))
        if direct != path:
            queue.append(direct)
        if os.path.islink(path):
            queue.append(os.path.join(os.path.dirname(path), os.readlink(path)))
        elif os.path.isfile(path):
            queue += _shebang(path, search_path, folder)
    return Command(path=start, readable=tuple(readable))
