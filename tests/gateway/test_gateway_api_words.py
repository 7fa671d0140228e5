"""Routes of Gateway API with nasty words in every place: HAProxy takes what comes of them, and other routes stay in force."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from services.gateway.haproxy.frontends import Bind
from services.gateway.haproxy.program import Limits, Program, Reload
from services.gateway.routing.table import Origin, passed
from services.gateway.sources.gateway_api.gateways import undone
from services.gateway.sources.gateway_api.listeners import Listener, listeners_of, walls
from services.gateway.sources.gateway_api.objects import Facts
from services.gateway.sources.gateway_api.routes import NEVER_SECONDS, compile_route
from tests.gateway.configurations import refusal
from tests.gateway.test_words import NASTY
from tests.gateway.world import needs_haproxy

EDGE = Origin("Gateway", "n", "edge")


def gateway(hostname: str) -> Any:
    listeners = [
        {"name": "web", "port": 80, "protocol": "HTTP"},
        {"name": "host", "port": 80, "protocol": "HTTP", "hostname": hostname},
        {"name": "tls", "port": 443, "protocol": "TLS", "tls": {"mode": "Passthrough"}},
    ]
    return thing("edge", {"gatewayClassName": "knarr", "listeners": listeners})


def thing(name: str, spec: dict[str, Any]) -> Any:
    metadata = SimpleNamespace(namespace="n", name=name, creation_timestamp=SimpleNamespace(seconds=0))
    return SimpleNamespace(metadata=metadata, content={"spec": spec})


def service(namespace: str, name: str) -> core.Service:
    made = core.Service()
    made.spec.ports.add(port=80)
    return made


def rules(word: str, number: int) -> list[dict[str, Any]]:
    """A rule for each place that a word may stand in."""
    matches = [
        {"path": {"type": kind, "value": f"/{word}"}} for kind in ("Exact", "PathPrefix", "RegularExpression")
    ] + [
        {"headers": [{"name": word, "value": "v"}]}, {"headers": [{"name": "h", "value": word}]}, {"method": word},
        {"headers": [{"name": "h", "value": word, "type": "RegularExpression"}]}, {"queryParams": [{"name": word, "value": word}]},
    ]  # fmt: skip
    there = [{"name": "w", "port": 80, "weight": number}, {"name": word, "namespace": word, "port": number}]
    changes = {"set": [{"name": "s", "value": word}], "add": [{"name": word, "value": "v"}], "remove": [word]}
    replaced = {"type": "ReplacePrefixMatch", "replacePrefixMatch": word}
    whole = {"type": "ReplaceFullPath", "replaceFullPath": word}
    filters = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": changes},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": changes},
        {"type": "URLRewrite", "urlRewrite": {"hostname": word, "path": replaced}}, {"type": "URLRewrite", "urlRewrite": {"path": whole}},
        {"type": "RequestRedirect", "requestRedirect": {"scheme": word, "hostname": word, "port": number, "path": replaced}},
        {"type": "RequestRedirect", "requestRedirect": {"statusCode": number}},
        {"type": "CORS", "cors": {"allowOrigins": [word], "allowMethods": [word], "allowHeaders": [word], "maxAge": number}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": word, "port": 80}, "percent": number}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": there[0], "fraction": {"numerator": 1, "denominator": number}}},
        {"type": word},
    ]  # fmt: skip
    return [
        *({"matches": [match], "backendRefs": there} for match in matches),
        *({"filters": [each], "backendRefs": there} for each in filters),
        *({"backendRefs": [{"name": "w", "port": 80, "filters": [each]}, *there]} for each in filters),
        {"timeouts": {"request": word, "backendRequest": f"{number}s"}, "backendRefs": there},
    ]


@needs_haproxy
@given(word=NASTY, number=st.one_of(st.integers(), st.sampled_from([0, 1, 100, 200, 302, 65536])))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_haproxy_takes_what_comes_of_every_route(tmp_path: Path, word: str, number: int) -> None:
    if any("\ud800" <= sign <= "\udfff" for sign in word):
        return
    facts = Facts(services=service, secrets=lambda *_: None)
    listeners = listeners_of(gateway(word), facts)
    program = Program(Limits(1, 100), [Bind(80, (("127.0.0.1", 1),), tls=False), Bind(passed(443), (("127.0.0.1", 2),), tls=False)])
    program.put(EDGE, walls(listeners))

    def of_edge(namespace: str, name: str) -> list[Listener]:
        return listeners

    parents = [{"name": "edge"}]
    put = 0
    for kind, specs in (
        ("HTTPRoute", [{"rules": [rule]} for rule in rules(word, number)] + [{"hostnames": [word], "rules": [{}]}]),
        (
            "GRPCRoute",
            [
                {"rules": [{"matches": [{"method": {"service": word, "method": word, "type": kind}}]}]}
                for kind in ("Exact", "RegularExpression")
            ],
        ),
        ("TLSRoute", [{"hostnames": [word], "rules": [{"backendRefs": [{"name": "w", "port": 80}]}]}]),
    ):
        for spec in [*specs, {"hostnames": ["good.example"], "rules": [{"backendRefs": [{"name": "w", "port": 80}]}]}]:
            put += 1
            origin = Origin(kind, "n", f"r{put}")
            told = compile_route(origin, thing(f"r{put}", {"parentRefs": parents, **spec}), of_edge, facts)
            program.put(origin, told.routes)
            assert spec.get("hostnames") != ["good.example"] or (told.routes and origin not in program.refused)
    change = program.change()
    assert isinstance(change, Reload)
    assert not refusal(tmp_path, change)


def test_fields_of_other_channels_are_told_of() -> None:
    listeners = listeners_of(gateway("a.example"), Facts(services=service))
    rule = {"backendRefs": [{"name": "w", "port": 80}], "retry": {"attempts": 2}, "sessionPersistence": {"sessionName": "s"}}
    route = thing("r", {"parentRefs": [{"name": "edge"}], "rules": [{}, rule]})
    told = compile_route(Origin("HTTPRoute", "n", "r"), route, lambda *_: listeners, Facts(services=service))
    ((_, (accepted, _)),) = told.parents
    assert accepted.status and "nothing is done by spec.rules[1].retry, spec.rules[1].sessionPersistence" in accepted.message
    more = {"tls": {"backend": {"clientCertificateRef": {"name": "c"}}}, "allowedListeners": {"namespaces": {"from": "Same"}}}
    assert "no certificate" in (words := undone(thing("edge", more))) and "ListenerSets" in words
    assert not undone(thing("edge", {"allowedListeners": {"namespaces": {"from": "None"}}}))


@pytest.mark.parametrize(
    ("timeouts", "limit"),
    [({}, 0), ({"request": "2s"}, 2), ({"request": "2s", "backendRequest": "500ms"}, 0.5), ({"request": "0s"}, NEVER_SECONDS),
     ({"request": "0s", "backendRequest": "1s"}, 1)],
)  # fmt: skip
def test_a_timeout_of_nothing_is_none(timeouts: dict[str, str], limit: float) -> None:
    listeners = listeners_of(gateway("a.example"), Facts(services=service))
    route = thing("r", {"parentRefs": [{"name": "edge", "sectionName": "web"}], "rules": [{"timeouts": timeouts}]})
    told = compile_route(Origin("HTTPRoute", "n", "r"), route, lambda *_: listeners, Facts(services=service))
    assert [made.action.options.timeout_seconds for made in told.routes] == [limit]
