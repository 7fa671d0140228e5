"""The thin executor of the pod network: reads what the kernel has, takes the steps to the plan.

What a predecessor left is taken over; only differences are changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from knarr.netlink.messages import NetlinkRefused
from services.proxy.datapath.docker_user import DockerUser, remove_rules
from services.proxy.datapath.nftables.libnftables import NftablesError
from services.proxy.datapath.node_network import read_sysctl, write_sysctl
from services.proxy.podnetwork.links import PodLinks
from services.proxy.podnetwork.masquerade import Masquerade
from services.proxy.podnetwork.plan import VXLAN, Member, Peer, Plan, Underlay, mac_of, make_plan, without
from services.proxy.podnetwork.state import Device, Forward, Neighbour, Route, State, steps
from services.proxy.settings import ProxySettings

FORWARDING = "net.ipv4.ip_forward"
# A look costs a process.
LOOKS_PER_LOOK_AT_DOCKER = 10


class PodKernel:
    """One node's pod network in the network namespace of the first call. All calls in one thread: they wait for the kernel."""

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._links: PodLinks | None = None
        self._masquerade: Masquerade | None = None
        self._docker_users = _docker_users(settings)
        self._opened_looks = 0
        # What was decided last, and from what.
        self._facts: tuple[Sequence[Member], Underlay | None] | None = None
        self._plan = Plan(Member(settings.node_name, "", ""))

    def bring(self, found: Sequence[Member]) -> tuple[Plan, list[str]]:
        """Takes the steps from what is there to what the Nodes want; answers the plan with what was refused, and what cannot be had.

        OSError or NftablesError when nothing could be done.
        """
        links = self._open()
        own = next((one.address for one in found if one.name == self._settings.node_name), "")
        facts = (found, links.underlay(own))
        if facts != self._facts:
            self._plan, self._facts = make_plan(self._settings, *facts), facts
        plan = self._plan
        limitations = self._prepare()
        if plan.problem:
            # Nothing is known of what should be: what a predecessor put in force stays.
            return plan, limitations
        return without(plan, self._perform(links, plan.state, plan.peers)), limitations

    def _open(self) -> PodLinks:
        if self._links is None:
            self._links = PodLinks(self._settings)
        self._links.block()
        return self._links

    def _prepare(self) -> list[str]:
        """Forwarding and masquerading; answers what cannot be had."""
        limitations = []
        if read_sysctl(FORWARDING) != "1" and not write_sysctl(FORWARDING, "1"):
            limitations.append(f"pods do not reach other nodes: {FORWARDING} cannot be set to 1")
        try:
            if self._masquerade is None:
                self._masquerade = Masquerade(self._settings)
            self._masquerade.ensure()
        except (OSError, NftablesError) as error:
            limitations.append(f"pods reach the outside only if something else masquerades them: {error}")
        else:
            if not self._let_through(self._masquerade):
                limitations.append(
                    "pods of other nodes may not reach this node's: its packet filter (table ip filter, chain FORWARD) drops what it "
                    "does not know, and there is no chain DOCKER-USER for a rule of ours"
                )
        return limitations

    def _let_through(self, masquerade: Masquerade) -> bool:
        """Whether another's packet filter forwards what is for pods; a rule of ours sees to it where it can."""
        dropped = masquerade.forwarding_is_dropped()
        if not dropped and not _is_among_networks(self._settings):
            self._opened_looks = 0
            return True
        if self._opened_looks == 0 and not all(one.ensure() for one in self._docker_users):
            return not dropped
        self._opened_looks = (self._opened_looks + 1) % LOOKS_PER_LOOK_AT_DOCKER
        return True

    @staticmethod
    def _perform(links: PodLinks, wanted: State, peers: Sequence[Peer]) -> dict[str, str]:
        """Takes every step that can be taken; answers what was refused, by the range it leads to."""
        refused: dict[str, str] = {}
        for step in steps(links.read(), wanted):
            try:
                links.perform(step)
            except NetlinkRefused as error:
                for cidr in _led_to(step.what, peers):
                    # What fails later fails because of it.
                    refused.setdefault(cidr, f"{_name(step.what)}: {error.args[-1]}")
        return refused

    def close(self) -> None:
        """Changes nothing on the node."""
        if self._masquerade is not None:
            self._masquerade.close()
        if self._links is not None:
            self._links.close()
        self._masquerade = self._links = None


def _is_among_networks(settings: ProxySettings) -> bool:
    """Whether nodes are on another network of this machine's: Docker keeps its networks apart, whatever else it forwards."""
    return any(not hop for _, hop in settings.next_hops)


def _docker_users(settings: ProxySettings) -> list[DockerUser]:
    """What Docker's packet filter is to let through: all that is for pods, and for nodes that are on a network of this machine's."""
    ranges = (settings.pod_cidr, *(network for network, hop in settings.next_hops if not hop))
    return [DockerUser(cidr, settings.pod_table, translated_only=False) for cidr in ranges]


def _led_to(what: Device | Route | Neighbour | Forward, peers: Sequence[Peer]) -> list[str]:
    """The ranges that are not reached without it."""
    if isinstance(what, Device):
        return [peer.pod_cidr for peer in peers if peer.way == VXLAN]
    if isinstance(what, Route):
        return [what.destination]
    mac = what.mac
    return [peer.pod_cidr for peer in peers if peer.way == VXLAN and mac_of(peer.address) == mac]


def _name(what: Device | Route | Neighbour | Forward) -> str:
    """The interface's name, for people."""
    if isinstance(what, Device):
        return f"the VXLAN device {what.name} (VNI {what.vni}, UDP port {what.port}) cannot be made"
    if isinstance(what, Route):
        return f"no route to {what.destination} through {what.gateway} can be made"
    return f"the entry for {what.address} ({what.mac}) cannot be made"


def remove_pod_network(settings: ProxySettings) -> None:
    """Removes routes, device, table and rule for Docker, whoever left them. Safe where there are none."""
    with contextlib.suppress(OSError, NftablesError):
        masquerade = Masquerade(settings)
        try:
            masquerade.remove()
        finally:
            masquerade.close()
    remove_rules(settings.pod_table)
    with contextlib.suppress(PermissionError):
        links = PodLinks(settings)
        try:
            for step in steps(links.read(), State()):
                links.perform(step)
            links.unblock()
        finally:
            links.close()
