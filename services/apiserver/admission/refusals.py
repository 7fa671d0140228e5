"""How a plugin refuses, in Kubernetes' words."""

from __future__ import annotations

from knarr.machinery.errors import StatusError, forbidden
from services.apiserver.admission.attributes import Attributes


def refused(attributes: Attributes, detail: str) -> StatusError:
    """Forbidden; what has no name yet is called by the beginning of the one that it will get."""
    metadata = getattr(attributes.obj, "metadata", None)
    name = attributes.name or (metadata.name or metadata.generate_name if metadata is not None else "") or "Unknown"
    return forbidden(attributes.resource.plural, name, detail, attributes.request.ref.version.group)
