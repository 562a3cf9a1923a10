from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from proctor.errors import UsageError
from proctor.journal.keys import (
    SigningKey,
    default_folder,
    fingerprint,
    load_or_make,
    load_trusted,
    signature_is_good,
)

fresh_interpreter = pytest.mark.skipif(
    not os.access(sys.executable, os.X_OK), reason=f"this user may not execute {sys.executable}"
)


def public_pem(raw: bytes) -> bytes:
    return Ed25519PublicKey.from_public_bytes(raw).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_the_first_use_makes_a_key_and_the_next_finds_it(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "keys"
    key = load_or_make(folder)
    assert load_or_make(folder).public == key.public
    assert stat.S_IMODE((folder / "signing.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(os.listdir(folder)) == ["signing.pem", "signing.pub"]
    assert load_trusted(str(folder / "signing.pub")) == key.public
    assert signature_is_good(key.public, key.sign(b"message"), b"message")


@fresh_interpreter
def test_processes_that_race_for_the_first_use_agree(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    program = (
        "import sys; from pathlib import Path; from proctor.journal.keys import load_or_make;"
        "sys.stdin.read(); print(load_or_make(Path(sys.argv[1])).public.hex())"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
    said = {racer.stdout.read() for racer in racers if racer.stdout is not None}
    assert [racer.wait() for racer in racers] == [0] * 4
    for racer in racers:
        assert racer.stdout is not None
        racer.stdout.close()
    assert said == {load_or_make(folder).public.hex().encode() + b"\n"}
    assert sorted(os.listdir(folder)) == ["signing.pem", "signing.pub"]


def test_the_loser_of_the_race_takes_the_winners_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "keys"
    link = os.link
    winners: list[SigningKey] = []

    def late(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        winners.append(load_or_make(folder))
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert [load_or_make(folder).public] == [winner.public for winner in winners]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_key_that_others_can_use_is_refused_in_one_line(tmp_path: Path, mode: int) -> None:
    load_or_make(tmp_path / "keys")
    path = tmp_path / "keys" / "signing.pem"
    path.chmod(mode)
    with pytest.raises(UsageError, match=rf"signing.pem: others can use .* \(mode {mode:04o}\)") as raised:
        load_or_make(tmp_path / "keys")
    assert "\n" not in str(raised.value)


def test_a_folder_in_which_others_can_replace_the_key_is_refused(tmp_path: Path) -> None:
    load_or_make(tmp_path / "keys")
    (tmp_path / "keys").chmod(0o777)
    with pytest.raises(UsageError, match="others can replace the signing key"):
        load_or_make(tmp_path / "keys")


@pytest.mark.parametrize("kind", ["", "nonsense", "ec"])
def test_a_file_that_is_no_signing_key_is_refused(tmp_path: Path, kind: str) -> None:
    data = kind.encode()
    if kind == "ec":
        data = generate_private_key(SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    (tmp_path / "signing.pem").write_bytes(data)
    (tmp_path / "signing.pem").chmod(0o600)
    with pytest.raises(UsageError, match="not an Ed25519 private key"):
        load_or_make(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file.*: cannot use the signing key: Not a directory"):
        load_or_make(tmp_path / "file" / "keys")


def test_the_folder_follows_the_base_directory_specification() -> None:
    assert default_folder({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == Path("/s/proctor/keys")
    assert default_folder({"HOME": "/h"}) == Path("/h/.local/state/proctor/keys")
    assert default_folder({"XDG_STATE_HOME": "relative", "HOME": "/h"}) == Path("/h/.local/state/proctor/keys")


def test_a_seed_gives_the_key_of_rfc_8032() -> None:
    # Section 7.1, test 1.
    key = SigningKey.from_seed(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a")
    assert len(fingerprint(key.public)) == 32


def test_malformed_signatures_and_keys_are_not_good() -> None:
    key = SigningKey.from_seed(bytes(32))
    signature = key.sign(b"m")
    assert not signature_is_good(key.public, signature, b"n")
    assert not signature_is_good(key.public, signature[:-1], b"m")
    assert not signature_is_good(key.public[:-1], signature, b"m")
    assert not signature_is_good(key.public, b"", b"m")


def test_a_trusted_key_can_be_named_in_three_ways(tmp_path: Path) -> None:
    raw = SigningKey.from_seed(bytes(32)).public
    (tmp_path / "hex").write_text(f" {raw.hex().upper()}\n")
    (tmp_path / "pem").write_bytes(public_pem(raw))
    assert load_trusted(raw.hex()) == load_trusted(str(tmp_path / "hex")) == load_trusted(str(tmp_path / "pem")) == raw


def test_what_is_no_trusted_key_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    load_or_make(tmp_path / "keys")
    (tmp_path / "ec").write_bytes(
        generate_private_key(SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "bad").write_bytes(b"\xff" * 64)
    for name, words in (
        ("absent", "No such file or directory; allowed are 64 hex digits"),
        ("ec", "not a public key of this kind; allowed are 64 hex digits"),
        ("bad", "not a public key of this kind"),
        ("keys/signing.pem", "this is a private key; give the public one"),
        ("a\0b", "embedded null byte"),
    ):
        with pytest.raises(UsageError, match=words):
            load_trusted(str(tmp_path / name))


@fresh_interpreter
def test_reading_a_journal_needs_no_cryptography() -> None:
    program = "import sys, proctor.journal, proctor.journal.redaction; print('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"False\n"


def test_a_fingerprint_is_told_from_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="has the form of a fingerprint; give the key"):
        load_trusted("ab" * 16)
    (tmp_path / ("ab" * 16)).write_text("cd" * 32)
    assert load_trusted("ab" * 16) == bytes.fromhex("cd" * 32)
