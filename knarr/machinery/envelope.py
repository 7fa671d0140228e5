"""The protobuf envelope of bodies and etcd values: ``k8s\\0`` and a ``runtime.Unknown``."""

from __future__ import annotations

from functools import lru_cache

from knarr.api.runtime.v1 import runtime_pb2 as runtime

MAGIC = b"k8s\x00"


def wrap(api_version: str, kind: str, raw: bytes) -> bytes:
    """Puts a serialized message into its envelope."""
    unknown = runtime.Unknown(raw=raw)
    unknown.type_meta.api_version, unknown.type_meta.kind = api_version, kind
    return MAGIC + unknown.SerializeToString()


def wrapping(api_version: str, kind: str, size: int) -> bytes:
    """What stands before a serialized message of ``size`` bytes in its envelope, for who does not want to copy it: in
    ``runtime.Unknown`` it is the last field."""
    names = runtime.Unknown()
    names.type_meta.api_version, names.type_meta.kind = api_version, kind
    return b"".join((MAGIC, names.SerializeToString(), b"\x12", varint(size)))


def unwrap(data: bytes) -> runtime.Unknown:
    """Opens an envelope; raises ValueError when it is not one."""
    if data[:4] != MAGIC:
        raise ValueError("not a Kubernetes protobuf body: it does not start with k8s\\0")
    return runtime.Unknown.FromString(data[4:])


def with_resource_version(raw: bytes, revision: int) -> bytes:
    """Sets metadata.resourceVersion without decoding."""
    return raw + resource_version(revision)


def resource_version(revision: int) -> bytes:
    """What appended to a serialized message sets metadata.resourceVersion.

    A message field that occurs twice on the wire is merged, so a second ``metadata`` (field 1 of every kind) that holds only a
    resourceVersion (field 6) sets just that. What is not stored has no revision: nothing is appended for 0.
    """
    if not revision:
        return b""
    text = b"%d" % revision
    return b"\x0a%c\x32%c%b" % (len(text) + 2, len(text), text)


@lru_cache(maxsize=8192)
def varint(value: int) -> bytes:
    """A length as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
