"""Resource claim: makes claims to devices that pods ask for by templates, and takes devices back that nobody uses any more.

A key is a claim's, or a pod's with ``pod:`` before its name. Whom a claim is kept for it goes by what the server says of a pod that is
not in the copy: what the scheduler has just given must not be taken back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.client.events import WARNING
from knarr.client.index import Index
from knarr.client.reconciler import Again, Expected
from knarr.machinery.errors import TRANSIENT, NotFound, StatusError
from knarr.objects.copies import copy_of
from knarr.objects.devices import FINALIZER, PODS, claim_names, is_allocated, is_done, reserve, take_back
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.owners import controller_of
from services.controller.controller import Context, Controller
from services.controller.controllers.resourceclaim.decide import claim_of, made_before, noted, to_make, to_reserve
from services.controller.newest import Newest
from services.controller.protection import is_ending, release

FAILED = "FailedResourceClaimCreation"
_POD = "pod:"
# A finalizer of a claim that has no devices is what a crash between two writes leaves, or the first of two that are under way.
IDLE_SECONDS, SOON_SECONDS = 10.0, 0.1


def _users(pod: core.Pod) -> Iterable[str]:
    return (str(Key(pod.metadata.namespace, name)) for name in claim_names(pod))


def _templates(pod: core.Pod) -> Iterable[str]:
    names = (entry.resource_claim_template_name for entry in pod.spec.resource_claims)
    return {str(Key(pod.metadata.namespace, name)) for name in names if name}


def _owner(claim: resource.ResourceClaim) -> Iterable[str]:
    owner = _owning_pod(claim)
    return () if owner is None else (owner[1],)


BY_CLAIM: Index[core.Pod] = Index("resource claim", _users)
BY_TEMPLATE: Index[core.Pod] = Index("resource claim template", _templates)
BY_OWNER: Index[resource.ResourceClaim] = Index("owning pod", _owner)


class ResourceClaimController(Controller):
    name = "resourceclaim"
    speaks_as = "resource_claim"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pods = self.hears(core.Pod, self._pod_changed, BY_CLAIM, BY_TEMPLATE)
        self._claims = self.hears(resource.ResourceClaim, self._claim_changed, BY_OWNER)
        self._templates = self.hears(resource.ResourceClaimTemplate, self._template_changed)
        # Claims that were made here and are not in the copy yet, by pod and entry.
        self._made: dict[tuple[str, str], resource.ResourceClaim] = {}
        # Uids of pods a claim of which may have been made, or not: whoever asked did not hear.
        self._unsure: set[str] = set()
        self._newest: Newest[resource.ResourceClaim] = Newest()
        # Claims without devices that have the finalizer: which version, and when that was seen first.
        self._idle: dict[Key, tuple[str, float]] = {}

    async def reconcile(self, key: Key) -> Again | None:
        if key.name.startswith(_POD):
            await self._look_at_pod(Key(key.namespace, key.name.removeprefix(_POD)))
            return None
        return await self._look_at_claim(key)

    # What changed, and whose turn it is.

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> Iterable[Key]:
        pod = new if new is not None else old
        if pod is None or not (pod.spec.resource_claims or pod.status.HasField("extended_resource_claim_status")):
            return
        if new is None or (old is not None and old.metadata.uid != new.metadata.uid):
            for gone in [found for found in self._made if found[0] == (old or pod).metadata.uid]:
                del self._made[gone]
            self._unsure.discard((old or pod).metadata.uid)
        if new is None or is_done(new):
            yield from (Key(pod.metadata.namespace, name) for name in claim_names(pod))
            yield from map(key_of, self._claims.index(BY_OWNER, pod.metadata.uid))
        if new is not None:
            yield _key_of_pod(new)

    def _claim_changed(self, old: resource.ResourceClaim | None, new: resource.ResourceClaim | None) -> Iterable[Key]:
        claim = new if new is not None else old
        if claim is None:
            return
        if new is not None:
            yield key_of(new)
        else:
            self._newest.forget(key_of(claim))
        yield from map(_key_of_pod, self._pods.index(BY_CLAIM, str(key_of(claim))))
        owner = _owning_pod(claim)
        if owner is not None:
            yield Key(claim.metadata.namespace, _POD + owner[0])

    def _template_changed(self, old: resource.ResourceClaimTemplate | None, new: resource.ResourceClaimTemplate | None) -> Iterable[Key]:
        if new is not None and old is None:
            yield from map(_key_of_pod, self._pods.index(BY_TEMPLATE, str(key_of(new))))

    # Pods: their claims are made, and kept for them.

    async def _look_at_pod(self, key: Key) -> None:
        pod = self._pods.get(*key)
        if pod is None:
            return
        await self._forget_seen(pod)
        names = {}
        for entry in to_make(pod, self._known(pod)):
            try:
                names[entry.name] = (await self._claim_for(pod, entry)).metadata.name
            except (StatusError, Expected) as error:
                self.recorder.event(pod, WARNING, FAILED, f"PodResourceClaim {entry.name}: {error}")
                raise
        if names:
            with suppress(NotFound):
                await self.client.update(noted(pod, names), subresource="status")
            return
        for claim in to_reserve(pod, self._known(pod)):
            changed = copy_of(claim)
            reserve(changed, pod)
            self._newest.note(await self.client.update(changed, subresource="status"))

    def _known(self, pod: core.Pod) -> Mapping[str, resource.ResourceClaim]:
        """The claims that a pod may mean, by name."""
        namespace, found = pod.metadata.namespace, {}
        for name in claim_names(pod):
            claim = self._claims.get(namespace, name)
            if claim is not None:
                found[name] = self._newest.of(claim)
        made = (claim for (uid, _), claim in self._made.items() if uid == pod.metadata.uid)
        return {**{claim.metadata.name: claim for claim in made}, **found}

    async def _claim_for(self, pod: core.Pod, entry: core.PodResourceClaim) -> resource.ResourceClaim:
        """One that was made before its name was noted, or a new one. Raises StatusError, and Expected where there is no template."""
        uid, namespace = pod.metadata.uid, pod.metadata.namespace
        found = made_before(entry, self._claims.index(BY_OWNER, uid)) or self._made.get((uid, entry.name))
        if found is None and uid in self._unsure:
            owned = (claim for claim in (await self.client.list(resource.ResourceClaim, namespace)).items if uid in _owner(claim))
            found = made_before(entry, owned)
        if found is not None:
            return found
        template = self._templates.get(namespace, entry.resource_claim_template_name)
        if template is None:
            name = entry.resource_claim_template_name
            raise Expected(f'resource claim template "{name}": resourceclaimtemplate.resource.k8s.io "{name}" not found')
        wanted = claim_of(pod, entry, template)
        self._unsure.add(uid)
        try:
            made = await self.client.create(wanted)
        except StatusError as error:
            if not isinstance(error, TRANSIENT):
                self._unsure.discard(uid)
            raise
        self._unsure.discard(uid)
        self._made[uid, entry.name] = made
        return made

    async def _forget_seen(self, pod: core.Pod) -> None:
        """What was made here counts until the copy shows it, or it is gone without having been shown."""
        for known, made in list(self._made.items()):
            if known[0] != pod.metadata.uid:
                continue
            key = key_of(made)
            try:
                if self._claims.get(*key) is None:
                    await self.client.get(resource.ResourceClaim, key.name, key.namespace)
                    continue
            except NotFound:
                pass
            self._made.pop(known, None)

    # Claims: devices that nobody uses are free again.

    async def _look_at_claim(self, key: Key) -> Again | None:
        cached = self._claims.get(*key)
        seen = self._idle.pop(key, ("", 0.0))
        if cached is None:
            return None
        claim = self._newest.of(cached)
        owner = _owning_pod(claim)
        valid = [consumer for consumer in claim.status.reserved_for if await self._is_user(claim, consumer)]
        if len(valid) < len(claim.status.reserved_for):
            claim = await self._keep_for(claim, valid)
        if not valid and is_ending(claim, FINALIZER):
            if is_allocated(claim):
                claim = await self._keep_for(claim, [])
            await release(self.client, claim, FINALIZER)
        elif not valid and not is_deleting(claim) and owner and await self._is_over(claim, *owner):
            with suppress(NotFound):
                await self.client.delete(resource.ResourceClaim, key.name, key.namespace, uid=claim.metadata.uid)
        elif not valid and not is_allocated(claim) and FINALIZER in claim.metadata.finalizers:
            return await self._release_idle(claim, *seen)
        return None

    async def _release_idle(self, claim: resource.ResourceClaim, version: str, since: float) -> Again | None:
        now = asyncio.get_running_loop().time()
        if version != claim.metadata.resource_version:
            version, since = claim.metadata.resource_version, now
        left = since + IDLE_SECONDS - now
        if left > SOON_SECONDS:
            self._idle[key_of(claim)] = version, since
            return Again(left)
        await release(self.client, claim, FINALIZER)
        return None

    async def _keep_for(
        self, claim: resource.ResourceClaim, consumers: Iterable[resource.ResourceClaimConsumerReference]
    ) -> resource.ResourceClaim:
        """Whoever else it was kept for is done; without anybody its devices are free, and nothing keeps it any more."""
        changed = copy_of(claim)
        kept = list(consumers)
        del changed.status.reserved_for[:]
        changed.status.reserved_for.extend(kept)
        if not kept and FINALIZER in changed.metadata.finalizers:
            take_back(changed)
        changed = await self.client.update(changed, subresource="status")
        self._newest.note(changed)
        if not is_deleting(changed) and not is_allocated(changed) and FINALIZER in changed.metadata.finalizers:
            changed.metadata.finalizers.remove(FINALIZER)
            changed = await self.client.update(changed)
            self._newest.note(changed)
        return changed

    async def _is_user(self, claim: resource.ResourceClaim, consumer: resource.ResourceClaimConsumerReference) -> bool:
        """Whether a claim is to be kept for whom it is. What is no pod is nobody's here to judge."""
        if consumer.api_group or consumer.resource != PODS:
            return True
        pod = await self._pod(claim.metadata.namespace, consumer.name, consumer.uid)
        return pod is not None and not is_done(pod)

    async def _is_over(self, claim: resource.ResourceClaim, name: str, uid: str) -> bool:
        """Whether the pod that a claim was made for does without it, and is still there: else the garbage collector takes the claim."""
        pod = await self._pod(claim.metadata.namespace, name, uid)
        return pod is not None and is_done(pod)

    async def _pod(self, namespace: str, name: str, uid: str) -> core.Pod | None:
        """The very pod; the copy may be behind."""
        cached = self._pods.get(namespace, name)
        if cached is not None and cached.metadata.uid == uid:
            return cached
        try:
            live = await self.client.get(core.Pod, name, namespace)
        except NotFound:
            return None
        return live if live.metadata.uid == uid else None


def _key_of_pod(pod: core.Pod) -> Key:
    return Key(pod.metadata.namespace, _POD + pod.metadata.name)


def _owning_pod(claim: resource.ResourceClaim) -> tuple[str, str] | None:
    """Name and uid of the pod that a claim was made for."""
    owner = controller_of(claim)
    if owner is None or owner.kind != "Pod" or owner.api_version != "v1":
        return None
    return str(owner.name), str(owner.uid)
