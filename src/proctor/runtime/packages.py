"""What of this installation a runtime needs: Proctor itself, and the packages that its metadata asks for."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from proctor.errors import UsageError

__all__ = ["Source", "closure", "files_of", "own_files"]

_KEPT_METADATA = re.compile(
    r"[^/]+\.dist-info/(METADATA$|licen[sc]es?/|(LICEN[SC]E|COPYING|NOTICE)[^/]*$)", re.IGNORECASE
)
"""Of a package's metadata: its name, version and licences. The rest tells of the machine that it was installed on."""


class Source(NamedTuple):
    """A file to copy: where it goes, below the folder that is imported from, and where it is."""

    to: str
    path: Path


def _name(text: str) -> str:
    """A package's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", text).lower()


def closure(name: str) -> list[metadata.Distribution]:
    """Return the distribution ``name`` and all that it asks for, sorted by name.

    Raises:
        UsageError: one of them is not installed.
    """
    found: dict[str, metadata.Distribution] = {}
    wanted = [(name, False)]
    while wanted:
        one, optional = wanted.pop()
        if _name(one) in found:
            continue
        try:
            distribution = metadata.distribution(one)
        except metadata.PackageNotFoundError:
            if optional:
                continue  # its marker says that this Python does without
            raise UsageError(
                f"export-runtime: {one} is not installed; install Proctor with what it depends on"
            ) from None
        found[_name(one)] = distribution
        for requirement in distribution.requires or ():
            wanted_name = re.match(r"[A-Za-z0-9._-]+", requirement)
            if wanted_name is not None and "extra ==" not in requirement:
                wanted.append((wanted_name[0], ";" in requirement))
    return [found[key] for key in sorted(found)]


def files_of(distribution: metadata.Distribution, left_out: list[str]) -> Iterator[Source]:
    """Yield a package's files, each as its own record says that it was installed.

    Args:
        left_out: gets the data files that were changed since, as certificates are on many machines.

    Raises:
        UsageError: a program file has been changed since, or the installation does not say what belongs to it.
    """
    name = distribution.metadata["Name"]
    if distribution.files is None:
        raise UsageError(f"export-runtime: {name}: its installation has no RECORD of its files; install it with pip")
    for file in sorted(distribution.files, key=str):
        text = str(file)
        if text.startswith(("..", "/")) or "__pycache__" in file.parts or text.endswith((".pyc", ".pyi", ".pth")):
            continue
        if ".dist-info/" in text and _KEPT_METADATA.match(text) is None:
            continue
        path = Path(str(file.locate()))
        if file.hash is not None:
            digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
                if path.suffix not in {".py", ".so"}:
                    left_out.append(text)
                    continue
                raise UsageError(f"export-runtime: {name}: {text} is not as it was installed; install {name} again")
        yield Source(text, path)


def own_files(package: Path) -> Iterator[Source]:
    """Yield the files of Proctor itself, from the folder that it was imported from: a checkout may have no record."""
    for folder, folders, names in os.walk(package):
        folders[:] = sorted(one for one in folders if one != "__pycache__")
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in {".py", ".yml", ".typed", ".o"}:
                yield Source(f"{package.name}/{path.relative_to(package)}", path)
