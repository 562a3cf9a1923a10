"""docs/cli.md names the commands and options that there are, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proctor.cli.parser import parse
from proctor.verdicts import EXIT_STATUS

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text()
COMMANDS = (
    "run", "collect", "export-runtime", "watch", "verify", "replay", "report", "export", "lint", "findings", "rejudge",
    "rules", "ps", "thaw", "kill", "doctor",
    "mark",
)  # fmt: skip


def usage(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        parse([*words, "--help"])
    return capsys.readouterr().out


def section(command: str) -> str:
    (found,) = [part for part in PAGE.split("\n## ") if re.match(rf"proctor ([^\n]*[ ,])?{command}(,[^\n]*)?\n", part)]
    return found


def options(text: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]+", text)) - {"--help"}


def test_the_commands_are_those_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    listed = re.findall(r"^    ([\w-]+)(?: |$)", usage(capsys), re.MULTILINE)
    assert tuple(listed) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_are_those_of_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert options(section(command)) == options(usage(capsys, command))


def test_the_exit_statuses_are_the_codes() -> None:
    told = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| (\w+)", section("run"), re.MULTILINE)}
    assert {name: told[name] for name in EXIT_STATUS} == EXIT_STATUS
