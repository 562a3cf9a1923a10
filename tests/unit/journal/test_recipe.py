"""The recipe of docs/journal.md, with none of Proctor's code: a stranger must be able to do this."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RECORD = Path(__file__).parent / "golden"
DOCUMENT = Path(__file__).parents[3] / "docs" / "journal.md"


def test_hashes_and_signatures_can_be_checked_without_proctor() -> None:
    prev = "0" * 64
    key, signatures = None, 0
    for number, line in enumerate((RECORD / "journal" / "000000.jsonl").read_bytes().split(b"\n")[:-1], 1):
        rest = line[75:]
        event = json.loads(line)
        assert line[:9] + line[73:75] == b'{"hash":"",'
        assert rest.startswith(b'"prev":"' + prev.encode() + b'",')
        assert hashlib.sha256(rest).hexdigest() == event["hash"]
        assert event["seq"] == number
        if event["kind"] == "open":
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(event["data"]["key"]))
        if event["kind"] == "checkpoint":
            assert key is not None
            message = f"proctor-journal-v1\0{event['episode']}\0{event['seq']}\0{prev}".encode()
            key.verify(bytes.fromhex(event["data"]["signature"]), message)
            signatures += 1
        prev = event["hash"]
    verdict = json.loads((RECORD / "verdict.json").read_bytes())
    canonical = json.dumps(verdict["findings"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    close = json.loads((RECORD / "journal" / "000000.jsonl").read_bytes().split(b"\n")[-3])
    assert hashlib.sha256(canonical.encode()).hexdigest() == close["data"]["findings_digest"]
    assert verdict["journal"] == {"events": number, "head": prev}
    assert signatures == 2


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("bash")), reason="needs openssl and bash")
def test_the_commands_in_the_document_work_as_written(tmp_path: Path) -> None:
    script = re.search(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert script is not None
    shutil.copytree(RECORD, tmp_path / "r")
    run = ["bash", "-c", script[1]]
    done = subprocess.run(run, cwd=tmp_path / "r", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Signature Verified Successfully") == 2

    path = tmp_path / "r" / "journal" / "000000.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"role":"hidden"', b'"role":"system"'))
    done = subprocess.run(run, cwd=tmp_path / "r", capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "line 5" in done.stdout
