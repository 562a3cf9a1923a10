from __future__ import annotations

from proctor.session.timers import Timers


def test_timers_run_when_due_once_and_can_be_replaced() -> None:
    now, ran = [0], list[str]()
    timers = Timers(lambda: now[0])
    assert timers.wait_seconds() == -1
    timers.after("a", 1.0, lambda: ran.append("a"))
    timers.after("b", 2.0, lambda: ran.append("b"))
    assert timers.wait_seconds() == 1.0
    timers.run()
    assert ran == []
    now[0] = 1_500_000_000
    timers.run()
    timers.run()
    assert ran == ["a"]
    timers.after("b", 5.0, lambda: ran.append("later"))
    now[0] = 3_000_000_000
    timers.run()
    assert ran == ["a"]
    now[0] = 7_000_000_000
    timers.run()
    assert ran == ["a", "later"]


def test_an_action_may_set_its_own_timer_again_and_cancel_another() -> None:
    now, ran = [0], list[int]()
    timers = Timers(lambda: now[0])

    def again() -> None:
        ran.append(now[0])
        timers.cancel("other")
        timers.after("a", 1.0, again)

    timers.after("a", 1.0, again)
    timers.after("other", 1.0, lambda: ran.append(-1))
    now[0] = 1_000_000_000
    timers.run()
    now[0] = 2_000_000_000
    timers.run()
    assert ran == [1_000_000_000, 2_000_000_000]


def test_a_paused_timer_keeps_what_was_left_of_it() -> None:
    now, ran = [0], list[str]()
    timers = Timers(lambda: now[0])
    timers.after("wall", 3.0, lambda: ran.append("wall"))
    now[0] = 1_000_000_000
    timers.pause("wall")
    timers.pause("wall")
    timers.pause("none")
    assert timers.wait_seconds() == -1
    now[0] = 100_000_000_000
    timers.run()
    timers.resume("none")
    timers.resume("wall")
    timers.resume("wall")
    assert timers.wait_seconds() == 2.0
    now[0] = 102_000_000_000
    timers.run()
    assert ran == ["wall"]
