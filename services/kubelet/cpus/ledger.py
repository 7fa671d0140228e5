"""Who has which processors, and the policy `static` by which they are given. Pure.

Specified by Kubernetes' CPU manager: a container of a Guaranteed pod that asks for whole processors has them alone until its pod has
ended; init containers that end leave theirs to those that come after them; all others share the rest, of which some are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from knarr.objects.pods import is_sidecar
from knarr.objects.qos import GUARANTEED, qos_of
from knarr.objects.whole_pods import asks_as_a_whole
from services.kubelet.cpu_policy import CpuPolicy, CpuSet, write_cpus
from services.kubelet.cpus.assignment import NotEnough, take, take_across
from services.kubelet.cpus.topology import Topology

SMT_ALIGNMENT, UNEXPECTED = "SMTAlignmentError", "UnexpectedAdmissionError"
NOBODYS: CpuSet = frozenset()


class NotGiven(Exception):
    """A pod does not get the processors that it asks for: reason and message, in Kubernetes' words."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CannotReserve(Exception):
    """What is to be kept for the system is not there."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """``shared`` is for all who have none alone; ``exclusive`` what containers have, by their names, by the uids of their pods."""

    shared: CpuSet
    exclusive: Mapping[str, Mapping[str, CpuSet]] = field(default_factory=dict)

    @property
    def given(self) -> CpuSet:
        return NOBODYS.union(*(cpus for containers in self.exclusive.values() for cpus in containers.values()))


def asked_alone(pod: core.Pod, spec: core.Container) -> int:
    """How many processors a container is to have alone; 0: it shares."""
    if qos_of(pod) != GUARANTEED or asks_as_a_whole(pod.spec) or "cpu" not in spec.resources.requests:
        return 0
    milli = quantity.milli(spec.resources.requests["cpu"].string)
    return 0 if milli % 1000 else milli // 1000


class StaticPolicy:
    """Of one machine."""

    def __init__(self, topology: Topology, policy: CpuPolicy, kept_milli: int) -> None:
        """``kept_milli`` is how much CPU the node keeps for the system. Raises CannotReserve."""
        self._topology, self._policy = topology, policy
        self.reserved = policy.reserved or _reserve(topology, -(-kept_milli // 1000))
        if not self.reserved:
            raise CannotReserve("the policy static needs processors that are kept for the system: give --reserved-cpus")
        if missing := self.reserved - topology.all:
            raise CannotReserve(f"processors {write_cpus(missing)} cannot be reserved: online are {write_cpus(topology.all)}")
        self._kept = topology.siblings(self.reserved) if policy.whole_cores else self.reserved

    def fresh(self) -> Ledger:
        """Before anybody has some alone."""
        return Ledger(self._known)

    @property
    def _known(self) -> CpuSet:
        """All that is in a ledger."""
        return self._topology.all - self.reserved if self._policy.strict else self._topology.all

    def fault(self, ledger: Ledger) -> str:
        """Why a ledger of an earlier kubelet cannot be gone on with, in Kubernetes' words; empty: it can."""
        shared, kept = write_cpus(ledger.shared), ledger.shared & self.reserved
        if self._policy.strict and kept:
            return f'some of strictly reserved cpus: "{write_cpus(kept)}" are present in defaultCpuSet: "{shared}"'
        if not self._policy.strict and kept != self.reserved:
            return f'not all reserved cpus: "{write_cpus(self.reserved)}" are present in defaultCpuSet: "{shared}"'
        others: dict[int, str] = {}
        for uid, containers in ledger.exclusive.items():
            for name, cpus in containers.items():
                if cpus & ledger.shared:
                    return f'pod: {uid}, container: {name} cpuset: "{write_cpus(cpus)}" overlaps with default cpuset "{shared}"'
                if any(others.setdefault(cpu, uid) != uid for cpu in cpus):
                    return f'pod: {uid}, container: {name} cpuset: "{write_cpus(cpus)}" overlaps with that of another pod'
        if ledger.shared | ledger.given != self._known:
            known = write_cpus(ledger.shared | ledger.given)
            return f'current set of available CPUs "{write_cpus(self._known)}" doesn\'t match with CPUs in state "{known}"'
        return ""

    def give(self, ledger: Ledger, pod: core.Pod) -> Ledger:
        """Gives a pod what its containers are to have alone; what they have already stays theirs. Raises NotGiven."""
        uid, shared = pod.metadata.uid, ledger.shared
        mine = dict(ledger.exclusive.get(uid, {}))
        over: set[str] = set()
        for spec, ends in _in_order(pod):
            if count := asked_alone(pod, spec):
                if spec.name not in mine:
                    mine[spec.name] = self._take(shared - self._kept, _left_by(over, mine), count)
                    shared -= mine[spec.name]
                if ends:
                    over.add(spec.name)
        return replace(ledger, shared=shared, exclusive={**ledger.exclusive, uid: mine}) if mine else ledger

    def release(self, ledger: Ledger, uid: str) -> Ledger:
        """What a pod had is for all again."""
        if uid not in ledger.exclusive:
            return ledger
        left = {other: containers for other, containers in ledger.exclusive.items() if other != uid}
        return Ledger(ledger.shared | NOBODYS.union(*ledger.exclusive[uid].values()), left)

    def commons(self, ledger: Ledger) -> CpuSet:
        """Where those run who have none alone. Under ``strict`` nothing may be left for them: then on what is kept, since elsewhere they
        would disturb whoever is to be alone."""
        return ledger.shared or self.reserved

    def _take(self, free: CpuSet, reusable: CpuSet, count: int) -> CpuSet:
        per_core = self._topology.threads_per_core
        if self._policy.whole_cores and count % per_core:
            raise NotGiven(SMT_ALIGNMENT, f"SMT Alignment Error: requested {count} cpus not multiple cpus per core = {per_core}")
        if self._policy.whole_cores and count > len(free | reusable):
            words = f"available physical CPUs = {len(free | reusable)}, requested CPUs = {count}, CPUs per core = {per_core}"
            raise NotGiven(SMT_ALIGNMENT, f"SMT Alignment Error: not enough free physical CPUs: {words}")
        try:
            again = take(self._topology, reusable, min(count, len(reusable)))
            return again | self._take_new(free - again, count - len(again))
        except NotEnough as error:
            told = NotEnough(count, len(free | reusable))
            raise NotGiven(UNEXPECTED, f"Allocate failed due to {told}, which is unexpected") from error

    def _take_new(self, free: CpuSet, count: int) -> CpuSet:
        if not self._policy.across_numa:
            return take(self._topology, free, count)
        return take_across(self._topology, free, count, self._topology.threads_per_core if self._policy.whole_cores else 1)


def _reserve(topology: Topology, count: int) -> CpuSet:
    """Kubernetes keeps the cores with the lowest numbers. Raises CannotReserve."""
    try:
        return take(topology, topology.all, count)
    except NotEnough as error:
        raise CannotReserve(f"{count} processors are to be kept for the system, the machine has {len(topology.all)}") from error


def _left_by(over: Collection[str], mine: Mapping[str, CpuSet]) -> CpuSet:
    """What containers that are over leave to the next one, but for what it was left to already."""
    left = NOBODYS.union(*(mine[name] for name in over))
    return left.difference(*(cpus for name, cpus in mine.items() if name not in over))


def _in_order(pod: core.Pod) -> Iterator[tuple[core.Container, bool]]:
    """Containers as they start, and whether they end before the next one does."""
    for spec in pod.spec.init_containers:
        yield spec, not is_sidecar(spec)
    for spec in pod.spec.containers:
        yield spec, False
