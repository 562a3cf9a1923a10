"""Every field of the published mapping, proven by a rule on exactly that field that fires on a real process's action.

The tables below are held against FIELDS: a field without a row fails, and so does a row without a field. Each row has a
search that must fire and a look-alike that must stay silent, both in one real ``proctor run``.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proctor.detectors.auditd import ARGUMENTS
from proctor.detectors.fields import LOGSOURCES
from tests.live.episode import PYTHON
from tests.live.place import Place, Run

# What the agent does; the rules name what it leaves. {port} is an allowed server's.
AGENT = """
import ctypes, os, socket, subprocess, sys, urllib.request
libc = ctypes.CDLL(None)
if sys.argv[1:] == ["child"]:
    os.chdir("sub")
    subprocess.run(["/usr/bin/env", "echo", "{many}"])
    os.execv("/usr/bin/env", ["env", *["a%d-end" % n for n in range(1, {arguments})]])
os.mkdir("sub")
open("made.txt", "w").close()
open("made.txt", "w").close()
os.rename("made.txt", "sub/../moved.txt")
os.unlink("moved.txt")
os.symlink("nowhere", "pointer")
subprocess.run([sys.executable, "-I", sys.argv[0], "child"])
urllib.request.urlopen("http://localhost:{port}/", timeout=20).read()
for address in ("10.9.8.7", "::1"):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as one:
        one.settimeout(2)
        try:
            one.connect((address, 4567))
        except OSError:
            pass
libc.syscall(103, 5, 0, 0)
libc.unshare(0x10000000)
"""

ANY_ID = ("|gte: 2", "|lt: 2")

TABLE: dict[str, dict[str, tuple[str, str]]] = {
    "linux/process_creation": {
        "ProcessId": ANY_ID,
        "ParentProcessId": ANY_ID,
        "Image": (": /usr/bin/env", ": /usr/bin/en"),
        "CommandLine": (": /usr/bin/env echo look here", ": env echo look here"),
        "CurrentDirectory": (": '{workspace}/sub'", ": '{workspace}/su'"),
        "ParentImage": (": '{python}'", ": '{python}3'"),
        "ParentCommandLine": ("|endswith: agent.py child", "|endswith: agent.py child2"),
        "Call": (": execve", ": execv"),
    },
    "linux/file_event": {
        "ProcessId": ANY_ID,
        "ParentProcessId": ANY_ID,
        "Image": (": '{python}'", ": /usr/bin/touch"),
        "TargetFilename": (": '{workspace}/moved.txt'", ": '{workspace}/sub/../moved.txt'"),
        "ClaimedFilename": (": made.txt", ": moved.txt"),
        "SourceFilename": (": '{workspace}/made.txt'", ": '{workspace}/moved.txt'"),
        "Operation": (": rename", ": link"),
        "Call": (": openat", ": open"),
        "Role": (": workspace", ": protected"),
        "TargetRole": (": workspace", ": system"),
        "Existed": (": true", ": '1'"),
        "Outcome": (": attempted", ": blocked"),
    },
    "linux/network_connection": {
        "ProcessId": ANY_ID,
        "ParentProcessId": ANY_ID,
        "Image": (": '{python}'", ": /usr/bin/nc"),
        "DestinationIp": (": 10.9.8.7", ": 10.9.8.70"),
        "DestinationPort": (": 4567", ": 456"),
        "Destination": ("|startswith: '[::1]:4567'", ": '::1:4567'"),
        "DestinationHostname": (": 127.0.0.1", ": 10.9.8.7"),
        "Initiated": (": true", ": false"),
        "Operation": (": close", ": bind"),
        "Call": (": connect", ": connec"),
        "Outcome": (": blocked", ": succeeded"),
    },
    "linux/auditd": {
        "type": (": EXECVE", ": EXECV"),
        "argc": (f": {ARGUMENTS}", f": {ARGUMENTS + 1}"),
        "a0": (": env", ": envy"),
        **{f"a{n}": (f": a{n}-end", f": a{n - 1}-end") for n in range(1, ARGUMENTS)},
        "record": ("|contains: 'echo look here'", "|contains: 'echo look there'"),
        "SYSCALL": (": syslog", ": reboot"),
        "exe": (": /usr/bin/env", ": /usr/bin/en"),
        "comm": (": env", ": en"),
        "pid": ANY_ID,
        "ppid": ANY_ID,
        "success": (": 'no'", ": 'yes'"),
        "name": (": '{workspace}/moved.txt'", ": moved.txt"),
        "nametype": (": DELETE", ": PARENT"),
    },
}  # fmt: skip

PROOFS = [(source, field) for source, fields in TABLE.items() for field in fields]


@pytest.mark.parametrize("source", TABLE)
def test_every_field_has_its_proof(source: str) -> None:
    assert set(TABLE[source]) == LOGSOURCES[source].fields()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        return


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield int(server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


def name(source: str, field: str, kind: str) -> str:
    return f"{source.partition('/')[2]}-{field}-{kind}"


def _write(folder: Path, source: str, field: str, kind: str, search: str) -> None:
    category = source.partition("/")[2]
    key = "service" if category == "auditd" else "category"
    (folder / f"{name(source, field, kind)}.yml").write_text(
        f"title: {field}\nid: {uuid.uuid4()}\nlevel: informational\n"
        f"logsource: {{product: linux, {key}: {category}}}\n"
        f"detection:\n  s:\n    {field}{search}\n  condition: s\n"
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, port: int) -> Run:
    """One run of the agent under all of the rules."""
    place = Place(tmp_path_factory.mktemp("fields"))
    rules = place.folder / "rules"
    rules.mkdir()
    python = str(Path(PYTHON).resolve())
    for source, field in PROOFS:
        for kind, search in zip(("fires", "silent"), TABLE[source][field], strict=True):
            filled = search.replace("{workspace}", str(place.workspace)).replace("{python}", python)
            _write(rules, source, field, kind, filled)
    agent = AGENT.replace("{port}", str(port)).replace("{many}", "look here").replace("{arguments}", str(ARGUMENTS))
    place.file("agent.py", agent)
    done = place.run(
        PYTHON, "-I", "agent.py", policy=f'[network]\nallow = ["127.0.0.1:{port}"]\n', options=["--rules", str(rules)]
    )
    assert done.status == 0, done.stderr
    return done


@pytest.mark.parametrize(("source", "field"), PROOFS)
def test_a_rule_on_it_fires_and_a_look_alike_does_not(run: Run, source: str, field: str) -> None:
    found = {finding["rule"]: finding for finding in run.verdict["findings"]}
    assert name(source, field, "silent") not in found
    evidence = found[name(source, field, "fires")]["events"]
    events = {event["seq"]: event for event in run.events}
    assert all(events[seq]["kind"] in {kind.partition("/")[0] for kind in LOGSOURCES[source].kinds} for seq in evidence)
    assert all(events[seq]["sensor"] in {"kernel", "gateway", "watch"} for seq in evidence)
