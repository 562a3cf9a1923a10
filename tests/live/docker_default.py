"""Run a program as in a default container: Docker's published seccomp profile and, for root, its default capabilities.

``python -m tests.live.docker_default PROFILE -- CMD…``. The profile is loaded through libseccomp (seccomp_rule_add(3));
conditions on the kernel, on architectures and on capabilities are decided as Docker decides them for this process.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

# The numbers of the capabilities that Docker leaves to a container's root (linux/capability.h).
CAPABILITIES = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_FOWNER": 3, "CAP_FSETID": 4, "CAP_KILL": 5, "CAP_SETGID": 6,
    "CAP_SETUID": 7, "CAP_SETPCAP": 8, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_RAW": 13, "CAP_SYS_CHROOT": 18,
    "CAP_MKNOD": 27, "CAP_AUDIT_WRITE": 29, "CAP_SETFCAP": 31,
}  # fmt: skip
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_OPS = {name: number for number, name in enumerate(
    ("", "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ")
)}  # fmt: skip


class _Compare(ctypes.Structure):
    """struct scmp_arg_cmp, seccomp.h."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def profile() -> Path | str:
    """Where Docker's published profile is; or, as text, why nothing can be run under it here."""
    data = Path(os.environ.get("PROCTOR_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    found = data / "docker_default_seccomp.json"
    if not found.exists():
        return f"Docker's published seccomp profile is not at {found} (PROCTOR_DATA names its folder)"
    ldconfig = shutil.which("ldconfig") or "/sbin/ldconfig"
    if "libseccomp.so.2" not in subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=False).stdout:
        return "libseccomp.so.2 is not on this machine"
    return found


def applies(rule: dict[str, Any], held: set[str]) -> bool:
    """Whether Docker would load this rule for an x86-64 process with these capabilities."""
    needs, spares = rule.get("includes", {}), rule.get("excludes", {})
    return (
        set(needs.get("caps", ())) <= held
        and ("arches" not in needs or "amd64" in needs["arches"])
        and not held & set(spares.get("caps", ()))
        and "amd64" not in spares.get("arches", ())
    )


def load(profile: dict[str, Any], held: set[str]) -> None:
    """Confine this process to the profile."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ERRNO | profile["defaultErrnoRet"])))
    for rule in profile["syscalls"]:
        if not applies(rule, held):
            continue
        action = _ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else _ERRNO | rule.get("errnoRet", errno.EPERM)
        given = rule.get("args", [])
        compared = (_Compare * len(given))()
        for place, one in zip(compared, given, strict=True):
            # For a masked comparison "value" is the mask, and "valueTwo" what is left of it.
            place.arg, place.op, place.a, place.b = one["index"], _OPS[one["op"]], one["value"], one.get("valueTwo", 0)
        for name in rule["names"]:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number >= 0:
                library.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(given), compared)
    if library.seccomp_load(context) != 0:
        raise OSError("the profile could not be loaded")


def confine(profile: dict[str, Any]) -> None:
    """Confine this process; for root, what it executes next has Docker's default capabilities."""
    held: set[str] = set()
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for number in range(64):
            if number not in CAPABILITIES.values():
                libc.prctl(24, number, 0, 0, 0)  # PR_CAPBSET_DROP
        kept = sum(1 << number for number in CAPABILITIES.values())
        header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)
        # The profile first, which needs CAP_SYS_ADMIN; exec then takes what the bounding set leaves.
        load(profile, set(CAPABILITIES))
        if libc.capset(header, data) != 0:
            raise OSError(ctypes.get_errno(), "capset")
    else:
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        load(profile, held)


def main() -> None:
    """Confine this process, and become the command."""
    profile, command = json.loads(Path(sys.argv[1]).read_text()), sys.argv[3:]
    confine(profile)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
