"""Annotations that AWS' users know, and how a wrong one is refused. No account is asked."""

from __future__ import annotations

import pytest

from services.cloud.errors import Refused
from services.cloud.providers.aws.options import PREFIX, HealthOptions, read_options


def test_nothing_said() -> None:
    options = read_options({"app.example.com/owner": "me"})
    assert (options.scheme, options.subnets, options.security_groups, options.manage_node_rules) == ("internet-facing", (), (), True)
    assert not options.limitations


def test_what_may_be_said() -> None:
    options = read_options(
        {
            PREFIX + "type": "nlb",
            PREFIX + "scheme": "internal",
            PREFIX + "subnets": "subnet-1, private-b",
            PREFIX + "security-groups": "sg-1,sg-2",
            PREFIX + "additional-resource-tags": "team=shop, cost-center=7=8",
            PREFIX + "cross-zone-load-balancing-enabled": "true",
            PREFIX + "attributes": "deletion_protection.enabled=true",
            PREFIX + "target-group-attributes": "deregistration_delay.timeout_seconds=30",
            PREFIX + "proxy-protocol": "*",
            PREFIX + "connection-idle-timeout": "600",
            PREFIX + "healthcheck-protocol": "http",
            PREFIX + "healthcheck-port": "8080",
            PREFIX + "healthcheck-path": "/ready",
            PREFIX + "healthcheck-interval": "15",
            PREFIX + "healthcheck-timeout": "5",
            PREFIX + "healthcheck-healthy-threshold": "2",
            PREFIX + "healthcheck-unhealthy-threshold": "4",
            PREFIX + "healthcheck-success-codes": "200-299",
            "service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8,192.0.2.0/24",
        }
    )
    assert (options.scheme, options.subnets, options.security_groups) == ("internal", ("subnet-1", "private-b"), ("sg-1", "sg-2"))
    # Whoever brings groups of their own has opened the nodes for them.
    assert not options.manage_node_rules
    assert options.tags == {"team": "shop", "cost-center": "7=8"}
    assert options.attributes == {"load_balancing.cross_zone.enabled": "true", "deletion_protection.enabled": "true"}
    assert options.target_attributes == {"deregistration_delay.timeout_seconds": "30", "proxy_protocol_v2.enabled": "true"}
    assert options.idle_timeout_seconds == 600
    assert options.health == HealthOptions("HTTP", "8080", "/ready", 15, 5, 2, 4, "200-299")
    assert options.source_ranges == ("10.0.0.0/8", "192.0.2.0/24")
    assert not options.limitations


@pytest.mark.parametrize(("value", "scheme"), [("true", "internal"), ("false", "internet-facing"), ("0.0.0.0/0", "internal")])
def test_the_older_word_for_the_scheme(value: str, scheme: str) -> None:
    assert read_options({PREFIX + "internal": value}).scheme == scheme


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("type", "nlb-ip", "only network load balancers are made: leave it out or write nlb or external"),
        ("nlb-target-type", "ip", "only nodes are targets: leave it out or write instance"),
        ("ip-address-type", "dualstack", "only IPv4 is spoken: leave it out or write ipv4"),
        ("scheme", "public", "must be internet-facing or internal"),
        ("internal", "yes", "must be true or false"),
        ("subnets", " , ", "must be a list, separated by commas"),
        ("security-groups", "default", "must be a list of ids sg-…, separated by commas"),
        ("additional-resource-tags", "team", "must be KEY=VALUE, separated by commas"),
        ("additional-resource-tags", "=shop", "must be KEY=VALUE, separated by commas"),
        ("attributes", "deletion_protection", "must be KEY=VALUE, separated by commas"),
        ("cross-zone-load-balancing-enabled", "True", "must be true or false"),
        ("proxy-protocol", "80", "all ports or none speak it: leave it out or write *"),
        ("connection-idle-timeout", "59", "must be a whole number from 60 to 6000"),
        ("connection-idle-timeout", "²", "must be a whole number from 60 to 6000"),
        ("healthcheck-protocol", "ICMP", "must be one of TCP, HTTP, HTTPS"),
        ("healthcheck-port", "70000", "must be traffic-port or a number from 1 to 65535"),
        ("healthcheck-path", "ready", "must begin with /"),
        ("healthcheck-interval", "-1", "must be a whole number from 5 to 300"),
        ("healthcheck-healthy-threshold", "1", "must be a whole number from 2 to 10"),
        ("manage-backend-security-group-rules", "maybe", "must be true or false"),
    ],
)
def test_refused_in_words(name: str, value: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        read_options({PREFIX + name: value})
    assert str(refused.value) == f"annotation {PREFIX}{name}: {words}, not {value!r}"


@pytest.mark.parametrize("key", ["aws:created", "kubernetes.io/cluster/other"])
def test_tags_that_are_not_for_users(key: str) -> None:
    with pytest.raises(Refused, match="is not for users: choose another name"):
        read_options({PREFIX + "additional-resource-tags": f"{key}=x"})


def test_what_would_be_in_the_clear_is_refused() -> None:
    with pytest.raises(Refused, match=r"ssl-cert: TLS is not ended by the load balancer: end it in the pods"):
        read_options({PREFIX + "ssl-cert": "arn:aws:acm:eu-west-1:1:certificate/1"})


def test_what_is_not_known_is_told() -> None:
    options = read_options({PREFIX + "eip-allocations": "eipalloc-1", "service.beta.kubernetes.io/azure-load-balancer-internal": "true"})
    assert options.limitations == (f"annotation {PREFIX}eip-allocations is not known here and changes nothing",)


def test_private_links_alone_keep_their_defaults() -> None:
    with pytest.raises(Refused, match="private links are not made"):
        read_options({PREFIX + "inbound-sg-rules-on-private-link-traffic": "off"})
