from __future__ import annotations

import math
import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proctor.errors import PolicyError, RecordError, UsageError
from proctor.policy.load import default, digest, from_dict, load, to_dict
from proctor.policy.records import Endpoint, Policy

FULL = """\
[episode]
id = "run-1"
task = "Fix the failing test in src/"
[files]
write = ["."]
read = ["{data}"]
protect = ["tests/"]
hide = ["solutions/", "answers.json"]
[network]
allow = ["127.0.0.1:8000", "[::1]:80", "Model.Example:443"]
[env]
pass = ["LANG"]
set = { MODEL = "local", LD_PRELOAD = "" }
[resources]
wall_seconds = 600
cpu_seconds = 300.5
memory_mb = 4096
processes = 512
[responses]
on_violation = "kill"
[responses.category]
"compute.mining" = "freeze"
grader = "log"
[[authorise]]
category = "compute.internal_probe"
scope = "10.9.0.0/24"
reason = "the task is an audit of this range"
by = "security-lead"
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    for folder in ("tests", "solutions", "src/inner", "testsuite"):
        (root / folder).mkdir(parents=True)
    (root / "answers.json").write_text("{}")
    (tmp_path / "data").mkdir()
    return root


def read(workspace: Path, text: str | bytes) -> Policy:
    file = workspace.parent / "policy.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(file, workspace)


def refused(workspace: Path, text: str | bytes) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        read(workspace, text)
    assert "\n" not in str(caught.value)
    assert caught.value.file == str(workspace.parent / "policy.toml")
    return caught.value


def test_the_whole_format(workspace: Path) -> None:
    data = workspace.parent / "data"
    policy = read(workspace, FULL.replace("{data}", str(data)))
    assert (policy.episode.id, policy.episode.task) == ("run-1", "Fix the failing test in src/")
    assert policy.files.write == (str(workspace),)
    assert policy.files.read == (str(data),)
    assert policy.files.protect == (str(workspace / "tests"),)
    assert policy.files.hide == (str(workspace / "solutions"), str(workspace / "answers.json"))
    assert policy.files.home == "fresh"
    assert policy.network.allow == (
        Endpoint(host="127.0.0.1", port=8000), Endpoint(host="::1", port=80), Endpoint(host="model.example", port=443),
    )  # fmt: skip
    assert policy.env.pass_ == ("LANG",)
    assert policy.env.set == {"MODEL": "local", "LD_PRELOAD": ""}
    assert policy.resources.wall_seconds == 600
    assert (policy.resources.cpu_seconds, policy.resources.memory_mb, policy.resources.processes) == (300.5, 4096, 512)
    assert policy.responses.on_violation == "kill"
    assert policy.responses.category == {"compute.mining": "freeze", "grader": "log"}
    assert [entry.scope for entry in policy.authorise] == ["10.9.0.0/24"]


def test_an_empty_file_is_the_default(workspace: Path) -> None:
    assert read(workspace, "") == default(workspace)
    assert default(workspace).files.write == (str(workspace),)


def test_a_policy_survives_its_record_and_its_digest_follows_its_content(workspace: Path) -> None:
    text = FULL.replace("{data}", str(workspace.parent / "data"))
    policy = read(workspace, text)
    assert from_dict(to_dict(policy)) == policy
    assert to_dict(policy)["env"]["pass"] == ("LANG",)
    assert digest(policy) == digest(read(workspace, "# a comment\n" + text))
    assert digest(policy) != digest(read(workspace, text.replace("512", "513")))
    with pytest.raises(RecordError, match="policy cannot be read"):
        from_dict({"workspace": 3})


MISTAKES = [
    ("[file]\n", 1, "unknown table 'file'; nearest is 'files'"),
    ("\n[episode]\n\ntsk = 'x'\n", 4, "unknown key 'tsk'; nearest is 'task'"),
    ("episode = 3", 1, "episode = 3: is a whole number; allowed is a table"),
    ("[[files]]\n", 1, "is an array; allowed is a table"),
    ("[episode]\nid = '../x'", 2, "allowed are letters"),
    ("[episode]\nid = 7", 2, "allowed is a string"),
    ("[episode]\ntask = ' '", 2, "not blank"),
    ("[files]\nwrite = '.'", 2, "allowed is an array of strings"),
    ("[files]\nwrite = [\n'.',\n1]", 4, "allowed is a string"),
    ("[files]\nwrite = ['nowhere']", 2, "nowhere cannot be used: No such file"),
    ("[files]\nwrite = ['answers.json']", 2, "answers.json is not a folder"),
    ("[files]\nwrite = ['/etc']", 2, "/etc is a system folder"),
    ("[files]\nwrite = ['/usr/lib']", 2, "is a system folder"),
    ("[files]\nwrite = ['/']", 2, "cannot be shown"),
    ("[files]\nwrite = ['/proc/self']", 2, "cannot be shown"),
    ("[files]\nread = ['/dev']", 2, "cannot be shown"),
    ("[files]\nprotect = [\n  'tests',\n  'test',\n]", 4, "test cannot be used: No such file"),
    ("[files]\nprotect = ['']", 2, "an empty path"),
    ("[files]\nhide = ['..']", 2, "is not shown in the sandbox"),
    ("[files]\nhide = ['.']", 2, "allowed is a path below it"),
    ("[files]\nwrite = ['src/inner']\nprotect = ['src']", 3, "which write or the workspace needs"),
    ("[files]\nhome = 'answers.json'", 2, "is not a folder"),
    ("[network]\nallow = ['example.com']", 2, "no port"),
    ("[network]\nallow = ['*.example.com:443']", 2, "no wildcard"),
    ("[network]\nallow = ['example.com:0']", 2, "from 1 to 65535"),
    ("[network]\nallow = ['example.com:65536']", 2, "from 1 to 65535"),
    ("[network]\nallow = ['256.1.1.1:80']", 2, "no IP address and no name"),
    ("[network]\nallow = ['::1:80']", 2, "no port"),
    ("[env]\npass = ['A-B']", 2, "no name of a variable"),
    ("[env]\npass = ['PROCTOR_MARK']", 2, "Proctor's own"),
    ("[env]\nset = { A = 'x', PROCTOR_X = 'y' }", 2, "env.set.PROCTOR_X"),
    ("[env]\nset = { A = 1 }", 2, "allowed is a string"),
    ("[env]\nset = { A = 'a\\u0000' }".replace("'a\\u0000'", '"a\\u0000"'), 2, "no NUL"),
    ("[env]\nset = { A = 'x' }\npass = ['A']", 3, "in both pass and set"),
    ("[resources]\nwall_seconds = -1", 2, "out of range"),
    ("[resources]\nwall_seconds = nan", 2, "out of range"),
    ("[resources]\nwall_seconds = inf", 2, "out of range"),
    ("[resources]\ncpu_seconds = 0", 2, "out of range"),
    ("[resources]\nmemory_mb = true", 2, "is a boolean"),
    ("[resources]\nmemory_mb = 1.5", 2, "is a number; allowed is a whole number"),
    ("[resources]\nprocesses = 0x" + "f" * 9000, 2, "a very large number"),
    ("[resources]\nprocesses = 1979-05-27", 2, "is a date or time"),
    ("[responses]\non_violation = 'kil'", 2, "unknown value 'kil'; nearest is 'kill'; allowed is log, freeze, kill"),
    ("[responses.category]\n'compute.minning' = 'log'", 2, "nearest is 'compute.mining'"),
    ("[responses.category]\ncompute.mining = 'log'", 2, "in quotes"),
    ("[responses.category]\ncompute = 'stop'", 2, "unknown value 'stop'"),
    ("authorise = 3", 1, "allowed is [[authorise]]"),
    ("[[authorise]]\ncategory = 'compute'\nscope = '*'\nreason = 'x'", 1, "authorise.by: is missing"),
    ("[[authorise]]\ncategory = 'everything'\nscope = '*'\nreason = 'x'\nby = 'y'", 2, "unknown category"),
    ("[[authorise]]\ncategory = 'compute'\nscope = '10.0.0.0/33'\nreason = 'x'\nby = 'y'", 3, "no CIDR range"),
    ("[[authorise]]\ncategory = 'compute'\nscope = '10.0.0.1/8'\nreason = 'x'\nby = 'y'", 3, "is 10.0.0.0/8"),
    ("[[authorise]]\ncategory = 'compute'\nscope = 'exmaple'\nreason = 'x'\nby = 'y'", 3, "write host:port, or ./name"),
    ("a = 1\nb = = 2", 2, "not TOML"),
    ("a = 1\na = 2", 2, "not TOML"),
    ("[files]\n[files]\n", 2, "not TOML: Cannot declare files twice"),
    ("[a.b]\n[a.b]\n", 2, "not TOML: Cannot declare a.b twice"),
    ("[resources]\nprocesses = true", 2, "resources.processes = true: is a boolean"),
    ('[files]\nprotect = ["a\\u0000b"]', 2, "a path with a NUL in it"),
    ('[responses.category]\n"compute.minning" = "log"', 2, "unknown category"),
    ("a = [1,\n2,\n", 2, "not TOML"),
    ("a = " + "[" * 20000, None, "nested too deeply"),
    ("a = " + "9" * 9000, None, "not TOML"),
]


@pytest.mark.parametrize(("text", "line", "problem"), MISTAKES, ids=[str(n) for n in range(len(MISTAKES))])
def test_a_mistake_is_one_line_that_names_the_place(workspace: Path, text: str, line: int | None, problem: str) -> None:
    error = refused(workspace, text)
    assert problem in str(error)
    if line is not None:
        assert str(error).startswith(f"{workspace.parent / 'policy.toml'}:{line}: ")


def test_a_second_entry_for_the_same_scope_is_refused(workspace: Path) -> None:
    entry = "[[authorise]]\ncategory = 'compute'\nscope = '{}'\nreason = 'x'\nby = 'y'\n"
    error = refused(workspace, entry.format("tests") + entry.format("./tests/"))
    assert error.line == 7
    assert "line 1 already" in str(error)


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"# ok\n\xff\n", 2, "not UTF-8"),
        (b"\xef\xbb\xbf[files]\n", 1, "byte order mark"),
        (b"#" * (1 << 20) + b"\n", None, "larger than"),
    ],
)
def test_a_file_that_is_no_text_is_refused(workspace: Path, content: bytes, line: int | None, problem: str) -> None:
    error = refused(workspace, content)
    assert problem in str(error)
    assert error.line == line


@pytest.mark.parametrize("name", ["missing.toml", "", "a\0b", "two\nlines.toml"])
def test_a_file_that_cannot_be_read_is_one_line(workspace: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        load(name, workspace)
    assert "\n" not in str(caught.value)


def test_a_workspace_must_be_a_folder_of_the_users_own(workspace: Path) -> None:
    for folder in (workspace / "nowhere", Path("/"), Path("/usr/bin"), workspace / "answers.json"):
        with pytest.raises(PolicyError, match=r"^workspace: "):
            default(folder)


def test_a_socket_can_be_neither_shown_nor_kept(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        assert "neither a file nor a folder" in str(refused(workspace, "[files]\nprotect = ['s']"))


def test_links_are_resolved_and_a_protected_name_must_not_be_replaceable(workspace: Path) -> None:
    (workspace / "link").symlink_to("tests")
    (workspace / "inside").mkdir()
    (workspace / "inside" / "up").symlink_to("..")
    assert read(workspace, "[files]\nhide = ['link']").files.hide == (str(workspace / "tests"),)
    for path in ("link", "inside/up/tests", str(workspace / "link")):
        assert "symbolic link" in str(refused(workspace, f"[files]\nprotect = ['{path}']"))
    (workspace.parent / "entry").symlink_to("work")  # not the agent's to replace
    outside = workspace.parent / "entry" / "tests"
    assert read(workspace, f"[files]\nprotect = ['{outside}']").files.protect == (str(workspace / "tests"),)


def test_hide_wins_over_protect(workspace: Path) -> None:
    files = read(workspace, "[files]\nprotect = ['src/inner', 'tests']\nhide = ['src', 'tests']").files
    assert files.protect == ()
    assert files.hide == (str(workspace / "src"), str(workspace / "tests"))


def test_a_name_that_only_begins_alike_is_not_inside(workspace: Path) -> None:
    files = read(workspace, "[files]\nprotect = ['testsuite']\nhide = ['tests']").files
    assert files.protect == (str(workspace / "testsuite"),)


def test_the_workspace_is_shown_even_where_it_is_not_written(workspace: Path) -> None:
    files = read(workspace, "[files]\nwrite = ['src']").files
    assert files.write == (str(workspace / "src"),)
    assert files.read == (str(workspace),)


def test_a_leading_tilde_is_the_callers_home(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workspace.parent))
    assert read(workspace, "[files]\nread = ['~/data']").files.read == (str(workspace.parent / "data"),)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_a_policy_or_one_line(workspace: Path, content: bytes) -> None:
    try:
        read(workspace, content)
    except PolicyError as error:
        assert str(error).isprintable()  # noqa: PT017 - either outcome is right


VALUES = st.sampled_from(
    ["1", "-1", "nan", "true", "''", "'x'", "'.'", "'*'", "[]", "['']", "['x']", "[['x']]", "{}", "{a=1}", "1e999"]
)
KEYS = st.sampled_from([
    "episode.id", "episode.task", "files.write", "files.read", "files.protect", "files.hide", "files.home",
    "network.allow", "env.pass", "env.set", "resources.wall_seconds", "resources.cpu_seconds", "resources.memory_mb",
    "resources.processes", "responses.on_violation", "responses.category", "authorise",
])  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_any_value_of_any_key_is_accepted_or_refused_on_its_line(workspace: Path, chosen: dict[str, str]) -> None:
    try:
        policy = read(workspace, "\n".join(f"{key} = {value}" for key, value in chosen.items()))
    except PolicyError as error:
        assert error.line is not None  # noqa: PT017 - either outcome is right
        assert list(chosen)[error.line - 1] in str(error)  # noqa: PT017
    else:
        assert from_dict(to_dict(policy)) == policy
        assert policy.resources.wall_seconds is None or math.isfinite(policy.resources.wall_seconds)
        assert all(os.path.isabs(path) for path in (*policy.files.write, *policy.files.read))


def test_the_example_of_the_page_is_a_policy(workspace: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
    example = page.split("```toml\n")[1].split("```")[0]
    policy = read(workspace, example.replace("/opt/data", str(workspace.parent / "data")))
    assert policy.responses.category == {"compute.mining": "freeze", "grader": "log"}
    assert policy.authorise[0].by == "security-lead"
