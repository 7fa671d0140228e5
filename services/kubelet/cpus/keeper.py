"""Keeps who has which processors of the node, also from one kubelet to the next."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from knarr.api.core.v1 import core_pb2 as core
from knarr.service.errors import CommandError
from services.kubelet.cpu_policy import NONE, STATIC, CpuSet, write_cpus
from services.kubelet.cpus.checkpoint import NAME, BadCheckpoint, read_checkpoint, write_checkpoint
from services.kubelet.cpus.ledger import UNEXPECTED, CannotReserve, Ledger, NotGiven, StaticPolicy
from services.kubelet.cpus.topology import read_topology
from services.kubelet.cpus.view import ALL_SHARED, PodCpus
from services.kubelet.settings import KubeletSettings

log = logging.getLogger(__name__)


class CpuKeeper:
    """Of one node. Under the policy ``none`` nobody has any alone, and nobody is told any."""

    def __init__(self, settings: KubeletSettings) -> None:
        self._settings = settings
        self._policy: StaticPolicy | None = None
        self._ledger = Ledger(frozenset())
        self._callbacks: list[Callable[[], None]] = []

    def start(self) -> None:
        """Goes on where the kubelet before this one was. Raises CommandError where that cannot be, with the way out."""
        settings = self._settings
        try:
            found = read_checkpoint(settings.data_dir)
            if found is not None and found[0] != settings.cpu_policy.name:
                raise BadCheckpoint(f'configured policy "{settings.cpu_policy.name}" differs from state checkpoint policy "{found[0]}"')
            if not settings.cpu_policy.static:
                return
            policy = StaticPolicy(read_topology(), settings.cpu_policy, _kept_milli(settings))
            if found is not None and (fault := policy.fault(found[1])):
                raise BadCheckpoint(fault)
        except BadCheckpoint as error:
            raise CommandError(
                f"the processors of pods cannot be kept as they were: {error}; drain this node, remove {settings.data_dir / NAME}"
                " and start the kubelet again"
            ) from error
        except CannotReserve as error:
            raise CommandError(str(error)) from error
        except (OSError, ValueError) as error:
            raise CommandError(
                f"the policy {STATIC} for processors cannot be had: {error}; --cpu-manager-policy={NONE} does without"
            ) from error
        self._policy, self._ledger = policy, found[1] if found is not None else policy.fresh()
        log.info("processors are given to pods", extra={"reserved": write_cpus(policy.reserved), "shared": write_cpus(self._ledger.shared)})

    @property
    def pins(self) -> bool:
        """Whether some pods have processors alone."""
        return self._policy is not None

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back when who has which has changed."""
        self._callbacks.append(callback)

    def admit(self, pod: core.Pod) -> None:
        """Gives a pod what its containers are to have alone. May be repeated. Raises NotGiven, also where that cannot be remembered."""
        if self._policy is not None:
            self._become(self._policy.give(self._ledger, pod))

    def release(self, uid: str) -> None:
        """A pod has ended. What cannot be remembered is kept from others until it can."""
        if self._policy is not None and uid in self._ledger.exclusive:
            try:
                self._become(self._policy.release(self._ledger, uid))
            except NotGiven as error:
                log.warning("processors of a pod that has ended are not free yet", extra={"uid": uid, "error": str(error)})

    def keep(self, uids: Collection[str]) -> None:
        """Those of pods that are no more become free."""
        for uid in [uid for uid in self._ledger.exclusive if uid not in uids]:
            self.release(uid)

    def of(self, uid: str) -> PodCpus:
        """What the containers of a pod run on."""
        if self._policy is None:
            return ALL_SHARED
        mine = {name: write_cpus(cpus) for name, cpus in self._ledger.exclusive.get(uid, {}).items()}
        return PodCpus(write_cpus(self._policy.commons(self._ledger)), mine)

    @property
    def shared(self) -> CpuSet:
        """Of all who have none alone."""
        return self._ledger.shared

    def _become(self, ledger: Ledger) -> None:
        """Remembered first: what is not on the disk is nobody's."""
        if ledger == self._ledger:
            return
        try:
            write_checkpoint(self._settings.data_dir, ledger)
        except OSError as error:
            raise NotGiven(UNEXPECTED, f"Allocate failed due to could not save checkpoint: {error}, which is unexpected") from error
        self._ledger = ledger
        for callback in self._callbacks:
            callback()


def _kept_milli(settings: KubeletSettings) -> int:
    return settings.kube_reserved.get("cpu", 0) + settings.system_reserved.get("cpu", 0)
