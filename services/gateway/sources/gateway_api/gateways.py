"""What of a Gateway as a whole cannot be done. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from services.gateway.sources.gateway_api.objects import Condition, record, records, spec_of, text

IP_ADDRESS = "IPAddress"


def problem_of(gateway: Any, addresses: Collection[str]) -> Condition | None:
    """``addresses`` are those that it could be reached at. A Gateway that asks for another is served there all the same, unless for a kind
    of address, or for parameters, that nobody here knows."""
    spec = spec_of(gateway)
    if parameters := record(record(spec, "infrastructure"), "parametersRef"):
        words = f"spec.infrastructure.parametersRef: {text(parameters, 'kind')} is no kind of parameters of this class, there is none"
        return Condition("Accepted", False, "InvalidParameters", words)
    wanted = [(text(each, "type", IP_ADDRESS), text(each, "value")) for each in records(spec, "addresses")]
    if strange := [kind for kind, _ in wanted if kind != IP_ADDRESS]:
        return Condition("Accepted", False, "UnsupportedAddress", f"spec.addresses: {strange[0]} is not served, {IP_ADDRESS} is")
    if others := [value for _, value in wanted if value and value not in addresses]:
        words = f"spec.addresses: {others[0]} is not one of this gateway: {', '.join(sorted(addresses)) or 'none is known'}"
        return Condition("Programmed", False, "AddressNotUsable", words)
    return None
