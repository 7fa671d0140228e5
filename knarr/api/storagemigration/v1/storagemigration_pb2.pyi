from knarr.api.meta.v1 import meta_pb2 as _meta_pb2
from knarr.api.options.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StorageVersionMigration(_message.Message):
    __slots__ = ("metadata", "spec", "status")
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    metadata: _meta_pb2.ObjectMeta
    spec: StorageVersionMigrationSpec
    status: StorageVersionMigrationStatus
    def __init__(self, metadata: _Optional[_Union[_meta_pb2.ObjectMeta, _Mapping]] = ..., spec: _Optional[_Union[StorageVersionMigrationSpec, _Mapping]] = ..., status: _Optional[_Union[StorageVersionMigrationStatus, _Mapping]] = ...) -> None: ...

class StorageVersionMigrationSpec(_message.Message):
    __slots__ = ("resource",)
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    resource: _meta_pb2.GroupResource
    def __init__(self, resource: _Optional[_Union[_meta_pb2.GroupResource, _Mapping]] = ...) -> None: ...

class StorageVersionMigrationStatus(_message.Message):
    __slots__ = ("conditions", "resource_version")
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    conditions: _containers.RepeatedCompositeFieldContainer[_meta_pb2.Condition]
    resource_version: str
    def __init__(self, conditions: _Optional[_Iterable[_Union[_meta_pb2.Condition, _Mapping]]] = ..., resource_version: _Optional[str] = ...) -> None: ...

class StorageVersionMigrationList(_message.Message):
    __slots__ = ("metadata", "items")
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    metadata: _meta_pb2.ListMeta
    items: _containers.RepeatedCompositeFieldContainer[StorageVersionMigration]
    def __init__(self, metadata: _Optional[_Union[_meta_pb2.ListMeta, _Mapping]] = ..., items: _Optional[_Iterable[_Union[StorageVersionMigration, _Mapping]]] = ...) -> None: ...
