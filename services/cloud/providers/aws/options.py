"""What a Service asks of its load balancer in annotations, under the names that AWS' users know. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from services.cloud.errors import Refused

T = TypeVar("T")

PREFIX = "service.beta.kubernetes.io/aws-load-balancer-"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"

# Ignored, they would show a Service to others than its owner means, or in the clear.
UNSAFE = {
    "ssl-cert": "TLS is not ended by the load balancer: end it in the pods",
    "ssl-ports": "TLS is not ended by the load balancer: end it in the pods",
    "backend-protocol": "TLS is not ended by the load balancer: end it in the pods",
    "inbound-sg-rules-on-private-link-traffic": "private links are not made",
}
HEALTH_PROTOCOLS = ("TCP", "HTTP", "HTTPS")
IDLE_TIMEOUT_SECONDS = 350


@dataclass(frozen=True, slots=True)
class HealthOptions:
    """How targets are checked; None: as the Service's traffic policy suggests. Times in seconds."""

    protocol: str | None = None
    port: str | None = None
    path: str | None = None
    interval_seconds: int | None = None
    timeout_seconds: int | None = None
    healthy_threshold: int | None = None
    unhealthy_threshold: int | None = None
    success_codes: str | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """The annotations of one Service, read and checked."""

    scheme: str = "internet-facing"
    # Ids or names; empty: of the configuration, or discovered.
    subnets: tuple[str, ...] = ()
    # Ids; empty: one group is made for the load balancer.
    security_groups: tuple[str, ...] = ()
    # Whether the nodes' groups are opened for the load balancer.
    manage_node_rules: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    target_attributes: Mapping[str, str] = field(default_factory=dict)
    idle_timeout_seconds: int = IDLE_TIMEOUT_SECONDS
    health: HealthOptions = HealthOptions()
    source_ranges: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()


def read_options(annotations: Mapping[str, str]) -> Options:
    """The options of a Service; ``Refused`` names the annotation that cannot be. Those of other providers are left alone."""
    read = _Reader(annotations)
    read.choice("type", ("nlb", "external"), "only network load balancers are made: leave it out or write")
    read.choice("nlb-target-type", ("instance",), "only nodes are targets: leave it out or write")
    read.choice("ip-address-type", ("ipv4",), "only IPv4 is spoken: leave it out or write")
    scheme = read.choice("scheme", ("internet-facing", "internal"))
    internal = read.text("internal", lambda text: text == "0.0.0.0/0" or _boolean(text))
    groups = read.list("security-groups", "sg-")
    manage = read.text("manage-backend-security-group-rules", _boolean)
    attributes = read.pairs("attributes") or {}
    cross_zone = read.text("cross-zone-load-balancing-enabled", _boolean)
    if cross_zone is not None:
        attributes = {"load_balancing.cross_zone.enabled": _lower(cross_zone), **attributes}
    targets = read.pairs("target-group-attributes") or {}
    if read.choice("proxy-protocol", ("*",), "all ports or none speak it: leave it out or write"):
        targets = {"proxy_protocol_v2.enabled": "true", **targets}
    return Options(
        scheme=scheme or ("internal" if internal else "internet-facing"),
        subnets=read.list("subnets") or (),
        security_groups=groups or (),
        manage_node_rules=not groups if manage is None else manage,
        tags=_tags(read),
        attributes=attributes,
        target_attributes=targets,
        idle_timeout_seconds=read.number("connection-idle-timeout", 60, 6000) or IDLE_TIMEOUT_SECONDS,
        health=_health(read),
        source_ranges=read.whole(SOURCE_RANGES, _items) or (),
        limitations=read.limitations(),
    )


def _tags(read: _Reader) -> Mapping[str, str]:
    tags = read.pairs("additional-resource-tags") or {}
    for key in tags:
        if key.startswith(("aws:", "kubernetes.io/cluster/")):
            raise Refused(f"annotation {PREFIX}additional-resource-tags: {key!r} is not for users: choose another name")
    return tags


def _health(read: _Reader) -> HealthOptions:
    protocol = read.text("healthcheck-protocol", str.upper)
    if protocol is not None and protocol not in HEALTH_PROTOCOLS:
        raise read.refused("healthcheck-protocol", f"must be one of {', '.join(HEALTH_PROTOCOLS)}")
    path = read.text("healthcheck-path", str)
    if path is not None and not path.startswith("/"):
        raise read.refused("healthcheck-path", "must begin with /")
    return HealthOptions(
        protocol=protocol,
        port=read.text("healthcheck-port", _port),
        path=path,
        interval_seconds=read.number("healthcheck-interval", 5, 300),
        timeout_seconds=read.number("healthcheck-timeout", 2, 120),
        healthy_threshold=read.number("healthcheck-healthy-threshold", 2, 10),
        unhealthy_threshold=read.number("healthcheck-unhealthy-threshold", 2, 10),
        success_codes=read.text("healthcheck-success-codes", str),
    )


class _Reader:
    """Annotations by the part of their name after ``PREFIX``; remembers which were asked for."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self._annotations = annotations
        self._asked: set[str] = set()

    def whole(self, name: str, parse: Callable[[str], T]) -> T | None:
        """A value by its whole name; ``parse`` raises ValueError with what it must be."""
        self._asked.add(name)
        value = self._annotations.get(name)
        if value is None:
            return None
        try:
            return parse(value.strip())
        except ValueError as error:
            raise Refused(f"annotation {name}: {error}, not {value!r}") from None

    def text(self, name: str, parse: Callable[[str], T]) -> T | None:
        return self.whole(PREFIX + name, parse)

    def choice(self, name: str, allowed: tuple[str, ...], words: str = "must be") -> str | None:
        def parse(value: str) -> str:
            if value not in allowed:
                raise ValueError(f"{words} {' or '.join(allowed)}")
            return value

        return self.text(name, parse)

    def number(self, name: str, low: int, high: int) -> int | None:
        def parse(value: str) -> int:
            if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
                raise ValueError(f"must be a whole number from {low} to {high}")
            return int(value)

        return self.text(name, parse)

    def list(self, name: str, prefix: str = "") -> tuple[str, ...] | None:
        def parse(value: str) -> tuple[str, ...]:
            found = _items(value)
            if not found or any(not one.startswith(prefix) for one in found):
                raise ValueError(
                    f"must be a list of ids {prefix}…, separated by commas" if prefix else "must be a list, separated by commas"
                )
            return found

        return self.text(name, parse)

    def pairs(self, name: str) -> dict[str, str] | None:
        def parse(value: str) -> dict[str, str]:
            found = [one.partition("=") for one in _items(value)]
            if any(not equals or not key.strip() for key, equals, _ in found):
                raise ValueError("must be KEY=VALUE, separated by commas")
            return {key.strip(): text.strip() for key, _, text in found}

        return self.text(name, parse)

    def refused(self, name: str, words: str) -> Refused:
        return Refused(f"annotation {PREFIX}{name}: {words}, not {self._annotations[PREFIX + name]!r}")

    def limitations(self) -> tuple[str, ...]:
        """Words for each option of AWS that nobody has asked for; ``Refused`` for one that must not be passed over."""
        found = []
        for name in sorted(self._annotations):
            if name.startswith(PREFIX) and name not in self._asked:
                if words := UNSAFE.get(name.removeprefix(PREFIX)):
                    raise Refused(f"annotation {name}: {words}")
                found.append(f"annotation {name} is not known here and changes nothing")
        return tuple(found)


def _items(value: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in value.split(",") if one.strip())


def _boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def _lower(value: bool) -> str:
    return "true" if value else "false"


def _port(value: str) -> str:
    if value == "traffic-port" or (value.isascii() and value.isdigit() and 1 <= int(value) <= 65535):
        return value
    raise ValueError("must be traffic-port or a number from 1 to 65535")
