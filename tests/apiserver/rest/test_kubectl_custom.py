"""Custom resources as a kubectl user meets them: the real kubectl against a whole API server over TLS."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.apiserver.rest.kubectl import Kubectl

pytestmark = pytest.mark.etcd

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    schema:
      openAPIV3Schema:
        type: object
        description: Something that is done again and again.
        properties:
          spec:
            type: object
            description: What is wanted.
            x-kubernetes-validations:
            - {rule: self.replicas <= 10, message: at most ten}
            properties:
              cronSpec: {type: string, description: When it is done.}
              replicas: {type: integer, default: 1}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, size: {type: integer}}}
          status: {type: object, properties: {replicas: {type: integer}}}
"""
OBJECT = """
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: mine, labels: {a: b}}
spec: {cronSpec: "* * * * */5", parts: [{name: x, size: 1}]}
"""


async def test_a_definition_and_its_objects(kubectl: Kubectl) -> None:
    assert "created" in (await kubectl("apply", "-f", "-", stdin=DEFINITION)).out
    await kubectl("wait", "--for=condition=Established", "crd/crontabs.stable.example.com", "--timeout=10s")
    columns, row = (await kubectl("get", "crd", "crontabs.stable.example.com")).lines
    assert columns.split() == ["NAME", "CREATED", "AT"] and row.startswith("crontabs.stable.example.com")

    assert "crontab.stable.example.com/mine created" in (await kubectl("apply", "-f", "-", stdin=OBJECT)).out
    assert "unchanged" in (await kubectl("apply", "-f", "-", stdin=OBJECT)).out
    changed = OBJECT.replace("*/5", "*/6")
    assert "unchanged" not in (await kubectl("diff", "-f", "-", stdin=OBJECT)).out
    assert "configured" in (await kubectl("apply", "-f", "-", stdin=changed)).out
    header, row = (await kubectl("get", "ct")).lines
    assert header.split() == ["NAME", "SPEC", "REPLICAS"]
    assert row.split() == ["mine", "*", "*", "*", "*", "*/6", "1"]
    assert "crontab.stable.example.com/mine" in (await kubectl("get", "all")).out
    explained = (await kubectl("explain", "crontab.spec.cronSpec")).out
    assert "When it is done." in explained and "CronTab" in explained

    await kubectl("patch", "ct", "mine", "--type=merge", "-p", '{"spec":{"replicas":2}}')
    strategic = await kubectl.try_("patch", "ct", "mine", "-p", '{"spec":{"replicas":3}}')
    assert strategic.code != 0 and "application/strategic-merge-patch+json is not supported" in strategic.err
    await kubectl("scale", "ct", "mine", "--replicas=4")
    assert json.loads((await kubectl("get", "ct", "mine", "-o", "json")).out)["spec"]["replicas"] == 4
    refused = await kubectl.try_("scale", "ct", "mine", "--replicas=11")
    assert refused.code != 0 and "at most ten" in refused.err
    strict = await kubectl.try_("apply", "-f", "-", stdin=OBJECT + "junk: 1\n")
    assert strict.code != 0 and 'unknown field "junk"' in strict.err
    await kubectl("label", "ct", "mine", "c=d")
    assert yaml.safe_load((await kubectl("get", "ct", "-l", "c=d", "-o", "yaml")).out)["items"][0]["metadata"]["name"] == "mine"
    await kubectl("delete", "ct", "mine")

    await kubectl("apply", "-f", "-", stdin=OBJECT)
    await kubectl("delete", "crd", "crontabs.stable.example.com")
    gone = await kubectl.try_("get", "ct")
    assert gone.code != 0 and "could not find the requested resource" in gone.err  # it remembers what was served
