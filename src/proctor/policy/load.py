"""Reads a policy file, once, into frozen records. What is wrong is said in one line and nothing runs.

The file is TOML; ``docs/policy.md`` describes every key. Messages are ``file:line: what is wrong, what is allowed``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from proctor.errors import PolicyError, RecordError
from proctor.events.text import printable
from proctor.policy import paths
from proctor.policy.records import (
    Action,
    Authorise,
    Endpoint,
    Env,
    Episode,
    Files,
    Network,
    Policy,
    Resources,
    Responses,
)
from proctor.policy.scope import Below, endpoint, parse
from proctor.policy.taxonomy import CATEGORIES, FAMILIES, OUTSIDE, is_outside

if TYPE_CHECKING:
    from proctor.policy.source import Table

__all__ = ["default", "digest", "from_dict", "load", "to_dict"]

_ACTIONS: tuple[Action, ...] = ("log", "freeze", "kill")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_YEAR = 366 * 24 * 3600
_TEXT = 10_000
_STRING = 131_072  # MAX_ARG_STRLEN, execve(2): the longest NAME=value a program can be given, with its final NUL
_PIDS = 4_194_304  # PID_MAX_LIMIT, proc_sys_kernel(5)
_MEMORY_MB = 1 << 30

_ENCODER = msgspec.json.Encoder(order="sorted")


def default(workspace: str | os.PathLike[str]) -> Policy:
    """Return the policy used where none is given: ``workspace`` writable, no network, nothing else.

    Raises:
        PolicyError: ``workspace`` is no folder or is a system folder.
    """
    here = _workspace(workspace)
    with _workspace_faults():
        paths.writable(here)
    return Policy(workspace=here, files=Files(write=(here,)))


def load(path: str | os.PathLike[str], workspace: str | os.PathLike[str]) -> Policy:
    """Return the policy of the TOML file ``path``, its relative paths resolved against the folder ``workspace``.

    Raises:
        PolicyError: the file cannot be read or anything in it is wrong; ``str()`` is one line naming file and line.
    """
    # the patterns of a TOML reader, a few ms that a run without a policy file does not spend
    from proctor.policy.source import Source

    here = _workspace(workspace)
    source = Source.read(os.fspath(path))
    root = source.table({"episode", "files", "network", "env", "resources", "responses", "authorise"})
    return Policy(
        workspace=here,
        episode=_episode(root.table("episode", {"id", "task"})),
        files=_files(root.table("files", {"write", "read", "protect", "hide", "home"}), here),
        network=_network(root.table("network", {"allow"})),
        env=_env(root.table("env", {"pass", "set"})),
        resources=_resources(root.table("resources", {"wall_seconds", "cpu_seconds", "memory_mb", "processes"})),
        responses=_responses(root.table("responses", {"on_violation", "category"})),
        authorise=_authorise(root.tables("authorise", {"category", "scope", "reason", "by"}), here),
    )


def to_dict(policy: Policy) -> dict[str, Any]:
    """Return ``policy`` as plain data with the file's own key names; :func:`from_dict` gives it back."""
    plain: dict[str, Any] = msgspec.to_builtins(policy)
    return plain


def from_dict(plain: dict[str, Any]) -> Policy:
    """Return the policy that a record's ``open`` event carries, unchecked against this machine.

    Raises:
        RecordError: the data is no policy.
    """
    try:
        return msgspec.convert(plain, Policy)
    except msgspec.ValidationError as error:
        raise RecordError(f"the record's policy cannot be read: {printable(str(error))}") from error


def digest(policy: Policy) -> str:
    """Return SHA-256, hex, of the policy as JSON with sorted keys and no white space."""
    return hashlib.sha256(_ENCODER.encode(to_dict(policy))).hexdigest()


@contextmanager
def _workspace_faults() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise PolicyError(printable(str(error), 500), file="workspace") from None


def _workspace(workspace: str | os.PathLike[str]) -> str:
    with _workspace_faults():
        return paths.resolve(os.fspath(workspace), os.getcwd(), folder=True)


def _episode(table: Table) -> Episode:
    name = table.text("id", 100)
    if name is not None and not _ID.match(name):
        raise table.wrong("id", "allowed are letters, digits, '.', '_' and '-', the first a letter or digit")
    return Episode(id=name, task=table.text("task", _TEXT))


def _files(table: Table, workspace: str) -> Files:
    def resolved(key: str, check: Callable[[str], None] | None = None, *, folder: bool = False) -> tuple[str, ...]:
        found: list[str] = []
        for at, text in table.texts(key):
            with at.faults():
                path = paths.resolve(text, workspace, folder=folder)
                if key == "protect" and (link := paths.planted_link(text, workspace, writes)):
                    raise ValueError(
                        f"{link} is a symbolic link in a folder that the agent can write, and could be replaced; "
                        "allowed is a path without such a link"
                    )
                if check is not None:
                    check(path)
                found.append(path)
        return tuple(dict.fromkeys(found))

    writes: tuple[str, ...] = ()
    if table.has("write"):
        writes = resolved("write", paths.writable, folder=True)
    else:
        with table.faults("write"):
            paths.writable(workspace)
        writes = (workspace,)
    reads = resolved("read")
    if not any(paths.inside(workspace, root) for root in (*writes, *reads)):
        reads = (*reads, workspace)  # a command starts there
    home = table.text("home", _TEXT) or "fresh"
    if home != "fresh":
        with table.faults("home"):
            home = paths.resolve(home, workspace, folder=True)
    shown = (*writes, *reads, *paths.SYSTEM, *((home,) if home != "fresh" else ()))

    def keepable(path: str) -> None:
        if not any(paths.inside(path, root) for root in shown):
            raise ValueError(f"{path} is not shown in the sandbox; allowed is a path inside one of write or read")
        if (root := paths.roots_conflict(path, (*writes, workspace))) is not None:
            raise ValueError(f"{path} holds {root}, which write or the workspace needs; allowed is a path below it")

    hide = resolved("hide", keepable)
    protect = tuple(p for p in resolved("protect", keepable) if not any(paths.inside(p, hidden) for hidden in hide))
    return Files(write=writes, read=reads, protect=protect, hide=hide, home=home)


def _network(table: Table) -> Network:
    allow: list[Endpoint] = []
    for at, text in table.texts("allow"):
        with at.faults():
            allow.append(endpoint(text))
    return Network(allow=tuple(dict.fromkeys(allow)))


def _variable(name: str) -> None:
    if not _NAME.match(name):
        raise ValueError("no name of a variable; allowed are letters, digits and '_', the first no digit")
    if name.upper().startswith("PROCTOR_"):
        raise ValueError("names beginning with PROCTOR_ are Proctor's own; allowed is any other name")


def _env(table: Table) -> Env:
    values: dict[str, str] = {}
    given = table.table("set", None)
    for name in given.names():
        with given.faults(name):
            _variable(name)
            value = given.text(name, _STRING, empty=True) or ""
            if "\0" in value or len(f"{name}={value}".encode()) >= _STRING:
                raise ValueError(f"no NUL is allowed, nor more than {_STRING - 1} bytes of NAME=value")
        values[name] = value
    passed: list[str] = []
    for at, name in table.texts("pass"):
        with at.faults():
            _variable(name)
            if name in values:
                raise ValueError("in both pass and set; allowed is one of them")
        passed.append(name)
    return Env(pass_=tuple(dict.fromkeys(passed)), set=values)


def _resources(table: Table) -> Resources:
    memory = table.number("memory_mb", 1, _MEMORY_MB, whole=True)
    processes = table.number("processes", 1, _PIDS, whole=True)
    return Resources(
        wall_seconds=table.number("wall_seconds", 0.001, _YEAR),
        cpu_seconds=table.number("cpu_seconds", 0.001, _YEAR),
        memory_mb=None if memory is None else int(memory),
        processes=Resources().processes if processes is None else int(processes),
    )


def _responses(table: Table) -> Responses:
    chosen = table.table("category", None)
    actions: dict[str, Action] = {}
    for slug in chosen.names():
        if chosen.is_table(slug):
            raise chosen.wrong(slug, f'a name with a dot stands in quotes: "{printable(slug, 40)}.…" = "freeze"')
        if slug not in CATEGORIES and slug not in FAMILIES:
            raise chosen.unknown(slug, "category", (*FAMILIES, *CATEGORIES), "one of the taxonomy or a family")
        actions[slug] = chosen.choice(slug, _ACTIONS)
    return Responses(
        on_violation=table.choice("on_violation", _ACTIONS) if table.has("on_violation") else "log", category=actions
    )


def _authorise(tables: list[Table], workspace: str) -> tuple[Authorise, ...]:
    entries: list[Authorise] = []
    for table in tables:
        given = {key: table.required(key, 1000) for key in ("category", "scope", "reason", "by")}
        category = given["category"]
        if category not in CATEGORIES and category not in FAMILIES and not is_outside(category):
            raise table.unknown(
                "category", "category", (*FAMILIES, OUTSIDE, *CATEGORIES), "one of the taxonomy or a family", category
            )
        with table.faults("scope"):
            scope = parse(given["scope"], workspace)
            if isinstance(scope, Below):
                if "/" not in given["scope"] and not os.path.lexists(scope.path):
                    raise ValueError("neither a host with a port nor a path that exists; write host:port, or ./name")
                scope = Below(os.path.realpath(scope.path))
        entry = Authorise(category=category, scope=str(scope), reason=given["reason"], by=given["by"])
        for number, other in enumerate(entries):
            if (other.category, other.scope) == (entry.category, entry.scope):
                raise table.wrong(
                    "category", f"with this scope it is authorised on line {tables[number].line()} already"
                )
        entries.append(entry)
    return tuple(entries)
