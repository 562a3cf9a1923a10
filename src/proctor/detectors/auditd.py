"""Events as the records that the kernel's audit system writes of them, for rules on Sigma's ``service: auditd``.

One call gives several records, each with a ``type`` and fields of its own; a rule is held against each record by
itself, as it would be against each line of audit.log. Types and fields: the Linux Audit documentation's message and
field dictionaries (github.com/linux-audit/audit-documentation, specs/); ``SYSCALL`` with the call's name is what
auditd adds with ``log_format = ENRICHED`` (auditd.conf(5)). What is not given here is listed in ``docs/rules.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proctor.detectors.objects import Extract, joined, renames, source, target
from proctor.events import kinds

__all__ = ["ARGUMENTS", "CALLS", "RECORDS", "TEXT"]

ARGUMENTS = 64
"""Arguments of an exec that an event holds: ``a0`` to ``a63``."""

TEXT = "record"
"""The field that stands for a record's whole text, where a search names no field."""

_COMM = 15
"""Characters of ``comm`` that the kernel keeps (TASK_COMM_LEN, linux/sched.h, less the end)."""

CALLS = frozenset({
    "execve", "execveat",
    "creat", "open", "openat", "openat2", "mkdir", "mkdirat", "mknod", "mknodat", "link", "linkat", "symlink",
    "symlinkat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "truncate", "ftruncate", "chmod",
    "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "memfd_create",
    "connect", "bind", "listen", "sendmsg", "sendmmsg", "sendto", "socket",
    "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal",
    "prlimit64", "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr", "setpriority",
    "ioprio_set", "ioctl", "fcntl", "clone",
    "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "open_tree_attr", "swapon", "swapoff", "quotactl", "quotactl_fd", "ptrace",
    "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp", "open_by_handle_at", "bpf",
    "perf_event_open", "userfaultfd", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load",
    "reboot", "acct", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "iopl", "ioperm", "syslog",
    "add_key", "request_key", "keyctl", "sethostname", "setdomainname", "fanotify_init", "lookup_dcookie", "vhangup",
    "io_uring_setup", "io_uring_enter", "io_uring_register", "uselib", "modify_ldt",
    # in tier C
    "utime", "utimes", "futimesat", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr",
    "lremovexattr", "fremovexattr", "removexattrat", "file_setattr", "socketpair", "shmget", "shmat", "shmctl",
    "semget", "semop", "semctl", "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink",
})  # fmt: skip
"""Names that ``SYSCALL`` can have here: the calls that stop at the supervisor and give an event with their name. A rule
on any other call could never fire, and is listed so. A test holds this against the sandbox's own tables."""


def _argument(number: int) -> Extract:
    return lambda e: e.data.argv[number] if number < len(e.data.argv) else None


def _hexadecimal(number: int) -> Extract:
    """An argument of a call as audit writes it: hexadecimal, without 0x (audit_log_exit, kernel/auditsc.c)."""
    return lambda e: f"{e.data.args[number]:x}" if number < len(e.data.args) else None


def _comm(event: kinds.Exec) -> str | None:
    """The name that the process will have: the last part of the path it asked for (begin_new_exec, fs/exec.c)."""
    return event.data.path.rpartition("/")[2][:_COMM] or None


def _of(kind: str) -> Extract:
    return lambda _: kind


_PROCESS: dict[str, Extract] = {
    "type": _of("SYSCALL"),
    "SYSCALL": lambda e: e.data.call,
    "exe": lambda e: e.exe,
    "pid": lambda e: e.pid,
    "ppid": lambda e: e.ppid,
    TEXT: lambda e: joined(tuple(word for word in (e.data.call, e.exe) if word)),
}


def _path(name: Extract, nametype: Extract) -> dict[str, Extract]:
    return {"type": _of("PATH"), "name": name, "nametype": nametype, TEXT: name}


def _nametype(event: kinds.File) -> str:
    if event.data.op in {"unlink", "rmdir"}:
        return "DELETE"
    created = renames(event) or event.data.op in {"create", "mkdir", "mknod", "symlink"}
    return "CREATE" if created and not (event.data.op == "create" and event.data.existed) else "NORMAL"


def _old_name(event: kinds.File) -> str | None:
    """A rename's or link's first name; None where the call has none, so that there is no such record."""
    return source(event) if renames(event) else None


def _old_nametype(event: kinds.File) -> str | None:
    return {"rename": "DELETE", "link": "NORMAL"}.get(event.data.op)


def _if_renamed(event: Any) -> str | None:
    return "PATH" if renames(event) else None


RECORDS: Mapping[str, dict[str, Extract]] = {
    "exec/EXECVE": {f"a{number}": _argument(number) for number in range(ARGUMENTS)}
    | {"type": _of("EXECVE"), "argc": lambda e: e.data.argc, TEXT: lambda e: joined(e.data.argv)},
    # audit writes a call's records when it returns: after an exec, exe and comm are the new program's.
    "exec/SYSCALL": _PROCESS | {"exe": lambda e: e.data.image or e.exe, "comm": _comm},
    "exec/PATH": _path(lambda e: e.data.image or e.data.path, _of("NORMAL")),
    "file/SYSCALL": _PROCESS,
    "file/PATH": _path(target, _nametype),
    "file/PATH of the old name": _path(_old_name, _old_nametype) | {"type": _if_renamed},
    "read/PATH": _path(lambda e: e.data.path, _of("NORMAL")),
    "net/SYSCALL": _PROCESS,
    "signal/SYSCALL": _PROCESS,
    "process_control/SYSCALL": _PROCESS,
    "refused/SYSCALL": _PROCESS
    | {f"a{number}": _hexadecimal(number) for number in range(4)}
    | {"success": _of("no")},
}  # fmt: skip
"""Event kind and record to its fields."""
