"""Rules about addresses and paths that came later than the fields: what an object says already it may go on saying."""

from __future__ import annotations

from typing import Any

import pytest

from services.apiserver.pipeline.parts import PARTS
from services.apiserver.results import Ref
from services.apiserver.strategies import strategy_for
from tests.apiserver.strategies.scenario import Subject

POLICY: dict[str, Any] = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "default"}}


def policy(*ranges: str) -> Subject:
    peers = [{"ipBlock": {"cidr": text}} for text in ranges]
    return Subject.of({**POLICY, "spec": {"podSelector": {}, "ingress": [{"from": peers}]}})


def refused(old: Subject, new: Subject) -> list[str]:
    for subject in (old, new):
        subject.strategy.default(subject.obj)
    verdict = PARTS[""].validate(Ref(new.version, "default", "p"), new.strategy, new.obj, old.obj)
    return [f"{cause.field}: {cause.message}" for cause in verdict.causes]


def test_a_range_that_was_there_may_stay_wherever_it_stands() -> None:
    assert refused(policy("10.0.0.1/8"), policy("192.168.0.0/16", "10.0.0.1/8")) == []


def test_another_is_refused_beside_it() -> None:
    told = 'spec.ingress[0].from[1].ipBlock.cidr: Invalid value: "10.0.0.2/8": must not have bits set beyond the prefix length'
    assert refused(policy("10.0.0.1/8"), policy("10.0.0.1/8", "10.0.0.2/8")) == [told]


def test_what_is_no_range_at_all_is_refused_anew() -> None:
    assert len(refused(policy("ten"), policy("ten"))) == 1


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (
            {**POLICY, "spec": {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "FD00::/8", "except": ["fd00:0::/9"]}}]}]}},
            [
                'spec.egress[0].to[0].ipBlock.cidr: IPv6 CIDR value "FD00::/8" should be in RFC 5952 canonical format ("fd00::/8")',
                'spec.egress[0].to[0].ipBlock.except[0]: IPv6 CIDR value "fd00:0::/9" should be in RFC 5952 canonical format ("fd00::/9")',
            ],
        ),
        (
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": "s"},
                "addressType": "IPv6",
                "endpoints": [{"addresses": ["FD00::1", "fd00::2"]}],
            },
            ['endpoints[0].addresses[0]: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")'],
        ),
        (
            {
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {"name": "s"},
                "subsets": [{"notReadyAddresses": [{"ip": "FD00::1"}], "addresses": [{"ip": "10.0.0.1"}]}],
            },
            ['subsets[0].notReadyAddresses[0].ip: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")'],
        ),
    ],
)
def test_another_spelling_is_told(manifest: dict[str, Any], told: list[str]) -> None:
    subject = Subject.of(manifest).created()
    assert subject.causes() == []
    assert strategy_for(subject.version).warnings(subject.obj) == told


def pod(path: str, label: str) -> Subject:
    volume = {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": path}}]}}
    spec = {"containers": [{"name": "c", "image": "i:1"}], "volumes": [volume]}
    return Subject.of(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default", "labels": {"a": label}}, "spec": spec}
    )


def test_where_a_token_lay_it_may_lie_on() -> None:
    assert refused(pod("../token", "before"), pod("../token", "after")) == []
