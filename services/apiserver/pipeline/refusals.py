"""What the pipeline says of the object that a request names, in Kubernetes' words."""

from __future__ import annotations

from knarr.machinery.errors import StatusError, already_exists, conflict, not_found
from services.apiserver.results import Ref


def missing(ref: Ref) -> StatusError:
    return not_found(ref.resource.plural, ref.name, ref.version.group)


def taken(ref: Ref) -> StatusError:
    return already_exists(ref.resource.plural, ref.name, ref.version.group)


def modified(ref: Ref) -> StatusError:
    return conflict(ref.resource.plural, ref.name, ref.version.group)


def precondition_failed(ref: Ref, detail: str) -> StatusError:
    return conflict(ref.resource.plural, ref.name, ref.version.group, f"Precondition failed: {detail}")
