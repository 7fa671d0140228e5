"""From the claims of a token whose signature is good to the user that it names. Pure; as Kubernetes' configuration specifies it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from knarr.machinery.cel.errors import CostExceeded, EvaluationError
from knarr.machinery.cel.program import Program
from knarr.service.authentication import AUTHENTICATED, User
from services.apiserver.identity.jwt.configuration import Issuer, Mapped, Rule
from services.apiserver.tokens.accounts import Refused

# Of one expression, in CEL's units: a millisecond or so.
COST_LIMIT = 100_000
EMAIL, VERIFIED = "email", "email_verified"
MOST_GROUPS = 4096

Claims = Mapping[str, Any]


def user_of(issuer: Issuer, claims: Claims) -> User:
    """Raises Refused, in words for who asks about the token."""
    for rule in issuer.claim_rules:
        _check(rule, claims, {"claims": claims})
    name = _one(issuer.username, claims, "username")
    if not name:
        raise Refused("oidc: the username is empty")
    if issuer.username.claim == EMAIL and claims.get(VERIFIED, True) is not True:
        raise Refused("oidc: email not verified")
    groups = _many(issuer.groups, claims, "groups") if issuer.groups is not None else ()
    if len(groups) > MOST_GROUPS:
        raise Refused(f"oidc: a user has {MOST_GROUPS} groups at most")
    uid = _one(issuer.uid, claims, "uid") if issuer.uid is not None else ""
    extra = [(key, tuple(_texts(_run(program, {"claims": claims}), f"extra {key}"))) for key, program in issuer.extra]
    said = tuple((key, values) for key, values in extra if values)
    if issuer.user_rules:
        shown = {"username": name, "uid": uid, "groups": list(groups), "extra": {key: list(values) for key, values in said}}
        for rule in issuer.user_rules:
            _check(rule, claims, {"user": shown})
    return User(name, uid, (*groups, *(() if AUTHENTICATED in groups else (AUTHENTICATED,))), said)


def _check(rule: Rule, claims: Claims, variables: dict[str, Any]) -> None:
    if rule.expression is None:
        if rule.claim not in claims or claims[rule.claim] != rule.value:
            raise Refused(f"oidc: claim {rule.claim} is missing, or is not what it must be")
    elif _run(rule.expression, variables) is not True:
        raise Refused(f"oidc: {rule.message or 'a validation rule does not hold'}")


def _one(mapped: Mapped, claims: Claims, what: str) -> str:
    if mapped.expression is not None:
        found = _run(mapped.expression, {"claims": claims})
    elif mapped.claim in claims:
        found = claims[mapped.claim]
    else:
        raise Refused(f"oidc: parse {what} claims: claim {mapped.claim} is not present")
    if not isinstance(found, str):
        raise Refused(f"oidc: the {what} is no text")
    return mapped.prefix + found


def _many(mapped: Mapped, claims: Claims, what: str) -> tuple[str, ...]:
    if mapped.expression is not None:
        return tuple(_texts(_run(mapped.expression, {"claims": claims}), what))
    found = claims.get(mapped.claim)
    return tuple(f"{mapped.prefix}{text}" for text in _texts(found, what))


def _texts(found: Any, what: str) -> Iterator[str]:
    """One text or a list of them; what is empty is left out."""
    for text in found if isinstance(found, list) else () if found is None else (found,):
        if not isinstance(text, str):
            raise Refused(f"oidc: {what} must be text or a list of texts")
        if text:
            yield text


def _run(program: Program, variables: dict[str, Any]) -> Any:
    try:
        return program.evaluate(variables, COST_LIMIT)[0]
    except (EvaluationError, CostExceeded) as error:
        raise Refused(f"oidc: error evaluating an expression: {error}") from None
