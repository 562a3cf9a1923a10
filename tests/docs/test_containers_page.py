"""What docs/containers.md shows can be read by what it is for; the command lines are Proctor's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from proctor.cli.parser import parse
from proctor.runtime.export import _FLAGS

PAGE = (Path(__file__).parents[2] / "docs/containers.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_pod_is_yaml_and_its_commands_are_proctors() -> None:
    (text,) = blocks("yaml")
    spec = yaml.safe_load(text)["spec"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    containers = [*spec["initContainers"], *spec["containers"]]
    assert {mount["name"] for one in containers for mount in one["volumeMounts"]} == volumes
    commands = [one["command"][1:] for one in containers if one["command"][0] == "/opt/proctor/proctor"]
    assert [words[0] for words in commands] == ["collect", "run"]
    collect, run = (parse(words) for words in commands)
    assert collect.listen == run.stream == "unix:/run/collector/c.sock"
    assert run.argv == ["--", "agent"]


def test_the_image_and_the_command_without_a_shell() -> None:
    (text,) = blocks("dockerfile")
    entry = json.loads(text.partition("ENTRYPOINT ")[2])
    assert parse([*entry[1:], "agent"]).argv == ["--", "agent"]
    (line,) = blocks("json")
    words = json.loads(line)
    assert " ".join(words[words.index("-I") : words.index("/opt/proctor/app")]) == _FLAGS
    assert parse(words[words.index("/opt/proctor/app") + 1 :]).argv == ["--", "/agent"]


def test_the_options_of_docker_run_are_proctors() -> None:
    line = next(text for text in blocks("console") if "docker run" in text).replace("\\\n", " ")
    assert parse(line.partition("your/agent ")[2].split()).stream == "unix:/run/collector/c.sock"
