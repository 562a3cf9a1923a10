from __future__ import annotations

import pytest

from proctor import errors


def test_the_tree_in_the_docstring_is_the_tree_there_is() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.ProctorError)
        assert name in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.PolicyError("no table [file]", file="task.toml", line=3), "task.toml:3: no table [file]"),
        (errors.PolicyError("is not there", file="task.toml"), "task.toml: is not there"),
    ],
)
def test_a_policy_error_names_its_place(error: errors.PolicyError, line: str) -> None:
    assert str(error) == line
    assert isinstance(error, errors.UsageError), "the user's mistake: exit status 2"
