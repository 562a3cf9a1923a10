from __future__ import annotations

from pathlib import Path

import pytest

from proctor.errors import UsageError
from proctor.sandbox.interpreter import resolve


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_system_program_needs_nothing_more() -> None:
    found = resolve("sh", search_path="/usr/bin:/bin", folder="/")
    assert found.path in {"/usr/bin/sh", "/bin/sh"}
    assert found.readable == ()


def test_a_virtual_environment_brings_its_base(tmp_path: Path) -> None:
    base = program(tmp_path / "opt/py/bin/python3", "#!/bin/sh\n")
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(base)
    (venv / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
    found = resolve("python", search_path=str(venv / "bin"), folder="/")
    assert found.path == str(venv / "bin/python")
    assert set(found.readable) == {str(venv), str(tmp_path / "opt/py")}


def test_links_are_followed_one_by_one(tmp_path: Path) -> None:
    real = program(tmp_path / "a/one/bin/tool", "#!/bin/sh\n")
    middle = tmp_path / "b/two/bin/tool"
    middle.parent.mkdir(parents=True)
    middle.symlink_to(real)
    outer = tmp_path / "c/three/bin/tool"
    outer.parent.mkdir(parents=True)
    outer.symlink_to(middle)
    found = resolve(str(outer), search_path="", folder="/")
    assert set(found.readable) == {str(tmp_path / "a/one"), str(tmp_path / "b/two"), str(tmp_path / "c/three")}


def test_a_shebang_names_its_interpreter_and_env_looks_it_up(tmp_path: Path) -> None:
    program(tmp_path / "lang/v1/bin/lang", "#!/bin/sh\n")
    script = program(tmp_path / "agent", "#!/usr/bin/env -S lang --flag\n")
    found = resolve(str(script), search_path=str(tmp_path / "lang/v1/bin"), folder="/")
    assert str(tmp_path / "lang/v1") in found.readable
    assert str(script) in found.readable


@pytest.mark.parametrize("name", ["no-such-program", "./no-such-program", "/no/such/program"])
def test_what_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(UsageError, match=r"no-such|/no/such") as caught:
        resolve(name, search_path="/usr/bin", folder="/")
    assert "\n" not in str(caught.value)


def test_what_may_not_be_executed_is_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    with pytest.raises(UsageError, match="may not be executed"):
        resolve("./text", search_path="", folder=str(tmp_path))
