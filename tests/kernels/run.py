"""Run tests on another kernel: a Debian kernel package under QEMU, with this machine's /usr, /etc and this checkout.

::

    python -m tests.kernels.run [--kernel PACKAGE] [--as root,unprivileged] [-- PYTEST ARGUMENT...]

Nothing is installed: the kernel's package is fetched by apt-get and unpacked into build/kernels. Needs no root.
The exit status is 0 where every run ended well and ran something, 1 where not, 2 where it could not begin.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree as ET

from tests.kernels import initramfs
from tests.live.unprivileged import CHECKOUT, DATA

BUILD = Path(CHECKOUT, "build/kernels")
STOCK = "linux-image-amd64"
NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86", "mke2fs": "e2fsprogs", "apt-get": "apt", "dpkg-deb": "dpkg", "gcc": "gcc",
    "git": "git",
}  # fmt: skip
FILES = (
    "tier_c", "recording", "responses", "containment", "escapes", "unprivileged", "session", "episode", "steps", "gateway",
    "real_work", "tier_a", "watch",
)  # fmt: skip
"""What asks most of a kernel. The other live tests are about commands and reports."""
DEFAULT = ("-v", "-p", "no:xdist", "-m", "live", *(f"tests/live/test_{name}.py" for name in FILES))
ACCELERATORS = {"tcg": ("-accel", "tcg,tb-size=1024", "-cpu", "qemu64"), "kvm": ("-accel", "kvm", "-cpu", "host")}
"""Without KVM the plainest processor: starting Python takes three fifths of the time that it takes on `max`."""
UNSEEN = (".venv", "build", "dist", ".git", ".*_cache", ".hypothesis")
SLOWER = 15
"""How many times longer a test may take without KVM. Starting a program takes twenty times longer, computing ten."""


def stop(line: str) -> NoReturn:
    print(f"test-kernels: {line}", file=sys.stderr)
    sys.exit(2)


def called(*argv: str, cwd: Path = BUILD) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        stop(f"{argv[0]} {argv[-1]}: {lines[-1]}")
    return done.stdout


def unpacked(file: Path, folder: Path) -> Path:
    """``folder`` with what is in the package."""
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        called("dpkg-deb", "--extract", str(file), str(part))
        part.rename(folder)
    return folder


def package(name: str) -> Path:
    """The newest version that apt here knows of a package, fetched and unpacked; a meta-package leads to its kernel."""
    known = called("apt-cache", "show", "--no-all-versions", name)
    fields = dict(line.split(": ", 1) for line in known.splitlines() if ": " in line)
    kernels = [word for word in fields.get("Depends", "").split() if word.startswith("linux-image-")]
    if kernels:
        return package(kernels[0])
    folder = BUILD / f"{name}_{fields['Version'].replace(':', '.')}"
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(dir=BUILD) as fetched:
        called("apt-get", "download", "-o", "APT::Sandbox::User=", name, cwd=Path(fetched))
        return unpacked(next(Path(fetched).glob("*.deb")), folder)


def kernel(given: str) -> initramfs.Kernel:
    """``given``: the name of a package, a package's file, or the folder of an unpacked one."""
    path = Path(given).absolute()
    try:
        if path.is_dir():
            return initramfs.find(path)
        if path.is_file():
            return initramfs.find(unpacked(path, BUILD / path.name.removesuffix(".deb")))
        return initramfs.find(package(given))
    except FileNotFoundError as error:
        stop(str(error))


def mounts(result: Path, checkout: Path) -> list[initramfs.Mount]:
    """What the guest sees of this machine: programs, a copy of this checkout, the data beside it; where it writes."""
    shown: list[Path] = []
    for path in map(Path, map(os.path.realpath, ("/usr", sys.base_prefix, DATA))):
        if path.is_dir() and not any(path.is_relative_to(other) for other in (*shown, Path(CHECKOUT))):
            shown.append(path)
    read_only = [initramfs.Mount(f"m{number}", path, path) for number, path in enumerate(shown)]
    return [
        *read_only,
        initramfs.Mount("checkout", checkout, Path(CHECKOUT)),
        initramfs.Mount("venv", Path(CHECKOUT, ".venv"), Path(CHECKOUT, ".venv")),
        initramfs.Mount("result", result, Path("/result"), writable=True),
    ]


def plan(user: str, selection: Sequence[str], sysctls: Sequence[str], result: Path, slower: int) -> None:
    """Write what the guest shall set and run: what `proctor doctor` says, and the tests."""
    python = f"{CHECKOUT}/.venv/bin/python"
    result.mkdir()
    (result / "written").mkdir()  # the one folder of the result that every user may write
    (result / "written").chmod(0o777)
    before = [python, "-m", "tests.live.unprivileged", "--"] if user != "root" else []
    options = ["-p", "no:cacheprovider", "-o", f"faulthandler_timeout={600 * slower}", "--color=no"]
    runs = {
        "doctor": [*before, python, "-m", "proctor", "doctor"],
        "tests": [*before, python, "-m", "pytest", *options, "--junitxml=/result/written/junit.xml", *selection],
    }
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": "/root/hypothesis",
        "PROCTOR_TESTS_SLOWER": str(slower), "PROCTOR_DATA": DATA,
    }  # fmt: skip
    whole = {"sysctls": sysctls, "runs": runs, "environment": environment, "cwd": CHECKOUT}
    (result / "plan.json").write_text(json.dumps(whole))


def boot(chosen: initramfs.Kernel, result: Path, accelerator: str, memory: int, cpus: int, seconds: float) -> bool:
    """Start the guest and wait for its end. False where it took too long or did not end well."""
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        work = Path(name)
        shown = mounts(result, work / "checkout")
        # A copy, so that work can go on here meanwhile.
        shutil.copytree(CHECKOUT, work / "checkout", symlinks=True, ignore=shutil.ignore_patterns(*UNSEEN))
        (work / "checkout/.venv").mkdir()
        # Compiled here: the guest can keep nothing, and would compile anew at each start.
        compileall.compile_dir(work / "checkout/src", quiet=2, stripdir=str(work / "checkout"), prependdir=CHECKOUT)
        initramfs.skeleton(work / "root", shown)
        called("mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", str(work / "root"), str(work / "disk"), "8G")
        guest = f"{CHECKOUT}/.venv/bin/python -I {CHECKOUT}/tests/kernels/guest.py /result"
        busybox = package("busybox-static") / "bin/busybox"
        initramfs.initramfs(chosen, busybox, shown, guest, work / "initramfs")
        argv = [
            "qemu-system-x86_64", *ACCELERATORS[accelerator], "-smp", str(cpus), "-m", str(memory), "-nodefaults",
            "-no-reboot", "-display", "none", "-serial", "stdio", "-kernel", str(chosen.image),
            "-initrd", str(work / "initramfs"), "-append", "console=ttyS0 quiet panic=-1 mitigations=off init_on_alloc=0",
            "-drive", f"file={work / 'disk'},if=virtio,format=raw,cache=unsafe",
        ]  # fmt: skip
        for mount in shown:
            way = "" if mount.writable else ",readonly=on"
            argv += [
                "-virtfs",
                f"local,path={mount.source},mount_tag={mount.tag},security_model=none,multidevs=remap{way}",
            ]
        return said(argv, result.name, seconds) and not (result / "error").exists()


def said(argv: Sequence[str], name: str, seconds: float) -> bool:
    """Run a guest; what it says is printed with its name in front."""
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as machine:
        assert machine.stdout is not None
        timer = threading.Timer(seconds, machine.kill)
        timer.start()
        try:
            for line in machine.stdout:
                print(f"{name}: {line.rstrip()}", flush=True)
            return machine.wait() == 0
        finally:
            timer.cancel()
            machine.kill()


def _by_then(log: Path) -> str:
    """What a run that did not come to an end had said of its tests."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    words = (
        re.search(r" (PASSED|FAILED|ERROR|SKIPPED)\b", line) for line in lines if line.startswith(("tests/", "[gw"))
    )
    counts = Counter(word[1].lower() for word in words if word is not None)
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "nothing"


def told(result: Path) -> tuple[str, bool]:
    """One line about a user's run, and whether it went well."""
    user = result.name
    try:
        facts = json.loads((result / "tests.json").read_text())
        cases = list(ET.parse(result / "written/junit.xml").iter("testcase"))
    except (OSError, ValueError, ET.ParseError):
        return f"{user}: it did not come to an end; by then, where -v is given: {_by_then(result / 'tests.log')}", False
    outcomes = Counter[str]()
    reasons = Counter[str]()
    for case in cases:
        tags = {child.tag for child in case}
        outcome = next((tag for tag in ("error", "failure", "skipped") if tag in tags), "passed")
        outcomes[outcome] += 1
        skipped = case.find("skipped")
        if outcome == "skipped" and skipped is not None:
            reasons[skipped.get("message", "")] += 1
        elif outcome != "passed":
            print(f"  {outcome}: {case.get('classname')}::{case.get('name')}")
    for reason, count in reasons.items():
        print(f"  {count} skipped: {reason}")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())) or "no tests"
    well = facts["status"] == 0 and outcomes["passed"] > 0
    return f"{user}, Linux {facts['kernel']}: {counts}, in {facts['seconds']:.0f} s; status {facts['status']}", well


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kernels.run", description="Run tests on another kernel.")
    parser.add_argument("--kernel", default=STOCK, help="a package's name or file, or the folder of an unpacked one")
    parser.add_argument("--as", dest="users", default="root,unprivileged", help="root, unprivileged or both")
    parser.add_argument(
        "--accel", choices=tuple(ACCELERATORS), default="tcg", help="kvm is much faster, where it works"
    )
    parser.add_argument("--sysctl", action="append", default=[], metavar="NAME=VALUE", help="set before the tests")
    parser.add_argument("--memory", type=int, default=3072, metavar="MIB")
    parser.add_argument("--cpus", type=int, default=1, help="emulated, one is twice as fast as two")
    parser.add_argument("--seconds", type=float, default=4 * 3600, help="after which the machine is ended")
    parser.add_argument("selection", nargs="*", help="pytest's arguments; default: what asks most of a kernel")
    options = parser.parse_args()
    users = options.users.split(",")
    if set(users) - {"root", "unprivileged"}:
        stop(f"--as {options.users}: root, unprivileged or both, with a comma between")
    missing = sorted({name for program, name in NEEDED.items() if shutil.which(program) is None})
    if missing:
        stop(f"missing packages; as root: apt-get install --no-install-recommends {' '.join(missing)}")
    BUILD.mkdir(parents=True, exist_ok=True)
    chosen = kernel(options.kernel)
    result = BUILD / "results" / f"{chosen.release}-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
    result.mkdir(parents=True)
    result.chmod(0o755)
    package("busybox-static")  # before the guests, which would both fetch it
    print(f"test-kernels: Linux {chosen.release} ({options.accel}); results in {result}", flush=True)

    def one(user: str) -> bool:
        slower = 1 if options.accel == "kvm" else SLOWER
        plan(user, options.selection or DEFAULT, options.sysctl, result / user, slower)
        return boot(chosen, result / user, options.accel, options.memory, options.cpus, options.seconds)

    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(one, users))
    outcomes = [told(result / user) for user in users]
    for line, _ in outcomes:
        print(line)
    return 0 if all(ended) and all(well for _, well in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
