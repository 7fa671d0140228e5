"""A pod's host name and its /etc/hosts. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core

MAX_LABEL = 63
# The most that the kernel takes as a host name.
MAX_HOSTNAME = 64

_HOSTS = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


class NameTooLong(ValueError):
    """The host name that a pod asks for cannot be had."""


def short_name(pod: core.Pod) -> str:
    """The pod's name for itself: at most 63 characters, not ending with a dot or dash."""
    return (pod.spec.hostname or pod.metadata.name)[:MAX_LABEL].rstrip("-.")


def full_name(pod: core.Pod, domain: str) -> str:
    """The pod's name in the cluster's DNS, if it has a subdomain; else empty."""
    return f"{short_name(pod)}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}" if pod.spec.subdomain else ""


def hostname_of(pod: core.Pod, domain: str) -> str:
    """What `hostname` answers in the pod. Raises NameTooLong where it asks for its full name and the kernel cannot have that."""
    if pod.spec.HasField("hostname_override"):
        return str(pod.spec.hostname_override)
    name = full_name(pod, domain)
    if not pod.spec.set_hostname_as_fqdn or not name:
        return short_name(pod)
    if len(name) > MAX_HOSTNAME:
        raise NameTooLong(
            f"Failed to construct FQDN from Pod hostname and cluster domain, FQDN {name} is too long "
            f"({MAX_HOSTNAME} characters is the max, {len(name)} characters requested)"
        )
    return name


def hosts_file(pod: core.Pod, pod_ip: str, domain: str, node_text: str = "") -> str:
    """What a pod's containers find in /etc/hosts. A pod in the node's network has the node's, which is ``node_text``."""
    if pod.spec.host_network:
        return f"# Kubernetes-managed hosts file (host network).\n{node_text}" + _aliases(pod.spec.host_aliases)
    own = (pod.spec.hostname_override,) if pod.spec.HasField("hostname_override") else (full_name(pod, domain), short_name(pod))
    names = [name for name in own if name]
    return _HOSTS + (f"{pod_ip}\t" + "\t".join(names) + "\n" if pod_ip else "") + _aliases(pod.spec.host_aliases)


def _aliases(aliases: Iterable[core.HostAlias]) -> str:
    lines = "".join(f"{alias.ip}\t" + "\t".join(alias.hostnames) + "\n" for alias in aliases)
    return f"\n# Entries added by HostAliases.\n{lines}" if lines else ""
