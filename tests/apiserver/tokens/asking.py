"""Asking for tokens and with them, over REST."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from tests.support.faces import Answer, RestClient

ISSUER = "https://kubernetes.default.svc.cluster.local"
NAME = "system:serviceaccount:shop:robot"
PATH = "/api/v1/namespaces/shop/serviceaccounts/robot/token"


async def request(rest: RestClient, spec: dict[str, Any] | None = None, path: str = PATH, **body: Any) -> Answer:
    return await rest.call("POST", path, {"spec": spec or {}, **body})


async def token(rest: RestClient, spec: dict[str, Any] | None = None) -> str:
    answer = await request(rest, spec)
    assert answer.status == 201, answer.body
    return str(answer.json["status"]["token"])


def claims(text: str) -> Any:
    return orjson.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))


def bound(kind: str, name: str, uid: str = "") -> dict[str, Any]:
    reference = {"apiVersion": "v1", "kind": kind, "name": name}
    return {"boundObjectRef": {**reference, "uid": uid} if uid else reference}


async def who(rest: RestClient, text: str) -> Any:
    """The user as whom a token's owner is known; the code where he is not."""
    answer = await rest.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, authorization=f"Bearer {text}")
    return answer.json["status"]["userInfo"] if answer.status == 201 else answer.status


async def uid(rest: RestClient, path: str) -> str:
    return str((await rest.get(path)).json["metadata"]["uid"])
