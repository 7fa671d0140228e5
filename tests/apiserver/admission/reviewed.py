"""An API server in memory beside a webhook on loopback, which admission asks."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.message import Message

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.machinery.catalog import version_of
from services.apiserver.authorization import Authorizer
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.results import Ref, Written
from services.apiserver.tokens.keys import SigningKeys
from tests.support.caller import Caller
from tests.support.webhook import Webhook, running_webhook

Json = dict[str, Any]
CONFIG_MAPS = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE", "DELETE"]}
KINDS = {
    "Mutating": (admission.MutatingWebhookConfiguration, "MutatingWebhookConfiguration"),
    "Validating": (admission.ValidatingWebhookConfiguration, "ValidatingWebhookConfiguration"),
}


def ref(message: type[Message], name: str = "", subresource: str = "", namespace: str = "default") -> Ref:
    version = version_of(message)
    return Ref(version, namespace if version.resource.namespaced else "", name, subresource)


def config_map(name: str = "c", labels: dict[str, str] | None = None, **data: str) -> core.ConfigMap:
    return core.ConfigMap(metadata=meta.ObjectMeta(name=name, labels=labels), data=data)


class Log:
    """Keeps what the audit log is told, by admission."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self.is_permitted, self.reason = False, ""

    def annotate(self, key: str, value: str) -> None:
        if not key.startswith("authorization.k8s.io/"):
            self.said.setdefault(key, value)

    def about(self, name: str) -> None:
        """Nothing asks for it."""

    def begun(self) -> None: ...

    def concluded(self, code: int, status: meta.Status | None, found: object = None) -> None: ...

    def failed(self, error: Exception) -> None: ...


@dataclass
class Reviewed:
    """``api`` is the whole server; ``caller`` its administrator."""

    api: ApiInMemory
    webhook: Webhook
    caller: Caller

    def configuration(self, sort: str, name: str = "hooks", *webhooks: Json) -> Any:
        message, kind = KINDS[sort]
        given = webhooks or ({},)
        found = [self._completed(number, webhook) for number, webhook in enumerate(given)]
        value = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": found}
        return codec.from_json(message, value).message

    def _completed(self, number: int, webhook: Json) -> Json:
        client = {"url": self.webhook.url, "caBundle": base64.b64encode(self.webhook.ca_bundle).decode()}
        plain = {"name": f"w{number}.example.org", "clientConfig": client, "rules": [CONFIG_MAPS], "sideEffects": "None"}
        return {**plain, "admissionReviewVersions": ["v1", "v1beta1"], "timeoutSeconds": 5, **webhook}

    async def configure(self, sort: str, *webhooks: Json, name: str = "hooks") -> None:
        """Webhooks as Kubernetes' API has them; what is not said of one is a ConfigMap's, sent to the webhook that runs."""
        obj = self.configuration(sort, name, *webhooks)
        await self.caller.create(ref(type(obj)), obj, meta.CreateOptions())

    async def create(self, obj: Any, *, dry: bool = False, namespace: str = "default") -> Any:
        options = meta.CreateOptions(dry_run=["All"] if dry else [])
        return (await self.written(obj, options, namespace=namespace)).message

    async def written(self, obj: Any, options: Any = None, namespace: str = "default") -> Written:
        return await self.caller.create(ref(type(obj), namespace=namespace), obj, options or meta.CreateOptions())

    async def stored(self, message: type[Message], name: str = "c") -> Any:
        return (await self.caller.get(ref(message, name))).message

    @property
    def requests(self) -> list[Json]:
        """What the webhook was asked about."""
        return [body["request"] for body in self.webhook.asked]


def allowed(body: Json, **more: Any) -> Json:
    """The answer that lets a request pass."""
    return {**body_head(body), "response": {"uid": body["request"]["uid"], "allowed": True, **more}}


def denied(body: Json, status: Json | None = None, **more: Any) -> Json:
    found = {"uid": body["request"]["uid"], "allowed": False, **({"status": status} if status is not None else {}), **more}
    return {**body_head(body), "response": found}


def patched(body: Json, *operations: Json, **more: Any) -> Json:
    """The answer that changes the object by JSON patch."""
    patch = base64.b64encode(orjson.dumps(operations)).decode()
    return allowed(body, patch=patch, patchType="JSONPatch", **more)


def body_head(body: Json) -> Json:
    return {"apiVersion": body["apiVersion"], "kind": "AdmissionReview"}


def answering(make: Callable[..., Json], *args: Any, **more: Any) -> Callable[[Json], Awaitable[Any]]:
    """A webhook that always answers alike."""

    async def answer(body: Json) -> Any:
        return make(body, *args, **more)

    return answer


@asynccontextmanager
async def reviewed(
    answer: Callable[[Json], Awaitable[Any]] | None = None,
    authorizer: Authorizer | None = None,
    keys: SigningKeys | None = None,
    **options: Any,
) -> AsyncIterator[Reviewed]:
    async with (
        running_webhook(answer or answering(allowed), **options) as webhook,
        ApiInMemory(authorizer=authorizer, keys=keys) as api,
    ):
        yield Reviewed(api, webhook, Caller(api.server.api))
