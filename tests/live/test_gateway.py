"""The gateway, against real servers on this host's loopback.

What is not tested here, for it would leave the machine: names that a resolver answers for, and TLS through the tunnel.
The proxy's destination is 0.0.0.0, which a Linux host connects to itself and which is no loopback address to the policy.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.live.place import Place, waiting_for

BODY = b"<" + b"b" * 300_000 + b">"

AGENT = """
import socket, sys, urllib.request
def raw(data, port=3128, host="127.0.0.1"):
    with socket.create_connection((host, port), 20) as connection:
        connection.settimeout(20)
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer
def tried(action):
    try:
        return action()
    except OSError as error:
        return type(error).__name__
"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"%d" % len(data))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        return


class _SixServer(ThreadingHTTPServer):
    address_family = socket.AF_INET6


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _serving(server: ThreadingHTTPServer) -> Iterator[int]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield int(server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def port() -> Iterator[int]:
    yield from _serving(ThreadingHTTPServer(("127.0.0.1", 0), _Handler))


@pytest.fixture
def port6() -> Iterator[int]:
    try:
        server = _SixServer(("::1", 0), _Handler)
    except OSError as error:
        pytest.skip(f"this host has no ::1: {error}")
    yield from _serving(server)


def _python(code: str) -> tuple[str, str, str]:
    return sys.executable, "-c", AGENT + code


def test_an_allowed_port_is_reached_at_its_own_address(place: Place, port: int) -> None:
    agent = _python(f"""
print(len(urllib.request.urlopen("http://127.0.0.1:{port}/", timeout=20).read()))
print(urllib.request.urlopen("http://localhost:{port}/", b"x" * 2_000_000, timeout=20).read())
""")
    run = place.run(*agent, policy=f'[network]\nallow = ["127.0.0.1:{port}"]\n')
    assert run.stdout == b"%d\nb'2000000'\n" % len(BODY), run.stderr
    assert run.status == 0, run.stderr

    first, first_end, second, second_end = (event["data"] for event in run.of("flow"))
    assert [one["phase"] for one in (first, first_end, second, second_end)] == ["open", "close", "open", "close"]
    assert (first["asked"], first["address"], first["port"]) == (f"127.0.0.1:{port}", "127.0.0.1", port)
    assert first_end["received_bytes"] > len(BODY)
    assert second_end["sent_bytes"] > 2_000_000
    agent_pid = next(event["pid"] for event in run.of("process") if event["data"]["how"] == "root")
    assert {event["pid"] for event in run.of("flow") if event["data"]["phase"] == "open"} == {agent_pid}
    # Asked for before it came: the connect stands before the flow.
    connect = next(event for event in run.of("net") if event["data"]["port"] == port)
    assert connect["seq"] < run.of("flow")[0]["seq"]


def test_an_allowed_port_of_ipv6(place: Place, port6: int) -> None:
    agent = _python(f'print(len(urllib.request.urlopen("http://[::1]:{port6}/", timeout=20).read()))')
    run = place.run(*agent, policy=f'[network]\nallow = ["[::1]:{port6}"]\n')
    assert (run.status, run.stdout) == (0, b"%d\n" % len(BODY)), run.stderr
    assert run.of("flow")[0]["data"]["asked"] == f"[::1]:{port6}"


def test_what_is_not_allowed_is_not_reached(place: Place, port: int) -> None:
    agent = _python(f"""
for address in [("127.0.0.1", {port}), ("127.0.0.2", {port}), ("0.0.0.0", {port}), ("127.0.0.1", 3128), ("10.0.0.1", 80)]:
    print(tried(lambda: raw(b"", address[1], address[0])))
print(tried(lambda: socket.getaddrinfo("example.com", 80)))
""")
    for policy in ("", '[network]\nallow = ["127.0.0.1:1"]\n'):
        run = place.run(*agent, policy=policy)
        answers = run.stdout.decode().split()
        assert answers[:4] == ["ConnectionRefusedError"] * 4, run.stdout
        assert answers[4] == "OSError"
        assert answers[5] == "gaierror"
        assert run.of("flow") == []


def test_the_proxy_connects_to_what_is_allowed_by_name_and_to_nothing_else(place: Place, port: int) -> None:
    agent = _python(f"""
connect = b"CONNECT 0.0.0.0:{port} HTTP/1.1\\r\\nHost: 0.0.0.0:{port}\\r\\n\\r\\n"
get = b"GET / HTTP/1.0\\r\\nHost: there\\r\\n\\r\\n"
answer = raw(connect + get)
print(answer.split(b"\\r\\n")[0].decode(), len(answer) > {len(BODY)})
for request in (
    b"CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
    b"CONNECT 0.0.0.0:1 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
    b"CONNECT evil.example:443 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
    b"GET http://0.0.0.0:{port}/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
    b"CONNECT nonsense HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
    b"CONNECT 0.0.0.0:{port}@evil.example:443 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
    b"\\x16\\x03\\x01 this is no HTTP\\r\\n\\r\\n",
):
    print(raw(request).split(b"\\r\\n")[0].decode())
# Refused before it was read to its end, so that the answer itself may be lost.
long = tried(lambda: raw(b"CONNECT " + b"a" * 20000 + b":443 HTTP/1.1\\r\\n\\r\\n").split(b"\\r\\n")[0].decode())
print(long in {{"HTTP/1.1 400 Bad Request", "ConnectionResetError", "BrokenPipeError"}})
""")
    run = place.run(*agent, policy=f'[network]\nallow = ["0.0.0.0:{port}"]\n')
    assert run.stdout.decode().splitlines() == [
        "HTTP/1.1 200 Connection established True", "HTTP/1.1 403 Forbidden", "HTTP/1.1 403 Forbidden",
        "HTTP/1.1 403 Forbidden", "HTTP/1.1 405 Method Not Allowed", "HTTP/1.1 400 Bad Request",
        "HTTP/1.1 400 Bad Request", "HTTP/1.1 400 Bad Request", "True",
    ], run.stderr  # fmt: skip
    flows = [event["data"] for event in run.of("flow")]
    assert [flow["phase"] for flow in flows] == ["open", "close"] + ["refused"] * 8
    assert flows[0]["asked"] == f"0.0.0.0:{port}"
    assert flows[4]["asked"] == "evil.example:443"
    assert all(flow["reason"] for flow in flows[2:])
    assert flows[4]["reason"] == "not in [network] allow"
    pids = {event["pid"] for event in run.of("flow") if event["data"]["phase"] != "close"}
    assert pids == {next(event["pid"] for event in run.of("process"))}


def test_a_destination_that_does_not_answer(place: Place) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        agent = _python(f"""
print(raw(b"CONNECT 0.0.0.0:{port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n").split(b"\\r\\n")[0].decode())
print(raw(b"", {port}))
""")
        run = place.run(*agent, policy=f'[network]\nallow = ["0.0.0.0:{port}", "127.0.0.1:{port}"]\n')
    assert run.stdout.decode().splitlines() == ["HTTP/1.1 502 Bad Gateway", "b''"], run.stderr
    assert [event["data"]["phase"] for event in run.of("flow")] == ["failed", "failed"]
    assert run.status == 0


def test_many_at_once(place: Place, port: int) -> None:
    agent = _python(f"""
import threading
sizes = []
def fetch():
    for _ in range(5):
        sizes.append(len(urllib.request.urlopen("http://127.0.0.1:{port}/", timeout=30).read()))
threads = [threading.Thread(target=fetch) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(sizes), set(sizes))
""")
    run = place.run(*agent, policy=f'[network]\nallow = ["127.0.0.1:{port}"]\n')
    assert run.stdout.decode() == f"40 {{{len(BODY)}}}\n", run.stderr
    flows = run.of("flow")
    assert sorted(event["data"]["flow"] for event in flows if event["data"]["phase"] == "open") == list(range(1, 41))
    assert run.verdict["gaps"] == []


def _gateway(supervisor: int) -> int:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return next(int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "proctor-gateway")


def test_a_dead_gateway_is_a_gap_and_a_closed_network(place: Place, port: int) -> None:
    agent = _python(f"""
import os, time
def fetch():
    return len(urllib.request.urlopen("http://127.0.0.1:{port}/", timeout=5).read())
print(fetch())
open("ready", "w").close()
while not os.path.exists("go"): time.sleep(0.01)
print(tried(fetch) == {len(BODY)}, flush=True)
""")
    with place.started(*agent, policy=f'[network]\nallow = ["127.0.0.1:{port}"]\n') as (process, out):
        waiting_for(place.workspace / "ready", process)
        os.kill(_gateway(place.supervisor(process)), signal.SIGKILL)
        (place.workspace / "go").touch()
        run = place.finished(process, out)
    assert run.stdout.decode().splitlines() == [str(len(BODY)), "False"], run.stderr
    assert (run.status, run.verdict["verdict"]) == (12, "incomplete")
    assert [gap["of"] for gap in run.verdict["gaps"]] == ["gateway"]
    assert place.proctor("verify", str(out)).returncode == 0


def test_a_gateway_that_dies_in_the_middle_of_its_work(place: Place, port: int) -> None:
    """It may die with its last word unread: that is a gap as well, never a failure of the supervisor."""
    agent = _python(f"""
import threading
def fetch():
    while True:
        try: urllib.request.urlopen("http://127.0.0.1:{port}/", timeout=5).read()
        except OSError: return
threads = [threading.Thread(target=fetch) for _ in range(6)]
for thread in threads: thread.start()
open("ready", "w").close()
for thread in threads: thread.join()
""")
    for number in range(8):
        with place.started(*agent, policy=f'[network]\nallow = ["127.0.0.1:{port}"]\n') as (process, out):
            waiting_for(place.workspace / "ready", process)
            time.sleep(0.02 * number)
            os.kill(_gateway(place.supervisor(process)), signal.SIGKILL)
            run = place.finished(process, out)
        (place.workspace / "ready").unlink()
        assert run.status == 12, run.stderr
        assert [gap["of"] for gap in run.verdict["gaps"]] == ["gateway"]


def test_connections_go_on_after_a_thaw(place: Place, port: int) -> None:
    """What was on its way through the gateway while the tree was frozen is answered afterwards."""
    place.file("tests/t.py", "x")
    agent = _python(f"""
import os, threading
sizes = []
def fetch():
    for _ in range(20):
        sizes.append(len(urllib.request.urlopen("http://127.0.0.1:{port}/", timeout=20).read()))
threads = [threading.Thread(target=fetch) for _ in range(4)]
for thread in threads: thread.start()
tried(lambda: open("tests/t.py", "w"))
for thread in threads: thread.join()
print(len(sizes), set(sizes))
""")
    policy = (
        f'[episode]\nid = "e1"\n[files]\nprotect = ["tests/"]\n[network]\nallow = ["127.0.0.1:{port}"]\n'
        '[responses]\non_violation = "freeze"\n'
    )
    with place.started(*agent, policy=policy) as (process, out):
        while b"frozen" not in place.proctor("ps").stdout:
            assert process.poll() is None
        assert place.proctor("thaw", "e1").returncode == 0
        run = place.finished(process, out)
    assert run.stdout.decode() == f"80 {{{len(BODY)}}}\n", run.stderr
    assert run.status == 10
