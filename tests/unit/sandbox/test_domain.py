"""The folders and paths of tier C; the domain itself is met by the live tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proctor.sandbox import domain
from proctor.sandbox.layout import HOME, Layout, Mask


def layout(*masks: Mask) -> Layout:
    return Layout("/w", HOME, (), ("/w/tests",), ("/w",), masks, ("/w",))


def test_what_is_excluded_is_left_out_and_everything_beside_it_stays(tmp_path: Path) -> None:
    for name in ("a/kept", "a/secret/inner", "a/b/secret", "a/b/kept", "c/kept"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "secret")
    excluded = (f"{tmp_path}/a/secret", f"{tmp_path}/a/b/secret", f"{tmp_path}/missing")
    shown = set(domain._without(str(tmp_path), excluded))
    assert shown == {f"{tmp_path}/{name}" for name in ("a/kept", "a/b/kept", "c")}
    assert list(domain._without("/usr", excluded)) == ["/usr"]
    assert list(domain._without(excluded[0], excluded)) == []


def test_the_layout_has_its_own_places() -> None:
    moved = layout(Mask("/etc/shadow", "credential", folder=False)).without_namespaces("/base", ())
    assert (moved.home, moved.run, moved.shm, moved.anchors) == ("/base/home", "/base/run", "/base/shm", ())
    assert set(moved.scratch) == {"/base/tmp", "/base/shm", "/base/home"}
    assert moved.hidden == ()
    assert (moved.workspace, moved.protect, moved.write_roots) == ("/w", ("/w/tests",), ("/w",))


def test_a_copied_root_is_where_the_agent_has_it() -> None:
    plain = layout(Mask("/w/answer", "hidden", folder=False), Mask("/etc/shadow", "credential", folder=False))
    moved = plain.without_namespaces("/base", [("/w", "/base/work/0")])
    assert (moved.workspace, moved.write_roots, moved.protect) == ("/base/work/0",) * 1 + (
        ("/base/work/0",), ("/base/work/0/tests",))  # fmt: skip
    assert [(mask.path, mask.covered) for mask in moved.masks] == [
        ("/base/work/0/answer", True), ("/etc/shadow", False)]  # fmt: skip
    assert set(moved.kept) == {"/base/work/0/tests", "/base/work/0/answer"}
    assert [mask.path for mask in moved.watched.masks] == ["/base/work/0/answer"]
    assert (moved.moved("/w/a/b"), moved.moved("/w"), moved.moved("/wx")) == ("/base/work/0/a/b", "/base/work/0", "/wx")


def test_the_folders_lie_outside_every_write_root_and_go(tmp_path: Path) -> None:
    with domain.folders(["/tmp"], "proctor-of-a-test") as base:
        assert not base.startswith("/tmp/")
        assert sorted(os.listdir(base)) == ["home", "run", "shm", "tmp"]
        assert os.stat(base).st_mode & 0o777 == 0o700
    assert not os.path.exists(base)


def test_what_a_killed_supervisor_leaves_is_removed_but_for_work_in_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "places", lambda: (str(tmp_path),))
    for name, copied in (("proctor-a", False), ("proctor-b", True)):
        closed = tmp_path / name / "tmp" / "closed" / "inner"
        closed.mkdir(parents=True)
        closed.parent.chmod(0)
        (tmp_path / name / "work" / "0").mkdir(parents=True)
        (tmp_path / name / "work" / "0" / "made").write_text("made\n")
        if copied:
            (tmp_path / name / domain.COPIES).write_text("{}")
        domain.abandon(name)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "proctor-b", "proctor-b/copies.json", "proctor-b/work", "proctor-b/work/0", "proctor-b/work/0/made",
    ]  # fmt: skip
