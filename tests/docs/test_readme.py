"""What the README says holds; tests/live/test_readme.py runs what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proctor.cli.parser import parse
from proctor.policy.load import load
from proctor.verdicts import EXIT_STATUS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_policy_loads(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    for name in ("work/tests", "work/solutions"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "policy.toml").write_text(text)
    policy = load(tmp_path / "policy.toml", tmp_path / "work")
    assert policy.responses.on_violation == "log"
    assert policy.authorise[0].scope == "10.9.0.0/24"


def test_the_exit_statuses_are_the_codes() -> None:
    told = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| (\w+)", README, re.MULTILINE)}
    assert {name: told[name] for name in EXIT_STATUS} == EXIT_STATUS


@pytest.mark.parametrize(
    "word", ["run", "verify", "replay", "report", "export", "lint", "ps", "thaw", "kill", "doctor", "mark"]
)
def test_the_commands_exist(word: str) -> None:
    with pytest.raises(SystemExit) as caught:
        parse([word, "--help"])
    assert caught.value.code == 0


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
