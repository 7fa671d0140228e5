"""Who the node is to a registry: by a pod's image pull secrets, or by the node's own `config.json`, as `docker login` writes it.

A secret is read here, and nothing else is done with it: it comes from whoever may make pods, so it must not have a credential helper
run. The node's file may name helpers. The docker SDK knows how they are asked; it takes 70 ms and 15 MB, so it is loaded where there is
such a file, and not in the event loop.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import os
import warnings
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import orjson

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.images import registry_of

log = logging.getLogger(__name__)

# A helper may ask a cloud, or a keyring that is locked.
HELPER_SECONDS = 30.0
# Names by which one registry is known.
DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")

Login = dict[str, str]
"""The engine's `AuthConfig`: `username` and `password`, or `identitytoken`."""


async def _nobody(reference: str) -> Login | None:
    """Where no programs know any."""
    return None


async def login(
    reference: str,
    secrets: Mapping[str, core.Secret],
    names: list[str],
    config: Path | None,
    provided: Callable[[str], Awaitable[Login | None]] = _nobody,
) -> Login | None:
    """By the first of the pod's secrets, given by their names, that knows the image's registry; else by the node's credential providers,
    whom ``provided`` asks; else by the node's own file."""
    found = from_secrets(reference, secrets, names) or await provided(reference)
    return found if found is not None or config is None else await from_node(reference, config)


def from_secrets(reference: str, secrets: Mapping[str, core.Secret], names: list[str]) -> Login | None:
    registry = registry_of(reference)
    for name in names:
        found = secrets.get(name)
        if found is None or ".dockerconfigjson" not in found.data:
            continue
        try:
            entries = orjson.loads(found.data[".dockerconfigjson"])["auths"]
            logins = [_login(entry) for server, entry in entries.items() if _is_registry(server, registry)]
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        if known := next(filter(None, logins), None):
            return known
    return None


def _is_registry(server: str, registry: str) -> bool:
    host = server.removeprefix("https://").removeprefix("http://").split("/")[0]
    return host == registry or (registry == DOCKER_HUB[0] and host in DOCKER_HUB)


def _login(entry: Mapping[str, str]) -> Login | None:
    if entry.get("identitytoken"):
        return {"identitytoken": entry["identitytoken"]}
    if "username" in entry:
        return {"username": entry["username"], "password": entry.get("password", "")}
    try:
        user, _, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return {"username": user, "password": password} if user else None


def node_config() -> Path:
    """Where `docker login` of the user that this process runs as leaves what it was told."""
    folder = os.environ.get("DOCKER_CONFIG")
    if not folder and "HOME" not in os.environ:
        # As a unit of systemd's.
        folder = "/root/.docker"
    return Path(folder or Path.home() / ".docker") / "config.json"


async def from_node(reference: str, config: Path) -> Login | None:
    """What a `config.json`, or the helpers it names, know of the image's registry; None, and a line in the log, when they fail."""
    if not config.exists():  # noqa: ASYNC240 (one look at a local file)
        return None
    try:
        async with asyncio.timeout(HELPER_SECONDS):
            return await asyncio.to_thread(_ask_node, registry_of(reference), config)
    except TimeoutError:
        log.warning("a credential helper does not answer", extra={"config": str(config), "seconds": HELPER_SECONDS})
        return None


def _ask_node(registry: str, config: Path) -> Login | None:
    from docker.auth import load_config
    from docker.errors import DockerException

    try:
        with warnings.catch_warnings():
            # That a helper is missing is told by the error that follows.
            warnings.simplefilter("ignore", UserWarning)
            found = load_config(str(config)).resolve_authconfig(registry)
    except (DockerException, ValueError) as error:
        log.warning("the node's logins cannot be read", extra={"config": str(config), "error": str(error)})
        return None
    known = {name.lower(): str(value) for name, value in (found or {}).items() if value}
    return {name: known[name] for name in ("username", "password", "identitytoken") if name in known} or None
