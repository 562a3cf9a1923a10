"""What files held before, on real files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.events.kinds import ChangeData, ChangesData, FileData, PathRole
from proctor.sensors import contents as module
from proctor.sensors.contents import Contents


def asked(op: str, path: Path, target: Path | None = None) -> FileData:
    """A call as it stands before it runs."""
    role: PathRole = "workspace"
    return FileData(
        op=op, call=op, path=str(path), object=str(path), role=role, existed=os.path.lexists(path),
        target=str(target) if target else None, target_object=str(target) if target else None,
        target_role=role if target else None,
    )  # fmt: skip


def ended(contents: Contents) -> tuple[dict[str, ChangeData], ChangesData]:
    *changes, totals = contents.compared(lambda text: text.replace("hunter22", "[redacted]"))
    assert isinstance(totals, ChangesData)
    return {Path(one.path).name: one for one in changes if isinstance(one, ChangeData)}, totals


def test_a_file_is_compared_with_what_it_held_before_its_first_change(tmp_path: Path) -> None:
    contents = Contents()
    file = tmp_path / "a"
    file.write_text("one\ntwo\n")
    for text in ("one\n2\n", "one\nthree\n"):
        contents.about_to(asked("open_write", file))
        file.write_text(text)
    changes, totals = ended(contents)
    assert changes["a"].text == "@@ -1,2 +1,2 @@\n one\n-two\n+three"
    assert (changes["a"].change, totals) == ("modified", ChangesData(modified=1))
    assert changes["a"].before is not None
    assert changes["a"].before.sha256 == hashlib.sha256(b"one\ntwo\n").hexdigest()


def test_made_removed_unchanged_gone_and_renamed(tmp_path: Path) -> None:
    contents = Contents()
    made, removed, same, gone, part, whole = (tmp_path / name for name in ("made", "removed", "same", "gone", "p", "w"))
    for file in (removed, same, whole):
        file.write_text("old\n")
    for op, file in (("create", made), ("unlink", removed), ("truncate", same), ("create", gone), ("create", part)):
        contents.about_to(asked(op, file))
    made.write_text("new")
    removed.unlink()
    same.write_text("old\n")
    part.write_text("new\n")
    contents.about_to(asked("rename", part, whole))
    part.rename(whole)
    changes, totals = ended(contents)
    assert {name: one.change for name, one in changes.items()} == {
        "made": "made", "removed": "removed", "w": "modified",
    }  # fmt: skip
    assert changes["made"].text == "@@ -0,0 +1 @@\n+new\n\\ No newline at end of file"
    assert totals == ChangesData(made=1, modified=1, removed=1, unchanged=1, gone=2)


def test_a_folder_that_is_renamed_is_no_file(tmp_path: Path) -> None:
    contents = Contents()
    (tmp_path / "d").mkdir()
    contents.about_to(asked("rename", tmp_path / "d", tmp_path / "e"))
    (tmp_path / "d").rename(tmp_path / "e")
    assert ended(contents) == ({}, ChangesData())


def test_neither_links_nor_fifos_are_read(tmp_path: Path) -> None:
    contents = Contents()
    secret = tmp_path / "secret"
    secret.write_text("s\n")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(secret)
    (tmp_path / "folder").symlink_to(tmp_path)
    for name in ("fifo", "link", "folder/secret"):
        contents.about_to(asked("open_write", tmp_path / name))
    file = tmp_path / "file"
    contents.about_to(asked("create", file))
    file.symlink_to(secret)
    changes, totals = ended(contents)
    assert changes == {}
    assert totals.gone == 3, "for a link there is no file under its name; the FIFO is neither"


def test_secrets_are_taken_out_before_the_text_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DIFF", 20)
    contents = Contents()
    file = tmp_path / "a"
    contents.about_to(asked("create", file))
    file.write_text("hunter22 hunter22 hunter22\n")
    changes, _ = ended(contents)
    assert changes["a"].text == "@@ -0,0 +1 @@\n+[reda"
    assert changes["a"].cut


def test_binary_and_large_files_are_compared_by_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SIZE", 10)
    monkeypatch.setattr(module, "MAX_DIGESTED", 30)
    contents = Contents()
    binary, large, other, beyond = (tmp_path / name for name in ("binary", "large", "other", "zbeyond"))
    binary.write_bytes(b"\0a")
    large.write_bytes(b"x" * 12)
    other.write_bytes(b"x" * 12)
    beyond.write_bytes(b"x" * 12)
    for file in (binary, large, other, beyond):
        contents.about_to(asked("open_write", file))
    binary.write_bytes(b"\0b")
    large.write_bytes(b"y" * 12)
    beyond.write_bytes(b"y" * 12)
    changes, totals = ended(contents)
    assert {name: (one.change, one.text) for name, one in changes.items()} == {
        "binary": ("modified", None), "large": ("modified", None),
    }  # fmt: skip
    assert totals == ChangesData(modified=2, unchanged=1, not_compared=1)


def test_so_many_files_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 2)
    contents = Contents()
    for number in range(5):
        file = tmp_path / str(number)
        contents.about_to(asked("create", file))
        contents.about_to(asked("create", file))
        file.write_text("")
    _, totals = ended(contents)
    assert totals.made == 2
    assert totals.not_compared == 3, "each file once, however often it is opened"


def test_a_text_of_many_lines_is_not_compared_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINES", 3)
    contents = Contents()
    file = tmp_path / "a"
    file.write_text("1\n2\n3\n4\n")
    contents.about_to(asked("open_write", file))
    file.write_text("1\n")
    changes, _ = ended(contents)
    assert (changes["a"].change, changes["a"].text) == ("modified", None)


@given(st.binary(max_size=200).map(lambda raw: raw.replace(b"\0", b"\n")), st.binary(max_size=200))
def test_the_lines_tell_whether_there_is_a_difference(
    tmp_path_factory: pytest.TempPathFactory, old: bytes, new: bytes
) -> None:
    new = new.replace(b"\0", b"\n")
    file = tmp_path_factory.mktemp("c") / "a"
    file.write_bytes(old)
    contents = Contents()
    contents.about_to(asked("open_write", file))
    file.write_bytes(new)
    changes, totals = ended(contents)
    assert bool(changes) == (old != new)
    assert totals.unchanged == (old == new)
    if changes:
        assert (changes["a"].text or "").startswith("@@ ")
