from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from proctor.errors import UsageError
from proctor.session.address import Address, connect, listen, parse


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("fd:3", Address("fd", fd=3)),
        ("unix:/run/c.sock", Address("unix", path="/run/c.sock")),
        ("tcp:127.0.0.1:80", Address("tcp", host="127.0.0.1", port=80)),
        ("tcp:127.8.9.1:80", Address("tcp", host="127.8.9.1", port=80)),
        ("tcp:localhost:80", Address("tcp", host="127.0.0.1", port=80)),
        ("tcp:[::1]:65535", Address("tcp", host="::1", port=65535)),
    ],
)
def test_what_is_allowed(text: str, address: Address) -> None:
    assert parse(text, "--stream") == address


def test_a_relative_path_is_of_the_working_folder() -> None:
    assert parse("unix:c.sock", "--stream").path == f"{os.getcwd()}/c.sock"


@pytest.mark.parametrize(
    "text",
    ["", "fd:", "fd:0", "fd:2", "fd:-1", "fd:x", "fd:9999999", "unix:", "tcp:", "tcp:127.0.0.1", "tcp:127.0.0.1:0",
     "tcp:127.0.0.1:65536", "tcp:0.0.0.0:80", "tcp:10.0.0.1:80", "tcp:example.org:80", "tcp:[::]:80", "udp:127.0.0.1:1", "/run/c"],
)  # fmt: skip
def test_what_is_not(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "--stream")
    assert "\n" not in str(caught.value)


def test_the_socket_is_for_whom_its_mode_says(tmp_path: Path) -> None:
    address = parse(f"unix:{tmp_path}/c.sock", "--listen")
    fd = listen(address, 0o640)
    assert (tmp_path / "c.sock").stat().st_mode & 0o777 == 0o640
    with pytest.raises(UsageError, match="listens there already"):
        listen(address, 0o600)
    os.close(connect(address))
    os.close(fd)
    os.close(listen(address, 0o600))  # what a dead collector left is replaced
    with pytest.raises(UsageError, match="no collector is reached"):
        connect(address)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UsageError, match="is no socket"):
        listen(parse(f"unix:{tmp_path}/file", "--listen"), 0o600)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_path_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    fd = listen(parse(f"unix:{folder}/c.sock", "--listen"), 0o600)
    os.close(connect(parse(f"unix:{folder}/c.sock", "--stream")))
    os.close(fd)


def test_over_loopback() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = parse(f"tcp:127.0.0.1:{port}", "--listen")
    fd = listen(address, 0o600)
    os.close(connect(address))
    os.close(fd)
