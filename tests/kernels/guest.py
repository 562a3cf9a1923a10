"""Process 1 of the guest: sets the machine up as a Debian's root login finds it, runs the plan, powers off.

The plan is ``plan.json`` in the folder named as the argument; each run's outcome is ``NAME.json`` beside it.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import sys
import threading
import time
from pathlib import Path

# linux/reboot.h: LINUX_REBOOT_CMD_POWER_OFF
_POWER_OFF = 0x4321FEDC
_libc = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, target: str, flags: int, options: str = "") -> None:
    os.makedirs(target, exist_ok=True)
    if _libc.mount(kind.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()):
        raise OSError(ctypes.get_errno(), f"mount {target}: {os.strerror(ctypes.get_errno())}")


def session() -> None:
    """The cgroup that systemd puts a login of root into: below groups with controllers, itself without any to give on."""
    folder = Path("/sys/fs/cgroup")
    for name in ("user.slice", "user-0.slice", "session-1.scope"):
        for controller in ("memory", "pids"):
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")
        folder = folder / name
        folder.mkdir()
    (folder / "cgroup.procs").write_text("0")


def prepare() -> None:
    mount("devpts", "/dev/pts", 0, "gid=5,mode=620,ptmxmode=000")
    mount("tmpfs", "/dev/shm", 0b110, "mode=1777")
    mount("tmpfs", "/run", 0b110, "mode=755")
    mount("cgroup2", "/sys/fs/cgroup", 0b1110)
    # Whoever made the image may have been anybody.
    for folder, _, files in os.walk("/etc"):
        for name in ("", *files):
            os.chown(os.path.join(folder, name), 0, 0, follow_symlinks=False)
    os.chown("/etc/shadow", 0, 42)
    import socket
    import struct
    from fcntl import ioctl

    socket.sethostname("debian")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        ioctl(control, 0x8914, struct.pack("16sH22x", b"lo", 0x41))  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
    session()


def _copy(source: int, target: Path) -> None:
    with open(target, "wb", buffering=0) as log:
        while data := os.read(source, 1 << 16):
            log.write(data)
            os.write(1, data)


def run(name: str, argv: list[str], folder: Path, environment: dict[str, str], cwd: str) -> None:
    start = time.monotonic()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.closerange(3, 256)
        os.chdir(cwd)
        os.execve(argv[0], argv, environment)
    os.close(write)
    copying = threading.Thread(target=_copy, args=(read, folder / f"{name}.log"), daemon=True)
    copying.start()
    # Orphans come to process 1 as well, and are to be seen off.
    status = None
    while status is None:
        ended, how = os.wait()
        if ended == pid:
            status = os.waitstatus_to_exitcode(how)
    copying.join(10)
    facts = {
        "argv": argv,
        "status": status,
        "seconds": round(time.monotonic() - start, 1),
        "kernel": platform.release(),
    }
    (folder / f"{name}.json").write_text(json.dumps(facts))


def main() -> None:
    folder = Path(sys.argv[1])
    try:
        prepare()
        plan = json.loads((folder / "plan.json").read_text())
        for setting in plan["sysctls"]:
            name, value = setting.split("=", 1)
            Path("/proc/sys", *name.split(".")).write_text(value)
        for name, argv in plan["runs"].items():
            print(f"guest: {name}: {' '.join(argv)}", flush=True)
            run(name, argv, folder, plan["environment"], plan["cwd"])
            for left in Path("/tmp").iterdir():
                if left.name.startswith(("pytest-", "proctor-")):
                    shutil.rmtree(left, ignore_errors=True)
    except BaseException as error:  # noqa: BLE001 - process 1 must not end: the kernel would panic
        import traceback

        traceback.print_exc()
        (folder / "error").write_text(repr(error))
    os.sync()
    _libc.reboot(_POWER_OFF)


if __name__ == "__main__":
    main()
