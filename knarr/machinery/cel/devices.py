"""What the selectors of devices see: the variable ``device`` of an expression, its type, and what a device is as a value of it.

Specified by Kubernetes' ``resource.k8s.io/v1`` (``CELDeviceSelector``). Names without a domain are of the driver's; a domain that a device
knows nothing of has an empty map.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from knarr.machinery.cel.compiler import compile_expression
from knarr.machinery.cel.errors import EvaluationError, InvalidExpression
from knarr.machinery.cel.kubernetes import amount, semver
from knarr.machinery.cel.program import Program
from knarr.machinery.cel.types import BOOL, DYN, QUANTITY, STRING, Field, Type, map_of, object_of
from knarr.machinery.device_attributes import qualified, value_of_attribute

DEVICE = "device"
# Kubernetes' limits: units of cost of one evaluation, letters of a domain, a name and a value, attributes and capacities of a device.
COST_LIMIT = 1_000_000
_DOMAIN, _NAME, _VALUE, _DRIVER, _MOST = 63, 32, 64, 63, 32


def _by_domain(value: Type) -> Type:
    return map_of(STRING.sized(_DOMAIN), map_of(STRING.sized(_NAME), value, _MOST), _MOST)


DEVICE_TYPE = object_of(
    "kubernetes.DRADevice",
    {
        "driver": Field("driver", STRING.sized(_DRIVER)),
        "attributes": Field("attributes", _by_domain(DYN.sized(_VALUE))),
        "capacity": Field("capacity", _by_domain(QUANTITY)),
        "allowMultipleAllocations": Field("allowMultipleAllocations", BOOL),
    },
)


class _Domains(dict[str, dict[str, Any]]):
    def __missing__(self, domain: str) -> dict[str, Any]:
        return {}


@lru_cache(maxsize=1024)
def _compiled(source: str) -> Program | InvalidExpression:
    try:
        program = compile_expression(source, {DEVICE: DEVICE_TYPE})
    except InvalidExpression as error:
        return InvalidExpression(f"compilation failed: {error.shown(source)}")
    if program.type not in (BOOL, DYN):
        return InvalidExpression(f"must evaluate to bool or the unknown type, not {program.type}")
    return program


def compiled(source: str) -> Program:
    """The last ones are remembered. Raises InvalidExpression in Kubernetes' words."""
    found = _compiled(source)
    if isinstance(found, InvalidExpression):
        raise found
    return found


def value_of(driver: str, device: Any) -> Mapping[str, Any]:
    """A ``resource.v1`` Device as expressions see it. Raises EvaluationError for a version that is none."""
    attributes, capacity = _Domains(), _Domains()
    for name, attribute in device.attributes.items():
        value = value_of_attribute(attribute)
        if value is not None:
            domain, short = qualified(name, driver)
            attributes.setdefault(domain, {})[short] = semver(value[1]) if value[0] == "version" else value[1]
    for name, found in device.capacity.items():
        domain, short = qualified(name, driver)
        capacity.setdefault(domain, {})[short] = amount(found.value.string)
    shared = bool(device.allow_multiple_allocations)
    return {"driver": driver, "attributes": attributes, "capacity": capacity, "allowMultipleAllocations": shared}


def matches(source: str, device: Mapping[str, Any]) -> bool:
    """Whether an expression is true of a device as ``value_of`` tells it. Raises InvalidExpression, EvaluationError, CostExceeded."""
    found, _ = compiled(source).evaluate({DEVICE: device}, COST_LIMIT)
    if not isinstance(found, bool):
        raise EvaluationError("the result is no bool")
    return found
