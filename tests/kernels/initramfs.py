"""A kernel package made ready to boot: the few modules that the root file system needs, in an initramfs of our own.

The archive is cpio's "newc" (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's source). Its
/init mounts the root file system and hands over; nothing else of a distribution's initramfs is needed.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Kernel", "Mount", "find", "initramfs"]

# Read by name, in this order, each after what it depends on. crc32c is what ext4 asks the kernel's crypto interface for.
_WANTED = ("virtio_pci", "virtio_blk", "9pnet_virtio", "9p", "crc32c_generic", "ext4")

_INIT = """#!/bin/busybox sh
export PATH=/
fail() { echo "guest: $1"; busybox poweroff -f; }
for name in proc sys dev root; do busybox mkdir -p /$name; done
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
for module in $(busybox cat /modules); do busybox insmod /$module || fail "no module $module"; done
busybox mount -t ext4 /dev/vda /root || fail "no root file system"
while read tag way path; do
    busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,$way $tag "/root$path" || fail "no $path"
done < /mounts
for name in proc sys dev; do busybox mount -o move /$name /root/$name; done
exec busybox switch_root /root $(busybox cat /command)
"""


@dataclass(frozen=True)
class Kernel:
    """What boots, and the folder of its modules."""

    image: Path
    modules: Path

    @property
    def release(self) -> str:
        return self.modules.name


@dataclass(frozen=True)
class Mount:
    """A folder of this machine that the guest sees through 9p, at ``path`` there."""

    tag: str
    source: Path
    path: Path
    writable: bool = False

    @property
    def line(self) -> str:
        # What only we read may be cached for good; what we write must arrive.
        return f"{self.tag} {'rw,cache=none' if self.writable else 'ro,cache=loose'} {self.path}\n"


def find(folder: Path) -> Kernel:
    """The kernel in an unpacked package.

    Raises:
        FileNotFoundError: there is none in it, or no modules.
    """
    images = sorted(folder.glob("boot/vmlinuz-*"))
    if not images:
        raise FileNotFoundError(f"{folder}: no boot/vmlinuz-* in it")
    release = images[-1].name.removeprefix("vmlinuz-")
    for modules in (folder / "lib/modules" / release, folder / "usr/lib/modules" / release):
        if modules.is_dir():
            return Kernel(images[-1], modules)
    raise FileNotFoundError(f"{folder}: no lib/modules/{release} in it")


def _read(module: Path) -> bytes:
    raw = module.read_bytes()
    return lzma.decompress(raw) if module.suffix == ".xz" else raw


def _depends(module: bytes) -> list[str]:
    """The names in the ``depends=`` of a module's .modinfo section (modinfo(8))."""
    start = module.find(b"\0depends=")
    if start < 0:
        return []
    names = module[start + 9 : module.index(b"\0", start + 9)].decode("ascii")
    return [name for name in names.split(",") if name]


def _modules(kernel: Kernel) -> Iterator[tuple[str, bytes]]:
    """What ``_WANTED`` needs, in an order in which it can be loaded. What is built in has no file and no place here."""
    files = {path.name.split(".")[0].replace("-", "_"): path for path in kernel.modules.rglob("*.ko*")}
    done: set[str] = set()

    def load(name: str) -> Iterator[tuple[str, bytes]]:
        name = name.replace("-", "_")
        if name in done or name not in files:
            return
        done.add(name)
        raw = _read(files[name])
        for other in _depends(raw):
            yield from load(other)
        yield f"{name}.ko", raw

    for name in _WANTED:
        yield from load(name)


def _entry(number: int, name: str, mode: int, data: bytes) -> bytes:
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def initramfs(kernel: Kernel, busybox: Path, mounts: Sequence[Mount], command: str, target: Path) -> None:
    """Write the archive to ``target``. ``command`` takes over as process 1; it may hold no quoted spaces."""
    modules = list(_modules(kernel))
    files: list[tuple[str, int, bytes]] = [
        ("bin", stat.S_IFDIR | 0o755, b""),
        ("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()),
        ("busybox", stat.S_IFLNK | 0o777, b"bin/busybox"),
        ("init", stat.S_IFREG | 0o755, _INIT.encode()),
        ("mounts", stat.S_IFREG | 0o644, "".join(mount.line for mount in mounts).encode()),
        ("command", stat.S_IFREG | 0o644, command.encode()),
        ("modules", stat.S_IFREG | 0o644, "\n".join(name for name, _ in modules).encode()),
        *((name, stat.S_IFREG | 0o644, raw) for name, raw in modules),
    ]
    with gzip.open(target, "wb", compresslevel=1) as file:
        for number, (name, mode, data) in enumerate(files, 1):
            file.write(_entry(number, name, mode, data))
        file.write(_entry(0, "TRAILER!!!", 0, b""))


def skeleton(folder: Path, mounts: Sequence[Mount]) -> None:
    """Make in ``folder`` what the root file system starts with: /etc as here without its secrets, and empty places.

    /usr comes through 9p; /bin, /lib and the like are links into it, as in every Debian since 12.
    """
    for name, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700), ("home", 0o755), ("opt", 0o755)):
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(mode)
    for name in ("dev", "proc", "sys", "run", "usr", "mnt"):
        (folder / name).mkdir()
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if Path("/", name).is_symlink():
            (folder / name).symlink_to(f"usr/{name}")
    shutil.copytree("/etc", folder / "etc", symlinks=True, ignore=_secret)
    (folder / "etc/shadow").write_text("root:*:20000:0:99999:7:::\n")
    (folder / "etc/shadow").chmod(0o640)
    for mount in mounts:
        (folder / mount.path.relative_to("/")).mkdir(parents=True, exist_ok=True)


def _secret(folder: str, names: list[str]) -> list[str]:
    """What of /etc not everybody may read stays outside, whoever runs this."""

    def shown(path: Path) -> bool:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return True
        return bool(
            found.st_mode & (0o005 if path.is_dir() else 0o004)
            and stat.S_IFMT(found.st_mode) in {stat.S_IFREG, stat.S_IFDIR}
        )

    return [name for name in names if not shown(Path(folder, name))]
