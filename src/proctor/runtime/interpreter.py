"""The interpreter of a runtime: the one that runs the export, with the libraries and the loader that it is linked to.

Started through its own loader (ld.so(8)), it takes nothing from the image: neither its libc nor any other file of it.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from proctor.errors import UsageError
from proctor.runtime.packages import Source

__all__ = ["Interpreter", "find", "libraries", "standard_library"]

_UNUSED = {
    "__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3",
    "ensurepip", "pydoc_data", "distutils", "venv", "sqlite3", "dbm", "curses", "lib-dynload",
}  # fmt: skip
"""Folders of the standard library that nothing here imports."""

_UNUSED_FILES = {"sitecustomize.py", "turtle.py", "EXTERNALLY-MANAGED"}

_UNUSED_MODULES = ("_tkinter", "_curses", "readline", "_sqlite3", "_dbm", "_gdbm", "nis", "_test", "_xxtest", "xx",
                   "_ssl", "_hashlib", "ossaudiodev", "audioop", "_crypt")  # fmt: skip
"""Extension modules left out. Without ``_hashlib`` hashlib takes Python's own SHA-256; both save libcrypto's 5 MB."""


class Interpreter(NamedTuple):
    """``executable``: the file itself. ``loader``: the program that starts it, as it names it (PT_INTERP)."""

    executable: Path
    loader: Path
    version: str

    @property
    def name(self) -> str:
        """``python3.11`` and the like: of the executable, and of the folder of its standard library."""
        return f"python{self.version}"


def find() -> Interpreter:
    """Return the interpreter that runs this.

    Raises:
        UsageError: it is none that can be moved so: not CPython, or not linked against the GNU C library.
    """
    executable = Path(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
    loader = _loader(executable)
    if sys.implementation.name != "cpython" or loader is None or not Path(loader).name.startswith("ld-linux"):
        raise UsageError(
            f"export-runtime --python: {executable} is not CPython on the GNU C library, which is what can be carried "
            "into any image; run Proctor with such a one (Debian's python3)"
        )
    return Interpreter(executable, Path(loader), f"{sys.version_info[0]}.{sys.version_info[1]}")


def _loader(path: Path) -> str | None:
    """The program interpreter of a 64-bit ELF file (elf(5)): PT_INTERP, 3; None where there is none."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02" or len(head) < 64:
            return None
        (offset,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        file.seek(offset)
        table = file.read(size * count)
        for start in range(0, len(table), size):
            kind, _, at, _, _, length = struct.unpack_from("<IIQQQQ", table, start)
            if kind == 3:
                file.seek(at)
                return os.fsdecode(file.read(length).rstrip(b"\0"))
    return None


def standard_library(of: Interpreter) -> Iterator[Source]:
    """Yield the files of the standard library that a runtime needs, below ``lib``."""
    base = Path(sysconfig.get_path("stdlib"))
    for folder, folders, names in os.walk(base):
        folders[:] = sorted(one for one in folders if one not in _UNUSED and not one.startswith("config-"))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in {".py", ".txt"} and name not in _UNUSED_FILES and path.is_file():
                yield Source(f"{of.name}/{path.relative_to(base)}", path)
    modules = Path(sysconfig.get_config_var("DESTSHARED") or base / "lib-dynload")
    for path in sorted(modules.glob("*.so")):
        if not path.name.startswith(_UNUSED_MODULES):
            yield Source(f"{of.name}/lib-dynload/{path.name}", path)


def libraries(of: Interpreter, native: Iterable[Path]) -> dict[str, Path]:
    """Return the shared libraries that the interpreter and ``native`` need, by the name they are asked for by.

    Raises:
        UsageError: one of them is not there.
    """
    found = {of.loader.name: of.loader}
    for path in (of.executable, *native):
        done = subprocess.run([str(of.loader), "--list", str(path)], capture_output=True, text=True, check=False)
        if missing := re.search(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE):
            raise UsageError(f"export-runtime --python: {path} needs {missing[1]}, which is not there")
        for name, where in re.findall(r"^\s*(\S+) => (/\S+) \(", done.stdout, re.MULTILINE):
            found.setdefault(name, Path(where))
    if (unwinder := _loaded("libgcc_s.so.1")) is not None:
        found.setdefault("libgcc_s.so.1", unwinder)  # libc opens it itself when a thread is ended (pthread_exit(3))
    own = {path.name for path in native}
    return {name: Path(os.path.realpath(found[name])) for name in sorted(found) if name not in own}


def _loaded(name: str) -> Path | None:
    """Where the loader finds a library, by loading it."""
    with suppress(OSError):
        ctypes.CDLL(name)
        for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            if line.endswith(f"/{name}"):
                return Path(line.split(maxsplit=5)[5])
    return None
