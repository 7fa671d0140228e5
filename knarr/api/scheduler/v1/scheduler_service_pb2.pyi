from knarr.api.core.v1 import core_pb2 as _core_pb2
from knarr.api.scheduler.v1 import explain_pb2 as _explain_pb2
from knarr.api.scheduler.v1 import what_if_pb2 as _what_if_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetQueueRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetQueueResponse(_message.Message):
    __slots__ = ("pods",)
    PODS_FIELD_NUMBER: _ClassVar[int]
    pods: _containers.RepeatedCompositeFieldContainer[_explain_pb2.QueuedPod]
    def __init__(self, pods: _Optional[_Iterable[_Union[_explain_pb2.QueuedPod, _Mapping]]] = ...) -> None: ...

class WhatIfRequest(_message.Message):
    __slots__ = ("drain_node", "delete_pod", "set_requests", "add_node")
    DRAIN_NODE_FIELD_NUMBER: _ClassVar[int]
    DELETE_POD_FIELD_NUMBER: _ClassVar[int]
    SET_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ADD_NODE_FIELD_NUMBER: _ClassVar[int]
    drain_node: _what_if_pb2.DrainNode
    delete_pod: _what_if_pb2.DeletePod
    set_requests: _what_if_pb2.SetRequests
    add_node: AddNode
    def __init__(self, drain_node: _Optional[_Union[_what_if_pb2.DrainNode, _Mapping]] = ..., delete_pod: _Optional[_Union[_what_if_pb2.DeletePod, _Mapping]] = ..., set_requests: _Optional[_Union[_what_if_pb2.SetRequests, _Mapping]] = ..., add_node: _Optional[_Union[AddNode, _Mapping]] = ...) -> None: ...

class AddNode(_message.Message):
    __slots__ = ("node", "like", "count")
    NODE_FIELD_NUMBER: _ClassVar[int]
    LIKE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    node: _core_pb2.Node
    like: str
    count: int
    def __init__(self, node: _Optional[_Union[_core_pb2.Node, _Mapping]] = ..., like: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...
