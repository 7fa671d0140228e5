"""Webhooks that may refuse what is written, all at once. Specified by Kubernetes' plugin of the same name."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from knarr.machinery.resources import Version
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.configured import Configured
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.webhooks.calls import Caller, CallFailed
from services.apiserver.admission.webhooks.configurations import CompiledWebhook, compiled_webhooks
from services.apiserver.backend import Backend

CONFIGURATIONS = version_of(admission.ValidatingWebhookConfiguration).resource
FAILED_OPEN = "failed-open.validating.webhook.admission.k8s.io/round_0_index_"


class ValidatingAdmissionWebhook(Configured[CompiledWebhook]):
    """Who is refused hears the first refusal in the order of the configurations; the others' warnings are told, too."""

    name: ClassVar[str] = "ValidatingAdmissionWebhook"

    def __init__(self, backend: Backend, outside: Outside | None = None) -> None:
        super().__init__(backend, outside, [CONFIGURATIONS], compiled_webhooks)

    async def validate(self, attributes: Attributes) -> None:
        webhooks = self.concerned(attributes)
        caller = Caller(self.inquiry(attributes), mutating=False)
        asked: list[tuple[int, CompiledWebhook, Version]] = []
        for index, webhook in enumerate(webhooks):
            if (version := await caller.version(webhook)) is not None:
                asked.append((index, webhook, version))
                # They are made once, and not by each of those who ask at the same time.
                await caller.shown.object(version)
                await caller.shown.old(version)
        asking = [_ask(caller, webhook, version, index) for index, webhook, version in asked]
        problems = [await asking[0]] if len(asking) == 1 else await asyncio.gather(*asking)
        for problem in problems:
            if problem is not None:
                raise problem


async def _ask(caller: Caller, webhook: CompiledWebhook, version: Version, index: int) -> StatusError | None:
    """The refusal, if it is one."""
    try:
        await caller.ask(webhook, version)
    except StatusError as error:
        return error
    except CallFailed as error:
        return caller.pass_over(webhook, error, f"{FAILED_OPEN}{index}")
    return None
