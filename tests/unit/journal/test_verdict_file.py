from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proctor.journal import verify
from tests.unit.journal.samples import GOLDEN


def judged(tmp_path: Path, **changes: Any) -> tuple[str, str]:
    directory = tmp_path / "r"
    shutil.copytree(GOLDEN, directory)
    said = msgspec.json.decode((directory / "verdict.json").read_bytes()) | changes
    (directory / "verdict.json").write_bytes(msgspec.json.encode(said))
    found = verify(directory)
    return found.status, found.reason


def finding(**changes: Any) -> list[dict[str, Any]]:
    said: dict[str, Any] = msgspec.json.decode((GOLDEN / "verdict.json").read_bytes())
    return [said["findings"][0] | changes]


def test_order_and_white_space_of_the_file_do_not_matter(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "r")
    path = tmp_path / "r" / "verdict.json"
    said = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.format(msgspec.json.encode(dict(reversed(said.items()))), indent=4))
    assert verify(tmp_path / "r").status == "intact"


def test_a_member_that_the_journal_does_not_know_is_none_of_its_business(tmp_path: Path) -> None:
    assert judged(tmp_path, note="added by a harness")[0] == "intact"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"verdict": "clean"}, "verdict"),
        ({"verdict": None}, "verdict"),
        ({"score_effect": "keep"}, "score_effect"),
        ({"episode": "golden-2"}, "episode"),
        ({"tier": "A"}, "tier"),
        ({"agent_exit": 1}, "agent_exit"),
        ({"agent_exit": False}, "agent_exit"),
        ({"findings": []}, "findings"),
        ({"findings": None}, "findings"),
        ({"findings": finding(outcome="succeeded")}, "findings"),
        ({"findings": finding(note="added")}, "findings"),
        ({"findings": finding(count=1.0)}, "findings"),
        ({"journal": {"events": 10, "head": "0" * 64}}, "journal.head"),
        ({"journal": {"events": 9}}, "journal.events"),
        ({"journal": 7}, "journal.events"),
        ({"proctor": {"version": "0.1.0", "policy_digest": "f" * 64}}, "proctor.policy_digest"),
    ],
)
def test_a_difference_from_the_journal_is_named(tmp_path: Path, changes: dict[str, Any], name: str) -> None:
    status, reason = judged(tmp_path, **changes)
    assert status == "tampered"
    assert reason.startswith(f"verdict.json differs from the journal in {name}: ")


def test_gaps_cannot_be_hidden(tmp_path: Path) -> None:
    assert judged(tmp_path, gaps=[]) == ("tampered", "verdict.json lists no gaps; the journal has 1")
