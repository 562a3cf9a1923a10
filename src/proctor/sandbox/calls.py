"""Which system calls are recorded, refused or let through: x86-64 numbers (asm/unistd_64.h).

``RECORDED`` calls stop at the supervisor, which records them and lets them go on. ``REFUSED`` calls stop there, are
recorded and get the errno named. ``CONDITIONAL`` calls stop only for the arguments that matter; their conditions look
at registers alone, which a second thread cannot change.
"""

from __future__ import annotations

import errno

__all__ = [
    "AUDIT_ARCH", "CLONE3", "CONDITIONAL", "CONFINED", "LAST_KNOWN", "NAMES", "NUMBERS", "RECORDED", "RECVFROM",
    "REFUSED", "SOCKETPAIR", "UNSHARED", "X32_BIT",
]  # fmt: skip

AUDIT_ARCH = 0xC000003E  # AUDIT_ARCH_X86_64
X32_BIT = 0x40000000
LAST_KNOWN = 469  # file_setattr, Linux 6.17; a later call gets ENOSYS and is recorded
CLONE3 = 435
SOCKETPAIR = 53

RECORDED: dict[str, int] = {
    # processes
    "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "exit": 60, "exit_group": 231,
    # files
    "creat": 85, "openat2": 437, "mkdir": 83, "mkdirat": 258, "mknod": 133, "mknodat": 259,
    "link": 86, "linkat": 265, "symlink": 88, "symlinkat": 266, "rename": 82, "renameat": 264, "renameat2": 316,
    "unlink": 87, "unlinkat": 263, "rmdir": 84, "truncate": 76, "ftruncate": 77,
    "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "chown": 92, "fchown": 93, "lchown": 94,
    "fchownat": 260, "memfd_create": 319,
    # network
    "connect": 42, "bind": 49, "listen": 50, "sendmsg": 46, "sendmmsg": 307,
    # signals
    "kill": 62, "tkill": 200, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "pidfd_send_signal": 424,
}  # fmt: skip

CONDITIONAL: dict[str, int] = {
    "open": 2, "openat": 257, "clone": 56, "socket": 41, "ioctl": 16, "fcntl": 72, "prlimit64": 302,
    "sched_setparam": 142, "sched_setscheduler": 144, "sched_setaffinity": 203, "sched_setattr": 314,
    "setpriority": 141, "ioprio_set": 251, "sendto": 44, "tgkill": 234,
}  # fmt: skip

REFUSED: dict[str, tuple[int, int]] = {
    # name: (number, errno). EPERM as an unprivileged process would get; ENOSYS where programs then fall back.
    **{
        name: (number, errno.EPERM)
        for name, number in {
            "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
            "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
            "mount_setattr": 442, "open_tree_attr": 467, "swapon": 167, "swapoff": 168, "quotactl": 179,
            "quotactl_fd": 443, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
            "process_madvise": 440, "pidfd_getfd": 438, "kcmp": 312, "open_by_handle_at": 304, "bpf": 321,
            "perf_event_open": 298, "userfaultfd": 323, "init_module": 175, "finit_module": 313, "delete_module": 176,
            "kexec_load": 246, "kexec_file_load": 320, "reboot": 169, "acct": 163, "settimeofday": 164,
            "clock_settime": 227, "clock_adjtime": 305, "adjtimex": 159, "iopl": 172, "ioperm": 173, "syslog": 103,
            "add_key": 248, "request_key": 249, "keyctl": 250, "sethostname": 170, "setdomainname": 171,
            "fanotify_init": 300, "lookup_dcookie": 212, "vhangup": 153,
        }.items()
    },
    **{
        name: (number, errno.ENOSYS)
        for name, number in {
            "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "uselib": 134, "modify_ldt": 154,
        }.items()
    },
}  # fmt: skip

CONFINED: dict[str, int] = {
    # What neither Landlock nor an absent namespace keeps from files that only this user owns: done by the supervisor.
    "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280, "setxattr": 188, "lsetxattr": 189,
    "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199,
    # What stands for another socket there must look like it.
    "recvmsg": 47, "recvmmsg": 299, "setsockopt": 54, "getsockname": 51, "getpeername": 52,
}  # fmt: skip
"""Further calls that stop in tier C; recvfrom where it asks from where."""
RECVFROM = 45

UNSHARED: dict[str, tuple[int, int]] = {
    # System V IPC and POSIX message queues are shared with every process of the IPC namespace.
    **{
        name: (number, errno.ENOSYS)
        for name, number in {
            "shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "semop": 65, "semctl": 66, "semtimedop": 220,
            "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "mq_open": 240, "mq_unlink": 241,
        }.items()
    },
    "setxattrat": (463, errno.ENOSYS), "removexattrat": (466, errno.ENOSYS), "file_setattr": (469, errno.ENOSYS),
}  # fmt: skip
"""Further calls that are refused in tier C."""

NUMBERS: dict[str, int] = {
    **RECORDED, **CONDITIONAL, **CONFINED, **{name: number for name, (number, _) in (REFUSED | UNSHARED).items()},
    "socketpair": SOCKETPAIR, "recvfrom": RECVFROM,
}  # fmt: skip
NAMES: dict[int, str] = {number: name for name, number in NUMBERS.items()} | {CLONE3: "clone3"}
