"""Who may use the images of a node: whoever may fetch them, also where nothing is left to fetch.

What was fetched, and by whose login, is remembered here and on disk. An intent is on disk before the engine is asked, and goes only once a
record is there, or the registry has refused: whatever a kubelet was cut off in, an image that it fetched for one pod is not taken for one
that was on the node already. Where something cannot be read or written, a pod is made to show its login once more, never let in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from knarr.client.clock import Clock
from knarr.objects.images import full_name
from services.kubelet.image_match import repository_of
from services.kubelet.image_verification import ImageVerification
from services.kubelet.node.files import NodeFiles
from services.kubelet.node.keyring import Credential
from services.kubelet.node.pull_files import Kept, PullFiles
from services.kubelet.node.pull_records import PullRecord, file_name
from services.kubelet.runtime.port import LocalImage, RuntimeFailure, RuntimeUnavailable

log = logging.getLogger(__name__)

# Lists what is on the node.
Images = Callable[[], Awaitable[Iterable[LocalImage]]]


class NotKept(Exception):
    """An intent could not be written, so that nothing may be pulled."""


class PodLogins(Protocol):
    """What a pod has to show for an image."""

    @property
    def of_secrets(self) -> Sequence[Credential]: ...

    async def of_accounts(self) -> Sequence[Credential]:
        """By its ServiceAccount, of programs that are asked."""
        ...


class PullLedger:
    """Of one node."""

    def __init__(self, files: PullFiles, node_files: NodeFiles, rules: ImageVerification, clock: Clock) -> None:
        self._files, self._node_files, self._rules, self._clock = files, node_files, rules, clock
        self._kept = Kept()
        # Pulls under way, by full name.
        self._pulling: Counter[str] = Counter()
        # Whether what is on disk could not be read: then every image may be one that was fetched.
        self._blind = False
        # Those of whom nobody knows how they ended, or of whom no record could be written: their intents stay.
        self._open: set[str] = set()
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """What the kubelet before this one remembered, beside what this one knows by then. Where that cannot be read it is tried again with
        the next image."""
        try:
            async with self._writing:
                found = await self._node_files.call(self._files.read)
            known = self._kept
            found.broken -= {file_name(image_id) for image_id in known.records}
            self._kept = Kept({**found.records, **known.records}, found.intents | known.intents, found.broken)
            self._blind = False
        except OSError as error:
            self._blind = True
            log.warning("which images were fetched cannot be read: pods must show logins for all", extra={"error": str(error)})

    async def settle(self, images: Images) -> None:
        """Makes records of the intents that a kubelet left whose pull came true. Raises what ``images`` raises."""
        if left := self._left():
            await self._settle(left, await images())

    async def must_pull(self, reference: str, image_id: str, logins: PodLogins) -> bool:
        """Whether the registry must be asked if a pod may have an image that is here."""
        if self._blind:
            await self.load()
        record = self._kept.records.get(image_id)
        if not self._rules.asks(repository_of(reference), self._was_fetched(reference, image_id)):
            return False
        grant = record.grant(reference) if record is not None else None
        if grant is None or grant.everybody:
            return grant is None
        shown = grant.known(logins.of_secrets) if grant.secrets else None
        if shown is None and grant.accounts:
            shown = grant.known(await logins.of_accounts())
        if shown is not None and not grant.full:
            # By another Secret, or with a login that is new, it may come once more.
            await self.note(reference, image_id, shown)
        return shown is None

    @asynccontextmanager
    async def pulling(self, reference: str) -> AsyncIterator[None]:
        """Around a pull, in which ``note`` is told of its success. Raises NotKept."""
        name = full_name(reference)
        self._pulling[name] += 1
        ended = False
        try:
            await self._intend(name, reference)
            yield
            ended = True
        except RuntimeUnavailable:
            # It may have come true.
            raise
        except (RuntimeFailure, NotKept):
            ended = True
            raise
        finally:
            self._pulling[name] -= 1
            if not ended:
                self._open.add(name)
            elif not self._pulling[name] and name not in self._open:
                await self._forget_intent(name)

    async def note(self, reference: str, image_id: str, credential: Credential | None) -> None:
        """An image was had by a login, None: without one."""
        now = self._clock.now()
        record = self._kept.records.get(image_id) or PullRecord(image_id, now)
        grant = record.grant(reference)
        after = grant.with_credential(credential)
        if after != grant and not await self._keep(record.with_grant(reference, after, now)):
            self._open.add(full_name(reference))

    async def prune(self, images: Images) -> None:
        """Forgets those that are no more. Raises what ``images`` raises."""
        left, since = self._left(), self._clock.now()
        present = list(await images())
        await self._settle(left, present)
        ids = {image.id for image in present}
        gone = [record for record in self._kept.records.values() if record.image_id not in ids and record.updated_at < since]
        for record in gone:
            del self._kept.records[record.image_id]
        here = {file_name(image_id) for image_id in ids}
        for name in [*(file_name(record.image_id) for record in gone), *(self._kept.broken - here)]:
            await self._try(self._files.remove_record, name)
        self._kept.broken &= here

    def _was_fetched(self, reference: str, image_id: str) -> bool:
        kept = self._kept
        if self._blind or full_name(reference) in kept.intents or file_name(image_id) in kept.broken:
            return True
        record = kept.records.get(image_id)
        return record is not None and record.covers(reference)

    def _left(self) -> set[str]:
        """Intents of pulls that are not under way."""
        return {name for name in self._kept.intents if not self._pulling[name]}

    async def _settle(self, left: set[str], images: Iterable[LocalImage]) -> None:
        for image in images:
            names = left.intersection(map(full_name, image.names))
            known = self._kept.records.get(image.id) or PullRecord(image.id, self._clock.now())
            if names and not await self._keep(known):
                left -= names
        for name in left:
            if not self._pulling[name]:
                self._open.discard(name)
                await self._forget_intent(name)

    async def _intend(self, name: str, reference: str) -> None:
        self._kept.intents.add(name)
        try:
            async with self._writing:
                await self._node_files.call(self._files.write_intent, name)
        except OSError as error:
            raise NotKept(f'Failed to record image pull intent for container image "{reference}": {error}') from error

    async def _forget_intent(self, name: str) -> None:
        self._kept.intents.discard(name)
        del self._pulling[name]
        await self._try(self._files.remove_intent, name)

    async def _keep(self, record: PullRecord) -> bool:
        """Whether the next kubelet will know it, too."""
        self._kept.records[record.image_id] = record
        self._kept.broken.discard(file_name(record.image_id))
        return await self._try(self._write_latest, record.image_id)

    def _write_latest(self, image_id: str) -> None:
        """What is known of it by now: a change that came meanwhile writes the same once more."""
        if (record := self._kept.records.get(image_id)) is not None:
            self._files.write_record(record)

    async def _try(self, work: Callable[..., None], *arguments: str) -> bool:
        """Whether it was done; what was not makes the next kubelet ask for logins once more."""
        try:
            async with self._writing:
                await self._node_files.call(work, *arguments)
        except OSError as error:
            log.warning("what is known of a pulled image cannot be kept", extra={"error": str(error)})
            return False
        return True
