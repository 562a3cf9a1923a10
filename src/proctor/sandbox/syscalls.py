"""The seccomp filter: a balanced decision tree over system call numbers, compiled to classic BPF.

The tree costs about log2(100) comparisons where a list costs a hundred; calls that never matter are also cached by the
kernel (seccomp's action bitmap, Linux 5.11) and skip the filter.
"""

from __future__ import annotations

import errno
import functools
import struct

from proctor.sandbox import calls

__all__ = ["program"]

_LD_ABS, _JEQ, _JGE, _JSET, _JA, _RET, _AND = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06, 0x54
_NOTIFY, _ALLOW, _ERRNO = 0x7FC00000, 0x7FFF0000, 0x00050000
_NR, _ARCH = 0, 4

Code = list[tuple[int, int, int, int]]

_WRITING = 0o3 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY|O_RDWR, O_CREAT, O_TRUNC, __O_TMPFILE (fcntl.h)
_NONBLOCK, _DIRECTORY = 0o4000, 0o200000  # O_NONBLOCK, O_DIRECTORY (fcntl.h)
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* that clone(2) takes
_CLONE_THREAD = 0x00010000
_MSG_FASTOPEN = 0x20000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15
_SIGURG = 23
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_STREAM, _SOCK_RAW, _SOCK_SEQPACKET, _SOCK_PACKET = 1, 3, 5, 10
_FS_IOC_SETFLAGS, _FS_IOC_FSSETXATTR = 0x40086602, 0x401C5820  # linux/fs.h
_FIOSETOWN, _SIOCSPGRP = 0x8901, 0x8902  # asm-generic/sockios.h: F_SETOWN's twins, whose argument lies in memory

NOTIFY: Code = [(_RET, 0, 0, _NOTIFY)]
ALLOW: Code = [(_RET, 0, 0, _ALLOW)]


def _low(argument: int) -> tuple[int, int, int, int]:
    return (_LD_ABS, 0, 0, 16 + 8 * argument)


def _high(argument: int) -> tuple[int, int, int, int]:
    return (_LD_ABS, 0, 0, 20 + 8 * argument)


def _if_any(op: int, values: tuple[int, ...], then: Code, otherwise: Code) -> Code:
    """Compare the accumulator with each value; one hit goes to ``then``."""
    tests: Code = []
    for position, value in enumerate(values):
        left = len(values) - position - 1
        tests.append((op, left, 0 if left else len(then), value))
    return [*tests, *then, *otherwise]


def _if_pointer(argument: int, then: Code, otherwise: Code) -> Code:
    """``then`` where a 64-bit argument is not zero."""
    return [_low(argument), (_JEQ, 0, 2, 0), _high(argument), (_JEQ, len(then), 0, 0), *then, *otherwise]


def _opens(flags_argument: int) -> Code:
    """Those for writing, and those of files that do not wait: a lease of the ``watch`` sensor would fail them."""
    reads: Code = [(_AND, 0, 0, _NONBLOCK | _DIRECTORY), *_if_any(_JEQ, (_NONBLOCK,), NOTIFY, ALLOW)]
    return [_low(flags_argument), *_if_any(_JSET, (_WRITING,), NOTIFY, reads)]


def _streams_only() -> Code:
    """Without a network namespace no datagrams: each could be addressed anew, behind the supervisor's back.

    What stands for a UDP socket is made by the supervisor.
    """
    streams: Code = [_low(1), (_AND, 0, 0, 0xF), *_if_any(_JEQ, (_SOCK_STREAM,), ALLOW, NOTIFY)]
    local: Code = [_low(1), (_AND, 0, 0, 0xF), *_if_any(_JEQ, (_SOCK_STREAM, _SOCK_SEQPACKET), ALLOW, NOTIFY)]
    other = _if_any(_JEQ, (_AF_INET, _AF_INET6), streams, _if_any(_JEQ, (_AF_NETLINK,), ALLOW, NOTIFY))
    return [_low(0), *_if_any(_JEQ, (_AF_UNIX,), local, other)]


def _socket() -> Code:
    typed: Code = [_low(1), (_AND, 0, 0, 0xF), *_if_any(_JEQ, (_SOCK_RAW, _SOCK_PACKET), NOTIFY, ALLOW)]
    plain = _if_any(_JEQ, (_AF_UNIX, _AF_INET, _AF_INET6), typed, NOTIFY)
    return [_low(0), (_JEQ, 0, 1, _AF_NETLINK), *ALLOW, *plain]


def _conditional(*, namespaces: bool, all_opens: bool) -> dict[str, Code]:
    others = {name: [_low(0), *_if_any(_JEQ, (0,), ALLOW, NOTIFY)] for name in (
        "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr")}  # fmt: skip
    attributes = () if namespaces else (_FS_IOC_SETFLAGS, _FS_IOC_FSSETXATTR, _FIOSETOWN, _SIOCSPGRP)
    by_who: Code = [_low(1), *_if_any(_JEQ, (0,), ALLOW, NOTIFY)]
    return others | {
        "open": NOTIFY if all_opens else _opens(1),
        "openat": NOTIFY if all_opens else _opens(2),
        "clone": [
            _low(0),
            *_if_any(_JSET, (_NEW_NAMESPACES,), NOTIFY, _if_any(_JSET, (_CLONE_THREAD,), ALLOW, NOTIFY)),
        ],
        "socket": _socket() if namespaces else _streams_only(),
        "ioctl": [_low(1), *_if_any(_JEQ, (_TIOCSTI, _TIOCLINUX, *attributes), NOTIFY, ALLOW)],
        "fcntl": [_low(1), *_if_any(_JEQ, (_F_SETOWN, _F_SETSIG, _F_SETOWN_EX), NOTIFY, ALLOW)],
        "prlimit64": [_low(0), *_if_any(_JEQ, (0,), ALLOW, _if_pointer(2, NOTIFY, ALLOW))],
        # PRIO_PROCESS (0) with who 0 is the caller; IOPRIO_WHO_PROCESS is 1.
        "setpriority": [_low(0), *_if_any(_JEQ, (0,), by_who, NOTIFY)],
        "ioprio_set": [_low(0), *_if_any(_JEQ, (1,), by_who, NOTIFY)],
        "sendto": [_low(3), *_if_any(_JSET, (_MSG_FASTOPEN,), NOTIFY, _if_pointer(4, NOTIFY, ALLOW))],
        # Go's scheduler sends itself SIGURG through tgkill, thousands of times a second; its default action is none.
        "tgkill": [_low(2), *_if_any(_JEQ, (_SIGURG,), ALLOW, NOTIFY)],
    }


def _tree(entries: list[tuple[int, Code]]) -> Code:
    if len(entries) == 1:
        number, block = entries[0]
        return _jump(_JEQ, number, block, ALLOW)
    middle = len(entries) // 2
    return _jump(_JGE, entries[middle][0], _tree(entries[middle:]), _tree(entries[:middle]))


def _jump(op: int, value: int, then: Code, otherwise: Code) -> Code:
    """``then`` stands behind ``otherwise``; where it is too far for 8 bits, an unconditional jump reaches it."""
    if len(otherwise) <= 255:  # the width of a BPF jump
        return [(op, len(otherwise), 0, value), *otherwise, *then]
    return [(op, 0, 1, value), (_JA, 0, 0, len(otherwise)), *otherwise, *then]


@functools.cache
def program(*, namespaces: bool = True, all_opens: bool = False) -> bytes:
    """Return the filter, 8 bytes an instruction (struct sock_filter, linux/filter.h).

    Without ``namespaces`` (tier C) it also stops what only they would keep inside; with ``all_opens`` also opens for
    reading.
    """
    blocks = dict.fromkeys(calls.RECORDED.values(), NOTIFY)
    blocks |= {number: NOTIFY for number, _ in calls.REFUSED.values()}
    if not namespaces:
        blocks |= dict.fromkeys(calls.CONFINED.values(), NOTIFY)
        blocks |= {number: NOTIFY for number, _ in calls.UNSHARED.values()}
        blocks[calls.SOCKETPAIR] = _streams_only()
        blocks[calls.RECVFROM] = _if_pointer(4, NOTIFY, ALLOW)
    conditional = _conditional(namespaces=namespaces, all_opens=all_opens)
    blocks |= {calls.CONDITIONAL[name]: code for name, code in conditional.items()}
    # clone3's flags lie in memory, where no filter can see them. libc falls back to clone, which is recorded; so
    # this one refusal is answered here and not recorded.
    blocks[calls.CLONE3] = [(_RET, 0, 0, _ERRNO | errno.ENOSYS)]
    if missing := set(calls.CONDITIONAL) - set(conditional):
        raise AssertionError(missing)
    tree = _tree(sorted(blocks.items()))
    head: Code = [
        (_LD_ABS, 0, 0, _ARCH),
        (_JEQ, 1, 0, calls.AUDIT_ARCH),
        *NOTIFY,
        (_LD_ABS, 0, 0, _NR),
        (_JGE, 0, 1, calls.LAST_KNOWN + 1),
        *NOTIFY,
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in [*head, *tree])
