"""Which webhooks a request is about, and the question to one of them.

A failure to ask and a refusal are told apart: a webhook whose ``failurePolicy`` is Ignore is passed over in the one, never in the other.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError, bad_request, error_of, internal, not_found
from knarr.machinery.resources import Version
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.facts import facts_of
from services.apiserver.admission.matching import Match, is_namespaces, own_labels
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.policies.compiled import SMALL_BYTES
from services.apiserver.admission.refusals import refused
from services.apiserver.admission.shown import Json, Shown
from services.apiserver.admission.webhooks.configurations import NO_SIDE_EFFECTS, NONE_ON_DRY_RUN, CompiledWebhook
from services.apiserver.admission.webhooks.review import InvalidAnswer, Verdict, refusal_of, review_of, verdict_of
from services.apiserver.aside import in_turn, in_turn_if_large
from services.apiserver.backend import Backend
from services.apiserver.results import Ref

NAMESPACE = version_of(core.Namespace)
AWAY = "could not get REST client: {}"


class CallFailed(Exception):
    """A webhook could not be asked, or answered nothing that makes sense. The words are Kubernetes'."""


class Caller:
    """Asks about one phase of one request."""

    def __init__(self, backend: Backend, outside: Outside, attributes: Attributes, *, mutating: bool) -> None:
        self.shown = Shown(attributes, outside)
        self._backend, self._outside, self._attributes, self._mutating = backend, outside, attributes, mutating
        self._facts: dict[Version, Json] = {}

    async def version(self, webhook: CompiledWebhook) -> Version | None:
        """The version in which a webhook wants to see the request; None if it is not asked. Raises StatusError where that cannot be
        told."""
        attributes = self._attributes
        version = webhook.match.version(attributes.operation, attributes.request.ref.version, attributes.subresource, attributes.name)
        if version is None or not webhook.match.selects(attributes, await namespace_labels(self._backend, attributes, webhook.match)):
            return None
        if not webhook.said.match_conditions:
            return version
        if "conditions" not in vars(webhook) and webhook.said.ByteSize() > SMALL_BYTES:
            # What they are compiled from may be much.
            await in_turn(getattr, webhook, "conditions")
        assert webhook.conditions is not None
        # What they stand on is only loaded by those who have expressions.
        from services.apiserver.admission.conditions import ConditionsFailed
        from services.apiserver.admission.expressions import ExpressionFailed, Scene

        scene = Scene(self.shown, self._outside, version, self.facts(version), self._backend.cache.registry)
        try:
            holds = await webhook.conditions.hold(scene)
        except (ConditionsFailed, ExpressionFailed) as error:
            if webhook.ignores:
                return None
            raise refused(attributes, str(error)) from None
        return version if holds else None

    def facts(self, version: Version) -> Json:
        if version not in self._facts:
            self._facts[version] = facts_of(self._attributes, version)
        return self._facts[version]

    async def ask(self, webhook: CompiledWebhook, version: Version) -> Verdict:
        """What an answer says that lets the request pass, its notes taken. Raises CallFailed, or the StatusError of a refusal."""
        request = self._attributes.request
        side_effects = webhook.said.side_effects
        if self._attributes.dry_run and side_effects not in (NO_SIDE_EFFECTS, NONE_ON_DRY_RUN):
            raise bad_request(f'admission webhook "{webhook.name}" does not support dry run')
        if not webhook.review_version:
            words = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"
            raise CallFailed(f"could not create admission objects: {words}")
        uid = str(uuid.UUID(int=self._backend.source.getrandbits(128), version=4))
        objects = await self.shown.object(version), await self.shown.old(version)
        size_bytes = sum(obj.ByteSize() for obj in (self._attributes.obj, self._attributes.old) if obj is not None)
        body = await in_turn_if_large(size_bytes, review_of, uid, webhook.review_version, self.facts(version), *objects)
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
            client = self._outside.client()
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


def failed(webhook: CompiledWebhook, error: CallFailed) -> StatusError:
    """The refusal by a webhook that could not be asked."""
    return internal(f'failed calling webhook "{webhook.name}": {error}')


async def namespace_labels(backend: Backend, attributes: Attributes, match: Match) -> Mapping[str, str] | None:
    """The labels that a namespace selector is held against; None where there is no namespace, or nobody asks. Raises NotFound."""
    if match.namespaces.everything:
        return None
    own = own_labels(attributes)
    if own is not None:
        return own
    name = attributes.name if is_namespaces(attributes.resource) else attributes.namespace
    if not name:
        return None
    entry = backend.cached(NAMESPACE.resource, "", name) or await backend.current(Ref(NAMESPACE, name=name), attributes.request.deadline)
    if entry is None:
        raise not_found("namespaces", name)
    return entry.labels
