"""An informer for those who need only metadata: it forgets the rest of every object."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

from knarr.client.client import Client
from knarr.client.informer import Informer
from knarr.client.store import Store
from knarr.objects.keys import key_of, metadata_of

M = TypeVar("M", bound=Message)

_KEPT = ("name", "namespace", "uid", "resource_version")


class MetadataStore(Store[M]):
    """Keeps names, uids and revisions: what an informer needs to tell changes."""

    def put(self, obj: M) -> M | None:
        slim = type(obj)()
        kept, metadata = metadata_of(slim), metadata_of(obj)
        for name in _KEPT:
            setattr(kept, name, getattr(metadata, name))
        assert key_of(slim) == key_of(obj)
        return super().put(slim)


class MetadataInformer(Informer[M]):
    """Listeners get the whole new object, but of the old one only name, uid and revision."""

    def __init__(self, client: Client, message_type: type[M]) -> None:
        super().__init__(client, message_type)
        self.store = MetadataStore()
