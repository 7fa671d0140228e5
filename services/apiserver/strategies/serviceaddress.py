"""The strategies of networking.k8s.io's addresses: IPAddress and ServiceCIDR."""

from __future__ import annotations

import ipaddress
from datetime import datetime

from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT,
    Structure,
    check_format,
    check_immutable,
    check_named,
    cidr,
    dns1123_subdomain,
    invalid,
    ip_address,
    path_segment,
    required,
)
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

MAX_CIDRS = 2


def canonical_address(value: str) -> list[str]:
    """An address, spelled as its shortest form."""
    if found := ip_address(value):
        return found
    shortest = str(ipaddress.ip_address(value))
    return [] if shortest == value else [f'must be in canonical form ("{shortest}")']


def canonical_range(value: str) -> list[str]:
    """As above a range."""
    if found := cidr(value):
        return found
    shortest = str(ipaddress.ip_network(value))
    return [] if shortest == value else [f'must be in canonical form ("{shortest}")']


class IPAddressStrategy(Strategy):
    """It is called as the address. Whose it is, is never changed."""

    columns = columns("Name", "ParentRef")
    name_format = staticmethod(canonical_address)

    def validate(self, obj: networking.IPAddress) -> list[Cause]:
        path = SPEC.child("parentRef")
        if not obj.spec.HasField("parent_ref"):
            return [required(path)]
        parent = obj.spec.parent_ref
        causes = check_format(path.child("group"), parent.group, dns1123_subdomain) if parent.group else []
        for field in ("resource", "name"):
            value = getattr(parent, field)
            causes += check_named(path.child(field), value, path_segment)
        return causes + (check_format(path.child("namespace"), parent.namespace, path_segment) if parent.namespace else [])

    def validate_update(self, new: networking.IPAddress, old: networking.IPAddress) -> list[Cause]:
        return check_immutable(SPEC.child("parentRef"), new.spec.parent_ref, old.spec.parent_ref, CUT)

    def cells(self, obj: networking.IPAddress, now: datetime) -> list[object]:
        parent = obj.spec.parent_ref
        found = [part for part in (parent.group, parent.resource, parent.namespace, parent.name) if part]
        return [obj.metadata.name, "/".join(found)]


class ServiceCIDRStrategy(Strategy):
    columns = columns("Name", "CIDRs", "Age")

    def validate(self, obj: networking.ServiceCIDR) -> list[Cause]:
        path, cidrs = SPEC.child("cidrs"), obj.spec.cidrs
        if not cidrs:
            return [required(path, "at least one CIDR required")]
        if len(cidrs) > MAX_CIDRS:
            return [invalid(path, Structure(CIDRs=list(cidrs)), "may only hold up to 2 values")]
        causes = [cause for index, text in enumerate(cidrs) for cause in check_format(path.index(index), text, canonical_range)]
        if not causes and len(cidrs) == MAX_CIDRS and len({ipaddress.ip_network(text).version for text in cidrs}) == 1:
            words = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
            causes.append(invalid(path, list(cidrs), words))
        return causes

    def validate_update(self, new: networking.ServiceCIDR, old: networking.ServiceCIDR) -> list[Cause]:
        """A range of the other family may be added."""
        path, cidrs, known = SPEC.child("cidrs"), list(new.spec.cidrs), list(old.spec.cidrs)
        if len(cidrs) != len(known) and (len(known), len(cidrs)) != (1, MAX_CIDRS):
            return check_immutable(path, cidrs, known)
        pairs = enumerate(zip(cidrs, known, strict=False))
        return [cause for index, (text, was) in pairs for cause in check_immutable(path.index(index), text, was)]

    def cells(self, obj: networking.ServiceCIDR, now: datetime) -> list[object]:
        return [obj.metadata.name, ",".join(obj.spec.cidrs), age(obj, now)]
