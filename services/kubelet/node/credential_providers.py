"""Programs that know logins to registries, as clouds bring them: each is asked for the images that are its own, and its answers are kept as
long as it says. Kubernetes' exec protocol, credentialprovider.kubelet.k8s.io."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from knarr.objects.images import registry_of
from knarr.service.answers import Answers
from knarr.service.tasks import SharedTasks
from services.kubelet.credential_config import Provider, cache_seconds
from services.kubelet.image_match import matches, repository_of
from services.kubelet.node.registry_logins import Login

log = logging.getLogger(__name__)

# A program may ask a cloud; what it says is small.
ASK_SECONDS, MOST_BYTES = 60.0, 1024 * 1024
REMEMBERED = 1024
RESPONSE = "CredentialProviderResponse"
# For which images an answer holds.
IMAGE, REGISTRY, GLOBAL = "Image", "Registry", "Global"

# By patterns of registries.
Logins = Mapping[str, Login]
Key = tuple[str, str, str]


class ProviderFailure(Exception):
    """A program did not answer, or not as it should; in words."""


class CredentialProviders:
    """Asks each program at most once at the same time about an image. ``folder`` is where the programs lie."""

    def __init__(self, providers: tuple[Provider, ...], folder: Path) -> None:
        self._providers, self._folder = providers, folder
        # By provider, kind of key and image or registry.
        self._known: Answers[Key, Logins] = Answers(REMEMBERED)
        self._asking: SharedTasks[tuple[str, str], Logins] = SharedTasks()

    async def login(self, reference: str) -> Login | None:
        """Of the first provider that has one for the image; one that fails is told of in the log, and passed over."""
        repository = repository_of(reference)
        for provider in self._providers:
            if not any(matches(pattern, repository) for pattern in provider.match_images):
                continue
            try:
                logins = self._remembered(provider, reference, repository)
                if logins is None:
                    logins = await self._ask(provider, reference, repository)
            except ProviderFailure as error:
                log.warning("a credential provider failed", extra={"provider": provider.name, "image": reference, "error": str(error)})
                continue
            if (found := best(logins, repository)) is not None:
                return found
        return None

    async def close(self) -> None:
        await self._asking.close()

    def _remembered(self, provider: Provider, reference: str, repository: str) -> Logins | None:
        keys = ((IMAGE, repository), (REGISTRY, registry_of(reference)), (GLOBAL, ""))
        return next((found for kind, what in keys if (found := self._known.get((provider.name, kind, what))) is not None), None)

    async def _ask(self, provider: Provider, reference: str, repository: str) -> Logins:
        key = provider.name, repository
        return await self._asking.result(key, lambda: self._run(provider, reference, repository), f"provider/{provider.name}")

    async def _run(self, provider: Provider, reference: str, repository: str) -> Logins:
        request = {"kind": "CredentialProviderRequest", "apiVersion": provider.api_version, "image": repository}
        said = await _executed(self._folder / provider.name, provider, orjson.dumps(request))
        logins, kind, seconds = parsed(said, provider)
        if seconds > 0:
            what = {IMAGE: repository, REGISTRY: registry_of(reference), GLOBAL: ""}[kind]
            self._known.learn((provider.name, kind, what), logins, seconds)
        return logins


def best(logins: Logins, repository: str) -> Login | None:
    """Of several patterns the most precise one, as in Kubernetes: the last in their order. Pure."""
    for pattern in sorted(logins, reverse=True):
        with suppress(ValueError):
            if matches(pattern, repository):
                return logins[pattern]
    return None


def parsed(said: bytes, provider: Provider) -> tuple[Logins, str, float]:
    """Logins, for which images, and for how many seconds. Raises ProviderFailure. Pure."""
    try:
        answer: Any = orjson.loads(said)
    except ValueError as error:
        raise ProviderFailure(f"its answer is no JSON: {error}") from None
    if not isinstance(answer, dict) or (answer.get("kind"), answer.get("apiVersion")) != (RESPONSE, provider.api_version):
        raise ProviderFailure(f"its answer is no {RESPONSE} of {provider.api_version}")
    kind = answer.get("cacheKeyType")
    if kind not in (IMAGE, REGISTRY, GLOBAL):
        raise ProviderFailure(f"cacheKeyType: {kind!r} is none of {IMAGE}, {REGISTRY}, {GLOBAL}")
    try:
        seconds = cache_seconds(answer.get("cacheDuration"), "cacheDuration")
    except ValueError as error:
        raise ProviderFailure(str(error)) from None
    return _logins(answer.get("auth")), kind, provider.cache_seconds if seconds is None else seconds


def _logins(found: Any) -> Logins:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ProviderFailure("auth: must be a mapping")
    result: dict[str, Login] = {}
    for pattern, entry in found.items():
        if not isinstance(entry, dict) or not all(isinstance(entry.get(name, ""), str) for name in ("username", "password")):
            raise ProviderFailure(f"auth[{pattern}]: must have username and password")
        result[pattern] = {"username": entry.get("username", ""), "password": entry.get("password", "")}
    return result


async def _executed(program: Path, provider: Provider, request: bytes) -> bytes:
    """What the program says to a request. Raises ProviderFailure."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *provider.args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **dict(provider.env)},
            start_new_session=True,
        )
    except OSError as error:
        raise ProviderFailure(f"{program} cannot be run: {(error.strerror or str(error)).lower()}") from None
    try:
        async with asyncio.timeout(ASK_SECONDS):
            said, complained = await _conversed(process, request)
            code = await process.wait()
    except TimeoutError:
        raise ProviderFailure(f"it did not answer within {ASK_SECONDS:g} seconds") from None
    finally:
        # With whatever it has started, which may hold its pipes open.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # Nobody reads its pipes any more, and until they are closed it is waited for in vain.
        process._transport.close()  # type: ignore[attr-defined]
        await process.wait()
    if code:
        raise ProviderFailure(f"it ended with exit code {code}: {complained.decode(errors='replace').strip()[:1000]}")
    return said


async def _conversed(process: asyncio.subprocess.Process, request: bytes) -> tuple[bytes, bytes]:
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    # One that does not read its input may know without.
    with suppress(OSError):
        process.stdin.write(request)
        await process.stdin.drain()
    process.stdin.close()
    said, complained = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
    return said, complained


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    """All of it. Raises ProviderFailure where it is too much."""
    found = bytearray()
    while piece := await stream.read(65_536):
        found += piece
        if len(found) > MOST_BYTES:
            raise ProviderFailure(f"it says more than {MOST_BYTES} bytes")
    return bytes(found)
