"""What tier C decides itself where Landlock's version does not; tests/kernels meets such kernels."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from proctor.sandbox.layout import HOME, Layout
from proctor.sensors.domain import Domain, lacking
from proctor.sensors.paths import Resolver
from proctor.sensors.processes import Processes
from proctor.sensors.steps import Steps

LAYOUT = Layout("/w", HOME, (), ("/w/tests",), ("/w",), (), ("/w",)).without_namespaces("/base", ())


@pytest.fixture
def processes() -> Processes:
    return Processes(Steps(), os.getpid())


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    yield started
    for one in started:
        one.kill()
        one.wait()


def domain(processes: Processes, abi: int) -> Domain:
    return Domain(LAYOUT, Resolver(os.open("/", os.O_PATH), LAYOUT), processes, abi)


@pytest.mark.parametrize(
    ("abi", "named"),
    [(1, {"truncation", "TCP", "signals to others"}), (2, {"truncation", "TCP", "signals to others"}),
     (3, {"TCP", "signals to others"}), (4, {"signals to others"}), (5, {"signals to others"}), (6, set()), (7, set())],
)  # fmt: skip
def test_the_record_names_what_landlock_lacks(abi: int, named: set[str]) -> None:
    assert set(lacking(abi)) == {"namespaces", *named}


@pytest.mark.parametrize(
    ("flags", "unasked"),
    [
        (os.O_RDONLY | os.O_TRUNC, True), (os.O_RDONLY | os.O_TRUNC | os.O_CREAT, True), (3 | os.O_TRUNC, True),
        (os.O_WRONLY | os.O_TRUNC, False), (os.O_RDWR | os.O_TRUNC, False), (os.O_RDONLY, False), (3, False),
    ],
)  # fmt: skip
def test_which_opens_empty_a_file_without_asking(processes: Processes, flags: int, unasked: bool) -> None:
    for abi in (1, 2):
        assert domain(processes, abi).files.truncates_unasked(flags) == unasked
    for abi in (3, 6, 7):
        assert not domain(processes, abi).files.truncates_unasked(flags)


def test_a_signal_through_a_pidfd_reaches_known_processes_only(
    processes: Processes, children: list[subprocess.Popen[bytes]]
) -> None:
    before = domain(processes, 2)
    assert not before.scoped
    known = processes.register(children[0].pid, parent=None)
    assert before.signal(known, 0, 0)() is not None
    for target, flags, expected in ((None, 0, errno.ESRCH), (known, 1, errno.EINVAL)):
        with pytest.raises(OSError, match=f"Errno {expected}"):
            before.signal(target, signal.SIGTERM, flags)()
    before.signal(known, signal.SIGTERM, 0)()
    assert children[0].wait() == -signal.SIGTERM
    assert children[1].poll() is None


def test_a_signal_to_everyone_reaches_the_known_but_the_caller(
    processes: Processes, children: list[subprocess.Popen[bytes]]
) -> None:
    caller, other = (processes.register(child.pid, parent=None) for child in children[:2])
    domain(processes, 2).signal_all(caller, signal.SIGTERM)()
    assert children[1].wait() == -signal.SIGTERM
    assert (children[0].poll(), children[2].poll()) == (None, None)
    assert other.pid == children[1].pid
