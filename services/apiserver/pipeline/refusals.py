"""What the pipeline says of the object that a request names, in Kubernetes' words."""

from __future__ import annotations

from knarr.machinery.errors import FOUND_UID, StatusError, already_exists, conflict, not_found
from services.apiserver.results import Ref
from services.apiserver.storage.keys import object_key


def missing(ref: Ref) -> StatusError:
    return not_found(ref.resource.plural, ref.name, ref.version.group)


def taken(ref: Ref) -> StatusError:
    return already_exists(ref.resource.plural, ref.name, ref.version.group)


def modified(ref: Ref) -> StatusError:
    return conflict(ref.resource.plural, ref.name, ref.version.group)


def precondition_failed(ref: Ref, detail: str) -> StatusError:
    """In the words of Kubernetes' storage, which says the key and no revision."""
    key = object_key(ref.resource, ref.namespace, ref.name)
    words = f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {detail}"
    return conflict(ref.resource.plural, ref.name, ref.version.group, words)


def another(ref: Ref, uid: str, found: str = "") -> StatusError:
    """For what is meant for the object of a uid: the one that is there has another, or there is none."""
    return precondition_failed(ref, f"UID in precondition: {uid}, {FOUND_UID}{found}")
