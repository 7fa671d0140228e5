"""Machines of their own: the components as processes in network namespaces, two nodes on different networks, joined by VXLAN.

Nodes come without a range: the controller gives each one, the kubelet takes it, the proxies lead to it. Pods are namespaces that the test
makes, or containers of the machine's own engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.laboratory import Namespace
from tests.proxy.machines import OUTSIDE, Machine, Machines
from tests.support.cluster_client import ROOT, run
from tests.support.components import Components
from tests.support.engine import IMAGE, ensure_image
from tests.support.own_engine import OwnEngine

pytestmark = [pytest.mark.net, pytest.mark.etcd]

PORT = 8080
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [%s]
"""


class Hosts(Components):
    """The control plane in the laboratory's router; on each machine a hollow kubelet and a proxy."""

    def __init__(self, folder: Path, lab: Machines) -> None:
        self.lab = lab
        self.node_names = tuple(node.name for node in lab.nodes)
        self.hosts = tuple(address for node in lab.nodes for address in (node.gateway, node.address))
        # Of machines with an engine of their own, by number.
        self.engines: dict[int, OwnEngine] = {}
        super().__init__(folder)
        self.ports |= {f"{service}-{node.number}": 20000 + node.number for node in lab.nodes for service in ("kubelet", "proxy")}
        self.ports |= {f"proxy-{node.number}": 20100 + node.number for node in lab.nodes}

    def namespace(self, name: str) -> Namespace:
        number = name.partition("-")[2]
        return self.lab.nodes[int(number)].namespace if number else self.lab.fabric

    def options(self, name: str) -> list[str]:
        service, _, number = name.partition("-")
        node = self.lab.nodes[int(number)] if number else None
        user = node.name if node is not None and service == "kubelet" else service
        options = [
            f"--token={self.data_dir / user}.token",
            f"--cert={self.data_dir / service}.crt",
            f"--key={self.data_dir / service}.key",
        ]
        options += [f"--ca={self.data_dir / 'ca.crt'}", f"--tokens={self.data_dir / 'tokens.csv'}", "--log-style=text"]
        options.append(f"--listen=0.0.0.0:{self.ports[name]}")
        if service == "apiserver":
            return ["-m", "services.apiserver", *options, f"--etcd={self.etcd.endpoint}", f"--rest-listen=127.0.0.1:{self.rest}"]
        options.append(f"--apiserver={node.gateway if node else '127.0.0.1'}:{self.ports['apiserver']}")
        if node is not None:
            options.append(f"--node-name={node.name}")
        if service == "kubelet" and node is not None:
            runtime = "docker" if node.number in self.engines else "hollow"
            options += [f"--runtime={runtime}", f"--data-dir={self.data_dir / name}", f"--node-ip={node.address}"]
        if service == "proxy":
            options += ["--pod-network=auto", *([] if self.engines else ["--pod-bridge=knarr0"])]
        return ["-m", f"services.{service}", *options]

    def start(self, *names: str) -> None:
        for name in names:
            number = name.partition("-")[2]
            engine = self.engines.get(int(number)) if number else None
            environment = {**os.environ, **({"DOCKER_HOST": engine.url} if engine else {})}
            # A process begins in the namespace of the thread that starts it.
            with self.namespace(name).entered(), (self.data_dir / f"{name}.log").open("ab") as log:
                command = [sys.executable, *self.options(name)]
                self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)

    def nodes(self) -> dict[str, Any]:
        with self.lab.fabric.entered():
            found = self.kubectl("get", "nodes", "-o", "json", check=False)
        items = json.loads(found.stdout)["items"] if found.returncode == 0 else []
        return {item["metadata"]["name"]: item for item in items}

    def ready(self) -> set[str]:
        return {
            name
            for name, node in self.nodes().items()
            if any((found["type"], found["status"]) == ("Ready", "True") for found in node["status"]["conditions"])
        }

    def pod_network(self, node: Machine) -> Any:
        with node.namespace.entered():
            return self.call(f"proxy-{node.number}", "knarr.api.proxy.v1.ProxyService/GetPodNetwork") or {}

    def is_connected(self, node: Machine) -> bool:
        found = self.pod_network(node)
        return [peer.get("way") for peer in found.get("peers", [])] == ["vxlan"] and found["mtu"] == 1450


async def until(condition: Callable[[], object], hosts: Hosts) -> None:
    try:
        async with asyncio.timeout(40):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError("\n".join(hosts.logs())) from None


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with Machines(2, routed=True, pods=0).opened() as lab:
        made = Hosts(tmp_path, lab)
        with contextlib.ExitStack() as stack:
            with lab.fabric.entered():
                made.etcd.start()
            stack.callback(made.stop)
            yield made


async def test_nodes_get_their_ranges_and_pods_reach_one_another(hosts: Hosts) -> None:
    lab = hosts.lab
    hosts.start("apiserver", "kubelet-0", "proxy-0", "kubelet-1", "proxy-1")
    await until(lambda: len(hosts.nodes()) == 2, hosts)
    # Nobody gives ranges yet, and the nodes say so.
    assert hosts.ready() == set()
    assert all("podCIDR" not in node["spec"] for node in hosts.nodes().values())
    hosts.start("controller")
    await until(lambda: hosts.ready() == {"node-0", "node-1"}, hosts)
    ranges = {name: node["spec"]["podCIDR"] for name, node in hosts.nodes().items()}
    assert set(ranges.values()) == {"10.244.0.0/24", "10.244.1.0/24"}
    here, there = lab.nodes
    for node in lab.nodes:
        await until(partial(hosts.is_connected, node), hosts)
        node.subnet = int(ranges[node.name].split(".")[2])
        node.pods.append(Namespace())
        lab.attach_pods(node)
        await lab.serve_in(node.pods[0], node.pod_address(), PORT, node.name)
    await lab.serve_in(lab.outside, OUTSIDE, PORT, "outside")
    for one, other in ((here, there), (there, here)):
        assert await lab.ask(other.pod_address(), PORT, origin=one.pods[0]) == (other.name, one.pod_address())
        assert await lab.ask(OUTSIDE, PORT, origin=one.pods[0]) == ("outside", one.address)
    endpoints = ", ".join(f"{{addresses: [{node.pod_address()}], conditions: {{ready: true}}}}" for node in lab.nodes)
    with lab.fabric.entered():
        hosts.kubectl("apply", "-f", "-", stdin=SERVICE % endpoints)
    for node in lab.nodes:
        for origin in (node.pods[0], node.namespace):
            await until_answers(lab, origin)
            answers = Counter([(await lab.ask("10.96.0.10", 80, origin=origin))[0] for _ in range(4)])
            assert answers == {"node-0": 2, "node-1": 2}
    # Pods talk on without a proxy, and its successor finds all as it should be.
    hosts.kill("proxy-0")
    assert await lab.ask(there.pod_address(), PORT, origin=here.pods[0]) == (there.name, here.pod_address())
    before = ours(here)
    hosts.start("proxy-0")
    await until(partial(hosts.is_connected, here), hosts)
    assert ours(here) == before
    # A node that leaves is forgotten; the way to it is unreachable then.
    hosts.kill("kubelet-1")
    with lab.fabric.entered():
        hosts.kubectl("delete", "node", "node-1")
    await until(lambda: not hosts.pod_network(here).get("peers"), hosts)
    with pytest.raises(OSError):
        await lab.ask(there.pod_address(), PORT, origin=here.namespace)
    hosts.kill("proxy-0")
    with here.namespace.entered():
        run([sys.executable, "-m", "services.proxy.uninstall"])
    assert ours(here) == []
    await lab.close_servers()


def ours(node: Machine) -> list[str]:
    """Routes, devices and tables of ours in a node's kernel."""
    with node.namespace.entered():
        routes = [line for protocol in ("75", "76") for line in run(["ip", "route", "show", "proto", protocol]).stdout.splitlines()]
        links = [line for line in run(["ip", "-o", "link"]).stdout.splitlines() if "knarr-vx" in line]
        return sorted([*routes, *links, *run(["nft", "list", "tables"]).stdout.splitlines()])


async def until_answers(lab: Machines, origin: Namespace) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                await lab.ask("10.96.0.10", 80, origin=origin)
                await lab.ask("10.96.0.10", 80, origin=origin)
                return
            await asyncio.sleep(0.05)


POD = """
apiVersion: v1
kind: Pod
metadata: {name: pod-%(number)s, labels: {app: who}}
spec:
  nodeName: node-%(number)s
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: %(image)s
    command: [sh, -c, "%(script)s"]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"""
SCRIPT = (
    "mkdir -p /tmp/cgi-bin; cd /tmp; printf '#!/bin/sh\\necho; echo $(hostname) ${REMOTE_ADDR##*:} | tr -d ]\\n' > cgi-bin/who; "
    "chmod +x cgi-bin/who; exec httpd -f -p 8080 -h /tmp"
)
WHO_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: who}
spec: {clusterIP: 10.96.0.20, selector: {app: who}, ports: [{port: 80, targetPort: 8080}]}
"""


@pytest.fixture
def engines(hosts: Hosts) -> Iterator[Hosts]:
    """Each machine has a Docker engine with the image."""
    ensure_image()
    with contextlib.ExitStack() as stack:
        for node in hosts.lab.nodes:
            engine = OwnEngine(Path(tempfile.mkdtemp(prefix="knarr-engine-")))
            with node.namespace.entered():
                stack.callback(engine.remove)
                engine.start()
            engine.load(IMAGE)
            hosts.engines[node.number] = engine
        # The kubelets end before their engines.
        yield hosts
        for name in [name for name in hosts.processes if name.startswith("kubelet")]:
            hosts.kill(name)


@pytest.mark.docker
async def test_containers_on_two_engines_are_one_network(engines: Hosts) -> None:
    hosts, lab = engines, engines.lab
    await lab.serve_in(lab.outside, OUTSIDE, PORT, "outside")
    hosts.start("apiserver", "controller", "kubelet-0", "proxy-0", "kubelet-1", "proxy-1")
    await until(lambda: hosts.ready() == {"node-0", "node-1"}, hosts)

    def kubectl(*arguments: str, stdin: str | None = None) -> str:
        with lab.fabric.entered():
            return hosts.kubectl(*arguments, stdin=stdin).stdout

    manifest = "---".join([WHO_SERVICE, *(POD % {"number": node.number, "image": IMAGE, "script": SCRIPT} for node in lab.nodes)])
    await asyncio.to_thread(kubectl, "apply", "-f", "-", stdin=manifest)
    try:
        await asyncio.to_thread(kubectl, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=40s")
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), kubectl("describe", "pods"), *hosts.logs()])) from None
    found = json.loads(kubectl("get", "pods", "-o", "json"))["items"]
    addresses = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in found}
    ranges = {name: node["spec"]["podCIDR"] for name, node in hosts.nodes().items()}
    assert all(ipaddress.ip_address(addresses[f"pod-{n}"]) in ipaddress.ip_network(ranges[f"node-{n}"]) for n in (0, 1))

    async def inside(pod: str, *command: str) -> list[str]:
        return (await asyncio.to_thread(kubectl, "exec", pod, "--", *command)).split()

    for one, other in (("pod-0", "pod-1"), ("pod-1", "pod-0")):
        assert await inside(one, "wget", "-qO-", f"http://{addresses[other]}:8080/cgi-bin/who") == [other, addresses[one]]
        through = await inside(one, "sh", "-c", "for i in 1 2 3 4; do wget -qO- http://10.96.0.20/cgi-bin/who; done")
        assert Counter(through[::2]) == {"pod-0": 2, "pod-1": 2}
        assert (await inside(one, "sh", "-c", f"echo | nc {OUTSIDE} {PORT}"))[:2] == ["outside", lab.nodes[int(one[-1])].address]
    await lab.close_servers()
