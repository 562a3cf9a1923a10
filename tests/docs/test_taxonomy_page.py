"""docs/taxonomy.md lists the categories that there are, with their meanings."""

from __future__ import annotations

import re
from pathlib import Path

from proctor.policy.taxonomy import MEANING

PAGE = (Path(__file__).parents[2] / "docs/taxonomy.md").read_text()


def test_the_page_lists_every_category() -> None:
    table = PAGE.split("<!-- taxonomy -->")[1].split("<!-- end -->")[0]
    assert dict(re.findall(r"^\| ([a-z_.]+\.[a-z_.]+) \| (.+) \|$", table, re.MULTILINE)) == MEANING
