"""Who is let in where components listen, and how the store is reached."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator, Sequence

import grpc
import grpc.aio

from knarr.client.channel import open_channel
from services.command.checks.check import Check, NotHere
from services.command.checks.facts import Facts

CONNECT_SECONDS, ANSWER_SECONDS = 1.0, 5.0
KUBELET_PORT = 10250
LIST_PODS = "/knarr.api.kubelet.v1.KubeletService/ListPods"
# What no kubelet takes for a token.
NO_TOKEN = "knarr-audit-nobody"
_TRANSPORT = re.compile(r'^knarr_apiserver_etcd_transport_info\{transport="([^"]*)"\} 1', re.MULTILINE)
# Name, address and port of a kubelet.
Place = tuple[str, str, int]
SAFE = ("unix", "mutual-tls")
WORDS = {"plain": "in plain text", "tls": "over TLS, but shows it no certificate: it answers whoever comes"}


def _store(facts: Facts) -> Sequence[str]:
    found = _TRANSPORT.findall(facts.metrics)
    if not found:
        raise NotHere("the API server keeps its objects in memory")
    return [f"the API server speaks to etcd {WORDS.get(way, way)}" for way in found if way not in SAFE]


def _kubelets(facts: Facts) -> Sequence[str]:
    places = [place for place in _places(facts) if _is_open(place)]
    if not places and facts.nodes:
        raise NotHere("no kubelet can be reached from here")
    return asyncio.run(_ask_all(places, facts.api.authority)) if places else []


def _places(facts: Facts) -> Iterator[Place]:
    for node in facts.nodes:
        status = node.get("status", {})
        port = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port", KUBELET_PORT)
        for address in status.get("addresses", ()):
            if address["type"] == "InternalIP":
                yield node["metadata"]["name"], address["address"], port


def _is_open(place: Place) -> bool:
    try:
        socket.create_connection(place[1:], CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


async def _ask_all(places: Sequence[Place], authority: bytes) -> list[str]:
    found = await asyncio.gather(*(_ask(*place, authority, token) for place in places for token in ("", NO_TOKEN)))
    return [finding for finding in found if finding]


async def _ask(name: str, address: str, port: int, authority: bytes, token: str) -> str:
    """What is wrong with a kubelet that answers a stranger."""
    host = f"[{address}]" if ":" in address else address
    async with open_channel(f"{host}:{port}", authority, token, server_name=name) as channel:
        try:
            await channel.unary_unary(LIST_PODS)(b"", timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError:
            return ""
    return f"{name} at {host}:{port} tells its pods to {'any token' if token else 'who shows nothing'}"


CHECKS = (
    Check(
        "store-certificates",
        "the API server and etcd know one another by certificates, or by a socket of their owner's alone",
        "Who reaches a store that asks nobody reads and writes the whole cluster, past every role.",
        "Start etcd with --client-cert-auth and certificates, the API server with --etcd-ca, --etcd-cert and --etcd-key: "
        "`python -m services.compose.trust --etcd HOST` makes them (docs/install.md).",
        _store,
        cis=("1.2.25", "1.2.29", "2.1", "2.2"),
    ),
    Check(
        "node-strangers",
        "a kubelet tells and does nothing for who names nobody",
        "Logs of all pods, and commands in them, go through its port.",
        "Start it with --client-ca-file, or with --tokens: end what else listens there.",
        _kubelets,
        cis=("4.2.1", "4.2.2", "4.2.3"),
    ),
)
