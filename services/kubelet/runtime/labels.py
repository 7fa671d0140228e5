"""The labels by which a kubelet finds its own sandboxes and containers in an engine again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from services.kubelet.runtime.plan import ContainerPlan, Identity, PodRef, SandboxPlan
from services.kubelet.runtime.port import Sandbox

CLUSTER, NODE, KIND = "io.knarr.cluster", "io.knarr.node", "io.knarr.kind"
IDENTITY = "io.knarr.identity"
ATTEMPT, SANDBOX_ATTEMPT, SPEC_HASH, IP, IMAGE, TTY, HANDLER, STOP_SIGNAL = (
    "io.knarr.attempt",
    "io.knarr.sandbox-attempt",
    "io.knarr.spec-hash",
    "io.knarr.ip",
    "io.knarr.image",
    "io.knarr.tty",
    "io.knarr.handler",
    "io.knarr.stop-signal",
)
POD_NAME, POD_NAMESPACE, POD_UID, CONTAINER_NAME = (
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.pod.uid",
    "io.kubernetes.container.name",
)
SANDBOX_KIND, CONTAINER_KIND = "sandbox", "container"


def sandbox_labels(plan: SandboxPlan, ip: str) -> dict[str, str]:
    return {**_pod_labels(plan.pod), KIND: SANDBOX_KIND, ATTEMPT: str(plan.attempt), IP: ip, HANDLER: plan.handler}


def container_labels(plan: ContainerPlan) -> dict[str, str]:
    return {
        **_pod_labels(plan.pod),
        KIND: CONTAINER_KIND,
        ATTEMPT: str(plan.attempt),
        CONTAINER_NAME: plan.name,
        SANDBOX_ATTEMPT: str(plan.sandbox_attempt),
        SPEC_HASH: plan.spec_hash,
        IMAGE: plan.image,
        TTY: "1" if plan.process.tty else "",
        **_identity_label(plan.security.identity),
    }


def _identity_label(known: Identity | None) -> dict[str, str]:
    return {} if known is None else {IDENTITY: f"{known.uid}:{known.gid}:{','.join(map(str, known.groups))}"}


def identity_of(labels: Mapping[str, str]) -> Identity | None:
    """None where it was not known, as in a container that an earlier kubelet made."""
    uid, _, rest = labels.get(IDENTITY, "").partition(":")
    gid, _, groups = rest.partition(":")
    return Identity(int(uid), int(gid), tuple(int(group) for group in groups.split(",") if group)) if uid else None


def _pod_labels(pod: PodRef) -> dict[str, str]:
    return {POD_NAME: pod.name, POD_NAMESPACE: pod.namespace, POD_UID: pod.uid}


def pod_of(labels: Mapping[str, str]) -> PodRef:
    return PodRef(labels.get(POD_NAMESPACE, ""), labels.get(POD_NAME, ""), labels[POD_UID])


def is_sandbox(labels: Mapping[str, str]) -> bool:
    return labels.get(KIND) == SANDBOX_KIND


def sandbox_from(engine_id: str, labels: Mapping[str, str], *, ready: bool, created_at: datetime | None) -> Sandbox:
    attempt, handler = int(labels.get(ATTEMPT, "0")), labels.get(HANDLER, "")
    return Sandbox(engine_id, pod_of(labels), attempt, ready, labels.get(IP, ""), created_at, handler)
