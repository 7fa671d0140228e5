"""Both servers before one webhook on loopback: they ask it the same, and make the same of what it answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.peer.peers import Answer, Ask, Peer, Peers
from tests.support.webhook import Webhook, running_webhook

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

CORE, APPS = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CONFIGS, MERGE = f"{CORE}/configmaps", "application/merge-patch+json"
DRY = {"dryRun": "All"}
SPEC: dict[str, Any] = {
    "replicas": 1,
    "selector": {"matchLabels": {"a": "b"}},
    "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}},
}
# Newer Kubernetes says at which step a call failed.
STEPS = ("failed to call webhook: ", "received invalid webhook response: ")
# What a review has that tells the servers apart, and what newer Kubernetes has besides.
OWN = ("uid", "creationTimestamp", "resourceVersion", "managedFields", "selfLink", "kubernetes.io/metadata.name")


def config(name: str, answer: Any, **metadata: Any) -> dict[str, Any]:
    """A ConfigMap that says what the webhook is to answer about it: a part of the response, or the whole answer as text."""
    return {"metadata": {"name": name, **metadata}, "data": {"answer": answer if isinstance(answer, str) else json.dumps(answer)}}


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"patch": base64.b64encode(json.dumps(operations).encode()).decode(), "patchType": "JSONPatch"}


LABELLED = patch({"op": "add", "path": "/metadata/labels", "value": {"by": "webhook"}})
ANSWERS: dict[str, Any] = {
    "plain": {},
    "denied": {"allowed": False},
    "denied-message": {"allowed": False, "status": {"message": "no", "code": 403, "reason": "Forbidden"}},
    "denied-reason": {"allowed": False, "status": {"reason": "Other"}},
    "denied-success": {"allowed": False, "status": {"status": "Success", "code": 200, "message": "fine"}},
    "denied-details": {"allowed": False, "status": {"message": "no", "details": {"causes": [{"message": "m", "field": "f"}]}}},
    "another-uid": {"uid": "x"},
    "half-a-patch": {"patch": "W10="},
    "other-half": {"patchType": "JSONPatch"},
    "other-type": {"patch": "W10=", "patchType": "Merge"},
    "labelled": LABELLED,
    "misfit": patch({"op": "test", "path": "/data/answer", "value": "x"}),
    "renamed": patch({"op": "replace", "path": "/metadata/name", "value": "another"}),
    "bad-label": patch({"op": "add", "path": "/metadata/labels", "value": {"bad label": "x"}}),
    "elsewhere": patch({"op": "add", "path": "/metadata/namespace", "value": "kube-system"}),
}
ASKS = [
    *(Ask("POST", CONFIGS, body=config(name, answer)) for name, answer in ANSWERS.items()),
    Ask("POST", CONFIGS, body=config("absent", json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}))),
    Ask("POST", CONFIGS, body={**config("", {}), "metadata": {"generateName": "made-"}}),
    Ask("POST", CONFIGS, DRY, body=config("dry", LABELLED)),
    Ask("PUT", f"{CONFIGS}/plain", body=config("plain", LABELLED)),
    Ask("PATCH", f"{CONFIGS}/plain", body={"metadata": {"annotations": {"a": "b"}}}, content_type=MERGE),
    Ask("PATCH", f"{CONFIGS}/labelled", body=config("labelled", ANSWERS["misfit"]), content_type=MERGE),
    Ask("PATCH", f"{CONFIGS}/labelled", body=config("labelled", ANSWERS["denied"]), content_type=MERGE),
    Ask("POST", f"{APPS}/deployments", body={"metadata": {"name": "web"}, "spec": SPEC}),
    Ask("PATCH", f"{APPS}/deployments/web/scale", body={"spec": {"replicas": 3}}, content_type=MERGE),
    Ask("DELETE", f"{CONFIGS}/plain"),
    Ask("DELETE", f"{APPS}/deployments/web"),
]


def asks(sort: str) -> list[Ask]:
    """A namespace that goes takes its time."""
    return [*ASKS, Ask("POST", "/api/v1/namespaces", body={"metadata": {"name": f"fresh-{sort.lower()}"}})]


async def answer(body: Any) -> Any:
    request = body["request"]
    obj = request["object"] or request["oldObject"] or {}
    wanted = json.loads((obj.get("data") or {}).get("answer", "{}"))
    if "apiVersion" in wanted:
        return wanted
    response = {"uid": request["uid"], "allowed": True, **wanted}
    return {"apiVersion": body["apiVersion"], "kind": "AdmissionReview", "response": response}


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    """In a thread of its own: these clients wait."""
    started, loop = threading.Event(), asyncio.new_event_loop()
    found: list[Any] = []

    async def serve() -> None:
        async with running_webhook(answer) as running:
            ending = asyncio.Event()
            found.extend((running, ending))
            started.set()
            await ending.wait()
            for connection in running.connections:
                connection.abort()
            await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(found[1].set)
        thread.join()
        loop.close()


def configuration(webhook: Webhook, sort: str) -> dict[str, Any]:
    client = {"url": webhook.url, "caBundle": base64.b64encode(webhook.ca_bundle).decode()}
    rules = [
        {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps", "namespaces"], "operations": ["*"]},
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "deployments/scale"], "operations": ["*"]},
    ]
    hook = {"name": "w.example.org", "clientConfig": client, "rules": rules, "sideEffects": "None", "admissionReviewVersions": ["v1"]}
    names = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": f"{sort}WebhookConfiguration"}
    return {**names, "metadata": {"name": "peer"}, "webhooks": [hook]}


@contextlib.contextmanager
def configured(peer: Peer, webhook: Webhook, sort: str) -> Iterator[None]:
    """Kubernetes sees a change of configurations some moments later: it is asked until it asks."""
    path = f"{ADMISSION}/{sort.lower()}webhookconfigurations"
    assert peer.ask(Ask("POST", path, body=configuration(webhook, sort))).status == 201
    while not webhook.asked:
        peer.ask(Ask("POST", CONFIGS, DRY, body=config("probe", {})))
    webhook.asked.clear()
    try:
        yield
    finally:
        assert peer.ask(Ask("DELETE", f"{path}/peer")).status == 200


def said(answer: Answer) -> Any:
    """What an answer says, the same for both."""
    body = answer.body
    if not isinstance(body, dict) or body.get("kind") != "Status":
        return answer.status, _own(body, "")
    message = re.sub(r'uid="[0-9a-f-]{36}"| \(kube-system != default\)', "", str(body.get("message")))
    for step in STEPS:
        message = message.replace(step, "")
    return answer.status, body.get("reason"), message


def _own(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        found = {key: _own(item, key) for key, item in value.items() if key not in OWN and item is not None}
        return {key: item for key, item in found.items() if item != {}}
    if isinstance(value, list):
        return [_own(item, name) for item in value]
    return "made" if isinstance(value, str) and value.startswith("made-") else value


def reviewed(webhook: Webhook) -> list[Any]:
    """What the webhook was asked, the same for both."""
    found = []
    for body in webhook.asked:
        request = _own(body["request"], "")
        # Newer Kubernetes fills it in before webhooks are asked.
        request.get("object", {}).get("metadata", {}).pop("namespace", None)
        request["userInfo"] = sorted(request["userInfo"].get("groups", []))
        for name in ("fieldValidation", "fieldManager"):
            request.get("options", {}).pop(name, None)
        # A patch that fails Kubernetes tries again, as its object may have been old.
        if (body["apiVersion"], body["kind"], request) not in found:
            found.append((body["apiVersion"], body["kind"], request))
    webhook.asked.clear()
    return found


def asked_in(peer: Peer, webhook: Webhook, sort: str) -> list[tuple[Any, list[Any]]]:
    with configured(peer, webhook, sort):
        found = []
        for ask in asks(sort):
            answer = peer.ask(ask)
            found.append((said(answer), reviewed(webhook)))
    for name in ANSWERS:
        peer.ask(Ask("DELETE", f"{CONFIGS}/{name}"))
    peer.ask(Ask("DELETE", f"{CONFIGS}/another"))
    return found


@pytest.mark.parametrize("sort", ["Mutating", "Validating"])
def test_both_ask_alike_and_make_the_same_of_the_answers(peers: Peers, webhook: Webhook, sort: str) -> None:
    theirs, ours = asked_in(peers.theirs, webhook, sort), asked_in(peers.ours, webhook, sort)
    differing = [
        f"{ask.method} {ask.path} {ask.body}\n  theirs {their}\n  ours   {our}"
        for ask, their, our in zip(asks(sort), theirs, ours, strict=True)
        if their != our
    ]
    assert not differing, "\n".join(differing)
