"""Programs that know logins to registries, as clouds bring them: each is asked for the images that are its own, and its answers are kept as
long as it says. Kubernetes' exec protocol, credentialprovider.kubelet.k8s.io."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import orjson

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import StatusError
from knarr.objects.images import registry_of
from knarr.service.answers import Answers
from knarr.service.tasks import SharedTasks
from services.kubelet.credential_config import BY_TOKEN, Provider, TokenAttributes, cache_seconds
from services.kubelet.image_match import matches, repository_of
from services.kubelet.node.keyring import Credential, Entry, Login, Owner, chosen

log = logging.getLogger(__name__)

# A program may ask a cloud; what it says is small.
ASK_SECONDS, MOST_BYTES = 60.0, 1024 * 1024
REMEMBERED = 1024
RESPONSE = "CredentialProviderResponse"
# For which images an answer holds.
IMAGE, REGISTRY, GLOBAL = "Image", "Registry", "Global"

# By patterns of registries.
Logins = Mapping[str, Login]


class ProviderFailure(Exception):
    """A program did not answer, or not as it should; in words."""


class Accounts(Protocol):
    """The ServiceAccounts of this node's pods. Both raise StatusError."""

    async def account(self, pod: core.Pod) -> core.ServiceAccount: ...

    async def token(self, pod: core.Pod, audience: str) -> str:
        """One that is bound to the pod."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """What a program is told of a pod's ServiceAccount; without an owner: nothing."""

    owner: Owner | None = None
    token: str = ""
    annotations: tuple[tuple[str, str], ...] = ()

    def key(self, attributes: TokenAttributes | None) -> Told | None:
        """For whom an answer holds: whoever has the token, or all pods of the account; None: everybody."""
        if self.owner is None or attributes is None:
            return None
        return self if attributes.cache_type == BY_TOKEN else replace(self, token="")


# Provider, kind of key, image or registry, and for whom.
Key = tuple[str, str, str, Told | None]


class CredentialProviders:
    """Asks each program at most once at the same time about an image. ``folder`` is where the programs lie."""

    def __init__(self, providers: tuple[Provider, ...], folder: Path, accounts: Accounts | None = None) -> None:
        """Without ``accounts`` programs that want tokens are asked of pods that have none alone."""
        self._providers, self._folder, self._accounts = providers, folder, accounts
        self._known: Answers[Key, Logins] = Answers(REMEMBERED)
        self._asking: SharedTasks[tuple[str, str, Told], Logins] = SharedTasks()

    async def credentials(self, reference: str, pod: core.Pod) -> list[Credential]:
        """Of all that have some for the image; one that fails is told of in the log, and passed over."""
        entries: list[Entry] = []
        for provider in self._providers:
            try:
                entries += await self._of(provider, reference, pod)
            except (ProviderFailure, StatusError) as error:
                log.warning("a credential provider failed", extra={"provider": provider.name, "image": reference, "error": str(error)})
        return chosen(entries, reference)

    async def close(self) -> None:
        await self._asking.close()

    async def _of(self, provider: Provider, reference: str, pod: core.Pod) -> list[Entry]:
        """Raises ProviderFailure and StatusError."""
        repository = repository_of(reference)
        if not any(matches(pattern, repository) for pattern in provider.match_images):
            return []
        told = await self._told(provider.tokens, pod)
        if told is None:
            return []
        logins = self._remembered(provider, reference, told)
        if logins is None:
            key = provider.name, repository, told
            logins = await self._asking.result(key, lambda: self._run(provider, reference, told), f"provider/{provider.name}")
        return [(pattern, Credential(login, account=told.owner)) for pattern, login in logins.items()]

    async def _told(self, wanted: TokenAttributes | None, pod: core.Pod) -> Told | None:
        """None where it is not asked for such a pod. Raises StatusError."""
        if wanted is None:
            return Told()
        if not pod.spec.service_account_name or self._accounts is None:
            return None if wanted.requires_account else Told()
        account = await self._accounts.account(pod)
        annotations = account.metadata.annotations
        if any(key not in annotations for key in wanted.required_annotations):
            return None
        shown = [(key, annotations[key]) for key in (*wanted.required_annotations, *wanted.optional_annotations) if key in annotations]
        owner = Owner(account.metadata.uid, account.metadata.namespace, account.metadata.name)
        return Told(owner, await self._accounts.token(pod, wanted.audience), tuple(shown))

    def _remembered(self, provider: Provider, reference: str, told: Told) -> Logins | None:
        whom = told.key(provider.tokens)
        keys = ((IMAGE, repository_of(reference)), (REGISTRY, registry_of(reference)), (GLOBAL, ""))
        return next((found for kind, what in keys if (found := self._known.get((provider.name, kind, what, whom))) is not None), None)

    async def _run(self, provider: Provider, reference: str, told: Told) -> Logins:
        repository = repository_of(reference)
        said = await _executed(self._folder / provider.name, provider, _request(provider, repository, told))
        logins, kind, seconds = parsed(said, provider)
        whom = told.key(provider.tokens)
        if whom is not None and not whom.token and any(login["password"] == told.token for login in logins.values()):
            raise ProviderFailure(f"it answers with the token of one pod: its cacheType must be {BY_TOKEN}")
        if seconds > 0:
            what = {IMAGE: repository, REGISTRY: registry_of(reference), GLOBAL: ""}[kind]
            self._known.learn((provider.name, kind, what, whom), logins, seconds)
        return logins


def _request(provider: Provider, repository: str, told: Told) -> bytes:
    request: dict[str, Any] = {"kind": "CredentialProviderRequest", "apiVersion": provider.api_version, "image": repository}
    if told.token:
        request["serviceAccountToken"] = told.token
    if told.annotations:
        request["serviceAccountAnnotations"] = dict(told.annotations)
    return orjson.dumps(request)


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
