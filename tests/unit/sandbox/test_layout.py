from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from proctor.errors import PolicyError
from proctor.policy.records import Files, Policy
from proctor.sandbox.layout import HOME, Mount, plan


def policy(tmp_path: Path, **files: tuple[str, ...]) -> Policy:
    return Policy(workspace=str(tmp_path), files=Files(write=(str(tmp_path),), **files))  # type: ignore[arg-type]


def test_the_workspace_is_writable_and_the_command_readable(tmp_path: Path) -> None:
    layout = plan(policy(tmp_path), ("/opt/lang",))
    assert Mount(str(tmp_path), writable=True) in layout.mounts
    assert Mount("/opt/lang", writable=False) in layout.mounts
    assert layout.home == HOME


def test_what_a_write_root_or_the_system_shows_is_not_mounted_twice(tmp_path: Path) -> None:
    layout = plan(policy(tmp_path), (str(tmp_path / "venv"), "/usr/lib/x"))
    assert layout.mounts == (Mount(str(tmp_path), writable=True),)


def test_folders_above_a_protected_path_are_anchored(tmp_path: Path) -> None:
    deep = tmp_path / "pkg/sub/tests"
    deep.mkdir(parents=True)
    layout = plan(policy(tmp_path, protect=(str(deep),)), ())
    assert layout.anchors == (str(tmp_path / "pkg"), str(tmp_path / "pkg/sub"))
    assert layout.protect == (str(deep),)


def test_hidden_folders_keep_their_names_behind_the_mask(tmp_path: Path) -> None:
    (tmp_path / "sol/deep").mkdir(parents=True)
    (tmp_path / "sol/a.txt").write_text("42")
    (tmp_path / "sol/deep/b.txt").write_text("43")
    layout = plan(policy(tmp_path, hide=(str(tmp_path / "sol"),)), ())
    mask = next(mask for mask in layout.masks if mask.role == "hidden")
    assert mask.folder
    assert mask.names == ("a.txt", "deep/b.txt")


@pytest.mark.parametrize("key", ["protect", "hide"])
def test_a_second_hard_link_is_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "answers.json").write_text("42")
    os.link(tmp_path / "answers.json", tmp_path / "copy.json")
    with pytest.raises(PolicyError, match=rf"files.{key}: .*answers.json has 2 hard links"):
        plan(policy(tmp_path, **{key: (str(tmp_path / "answers.json"),)}), ())


def test_a_socket_of_the_host_in_the_workspace_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.sock"))
        server.listen()
        with pytest.raises(PolicyError, match=r"s\.sock is a socket of this host"):
            plan(policy(tmp_path), ())
