"""Rules about the names of pools of devices, and of the attributes and capacities of devices. Pure.

Specified by Kubernetes' resource.k8s.io/v1.
"""

from __future__ import annotations

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, c_identifier, check_format, dns1123_subdomain, invalid, required, too_long
from services.apiserver.strategies.volumes import check_driver_name

LONGEST_NAME, LONGEST_POOL = 32, 253


def validate_pool_name(name: str, path: Path) -> list[Cause]:
    if not name:
        return [required(path)]
    causes = [too_long(path, LONGEST_POOL)] if len(name) > LONGEST_POOL else []
    return causes + [cause for part in name.split("/") for cause in check_format(path, part, dns1123_subdomain)]


def check_fact_name(name: str, path: Path) -> list[Cause]:
    """Of an attribute or a capacity: that of the driver, or of a domain before it."""
    parts = name.split("/")
    if len(parts) > 2:
        return [invalid(path, name, "must not contain more than one slash")]
    domain, identifier = ("", parts[0]) if len(parts) == 1 else parts
    causes: list[Cause] = []
    if len(parts) == 2:
        causes += check_driver_name(domain, path) if domain else [invalid(path, "", "the domain must not be empty")]
        if not identifier:
            return [*causes, invalid(path, "", "the name must not be empty")]
    if len(identifier) > LONGEST_NAME:
        causes.append(too_long(path, LONGEST_NAME))
    return causes + check_format(path, identifier, c_identifier)


def check_whole_name(name: str, path: Path) -> list[Cause]:
    causes = check_fact_name(name, path)
    if "/" not in name:
        causes.append(invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash"))
    return causes
