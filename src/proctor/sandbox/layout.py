"""What the sandbox shows: the mounts, masks and Landlock rights that follow from a policy.

Pure, but for looking at what exists.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from proctor.errors import PolicyError
from proctor.policy.records import Policy

__all__ = [
    "CREDENTIALS", "HOME", "MARK_SOCKET", "PREFIX", "RUN", "SHM", "Layout", "Mask", "Mount", "inside", "plan",
]  # fmt: skip

HOME = "/home/agent"
RUN = "/run/proctor"
PREFIX = "proctor-"
"""How the name of an episode's own folder begins (tier C)."""
MARK_SOCKET = RUN + "/mark.sock"
SHM = "/dev/shm"  # noqa: S108 - the sandbox's own
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
CREDENTIALS = (
    "/etc/shadow", "/etc/gshadow", "/etc/shadow-", "/etc/gshadow-", "/etc/sudoers", "/etc/krb5.keytab",
    "/etc/ssl/private", "/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key",
)  # fmt: skip
"""System secrets that would be readable where root runs the sandbox. Those this user cannot read need no mask."""


@dataclass(frozen=True, slots=True)
class Mount:
    """``path`` of the host shown at the same place; ``writable`` or not."""

    path: str
    writable: bool


@dataclass(frozen=True, slots=True)
class Mask:
    """``path`` covered by a readable decoy. ``folder``: a folder of decoys named as what it covers.

    ``covered``: False where there is no decoy (tier C, outside a copy): the path cannot be read.
    """

    path: str
    role: Literal["hidden", "credential"]
    folder: bool
    names: tuple[str, ...] = ()
    covered: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything the sandbox's first process needs to build its root.

    ``anchors``: folders between a write root and a protected path, mounted onto themselves, since a mount point cannot
    be renamed: otherwise a protected folder's parent could be moved aside and another put in its place.
    ``run``: the folder of the marker socket and of ``bin/proctor``. ``shm``: what stands for /dev/shm.
    ``copies``: write roots of the machine and the copies that the agent has in their place.
    """

    workspace: str
    home: str
    mounts: tuple[Mount, ...]
    protect: tuple[str, ...]
    anchors: tuple[str, ...]
    masks: tuple[Mask, ...]
    write_roots: tuple[str, ...]
    scratch: tuple[str, ...] = field(default=("/tmp", SHM))  # noqa: S108 - the sandbox's own
    run: str = RUN
    shm: str = SHM
    copies: tuple[tuple[str, str], ...] = ()

    @property
    def hidden(self) -> tuple[str, ...]:
        """The paths that the policy hides."""
        return tuple(mask.path for mask in self.masks if mask.role == "hidden")

    @property
    def kept(self) -> tuple[str, ...]:
        """What the agent may not change in its write roots."""
        covered = tuple(mask.path for mask in self.masks if mask.covered and mask.role == "hidden")
        return (*self.protect, *covered)

    @property
    def closed(self) -> tuple[str, ...]:
        """What the policy hides where no decoy can stand for it: it cannot be read, and no watch tells who tries."""
        return tuple(mask.path for mask in self.masks if mask.role == "hidden" and not mask.covered)

    @property
    def watched(self) -> Layout:
        """The layout without the masks that cover nothing: what they name is the machine's own."""
        return replace(self, masks=tuple(mask for mask in self.masks if mask.covered))

    def moved(self, path: str) -> str:
        """A path of the machine as the agent has it: in the copy of its write root, where there is one."""
        for root, copy in self.copies:
            if inside(path, root):
                return copy + path[len(root) :]
        return path

    def without_namespaces(self, base: str, copies: Sequence[tuple[str, str]]) -> Layout:
        """The layout of tier C: what the sandbox has for itself lies in ``base``, a folder of the episode's own.

        Args:
            copies: pairs of a write root that holds hidden paths and its copy, in which decoys stand for them.
        """
        there = replace(self, copies=tuple(copies))
        own = tuple(f"{base}/{name}" for name in ("tmp", "shm", "home"))
        masks = tuple(
            replace(mask, path=there.moved(mask.path), covered=there.moved(mask.path) != mask.path)
            for mask in self.masks
        )
        return replace(
            there, workspace=there.moved(self.workspace), home=f"{base}/home" if self.home == HOME else self.home,
            mounts=tuple(replace(mount, path=there.moved(mount.path)) for mount in self.mounts),
            protect=tuple(map(there.moved, self.protect)), anchors=(), masks=masks,
            write_roots=tuple(map(there.moved, self.write_roots)), scratch=own, run=f"{base}/run", shm=f"{base}/shm",
        )  # fmt: skip

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Layout:
        """Return the layout that ``dataclasses.asdict`` and JSON made plain data of."""
        names = ("protect", "anchors", "write_roots", "scratch")
        return cls(
            workspace=plain["workspace"],
            home=plain["home"],
            run=plain["run"],
            shm=plain["shm"],
            copies=tuple((root, copy) for root, copy in plain["copies"]),
            mounts=tuple(Mount(**mount) for mount in plain["mounts"]),
            masks=tuple(Mask(**{**mask, "names": tuple(mask["names"])}) for mask in plain["masks"]),
            **{name: tuple(plain[name]) for name in names},
        )


def inside(path: str, root: str) -> bool:
    """Whether a path is ``root`` or lies below it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


MAX_DECOYS = 256


def _mask(path: str, role: Literal["hidden", "credential"]) -> Mask:
    if not os.path.isdir(path):
        return Mask(path, role, folder=False)
    names: list[str] = []
    for folder, folders, files in os.walk(path):
        folders.sort()
        names += sorted(os.path.relpath(os.path.join(folder, name), path) for name in files)
        if len(names) >= MAX_DECOYS:
            break
    return Mask(path, role, folder=True, names=tuple(names[:MAX_DECOYS]))


def _refuse_other_links(path: str, key: str) -> None:
    """A second name of the same file would lead around a mask or a read-only mount."""
    for folder, _, files in os.walk(path) if os.path.isdir(path) else [(os.path.dirname(path), [], [path])]:
        for name in files:
            file = os.path.join(folder, name)
            status = os.lstat(file)
            if status.st_nlink > 1 and os.path.isfile(file) and not os.path.islink(file):
                raise PolicyError(
                    f"files.{key}: {file} has {status.st_nlink} hard links; only files with one can be kept"
                )


def _host_sockets(roots: tuple[str, ...]) -> str | None:
    """A unix socket of the host below one of ``roots``, if its kernel's list names one."""
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
            paths = [line.rstrip("\n").split(" ", 7)[-1].strip() for line in file]
    except OSError:
        return None
    return next((p for p in paths if p.startswith("/") and any(inside(os.path.realpath(p), r) for r in roots)), None)


def plan(policy: Policy, readable: tuple[str, ...]) -> Layout:
    """Return the layout for ``policy`` and the folders ``readable`` that its command needs.

    Raises:
        PolicyError: a protected or hidden file has a second hard link, or a socket of the host lies in a write root.
    """
    writes = tuple(dict.fromkeys(policy.files.write))
    if found := _host_sockets(writes):
        raise PolicyError(f"files.write: {found} is a socket of this host; an agent could leave the sandbox through it")
    for key, paths in (("protect", policy.files.protect), ("hide", policy.files.hide)):
        for path in paths:
            _refuse_other_links(path, key)
    reads = [path for path in (*policy.files.read, *readable) if not any(inside(path, root) for root in writes)]
    if policy.files.home != "fresh":
        reads.append(policy.files.home)
    system = [path for path in SYSTEM if os.path.lexists(path)]
    reads = [path for path in dict.fromkeys(reads) if not any(inside(path, root) for root in system)]
    mounts = [Mount(path, writable=False) for path in reads] + [Mount(path, writable=True) for path in writes]
    anchors: set[str] = set()
    for path in policy.files.protect:
        root = max((root for root in writes if inside(path, root)), key=len, default=None)
        folder = os.path.dirname(path)
        while root is not None and folder != root and inside(folder, root):
            anchors.add(folder)
            folder = os.path.dirname(folder)
    masks = [_mask(path, "hidden") for path in policy.files.hide]
    masks += [_mask(path, "credential") for path in CREDENTIALS if os.access(path, os.R_OK)]
    return Layout(
        workspace=policy.workspace,
        home=HOME if policy.files.home == "fresh" else policy.files.home,
        mounts=tuple(sorted(mounts, key=lambda mount: (mount.path.count("/"), mount.path))),
        protect=tuple(
            path for path in policy.files.protect if not any(inside(path, hidden) for hidden in policy.files.hide)
        ),
        anchors=tuple(sorted(anchors, key=lambda path: (path.count("/"), path))),
        masks=tuple(masks),
        write_roots=writes,
    )
