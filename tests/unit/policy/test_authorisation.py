from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.policy.authorisation import authority
from proctor.policy.records import Authorise, Policy
from proctor.policy.scope import Below, Everywhere, Range, Service, endpoint, parse

PROBE = "compute.internal_probe"


def policy(*scopes: str, category: str = PROBE) -> Policy:
    entries = tuple(Authorise(category=category, scope=scope, reason=f"r{n}", by="b") for n, scope in enumerate(scopes))
    return Policy(workspace="/ws", authorise=entries)


@pytest.mark.parametrize(
    ("scope", "targets"),
    [
        ("*", []),
        ("*", ["anything", "/x"]),
        ("10.9.0.0/24", ["10.9.0.0", "10.9.0.255:22", "[::ffff:10.9.0.7]:80"]),
        ("10.9.0.7", ["10.9.0.7", "10.9.0.7:1"]),
        ("fd00::/8", ["fd00::1", "[fd12::2]:443"]),
        ("::1", ["[0:0::1]:80"]),
        ("example.com:443", ["example.com:443", "EXAMPLE.com.:443"]),
        ("[::1]:80", ["[0::1]:80"]),
        ("/a/b", ["/a/b", "/a/b/c", "//a/b//c"]),
        ("tests", ["/ws/tests/x"]),
        ("/", ["/etc/passwd"]),
    ],
)
def test_covered(scope: str, targets: list[str]) -> None:
    found = authority(policy(scope), PROBE, targets)
    assert found is not None
    assert found.scope == scope


@pytest.mark.parametrize(
    ("scope", "targets"),
    [
        ("10.9.0.0/24", []),
        ("/a", []),
        ("10.9.0.0/24", ["10.9.0.7", "10.9.1.7"]),
        ("10.9.0.0/24", ["host.internal:22"]),
        ("10.9.0.0/24", ["10.9.0.7.evil.example:22"]),
        ("10.9.0.7", ["10.9.0.70"]),
        ("0.0.0.0/0", ["::1"]),
        ("example.com:443", ["example.com:80"]),
        ("example.com:443", ["example.com"]),
        ("example.com:443", ["notexample.com:443"]),
        ("example.com:443", ["sub.example.com:443"]),
        ("/a/b", ["/a/bc"]),
        ("/a/b", ["/a"]),
        ("/a/b", ["/a/b/../c"]),
        ("/a/b", ["/a/b/../b/x"]),
        ("/a/b", ["a/b"]),
        ("tests", ["tests/x"]),
    ],
)
def test_not_covered(scope: str, targets: list[str]) -> None:
    assert authority(policy(scope), PROBE, targets) is None


def test_a_family_covers_its_categories_and_no_others() -> None:
    family = policy("*", category="compute")
    assert authority(family, PROBE, ["x"]) is not None
    assert authority(family, "grader.test_edit", ["x"]) is None
    assert authority(family, "computer.x", ["x"]) is None
    assert authority(policy("*", category=PROBE), "compute.mining", ["x"]) is None
    assert authority(policy("*", category=PROBE), "compute", ["x"]) is None


def test_entries_cover_together_and_the_one_that_covers_most_is_named() -> None:
    both = policy("10.0.0.0/24", "10.0.1.0/24")
    targets = ["10.0.0.1", "10.0.1.1", "10.0.1.2"]
    found = authority(both, PROBE, targets)
    assert found is not None
    assert found.reason == "r1"
    assert authority(both, PROBE, [*targets, "10.0.2.1"]) is None
    tie = authority(both, PROBE, targets[:2])
    assert tie is not None
    assert tie.reason == "r0"


PART = st.text("ab", min_size=1, max_size=2)
PATHS = st.lists(PART, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(PATHS, PATHS)
def test_a_path_is_below_another_exactly_if_its_parts_begin_with_the_others(scope: str, target: str) -> None:
    outer, inner = scope.strip("/").split("/"), target.strip("/").split("/")
    expected = scope == "/" or inner[: len(outer)] == outer
    assert Below(scope).covers(target) is expected


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_a_range_holds_exactly_its_addresses(
    base: ipaddress.IPv4Address, bits: int, target: ipaddress.IPv4Address
) -> None:
    network = ipaddress.ip_network((base, bits), strict=False)
    expected = int(target) >> (32 - bits) == int(base) >> (32 - bits)
    for form in (str(target), f"{target}:22", f"[::ffff:{target}]:22"):
        assert (authority(policy(str(network)), PROBE, [form]) is not None) is expected


@given(st.text("*/.:[]0123456789abef\0% ", max_size=14))
def test_any_text_is_a_scope_that_reads_back_as_itself_or_a_value_error(text: str) -> None:
    try:
        scope = parse(text, "/ws")
    except ValueError as error:
        assert "allowed" in str(error) or "port" in str(error) or "range" in str(error)  # noqa: PT017 - either is right
        return
    assert isinstance(scope, (Everywhere, Range, Service, Below))
    assert parse(str(scope), "/elsewhere") == scope


@given(st.text(max_size=30))
def test_any_target_gets_an_answer(target: str) -> None:
    for scope in ("10.0.0.0/8", "a.example:1", "/a"):
        assert authority(policy(scope), PROBE, [target]) in {None, policy(scope).authorise[0]}


def test_an_endpoint_reads_back_as_itself() -> None:
    for text in ("a.example:1", "127.0.0.1:65535", "[fd00::1]:80"):
        assert str(Service(endpoint(text))) == text
    with pytest.raises(ValueError, match="from 1 to 65535"):
        endpoint("a:\u0661")  # a digit, but not an ASCII one
