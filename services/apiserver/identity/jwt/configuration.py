"""One issuer of tokens, as the configuration's ``jwt`` has it: whom to ask for its keys, and what its tokens say of a user."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from knarr.machinery.cel.compiler import compile_expression
from knarr.machinery.cel.errors import InvalidExpression
from knarr.machinery.cel.program import Program
from knarr.machinery.cel.types import BOOL, DYN, NULL, STRING, Field, Type, list_of, map_of, object_of
from knarr.machinery.validation import dns1123_subdomain
from services.apiserver.identity.sections import listed, place, refuse_others, section, text
from services.apiserver.tokens.accounts import ISSUER

MATCH_ANY = "MatchAny"
# Of each list of a section; Kubernetes has no bound.
MOST_RULES = 64
CLAIMS: Mapping[str, Type] = {"claims": map_of(STRING, DYN)}
USER: Mapping[str, Type] = {
    "user": object_of(
        "kubernetes.UserInfo",
        {
            "username": Field("username", STRING),
            "uid": Field("uid", STRING),
            "groups": Field("groups", list_of(STRING)),
            "extra": Field("extra", map_of(STRING, list_of(STRING))),
        },
    )
}
_EMAIL = re.compile(r"""claims(\s*\.\s*\??\s*email\b|\s*\[\s*\??\s*["']email["']\s*\])""")
_VERIFIED = "email_verified"
_EXTRA_KEY = re.compile(r"[a-z0-9!#$&'()*+,;=:@%._~-]+(/[a-z0-9!#$&'()*+,;=:@%._~-]+)*")
OURS = ("kubernetes.io", "k8s.io")


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a claim says, behind a prefix; or what an expression makes of all claims."""

    claim: str = ""
    prefix: str = ""
    expression: Program | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A claim that must have a value, or an expression that must be true; ``message`` says what is wrong where it is not."""

    claim: str = ""
    value: str = ""
    expression: Program | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Two are equal that are written alike (``source``)."""

    source: bytes
    url: str = field(compare=False)
    discovery_url: str = field(compare=False)
    # PEM; without it the system's authorities are trusted.
    authority: str = field(compare=False)
    audiences: tuple[str, ...] = field(compare=False)
    username: Mapped = field(compare=False)
    groups: Mapped | None = field(compare=False)
    uid: Mapped | None = field(compare=False)
    extra: tuple[tuple[str, Program], ...] = field(compare=False)
    claim_rules: tuple[Rule, ...] = field(compare=False)
    user_rules: tuple[Rule, ...] = field(compare=False)

    @property
    def configuration_url(self) -> str:
        """Where it says of itself what it is, as OpenID Connect's discovery specifies."""
        return self.discovery_url or f"{self.url.rstrip('/')}/.well-known/openid-configuration"


def read_issuer(found: Any, path: str) -> Issuer:
    """One entry of ``jwt``; raises ValueError with the field."""
    refuse_others(found, path, "issuer", "claimMappings", "claimValidationRules", "userValidationRules")
    issuer = section(found, "issuer", path) or {}
    where = place(path, "issuer")
    refuse_others(issuer, where, "url", "discoveryURL", "certificateAuthority", "audiences", "audienceMatchPolicy", "egressSelectorType")
    if text(issuer, "egressSelectorType", where, optional=True):
        raise ValueError(f"{where}.egressSelectorType is not honoured: this server has one way to the outside")
    mappings = section(found, "claimMappings", path) or {}
    mapped = place(path, "claimMappings")
    refuse_others(mappings, mapped, "username", "groups", "uid", "extra")
    username = _mapped(mappings, "username", mapped, prefixed=True)
    if username is None:
        raise ValueError(f"{mapped}.username is missing")
    made = Issuer(
        source=orjson.dumps(found, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS),
        url=_url(issuer, "url", where),
        discovery_url=_url(issuer, "discoveryURL", where, optional=True),
        authority=_authority(issuer, where),
        audiences=_audiences(issuer, where),
        username=username,
        groups=_mapped(mappings, "groups", mapped, prefixed=True),
        uid=_mapped(mappings, "uid", mapped, prefixed=False),
        extra=_extra(mappings, mapped),
        claim_rules=_rules(found, "claimValidationRules", path, CLAIMS),
        user_rules=_rules(found, "userValidationRules", path, USER),
    )
    if made.url == ISSUER:
        raise ValueError(f"{where}.url: {ISSUER} is this cluster itself, whose tokens are known without it")
    if made.discovery_url.rstrip("/") == made.url.rstrip("/"):
        raise ValueError(f"{where}.discoveryURL must be another one than url")
    _check_email(found, path)
    return made


def _url(found: dict[str, Any], name: str, path: str, *, optional: bool = False) -> str:
    url = text(found, name, path, optional=optional)
    if not url and optional:
        return ""
    try:
        parts = urlsplit(url)
        wrong = parts.scheme != "https" or not parts.hostname or parts.username is not None or "?" in url or "#" in url
    except ValueError:
        wrong = True
    if wrong:
        raise ValueError(f"{path}.{name}: {url!r} is no https URL without user, query and fragment")
    return url


def _authority(found: dict[str, Any], path: str) -> str:
    pem = text(found, "certificateAuthority", path, optional=True)
    if pem:
        try:
            ssl.create_default_context(cadata=pem)
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"{path}.certificateAuthority holds no certificate in PEM: {error}") from None
    return pem


def _audiences(found: dict[str, Any], path: str) -> tuple[str, ...]:
    audiences = listed(found, "audiences", path)
    if not audiences or len(audiences) > MOST_RULES or not all(isinstance(name, str) and name for name in audiences):
        raise ValueError(f"{path}.audiences: there must be from 1 to {MOST_RULES}, none of them empty")
    if len(set(audiences)) < len(audiences):
        raise ValueError(f"{path}.audiences: one is there twice")
    policy = text(found, "audienceMatchPolicy", path, optional=True)
    if policy not in ("", MATCH_ANY) or (len(audiences) > 1 and not policy):
        raise ValueError(f"{path}.audienceMatchPolicy must be {MATCH_ANY} where there are several audiences")
    return tuple(audiences)


def _mapped(found: dict[str, Any], name: str, path: str, *, prefixed: bool) -> Mapped | None:
    inner, path = section(found, name, path), place(path, name)
    if not inner:
        return None
    refuse_others(inner, path, *(("claim", "prefix", "expression") if prefixed else ("claim", "expression")))
    claim, expression = (text(inner, word, path, optional=True) for word in ("claim", "expression"))
    if bool(claim) == bool(expression):
        raise ValueError(f"{path}: there must be a claim or an expression, and not both")
    if expression:
        if "prefix" in inner:
            raise ValueError(f"{path}.prefix: an expression has none; add it to what the expression says")
        wanted = (DYN, STRING, NULL, list_of(STRING), list_of(DYN)) if name == "groups" else (DYN, STRING)
        return Mapped(expression=_compiled(expression, f"{path}.expression", CLAIMS, wanted))
    if prefixed and inner.get("prefix") is None:
        raise ValueError(f'{path}.prefix is missing; none is written ""')
    return Mapped(claim, text(inner, "prefix", path, optional=True) if prefixed else "")


def _extra(found: dict[str, Any], path: str) -> tuple[tuple[str, Program], ...]:
    made: dict[str, Program] = {}
    for at, entry in enumerate(_few(found, "extra", path)):
        here = f"{path}.extra[{at}]"
        refuse_others(entry, here, "key", "valueExpression")
        key = text(entry, "key", here)
        domain, slash, rest = key.partition("/")
        if not slash or dns1123_subdomain(domain) or not _EXTRA_KEY.fullmatch(rest):
            raise ValueError(f"{here}.key: {key!r} is no domain and path in lower-case letters, like example.com/team")
        if any(domain == name or domain.endswith(f".{name}") for name in OURS):
            raise ValueError(f"{here}.key: {', '.join(OURS)} and what is below them are for Kubernetes itself")
        if key in made:
            raise ValueError(f"{here}.key: {key!r} is there twice")
        made[key] = _compiled(
            text(entry, "valueExpression", here),
            f"{here}.valueExpression",
            CLAIMS,
            (DYN, STRING, NULL, list_of(STRING), list_of(DYN)),
        )
    return tuple(made.items())


def _rules(found: dict[str, Any], name: str, path: str, variables: Mapping[str, Type]) -> tuple[Rule, ...]:
    made: list[Rule] = []
    fields = ("claim", "requiredValue", "expression", "message") if variables is CLAIMS else ("expression", "message")
    for at, entry in enumerate(_few(found, name, path)):
        here = f"{path}.{name}[{at}]"
        refuse_others(entry, here, *fields)
        claim, value, expression, message = (
            text(entry, word, here, optional=True) for word in ("claim", "requiredValue", "expression", "message")
        )
        if bool(claim) == bool(expression):
            raise ValueError(f"{here}: there must be {'a claim or an expression, and not both' if 'claim' in fields else 'an expression'}")
        if claim:
            if message:
                raise ValueError(f"{here}.message belongs to an expression")
            made.append(Rule(claim, value))
        else:
            if value:
                raise ValueError(f"{here}.requiredValue belongs to a claim")
            made.append(Rule(expression=_compiled(expression, f"{here}.expression", variables, (BOOL,)), message=message))
    return tuple(made)


def _few(found: dict[str, Any], name: str, path: str) -> list[Any]:
    entries = listed(found, name, path)
    if len(entries) > MOST_RULES:
        raise ValueError(f"{place(path, name)}: {len(entries)} are too many: {MOST_RULES} at most")
    return entries


def _compiled(source: str, path: str, variables: Mapping[str, Type], wanted: tuple[Type, ...]) -> Program:
    try:
        program = compile_expression(source, variables)
    except InvalidExpression as error:
        raise ValueError(f"{path}: {error.shown(source)}") from None
    if program.type not in wanted and not (program.type == DYN and BOOL in wanted):
        raise ValueError(f"{path}: it is {program.type}, and must be {' or '.join(str(found) for found in wanted if found != DYN)}")
    return program


def _check_email(found: dict[str, Any], path: str) -> None:
    """Who takes a user's name from his mail address must look whether the issuer has verified it, as in Kubernetes."""
    username = (found.get("claimMappings") or {}).get("username") or {}
    if not _EMAIL.search(str(username.get("expression", ""))):
        return
    said = [username.get("expression", ""), *(rule.get("expression", "") for rule in found.get("claimValidationRules") or [])]
    said += [entry.get("valueExpression", "") for entry in (found.get("claimMappings") or {}).get("extra") or []]
    if not any(_VERIFIED in text for text in said):
        words = f"claims.{_VERIFIED} must be used in it, in an extra valueExpression or in a claimValidationRules expression"
        raise ValueError(f"{path}.claimMappings.username.expression: {words} where claims.email is used")
