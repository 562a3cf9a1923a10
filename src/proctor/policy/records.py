"""The policy as frozen records. Paths are absolute and normalised; see :mod:`proctor.policy.load` for the file."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["Action", "Authorise", "Endpoint", "Env", "Episode", "Files", "Network", "Policy", "Resources", "Responses"]

Action = Literal["log", "freeze", "kill"]


class Episode(Struct, frozen=True, kw_only=True):
    """``[episode]``: both optional. ``id`` matches ``[A-Za-z0-9][A-Za-z0-9._-]{0,99}``."""

    id: str | None = None
    task: str | None = None


class Files(Struct, frozen=True, kw_only=True):
    """``[files]``: absolute paths. ``home``: ``fresh`` (an empty one) or an absolute folder, mounted read-only."""

    write: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    protect: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    home: str = "fresh"


class Endpoint(Struct, frozen=True, kw_only=True):
    """One allowed destination. ``host`` is a lower-case name, an IPv4 address or an IPv6 address without brackets."""

    host: str
    port: int


class Network(Struct, frozen=True, kw_only=True):
    """``[network]``: what may be reached through the gateway; nothing else can be."""

    allow: tuple[Endpoint, ...] = ()


class Env(Struct, frozen=True, kw_only=True, rename={"pass_": "pass"}):
    """``[env]``: names passed on from the caller's environment, and values set."""

    pass_: tuple[str, ...] = ()
    set: dict[str, str] = {}


class Resources(Struct, frozen=True, kw_only=True):
    """``[resources]``: None means no limit of Proctor's own."""

    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    memory_mb: int | None = None
    processes: int = 4096


class Responses(Struct, frozen=True, kw_only=True):
    """``[responses]``: what to do when a finding of level high or critical is not authorised."""

    on_violation: Action = "log"
    category: dict[str, Action] = {}


class Authorise(Struct, frozen=True, kw_only=True):
    """``[[authorise]]``: the task asks for this. ``scope`` is a CIDR range, host:port, a path or ``*``."""

    category: str
    scope: str
    reason: str
    by: str


class Policy(Struct, frozen=True, kw_only=True):
    """Everything the task allows. ``workspace`` is the folder that relative paths were resolved against."""

    workspace: str
    episode: Episode = Episode()
    files: Files = Files()
    network: Network = Network()
    env: Env = Env()
    resources: Resources = Resources()
    responses: Responses = Responses()
    authorise: tuple[Authorise, ...] = ()
