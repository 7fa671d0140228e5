"""What an AuthenticationConfiguration may say, and in which words it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.service.configuration_file import MOST_BYTES
from knarr.service.errors import CommandError
from services.apiserver.identity.anonymous import Anonymous
from services.apiserver.identity.configuration import parse_authentication, read_authentication
from tests.support.issuer import URL


def issuer(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "issuer": {"url": URL, "audiences": ["knarr"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
    }
    for path, value in changes.items():
        *parts, last = path.split("__")
        place = made
        for part in parts:
            place = place.setdefault(part, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return made


def document(*issuers: Any, **more: Any) -> bytes:
    found = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": list(issuers), **more}
    return yaml.safe_dump(found).encode()


def test_all_that_an_issuer_may_have() -> None:
    found = parse_authentication(
        document(
            issuer(
                issuer__audiences=["knarr", "other"],
                issuer__audienceMatchPolicy="MatchAny",
                issuer__discoveryURL="https://inside.example.com/.well-known/openid-configuration",
                claimMappings__username={"expression": 'claims.iss + "#" + claims.sub'},
                claimMappings__groups={"claim": "roles", "prefix": "oidc:"},
                claimMappings__uid={"claim": "id"},
                claimMappings__extra=[{"key": "example.com/tenant", "valueExpression": "claims.tenant"}],
                claimValidationRules=[
                    {"claim": "hd", "requiredValue": "example.com"},
                    {"expression": "claims.exp - claims.nbf <= 86400", "message": "too long"},
                ],
                userValidationRules=[
                    {"expression": "!user.username.startsWith('system:')"},
                    {"expression": "user.groups.all(g, g != 'x')"},
                ],
            ),
            issuer(issuer__url="https://other.example.com/path", issuer__discoveryURL=None),
        )
    )
    first, second = found.issuers
    assert first.configuration_url == "https://inside.example.com/.well-known/openid-configuration"
    assert second.configuration_url == "https://other.example.com/path/.well-known/openid-configuration"
    assert (first.audiences, len(first.claim_rules), len(first.user_rules), found.anonymous) == (("knarr", "other"), 2, 2, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"issuer__url": "http://issuer.example.com"}, "jwt[0].issuer.url: 'http://issuer.example.com' is no https URL"),
        ({"issuer__url": "https://u:p@issuer.example.com"}, "is no https URL without user"),
        ({"issuer__url": "https://issuer.example.com?x"}, "is no https URL"),
        ({"issuer__url": "https://issuer.example.com#x"}, "is no https URL"),
        ({"issuer__url": "https://"}, "is no https URL"),
        ({"issuer__url": None}, "jwt[0].issuer.url is missing"),
        ({"issuer__url": "https://kubernetes.default.svc.cluster.local"}, "is this cluster itself"),
        ({"issuer__discoveryURL": URL}, "discoveryURL must be another one"),
        ({"issuer__audiences": []}, "jwt[0].issuer.audiences: there must be from 1 to 64"),
        ({"issuer__audiences": ["a", "a"]}, "one is there twice"),
        ({"issuer__audiences": ["a", "b"]}, "audienceMatchPolicy must be MatchAny"),
        ({"issuer__audienceMatchPolicy": "MatchAll"}, "audienceMatchPolicy must be MatchAny"),
        ({"issuer__egressSelectorType": "cluster"}, "egressSelectorType is not honoured"),
        ({"issuer__certificateAuthority": "nothing"}, "certificateAuthority holds no certificate"),
        ({"issuer__color": "red"}, "jwt[0].issuer.color is not known"),
        ({"claimMappings__username": None}, "claimMappings.username is missing"),
        ({"claimMappings__username": {"claim": "sub"}}, "username.prefix is missing"),
        ({"claimMappings__username": {"claim": "sub", "prefix": "", "expression": "claims.sub"}}, "a claim or an expression"),
        ({"claimMappings__username": {"expression": "claims.sub", "prefix": "x"}}, "an expression has none"),
        ({"claimMappings__username": {"expression": "claims.sub +"}}, "username.expression: ERROR"),
        ({"claimMappings__username": {"expression": "user.name"}}, "undeclared reference to 'user'"),
        ({"claimMappings__username": {"expression": "1"}}, "it is int, and must be string"),
        ({"claimMappings__username": {"expression": "claims.email"}}, "claims.email_verified must be used"),
        ({"claimMappings__username": {"expression": "claims['email']"}}, "claims.email_verified must be used"),
        ({"claimMappings__groups": {"claim": "roles"}}, "groups.prefix is missing"),
        ({"claimMappings__uid": {"claim": "id", "prefix": ""}}, "uid.prefix is not known"),
        ({"claimMappings__extra": [{"key": "tenant", "valueExpression": "claims.t"}]}, "is no domain and path"),
        ({"claimMappings__extra": [{"key": "Example.com/tenant", "valueExpression": "claims.t"}]}, "is no domain and path"),
        ({"claimMappings__extra": [{"key": "a.kubernetes.io/tenant", "valueExpression": "claims.t"}]}, "are for Kubernetes itself"),
        ({"claimMappings__extra": [{"key": "example.com/a", "valueExpression": "claims.t"}] * 2}, "is there twice"),
        ({"claimValidationRules": [{}]}, "a claim or an expression"),
        ({"claimValidationRules": [{"claim": "hd", "message": "x"}]}, "message belongs to an expression"),
        ({"claimValidationRules": [{"expression": "true", "requiredValue": "x"}]}, "requiredValue belongs to a claim"),
        ({"claimValidationRules": [{"expression": "'a'"}]}, "it is string, and must be bool"),
        ({"claimValidationRules": [{"expression": "true"}] * 65}, "65 are too many"),
        ({"userValidationRules": [{"claim": "x"}]}, "claim is not known"),
        ({"userValidationRules": [{"expression": "user.color == 'red'"}]}, "undefined field 'color'"),
    ],
    ids=lambda value: value[:40].replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_cannot_be_meant_is_refused_by_its_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_authentication(document(issuer(**changes)))
    assert words in str(caught.value)


def test_issuers_are_told_apart() -> None:
    with pytest.raises(ValueError, match="is there twice"):
        parse_authentication(document(issuer(), issuer()))


def test_mail_addresses_are_names_where_somebody_looks_whether_they_are_verified() -> None:
    parse_authentication(document(issuer(claimMappings__username={"expression": "claims.email_verified ? claims.email : ''"})))
    rules = [{"expression": "claims.email_verified == true"}]
    parse_authentication(document(issuer(claimMappings__username={"expression": "claims.email"}, claimValidationRules=rules)))


@pytest.mark.parametrize(
    ("said", "path", "admitted"),
    [
        ({"enabled": True}, "/api", True),
        ({"enabled": False}, "/livez", False),
        ({"enabled": True, "conditions": [{"path": "/livez"}, {"path": "/readyz"}]}, "/readyz", True),
        ({"enabled": True, "conditions": [{"path": "/livez"}]}, "/livez/ping", False),
    ],
)
def test_anonymous(said: dict[str, Any], path: str, admitted: bool) -> None:
    found = parse_authentication(document(anonymous=said)).anonymous
    assert isinstance(found, Anonymous) and found.admits(path) is admitted


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"enabled": False, "conditions": [{"path": "/livez"}]}, "there are none where enabled is false"),
        ({"enabled": "yes"}, "neither true nor false"),
        ({"enabled": True, "conditions": [{"path": "livez"}]}, "is no path"),
        ({"enabled": True, "conditions": [{"verb": "get"}]}, "verb is not known"),
    ],
)
def test_anonymous_that_cannot_be_meant(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_authentication(document(anonymous=said))


@pytest.mark.parametrize("data", [b"", b"a: [", b"kind: AuthenticationConfiguration", b"[]", document() + b"---\n" + document(), b"\xff"])
def test_what_is_no_configuration(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "authentication.yaml"
    file.write_bytes(data)
    with pytest.raises(CommandError, match=str(file)):
        read_authentication(file)


def test_a_file_has_its_bounds(tmp_path: Path) -> None:
    file = tmp_path / "authentication.yaml"
    with pytest.raises(CommandError, match="cannot be read"):
        read_authentication(file)
    file.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(CommandError, match="is larger than"):
        read_authentication(file)
