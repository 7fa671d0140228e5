"""Rules about how a pod is called and how it finds others by name."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_choice,
    check_format,
    dns1123_subdomain,
    forbidden,
    invalid,
    ip_address,
    required,
    too_long,
    underscored_subdomain,
)

DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
MAX_NAMESERVERS = 3
MAX_SEARCH_PATHS, MAX_SEARCH_CHARACTERS = 32, 2048
ROOT = "."
# The most that the kernel takes as a host name.
MAX_HOSTNAME = 64


def validate_dns(spec: core.PodSpec, path: Path) -> list[Cause]:
    """``path`` is that of the spec."""
    causes = check_choice(path.child("dnsPolicy"), spec.dns_policy, DNS_POLICIES)
    here = path.child("dnsConfig")
    if spec.dns_policy == "None" and not spec.dns_config.nameservers:
        if not spec.HasField("dns_config"):
            return [*causes, required(here, "must provide `dnsConfig` when `dnsPolicy` is None")]
        sentence = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        return [*causes, required(here.child("nameservers"), sentence)]
    causes += _nameservers(spec.dns_config.nameservers, here.child("nameservers"))
    causes += _searches(spec.dns_config.searches, here.child("searches"))
    for index, option in enumerate(spec.dns_config.options):
        if not option.name:
            causes.append(required(here.child("options").index(index), "must not be empty"))
    return causes


def _nameservers(servers: Iterable[str], path: Path) -> list[Cause]:
    found = list(servers)
    causes = []
    if len(found) > MAX_NAMESERVERS:
        causes.append(invalid(path, found, f"must not have more than {MAX_NAMESERVERS} nameservers"))
    for index, server in enumerate(found):
        causes += check_format(path.index(index), server, ip_address)
    return causes


def _searches(searches: Iterable[str], path: Path) -> list[Cause]:
    found = list(searches)
    causes = []
    if len(found) > MAX_SEARCH_PATHS:
        causes.append(invalid(path, found, f"must not have more than {MAX_SEARCH_PATHS} search paths"))
    if len(" ".join(found)) > MAX_SEARCH_CHARACTERS:
        sentence = f"must not have more than {MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        causes.append(invalid(path, found, sentence))
    for index, search in enumerate(found):
        if search != ROOT:
            causes += check_format(path.index(index), search.removesuffix("."), underscored_subdomain)
    return causes


def validate_host_aliases(aliases: Iterable[core.HostAlias], path: Path) -> list[Cause]:
    """``path`` is that of the list."""
    causes: list[Cause] = []
    for index, alias in enumerate(aliases):
        causes += check_format(path.index(index).child("ip"), alias.ip, ip_address)
        for position, hostname in enumerate(alias.hostnames):
            causes += check_format(path.index(index).child("hostnames").index(position), hostname, dns1123_subdomain)
    return causes


def validate_hostname_override(spec: core.PodSpec, path: Path) -> list[Cause]:
    """It is a name as the kernel takes it, and nothing else may say how the pod is called. ``path`` is that of the spec."""
    if not spec.HasField("hostname_override"):
        return []
    here, name = path.child("hostnameOverride"), spec.hostname_override
    causes = [too_long(here, MAX_HOSTNAME)] if len(name) > MAX_HOSTNAME else check_format(here, name, dns1123_subdomain)
    if spec.set_hostname_as_fqdn:
        causes.append(forbidden(path.child("setHostnameAsFQDN"), "may not be true when `hostnameOverride` is set"))
    if spec.host_network:
        causes.append(forbidden(here, "may not be set when `hostNetwork` is true"))
    return causes
