"""A container's plan, from its spec and what was looked up for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.environment import environment, expand
from services.kubelet.container.inputs import ConfigError, ContainerInputs
from services.kubelet.container.limits import limits
from services.kubelet.container.mounts import devices, mounts
from services.kubelet.container.security import security
from services.kubelet.pod.spec import container_hash, describe, ref_of
from services.kubelet.runtime.plan import ContainerPlan, Namespaces, Process, Security


def container_plan(inputs: ContainerInputs) -> ContainerPlan:
    """What the runtime is asked to make; raises ConfigError, or VolumeError for a volume of the pod."""
    pod, spec, sandbox = inputs.pod, inputs.spec, inputs.sandbox
    env = {**environment(inputs), **dict(inputs.edits.env)}
    return ContainerPlan(
        pod=ref_of(pod),
        sandbox_id=sandbox.id,
        name=spec.name,
        attempt=inputs.attempt,
        image=spec.image,
        spec_hash=container_hash(spec),
        sandbox_attempt=sandbox.attempt,
        process=_process(spec, env),
        mounts=mounts(inputs, env),
        devices=devices(inputs),
        cdi_devices=inputs.cdi_devices,
        security=_security(inputs),
        limits=limits(inputs),
        namespaces=_namespaces(pod.spec, inputs.target_id),
        handler=sandbox.handler,
        cgroup_parent=inputs.cgroup_parent,
        stop_signal=spec.lifecycle.stop_signal,
        image_id=inputs.image.id,
    )


def _security(inputs: ContainerInputs) -> Security:
    try:
        found = security(inputs.spec, inputs.pod.spec.security_context, inputs.image, inputs.security)
    except ConfigError as error:
        raise ConfigError(f'{error} (pod: "{describe(inputs.pod)}", container: {inputs.spec.name})') from error
    groups = dict.fromkeys((*found.supplemental_groups, *inputs.edits.groups))
    return replace(found, supplemental_groups=tuple(groups))


def _process(spec: core.Container, env: Mapping[str, str]) -> Process:
    return Process(
        command=tuple(expand(word, env) for word in spec.command),
        args=tuple(expand(word, env) for word in spec.args),
        env=tuple(env.items()),
        working_dir=spec.working_dir,
        stdin=spec.stdin,
        stdin_once=spec.stdin_once,
        tty=spec.tty,
    )


def _namespaces(spec: core.PodSpec, target_id: str) -> Namespaces:
    return Namespaces(spec.share_process_namespace, spec.host_pid, spec.host_network, spec.host_ipc, target_id)
