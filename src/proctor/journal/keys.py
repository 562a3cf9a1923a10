"""The user's signing key, and keys that a reader trusts.

The key is Ed25519 (RFC 8032). The private half is kept as PEM (PKCS 8, RFC 8410), unencrypted, mode 0600, in
``$XDG_STATE_HOME/proctor/keys/signing.pem`` (default ``~/.local/state``, XDG Base Directory Specification 0.8); the
public half lies beside it as 64 hexadecimal digits in ``signing.pub``.

``cryptography`` is imported inside the functions that need it: it costs a user 27 ms of waiting.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from proctor.errors import UsageError

__all__ = ["SigningKey", "default_folder", "fingerprint", "load_or_make", "load_trusted", "signature_is_good", "usable"]

_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_HEX_FINGERPRINT = re.compile(r"[0-9a-fA-F]{32}")
_FILE_LIMIT = 16 * 1024


class SigningKey(NamedTuple):
    """An Ed25519 key pair: the raw public key (32 bytes), and a function from a message to its signature (64 bytes)."""

    public: bytes
    sign: Callable[[bytes], bytes]

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """Return the key pair of a 32-byte private key (RFC 8032, section 5.1.5)."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(private.public_key().public_bytes_raw(), private.sign)

    @classmethod
    def new(cls) -> SigningKey:
        """Return a new key pair that is stored nowhere: it ends with the process."""
        return cls.from_seed(os.urandom(32))


def fingerprint(public: bytes) -> str:
    """Return the first 128 bits of SHA-256 of a raw public key, hex: short enough to compare by eye."""
    return hashlib.sha256(public).hexdigest()[:32]


def signature_is_good(public: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether ``signature`` is ``public``'s over ``message``. Malformed input is not good."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def default_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the user's key. A relative ``XDG_STATE_HOME`` is ignored, as its specification says."""
    state = environ.get("XDG_STATE_HOME", "")
    base = Path(state) if state.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return base / "proctor" / "keys"


def usable(folder: Path) -> bool:
    """Whether the signing key in ``folder`` is there, or could be made: without making it."""
    if os.path.lexists(folder / "signing.pem"):
        return True
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def load_or_make(folder: Path) -> SigningKey:
    """Return the signing key in ``folder``; make it, the folder and ``signing.pub`` at first use.

    Two processes that make it at the same time end up with the same key.

    Raises:
        UsageError: the key cannot be read or made, others can read it, or it is no Ed25519 key.
    """
    path = folder / "signing.pem"
    try:
        with suppress(FileNotFoundError):
            return _load(path)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(path)
        key = _load(path)
        _place(folder / "signing.pub", key.public.hex().encode() + b"\n", 0o644, os.replace)
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: cannot use the signing key: {error.strerror}") from None
    return key


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # link(2) fails where the name exists: the first process to get here wins, and no one sees half a key.
    with suppress(FileExistsError):
        _place(path, pem, 0o600, os.link)


def _place(path: Path, data: bytes, mode: int, put: Callable[[Path, Path], None]) -> None:
    """Write ``data`` to a new file and ``put`` it at ``path``, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        put(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _load(path: Path) -> SigningKey:
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        folder = path.parent.stat()
        pem = file.read(_FILE_LIMIT)
    if status.st_uid not in (os.geteuid(), 0):
        raise UsageError(f"{path}: the signing key belongs to another user; remove it to have a new one made")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise UsageError(f"{path}: others can use this signing key (mode {mode:04o}); allowed is 0600: chmod 600 it")
    if folder.st_mode & 0o022:
        mode = stat.S_IMODE(folder.st_mode)
        raise UsageError(f"{path.parent}: others can replace the signing key (mode {mode:04o}); chmod 700 it")

    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(f"{path}: not an Ed25519 private key in PEM without a passphrase")
    return SigningKey(private.public_key().public_bytes_raw(), private.sign)


def load_trusted(path_or_hex: str) -> bytes:
    """Return the raw public key (32 bytes) named on a command line.

    Args:
        path_or_hex: 64 hexadecimal digits, or a file holding them or an Ed25519 public key in PEM.

    Raises:
        UsageError: it is neither.
    """
    if _HEX_KEY.fullmatch(path_or_hex):
        return bytes.fromhex(path_or_hex)
    if _HEX_FINGERPRINT.fullmatch(path_or_hex) and not os.path.exists(path_or_hex):
        raise UsageError(
            f"{path_or_hex}: this has the form of a fingerprint; give the key, signing.pub, or leave --trusted-key out "
            "and compare the fingerprint that is shown"
        )
    allowed = "allowed are 64 hex digits, a file holding them, or an Ed25519 public key in PEM"
    try:
        with open(path_or_hex, "rb") as file:
            data = file.read(_FILE_LIMIT)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path_or_hex}: cannot read the trusted key: {why}; {allowed}") from None
    if b"PRIVATE KEY-----" in data:
        raise UsageError(f"{path_or_hex}: this is a private key; give the public one, signing.pub beside it")
    text = data.decode("ascii", "replace").strip()
    if _HEX_KEY.fullmatch(text):
        return bytes.fromhex(text)

    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, Ed25519PublicKey):
        raise UsageError(f"{path_or_hex}: not a public key of this kind; {allowed}")
    return public.public_bytes_raw()
