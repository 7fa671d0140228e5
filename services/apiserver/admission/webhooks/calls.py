"""Which webhooks a request is about, and the question to one of them.

A failure to ask and a refusal are told apart: a webhook whose ``failurePolicy`` is Ignore is passed over in the one, never in the other.
"""

from __future__ import annotations

import asyncio
import logging

from knarr.machinery.errors import StatusError, bad_request, error_of, internal
from knarr.machinery.resources import Version
from knarr.objects.names import new_uid
from services.apiserver.admission.inquiry import Inquiry
from services.apiserver.admission.refusals import refused
from services.apiserver.admission.webhooks.configurations import NO_SIDE_EFFECTS, NONE_ON_DRY_RUN, CompiledWebhook
from services.apiserver.admission.webhooks.review import InvalidAnswer, Verdict, refusal_of, review_of, verdict_of
from services.apiserver.aside import in_turn_if_large

log = logging.getLogger(__name__)

AWAY = "could not get REST client: {}"


class CallFailed(Exception):
    """A webhook could not be asked, or answered nothing that makes sense. The words are Kubernetes'."""


class Caller:
    """Asks about one phase of one request."""

    def __init__(self, inquiry: Inquiry, *, mutating: bool) -> None:
        self._inquiry, self._mutating = inquiry, mutating
        self.shown, self._attributes = inquiry.shown, inquiry.attributes

    async def version(self, webhook: CompiledWebhook) -> Version | None:
        """The version in which a webhook wants to see the request; None if it is not asked. Raises StatusError where that cannot be
        told."""
        version = await self._inquiry.version(webhook.match)
        if version is None or not webhook.said.match_conditions:
            return version
        # What they stand on is only loaded by those who have expressions.
        from services.apiserver.admission.conditions import ConditionsFailed
        from services.apiserver.admission.expressions import ExpressionFailed

        try:
            return version if await webhook.is_about(self._inquiry.scene(version)) else None
        except (ConditionsFailed, ExpressionFailed) as error:
            if webhook.ignores:
                return None
            raise refused(self._attributes, str(error)) from None

    async def ask(self, webhook: CompiledWebhook, version: Version) -> Verdict:
        """What an answer says that lets the request pass, its notes taken. Raises CallFailed, or the StatusError of a refusal."""
        request = self._attributes.request
        side_effects = webhook.said.side_effects
        if self._attributes.dry_run and side_effects not in (NO_SIDE_EFFECTS, NONE_ON_DRY_RUN):
            raise bad_request(f'admission webhook "{webhook.name}" does not support dry run')
        if not webhook.review_version:
            words = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"
            raise CallFailed(f"could not create admission objects: {words}")
        uid = new_uid(self._inquiry.backend.source)
        objects = await self.shown.object(version), await self.shown.old(version)
        body = await in_turn_if_large(self.shown.size_bytes, review_of, uid, webhook.review_version, self._inquiry.facts(version), *objects)
        answer = await self._posted(webhook, body)
        try:
            verdict = await in_turn_if_large(len(answer), verdict_of, answer, uid, webhook.review_version, mutating=self._mutating)
        except InvalidAnswer as error:
            raise CallFailed(f"received invalid webhook response: {error}") from None
        for key, value in (verdict.annotations or {}).items():
            request.annotate(f"{webhook.name}/{key}", value)
        for words in verdict.warnings:
            request.warn(words)
        if not verdict.allowed:
            raise error_of(refusal_of(webhook.name, verdict.status))
        return verdict

    async def _posted(self, webhook: CompiledWebhook, body: bytes) -> bytes:
        from services.apiserver.webhooks.client import HookFailed

        try:
            client = self._inquiry.outside.client()
        except RuntimeError as error:
            raise CallFailed(AWAY.format(error)) from None
        left = self._attributes.request.deadline - asyncio.get_running_loop().time()
        seconds = webhook.seconds
        hook = webhook.hook
        if left < seconds:
            # Whoever gives up sooner is not waited for by the webhook either; whole seconds are told.
            seconds, hook = left, webhook.hook_for(max(1.0, -(-left // 1)))
        # A webhook that does something may have done it already when its connection ends.
        harmless = self._attributes.dry_run or webhook.said.side_effects == NO_SIDE_EFFECTS
        try:
            return await client.post(hook, body, max(seconds, 0.0), again=harmless)
        except HookFailed as error:
            raise CallFailed(f"failed to call webhook: {error}") from None

    def pass_over(self, webhook: CompiledWebhook, error: CallFailed, note: str) -> StatusError | None:
        """Where a webhook could not be asked: the refusal, or None if the request passes it, of which ``note`` tells the audit log."""
        if not webhook.ignores:
            return internal(f'failed calling webhook "{webhook.name}": {error}')
        log.warning("a webhook could not be asked and is passed over", extra={"webhook": webhook.name, "error": str(error)})
        self._attributes.annotate(note, webhook.name)
        return None
