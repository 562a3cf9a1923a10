from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from proctor.events import (
    AnyEvent,
    Exec,
    Exit,
    File,
    Flow,
    Leftover,
    Mark,
    Open,
    Output,
    Process,
    Step,
    Usage,
)
from proctor.events.kinds import (
    ExecData,
    ExitData,
    FileData,
    FlowData,
    LeftoverData,
    LeftoverProcess,
    MarkData,
    OpenData,
    OutputData,
    ProcessData,
    StepData,
    StepUsage,
    UsageData,
)
from proctor.events.text import from_bytes, to_bytes
from proctor.journal import read
from proctor.journal.redaction import EXCERPT, MARGIN, Redactor, secret_values
from proctor.journal.shapes import GROUPS
from tests.unit.journal.samples import GOLDEN, envelope, opening

ALNUM = (string.ascii_letters + string.digits) * 4
JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890","admin":true}', bytes(range(32)))
)
PEM = "-----BEGIN {0}PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 3 + "-----END {0}PRIVATE KEY-----"

# What stands around a secret, the secret, and the kind; every one is made up.
SECRETS = [
    ("id=", "AKIA" + "IOSFODNN7EXAMPLE", "aws-key"),
    ("", "ASIA" + "IOSFODNN7EXAMPLE", "aws-key"),
    ("git clone with ", "ghp_" + ALNUM[:36], "github-token"),
    ("", "gho_" + ALNUM[:36], "github-token"),
    ("", "ghs_" + ALNUM[:100], "github-token"),
    ("", "github_pat_" + ALNUM[:22] + "_" + ALNUM[:59], "github-token"),
    ("", "glpat-" + ALNUM[:20], "gitlab-token"),
    ("", "glpat-" + ALNUM[:27] + ".01.0w1abcdef", "gitlab-token"),
    ("", "xox" + "b-123456789012-123456789012-" + ALNUM[:24], "slack-token"),
    ("", "xox" + "e.xoxp-1-" + ALNUM[:40], "slack-token"),
    ("", "sk-" + ALNUM[:48], "api-key"),
    ("", "sk-proj-" + ALNUM[:100], "api-key"),
    ("", "sk-ant-api03-" + ALNUM[:93] + "AA", "api-key"),
    ("", "sk-or-v1-" + "0123456789abcdef" * 4, "api-key"),
    ("", "AIza" + ALNUM[:35], "google-key"),
    ("", "hf_" + string.ascii_letters[:34], "huggingface-token"),
    ("", "npm_" + ALNUM[:36], "npm-token"),
    ("", "pypi-AgEIcHlwaS5vcmc" + ALNUM[:80], "pypi-token"),
    ("", JWT, "jwt"),
    ("", PEM.format(""), "private-key"),
    ("", PEM.format("RSA "), "private-key"),
    ("", PEM.format("OPENSSH "), "private-key"),
    ("Authorization: Bearer ", "abcdef0123456789", "authorization"),
    ("curl -H 'Authorization: Basic ", "dXNlcjpwYXNz", "authorization"),
    ('{"authorization":"token ', "abcdef0123456789", "authorization"),
    ("https://user:", "correct-horse", "url-password"),
    ("postgresql://app:", "p%40ss", "url-password"),
    ("Cookie: ", "session=abc; id=7", "cookie"),
    ("Set-Cookie: ", "sid=31d4d96e407aad42; Path=/; Secure", "cookie"),
    ("curl -s -u admin:", "hunter2", "url-password"),
    ("PGPASSWORD=", "hunter2", "secret"),
    ("STRIPE_KEY=", "abc", "secret"),
    ("env AWS_SECRET_ACCESS_KEY=", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "secret"),
    ("--token=", "X", "secret"),
    ("run --api-key ", "hunter2", "secret"),
    ("bash -c 'deploy --password ", "hunter2", "secret"),
    ("password = ", '"hunter2"', "secret"),
    ('{"api_key": ', '"hunter2"', "secret"),
    ("[default]\naws_secret_access_key = ", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "secret"),
    ("X-Api-Key: ", "0123456789abcdef", "secret"),
    ("GET /v1?limit=5&access_token=", "abc123", "secret"),
]
AFTER = {"https://user:": "@host/path", "postgresql://app:": "@db:5432/app", "GET /v1?limit=5&access_token=": "&x=1"}


@pytest.mark.parametrize(("before", "secret", "kind"), SECRETS, ids=lambda value: str(value)[:20])
def test_a_secret_is_replaced_and_what_is_around_it_stays(before: str, secret: str, kind: str) -> None:
    after = AFTER.get(before, "\n")
    assert Redactor().text(before + secret + after) == f"{before}[redacted:{kind}]{after}"


def test_every_shape_has_a_case() -> None:
    shown = {kind for _, _, kind in SECRETS}
    assert {shape.kind for _, _, shapes in GROUPS for shape in shapes} == shown


BENIGN = [
    "/work/repo/src/package/module/test_file.py",
    "commit 356a192b7913b04c54574d18c28d46e6395428ab",
    "550e8400-e29b-41d4-a716-446655440000",
    base64.b64encode(bytes(range(200))).decode(),
    "--password-file /run/secrets/db",
    "pip install sk-learn sk-learn-contrib-imbalanced-learn-long-name",
    "/srv/task-0123456789abcdef0123456789abcdef",
    "sort -t, --key=2 --sort-key name primary_key=id sort_key=name",
    "PASSWORD=$PASSWORD TOKEN=${TOKEN} KEY=$(cat key)",
    "token: ${{ secrets.DEPLOY_TOKEN }}",
    "if token == other_token:",
    "max_tokens=100",
    "token: str | None = None",
    "the password: ask an administrator",
    "http://localhost:8000/path?mail=a@b",
    "ssh://git@example.org:22/repo.git",
    "git@example.org:group/repo.git",
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "Authorization: Bearer $TOKEN",
    "authorization is needed",
    "cookies: they are small files",
    "eyJhbGciOiJIUzI1NiJ9",
    "gh_pages glob-parent npm_config_cache=/tmp/x hf_hub xoxo-hugs pypi-attestations",
    "curl -u $USER_PASS https://example.org/a:b",
    "python -m pytest -k 'key and token' --passthrough x",
    "",
]


@pytest.mark.parametrize("text", BENIGN, ids=lambda text: text[:20])
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert Redactor().text(text) is text
    argv = tuple(text.split(" "))
    assert Redactor().argv(argv) is argv


ARGVS = [
    ("psql --password hunter2 db", "psql --password [redacted:secret] db"),
    ("tool --auth-token hunter2", "tool --auth-token [redacted:secret]"),
    ("tool --token=hunter2 x", "tool --token=[redacted:secret] x"),
    ("tool --password --verbose", None),
    ("tool --password $PASSWORD", None),
    ("tool --password-file path", None),
    ("tool --password", None),
    ("curl -u user:pass https://h", "curl -u user:[redacted:url-password] https://h"),
    ("/usr/bin/curl -uuser:pass https://h", "/usr/bin/curl -uuser:[redacted:url-password] https://h"),
    ("timeout 5 curl --user user:pass", "timeout 5 curl --user user:[redacted:url-password]"),
    ("docker run -u 1000:1000 image", None),
    ("mysql -uroot -phunter2 db", "mysql -uroot -p[redacted:secret] db"),
    ("mkdir -parents", None),
    ("sshpass -p hunter2 ssh h", "sshpass -p [redacted:secret] ssh h"),
    ("openssl pkey -passin pass:hunter2", "openssl pkey -passin pass:[redacted:secret]"),
    ("git checkout 356a192b7913b04c54574d18c28d46e6395428ab", None),
]


@pytest.mark.parametrize(("given", "wanted"), ARGVS)
def test_arguments_are_secret_by_their_option_or_program(given: str, wanted: str | None) -> None:
    argv = tuple(given.split(" "))
    found = Redactor().argv(argv)
    if wanted is None:
        assert found is argv
    else:
        assert found == tuple(wanted.split(" "))


def test_known_values_are_found_anywhere_and_the_longest_first() -> None:
    redactor = Redactor(["hunter2", "hunter2-and-more", "short", ""])
    assert redactor.text("x hunter2-and-more,hunter2.") == "x [redacted:known],[redacted:known]."
    assert redactor.text("short") == "short"
    assert redactor.argv(("echo", "ahunter2b")) == ("echo", "a[redacted:known]b")


def test_a_known_value_that_looks_like_a_replacement_is_replaced_once() -> None:
    assert Redactor(["redacted", "known]"]).text("redacted known]") == "[redacted:known] [redacted:known]"


def test_a_known_value_is_found_percent_encoded_and_with_bytes_that_are_no_text() -> None:
    assert Redactor(["p@ss/word"]).text("u=p%40ss%2Fword") == "u=[redacted:known]"
    raw = b"secret\xff\xfe"
    assert Redactor([raw.decode("utf-8", "surrogateescape")]).text(from_bytes(b"a" + raw)) == "a[redacted:known]"


def test_values_of_variables_named_like_secrets() -> None:
    environ = {"OPENAI_API_KEY": "a", "LANG": "b", "PGPASSWORD": "c", "github_token": "d", "MONKEYS": "e", "KEYS": "f"}
    assert secret_values(environ) == ["a", "c", "d"]


@given(st.lists(st.text() | st.sampled_from([a + b for a, b, _ in SECRETS] + BENIGN)).map(" ".join))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = Redactor().text(text)
    assert Redactor().text(once) == once


@given(st.text(), st.text(), st.sampled_from([secret for _, secret, _ in SECRETS if len(secret) > 30]))
def test_no_surrounding_gives_a_known_value_away(before: str, after: str, secret: str) -> None:
    assert secret not in Redactor([secret]).text(before + secret + after)


def stream(data: bytes) -> tuple[str, str]:
    window = EXCERPT + MARGIN
    return Redactor(["hunter2hunter2"]).excerpt(data[:window], data[-window:], len(data))


def test_a_short_stream_is_excerpted_whole() -> None:
    assert stream(b"hello") == ("hello", "")
    data = b"a" * EXCERPT + b"b" * 10
    assert stream(data) == ("a" * EXCERPT, "b" * 10)
    assert stream(b"") == ("", "")


@pytest.mark.parametrize("secret", [b"hunter2hunter2", PEM.format("").encode(), b"ghp_" + ALNUM[:36].encode()])
@pytest.mark.parametrize("size", [5000, 9000, 20_000])
def test_a_secret_across_an_excerpts_edge_is_not_given_away(secret: bytes, size: int) -> None:
    edges = {EXCERPT, EXCERPT + MARGIN, size - EXCERPT, size - EXCERPT - MARGIN}
    for edge in (edge for edge in edges if 0 < edge < size):
        for shift in range(1, len(secret)):
            start = edge - shift
            if start < 1 or start + len(secret) > size - 1:
                continue
            data = b"." * (start - 1) + b" " + secret + b" " + b"." * (size - start - len(secret) - 1)
            for part in stream(data):
                assert len(to_bytes(part)) <= EXCERPT
                assert not any(secret[at : at + 12].decode() in part for at in range(len(secret) - 11))


@pytest.mark.parametrize("shift", range(0, 205, 3))
def test_what_redaction_leaves_out_lets_no_cut_secret_move_up(shift: int) -> None:
    secret = b"ghp_" + ALNUM[:200].encode()
    for data in (b"." * shift + b" " + (secret + b" ") * 100, (b" " + secret) * 100 + b" " + b"." * shift):
        for part in stream(data):
            assert not any(secret[at : at + 12].decode() in part for at in range(len(secret) - 11))


@given(st.binary(max_size=30), st.integers(0, 3), st.sampled_from([1, 700]))
def test_excerpts_stay_within_bounds(piece: bytes, margin: int, times: int) -> None:
    data = piece * times + b"x" * margin
    head, tail = stream(data)
    assert len(to_bytes(head)) <= EXCERPT
    assert len(to_bytes(tail)) <= EXCERPT


HIDDEN = "hunter2hunter2"
PLACE = "[redacted:known]"


def of(kind: Callable[..., AnyEvent], data: Struct, **more: Any) -> AnyEvent:
    return kind(**envelope(1, **more), data=data)


USE = StepUsage(step=HIDDEN, cpu_ns=1, rss_bytes=1, processes=1)
ARGV = ("a", HIDDEN)
EVENTS = [
    of(Exec, ExecData(call="execve", path=f"/{HIDDEN}", image=HIDDEN, argv=ARGV, cwd=HIDDEN, parent_argv=ARGV)),
    of(Process, ProcessData(how="call", cmdline=("x", HIDDEN))),
    of(Exit, ExitData(how="call", cmdline=("x", HIDDEN))),
    of(Leftover, LeftoverData(processes=(LeftoverProcess(pid=1, exe=HIDDEN, cmdline=(HIDDEN,), origin_step=HIDDEN),))),
    of(Output, OutputData(stream="stdout", bytes=3, digest="", head=HIDDEN, tail=HIDDEN)),
    of(Step, StepData(op="begin", id=HIDDEN, argv=("x", HIDDEN))),
    of(Mark, MarkData(op="begin", id=HIDDEN)),
    of(Flow, FlowData(flow=1, phase="open", asked=f"{HIDDEN}:443", reason=HIDDEN)),
    of(File, FileData(op="link", call="link", path=HIDDEN, object=HIDDEN, target=HIDDEN, target_object=HIDDEN)),
    of(Usage, UsageData(source="proc", cpu_ns=1, rss_bytes=1, processes=1, steps=(USE,))),
    of(Mark, MarkData(op="end", id="x"), exe=HIDDEN, origin_step=HIDDEN, active_step=HIDDEN, candidates=(HIDDEN,)),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_the_free_text_of_an_event_is_redacted(event: AnyEvent) -> None:
    before = msgspec.json.encode(event)
    assert before.count(HIDDEN.encode()) > 0
    found = Redactor([HIDDEN]).event(event)
    assert msgspec.json.encode(found) == before.replace(HIDDEN.encode(), PLACE.encode())


def test_the_policy_in_open_is_redacted() -> None:
    env = {"MODEL": "local", "MODEL_API_KEY": "x", "EMPTY_TOKEN": "", "NOTE": HIDDEN}
    policy = {"episode": {"task": f"use {HIDDEN}"}, "env": {"set": env}, "files": {"write": ("a", HIDDEN)}, "n": 1}
    data = msgspec.structs.replace(opening().data, policy=policy)
    found = Redactor([HIDDEN]).event(of(Open, data))
    assert isinstance(found, Open)
    assert isinstance(found.data, OpenData)
    assert found.data.policy == {
        "episode": {"task": f"use {PLACE}"},
        "env": {"set": {"MODEL": "local", "MODEL_API_KEY": "[redacted:secret]", "EMPTY_TOKEN": "", "NOTE": PLACE}},
        "files": {"write": ("a", PLACE)},
        "n": 1,
    }


def test_an_event_without_a_secret_is_the_same_object() -> None:
    redactor = Redactor([HIDDEN])
    for event in read(GOLDEN):
        assert redactor.event(event) is event


def test_the_memory_of_clean_text_is_bounded() -> None:
    redactor = Redactor()
    for number in range(10_000):
        redactor.text(f"/work/{number}")
    redactor.text("x" * 10_000)
    assert len(redactor._clean) <= 4096
    assert max(map(len, redactor._clean)) <= 256


def test_escapes_in_json_do_not_hide_a_secret_of_output() -> None:
    said = json.dumps({"stdout": f"export PGPASSWORD={HIDDEN}\n"})
    assert HIDDEN not in Redactor([HIDDEN]).text(said)
