"""Logins to registries and whose they are, and in which order they are tried for an image. Pure.

As in Kubernetes: an entry is for a registry or for what begins with a path there; the longer path goes first, and entries of one path are
tried as they came.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.image_match import matches, repository_of

# Names by which one registry is known.
DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")

Login = dict[str, str]
"""The engine's `AuthConfig`: `username` and `password`, or `identitytoken`."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A Secret or a ServiceAccount that a login was had by."""

    uid: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Credential:
    """A login. Without an owner it is the node's own, and what is had by it is for every pod of the node."""

    login: Login
    secret: Owner | None = None
    account: Owner | None = None

    @property
    def hash(self) -> str:
        """By which one login is told from another, and which does not tell it."""
        return hashlib.sha256(orjson.dumps(self.login, option=orjson.OPT_SORT_KEYS)).hexdigest()


# A server as a `config.json` names it, and what is known for it.
Entry = tuple[str, Credential]


def chosen(entries: Iterable[Entry], reference: str) -> list[Credential]:
    """Those that may be tried for the image, the most precise first."""
    repository = repository_of(reference)
    by_place: dict[str, list[Credential]] = {}
    for server, credential in entries:
        by_place.setdefault(_place(server), []).append(credential)
    found = [credential for place in sorted(by_place, reverse=True) if _matches(place, repository) for credential in by_place[place]]
    if found or not repository.startswith(f"{DOCKER_HUB[0]}/"):
        return found
    return [credential for name in DOCKER_HUB for credential in by_place.get(name, ())]


def secret_credentials(reference: str, secrets: Mapping[str, core.Secret], names: Iterable[str]) -> list[Credential]:
    """Of a pod's pull secrets, given in its order; one that is missing, or no list of logins, has none."""
    return chosen((entry for name in names if name in secrets for entry in _entries(secrets[name])), reference)


def config_entries(auths: Any, secret: Owner | None = None) -> Iterator[Entry]:
    """Of the ``auths`` of a `config.json`; what is no login is passed over."""
    for server, entry in (auths if isinstance(auths, dict) else {}).items():
        if isinstance(entry, dict) and (login := _login(entry)) is not None:
            yield server, Credential(login, secret=secret)


def _entries(secret: core.Secret) -> Iterator[Entry]:
    config = logins_of(secret)
    owner = Owner(secret.metadata.uid, secret.metadata.namespace, secret.metadata.name)
    return config_entries(config, owner)


def logins_of(secret: core.Secret) -> Any:
    """What a pull secret has by registry, unchecked; None where it is none."""
    with suppress(ValueError, TypeError, KeyError):
        if secret.type == "kubernetes.io/dockerconfigjson":
            return orjson.loads(secret.data[".dockerconfigjson"])["auths"]
        if secret.type == "kubernetes.io/dockercfg":
            return orjson.loads(secret.data[".dockercfg"])
    return None


def _place(server: str) -> str:
    """Host and path, without scheme and without the version of the registry's interface."""
    host, _, path = server.removeprefix("https://").removeprefix("http://").partition("/")
    if path.startswith(("v1/", "v2/")):
        path = path[3:]
    return f"{host}/{path}".rstrip("/")


def _matches(place: str, repository: str) -> bool:
    with suppress(ValueError):
        return matches(place, repository)
    return False


def _login(entry: Mapping[str, Any]) -> Login | None:
    known = {name: entry[name] for name in ("identitytoken", "auth", "username", "password") if isinstance(entry.get(name), str)}
    if known.get("identitytoken"):
        return {"identitytoken": known["identitytoken"]}
    if known.get("auth"):
        try:
            user, _, password = base64.b64decode(known["auth"]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return {"username": user, "password": password} if user else None
    return {"username": known["username"], "password": known.get("password", "")} if "username" in known else None
