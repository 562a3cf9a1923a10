"""What this machine gives, found by trying each thing once in a child process."""

from __future__ import annotations

import errno
import os
import platform
import struct
from collections.abc import Callable
from dataclasses import dataclass

from proctor.errors import SandboxError
from proctor.sandbox import build, cgroups, linux
from proctor.sensors.notify import wake_in_place

__all__ = ["TRACEPOINTS", "Machine", "probe"]

TRACEPOINTS = "tracepoint sensor: `proctor run --tier A`, `proctor watch`"


@dataclass(frozen=True, slots=True)
class Machine:
    """The tier, what each capability's trial answered ("" where it works), and what the next tier lacks."""

    tier: str
    found: dict[str, str]
    missing: tuple[str, ...]


def _try(action: Callable[[], None]) -> str:
    """Run ``action`` in a child; return "" or the kernel's answer."""
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        text = ""
        try:
            action()
        except OSError as error:
            text = str(error.strerror or error)
        except BaseException as error:  # noqa: BLE001 - a probe's answer, whatever it is
            text = repr(error)
        finally:
            os.write(write, text.encode()[:4000])
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answers:
        text = answers.read().decode("utf-8", "replace")
    os.waitpid(pid, 0)
    return text


def _namespaces() -> None:
    build.enter_namespaces(os.getuid(), os.getgid())
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
            linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        except OSError as error:
            code = error.errno or 255
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise OSError(code, f"mounting /proc in a PID namespace: {os.strerror(code)}")


_GVISOR = "#1 SMP Sun Jan 10 15:06:54 PST 2016"
"""What gVisor's uname(2) gives as version, whatever its release (google/gvisor, pkg/sentry/loader: LinuxVersion)."""

_ALLOW_ALL = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
"""One instruction, SECCOMP_RET_ALLOW: a listener that never has anything to answer."""


def _listener(*, killable: bool) -> None:
    linux.set_no_new_privs()
    linux.seccomp_listener(_ALLOW_ALL, killable=killable)


def _sync_wake() -> None:
    linux.set_no_new_privs()
    if not wake_in_place(linux.seccomp_listener(_ALLOW_ALL, killable=False)):
        raise OSError(errno.EINVAL, "this kernel does not know the flag")


def _landlock() -> None:
    if linux.landlock_abi() < 1:
        raise OSError(errno.ENOSYS, "this kernel has no Landlock, or it is not among its security modules")


def _cgroup() -> None:
    group = cgroups.create("probe")
    if group is None:
        raise OSError(errno.EACCES, "no cgroup (version 2) may be made below one's own")
    controllers = group.controllers
    group.remove()
    if not {"memory", "pids"} <= controllers:
        raise OSError(
            errno.ENOTSUP,
            f"made, but without the controllers {sorted({'memory', 'pids'} - controllers)}: limits are sampled",
        )


def _tracepoints() -> None:
    """Load the sensor of tier A and attach it to a cgroup that holds nothing."""
    from proctor.sensors.tracepoints import Tracepoints  # of this trial only
    from proctor.sensors.tracerecords import shapes

    group = cgroups.create("probe")
    if group is None:
        raise OSError(errno.EACCES, "no cgroup (version 2) may be made below one's own")
    try:
        sensor = Tracepoints(shapes(watch=True))
        sensor.attach(group.folder, detail=True, wake=0)
        sensor.close()
    except SandboxError as error:
        raise OSError(errno.EPERM, str(error)) from None
    finally:
        group.remove()


def probe() -> Machine:
    """Try everything; nothing is left changed."""
    if not linux.supported_machine():
        why = f"system call numbers for {platform.machine()} are not in this version; x86_64 is"
        return Machine("none", {"machine": why}, (why,))
    found = {
        "user, mount, network, IPC, UTS and PID namespaces": _try(_namespaces),
        "seccomp notifications": _try(lambda: _listener(killable=False)),
        "uninterrupted notifications (Linux 5.19)": _try(lambda: _listener(killable=True)),
        "wake-up in place (Linux 6.6)": _try(_sync_wake),
        "Landlock": _try(_landlock),
        "cgroup with memory and pids controllers": _try(_cgroup),
        TRACEPOINTS: _try(_tracepoints),
    }
    namespaces, notifications, landlock = (list(found)[index] for index in (0, 1, 4))
    lacking = {name: f"{name}: {found[name]}" for name in (namespaces, notifications, landlock) if found[name]}
    if platform.version() == _GVISOR:
        why = "this is gVisor, whose kernel has no seccomp notifications: run Proctor in another container, or outside"
        return Machine("none", found, (why, *lacking.values()))
    if notifications in lacking or {namespaces, landlock} <= set(lacking):
        return Machine("none", found, tuple(lacking.values()))
    if namespaces in lacking:
        return Machine("C", found, (lacking[namespaces],))
    # Tier A is never taken unasked: it costs more.
    return Machine("B", found, (f"{TRACEPOINTS}: {found[TRACEPOINTS]}",) if found[TRACEPOINTS] else ())
