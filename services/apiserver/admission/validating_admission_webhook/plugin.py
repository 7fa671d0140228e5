"""Webhooks that may refuse what is written, all at once. Specified by Kubernetes' plugin of the same name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import ClassVar

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from knarr.machinery.resources import Resource, Version
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.configured import Configured
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.webhooks.calls import Caller, CallFailed, failed
from services.apiserver.admission.webhooks.configurations import CompiledWebhook, compiled_webhooks
from services.apiserver.backend import Backend

log = logging.getLogger(__name__)

CONFIGURATIONS = version_of(admission.ValidatingWebhookConfiguration).resource
FAILED_OPEN = "failed-open.validating.webhook.admission.k8s.io/round_0_index_"


class ValidatingAdmissionWebhook:
    """Who is refused hears the first refusal in the order of the configurations; the others' warnings are told, too."""

    name: ClassVar[str] = "ValidatingAdmissionWebhook"

    def __init__(self, backend: Backend, outside: Outside | None = None) -> None:
        self._backend, self._outside = backend, outside or Outside()
        self._configured = Configured(backend, [CONFIGURATIONS], compiled_webhooks)

    def subscribe(self, listener: Callable[[], None]) -> None:
        self._configured.subscribe(listener)

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return self._configured.concern(operation, resource, subresource)

    async def validate(self, attributes: Attributes) -> None:
        webhooks = self._configured.of(attributes.operation, attributes.request.ref.version, attributes.subresource)
        caller = Caller(self._backend, self._outside, attributes, mutating=False)
        asked: list[tuple[int, CompiledWebhook, Version]] = []
        for index, webhook in enumerate(webhooks):
            if (version := await caller.version(webhook)) is not None:
                asked.append((index, webhook, version))
                # They are made once, and not by each of those who ask at the same time.
                await caller.shown.object(version)
                await caller.shown.old(version)
        asking = [_ask(caller, webhook, version, attributes, index) for index, webhook, version in asked]
        problems = [await asking[0]] if len(asking) == 1 else await asyncio.gather(*asking)
        for problem in problems:
            if problem is not None:
                raise problem


async def _ask(caller: Caller, webhook: CompiledWebhook, version: Version, attributes: Attributes, index: int) -> StatusError | None:
    """The refusal, if it is one."""
    try:
        await caller.ask(webhook, version)
    except StatusError as error:
        return error
    except CallFailed as error:
        if not webhook.ignores:
            return failed(webhook, error)
        log.warning("a webhook could not be asked and is passed over", extra={"webhook": webhook.name, "error": str(error)})
        attributes.annotate(f"{FAILED_OPEN}{index}", webhook.name)
    return None
