"""The name files of a pod: /etc/hosts and /etc/resolv.conf. Pure."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.spec import hostname_of

_HOSTS = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def hosts_file(pod: core.Pod, pod_ip: str, domain: str) -> str:
    """What a pod's containers find in /etc/hosts."""
    name = hostname_of(pod)
    names = [f"{name}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}", name] if pod.spec.subdomain else [name]
    text = _HOSTS + (f"{pod_ip}\t" + "\t".join(names) + "\n" if pod_ip else "")
    if pod.spec.host_aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(f"{alias.ip}\t" + "\t".join(alias.hostnames) + "\n" for alias in pod.spec.host_aliases)
    return text


def resolv_conf(pod: core.Pod, node_text: str, cluster_dns: str, domain: str) -> str:
    """What a pod's containers find in /etc/resolv.conf. ``node_text`` is the node's own."""
    servers, searches, options = _parse(node_text)
    policy = pod.spec.dns_policy or "ClusterFirst"
    if policy == "ClusterFirst" and pod.spec.host_network:
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet") and cluster_dns:
        namespace = pod.metadata.namespace
        servers = [cluster_dns]
        searches = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain, *searches]
        options = ["ndots:5"]
    elif policy == "None":
        servers, searches, options = [], [], []
    config = pod.spec.dns_config
    servers = list(dict.fromkeys([*servers, *config.nameservers]))
    searches = list(dict.fromkeys([*searches, *config.searches]))
    values = dict(option.partition(":")[::2] for option in options)
    values |= {option.name: option.value for option in config.options}
    lines = [f"nameserver {server}" for server in servers]
    lines += [f"search {' '.join(searches)}"] if searches else []
    lines += ["options " + " ".join(f"{key}:{value}" if value else key for key, value in values.items())] if values else []
    return "".join(f"{line}\n" for line in lines)


def _parse(text: str) -> tuple[list[str], list[str], list[str]]:
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        word, *rest = line.split("#")[0].split() or [""]
        if word == "nameserver":
            servers += rest[:1]
        elif word == "search":
            searches = rest
        elif word == "options":
            options += rest
    return servers, searches, options
