"""Ports and address ranges for named clusters, so that several of them fit on one machine. Pure.

A cluster gets a slot when it is made, and keeps it with its settings. Slots lie apart from the defaults of `knarr up` without a name,
from the ports that the kernel gives to outgoing connections (from 32768 on) and from node ports (30000 to 32767). Pods have the upper half
of 10.0.0.0/8, in which a range grows with the number of simulated nodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network
from itertools import product
from pathlib import Path

from knarr.service.errors import CommandError
from services.standalone.settings import ClusterSettings, Ports

SLOTS = 64
FIRST_PORT, PORTS_EACH = 26_000, 16
# The second parts of addresses in 10.0.0.0/8: Services of 16 slots, load balancers and nodes of all, pods of one.
SERVICES, BALANCERS, PODS = 98, 110, 128
SERVICE_PREFIX = 20


def slot(number: int, data_dir: Path) -> ClusterSettings:
    """The settings of a slot."""
    first = FIRST_PORT + number * PORTS_EACH
    ports = {field.name: first + place for place, field in enumerate(dataclasses.fields(Ports))}
    sixteenth = number % 16 * 16
    return ClusterSettings(
        data_dir=data_dir,
        ports=Ports(**ports),
        service_cidr=f"10.{SERVICES + number // 16}.{sixteenth}.0/{SERVICE_PREFIX}",
        cluster_cidr=f"10.{PODS + number}.0.0/16",
        pod_cidr=f"10.{PODS + number}.0.0/24",
        load_balancer_pool=f"10.{BALANCERS}.{number}.0/24",
        node_cidr=f"10.{BALANCERS}.{SLOTS + number}.0/24",
    )


def choose(data_dir: Path, others: Iterable[ClusterSettings], is_free: Callable[[ClusterSettings], bool]) -> ClusterSettings:
    """The first slot that meets none of the others', whether or not they run, and that the machine has free. Raises CommandError."""
    kept = list(others)
    for number in range(SLOTS):
        found = slot(number, data_dir)
        if not any(meet(found, other) for other in kept) and is_free(found):
            return found
    raise CommandError(
        f"no ports and ranges are free for one more cluster ({SLOTS} were looked at); remove one (`knarr list`, `knarr delete NAME`),"
        " or choose them by the options of `knarr up --data-dir DIR`"
    )


def meet(one: ClusterSettings, other: ClusterSettings) -> bool:
    """Whether two clusters have a port or an address in common."""
    ports = {port for port in dataclasses.astuple(one.ports) if port}
    if not ports.isdisjoint(dataclasses.astuple(other.ports)):
        return True
    return any(mine.overlaps(yours) for mine, yours in product(_ranges(one), _ranges(other)))


def _ranges(settings: ClusterSettings) -> list[IPv4Network]:
    return [IPv4Network(text) for text in (settings.service_cidr, settings.cluster_cidr, settings.load_balancer_pool, settings.node_cidr)]
