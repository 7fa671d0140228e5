"""Keeps in step with the APIServices: who is asked for which group version, whether that can be done, and what is served there.

Every API server does so for itself, from its own cache, and writes the condition that it finds; they come to the same. A request is passed
on as long as the stored condition says that it can be, as in Kubernetes.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager, suppress
from datetime import datetime
from typing import Any

from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.backoff import Backoff
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Conflict, NotFound, StatusError, status_error
from knarr.machinery.resources import Resource, Version
from knarr.objects.conditions import set_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.service.authentication import User
from knarr.service.tasks import cancel
from services.apiserver.aggregation.availability import WELL, Verdict, failed, of_service
from services.apiserver.aggregation.documents import learn_openapi
from services.apiserver.aggregation.extension import Extension
from services.apiserver.aggregation.fetch import FETCH_SECONDS, Fetched, NotFetched, Stream, fetch, open_stream
from services.apiserver.aggregation.front_proxy import FrontProxy, caller_headers
from services.apiserver.aggregation.resources import Lie, aggregated
from services.apiserver.api import Api
from services.apiserver.aside import aside
from services.apiserver.bootstrap import USER
from services.apiserver.elsewhere import FOLLOW_SECONDS, Lines, refusal_of
from services.apiserver.entry import Entry
from services.apiserver.exchange.line import Trust
from services.apiserver.request import UPDATE, Request
from services.apiserver.results import Ref
from services.apiserver.strategies.apiservice import AVAILABLE
from services.apiserver.ways import Connect, Ways

log = logging.getLogger(__name__)

API_SERVICE = version_of(apiregistration.APIService)
SERVICES, ENDPOINTS = version_of(core.Service).resource, version_of(core.Endpoints).resource
# As whom this server asks for what it wants to know itself.
ASKER = User("system:kube-aggregator", groups=("system:masters",))
# Discovery of a group version; one of hundreds of resources has some 200 KB.
DISCOVERY_BYTES = 1024 * 1024
# A page of objects, for who asks by gRPC.
LIST_BYTES = 16 * 1024 * 1024
# One event of a watch: etcd takes no object of more than 1.5 MB.
LINE_BYTES = 4 * 1024 * 1024
# A server that is well is asked again after so long, one that is not after less, at once when its Service or its endpoints change.
LOOK_SECONDS = 30.0
RETRY = Backoff(first_seconds=1.0, limit_seconds=LOOK_SECONDS)
# Services and endpoints of others change too: it is not looked more often than that.
PAUSE_SECONDS = 0.1
# Group versions that are looked after; each costs a task, and up to some megabytes of documents. The others are not passed on.
MAX_EXTENSIONS = 100


class Aggregation:
    """``load`` when the cache is loaded; ``run`` once, until cancelled. Without a ``front_proxy`` callers are not told to other servers."""

    def __init__(self, api: Api, ways: Ways, clock: Callable[[], datetime], front_proxy: FrontProxy | None = None) -> None:
        self._api, self._ways, self._clock, self.front_proxy = api, ways, clock, front_proxy
        self._cache = api.pipeline.backend.cache
        self._elsewhere = api.pipeline.elsewhere
        self._elsewhere.ask, self._elsewhere.follow, self._elsewhere.version_of = self._ask, self._follow, self._version_of
        # By the name of the APIService.
        self._known: dict[str, Extension] = {}
        self._looking: dict[str, tuple[Extension, asyncio.Task[None]]] = {}
        self._extensions: dict[tuple[str, str], Extension] = {}
        self._listeners: list[Callable[[], None]] = []

    @property
    def extensions(self) -> Iterable[Extension]:
        return self._extensions.values()

    def at(self, path: str) -> Extension | None:
        """Whose a path is; None for this server's own."""
        if not self._extensions or not path.startswith("/apis/"):
            return None
        parts = path.split("/", 4)
        return self._extensions.get((parts[2], parts[3])) if len(parts) > 3 else None

    def way_to(self, extension: Extension) -> Connect:
        """A ready endpoint of its Service. Raises NotFound, ServiceUnavailable, BadRequest."""
        service = extension.spec.service
        return self._ways.to_service(service.namespace, service.name, service.port)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Calls ``listener`` whenever clients are to be told something else."""
        self._listeners.append(listener)

    def load(self) -> None:
        """Takes over at once what the cache knows. Synchronous: nobody is answered before."""
        found: dict[str, Extension] = {}
        news = False
        for entry in self._entries():
            service: apiregistration.APIService = entry.shared_message
            spec = service.spec
            if not spec.HasField("service") or not spec.group or is_deleting(service) or len(found) == MAX_EXTENSIONS:
                continue
            known = self._known.get(entry.name)
            if known is None or known.spec != spec:
                known, news = Extension(entry.name, copy_of(spec), self.front_proxy), True
            news |= known.follow(service.status)
            found[entry.name] = known
        if news or found.keys() != self._known.keys():
            self._known = found
            self._extensions = {(extension.group, extension.version): extension for extension in found.values()}
            self._tell()

    def _entries(self) -> Iterable[Entry]:
        if API_SERVICE.resource not in self._cache.registry:
            return ()
        return self._cache.collection(API_SERVICE.resource).listing(API_SERVICE.resource.key_prefix)

    def _tell(self) -> None:
        self._elsewhere.serve(resource for extension in self._known.values() for resource in extension.served())
        for listener in self._listeners:
            listener()

    async def run(self) -> None:
        if API_SERVICE.resource not in self._cache.registry:
            return
        collection = self._cache.collection(API_SERVICE.resource)
        try:
            while True:
                seen = collection.history.end
                self.load()
                self._look_after()
                if collection.history.end == seen:
                    await collection.changed(LOOK_SECONDS)
        finally:
            await cancel([task for _, task in self._looking.values()])

    def _look_after(self) -> None:
        """One task for each that is known, a new one for a new spec."""
        for name, (extension, task) in list(self._looking.items()):
            if self._known.get(name) is not extension:
                task.cancel()
                del self._looking[name]
        for name, extension in self._known.items():
            if name not in self._looking:
                self._looking[name] = (extension, asyncio.create_task(self._look(extension), name=f"apiserver/aggregation {name}"))

    async def _look(self, extension: Extension) -> None:
        """Looks whether it is well, again and again."""
        failures = 0
        while True:
            marks = self._marks(extension)
            try:
                verdict = await self._judged(extension)
                await self._say(extension.name, verdict)
            except StatusError as error:
                log.warning("an APIService cannot be kept up, trying again: %s", error.status.message, extra={"apiservice": extension.name})
                verdict = failed(extension.path, error.status.message)
            except Exception:
                log.exception("an APIService cannot be judged", extra={"apiservice": extension.name})
                verdict = failed(extension.path, "see the log of the API server")
            failures = 0 if verdict is WELL else failures + 1
            await self._changed(extension, marks, LOOK_SECONDS if verdict is WELL else RETRY.delay(failures))

    def _marks(self, extension: Extension) -> tuple[int, int]:
        """What tells that its Service or its endpoints are others than before."""
        service = extension.spec.service
        entries = (self._cache.get(resource, service.namespace, service.name) for resource in (SERVICES, ENDPOINTS))
        first, second = (entry.revision if entry is not None else 0 for entry in entries)
        return first, second

    async def _changed(self, extension: Extension, marks: tuple[int, int], seconds: float) -> None:
        """Until its Service or its endpoints are others, and for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._marks(extension) == marks:
                    changes = [
                        asyncio.create_task(self._cache.collection(resource).changed(seconds), name="apiserver/aggregation change")
                        for resource in (SERVICES, ENDPOINTS)
                    ]
                    try:
                        await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        await cancel(changes)
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _judged(self, extension: Extension) -> Verdict:
        service = extension.spec.service
        found = of_service(
            extension.spec, self._find(SERVICES, service.namespace, service.name), self._find(ENDPOINTS, service.namespace, service.name)
        )
        if found is None:
            found = await self._asked(extension)
        if found is not WELL and extension.fresh:
            extension.fresh = False
            self._tell()
        return found

    def _find(self, resource: Resource, namespace: str, name: str) -> Any | None:
        entry = self._cache.get(resource, namespace, name)
        return entry.shared_message if entry is not None else None

    async def _asked(self, extension: Extension) -> Verdict:
        """Asks it for what it serves."""
        if self.front_proxy is not None:
            self.front_proxy.changed()
        url = f"https://{extension.host}{extension.path}"
        try:
            answer = await self._fetch(extension, extension.path, DISCOVERY_BYTES)
        except (StatusError, NotFetched, OSError) as error:
            return failed(url, error.status.message if isinstance(error, StatusError) else str(error))
        if not 200 <= answer.status < 300:
            return failed(url, f"bad status from {url}: {answer.status}")
        try:
            resources = await aside(len(answer.body), aggregated, answer.body, extension.group, extension.version)
        except Lie as error:
            log.warning("an extension API server does not say what it serves: %s", error, extra={"apiservice": extension.name})
            return WELL
        if (extension.resources, extension.fresh) != (resources, True):
            extension.resources, extension.fresh = resources, True
            self._tell()
        if await learn_openapi(extension, lambda path, limit: self._fetch(extension, path, limit)):
            self._tell()
        return WELL

    async def _fetch(
        self, extension: Extension, path: str, limit_bytes: int, *, method: str = "GET", body: bytes = b"", user: User = ASKER
    ) -> Fetched:
        """Raises NotFetched, StatusError, OSError."""
        trust = await _trust(extension)
        connect = self.way_to(extension)
        return await fetch(connect, trust, extension.host, path, caller_headers(user), limit_bytes, method=method, body=body)

    async def _ask(self, version: Version, method: str, path: str, body: bytes, user: User) -> bytes:
        """As ``Ask``."""
        extension = self._available(version)
        with _unreached():
            answer = await self._fetch(extension, path, LIST_BYTES, method=method, body=body, user=user)
        if 200 <= answer.status < 300:
            return answer.body
        raise refusal_of(answer.body, answer.status)

    async def _follow(self, version: Version, path: str, user: User) -> Lines:
        """As ``Follow``."""
        extension = self._available(version)
        with _unreached():
            trust, connect = await _trust(extension), self.way_to(extension)
            return Followed(
                await open_stream(connect, trust, extension.host, path, caller_headers(user), LINE_BYTES, FOLLOW_SECONDS + FETCH_SECONDS)
            )

    def _version_of(self, group: str) -> str | None:
        """The preferred one of those that can be asked for."""
        found = [extension for extension in self._extensions.values() if extension.group == group and extension.available]
        return max(found, key=lambda extension: (extension.priority.version, extension.version)).version if found else None

    def _available(self, version: Version) -> Extension:
        """Whom to ask for a version. Raises ServiceUnavailable."""
        extension = self._extensions.get((version.group, version.version))
        if extension is None or not extension.available:
            raise status_error("ServiceUnavailable", f"the server of {version.qualified} {version.version} is not available")
        return extension

    async def _say(self, name: str, verdict: Verdict) -> None:
        """Writes the condition where it is another than what is stored."""
        entry = self._cache.get(API_SERVICE.resource, "", name)
        if entry is None:
            return
        changed = copy_of(entry.shared_message)
        status, reason, message = verdict
        if not set_condition(changed.status, AVAILABLE, status, reason=reason, message=message, now=self._clock()):
            return
        # Who writes at the same time is heard of by the cache, and it is looked again.
        with suppress(Conflict, NotFound):
            await self._api.update(Request(USER, UPDATE, Ref(API_SERVICE, "", name, "status"), meta.UpdateOptions()), changed)


class Followed:
    """A stream whose reader is told what breaks it as of other requests."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def lines(self) -> AsyncGenerator[bytes, None]:
        with _unreached():
            async with aclosing(self._stream.lines()) as lines:
                async for line in lines:
                    yield line

    async def close(self) -> None:
        await self._stream.close()


@contextmanager
def _unreached() -> Iterator[None]:
    """Raises ServiceUnavailable where there is no answer."""
    try:
        yield
    except (NotFetched, OSError) as error:
        raise status_error("ServiceUnavailable", f"error trying to reach service: {error}") from error


async def _trust(extension: Extension) -> Trust:
    """Raises NotFetched, OSError."""
    try:
        return await extension.trust()
    except ssl.SSLError as error:
        raise NotFetched(f"spec.caBundle holds no certificates that can be read: {error}") from error
