from knarr.api.cloud.v1 import provider_pb2 as _provider_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LoadBalancerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOAD_BALANCER_STATE_UNSPECIFIED: _ClassVar[LoadBalancerState]
    LOAD_BALANCER_STATE_PENDING: _ClassVar[LoadBalancerState]
    LOAD_BALANCER_STATE_IN_FORCE: _ClassVar[LoadBalancerState]
    LOAD_BALANCER_STATE_FAILED: _ClassVar[LoadBalancerState]
    LOAD_BALANCER_STATE_DELETING: _ClassVar[LoadBalancerState]
LOAD_BALANCER_STATE_UNSPECIFIED: LoadBalancerState
LOAD_BALANCER_STATE_PENDING: LoadBalancerState
LOAD_BALANCER_STATE_IN_FORCE: LoadBalancerState
LOAD_BALANCER_STATE_FAILED: LoadBalancerState
LOAD_BALANCER_STATE_DELETING: LoadBalancerState

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("leader", "provider", "info", "last_error", "queues")
    LEADER_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    leader: bool
    provider: str
    info: _provider_pb2.GetInfoResponse
    last_error: str
    queues: _containers.RepeatedCompositeFieldContainer[Queue]
    def __init__(self, leader: _Optional[bool] = ..., provider: _Optional[str] = ..., info: _Optional[_Union[_provider_pb2.GetInfoResponse, _Mapping]] = ..., last_error: _Optional[str] = ..., queues: _Optional[_Iterable[_Union[Queue, _Mapping]]] = ...) -> None: ...

class Queue(_message.Message):
    __slots__ = ("controller", "depth", "running", "syncs", "errors")
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SYNCS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    controller: str
    depth: int
    running: int
    syncs: int
    errors: int
    def __init__(self, controller: _Optional[str] = ..., depth: _Optional[int] = ..., running: _Optional[int] = ..., syncs: _Optional[int] = ..., errors: _Optional[int] = ...) -> None: ...

class ListLoadBalancersRequest(_message.Message):
    __slots__ = ("namespace",)
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    def __init__(self, namespace: _Optional[str] = ...) -> None: ...

class ListLoadBalancersResponse(_message.Message):
    __slots__ = ("load_balancers",)
    LOAD_BALANCERS_FIELD_NUMBER: _ClassVar[int]
    load_balancers: _containers.RepeatedCompositeFieldContainer[LoadBalancerStatus]
    def __init__(self, load_balancers: _Optional[_Iterable[_Union[LoadBalancerStatus, _Mapping]]] = ...) -> None: ...

class LoadBalancerStatus(_message.Message):
    __slots__ = ("namespace", "service", "state", "ingress", "last_error", "failures", "next_in_seconds", "last_success_seconds", "limitations")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    INGRESS_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_IN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LAST_SUCCESS_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LIMITATIONS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    service: str
    state: LoadBalancerState
    ingress: _containers.RepeatedScalarFieldContainer[str]
    last_error: str
    failures: int
    next_in_seconds: float
    last_success_seconds: float
    limitations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., service: _Optional[str] = ..., state: _Optional[_Union[LoadBalancerState, str]] = ..., ingress: _Optional[_Iterable[str]] = ..., last_error: _Optional[str] = ..., failures: _Optional[int] = ..., next_in_seconds: _Optional[float] = ..., last_success_seconds: _Optional[float] = ..., limitations: _Optional[_Iterable[str]] = ...) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListNodesResponse(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[NodeStatus]
    def __init__(self, nodes: _Optional[_Iterable[_Union[NodeStatus, _Mapping]]] = ...) -> None: ...

class NodeStatus(_message.Message):
    __slots__ = ("name", "provider_id", "excluded", "uninitialized", "last_error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    UNINITIALIZED_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    provider_id: str
    excluded: str
    uninitialized: bool
    last_error: str
    def __init__(self, name: _Optional[str] = ..., provider_id: _Optional[str] = ..., excluded: _Optional[str] = ..., uninitialized: _Optional[bool] = ..., last_error: _Optional[str] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ("controller", "key")
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    controller: str
    key: str
    def __init__(self, controller: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
