"""Which changes of a pod its security depends on. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.admission.pod_security.baseline import SECCOMP_CONTAINER, SECCOMP_POD


def is_significant(new: core.Pod, old: core.Pod) -> bool:
    """Others are let through whatever the pod is: it was let in."""
    before, after = old.metadata.annotations, new.metadata.annotations
    if after.get(SECCOMP_POD) != before.get(SECCOMP_POD):
        return True
    for listed in ("containers", "init_containers"):
        fresh, former = getattr(new.spec, listed), getattr(old.spec, listed)
        if len(fresh) != len(former):
            return True
        if any(_changed(one.name, one.image, other.image, after, before) for one, other in zip(fresh, former, strict=True)):
            return True
    known = {found.ephemeral_container_common.name: found.ephemeral_container_common for found in old.spec.ephemeral_containers}
    for added in new.spec.ephemeral_containers:
        one = added.ephemeral_container_common
        if one.name not in known or _changed(one.name, one.image, known[one.name].image, after, before):
            return True
    return False


def _changed(name: str, image: str, former: str, after: Mapping[str, str], before: Mapping[str, str]) -> bool:
    key = SECCOMP_CONTAINER + name
    return image != former or after.get(key) != before.get(key)
