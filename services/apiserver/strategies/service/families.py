"""IP families of a Service in a cluster that gives out IPv4 addresses only: defaults and refusals.

A headless Service without a selector has its addresses from elsewhere, so it may name both families.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    check_format,
    check_given_choice,
    duplicate,
    invalid,
    ip_address,
    not_supported,
    required,
)
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.service.shape import is_headless, needs_cluster_ip

CONFIGURED = "IPv4"
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
MAX_ADDRESSES = 2


def default_families(spec: core.ServiceSpec, old: core.ServiceSpec | None) -> None:
    """Fills in ``ipFamilies`` and ``ipFamilyPolicy``; ``old`` is what is stored, None for a new Service."""
    if not needs_cluster_ip(spec):
        return
    from_elsewhere = is_headless(spec) and not spec.selector
    if not spec.HasField("ip_family_policy"):
        if old is not None and old.HasField("ip_family_policy"):
            spec.ip_family_policy = old.ip_family_policy
        else:
            spec.ip_family_policy = "RequireDualStack" if from_elsewhere else "SingleStack"
    single = spec.ip_family_policy == "SingleStack"
    if single and old is not None and spec.ip_families == old.ip_families:
        del spec.ip_families[1:]
    if not spec.ip_families and not any(_family(address) == "IPv6" for address in spec.cluster_ips):
        spec.ip_families.append(CONFIGURED)
    if from_elsewhere and not single and len(spec.ip_families) == 1:
        spec.ip_families.append("IPv6" if spec.ip_families[0] == "IPv4" else "IPv4")


def validate_cluster_ips(spec: core.ServiceSpec) -> list[Cause]:
    """Addresses, families and policy; what the cluster itself lacks is only said when they are well formed."""
    if not needs_cluster_ip(spec):
        return []
    causes = _first_address(spec) + _families(spec.ip_families)
    causes += check_given_choice(SPEC.child("ipFamilyPolicy"), spec, "ip_family_policy", FAMILY_POLICIES)
    addresses = _addresses(spec.cluster_ips)
    if addresses:
        return causes + addresses
    causes += _address_families(spec)
    return causes or _not_configured(spec)


def validate_cluster_ips_update(new: core.ServiceSpec, old: core.ServiceSpec) -> list[Cause]:
    """The address and the family stay while the Service has them."""
    if not needs_cluster_ip(new) or not needs_cluster_ip(old) or (is_headless(new) and is_headless(old)):
        return []
    here, causes = SPEC.child("clusterIPs").index(0), list[Cause]()
    if old.cluster_ips and not new.cluster_ips:
        causes.append(invalid(here, [], "primary clusterIP can not be unset"))
    elif old.cluster_ips and new.cluster_ips[0] != old.cluster_ips[0]:
        causes.append(invalid(here, list(new.cluster_ips), "may not change once set"))
    if is_headless(new) == is_headless(old) and old.ip_families and list(new.ip_families[:1]) != list(old.ip_families[:1]):
        causes.append(invalid(SPEC.child("ipFamilies").index(0), list(new.ip_families), "may not change once set"))
    return causes


def _first_address(spec: core.ServiceSpec) -> list[Cause]:
    here = SPEC.child("clusterIPs")
    if spec.cluster_ip and not spec.cluster_ips:
        return [required(here)]
    if spec.cluster_ip and spec.cluster_ips[0] != spec.cluster_ip:
        return [invalid(here, list(spec.cluster_ips), "first value must match `clusterIP`")]
    if spec.cluster_ips and not spec.cluster_ip:
        return [invalid(here, list(spec.cluster_ips), "must be empty when `clusterIP` is not specified")]
    return []


def _families(families: Sequence[str]) -> list[Cause]:
    causes: list[Cause] = []
    known: set[str] = set()
    for index, family in enumerate(families):
        here = SPEC.child("ipFamilies").index(index)
        if family not in FAMILIES:
            causes.append(not_supported(here, family, FAMILIES))
        if family in known:
            causes.append(duplicate(here, family))
        known.add(family)
    return causes


def _addresses(addresses: Sequence[str]) -> list[Cause]:
    here, causes = SPEC.child("clusterIPs"), list[Cause]()
    for index, address in enumerate(addresses):
        if index == 0 and address == "None":
            if len(addresses) > 1:
                causes.append(invalid(here, list(addresses), "'None' must be the first and only value"))
        else:
            causes += check_format(here.index(index), address, ip_address)
    if causes:
        return causes
    if len(addresses) > MAX_ADDRESSES:
        causes.append(invalid(here, list(addresses), f"may only hold up to {MAX_ADDRESSES} values"))
    if len(addresses) > len({_family(address) for address in addresses}):
        causes.append(invalid(here, list(addresses), "may specify no more than one IP for each IP family"))
    return causes


def _address_families(spec: core.ServiceSpec) -> list[Cause]:
    if is_headless(spec):
        return []
    return [
        invalid(SPEC.child("clusterIPs").index(index), address, f"expected an {family} value as indicated by `ipFamilies[{index}]`")
        for index, (address, family) in enumerate(zip(spec.cluster_ips, spec.ip_families, strict=False))
        if family != _family(address)
    ]


def _not_configured(spec: core.ServiceSpec) -> list[Cause]:
    """What only a cluster with IPv6 addresses could give."""
    policy, causes = SPEC.child("ipFamilyPolicy"), list[Cause]()
    if spec.ip_family_policy == "SingleStack":
        for several, what in ((spec.cluster_ips, "cluster IPs"), (spec.ip_families, "IP families")):
            if len(several) > 1:
                sentence = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                causes.append(invalid(policy, spec.ip_family_policy, sentence))
    for index, address in enumerate(spec.cluster_ips):
        if index >= len(spec.ip_families) and _family(address) not in ("", CONFIGURED):
            sentence = f"{_family(address)} is not configured on this cluster"
            causes.append(invalid(SPEC.child("clusterIPs").index(index), list(spec.cluster_ips), sentence))
    if causes or (is_headless(spec) and not spec.selector):
        return causes
    if spec.ip_family_policy == "RequireDualStack":
        causes.append(invalid(policy, spec.ip_family_policy, "this cluster is not configured for dual-stack services"))
    return causes + [
        invalid(SPEC.child("ipFamilies").index(index), family, "not configured on this cluster")
        for index, family in enumerate(spec.ip_families)
        if family != CONFIGURED
    ]


def _family(address: str) -> str:
    """``IPv4`` or ``IPv6``; empty for what is no address."""
    try:
        return f"IPv{ipaddress.ip_address(address).version}"
    except ValueError:
        return ""
