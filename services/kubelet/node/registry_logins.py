"""Who the node itself is to registries: its own `config.json`, as `docker login` writes it.

It may name helpers. The docker SDK knows how they are asked; it takes 70 ms and 15 MB, so it is loaded where there is such a file, and not
in the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from pathlib import Path

import orjson

from knarr.objects.images import registry_of
from services.kubelet.node.keyring import Credential, Login, chosen, config_entries

log = logging.getLogger(__name__)

# A helper may ask a cloud, or a keyring that is locked.
HELPER_SECONDS = 30.0


def node_config() -> Path:
    """Where `docker login` of the user that this process runs as leaves what it was told."""
    folder = os.environ.get("DOCKER_CONFIG")
    if not folder and "HOME" not in os.environ:
        # As a unit of systemd's.
        folder = "/root/.docker"
    return Path(folder or Path.home() / ".docker") / "config.json"


async def from_node(reference: str, config: Path) -> list[Credential]:
    """What a `config.json`, and the helpers it names, know of the image; none, and a line in the log, when they fail."""
    if not config.exists():  # noqa: ASYNC240 (one look at a local file)
        return []
    try:
        async with asyncio.timeout(HELPER_SECONDS):
            return await asyncio.to_thread(_ask_node, reference, config)
    except TimeoutError:
        log.warning("a credential helper does not answer", extra={"config": str(config), "seconds": HELPER_SECONDS})
        return []


def _ask_node(reference: str, config: Path) -> list[Credential]:
    try:
        found = orjson.loads(config.read_bytes())
    except (OSError, ValueError) as error:
        log.warning("the node's logins cannot be read", extra={"config": str(config), "error": str(error)})
        return []
    known = found if isinstance(found, dict) else {}
    written = chosen(config_entries(known.get("auths")), reference)
    if not (known.get("credHelpers") or known.get("credsStore")):
        return written
    helped = _ask_helpers(registry_of(reference), config)
    return [*([Credential(helped)] if helped else []), *(one for one in written if one.login != helped)]


def _ask_helpers(registry: str, config: Path) -> Login | None:
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
