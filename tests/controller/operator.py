"""An operator that speaks to the API server as those of the Go world do, for tests.

It elects itself by a Lease, knows objects by lists that are streamed as watches (of what it owns the metadata alone), applies what it
wants on the server under a name of its own, reports into ``status`` the same way, posts Events of events.k8s.io, holds its objects by a
finalizer and leaves what it owns to the garbage collector.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

GROUP = "apps.example.com"
FINALIZER = f"{GROUP}/release"
MANAGER = "application-controller"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
Object = dict[str, Any]


class Refused(Exception):
    """A Status that is no success."""

    def __init__(self, status: Object) -> None:
        super().__init__(status["message"])
        self.code, self.reason, self.message = status["code"], status["reason"], status["message"]


class Connection:
    """Requests to one server as one user."""

    def __init__(self, url: str, ca: str, token: str) -> None:
        self._session = aiohttp.ClientSession(
            url,
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca)),
            headers={"Authorization": f"Bearer {token}", "User-Agent": "application-controller/v1 (linux/amd64) kubernetes/$Format"},
            timeout=aiohttp.ClientTimeout(total=30),
        )

    async def close(self) -> None:
        await self._session.close()

    async def __call__(self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str) -> Object:
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        data = json.dumps(body) if body is not None else None
        async with self._session.request(method, path, params=query, data=data, headers=headers) as answer:
            found: Object = await answer.json()
        if answer.status >= 300:
            raise Refused(found)
        return found

    @asynccontextmanager
    async def watching(self, path: str, accept: str, query: dict[str, str]) -> AsyncIterator[AsyncIterator[Object]]:
        async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[Object]:
            async for line in answer.content:
                yield json.loads(line)

        async with self._session.get(path, params={"watch": "true", **query}, headers={"Accept": accept}) as answer:
            if answer.status != 200:
                raise Refused(await answer.json())
            yield events(answer)


@dataclass
class Informer:
    """A local copy of a collection, filled by a streamed list and kept by going on from where the last watch ended."""

    connection: Connection
    path: str
    on_change: Callable[[Object], None]
    accept: str = "application/json"
    # How long the server keeps one watch: the next one goes on from its last revision.
    watch_seconds: int = 300
    objects: dict[str, Object] = field(default_factory=dict)
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    watches: int = 0
    _revision: str = ""

    async def run(self) -> None:
        while True:
            self.watches += 1
            query = {"allowWatchBookmarks": "true", "timeoutSeconds": str(self.watch_seconds)}
            if self._revision:
                query["resourceVersion"] = self._revision
            else:
                query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            async with self.connection.watching(self.path, self.accept, query) as events:
                async for event in events:
                    self._take(event)

    def _take(self, event: Object) -> None:
        obj = event["object"]
        if event["type"] == "ERROR":
            raise Refused(obj)
        self._revision = obj["metadata"]["resourceVersion"]
        if event["type"] == "BOOKMARK":
            if obj["metadata"].get("annotations", {}).get(INITIAL_EVENTS_END) == "true":
                self.synced.set()
            return
        key = obj["metadata"]["name"]
        if event["type"] == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj
        self.on_change(obj)


class Operator:
    """Keeps a Deployment for each Application of one namespace while it leads."""

    def __init__(self, connection: Connection, namespace: str, identity: str, watch_seconds: int = 300) -> None:
        self._ask = connection
        self._namespace, self._identity = namespace, identity
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self.leads = asyncio.Event()
        self.reconciled = 0
        self.applications = Informer(connection, self._path(GROUP, "applications"), self._changed, watch_seconds=watch_seconds)
        self.deployments = Informer(connection, self._path("apps", "deployments"), self._owned_changed, METADATA_ONLY, watch_seconds)

    def _path(self, group: str, plural: str, name: str = "", part: str = "") -> str:
        return "/".join(filter(None, ("/apis", group, "v1", "namespaces", self._namespace, plural, name, part)))

    def _changed(self, application: Object) -> None:
        self._queue.put_nowait(application["metadata"]["name"])

    def _owned_changed(self, deployment: Object) -> None:
        for owner in deployment["metadata"].get("ownerReferences", ()):
            if owner["kind"] == "Application" and owner.get("controller"):
                self._queue.put_nowait(owner["name"])

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            await self._elect()
            group.create_task(self.applications.run())
            group.create_task(self.deployments.run())
            await self.applications.synced.wait()
            await self.deployments.synced.wait()
            while True:
                await self._retried(await self._queue.get())

    async def _elect(self) -> None:
        """Takes the Lease or waits until its holder has given it up."""
        path = self._path("coordination.k8s.io", "leases", "application-controller")
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = {"holderIdentity": self._identity, "leaseDurationSeconds": 15, "acquireTime": now, "renewTime": now}
        while True:
            try:
                found = await self._ask("GET", path)
            except Refused as refused:
                assert refused.reason == "NotFound"
                lease = {"metadata": {"name": "application-controller"}, "spec": {**spec, "leaseTransitions": 0}}
                if await self._kept(self._ask("POST", path.rpartition("/")[0], lease)):
                    break
                continue
            if not found["spec"].get("holderIdentity"):
                found["spec"] |= {**spec, "leaseTransitions": found["spec"].get("leaseTransitions", 0) + 1}
                if await self._kept(self._ask("PUT", path, found)):
                    break
            await asyncio.sleep(0.05)
        self.leads.set()

    async def release(self) -> None:
        path = self._path("coordination.k8s.io", "leases", "application-controller")
        await self._ask("PATCH", path, {"spec": {"holderIdentity": ""}}, MERGE)

    async def _kept(self, write: Awaitable[Object]) -> bool:
        """Whether a write got through; a rival's came first otherwise."""
        try:
            await write
        except Refused as refused:
            assert refused.reason in ("Conflict", "AlreadyExists"), refused
            return False
        return True

    async def _retried(self, name: str) -> None:
        try:
            await self._reconcile(name)
        except Refused as refused:
            # Somebody else was faster: what they wrote comes by the watch, or is read again.
            assert refused.reason in ("Conflict", "NotFound"), refused
            self._queue.put_nowait(name)

    async def _reconcile(self, name: str) -> None:
        application = self.applications.objects.get(name)
        if application is None:
            return
        path, metadata = self._path(GROUP, "applications", name), application["metadata"]
        held = FINALIZER in metadata.get("finalizers", ())
        if "deletionTimestamp" in metadata:
            if held:
                await self._hold(path, metadata, [one for one in metadata["finalizers"] if one != FINALIZER])
            return
        if not held:
            await self._hold(path, metadata, [*metadata.get("finalizers", ()), FINALIZER])
            return
        deployment = await self._apply(self._path("apps", "deployments", name), deployment_of(application))
        await self._report(application, deployment)
        self.reconciled += 1

    async def _hold(self, path: str, metadata: Object, finalizers: list[str]) -> None:
        """With the revision that was seen: nobody's finalizer is lost."""
        body = {"metadata": {"finalizers": finalizers, "resourceVersion": metadata["resourceVersion"]}}
        await self._ask("PATCH", path, body, MERGE, fieldManager=MANAGER)

    async def _apply(self, path: str, body: Object) -> Object:
        return await self._ask("PATCH", path, body, APPLY, fieldManager=MANAGER, force="true")

    async def _report(self, application: Object, deployment: Object) -> None:
        status, old = status_of(application, deployment), application.get("status", {})
        if status == old:
            return
        body = {"apiVersion": f"{GROUP}/v1", "kind": "Application", "metadata": {"name": application["metadata"]["name"]}, "status": status}
        await self._apply(self._path(GROUP, "applications", application["metadata"]["name"], "status"), body)
        if _ready(status) == "True" != _ready(old):
            await self._tell(application, "Available", f"{status['replicas']} pods are available")

    async def _tell(self, application: Object, reason: str, note: str) -> None:
        metadata = application["metadata"]
        regarding = {"apiVersion": f"{GROUP}/v1", "kind": "Application", **{key: metadata[key] for key in ("name", "namespace", "uid")}}
        event = {
            "metadata": {"name": f"{metadata['name']}.{time.time_ns():x}"},
            "eventTime": datetime.now(UTC).isoformat(timespec="microseconds"),
            "reportingController": MANAGER, "reportingInstance": self._identity, "action": "Reconcile", "type": "Normal",
            "reason": reason, "note": note, "regarding": regarding,
        }  # fmt: skip
        await self._ask("POST", self._path("events.k8s.io", "events"), event)


def deployment_of(application: Object) -> Object:
    """What is applied for an Application."""
    name, spec = application["metadata"]["name"], application["spec"]
    labels = {"app.kubernetes.io/instance": name}
    owner = {
        "apiVersion": f"{GROUP}/v1", "kind": "Application", "name": name, "uid": application["metadata"]["uid"],
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    ports = [{"name": one["name"], "containerPort": one["port"], "protocol": one["protocol"]} for one in spec.get("endpoints", ())]
    template = spec.get("podTemplate", {}).get("spec", {})
    container = {"name": "main", "image": spec["image"], "ports": ports, "env": [{"name": "INTERVAL", "value": spec["interval"]}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "replicas": spec["replicas"],
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {**template, "containers": [container]}},
        },
    }


def status_of(application: Object, deployment: Object) -> Object:
    """What is reported of an Application whose Deployment looks so; its condition keeps its time while it stays what it is."""
    available = deployment.get("status", {}).get("availableReplicas", 0)
    ready = "True" if available >= application["spec"]["replicas"] else "False"
    old = application.get("status", {})
    since = next((one["lastTransitionTime"] for one in old.get("conditions", ()) if one["status"] == ready), None)
    condition = {
        "type": "Ready", "status": ready, "reason": "Reconciled", "message": f"{available} available",
        "observedGeneration": application["metadata"]["generation"],
        "lastTransitionTime": since or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }  # fmt: skip
    return {
        "observedGeneration": application["metadata"]["generation"],
        "replicas": available,
        "selector": f"app.kubernetes.io/instance={application['metadata']['name']}",
        "conditions": [condition],
    }


def _ready(status: Object) -> str:
    return next((str(one["status"]) for one in status.get("conditions", ())), "")
