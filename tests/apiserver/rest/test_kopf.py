"""An operator written with kopf, unmodified, against a whole API server: it watches, patches, posts events and lets go."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.apiserver.rest.kubectl import Kubectl
from tests.apiserver.rest.live import LiveServer

pytestmark = pytest.mark.etcd

OPERATOR = Path(__file__).with_name("kopf_operator.py")
SECONDS = 60.0
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: things, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer}}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""
THING = "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: one}\nspec: {size: 3}\n"


@pytest.fixture
async def operator(live: LiveServer, kubectl: Kubectl) -> AsyncIterator[None]:
    await kubectl("apply", "-f", "-", stdin=DEFINITION)
    await kubectl("wait", "--for=condition=Established", "crd/things.example.org", "--timeout=10s")
    command = (sys.executable, "-m", "kopf", "run", "--standalone", "--namespace", kubectl.namespace, str(OPERATOR))
    environment = {**os.environ, "KUBECONFIG": str(live.kubeconfig), "HOME": str(live.folder)}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    reading = asyncio.create_task(_drain(process))
    try:
        yield
    finally:
        process.terminate()
        await process.wait()
        print((await reading).decode())


async def _drain(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.read()


async def until(kubectl: Kubectl, holds: Any) -> dict[str, Any]:
    async with asyncio.timeout(SECONDS):
        while True:
            found = await kubectl.try_("get", "thing", "one", "-o", "json")
            if found.code == 0 and holds(obj := orjson.loads(found.out)):
                return dict(obj)


async def _events(kubectl: Kubectl, kind: str) -> list[dict[str, Any]]:
    found = orjson.loads((await kubectl("get", "events", "-o", "json")).out)["items"]
    return [event for event in found if event["involvedObject"]["kind"] == kind]


@pytest.mark.client("kopf", "discovery", "list", "watch", "patch", "status", "events", "finalizers")
async def test_an_operator_does_its_work(kubectl: Kubectl, operator: None) -> None:
    await kubectl("apply", "-f", "-", stdin=THING)
    made = await until(kubectl, lambda obj: obj.get("status", {}).get("created"))
    assert made["status"]["created"] == {"size": 6} and made["metadata"]["labels"] == {"made": "yes"}
    assert made["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
    await kubectl("patch", "thing", "one", "--type=merge", "-p", '{"spec":{"size":4}}')
    await until(kubectl, lambda obj: obj["status"].get("changed") == "3 to 4")
    async with asyncio.timeout(SECONDS):
        while not any(event["message"] == "it is made" for event in await _events(kubectl, "Thing")):
            pass
    await kubectl("delete", "thing", "one", "--timeout=60s")
    assert (await kubectl.try_("get", "thing", "one")).code != 0
