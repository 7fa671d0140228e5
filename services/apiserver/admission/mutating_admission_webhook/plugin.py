"""Webhooks that may change what is written, one after the other. Specified by Kubernetes' plugin of the same name."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError, internal
from knarr.machinery.patches import json_patch
from knarr.machinery.patches.problems import detail_of
from knarr.machinery.resources import Version
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.configured import Configured
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.reinvocation import Asked
from services.apiserver.admission.webhooks.calls import Caller, CallFailed
from services.apiserver.admission.webhooks.configurations import CompiledWebhook, compiled_webhooks
from services.apiserver.admission.webhooks.review import JSON_PATCH
from services.apiserver.aside import in_turn_if_large
from services.apiserver.backend import Backend

CONFIGURATIONS = version_of(admission.MutatingWebhookConfiguration).resource
MUTATION, PATCH = "mutation.webhook.admission.k8s.io/", "patch.webhook.admission.k8s.io/"
FAILED_OPEN = "failed-open." + MUTATION


class MutatingAdmissionWebhook(Configured[CompiledWebhook]):
    """In the order of the configurations' names. Where one has changed the object, all plugins are asked once more, and of the webhooks
    before it those that want that (``reinvocationPolicy: IfNeeded``)."""

    name: ClassVar[str] = "MutatingAdmissionWebhook"

    def __init__(self, backend: Backend, outside: Outside | None = None) -> None:
        super().__init__(backend, outside, [CONFIGURATIONS], compiled_webhooks)

    async def mutate(self, attributes: Attributes) -> bool:
        webhooks = self.concerned(attributes)
        round_, asked = Asked.begin(attributes, self.name)
        caller = Caller(self.inquiry(attributes), mutating=True)
        changed = False
        for index, webhook in enumerate(webhooks):
            if round_.running and webhook.key not in asked.again:
                continue
            if (version := await caller.version(webhook)) is None:
                continue
            place = f"round_{int(round_.running)}_index_{index}"
            if await self._ask(caller, webhook, version, attributes, place):
                changed = round_.wanted = True
                asked.ask_again()
            if webhook.is_reinvoked:
                asked.before.add(webhook.key)
        asked.leave(attributes)
        return changed

    async def _ask(self, caller: Caller, webhook: CompiledWebhook, version: Version, attributes: Attributes, place: str) -> bool:
        """Whether the webhook has changed the object."""
        changed = False
        try:
            verdict = await caller.ask(webhook, version)
            if verdict.patch:
                operations = _operations(verdict.patch)
                if operations and verdict.patch_type != JSON_PATCH:
                    raise CallFailed(f'unsupported patch type "{verdict.patch_type}"')
                changed = await _patched(caller, webhook, version, operations)
                attributes.annotate(PATCH + place, _said(webhook, patch=operations, patchType=JSON_PATCH))
        except CallFailed as error:
            if (refusal := caller.pass_over(webhook, error, FAILED_OPEN + place)) is not None:
                raise refusal from None
        finally:
            attributes.annotate(MUTATION + place, _said(webhook, mutated=changed))
        return changed


def _said(webhook: CompiledWebhook, **more: Any) -> str:
    """What the audit log is told of a webhook, in Kubernetes' words."""
    return orjson.dumps({"configuration": webhook.configuration, "webhook": webhook.name, **more}).decode()


def _operations(patch: bytes) -> list[Any]:
    """Raises CallFailed."""
    try:
        found = orjson.loads(patch)
    except orjson.JSONDecodeError as error:
        raise CallFailed(f"received undecodable patch in webhook response: {error}") from None
    if found is None:
        return []
    if not isinstance(found, list):
        raise CallFailed("received undecodable patch in webhook response: expected a JSON array")
    return found


async def _patched(caller: Caller, webhook: CompiledWebhook, version: Version, operations: list[Any]) -> bool:
    """Raises InternalError for a patch that does not fit: whoever answers so is wrong, and not away."""
    original = await caller.shown.object(version)
    if not operations:
        return False
    if original is None:
        words = f'admission webhook "{webhook.name}" attempted to modify the object, which is not supported for this operation'
        raise internal(words)
    try:
        size_bytes = len(orjson.dumps(operations)) if len(operations) > 1 else 0
        patched = await in_turn_if_large(size_bytes, json_patch.apply, original, operations)
    except StatusError as error:
        raise internal(detail_of(error)) from None
    if not isinstance(patched, dict):
        raise internal(f'the patch of admission webhook "{webhook.name}" leaves no JSON object')
    return await caller.shown.take(version, patched)
