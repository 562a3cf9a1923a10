"""Rules of the user's own, in real runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import proctor
from proctor.errors import UsageError
from tests.live.place import Place

RULE = """title: A look at the machine
id: 5d0c3f0e-1b6a-4f0e-9a57-3f1c5a0f7b77
status: test
level: high
tags: [attack.discovery]
logsource: {product: linux, category: process_creation}
detection:
  s: {Image|endswith: /uname}
  condition: s
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "look.yml").write_text(RULE)
    return place


def test_an_outside_rule_fires_and_makes_the_episode_suspect(place: Place) -> None:
    rules = str(place.folder / "rules")
    run = place.run("uname", options=["--rules", rules, "--rules", f"{rules}/../rules"])
    assert run.status == 11, run.stderr
    (finding,) = run.verdict["findings"]
    assert (finding["rule"], finding["category"]) == ("look", "outside.discovery")
    assert place.run("uname").status == 0


def test_an_outside_rule_kills_nothing(place: Place) -> None:
    policy = '[responses]\non_violation = "kill"\n'
    run = place.run("sh", "-c", "uname; exit 3", policy=policy, options=["--rules", str(place.folder / "rules")])
    assert (run.status, run.verdict["agent_exit"]) == (11, 3)


def test_replay_needs_the_same_rules(place: Place) -> None:
    rules = str(place.folder / "rules")
    run = place.run("uname", options=["--rules", rules])
    assert place.proctor("replay", "--rules", rules, str(run.out)).returncode == 0
    without = place.proctor("replay", str(run.out))
    assert without.returncode == 1
    assert b"these are not the rules" in without.stderr


@pytest.mark.parametrize("command", ["run", "replay", "rules"])
def test_a_rule_that_is_none_is_one_line_and_nothing_runs(place: Place, command: str) -> None:
    record = place.run("true").out
    (place.folder / "rules" / "bad.yml").write_text(RULE.replace("level: high", "level: huge"))
    rules = str(place.folder / "rules")
    words = {
        "run": ("run", "--rules", rules, "--", "touch", "here"),
        "replay": ("replay", "--rules", rules, str(record)),
        "rules": ("rules", rules),
    }[command]
    done = place.proctor(*words)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"proctor: {place.folder}/rules/bad.yml:4: ")
    assert not (place.workspace / "here").exists()


def test_the_list_says_what_is_evaluated(place: Place) -> None:
    other = RULE.replace("category: process_creation", "service: sshd").replace("0f7b77", "0f7b78")
    (place.folder / "rules" / "other.yml").write_text(other)
    listed = place.proctor("rules", str(place.folder / "rules"))
    assert listed.returncode == 0
    lines = listed.stdout.decode().splitlines()
    assert lines[-3:] == [
        "look  evaluated (high, outside.discovery)",
        "other  not evaluated: log source linux/sshd is not recorded",
        "outside: 1 of 2 evaluated",
    ]
    assert b"outside:" not in place.proctor("rules").stdout


def test_the_library_takes_folders_of_rules(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(place.state))
    monkeypatch.setenv("XDG_CACHE_HOME", place.env["XDG_CACHE_HOME"])
    rules = place.folder / "rules"
    with proctor.Launcher(rules=[str(rules)]) as launcher:
        with proctor.Episode(workspace=place.workspace, rules=[rules], launcher=launcher) as episode:
            episode.run(["uname"])
        assert episode.verdict is not None
        assert [one.rule for one in episode.verdict.findings] == ["look"]
        with proctor.Episode(workspace=place.workspace, launcher=launcher) as episode:
            episode.run(["uname"])
        assert episode.verdict is not None
        assert episode.verdict.findings == ()
        (rules / "bad.yml").write_text("x: 1\n")
        other = place.folder / "other"
        rules.rename(other)
        refused = proctor.Episode(workspace=place.workspace, rules=[other], launcher=launcher)
        with pytest.raises(UsageError, match=r"bad\.yml:1: "), refused:
            pass
    with pytest.raises(UsageError, match=r"bad\.yml:1: "):
        proctor.Launcher(rules=[str(other)])
