"""Load balancers of Services: observe, decide, execute."""

from __future__ import annotations

from collections.abc import Sequence

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from services.cloud.errors import Refused, Unavailable
from services.cloud.providers.aws.api import AwsApi
from services.cloud.providers.aws.decide import decide_delete, decide_ensure, decide_targets, differ_by_targets_only, lacks_groups
from services.cloud.providers.aws.execute import Executor
from services.cloud.providers.aws.inventory import Inventory
from services.cloud.providers.aws.machines import Machine
from services.cloud.providers.aws.model import Observed, Wish
from services.cloud.providers.aws.names import Names, names_for
from services.cloud.providers.aws.network import Network
from services.cloud.providers.aws.observe import Observer
from services.cloud.providers.aws.options import PREFIX, Options, read_options
from services.cloud.providers.aws.settings import AwsSettings
from services.cloud.providers.aws.subnets import ROLE_TAGS
from services.cloud.providers.aws.wish import make_wish


class LoadBalancers:
    """One network load balancer for each Service, with all it needs.

    What was brought about last is remembered by the load balancer's name, for two savings: when only nodes have changed, only targets are
    looked at; and target groups that no load balancer uses, left from a crash, are looked for only as long as there may be some, for that
    costs a list of all target groups of the account.
    """

    def __init__(self, api: AwsApi, settings: AwsSettings, inventory: Inventory) -> None:
        self._api = api
        self._settings = settings
        self._inventory = inventory
        self._network = Network(api, settings)
        self._reached: dict[str, Wish] = {}

    async def ensure(self, cluster: str, service: core.Service, nodes: Sequence[core.Node]) -> cloud.LoadBalancer:
        """Brings everything of the Service to what it asks for."""
        options, names = read_options(service.metadata.annotations), names_for(cluster, service)
        machines, limitations = await self._machines(nodes)
        thorough = names.load_balancer not in self._reached
        observed = await Observer(self._api, names).all(thorough=thorough, security_groups=options.security_groups)
        wish = await self._wish(names, service, options, machines, nodes, observed)
        if not thorough and lacks_groups(wish, observed):
            # They may be there, and no longer in use.
            observed = await Observer(self._api, names).all(thorough=True, security_groups=options.security_groups)
        if not wish.subnets and not (wish.discovered and observed.balancer):
            raise Refused(_no_subnets(options, wish, cluster))
        self._reached.pop(names.load_balancer, None)
        executor = Executor(self._api, observed)
        await executor.take(decide_ensure(wish, observed))
        self._reached[names.load_balancer] = wish
        if observed.balancer and observed.balancer.state == "failed":
            raise Unavailable(f"load balancer {names.load_balancer}: AWS could not make it")
        return _answer(executor.dns_name, [*options.limitations, *limitations])

    async def update(self, cluster: str, service: core.Service, nodes: Sequence[core.Node]) -> cloud.LoadBalancer:
        """Makes an existing load balancer send to these nodes; one that lacks more than targets is ensured."""
        options, names = read_options(service.metadata.annotations), names_for(cluster, service)
        machines, limitations = await self._machines(nodes)
        observed, reached = await Observer(self._api, names).targets(), self._reached.get(names.load_balancer)
        wish = await self._wish(names, service, options, machines, nodes, observed)
        if reached is None or observed.balancer is None or not differ_by_targets_only(wish, reached, observed):
            return await self.ensure(cluster, service, nodes)
        await Executor(self._api, observed).take(decide_targets(wish, observed))
        self._reached[names.load_balancer] = wish
        return _answer(observed.balancer.dns_name, [*options.limitations, *limitations])

    async def delete(self, cluster: str, service: core.Service) -> None:
        """Removes everything that was made for the Service, also what only parts of are left of."""
        names = names_for(cluster, service)
        self._reached.pop(names.load_balancer, None)
        observed = await Observer(self._api, names).all(thorough=True)
        await Executor(self._api, observed).take(decide_delete(observed, names.rule_description))

    async def _machines(self, nodes: Sequence[core.Node]) -> tuple[list[Machine], list[str]]:
        """The machines that carry traffic, and why other nodes do not."""
        machines, limitations = [], []
        for node, found in zip(nodes, await self._inventory.find_all(nodes), strict=True):
            if found.machine is not None and found.machine.running:
                machines.append(found.machine)
            else:
                state = found.machine.state if found.machine else "gone"
                limitations.append(f"{found.problem or f'node {node.metadata.name}: its instance is {state}'}; it gets no traffic")
        return machines, limitations

    async def _wish(
        self,
        names: Names,
        service: core.Service,
        options: Options,
        machines: Sequence[Machine],
        nodes: Sequence[core.Node],
        observed: Observed,
    ) -> Wish:
        present = observed.balancer.vpc if observed.balancer else ""
        place = await self._network.place(names.cluster, options, machines, present)
        near = [machine for machine in machines if machine.vpc == place.vpc]
        return make_wish(names, service, options, self._settings, place, near, nodes)


def _no_subnets(options: Options, wish: Wish, cluster: str) -> str:
    return (
        f"no subnet of {wish.vpc} in a zone of the nodes can hold an {options.scheme} load balancer of cluster {cluster}: give one the tag "
        f"{ROLE_TAGS[options.scheme]}=1, or name it in the annotation {PREFIX}subnets or in aws.subnets"
    )


def _answer(dns_name: str, limitations: Sequence[str]) -> cloud.LoadBalancer:
    answer = cloud.LoadBalancer(limitations=limitations)
    if dns_name:
        answer.status.ingress.add(hostname=dns_name)
    return answer
