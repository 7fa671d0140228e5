"""Golden scenarios: objects in `*.input.yaml`, the routing table and ruleset in `*.output.txt`.

`pytest --rewrite tests/proxy/test_scenarios.py` writes the outputs anew; read the difference before you keep it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.machinery import codec
from services.proxy.datapath.nftables import ruleset
from services.proxy.datapath.nftables.skeleton import Base
from services.proxy.datapath.nftables.slots import Slots
from services.proxy.routing.build import build_table
from services.proxy.routing.endpoints import Place
from services.proxy.routing.table import Endpoint, Route, RoutingTable
from tests.support import golden

SCENARIOS = Path(__file__).parent / "scenarios"
HERE = Place("node-a", "zone-a")
BASE = Base("knarr", "10.96.0.0/16", "10.244.0.0/16", "knarr0")


@pytest.mark.parametrize("name", sorted(path.name.removesuffix(".input.yaml") for path in SCENARIOS.glob("*.input.yaml")))
def test_scenario(name: str) -> None:
    services, slices = _load(SCENARIOS / f"{name}.input.yaml")
    table = build_table(services, slices, HERE)
    assert table == build_table(reversed(services), reversed(slices), HERE), "the table depends on the order of the objects"
    text = f"{_describe(table)}\n{ruleset.full(BASE, Slots(), table.values())}"
    golden.check(SCENARIOS / f"{name}.output.txt", text)


def _load(path: Path) -> tuple[list[core.Service], list[discovery.EndpointSlice]]:
    services, slices = [], []
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] == "Service":
            services.append(_decode(document, core.Service))
        else:
            slices.append(_decode(document, discovery.EndpointSlice))
    return services, slices


def _decode(document: dict[str, Any], message: type[Any]) -> Any:
    stamp = document["metadata"].get("creationTimestamp")
    if isinstance(stamp, datetime):
        document["metadata"]["creationTimestamp"] = stamp.strftime("%Y-%m-%dT%H:%M:%SZ")
    return codec.from_json(message, document).message


def _describe(table: RoutingTable) -> str:
    lines = []
    for route in table.values():
        lines += [f"{route.key} {route.protocol} {' '.join(_places(route))}", *_wishes(route)]
        lines += _endpoints("->", route.endpoints) + (_endpoints("=>", route.local_endpoints) if route.needs_local else [])
        lines += [f"  ! {limitation}" for limitation in route.limitations]
    return "\n".join(lines) + "\n"


def _endpoints(arrow: str, endpoints: tuple[Endpoint, ...]) -> list[str]:
    found = [f"  {arrow} {endpoint.address}:{endpoint.port} {endpoint.pod}".rstrip() for endpoint in endpoints]
    return found or [f"  {arrow} nobody"]


def _places(route: Route) -> list[str]:
    """ClusterIPs, `+` external addresses, `^` those of load balancers (`^^`: announced here), `*` the NodePort."""
    found = [f"{ip}:{route.port}" for ip in route.cluster_ips] + [f"+{ip}:{route.port}" for ip in route.external_ips]
    found += [f"{'^^' if route.held else '^'}{ip}:{route.port}" for ip in route.load_balancer_ips]
    return found + ([f"*:{route.node_port}"] if route.node_port else [])


def _wishes(route: Route) -> list[str]:
    wishes = {
        "internal": route.internal_policy,
        "external": route.external_policy,
        "from": ",".join(route.source_ranges),
        "affinity": f"{route.affinity_seconds}s" if route.affinity_seconds else "",
        "health": f"{route.health_check_port} {','.join(route.local_ready)}".strip() if route.health_check_port else "",
    }
    return [f"  {name}: {wish}" for name, wish in wishes.items() if wish not in ("", "Cluster")]
