"""A pod's claims to devices, and which of them its containers use."""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT,
    Path,
    check_format,
    check_named,
    dns1123_label,
    dns1123_subdomain,
    duplicate,
    invalid,
    not_found,
    required,
)

_SOURCES = ("resource_claim_name", "resource_claim_template_name")


def validate_device_claims(spec: core.PodSpec, path: Path) -> list[Cause]:
    causes, names = list[Cause](), set[str]()
    for index, claim in enumerate(spec.resource_claims):
        here = path.child("resourceClaims").index(index)
        causes += _claim(claim, here)
        if claim.name in names:
            causes.append(duplicate(here.child("name"), claim.name))
        names.add(claim.name)
    for field, json_name in (("init_containers", "initContainers"), ("containers", "containers")):
        for index, container in enumerate(getattr(spec, field)):
            if container.resources.claims:
                causes += _used(container, names, path.child(json_name).index(index).child("resources", "claims"))
    return causes


def _claim(claim: core.PodResourceClaim, path: Path) -> list[Cause]:
    causes = check_named(path.child("name"), claim.name, dns1123_label)
    given = [name for name in _SOURCES if claim.HasField(name)]
    if not given:
        causes.append(required(path, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
    elif len(given) > 1:
        words = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
        causes.append(invalid(path, CUT, words))
    for name in given:
        here = path.child("resourceClaimName" if name == _SOURCES[0] else "resourceClaimTemplateName")
        causes += check_format(here, getattr(claim, name), dns1123_subdomain)
    return causes


def _among(names: set[str]) -> str:
    return "must be one of the names in pod.spec.resourceClaims" + (f": {', '.join(sorted(names))}" if names else " which is empty")


def _used(container: core.Container, names: set[str], path: Path) -> Iterator[Cause]:
    seen = set[tuple[str, str]]()
    for index, used in enumerate(container.resources.claims):
        here = path.index(index)
        if not used.name:
            yield required(here.child("name"))
        elif used.name not in names:
            yield not_found(here, used.name, _among(names))
        elif (used.name, used.request) in seen:
            yield duplicate(here, f"{used.name}/{used.request}" if used.request else used.name)
        seen.add((used.name, used.request))
