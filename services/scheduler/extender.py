"""An extender: a web service that is asked about nodes, or binds pods. What is said of one, and what it said of the nodes. Pure.

https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/#kubescheduler-config-k8s-io-v1-Extender
"""

from __future__ import annotations

from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.advice import AdviceFailed
from services.scheduler.seconds import Seconds

DEFAULT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ManagedResource:
    name: str = ""
    ignored_by_scheduler: bool = False


@dataclass(frozen=True, slots=True)
class ExtenderTls:
    insecure: bool = False
    server_name: str = ""
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    cert_data: bytes = b""
    key_data: bytes = b""
    ca_data: bytes = b""


@dataclass(frozen=True, slots=True)
class Extender:
    """As a configuration has it."""

    url_prefix: str = ""
    filter_verb: str = ""
    preempt_verb: str = ""
    prioritize_verb: str = ""
    weight: int = 0
    bind_verb: str = ""
    enable_https: bool = field(default=False, metadata={"name": "enableHTTPS"})
    tls_config: ExtenderTls | None = None
    http_timeout: Seconds | None = None
    node_cache_capable: bool = False
    managed_resources: tuple[ManagedResource, ...] = ()
    ignorable: bool = False

    @property
    def timeout_seconds(self) -> float:
        return self.http_timeout or DEFAULT_SECONDS

    def url(self, verb: str) -> str:
        return f"{self.url_prefix.rstrip('/')}/{verb}"

    def is_interested(self, pod: core.Pod) -> bool:
        """Whether it is asked about a pod: about all, or those that use one of its resources."""
        if not self.managed_resources:
            return True
        managed = {resource.name for resource in self.managed_resources}
        containers = (*pod.spec.containers, *pod.spec.init_containers)
        return any(name in managed for one in containers for used in (one.resources.requests, one.resources.limits) for name in used)


class ExtenderFailed(AdviceFailed):
    """Of extenders."""
