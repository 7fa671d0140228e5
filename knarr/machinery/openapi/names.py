"""What schemas, tags and operations are called: as Kubernetes calls them, since clients look for some by name."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor

from knarr.machinery.resources import Version
from knarr.machinery.schema import descriptor_of

PACKAGES = {
    "knarr.api.meta.v1": "io.k8s.apimachinery.pkg.apis.meta.v1",
    "knarr.api.runtime.v1": "io.k8s.apimachinery.pkg.runtime",
    "knarr.api.apiextensions.v1": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    "knarr.api.apiregistration.v1": "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
}
NAMES = {
    "knarr.api.meta.v1.Quantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "knarr.api.meta.v1.IntOrString": "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
}
META = PACKAGES["knarr.api.meta.v1"]
PATCH = f"{META}.Patch"
WATCH_EVENT = f"{META}.WatchEvent"
VERSION_INFO = "io.k8s.apimachinery.pkg.version.Info"
GROUP_SUFFIX = ".k8s.io"


def message_name(message: Descriptor) -> str:
    """``io.k8s.api.core.v1.Pod``."""
    special = NAMES.get(message.full_name)
    if special:
        return special
    package = message.file.package
    return f"{PACKAGES.get(package) or 'io.k8s.api.' + package.removeprefix('knarr.api.')}.{message.name}"


def version_name(version: Version, *, listed: bool = False) -> str:
    """The schema of a version's objects or of their list: its message's name, or ``com.example.stable.v1.CronTab`` where it has none."""
    if version.openapi is None:
        return message_name(descriptor_of(version.listed if listed else version.message))
    domain = ".".join(reversed(version.group.split(".")))
    return f"{domain}.{version.version}.{version.list_kind if listed else version.kind}"


def capitalized(name: str) -> str:
    """``networkPolicy`` → ``NetworkPolicy``: nothing but the first letter changes."""
    return name[:1].upper() + name[1:]


def area(group: str) -> str:
    """A group in the identifier of an operation: ``RbacAuthorization``, ``Core``."""
    return "".join(capitalized(part) for part in _parts(group)) or "Core"


def tag(group: str, version: str = "") -> str:
    """``rbacAuthorization_v1``; without a version that of the group alone."""
    first, *rest = _parts(group) or ["core"]
    return "_".join(filter(None, (first + "".join(capitalized(part) for part in rest), version)))


def _parts(group: str) -> list[str]:
    return [part for part in group.removesuffix(GROUP_SUFFIX).replace("-", ".").split(".") if part]


def root_of(group: str, version: str) -> str:
    """``/api/v1`` or ``/apis/apps/v1``."""
    return f"/apis/{group}/{version}" if group else f"/api/{version}"
