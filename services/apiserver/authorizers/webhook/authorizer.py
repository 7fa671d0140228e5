"""A webhook that is asked who may do what: it is posted a SubjectAccessReview, and what it says is remembered for a while.

As Kubernetes' webhook authorizer: who says neither yes nor no has no opinion, and the next one is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.service.answers import Answers
from services.apiserver.authorization import ALLOWED, NO_OPINION, Verdict, path_of
from services.apiserver.authorizers.webhook.conditions import ConditionFailed, MatchConditions
from services.apiserver.request import Request
from services.apiserver.webhooks.remote import Remote
from services.apiserver.webhooks.remote_client import RemoteClient

log = logging.getLogger(__name__)

API_VERSION, KIND = "authorization.k8s.io/v1", "SubjectAccessReview"
# Answers that are remembered, and how long a question may be for that.
REMEMBERED, REMEMBERED_BYTES = 8192, 10_000
# Of calls at once: who comes later waits, within the call's time.
CONNECTIONS = 64
SHOWN_LETTERS = 1024


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """In Kubernetes' words. Durations are seconds."""

    timeout_seconds: float
    authorized_ttl: float = 300.0
    unauthorized_ttl: float = 30.0
    # Whether who cannot be asked means no; else the next one is asked.
    fails_closed: bool = True


class WebhookAuthorizer:
    """``close`` it when it is asked no more."""

    def __init__(self, name: str, remote: Remote, settings: WebhookSettings, conditions: MatchConditions | None = None) -> None:
        self.name = name
        self._client, self._settings, self._conditions = RemoteClient(remote, CONNECTIONS), settings, conditions
        # By the question's bytes.
        self._known: Answers[bytes, Verdict] = Answers(REMEMBERED)

    def decide(self, request: Request) -> Verdict | Coroutine[Any, Any, Verdict]:
        spec = spec_of(request)
        if self._conditions is not None:
            try:
                if not self._conditions.hold(spec):
                    return NO_OPINION
            except ConditionFailed as error:
                return self._failed(str(error))
        question = orjson.dumps({"apiVersion": API_VERSION, "kind": KIND, "metadata": {}, "spec": spec}, option=orjson.OPT_SORT_KEYS)
        known = self._known.get(question)
        return known if known is not None else self._ask(question)

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, question: bytes) -> Verdict:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                answer = await self._client.post(question)
            if answer.body is None:
                raise ValueError(answer.fault)
            verdict = verdict_of(answer.body)
        except TimeoutError:
            return self._failed(f"it did not answer within {self._settings.timeout_seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return self._failed(str(error) or type(error).__name__)
        self._remember(question, verdict)
        return verdict

    def _remember(self, question: bytes, verdict: Verdict) -> None:
        seconds = self._settings.authorized_ttl if verdict.allowed else self._settings.unauthorized_ttl
        if not seconds or len(question) > REMEMBERED_BYTES:
            return
        self._known.learn(question, verdict, seconds)

    def _failed(self, words: str) -> Verdict:
        log.warning("a webhook of the authorizer could not be asked", extra={"authorizer": self.name, "error": words})
        return Verdict(denied=self._settings.fails_closed, reason=f"the authorizer {self.name} could not be asked")


def verdict_of(answer: bytes) -> Verdict:
    """Raises ValueError for what is no answer."""
    review = orjson.loads(answer)
    if not isinstance(review, dict) or (review.get("apiVersion"), review.get("kind")) != (API_VERSION, KIND):
        raise ValueError(f"its answer is no {KIND} of {API_VERSION}")
    status = review.get("status")
    if not isinstance(status, dict):
        raise ValueError("its answer has no status")
    allowed, denied = status.get("allowed", False), status.get("denied", False)
    if not isinstance(allowed, bool) or not isinstance(denied, bool):
        raise ValueError("its answer says neither true nor false")
    if allowed and denied:
        raise ValueError("its answer says yes and no")
    reason = str(status.get("reason") or "")[:SHOWN_LETTERS]
    return ALLOWED if allowed else Verdict(denied=denied, reason=reason)


def spec_of(request: Request) -> dict[str, Any]:
    """The request as Kubernetes tells it; what is empty is left out."""
    user, ref = request.user, request.ref
    found: dict[str, Any] = {"user": user.name, "uid": user.uid, "groups": list(user.groups)}
    found["extra"] = {key: list(values) for key, values in user.extra}
    if path := path_of(ref):
        found["nonResourceAttributes"] = {"path": path, "verb": request.verb}
    else:
        options, selectors = request.options, {}
        if isinstance(options, meta.ListOptions):
            said = {"fieldSelector": options.field_selector, "labelSelector": options.label_selector}
            selectors = {name: {"rawSelector": text} for name, text in said.items() if text}
        about = {
            "namespace": ref.place,
            "verb": request.verb,
            "group": ref.version.group,
            "version": ref.version.version,
            "resource": ref.resource.plural,
            "subresource": ref.subresource,
            "name": ref.name,
        }
        found["resourceAttributes"] = {**{name: value for name, value in about.items() if value}, **selectors}
    return {name: value for name, value in found.items() if value}
