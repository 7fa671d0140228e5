"""Pod addresses: unique, within the range, and rested before they are used again."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kubelet.runtime.addresses import AddressesExhausted, PodAddresses


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), max_size=60))
def test_never_gives_one_twice(steps: list[bool]) -> None:
    pool = PodAddresses("10.0.0.0/28")
    held: list[str] = []
    for take in steps:
        if take and len(held) < 13:
            address = pool.take()
            assert address not in held and address != pool.gateway
            assert ipaddress.ip_address(address) in list(ipaddress.ip_network("10.0.0.0/28").hosts())
            held.append(address)
        elif held:
            pool.release(held.pop(0))


def test_prefers_the_address_a_pod_had_and_says_when_none_is_left() -> None:
    pool = PodAddresses("10.0.0.0/29")
    pool.claim("10.0.0.3")
    assert [pool.take() for _ in range(4)] == ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(AddressesExhausted):
        pool.take()
    pool.release("10.0.0.5")
    pool.release("10.0.0.3")
    assert pool.take(prefer="10.0.0.5") == "10.0.0.5"
