"""Images on the node: whether one must be fetched, and fetching each only once at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass

from knarr.objects.images import valid_image, with_tag
from knarr.service.tasks import SharedTasks
from services.kubelet.node.keyring import Credential
from services.kubelet.node.pull_ledger import NotKept, PodLogins, PullLedger
from services.kubelet.runtime.port import Image, NoSuchImage, Runtime, RuntimeFailure, RuntimeUnavailable

NEVER, ALWAYS, IF_NOT_PRESENT = "Never", "Always", "IfNotPresent"
INSPECT_ERROR = "ImageInspectError"


class ImageFailure(Exception):
    """Why there is no image: the waiting reason and its message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image that was fetched, in how many seconds without waiting for others."""

    image: Image
    seconds: float


class Images:
    """Shared by all pods of a node: a second pull of one reference by the same login waits for the first, and no more than ``at_once`` go
    on at the same time; 0: as many as are asked for."""

    def __init__(self, runtime: Runtime, ledger: PullLedger, pulled: Callable[[str], None] = lambda _: None, at_once: int = 0) -> None:
        """``pulled`` is told each reference that was fetched."""
        self._runtime, self._ledger, self._pulled = runtime, ledger, pulled
        self._pulls: SharedTasks[tuple[str, str], Pulled] = SharedTasks()
        self._turns = asyncio.Semaphore(at_once) if at_once else contextlib.nullcontext()

    async def usable(self, reference: str, policy: str, logins: PodLogins) -> Image | None:
        """The image where it is here and a pod that has these logins may have it, else None: it must be pulled. Raises ImageFailure."""
        found = await self._present(reference, policy)
        if found is None or not await self._ledger.must_pull(reference, found.id, logins):
            return found
        if policy == NEVER:
            # In the words of one that is not here: whether it is, is nobody's who may not have it.
            raise _never_present(reference)
        return None

    async def _present(self, reference: str, policy: str) -> Image | None:
        if not valid_image(reference):
            raise ImageFailure("InvalidImageName", f'Failed to apply default image tag "{reference}": couldn\'t parse image name')
        if policy == ALWAYS:
            return None
        try:
            return await self._runtime.image(with_tag(reference))
        except NoSuchImage:
            if policy == NEVER:
                raise _never_present(reference) from None
            return None
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            raise ImageFailure(INSPECT_ERROR, f'Failed to inspect image "{reference}": {error}') from error

    async def pull(self, reference: str, credentials: AsyncIterable[Credential]) -> Pulled:
        """Fetches it by the first login that the registry takes, or without one where there is none. Raises RuntimeFailure in the engine's
        words, all of them."""
        name, refused = with_tag(reference), dict[str, str]()
        async for credential in credentials:
            if credential.hash in refused:
                continue
            try:
                return await self._pull_by(name, credential)
            except RuntimeUnavailable:
                raise
            except RuntimeFailure as error:
                refused[credential.hash] = str(error)
        if not refused:
            return await self._pull_by(name, None)
        raise RuntimeFailure(_together(refused.values()))

    async def _pull_by(self, name: str, credential: Credential | None) -> Pulled:
        key = name, credential.hash if credential is not None else ""
        found = await self._pulls.result(key, lambda: self._pull(name, credential), f"kubelet/pull/{name}")
        # Of another pod, which has the same login of a Secret of its own.
        await self._ledger.note(name, found.image.id, credential)
        return found

    async def _pull(self, name: str, credential: Credential | None) -> Pulled:
        async with self._turns:
            started = asyncio.get_running_loop().time()
            try:
                async with self._ledger.pulling(name):
                    image = await self._runtime.pull(name, credential.login if credential is not None else None)
                    seconds = asyncio.get_running_loop().time() - started
                    await self._ledger.note(name, image.id, credential)
            except NotKept as error:
                raise RuntimeFailure(str(error)) from error
            self._pulled(name)
            return Pulled(image, seconds)

    async def close(self) -> None:
        await self._pulls.close()


def _never_present(reference: str) -> ImageFailure:
    return ImageFailure("ErrImageNeverPull", f'Container image "{reference}" is not present with pull policy of Never')


def _together(words: Iterable[str]) -> str:
    """Each once, as Kubernetes tells several errors."""
    distinct = list(dict.fromkeys(words))
    return distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]"
