"""What a supervisor is told about the episode it is to supervise."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from proctor.errors import UsageError
from proctor.policy.records import Policy
from proctor.sandbox.layout import Layout

__all__ = ["EpisodeSpec", "cache_folder", "folders", "new_id", "output_folder", "state_folder"]


class EpisodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything but the commands. Paths are absolute."""

    episode: str
    out: str
    policy: Policy
    policy_digest: str
    layout: Layout
    rules: tuple[str, ...] = ()
    keys: str
    cache: str
    secrets: tuple[str, ...] = ()
    umask: int = 0o022


def state_folder() -> Path:
    """``$XDG_STATE_HOME/proctor``, by default ``~/.local/state/proctor`` (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base).resolve() / "proctor"


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/proctor``, by default ``~/.cache/proctor``."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base).resolve() / "proctor"


def folders(given: Sequence[str]) -> tuple[str, ...]:
    """Folders of rules as a supervisor gets them: absolute, each once, in their order."""
    return tuple(dict.fromkeys(str(Path(folder).resolve()) for folder in given))


def new_id() -> str:
    """A new episode id: UTC time and four random bytes."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(4)


_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def output_folder(out: str | None, episode: str, policy: Policy) -> Path:
    """Where the record goes.

    Raises:
        UsageError: the folder lies in a place that the agent can write to, or holds something already.
    """
    if _ID.fullmatch(episode) is None:
        raise UsageError(f"episode id {episode!r}: letters, digits, '.', '_' and '-' are allowed, at most 100")
    folder = Path(out).resolve() if out is not None else state_folder() / "episodes" / episode
    for root in policy.files.write:
        if folder == Path(root) or Path(root) in folder.parents:
            what = "--out" if out is not None else "the default output folder"
            raise UsageError(f"{what} {folder}: lies in {root}, which the agent can write to; choose a folder outside")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--out {folder}: exists and is not an empty folder")
    return folder
