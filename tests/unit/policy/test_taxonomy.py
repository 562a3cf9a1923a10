from __future__ import annotations

import re

from proctor.policy.taxonomy import CATEGORIES, FAMILIES, MEANING


def test_slugs_are_sorted_and_of_one_form() -> None:
    assert list(CATEGORIES) == sorted(CATEGORIES)
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", slug) for slug in CATEGORIES)
    assert FAMILIES == ("compute", "conduct", "grader", "solution")


def test_every_meaning_is_a_short_line_of_its_own() -> None:
    assert len(set(MEANING.values())) == len(MEANING)
    assert all(meaning and meaning.isprintable() and len(meaning) <= 110 for meaning in MEANING.values())
