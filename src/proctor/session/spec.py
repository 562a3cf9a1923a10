"""What a supervisor is told about the episode it is to supervise."""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import structs

from proctor.errors import UsageError
from proctor.events.text import printable
from proctor.journal.keys import usable
from proctor.policy.records import Policy
from proctor.sandbox.layout import Layout

__all__ = ["EpisodeSpec", "cache_folder", "folders", "is_id", "keys_folder", "new_id", "output_folder", "state_folder"]


class EpisodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything but the commands. Paths are absolute. ``tier``: the one asked for; None takes the best there is.

    ``all_opens``: opens for reading are recorded too. ``terminal``: the command has a terminal of its own.
    ``keys``: the folder of the signing key; "" for a key that is made for this episode and stored nowhere.
    """

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
    tier: Literal["A", "B", "C"] | None = None
    all_opens: bool = False
    terminal: bool = False

    def in_copies(self, base: str, copies: Sequence[tuple[str, str]]) -> EpisodeSpec:
        """The episode in tier C: see :meth:`Layout.without_namespaces`."""
        layout = self.layout.without_namespaces(base, copies)
        return structs.replace(self, layout=layout, policy=_moved(self.policy, layout))


def _moved(policy: Policy, layout: Layout) -> Policy:
    """The policy with its paths where the agent has them."""
    entries = tuple(structs.replace(entry, scope=layout.moved(entry.scope)) for entry in policy.authorise)
    return structs.replace(policy, authorise=entries)


def state_folder() -> Path:
    """``$XDG_STATE_HOME/proctor``, by default ``~/.local/state/proctor`` (XDG Base Directory Specification).

    Where the user has no home that can be written, as in a container, a folder of the user's own in the temporary one.

    Raises:
        UsageError: that one is somebody else's.
    """
    return _own_folder("XDG_STATE_HOME", ".local/state")


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/proctor``, by default ``~/.cache/proctor``; without a home as :func:`state_folder`."""
    return _own_folder("XDG_CACHE_HOME", ".cache")


def keys_folder(*, streamed: bool) -> str:
    """The folder of the signing key; "" where none can be kept and a collector gets the journal.

    In a container without a home that can be written a key would outlive nothing and be known to nobody. One that is
    never stored cannot be taken from a file either.
    """
    folder = state_folder() / "keys"
    kept = bool(os.environ.get("XDG_STATE_HOME")) or _home() is not None
    return "" if streamed and not (kept and usable(folder)) else str(folder)


def _own_folder(variable: str, below_home: str) -> Path:
    base = os.environ.get(variable)
    if not base:
        base = f"{_home() or _in_temporary()}/{below_home}"
    return Path(base).resolve() / "proctor"


def _home() -> str | None:
    """The user's home, if there is one and it can be written. Without HOME and passwd(5) entry "~" stays as it is."""
    home = os.path.expanduser("~")
    return home if home.startswith("/") and os.access(home, os.W_OK | os.X_OK) else None


def _in_temporary() -> str:
    folder = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"proctor-{os.getuid()}")  # noqa: S108 - looked at below
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.lstat(folder)
    except OSError as error:
        raise UsageError(
            f"no home that can be written, and {folder} cannot be made ({error.strerror}); set XDG_STATE_HOME and "
            "XDG_CACHE_HOME"
        ) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise UsageError(f"{folder}: not a folder that is this user's alone; set XDG_STATE_HOME and XDG_CACHE_HOME")
    return folder


def folders(given: Sequence[str]) -> tuple[str, ...]:
    """Folders of rules as a supervisor gets them: absolute, each once, in their order."""
    return tuple(dict.fromkeys(str(Path(folder).resolve()) for folder in given))


def new_id() -> str:
    """A new episode id: UTC time and four random bytes."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(4)


_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_id(text: str) -> bool:
    """Whether an episode may be called so: it is the name of a folder."""
    return _ID.fullmatch(text) is not None


def output_folder(out: str | None, episode: str, policy: Policy) -> Path:
    """Where the record goes.

    Raises:
        UsageError: the folder lies in a place that the agent can write to, or holds something already.
    """
    if not is_id(episode):
        raise UsageError(f"episode id {episode!r}: letters, digits, '.', '_' and '-' are allowed, at most 100")
    try:
        folder = Path(out).resolve() if out is not None else state_folder() / "episodes" / episode
    except (OSError, RuntimeError, ValueError) as error:  # before Python 3.13 a loop of links is a RuntimeError
        reason = error.strerror if isinstance(error, OSError) else "a loop of symbolic links, or a NUL in its name"
        raise UsageError(f"output folder {printable(str(out))}: cannot be used ({reason}); choose another") from None
    for root in policy.files.write:
        if folder == Path(root) or Path(root) in folder.parents:
            what = "output folder" if out is not None else "the default output folder"
            raise UsageError(f"{what} {folder}: lies in {root}, which the agent can write to; choose a folder outside")
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise UsageError(f"output folder {folder}: cannot be used ({error.strerror}); choose another") from None
    if taken and out is None and policy.episode.id is not None:
        raise UsageError(
            f"episode.id = {episode!r}: {folder} holds the record of an episode of this id; choose another id, leave "
            "it out, or choose another output folder"
        )
    if taken:
        raise UsageError(f"output folder {folder}: exists and is not an empty folder")
    return folder
