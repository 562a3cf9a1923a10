"""Where keys, records and caches go, also for a user who has no home."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proctor.errors import UsageError
from proctor.session.spec import cache_folder, is_id, keys_folder, state_folder


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Any uid of a container: no passwd entry and no HOME, so that "~" stays as it is (os.path.expanduser)."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    return tmp_path / f"proctor-{os.getuid()}"


def test_a_user_without_a_home_has_a_folder_alone(homeless: Path) -> None:
    assert state_folder() == homeless / ".local" / "state" / "proctor"
    assert cache_folder() == homeless / ".cache" / "proctor"
    assert homeless.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["others", "link", "file"])
def test_a_folder_that_somebody_else_put_there_is_not_used(homeless: Path, what: str) -> None:
    if what == "file":
        homeless.write_text("")
    elif what == "link":
        (homeless.parent / "theirs").mkdir()
        homeless.symlink_to(homeless.parent / "theirs")
    else:
        homeless.mkdir()
        homeless.chmod(0o770)
    with pytest.raises(UsageError) as caught:
        state_folder()
    assert str(homeless) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_key_is_stored_where_none_can_be_kept(homeless: Path) -> None:
    assert keys_folder(streamed=True) == ""
    assert keys_folder(streamed=False) == str(homeless / ".local/state/proctor/keys")


def test_a_home_that_cannot_be_written_is_none(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: "/proc/self" if path == "~" else path)
    assert state_folder() == homeless / ".local" / "state" / "proctor"
    assert keys_folder(streamed=True) == ""


def test_a_home_and_what_is_asked_for_come_first(
    homeless: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(os.path, "expanduser", lambda path: str(home) if path == "~" else path)
    assert state_folder() == home / ".local" / "state" / "proctor"
    assert keys_folder(streamed=True) == str(home / ".local/state/proctor/keys")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert keys_folder(streamed=True) == str(tmp_path / "state" / "proctor" / "keys")
    assert not homeless.exists()


@pytest.mark.parametrize(
    ("text", "allowed"),
    [("a", True), ("20261125T120000Z-00ff", True), ("x" * 100, True), ("x" * 101, False), ("", False), (".", False),
     ("..", False), ("a/b", False), ("a\n", False), ("-a", False)],
)  # fmt: skip
def test_what_an_episode_may_be_called(text: str, allowed: bool) -> None:
    assert is_id(text) is allowed
