"""What a mutating webhook adds to a create: one that patches every ConfigMap, on loopback, asked by an API server alone."""

from __future__ import annotations

import base64
import statistics
import time
from typing import Any

from bench.cluster import Server
from bench.kube_apiserver import apiserver
from bench.result import Result
from tests.support.webhook import Webhook, running_webhook

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CREATES, ROUNDS = 300, 3
MOST_MILLISECONDS = 3.0
PATCH = base64.b64encode(b'[{"op":"add","path":"/metadata/labels","value":{"by":"webhook"}}]').decode()


async def answer(body: Any) -> Any:
    response = {"uid": body["request"]["uid"], "allowed": True, "patch": PATCH, "patchType": "JSONPatch"}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def configuration(webhook: Webhook) -> dict[str, Any]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    client = {"url": webhook.url, "caBundle": base64.b64encode(webhook.ca_bundle).decode()}
    hook = {"name": "bench.example.org", "clientConfig": client, "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"]}
    return {"metadata": {"name": "bench"}, "webhooks": [hook]}


async def creates(server: Server) -> float:
    """The median of one create after the other, in milliseconds."""
    run, found = time.time_ns(), []
    for number in range(CREATES):
        body = {"metadata": {"name": f"created-{run}-{number}"}, "data": {"k": "x" * 900}}
        started = time.perf_counter()
        await server.request("POST", CONFIG_MAPS, body)
        found.append((time.perf_counter() - started) * 1000)
    return statistics.median(found)


async def webhook_create() -> list[Result]:
    """With and without in turn; the round of the median difference. The webhook runs in the process that measures."""
    rounds: list[tuple[float, float]] = []
    async with apiserver() as ours, running_webhook(answer) as webhook:
        for _ in range(ROUNDS):
            plain = await creates(ours.server)
            await ours.server.request("POST", CONFIGURATIONS, configuration(webhook))
            rounds.append((plain, await creates(ours.server)))
            await ours.server.request("DELETE", f"{CONFIGURATIONS}/bench")
        if len(webhook.asked) != ROUNDS * CREATES:
            raise RuntimeError(f"{len(webhook.asked)} of {ROUNDS * CREATES} creates were asked about")
    plain, asked = sorted(rounds, key=lambda one: one[1] - one[0])[ROUNDS // 2]
    target = f"≤ {MOST_MILLISECONDS:g} ms more than without"
    return [Result("webhook-create", asked, "ms p50", "without", plain, target, asked - plain <= MOST_MILLISECONDS)]
