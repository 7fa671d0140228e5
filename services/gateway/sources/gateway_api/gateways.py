"""What of a Gateway as a whole cannot be done. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from services.gateway.sources.gateway_api.objects import Condition, record, records, spec_of, text

IP_ADDRESS = "IPAddress"


def problem_of(gateway: Any) -> Condition | None:
    """What keeps it from being served."""
    spec = spec_of(gateway)
    if parameters := record(record(spec, "infrastructure"), "parametersRef"):
        words = f"spec.infrastructure.parametersRef: {text(parameters, 'kind')} is no kind of parameters of this class, there is none"
        return Condition("Accepted", False, "InvalidParameters", words)
    if strange := [kind for kind, _ in _addresses(gateway) if kind != IP_ADDRESS]:
        return Condition("Accepted", False, "UnsupportedAddress", f"spec.addresses: {strange[0]} is not served, {IP_ADDRESS} is")
    return None


def address_problem(gateway: Any, addresses: Collection[str]) -> Condition | None:
    """``addresses`` are those that it is reached at. A Gateway that asks for another is served there all the same."""
    if others := [value for _, value in _addresses(gateway) if value and value not in addresses]:
        words = f"spec.addresses: {others[0]} is not one of this gateway: {', '.join(sorted(addresses)) or 'none is known'}"
        return Condition("Programmed", False, "AddressNotUsable", words)
    return None


def undone(gateway: Any) -> str:
    """Which fields say what nobody here does, in words; empty: none."""
    spec = spec_of(gateway)
    found = ["spec.tls.backend: backends are shown no certificate"] if record(record(spec, "tls"), "backend") else []
    if text(record(record(spec, "allowedListeners"), "namespaces"), "from", "None") != "None":
        found.append("spec.allowedListeners: there are no ListenerSets here")
    return f"served, but for {'; '.join(found)}" if found else ""


def wanted_address(gateway: Any) -> str:
    """The one that it asks for, of several the first; empty: any."""
    return next((value for kind, value in _addresses(gateway) if kind == IP_ADDRESS and value), "")


def _addresses(gateway: Any) -> list[tuple[str, str]]:
    return [(text(each, "type", IP_ADDRESS), text(each, "value")) for each in records(spec_of(gateway), "addresses")]
