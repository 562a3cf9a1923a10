"""Build the sandbox's root and confine a thread to it. Runs in the sandbox's own first process, before any agent."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket

from proctor.sandbox import linux
from proctor.sandbox.layout import DEVICES, MARK_SOCKET, SYSTEM, Layout, Mask

__all__ = [
    "DECOY", "EXECUTE", "IOCTL_DEV", "READ_DIR", "READ_FILE", "TRUNCATE", "WRITE_FILE", "Root", "allow_terminal",
    "enter_namespaces", "finish", "handled_rights", "ruleset",
]  # fmt: skip

_BASES = ("/tmp", "/mnt", "/var", "/usr")  # noqa: S108 - a folder to stage mounts on, in a namespace of our own
_OLD = "/.old"
_NEW = "/.new"
DECOY = "This content is withheld from this episode. Reference {token}\n"

_ALL_FS = (1 << 13) - 1
_REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8


def enter_namespaces(uid: int, gid: int) -> None:
    """Leave the host's user, mount, network, IPC, UTS and (for children) PID namespaces; keep one's own user id.

    Raises:
        OSError: the kernel or its administrator does not allow user namespaces here.
    """
    if uid == 0:
        # Root's supplementary groups would go with it. In somebody's user namespace they are that user's, and stay.
        with contextlib.suppress(PermissionError):
            os.setgroups([])
    linux.unshare(
        linux.CLONE_NEWUSER | linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
        | linux.CLONE_NEWPID
    )  # fmt: skip
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    linux.loopback_up()


class Root:
    """The new root, with what every sandbox shows, while the old one is still there to bind from."""

    def __init__(self) -> None:
        base = next(path for path in _BASES if os.path.isdir(path))
        linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
        linux.mount("tmpfs", base, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
        os.mkdir(base + _OLD)
        os.mkdir(base + _NEW)
        linux.pivot_root(base, base + _OLD)
        os.chdir("/")
        linux.mount(_NEW, _NEW, None, linux.MS_BIND)
        _system(self)
        self.tmpfs("/tmp", "1777")  # noqa: S108 - the sandbox's own
        _proc(self)
        _dev(self)

    @staticmethod
    def at(path: str) -> str:
        """Where a path of the sandbox is while its root is being built."""
        return _NEW + path

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Make a folder, and those above it."""
        os.makedirs(self.at(path), mode=mode, exist_ok=True)

    def bind(self, path: str, *, writable: bool, source: str | None = None, devices: bool = False) -> None:
        """Show a path of the host (or ``source``) at ``path``, read-only unless ``writable``."""
        origin = _OLD + path if source is None else source
        target = self.at(path)
        if os.path.isdir(origin):
            self.folder(path)
        elif not os.path.lexists(target):
            self.folder(os.path.dirname(path))
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        linux.mount(origin, target, None, linux.MS_BIND | linux.MS_REC)
        attributes = linux.MOUNT_ATTR_NOSUID | (0 if devices else linux.MOUNT_ATTR_NODEV)
        linux.mount_setattr(target, attributes | (0 if writable else linux.MOUNT_ATTR_RDONLY), recursive=True)

    def tmpfs(self, path: str, mode: str, size: str = "") -> None:
        """Mount an empty file system in memory."""
        self.folder(path)
        linux.mount("tmpfs", self.at(path), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"mode={mode}{size}")

    def text(self, path: str, content: str) -> None:
        """Cover a file of the host by one of ours."""
        if not os.path.isfile(self.at(path)) or os.path.islink(self.at(path)):
            return
        own = f"/.text-{path.replace('/', '-')}"
        with open(own, "w", encoding="utf-8") as file:
            file.write(content)
        linux.mount(own, self.at(path), None, linux.MS_BIND)
        linux.mount_setattr(self.at(path), linux.MOUNT_ATTR_RDONLY, recursive=False)

    def leave(self) -> None:
        """Make the new root the only one."""
        os.chdir(_NEW)
        linux.pivot_root(".", ".")
        linux.umount(".")
        os.chdir("/")


def _system(root: Root) -> None:
    for path in SYSTEM:
        if os.path.islink(_OLD + path):
            os.symlink(os.readlink(_OLD + path), root.at(path))
        elif os.path.isdir(_OLD + path):
            root.bind(path, writable=False)
    root.text("/etc/resolv.conf", "nameserver 127.0.0.1\n")
    root.text("/etc/hosts", "127.0.0.1 localhost proctor\n::1 localhost\n")


def _proc(root: Root) -> None:
    root.folder("/proc")
    linux.mount("proc", root.at("/proc"), "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    # Where root runs the sandbox its user id still owns these on the host.
    for name in ("sys", "sysrq-trigger", "irq", "bus", "fs"):
        target = root.at(f"/proc/{name}")
        if os.path.exists(target):
            linux.mount(target, target, None, linux.MS_BIND)
            linux.mount_setattr(target, linux.MOUNT_ATTR_RDONLY, recursive=False)


def _dev(root: Root) -> None:
    root.tmpfs("/dev", "755")
    for name in DEVICES:
        if os.path.exists(f"{_OLD}/dev/{name}"):
            root.bind(f"/dev/{name}", writable=True, devices=True)
    root.tmpfs("/dev/shm", "1777")  # noqa: S108 - the sandbox's own
    root.folder("/dev/pts")
    with contextlib.suppress(OSError):  # a kernel without devpts instances: no terminals inside, nothing else lost
        linux.mount(
            "devpts", root.at("/dev/pts"), "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, "newinstance,ptmxmode=0666"
        )
        os.symlink("pts/ptmx", root.at("/dev/ptmx"))
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", root.at(f"/dev/{name}"))


def _mask(root: Root, mask: Mask, token: str, number: int) -> None:
    """Cover a path by decoys that live on a file system which nothing else refers to."""
    target = root.at(mask.path)
    if not os.path.lexists(target) or os.path.islink(target):
        return
    own = f"/.decoy-{number}"
    names = mask.names if mask.folder else ("",)
    for name in names:
        path = os.path.normpath(os.path.join(own, name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(DECOY.format(token=token))
    if mask.folder:
        os.makedirs(own, exist_ok=True)
    linux.mount(own, target, None, linux.MS_BIND)
    linux.mount_setattr(target, linux.MOUNT_ATTR_RDONLY, recursive=False)


def finish(root: Root, layout: Layout, mark_program: bytes) -> tuple[socket.socket, str]:
    """Add what ``layout`` asks for and move into the root.

    ``mark_program`` becomes /run/proctor/bin/proctor. Returns the listening marker socket, and the token that every
    decoy of this episode holds.

    Raises:
        OSError: naming the mount that failed.
    """
    if layout.home == "/home/agent":
        root.tmpfs(layout.home, "700")
    for mount in layout.mounts:
        root.bind(mount.path, writable=mount.writable)
    for path in layout.anchors:
        root.bind(path, writable=True, source=root.at(path))
    for path in layout.protect:
        root.bind(path, writable=False, source=root.at(path))
    token = secrets.token_hex(16)
    for number, mask in enumerate(layout.masks):
        _mask(root, mask, token, number)
    root.folder(os.path.dirname(MARK_SOCKET))
    marker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    marker.bind(root.at(MARK_SOCKET))
    marker.listen(16)
    root.folder("/run/proctor/bin")
    with open(root.at("/run/proctor/bin/proctor"), "wb") as file:
        file.write(mark_program)
    os.chmod(root.at("/run/proctor/bin/proctor"), 0o755)  # noqa: S103 - to be run by the agent, on a read-only mount
    linux.mount_setattr(root.at(""), linux.MOUNT_ATTR_RDONLY, recursive=False)
    root.leave()
    return marker, token


def handled_rights(abi: int) -> int:
    """The rights on files that Landlock of this version decides over."""
    return _ALL_FS | (_REFER if abi >= 2 else 0) | (TRUNCATE if abi >= 3 else 0) | (IOCTL_DEV if abi >= 5 else 0)


def allow_terminal(ruleset: int, path: str) -> None:
    """Allow a command the path of its own terminal, and of no other of this user's."""
    rights = handled_rights(linux.landlock_abi()) & (WRITE_FILE | READ_FILE | IOCTL_DEV)
    linux.landlock_add(ruleset, path, rights)


def ruleset(layout: Layout, abi: int) -> int | None:
    """Return a Landlock rule set for the finished root, or None where the kernel has no Landlock.

    It repeats what the mounts say: two mechanisms have to fail together before a write leaves the write roots.
    """
    if abi < 1:
        return None
    handled = handled_rights(abi)
    number = linux.landlock_create(handled)
    linux.landlock_add(number, "/", EXECUTE | READ_FILE | READ_DIR)
    for path in (*layout.write_roots, *layout.scratch, *((layout.home,) if layout.home == "/home/agent" else ())):
        linux.landlock_add(number, path, handled)
    linux.landlock_add(number, "/dev", handled & (WRITE_FILE | READ_FILE | READ_DIR | TRUNCATE | IOCTL_DEV))
    linux.landlock_add(number, "/proc", handled & (WRITE_FILE | READ_FILE | READ_DIR | TRUNCATE | EXECUTE))
    return number
