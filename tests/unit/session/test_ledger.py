"""The two books of tier A, as scripts: what the supervisor recorded, what the tracepoints told, where they differ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.events import Event, kinds
from proctor.sandbox import calls
from proctor.sensors.tracerecords import CALL, ENTERED, EXEC, EXIT, FOREIGN, FORK, INTO, MOVE, OUT_OF, Record
from proctor.session.ledger import Ledger

ROOT, CHILD = (10, 100), (11, 101)
WRITE = 0o1101


def event(cls: type[Event], data: Any, who: tuple[int, int] = ROOT) -> Event:
    return cls(
        v=1, episode="e", seq=1, t_mono_ns=1, t_wall_ns=1, sensor="kernel", pid=who[0], start_time=who[1], data=data
    )  # type: ignore[call-arg]


def seen(
    kind: int, who: tuple[int, int] = ROOT, *, call: str = "", ret: int = 0, flags: int = ENTERED, **more: Any
) -> Record:
    number = calls.NUMBERS[call] if call else 0
    return Record(
        0, who[1], 7, ret, more.get("args", (0,) * 6), who[0], more.get("tid", who[0]), 1, 0, number, kind, flags, ()
    )


def opened(who: tuple[int, int] = ROOT, flags: int = WRITE, call: str = "openat") -> Event:
    return event(kinds.File, kinds.FileData(op="open_write", call=call, path="f", flags=flags), who)


def refused(call: str, who: tuple[int, int] = ROOT, *, args: tuple[int, ...] = (), arch: int | None = None) -> Event:
    nr = calls.NUMBERS[call]
    return event(
        kinds.Refused, kinds.RefusedData(call=call, nr=nr, errno=1, reason="sandbox", args=args, arch=arch), who
    )


BEGIN: tuple[Event | Record, ...] = (
    seen(FORK, (5, 5), flags=INTO, args=ROOT), event(kinds.Process, kinds.ProcessData(how="root")),
    event(kinds.Exec, kinds.ExecData(call="execve", path="/bin/x")), seen(EXEC), seen(CALL, call="execve"),
    event(kinds.ExecResult, kinds.ExecResultData(ref=1, outcome="succeeded")),
)  # fmt: skip
END: tuple[Event | Record, ...] = (event(kinds.Exit, kinds.ExitData(how="call", code=0)), seen(EXIT))
FORKED: tuple[Event | Record, ...] = (
    event(kinds.Clone, kinds.CloneData(call="fork")), seen(FORK, flags=0, args=CHILD), seen(CALL, call="fork", ret=11),
)  # fmt: skip


def differences(*script: Event | Record) -> list[str]:
    ledger = Ledger()
    for step in script:
        if isinstance(step, Record):
            ledger.told(step)
        else:
            ledger.recorded(step)
    return ledger.close()


def test_what_both_saw_is_no_difference() -> None:
    ledger = Ledger()
    for step in (*BEGIN, *FORKED, opened(CHILD), seen(CALL, CHILD, call="openat", ret=3), seen(EXIT, CHILD, ret=256),
                 event(kinds.Exit, kinds.ExitData(how="call", code=1), CHILD), *END):  # fmt: skip
        ledger.told(step) if isinstance(step, Record) else ledger.recorded(step)
    assert ledger.close() == []
    data = ledger.data(seen=9, dropped=0, freezes=0)
    assert {(count.kind, count.recorded, count.observed) for count in data.counts} == {
        ("exec", 1, 1), ("exec_succeeded", 1, 1), ("exit", 2, 2), ("fork", 1, 1), ("write_open", 1, 1)
    }  # fmt: skip
    assert (data.processes, data.differences, data.unresolved) == (2, 0, 0)


def test_what_the_first_process_does_before_it_is_confined_is_the_supervisors_own() -> None:
    own = (seen(CALL, call="openat", ret=3), seen(CALL, call="unlink"))
    assert differences(BEGIN[0], *own, *BEGIN[1:], *END) == []
    assert len(differences(*BEGIN, *own, *END)) == 2


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ((opened(),), "process 10: the record has 1 more of openat than the tracepoints saw"),
        ((seen(CALL, call="openat", ret=3),), "process 10: the record has 1 fewer of openat than the tracepoints saw"),
        ((seen(CALL, call="creat", ret=3),) * 2, "process 10: the record has 2 fewer of creat than the tracepoints saw"),
        ((opened(call="creat"), seen(CALL, call="openat")), "process 10: the record has 1 more of creat than the tracepoints saw"),
        ((FORKED[1],), "process 10: the tracepoints saw 1 children begin, the record has 0 forks"),
        ((seen(EXEC),), "process 10: the tracepoints saw 2 execs succeed, the record has 1 succeeded and 0 unknown"),
        ((seen(MOVE, flags=OUT_OF),), "process 10 was moved out of the episode's cgroup, by somebody outside"),
        ((seen(MOVE, flags=INTO),), "process 10 was moved into the episode's cgroup, by somebody outside"),
        ((*FORKED[::2], seen(FORK, flags=OUT_OF, args=CHILD)), "process 10 started process 11 outside the episode's cgroup"),
        ((refused("ptrace"), seen(CALL, call="ptrace")), "process 10 ptrace was not stopped"),
        ((refused("ptrace", arch=3), seen(CALL, flags=ENTERED | FOREIGN)), "process 10 a call of another architecture was not stopped"),
        ((seen(EXIT, CHILD, ret=0),), "process 11: the record does not have its end, which the tracepoints saw"),
        ((event(kinds.Exit, kinds.ExitData(how="call"), CHILD),), "process 11: the tracepoints did not see it end"),
    ],
)  # fmt: skip
def test_each_difference_is_said(script: tuple[Event | Record, ...], said: str) -> None:
    assert said in differences(*BEGIN, *script, *END)


@pytest.mark.parametrize(
    "script",
    [
        # Refused calls return without an entry.
        (refused("ptrace"), seen(CALL, call="ptrace", ret=-1, flags=0)),
        (refused("openat", args=(0, 0, WRITE, 0)), seen(CALL, call="openat", ret=-14, flags=0)),
        (refused("unlink", arch=3), seen(CALL, call="unlink", ret=-38, flags=FOREIGN)),
        # A call made again after a signal is in neither count until it is made.
        (seen(CALL, call="openat", ret=-512, flags=0), opened(), seen(CALL, call="openat", ret=3)),
        (opened(), seen(CALL, call="connect", ret=-512), event(kinds.Net, kinds.NetData(op="connect", call="connect")), seen(CALL, call="openat")),
        # Opens for reading, where they are recorded; openat2 that was refused; what is not compared.
        (opened(flags=0),),
        (refused("openat2"), seen(CALL, call="openat2", ret=-14, flags=0)),
        (event(kinds.Net, kinds.NetData(op="sendto", call="sendto")),),
        (refused("socket"),),
    ],
)  # fmt: skip
def test_what_each_sees_in_its_own_way_is_no_difference(script: tuple[Event | Record, ...]) -> None:
    assert differences(*BEGIN, *script, *END) == []


def test_a_call_that_death_cut_off_may_be_in_the_record_once() -> None:
    cut = seen(CALL, call="openat", ret=-512, flags=0, tid=12)
    killed = (event(kinds.Exit, kinds.ExitData(how="signal", signal=9)), seen(EXIT, ret=9))
    assert differences(*BEGIN, cut, *killed) == []
    assert differences(*BEGIN, opened(), cut, *killed) == []
    assert differences(*BEGIN, opened(), opened(), cut, *killed) != []
    assert differences(*BEGIN, opened(), seen(CALL, call="creat", ret=-512, flags=0), *killed) != []
    # The thread went on, so the call was not cut off.
    assert differences(*BEGIN, opened(), cut, opened(), seen(CALL, call="openat", tid=12), *killed) != []


def test_an_exec_of_unknown_outcome_may_have_succeeded() -> None:
    again = (event(kinds.Exec, kinds.ExecData(call="execve", path="/bin/y")), seen(CALL, call="execve"),
             event(kinds.ExecResult, kinds.ExecResultData(ref=9, outcome="unknown")))  # fmt: skip
    assert differences(*BEGIN, *again, *END) == []
    assert differences(*BEGIN, *again, seen(EXEC), *END) == []
    assert differences(*BEGIN, *again, seen(EXEC), seen(EXEC), *END) != []


def test_a_process_that_made_no_call_and_was_killed_need_not_be_known() -> None:
    assert differences(*BEGIN, *FORKED, seen(EXIT, CHILD, ret=9), *END) == []
    assert differences(*BEGIN, *FORKED, seen(CALL, CHILD, call="unlink"), seen(EXIT, CHILD, ret=9), *END) != []


def test_an_end_told_by_two_threads_is_one() -> None:
    assert differences(*BEGIN, END[1], END[1], END[0]) == []


@given(st.data())
def test_the_order_in_which_the_books_are_read_does_not_matter(data: st.DataObject) -> None:
    record = [*(step for step in (*BEGIN, *FORKED, opened(), opened()) if isinstance(step, Event)), END[0]]
    told = [*(step for step in (*BEGIN, *FORKED) if isinstance(step, Record)),
            *[seen(CALL, call="openat", ret=3)] * 2, seen(EXIT, CHILD, ret=9), END[1]]  # fmt: skip
    script: list[Event | Record] = []
    while record or told:
        take = record if not told or (record and data.draw(st.booleans())) else told
        script.append(take.pop(0))
    assert differences(*script) == []
