"""What an agent does in a copy comes back, and nothing else changes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proctor.errors import PolicyError
from proctor.sandbox.copy import WorkspaceCopy
from proctor.sandbox.layout import HOME, Layout, Mask

NAMES = st.sampled_from(["a", "b", "d/a", "d/e/a", "new", "d/new", "tests/t", "answer"])
OPS = st.lists(
    st.tuples(st.sampled_from(["write", "remove", "link", "mkdir", "move", "chmod"]), NAMES, NAMES), max_size=12
)


def made(folder: Path) -> tuple[Path, WorkspaceCopy]:
    root = (folder / "root").resolve()
    for name in ("a", "b", "d/a", "d/e/a", "tests/t", "answer", "sealed/x/y"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"first {name}")
    masks = (
        Mask(f"{root}/answer", "hidden", folder=False),
        Mask(f"{root}/sealed", "hidden", folder=True, names=("x/y",)),
    )
    layout = Layout(str(root), HOME, (), (f"{root}/tests",), (), masks, (str(root),))
    return root, WorkspaceCopy(str(folder / "base"), layout, str(folder))


def do(copy: Path, op: str, name: str, other: str) -> None:
    """Change the copy, as far as that goes."""
    path, target = copy / name, copy / other
    try:
        if op == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"second {name} {other}")
        elif op == "remove":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif op == "link":
            path.symlink_to(other)
        elif op == "mkdir":
            path.mkdir()
        elif op == "move":
            path.rename(target)
        elif op == "chmod":
            path.chmod(0o700)
    except OSError:
        pass


def shown(root: Path) -> dict[str, object]:
    """Everything below ``root`` but what the policy keeps."""
    found: dict[str, object] = {}
    for at, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(at, name)
            relative = str(path.relative_to(root))
            if relative.split("/", maxsplit=1)[0] in {"tests", "answer", "sealed"}:
                continue
            if path.is_symlink():
                found[relative] = ("link", os.readlink(path))
            elif path.is_dir():
                found[relative] = "folder"
            else:
                found[relative] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found


@given(OPS)
@settings(max_examples=60, deadline=None)
def test_the_original_becomes_what_the_copy_is(ops: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, copied = made(Path(folder))
        ((_, copy),) = copied.roots
        assert "first" not in (Path(copy) / "answer").read_text()
        assert "first" not in (Path(copy) / "sealed/x/y").read_text()
        for op, name, other in ops:
            do(Path(copy), op, name, other)
        synced = copied.sync()
        assert (synced.conflicts, synced.failed) == ([], [])
        assert shown(root) == shown(Path(copy))
        assert (root / "answer").read_text() == "first answer"
        assert (root / "sealed/x/y").read_text() == "first sealed/x/y"
        assert {str(path.relative_to(root)): path.read_text() for path in (root / "tests").iterdir()} == {
            "tests/t": "first tests/t"
        }
        assert copied.sync() is synced


def test_what_was_changed_on_both_sides_stays_and_is_kept(tmp_path: Path) -> None:
    root, copied = made(tmp_path)
    copy = Path(copied.roots[0][1])
    for name in ("a", "d/a"):
        (root / name).write_text("theirs, later")
    (copy / "a").write_text("the agent's")
    (copy / "d/a").unlink()
    (root / "new").write_text("theirs")
    (copy / "new").write_text("the agent's")
    synced = copied.sync()
    assert sorted(Path(path).name for path in synced.conflicts) == ["a", "a", "new"]
    assert {(root / name).read_text() for name in ("a", "d/a")} == {"theirs, later"}
    assert (tmp_path / "kept/a").read_text() == (tmp_path / "kept/new").read_text() == "the agent's"


def test_a_folder_that_became_a_link_outside_is_not_written_through(tmp_path: Path) -> None:
    root, copied = made(tmp_path)
    copy, outside = Path(copied.roots[0][1]), tmp_path / "outside"
    outside.mkdir()
    (copy / "d/e/a").write_text("the agent's")
    shutil.rmtree(root / "d/e")
    (root / "d/e").symlink_to(outside)
    synced = copied.sync()
    assert list(outside.iterdir()) == []
    assert synced.conflicts or synced.failed
    assert (tmp_path / "kept/d/e/a").read_text() == "the agent's"


def test_what_cannot_be_copied_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "it")

    monkeypatch.setattr(shutil, "copystat", refused)
    with pytest.raises(PolicyError, match=r"files\.hide: in tier C the agent works in a copy of .*root"):
        made(tmp_path)


def test_links_by_whole_path_lead_into_the_copy_and_back(tmp_path: Path) -> None:
    root = (tmp_path / "root").resolve()
    (root / "d").mkdir(parents=True)
    (root / "answer").write_text("first answer")
    (root / "d/a").write_text("first a")
    (tmp_path / "alias").symlink_to(root)
    texts = {
        "file": f"{root}/d/a", "folder": f"{root}/d", "root": str(root), "alias": f"{tmp_path}/alias/d/a",
        "up": f"{root}/d/../d/a", "missing": f"{root}/d/none", "hidden": f"{root}/answer",
        "beside": f"{root}-other/x", "outside": "/etc/passwd", "relative": "d/a", "own": "/proc/self/cwd/d/a",
    }  # fmt: skip
    for name, text in texts.items():
        (root / name).symlink_to(text)
    layout = Layout(str(root), HOME, (), (), (), (Mask(f"{root}/answer", "hidden", folder=False),), (str(root),))
    copied = WorkspaceCopy(str(tmp_path / "base"), layout, str(tmp_path))
    copy = Path(copied.roots[0][1])
    led = {name: os.readlink(copy / name) for name in texts}
    assert {name: led[name] for name in ("beside", "outside", "relative", "own")} == {
        name: texts[name] for name in ("beside", "outside", "relative", "own")
    }
    assert {(copy / name).read_text() for name in ("file", "alias", "up")} == {"first a"}
    assert (led["folder"], led["root"], led["missing"]) == (f"{copy}/d", str(copy), f"{copy}/d/none")
    assert "first" not in (copy / "hidden").read_text()
    (copy / "made").symlink_to(f"{copy}/d/a")
    (copy / "again").symlink_to(f"{root}/d")
    (copy / "file").unlink()
    (copy / "file").symlink_to(f"{copy}/d")
    synced = copied.sync()
    assert (synced.conflicts, synced.failed, synced.written, synced.removed) == ([], [], 3, 0)
    now = {name: os.readlink(root / name) for name in (*texts, "made", "again")}
    assert now == texts | {"file": f"{root}/d", "made": f"{root}/d/a", "again": f"{root}/d"}
