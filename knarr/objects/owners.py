"""Owner references: who controls an object."""

from __future__ import annotations

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.type_names import names_of
from knarr.objects.keys import Key, metadata_of


def owner_reference(owner: Message, *, controller: bool = True, block_owner_deletion: bool = True) -> meta.OwnerReference:
    """A reference to a stored owner, as its dependents carry it."""
    api_version, kind = names_of(type(owner))
    metadata = metadata_of(owner)
    reference = meta.OwnerReference(api_version=api_version, kind=kind, name=metadata.name, uid=metadata.uid)
    if controller:
        reference.controller = True
    if block_owner_deletion:
        reference.block_owner_deletion = True
    return reference


def controller_of(obj: Message) -> meta.OwnerReference | None:
    """The reference to the object's managing controller, or None."""
    for reference in metadata_of(obj).owner_references:
        if reference.controller:
            return reference
    return None


def controller_key(obj: Message, kind: type[Message]) -> Key | None:
    """The key of the object's controller in its own namespace, where that is of this kind, whatever its version; None otherwise."""
    ref = controller_of(obj)
    if ref is None:
        return None
    api_version, name = names_of(kind)
    if ref.kind != name or (ref.api_version != api_version and group_of(ref.api_version) != group_of(api_version)):
        return None
    return Key(metadata_of(obj).namespace, ref.name)


def is_controlled_by(obj: Message, owner: Message) -> bool:
    """Whether that very owner (by uid) controls the object."""
    reference = controller_of(obj)
    return reference is not None and bool(reference.uid == metadata_of(owner).uid)


def group_of(api_version: str) -> str:
    """The group in an ``apiVersion``; empty for the core group."""
    return api_version.rpartition("/")[0]
