"""The file of an AuthenticationConfiguration (``apiserver.config.k8s.io/v1``), as kube-apiserver reads it.

    apiVersion: apiserver.config.k8s.io/v1
    kind: AuthenticationConfiguration
    jwt:
    - issuer: {url: https://issuer.example.com, audiences: [knarr]}
      claimMappings:
        username: {claim: sub, prefix: "example:"}
        groups: {expression: claims.roles}
    anonymous: {enabled: true, conditions: [{path: /livez}]}

What cannot be honoured is refused by its name, never passed over. https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knarr.service.configuration_file import document_of, read_configuration
from services.apiserver.identity.anonymous import Anonymous
from services.apiserver.identity.jwt.configuration import Issuer, read_issuer
from services.apiserver.identity.sections import flag, listed, refuse_others, section, text

API_VERSION, KIND = "apiserver.config.k8s.io/v1", "AuthenticationConfiguration"
MOST_ISSUERS = 64


@dataclass(frozen=True, slots=True)
class Authentication:
    """``anonymous`` is None where the file does not speak of it: then health and version are for everybody."""

    issuers: tuple[Issuer, ...] = ()
    anonymous: Anonymous | None = field(default=None)


def read_authentication(file: Path) -> Authentication:
    """What a file says; raises CommandError."""
    return read_configuration(file, KIND, parse_authentication)


def parse_authentication(data: bytes) -> Authentication:
    """What a document says; raises ValueError with the field."""
    document = document_of(data, API_VERSION, KIND)
    refuse_others(document, "", "apiVersion", "kind", "jwt", "anonymous")
    found = listed(document, "jwt", "")
    if len(found) > MOST_ISSUERS:
        raise ValueError(f"jwt: {len(found)} issuers are too many: {MOST_ISSUERS} at most")
    issuers = tuple(read_issuer(entry, f"jwt[{at}]") for at, entry in enumerate(found))
    for name in ("url", "discovery_url"):
        given = [getattr(issuer, name) for issuer in issuers if getattr(issuer, name)]
        if twice := next((url for url in given if given.count(url) > 1), ""):
            raise ValueError(f"jwt: {twice!r} is there twice; each issuer, and each discoveryURL, is named once")
    return Authentication(issuers, _anonymous(document))


def _anonymous(document: dict[str, Any]) -> Anonymous | None:
    found = section(document, "anonymous", "")
    if found is None:
        return None
    refuse_others(found, "anonymous", "enabled", "conditions")
    enabled, conditions = flag(found, "enabled", "anonymous"), listed(found, "conditions", "anonymous")
    if conditions and not enabled:
        raise ValueError("anonymous.conditions: there are none where enabled is false")
    paths = []
    for at, condition in enumerate(conditions):
        place = f"anonymous.conditions[{at}]"
        refuse_others(condition, place, "path")
        path = text(condition, "path", place)
        if not path.startswith("/"):
            raise ValueError(f"{place}.path: {path!r} is no path; it begins with a slash")
        paths.append(path)
    return Anonymous(enabled, frozenset(paths) if conditions else None)
