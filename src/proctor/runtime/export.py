"""Writes a runtime: the same installation gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

import proctor
from proctor.detectors.compile import COMPILED, compiled_name, load
from proctor.errors import UsageError
from proctor.runtime import interpreter
from proctor.runtime.packages import Source, closure, files_of, own_files

__all__ = ["FORMAT", "export"]

FORMAT = "proctor-runtime-v1"

_TIME = 315532800
"""1980-01-01T00:00:00Z: the modification time of everything, the earliest that archives can hold."""

_MAIN = """\
import sys

if sys.implementation.name != "cpython" or sys.version_info[:2] != {version}:
    found = sys.version.split()[0]
    sys.exit("proctor: this runtime is for CPython {dotted}, not " + found + "; export it with --python")
try:
    import cryptography.exceptions
    import msgspec
except ImportError as error:
    what = "this image's Python cannot load the runtime's native parts"
    sys.exit("proctor: " + what + " (" + str(error) + "); export it with --python")
from proctor.cli import main

sys.exit(main())
"""

_HEAD = """\
#!/bin/sh
# Starts Proctor from this folder, wherever it is mounted. Not through a symbolic link: it looks beside itself.
d=${0%/*}
[ "$d" != "$0" ] || d=.
case $d in /*) ;; *) d=$PWD/$d ;; esac
"""

_WITH_PYTHON = """\
unset LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT # they would bring the image's libraries to a libc that is not theirs
exec "$d/python/lib/{loader}" --inhibit-cache --library-path "$d/python/lib" \\
    "$d/python/bin/{name}" {flags} "$d/app" "$@"
"""

_WITHOUT_PYTHON = """\
for p in {name} python3 python; do
    command -v "$p" >/dev/null 2>&1 && exec "$p" {flags} "$d/app" "$@"
done
echo "proctor: there is no Python in PATH; export the runtime with --python" >&2
exit 2
"""

_FLAGS = "-I -S -B -X utf8"
"""Isolated from the environment and the image's packages (-I, -S), writing nothing beside the sources (-B)."""


_COMPILE = """\
import json, py_compile, sys

for path, target, name, _ in json.load(sys.stdin):
    try:
        py_compile.compile(
            path, target, dfile=name, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    except py_compile.PyCompileError:
        pass  # a template, or another version's syntax: nothing imports it
"""


class _Folder:
    """A runtime that is being written, and what its manifest will say."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, dict[str, Any]] = {}

    def put(self, name: str, content: bytes, mode: int = 0o644) -> Path:
        """Write one file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        digest = hashlib.sha256(content).hexdigest()
        self.files[name] = {"sha256": digest, "bytes": len(content), "mode": f"{mode:o}"}
        return path

    def add(self, below: str, sources: Iterable[Source]) -> list[Path]:
        """Copy files. Returns the native ones, where they come from."""
        native = []
        for source in sources:
            name = f"{below}/{source.to}"
            if name in self.files:
                raise UsageError(f"export-runtime: two packages have a file {source.to}")
            path = self.put(name, source.path.read_bytes())
            if ".so" in path.suffixes:
                native.append(source.path)
        return native

    def compile(self) -> None:
        """Compile every Python file, unchecked: it is taken as it is, whatever the times of a mounted file (PEP 552).

        In a process of its own, with a fixed hash seed and nothing imported: what marshal(3) writes depends on both.
        """
        jobs = []
        for name in [name for name in self.files if name.endswith(".py")]:
            folder, _, stem = name.rpartition("/")
            compiled = f"{folder}/__pycache__/{stem.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"
            (self.root / compiled).parent.mkdir(exist_ok=True)
            jobs.append((str(self.root / name), str(self.root / compiled), name, compiled))
        subprocess.run(
            [sys.executable, "-S", "-s", "-P", "-B", "-c", _COMPILE], input=json.dumps(jobs).encode(),
            env={"PYTHONHASHSEED": "0"}, check=True,
        )  # fmt: skip
        for _, target, _, compiled in jobs:
            if os.path.exists(target):
                self.put(compiled, Path(target).read_bytes())

    def finish(self, about: dict[str, Any]) -> None:
        """Write the digests for sha256sum(1) and the manifest, which is not in itself, and set every time."""
        digests = "".join(f"{one['sha256']}  {name}\n" for name, one in sorted(self.files.items()))
        self.put("SHA256SUMS", digests.encode("utf-8", "surrogateescape"))
        manifest = {**about, "files": dict(sorted(self.files.items()))}
        (self.root / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        (self.root / "manifest.json").chmod(0o644)
        for folder, folders, names in os.walk(self.root, topdown=False):
            for name in (*names, *folders):
                os.utime(os.path.join(folder, name), (_TIME, _TIME))
            os.chmod(folder, 0o755)  # noqa: S103 - read by whatever uid a container has
        os.utime(self.root, (_TIME, _TIME))


def export(directory: Path, *, python: bool) -> dict[str, Any]:
    """Write a runtime into ``directory`` and return what its manifest says, without the files.

    Args:
        directory: new or empty.
        python: with the interpreter that runs this.

    Raises:
        UsageError: the folder is not empty or cannot be written, or this installation cannot be carried elsewhere.
    """
    found = interpreter.find() if python else None
    try:
        if directory.is_dir() and any(directory.iterdir()):
            raise UsageError(f"export-runtime: {directory}: not an empty folder; choose a new one")
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        return _export(_Folder(directory), found)
    except OSError as error:
        raise UsageError(
            f"export-runtime: {error.filename or directory}: {error.strerror}; what is in {directory} is no runtime"
        ) from None


def _export(folder: _Folder, found: interpreter.Interpreter | None) -> dict[str, Any]:
    version = sys.version_info[:2]
    dotted = f"{version[0]}.{version[1]}"
    packages = closure("proctor")
    own = Path(proctor.__file__).parent
    folder.add("app", own_files(own))
    native: list[Path] = []
    left_out: list[str] = []
    for one in packages:
        if one.metadata["Name"] != "proctor":
            native += folder.add("app", files_of(one, left_out))
    rules = load((), None)
    folder.put(f"app/proctor/{COMPILED}/{compiled_name(rules.digest)}", msgspec.json.encode(rules))
    folder.put("app/__main__.py", _MAIN.format(version=version, dotted=dotted).encode())
    name = f"python{dotted}"
    start = _WITHOUT_PYTHON.format(name=name, flags=_FLAGS)
    command: list[str] = [name, *_FLAGS.split(), "DIR/app"]
    if found is not None:
        native += folder.add("python/lib", interpreter.standard_library(found))
        folder.put(f"python/bin/{found.name}", found.executable.read_bytes(), 0o755)
        for library, path in interpreter.libraries(found, native).items():
            mode = 0o755 if library == found.loader.name else 0o644
            folder.put(f"python/lib/{library}", path.read_bytes(), mode)
        loader = found.loader.name
        start = _WITH_PYTHON.format(name=found.name, flags=_FLAGS, loader=loader)
        command = [f"DIR/python/lib/{loader}", "--inhibit-cache", "--library-path", "DIR/python/lib",
                   f"DIR/python/bin/{found.name}", *_FLAGS.split(), "DIR/app"]  # fmt: skip
    folder.compile()
    folder.put("proctor", (_HEAD + start).encode(), 0o755)
    about = {
        "format": FORMAT,
        "proctor": proctor.__version__,
        "machine": platform.machine(),
        "python": {"version": platform.python_version(), "included": found is not None},
        "libc": " ".join(platform.libc_ver()),
        "packages": {one.metadata["Name"]: one.version for one in packages},
        "left_out": left_out,
        "command_without_a_shell": command,
    }
    folder.finish(about)
    return about | {"bytes": sum(one["bytes"] for one in folder.files.values()), "count": len(folder.files)}
