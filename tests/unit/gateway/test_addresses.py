"""Where the gateway listens inside, and the addresses that stand for names there."""

from __future__ import annotations

from proctor.gateway.addresses import PROXY, inside_addresses, inside_names
from proctor.policy.records import Endpoint


def allowed(*found: tuple[str, int]) -> list[Endpoint]:
    return [Endpoint(host=host, port=port) for host, port in found]


def test_loopback_alone_needs_no_proxy() -> None:
    allow = allowed(("localhost", 80), ("::1", 81), ("127.0.0.1", 80))
    assert inside_addresses(allow) == [("127.0.0.1", 80), ("::1", 81)]
    assert inside_names(allow) == {}


def test_each_name_has_an_address_and_listens_at_its_ports() -> None:
    allow = allowed(("a.example", 443), ("b.example", 443), ("a.example", 80), ("10.0.0.1", 22))
    assert inside_names(allow) == {"a.example": "127.64.0.1", "b.example": "127.64.0.2"}
    assert inside_addresses(allow) == [("127.64.0.1", 443), ("127.64.0.2", 443), ("127.64.0.1", 80), PROXY]


def test_an_address_that_the_policy_itself_names_stands_for_nothing_else() -> None:
    allow = allowed(("127.64.0.1", 443), ("a.example", 443))
    assert inside_names(allow) == {"a.example": "127.64.0.2"}
