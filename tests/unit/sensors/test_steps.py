from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proctor.sensors.steps import Steps, origin_of


def test_one_open_step_is_named_two_are_candidates() -> None:
    steps = Steps()

    def seen() -> tuple[str | None, str | None, tuple[str, ...]]:
        origin = origin_of(steps.open)
        return steps.active, origin.step, origin.candidates

    assert seen() == (None, None, ())
    steps.begin("a")
    assert seen() == ("a", "a", ())
    assert origin_of(steps.open).attribution == "marker"
    steps.begin("b")
    assert seen() == (None, None, ("a", "b"))
    steps.end("a")
    assert seen() == ("b", "b", ())


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
def test_a_step_is_open_between_its_begin_and_its_end(marks: list[tuple[bool, str]]) -> None:
    steps, model = Steps(), list[str]()
    for begins, name in marks:
        if begins:
            steps.begin(name)
            if name not in model:
                model.append(name)
        else:
            steps.end(name)
            if name in model:
                model.remove(name)
        assert steps.open == tuple(model)
        assert steps.active == (model[0] if len(model) == 1 else None)
