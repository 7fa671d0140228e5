"""The provider against an account, as the manager calls it, with its calls to AWS counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.informer import Informers
from services.cloud.provider import Environment
from services.cloud.providers.aws import provider as provider_module
from services.cloud.providers.aws.api import AwsApi
from services.cloud.providers.aws.provider import AwsProvider
from services.cloud.providers.aws.settings import AwsSettings
from tests.cloud.aws.account import CLUSTER, REGION, Account
from tests.support.api import FaultyApi


class Driver:
    """Calls the provider for one cluster. ``nodes`` are those of all calls that name none."""

    def __init__(self, provider: AwsProvider, nodes: Sequence[core.Node]) -> None:
        self.provider = provider
        self.nodes = list(nodes)

    async def ensure(self, service: core.Service, nodes: Sequence[core.Node] | None = None) -> cloud.LoadBalancer:
        request = cloud.EnsureLoadBalancerRequest(cluster=CLUSTER, service=service, nodes=self.nodes if nodes is None else nodes)
        return (await self.provider.ensure_load_balancer(request)).load_balancer

    async def update(self, service: core.Service, nodes: Sequence[core.Node]) -> cloud.LoadBalancer:
        request = cloud.UpdateLoadBalancerRequest(cluster=CLUSTER, service=service, nodes=nodes)
        return (await self.provider.update_load_balancer(request)).load_balancer

    async def delete(self, service: core.Service) -> None:
        await self.provider.delete_load_balancer(cloud.DeleteLoadBalancerRequest(cluster=CLUSTER, service=service))

    async def instance(self, node: core.Node) -> cloud.Instance:
        return (await self.provider.get_instance(cloud.GetInstanceRequest(node=node))).instance

    def calls(self) -> Counter[str]:
        """The calls to AWS since the last time."""
        found = Counter(self.provider.api.calls)
        self.provider.api.calls.clear()
        return found


def changes(calls: Counter[str]) -> Counter[str]:
    """Those that do not only describe."""
    return Counter({action: number for action, number in calls.items() if ":Describe" not in action})


@asynccontextmanager
async def driving(
    account: Account,
    *,
    nodes: Sequence[core.Node] | None = None,
    known: Sequence[core.Node] = (),
    api: AwsApi | None = None,
    **settings: Any,
) -> AsyncIterator[Driver]:
    """A provider of its own life, as after a restart of the manager.

    ``nodes`` of its load balancers; ``known``: those that its cluster has. ``api``: the way to AWS of an earlier life.
    """
    client = FaultyApi().client()
    informers = Informers(client)
    for node in known:
        informers.get(core.Node).store.put(node)
    environment = Environment(CLUSTER, client, informers, lambda key: None)
    with pytest.MonkeyPatch.context() as patch:
        if api is not None:
            patch.setattr(provider_module, "AwsApi", lambda settings: api)
        provider = AwsProvider(AwsSettings(**{"region": REGION, "endpoint_url": account.url, **settings}), environment)
    try:
        yield Driver(provider, account.nodes() if nodes is None else nodes)
    finally:
        if api is None:
            await provider.close()


def service(
    name: str = "web", annotations: dict[str, str] | None = None, ports: Sequence[tuple[str, int, int]] = (("TCP", 80, 30080),)
) -> core.Service:
    """``ports``: protocol, port, NodePort."""
    made = core.Service()
    made.metadata.name, made.metadata.namespace, made.metadata.uid = name, "default", f"uid-of-{name}"
    made.metadata.annotations.update(annotations or {})
    made.spec.type = "LoadBalancer"
    for protocol, port, node_port in ports:
        made.spec.ports.add(name=f"{protocol.lower()}-{port}", protocol=protocol, port=port, node_port=node_port)
    return made
