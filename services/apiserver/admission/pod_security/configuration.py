"""What an administrator says of pod security: what holds where a namespace says nothing, and who is let off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.apiserver.admission.pod_security.levels import LATEST, MODES, PRIVILEGED, Policy, Standard, level_error, version_error

API_VERSION, KIND = "pod-security.admission.config.k8s.io/v1", "PodSecurityConfiguration"
# The same under its older names.
API_VERSIONS = frozenset({API_VERSION, f"{API_VERSION}beta1", f"{API_VERSION}alpha1"})
EXEMPT = ("usernames", "runtimeClasses", "namespaces")


@dataclass(frozen=True, slots=True)
class PodSecurityConfiguration:
    """``default`` holds where the labels of a namespace say nothing."""

    default: Policy = field(default_factory=Policy)
    usernames: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()


def pod_security_configuration(said: Mapping[str, Any]) -> PodSecurityConfiguration:
    """Reads a PodSecurityConfiguration; raises ValueError, with the path of what is wrong."""
    _check_keys(said, ("apiVersion", "kind", "defaults", "exemptions"), "")
    if said.get("apiVersion", API_VERSION) not in API_VERSIONS or said.get("kind", KIND) != KIND:
        raise ValueError(f"it is a {said.get('apiVersion')} {said.get('kind')}, and not a {API_VERSION} {KIND}")
    defaults, exemptions = _mapping(said, "defaults"), _mapping(said, "exemptions")
    _check_keys(defaults, [name for mode in MODES for name in (mode, f"{mode}-version")], "defaults.")
    _check_keys(exemptions, EXEMPT, "exemptions.")
    policy = Policy(**{mode: _standard(defaults, mode) for mode in MODES})
    return PodSecurityConfiguration(policy, *(frozenset(_strings(exemptions, name)) for name in EXEMPT))


def _standard(defaults: Mapping[str, Any], mode: str) -> Standard:
    found = Standard(defaults.get(mode, PRIVILEGED), defaults.get(f"{mode}-version", LATEST))
    for name, value, error in ((mode, found.level, level_error), (f"{mode}-version", found.version, version_error)):
        if words := error(value) if isinstance(value, str) else "must be text":
            raise ValueError(f"defaults.{name}: {value!r} {words}")
    return found


def _mapping(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = said.get(name) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} is no mapping")
    return found


def _strings(said: Mapping[str, Any], name: str) -> Sequence[str]:
    found = said.get(name) or []
    if not isinstance(found, list) or not all(isinstance(item, str) and item for item in found):
        raise ValueError(f"exemptions.{name} is no list of names")
    return found


def _check_keys(said: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    if unknown := sorted(str(key) for key in said.keys() - set(known)):
        raise ValueError(f"unknown field {where}{unknown[0]}")
