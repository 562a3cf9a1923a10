"""Sigma YAML to compiled rules (pySigma), and the cache that makes this happen once.

Rules of a folder are its files ``*.yml``, at any depth. pySigma costs 200 ms to import, so it is imported only where
the cache does not hold these very files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from proctor.detectors.rules import Rule, RuleSet, Unevaluable
from proctor.errors import RuleError

__all__ = ["COMPILED", "SHIPPED", "compile_rules", "compiled_name", "load"]

SHIPPED = Path(__file__).resolve().parent.parent / "rules"
"""The rules that come with Proctor."""

COMPILED = "compiled"
"""Folder beside the shipped rules' in which an exported runtime has them compiled; nothing else makes it."""

VERSION = 2
"""Version of the compiled form; part of the digest."""

MAX_FILE = 1024 * 1024
"""Longest rule file, bytes; the longest that SigmaHQ publishes has 30,000."""


class _File(NamedTuple):
    """A rule file: its path below its folder, where it is, its bytes, and whether it came with Proctor."""

    name: str
    path: Path
    content: bytes
    outside: bool


def _files(folders: Sequence[Path]) -> list[_File]:
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise RuleError("no such folder of rules", file=str(folder))
        paths = sorted(folder.rglob("*.yml"))
        if not paths:
            raise RuleError(
                "a folder of rules that holds none; allowed are files *.yml, at any depth", file=str(folder)
            )
        outside = folder.resolve() != SHIPPED
        found += [_File(str(path.relative_to(folder)), path, _content(path), outside) for path in paths]
    return found


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise RuleError("no rule: it is not a regular file", file=str(path))
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise RuleError(f"no rule: it cannot be read: {error.strerror}", file=str(path)) from None
    if len(content) > MAX_FILE:
        raise RuleError(f"no rule: it is longer than {MAX_FILE} bytes", file=str(path))
    return content


def _digest(files: list[_File]) -> str:
    digest = hashlib.sha256(f"proctor-rules-{VERSION}\0".encode())
    for file in files:
        name = os.fsencode(file.name)
        digest.update(b"%d %d %d\0" % (file.outside, len(name), len(file.content)) + name + file.content)
    return digest.hexdigest()


def compiled_name(digest: str) -> str:
    """The name under which the compiled form of rules with this digest is kept."""
    return f"rules-{digest[:32]}.json"


def load(folders: Sequence[Path], cache: Path | None) -> RuleSet:
    """Return the shipped rules and those of ``folders``, from the cache where it has these very files.

    A cache that is damaged is made anew; one that cannot be written is done without, and so is None.

    Raises:
        RuleError: a rule file cannot be compiled.
    """
    files = _files([SHIPPED, *folders])
    digest = _digest(files)
    name = compiled_name(digest)
    for kept in (SHIPPED.parent / COMPILED, cache):
        if kept is not None:
            with contextlib.suppress(OSError, msgspec.DecodeError):
                found = msgspec.json.decode((kept / name).read_bytes(), type=RuleSet)
                if found.digest == digest:
                    return found
    compiled = _compile(files, digest)
    if cache is None:
        return compiled
    path = cache / name
    with contextlib.suppress(OSError):
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(compiled))
        part.replace(path)
    return compiled


def compile_rules(folders: Sequence[Path]) -> RuleSet:
    """Compile the rules of ``folders`` alone, without any cache.

    Raises:
        RuleError: a rule file cannot be compiled.
    """
    files = _files(folders)
    return _compile(files, _digest(files))


def _compile(files: list[_File], digest: str) -> RuleSet:
    from proctor.detectors.correlating import link  # pySigma, as said above
    from proctor.detectors.documents import guarded, is_correlation, read, single

    documents = []
    for file in files:
        slug = file.name.removesuffix(".yml").replace("/", ".")
        documents += read(str(file.path), slug, file.content, outside=file.outside)
    names = Counter(one.name for one in documents)
    for one in documents:
        if names[one.name] > 1:
            raise RuleError(
                f"{one.name}: two rules have this name; allowed is one each, over all folders", file=one.file
            )
    singles = {one.name: guarded(one, partial(single, one)) for one in documents if not is_correlation(one)}
    every = link(documents, singles)
    ordered = [every[one.name] for one in documents]
    return RuleSet(
        digest=digest,
        rules=tuple(one for one in ordered if isinstance(one, Rule)),
        unevaluable=tuple(one for one in ordered if isinstance(one, Unevaluable)),
    )
