"""The keys and certificates that a node's pods see in their volumes: asked for, kept in memory, renewed when their signer says so.

A key is made here and goes nowhere but into its pod's volume. After a restart of the kubelet others are made, as in Kubernetes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.informer import Informer
from knarr.machinery.errors import StatusError
from knarr.objects.keys import Key, key_of
from knarr.service.tasks import cancel
from services.kubelet.pod.credentials import Credential, Event, State, alarmed, answered, begun, given_up
from services.kubelet.pod.missing import Missing

log = logging.getLogger(__name__)

# The pods of many nodes do not all ask at once.
JITTER_SECONDS = 300.0

# A volume and the position of one of its sources.
Place = tuple[str, int]
# Hears of a pod whose certificates changed, by its key; and what is to be told of a pod, as Warnings.
Changed = Callable[[Key], None]
Tell = Callable[[core.Pod, Event], None]


class NoCredential(Missing):
    """A pod cannot be given a key and certificate, now or ever."""


class PodCertificateKeeper:
    """Of all pods of one node. Its requests are watched while a pod wants some."""

    def __init__(
        self, client: Client, node_name: str, clock: Clock, changed: Changed, tell: Tell, source: random.Random | None = None
    ) -> None:
        self._client, self._node_name, self._clock = client, node_name, clock
        self._changed, self._tell = changed, tell
        self._source = source or random.Random()
        # By pod uid.
        self._states: dict[str, dict[Place, State]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._pods: dict[str, core.Pod] = {}
        self._informer: Informer[certificates.PodCertificateRequest] | None = None
        self._task: asyncio.Task[None] | None = None

    async def read(self, pod: core.Pod) -> Mapping[Place, Credential]:
        """All that the pod's volumes want. Raises NoCredential while one is missing, StatusError where it cannot be asked for."""
        wanted = dict(wanted_certificates(pod))
        if not wanted:
            return {}
        uid = pod.metadata.uid
        self._pods[uid] = pod
        states = self._states.setdefault(uid, {})
        self._follow()
        # Volumes and containers of a pod read at the same time; one of them asks.
        async with self._locks.setdefault(uid, asyncio.Lock()):
            for place, source in wanted.items():
                await self._advance(pod, place, source, states)
        return {place: _credential(states[place]) for place in wanted}

    def renew_at(self, uid: str) -> datetime | None:
        """When something of a pod's is to be done, if nothing is heard before; None where there is nothing."""
        times = [at for state in self._states.get(uid, {}).values() if (at := state.next_at()) is not None]
        return min(times, default=None)

    def forget(self, uid: str) -> None:
        """The pod is no more."""
        self._states.pop(uid, None)
        self._pods.pop(uid, None)
        self._locks.pop(uid, None)
        if not self._states and self._task is not None:
            self._task.cancel()
            self._task = self._informer = None

    async def close(self) -> None:
        await cancel([self._task] if self._task is not None else [])

    async def _advance(self, pod: core.Pod, place: Place, source: core.PodCertificateProjection, states: dict[Place, State]) -> None:
        now = self._clock.now()
        state, events = alarmed(states.get(place, State()), now)
        for event in events:
            self._tell(pod, event)
        if state.asked is not None and now >= state.asked.abandon_at:
            state = given_up(state)
        states[place] = state
        if state.is_due(now):
            try:
                name, key = await self._ask(pod, source)
            except StatusError as error:
                if state.held is None:
                    raise
                log.warning(
                    "a pod's certificate could not be asked for yet", extra={"pod": pod.metadata.name, "error": error.status.message}
                )
                return
            states[place] = begun(states[place], name, key, now, self._jitter())
            self._look(pod, place, states, name)

    def _look(self, pod: core.Pod, place: Place, states: dict[Place, State], name: str) -> None:
        """Whether a request is answered already: its answer may be heard of before the answer to the create."""
        found = self._informer.store.get(pod.metadata.namespace, name) if self._informer is not None else None
        if found is not None:
            self._answered(pod, place, states, found)

    async def _ask(self, pod: core.Pod, source: core.PodCertificateProjection) -> tuple[str, str]:
        """The name of a new request, and the key that it is for, PEM."""
        from services.kubelet.pod.certificate_keys import is_slow, key_and_request

        account, node = await asyncio.gather(
            self._client.get(core.ServiceAccount, pod.spec.service_account_name, pod.metadata.namespace),
            self._client.get(core.Node, self._node_name),
        )
        try:
            slow = is_slow(source.key_type)
            key, request = await asyncio.to_thread(key_and_request, source.key_type) if slow else key_and_request(source.key_type)
        except ValueError as error:
            raise NoCredential(f"while generating keypair: {error}") from error
        made = certificates.PodCertificateRequest(metadata=meta.ObjectMeta(generate_name="req-", namespace=pod.metadata.namespace))
        made.metadata.owner_references.add(api_version="v1", kind="Pod", name=pod.metadata.name, uid=pod.metadata.uid)
        spec = made.spec
        spec.signer_name, spec.stub_pkcs10_request = source.signer_name, request
        spec.pod_name, spec.pod_uid = pod.metadata.name, pod.metadata.uid
        spec.service_account_name, spec.service_account_uid = pod.spec.service_account_name, account.metadata.uid
        spec.node_name, spec.node_uid = self._node_name, node.metadata.uid
        if source.HasField("max_expiration_seconds"):
            spec.max_expiration_seconds = source.max_expiration_seconds
        spec.unverified_user_annotations.update(source.user_annotations)
        return (await self._client.create(made)).metadata.name, key

    def _follow(self) -> None:
        if self._informer is None:
            selector = f"spec.nodeName={self._node_name}"
            self._informer = Informer(self._client, certificates.PodCertificateRequest, field_selector=selector)
            self._informer.on_change(self._heard)
            self._task = asyncio.create_task(self._informer.run(), name="kubelet/informer/PodCertificateRequest")

    def _heard(self, old: certificates.PodCertificateRequest | None, new: certificates.PodCertificateRequest | None) -> None:
        request = new if new is not None else old
        uid = request.spec.pod_uid if request is not None else ""
        pod, states = self._pods.get(uid), self._states.get(uid, {})
        if request is None or pod is None:
            return
        for place in list(states):
            if new is None:
                self._gone(pod, place, states, request.metadata.name)
            else:
                self._answered(pod, place, states, new)

    def _gone(self, pod: core.Pod, place: Place, states: dict[Place, State], name: str) -> None:
        """A request that was taken away without an answer is made anew."""
        asked = states[place].asked
        if asked is not None and asked.name == name:
            states[place] = given_up(states[place])
            self._changed(key_of(pod))

    def _answered(self, pod: core.Pod, place: Place, states: dict[Place, State], request: certificates.PodCertificateRequest) -> None:
        before = states[place]
        states[place], event = answered(before, request, self._jitter())
        if event is not None:
            self._tell(pod, event)
        if states[place] != before:
            self._changed(key_of(pod))

    def _jitter(self) -> timedelta:
        return timedelta(seconds=self._source.uniform(0, JITTER_SECONDS))


def _credential(state: State) -> Credential:
    if state.refused:
        raise NoCredential(state.refused)
    if state.held is None:
        raise NoCredential("credential bundle is not issued yet")
    return state.held.credential


def wanted_certificates(pod: core.Pod) -> Iterator[tuple[Place, core.PodCertificateProjection]]:
    """What the pod's volumes ask for, and where."""
    for volume in pod.spec.volumes:
        for position, source in enumerate(volume.volume_source.projected.sources):
            if source.HasField("pod_certificate"):
                yield (volume.name, position), source.pod_certificate
