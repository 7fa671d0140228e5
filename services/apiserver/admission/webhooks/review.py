"""AdmissionReview: what a webhook is asked, and what its answer says. Pure.

A webhook is a stranger: it must answer just what it was asked about. The words are Kubernetes'.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import budget, codec
from knarr.machinery.errors import StatusError
from services.apiserver.admission.shown import Json
from services.apiserver.admission.webhooks.configurations import V1

GROUP, KIND = "admission.k8s.io", "AdmissionReview"
JSON_PATCH = "JSONPatch"
SHOWN_LETTERS = 512
# Of what an answer says beside its verdict; what is more is left out.
MAX_ANNOTATIONS = 64
MAX_MESSAGE_LETTERS = 16 * 1024
BAD_REQUEST, SERVER_ERRORS = 400, 600


class InvalidAnswer(Exception):
    """The answer is none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``status`` is the refusal's, whatever the webhook has said of it; ``patch`` is what was sent, which a type that is not known makes
    nothing of."""

    allowed: bool
    status: meta.Status | None = None
    patch: bytes = b""
    patch_type: str = JSON_PATCH
    warnings: Sequence[str] = ()
    annotations: Mapping[str, str] | None = None


def review_of(uid: str, version: str, facts: Json, obj: Json | None, old: Json | None) -> bytes:
    """What is posted, in a version of the review."""
    request = {"uid": uid, **facts, "object": obj, "oldObject": old}
    return orjson.dumps({"kind": KIND, "apiVersion": f"{GROUP}/{version}", "request": request})


def verdict_of(answer: bytes, uid: str, version: str, *, mutating: bool) -> Verdict:
    """Raises InvalidAnswer. Of what answers in v1beta1, neither the version nor the uid is looked at, as in Kubernetes."""
    try:
        found = orjson.loads(answer)
        budget.check(found, answer)
    except orjson.JSONDecodeError as error:
        raise InvalidAnswer(f"couldn't get version/kind; json parse error: {_shown(error)}") from None
    except StatusError as error:
        raise InvalidAnswer(error.status.message) from None
    if not isinstance(found, dict):
        raise InvalidAnswer("the answer is no JSON object")
    response = found.get("response")
    if response is None:
        raise InvalidAnswer("webhook response was absent")
    if not isinstance(response, dict):
        raise InvalidAnswer("response is no JSON object")
    if version == V1:
        _check_v1(found, response, uid, mutating=mutating)
    patch = response.get("patch") if mutating else None
    return Verdict(
        _typed(response, "allowed", bool, "a boolean", False),
        _status(response.get("status")),
        _bytes(patch) if patch else b"",
        _shown(response.get("patchType")) if version == V1 and patch else JSON_PATCH,
        _texts(response.get("warnings")),
        _annotations(response.get("auditAnnotations")),
    )


def _check_v1(found: Json, response: Json, uid: str, *, mutating: bool) -> None:
    if response.get("uid") != uid:
        raise InvalidAnswer(f'expected response.uid="{uid}", got "{_shown(response.get("uid") or "")}"')
    names = _shown(found.get("apiVersion") or ""), _shown(found.get("kind") or "")
    if names != (f"{GROUP}/{V1}", KIND):
        raise InvalidAnswer(f"expected webhook response of {GROUP}/{V1}, Kind={KIND}, got {names[0]}, Kind={names[1]}")
    patch, patch_type = response.get("patch"), response.get("patchType")
    if not mutating:
        if patch:
            raise InvalidAnswer("validating webhook may not return response.patch")
        if patch_type is not None:
            raise InvalidAnswer("validating webhook may not return response.patchType")
        return
    if patch and patch_type is None:
        raise InvalidAnswer("webhook returned response.patch but not response.patchType")
    if not patch and patch_type is not None:
        raise InvalidAnswer("webhook returned response.patchType but not response.patch")
    if patch_type == "":
        raise InvalidAnswer('webhook returned invalid response.patchType of ""')


def refusal_of(name: str, said: meta.Status | None) -> meta.Status:
    """The Status that a refused request is answered with: the webhook's, within what a refusal can be."""
    found = meta.Status()
    if said is not None:
        found.CopyFrom(said)
    found.status = "Failure"
    if not BAD_REQUEST <= found.code < SERVER_ERRORS:
        # Whoever refuses does not answer with success, nor with what is no code of HTTP.
        found.code = BAD_REQUEST
    denied = f'admission webhook "{name}" denied the request'
    words = found.message or found.reason
    found.message = f"{denied}: {words[:MAX_MESSAGE_LETTERS]}" if words else f"{denied} without explanation"
    return found


def _status(said: Any) -> meta.Status | None:
    if said is None:
        return None
    if not isinstance(said, dict):
        raise InvalidAnswer("response.status is no JSON object")
    try:
        return codec.from_json(meta.Status, said).message
    except StatusError as error:
        raise InvalidAnswer(f"response.status: {_shown(error.status.message)}") from None


def _typed(response: Json, name: str, kind: type, words: str, default: Any) -> Any:
    found = response.get(name)
    if found is not None and type(found) is not kind:
        raise InvalidAnswer(f"response.{name} is not {words}")
    return default if found is None else found


def _bytes(patch: Any) -> bytes:
    try:
        if not isinstance(patch, str):
            raise ValueError
        return base64.b64decode(patch, validate=True)
    except (ValueError, binascii.Error):
        raise InvalidAnswer("response.patch is no base64") from None


def _texts(found: Any) -> Sequence[str]:
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise InvalidAnswer("response.warnings is no list of strings")
    return found


def _annotations(found: Any) -> Mapping[str, str] | None:
    if found is None:
        return None
    if not isinstance(found, dict) or not all(isinstance(item, str) for item in found.values()):
        raise InvalidAnswer("response.auditAnnotations is no map of strings")
    return dict(list(found.items())[:MAX_ANNOTATIONS])


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_LETTERS else text[:SHOWN_LETTERS] + "…"
