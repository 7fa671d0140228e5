"""Rules about what a claim says of its devices beside its requests: constraints, settings, tolerations. Pure.

Specified by Kubernetes' resource.k8s.io/v1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from knarr.api.resource.v1 import resource_pb2 as devices
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_choice,
    check_distinct,
    check_each,
    check_format,
    dns1123_label,
    invalid,
    label_value,
    qualified_name,
    required,
    too_long,
)
from services.apiserver.strategies.devicenames import check_whole_name
from services.apiserver.strategies.devicetaints import EFFECTS
from services.apiserver.strategies.volumes import check_driver_name

MAX_REFERENCES, MAX_CONSTRAINTS, MAX_SETTINGS, MAX_TOLERATIONS = 32, 32, 32, 16
OPERATORS = ("Equal", "Exists")
LONGEST_SETTINGS = 10 * 1024
REFERENCE_WORDS = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"


def validate_claim_parts(claim: devices.DeviceClaim, path: Path) -> list[Cause]:
    """What a claim says of its requests together: which devices go with one another, and their settings."""
    names = request_names(claim)

    def check_config(config: devices.DeviceClaimConfiguration, here: Path) -> list[Cause]:
        return check_references(here.child("requests"), config.requests, names) + check_settings(config.device_configuration, here)

    causes = check_each(path.child("constraints"), claim.constraints, MAX_CONSTRAINTS, lambda one, here: _constraint(one, names, here))
    return causes + check_each(path.child("config"), claim.config, MAX_SETTINGS, check_config)


def request_names(claim: devices.DeviceClaim) -> set[str]:
    """Those of a claim's requests, and of the alternatives of each after it."""
    alternatives = {f"{request.name}/{one.name}" for request in claim.requests for one in request.first_available}
    return alternatives | {request.name for request in claim.requests}


def validate_class_settings(config: Sequence[devices.DeviceClassConfiguration], path: Path) -> list[Cause]:
    return check_each(path, config, MAX_SETTINGS, lambda one, here: check_settings(one.device_configuration, here))


def validate_device_tolerations(tolerations: Sequence[devices.DeviceToleration], path: Path) -> list[Cause]:
    return check_each(path, tolerations, MAX_TOLERATIONS, _toleration)


def _constraint(constraint: devices.DeviceConstraint, names: set[str], path: Path) -> list[Cause]:
    causes = check_references(path.child("requests"), constraint.requests, names)
    if constraint.HasField("match_attribute"):
        return causes + check_whole_name(constraint.match_attribute, path.child("matchAttribute"))
    if constraint.HasField("distinct_attribute"):
        return causes + check_whole_name(constraint.distinct_attribute, path.child("distinctAttribute"))
    # Kubernetes says the second half here too, where none is set.
    return [*causes, required(path, 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set')]


def check_references(path: Path, given: Sequence[str], names: set[str]) -> list[Cause]:
    causes = check_each(path, given, MAX_REFERENCES, lambda name, here: check_reference(here, name, names))
    return causes + check_distinct(path, given[:MAX_REFERENCES])


def check_reference(path: Path, name: str, names: set[str]) -> list[Cause]:
    parts = name.split("/")
    if len(parts) > 2:
        return [invalid(path, name, REFERENCE_WORDS)]
    causes = [cause for part in parts for cause in check_format(path, part, dns1123_label)]
    return causes if name in names else [*causes, invalid(path, name, REFERENCE_WORDS)]


def check_settings(settings: devices.DeviceConfiguration, path: Path) -> list[Cause]:
    here = path.child("opaque")
    if not settings.HasField("opaque"):
        return [required(here)]
    causes = check_driver_name(settings.opaque.driver, here.child("driver"))
    return causes + validate_free(settings.opaque.parameters.raw, here.child("parameters"))


def validate_free(raw: bytes, path: Path) -> list[Cause]:
    """An object of JSON that only a driver understands."""
    if not raw:
        return [required(path)]
    if len(raw) > LONGEST_SETTINGS:
        return [too_long(path, LONGEST_SETTINGS)]
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return [invalid(path, "<value omitted>", f"error parsing data as JSON: {error}")]
    if found is None:
        return [required(path)]
    return [] if isinstance(found, dict) else [invalid(path, "<value omitted>", "must be a valid JSON object")]


def _toleration(toleration: devices.DeviceToleration, path: Path) -> list[Cause]:
    causes = check_format(path.child("key"), toleration.key, qualified_name) if toleration.key else []
    value = path.child("value")
    causes += check_choice(path.child("operator"), toleration.operator, OPERATORS)
    if toleration.operator == "Exists" and toleration.value:
        causes.append(invalid(value, toleration.value, "must be empty for operator `Exists`"))
    elif toleration.operator == "Equal":
        causes += check_format(value, toleration.value, label_value)
    return causes + check_choice(path.child("effect"), toleration.effect, EFFECTS, optional=True)
