"""Services as a kubectl user makes, changes and looks at them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.apiserver.rest.kubectl import Kubectl

pytestmark = pytest.mark.etcd

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, image: busybox, ports: [{containerPort: 8080}]}]}
"""


async def service(kubectl: Kubectl, name: str = "web") -> Any:
    return json.loads((await kubectl("get", "service", name, "-o", "json")).out)


async def row(kubectl: Kubectl, name: str = "web") -> list[str]:
    """TYPE, CLUSTER-IP, EXTERNAL-IP and PORT(S) of one line."""
    return (await kubectl("get", "service", name, "--no-headers")).out.split()[1:5]


async def patch(kubectl: Kubectl, change: dict[str, Any], *arguments: str) -> None:
    await kubectl("patch", "service", "web", "-p", json.dumps(change), *arguments)


async def test_every_way_to_create_one(kubectl: Kubectl) -> None:
    await kubectl("create", "service", "clusterip", "web", "--tcp=80:8080")
    assert (await row(kubectl))[0::2] == ["ClusterIP", "<none>"]
    await kubectl("create", "service", "clusterip", "peers", "--clusterip=None")
    assert await row(kubectl, "peers") == ["ClusterIP", "None", "<none>", "<none>"]
    await kubectl("create", "service", "nodeport", "door", "--tcp=80:8080", "--node-port=30123")
    assert (await row(kubectl, "door"))[2:] == ["<none>", "80:30123/TCP"]
    await kubectl("create", "service", "loadbalancer", "front", "--tcp=80:8080")
    assert (await row(kubectl, "front"))[0::2] == ["LoadBalancer", "<pending>"]
    await kubectl("create", "service", "externalname", "there", "--external-name=a.example.com", "--tcp=80:80")
    assert await row(kubectl, "there") == ["ExternalName", "<none>", "a.example.com", "80/TCP"]


async def test_expose_and_describe(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=POD)
    await kubectl(
        "expose", "pod", "web", "--port=80", "--target-port=8080", "--type=LoadBalancer", "--load-balancer-ip=192.0.2.7",
        "--external-ip=192.0.2.9", "--session-affinity=ClientIP", "--name=web",
    )  # fmt: skip
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}
    await patch(kubectl, {"status": status}, "--subresource=status")
    await patch(kubectl, {"spec": {"externalTrafficPolicy": "Local", "loadBalancerSourceRanges": ["10.0.0.0/8"]}})
    assert (await row(kubectl))[2] == "192.0.2.7,192.0.2.9"
    told = dict(re.findall(r"^([A-Za-z ]+):[ \t]+(.*)$", (await kubectl("describe", "service", "web")).out, re.MULTILINE))
    made = (await service(kubectl))["spec"]
    assert told["Type"] == "LoadBalancer" and told["Selector"] == "app=web" and told["IP"] == made["clusterIP"]
    assert told["IP Family Policy"] == "SingleStack" and told["IP Families"] == "IPv4" and told["IPs"] == made["clusterIP"]
    assert told["LoadBalancer Ingress"] == "192.0.2.7 (VIP)" and told["Desired LoadBalancer IP"] == "192.0.2.7"
    assert told["Session Affinity"] == "ClientIP" and told["External Traffic Policy"] == "Local"
    assert told["HealthCheck NodePort"] == str(made["healthCheckNodePort"]) and told["LoadBalancer Source Ranges"] == "10.0.0.0/8"
    assert told["Port"] == "<unset>  80/TCP" and told["TargetPort"] == "8080/TCP" and told["External IPs"] == "192.0.2.9"


async def test_types_change_into_one_another(kubectl: Kubectl) -> None:
    await kubectl("create", "service", "loadbalancer", "web", "--tcp=80:8080")
    address = (await service(kubectl))["spec"]["clusterIP"]
    await patch(kubectl, {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}, "--subresource=status")
    await patch(kubectl, {"spec": {"type": "ClusterIP"}})
    assert await row(kubectl) == ["ClusterIP", address, "<none>", "80/TCP"]
    found = await service(kubectl)
    assert not {"allocateLoadBalancerNodePorts", "externalTrafficPolicy"} & set(found["spec"]) and found["status"] == {"loadBalancer": {}}
    await patch(kubectl, {"spec": {"type": "ExternalName", "externalName": "a.example.com"}})
    assert await row(kubectl) == ["ExternalName", "<none>", "a.example.com", "80/TCP"]
    await patch(kubectl, {"spec": {"type": "NodePort", "externalName": None}})
    assert re.fullmatch(r"80:3\d{4}/TCP", (await row(kubectl))[3])


async def test_applying_the_same_again_changes_nothing(kubectl: Kubectl) -> None:
    manifest = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]},
        }
    )
    await kubectl("apply", "-f", "-", stdin=manifest)
    before = await service(kubectl)
    assert "unchanged" in (await kubectl("apply", "-f", "-", stdin=manifest)).out
    await kubectl("replace", "-f", "-", stdin=manifest)
    after = await service(kubectl)
    assert after["spec"] == before["spec"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["clusterip", "web", "--tcp=80", "--clusterip=10.9.0.1"], "provided IP (10.9.0.1) is not in the valid range"),
        (
            ["nodeport", "web", "--tcp=80", "--node-port=80"],
            "provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (["clusterip", "web", "--tcp=80", "--clusterip=x"], 'spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address'),
    ],
    ids=["range", "port", "address"],
)
async def test_refusals(kubectl: Kubectl, arguments: list[str], words: str) -> None:
    assert words in await kubectl.refused("create", "service", *arguments)


async def test_sctp_is_refused_by_the_name_of_its_field(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=POD)
    said = await kubectl.refused("expose", "pod", "web", "--port=80", "--protocol=SCTP")
    assert 'spec.ports[0].protocol: Unsupported value: "SCTP": supported values: "TCP", "UDP"' in said
