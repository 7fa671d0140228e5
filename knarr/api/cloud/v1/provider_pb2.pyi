from knarr.api.core.v1 import core_pb2 as _core_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InstanceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INSTANCE_STATE_UNSPECIFIED: _ClassVar[InstanceState]
    INSTANCE_STATE_RUNNING: _ClassVar[InstanceState]
    INSTANCE_STATE_SHUT_DOWN: _ClassVar[InstanceState]
    INSTANCE_STATE_GONE: _ClassVar[InstanceState]
INSTANCE_STATE_UNSPECIFIED: InstanceState
INSTANCE_STATE_RUNNING: InstanceState
INSTANCE_STATE_SHUT_DOWN: InstanceState
INSTANCE_STATE_GONE: InstanceState

class GetInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetInfoResponse(_message.Message):
    __slots__ = ("name", "instances", "load_balancers", "routes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    LOAD_BALANCERS_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    instances: bool
    load_balancers: bool
    routes: bool
    def __init__(self, name: _Optional[str] = ..., instances: _Optional[bool] = ..., load_balancers: _Optional[bool] = ..., routes: _Optional[bool] = ...) -> None: ...

class GetInstanceRequest(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: _core_pb2.Node
    def __init__(self, node: _Optional[_Union[_core_pb2.Node, _Mapping]] = ...) -> None: ...

class Instance(_message.Message):
    __slots__ = ("state", "provider_id", "instance_type", "zone", "region", "addresses", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    state: InstanceState
    provider_id: str
    instance_type: str
    zone: str
    region: str
    addresses: _containers.RepeatedCompositeFieldContainer[_core_pb2.NodeAddress]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, state: _Optional[_Union[InstanceState, str]] = ..., provider_id: _Optional[str] = ..., instance_type: _Optional[str] = ..., zone: _Optional[str] = ..., region: _Optional[str] = ..., addresses: _Optional[_Iterable[_Union[_core_pb2.NodeAddress, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetInstanceResponse(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: Instance
    def __init__(self, instance: _Optional[_Union[Instance, _Mapping]] = ...) -> None: ...

class EnsureLoadBalancerRequest(_message.Message):
    __slots__ = ("cluster", "service", "nodes")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    service: _core_pb2.Service
    nodes: _containers.RepeatedCompositeFieldContainer[_core_pb2.Node]
    def __init__(self, cluster: _Optional[str] = ..., service: _Optional[_Union[_core_pb2.Service, _Mapping]] = ..., nodes: _Optional[_Iterable[_Union[_core_pb2.Node, _Mapping]]] = ...) -> None: ...

class LoadBalancer(_message.Message):
    __slots__ = ("status", "annotations", "limitations")
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    LIMITATIONS_FIELD_NUMBER: _ClassVar[int]
    status: _core_pb2.LoadBalancerStatus
    annotations: _containers.ScalarMap[str, str]
    limitations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, status: _Optional[_Union[_core_pb2.LoadBalancerStatus, _Mapping]] = ..., annotations: _Optional[_Mapping[str, str]] = ..., limitations: _Optional[_Iterable[str]] = ...) -> None: ...

class EnsureLoadBalancerResponse(_message.Message):
    __slots__ = ("load_balancer",)
    LOAD_BALANCER_FIELD_NUMBER: _ClassVar[int]
    load_balancer: LoadBalancer
    def __init__(self, load_balancer: _Optional[_Union[LoadBalancer, _Mapping]] = ...) -> None: ...

class UpdateLoadBalancerRequest(_message.Message):
    __slots__ = ("cluster", "service", "nodes")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    service: _core_pb2.Service
    nodes: _containers.RepeatedCompositeFieldContainer[_core_pb2.Node]
    def __init__(self, cluster: _Optional[str] = ..., service: _Optional[_Union[_core_pb2.Service, _Mapping]] = ..., nodes: _Optional[_Iterable[_Union[_core_pb2.Node, _Mapping]]] = ...) -> None: ...

class UpdateLoadBalancerResponse(_message.Message):
    __slots__ = ("load_balancer",)
    LOAD_BALANCER_FIELD_NUMBER: _ClassVar[int]
    load_balancer: LoadBalancer
    def __init__(self, load_balancer: _Optional[_Union[LoadBalancer, _Mapping]] = ...) -> None: ...

class DeleteLoadBalancerRequest(_message.Message):
    __slots__ = ("cluster", "service")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    service: _core_pb2.Service
    def __init__(self, cluster: _Optional[str] = ..., service: _Optional[_Union[_core_pb2.Service, _Mapping]] = ...) -> None: ...

class DeleteLoadBalancerResponse(_message.Message):
    __slots__ = ("annotations",)
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    annotations: _containers.ScalarMap[str, str]
    def __init__(self, annotations: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("name", "node", "destination_cidr", "blackhole")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_CIDR_FIELD_NUMBER: _ClassVar[int]
    BLACKHOLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    node: str
    destination_cidr: str
    blackhole: bool
    def __init__(self, name: _Optional[str] = ..., node: _Optional[str] = ..., destination_cidr: _Optional[str] = ..., blackhole: _Optional[bool] = ...) -> None: ...

class ListRoutesRequest(_message.Message):
    __slots__ = ("cluster",)
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    def __init__(self, cluster: _Optional[str] = ...) -> None: ...

class ListRoutesResponse(_message.Message):
    __slots__ = ("routes",)
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    def __init__(self, routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ...) -> None: ...

class CreateRouteRequest(_message.Message):
    __slots__ = ("cluster", "route", "node")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    route: Route
    node: _core_pb2.Node
    def __init__(self, cluster: _Optional[str] = ..., route: _Optional[_Union[Route, _Mapping]] = ..., node: _Optional[_Union[_core_pb2.Node, _Mapping]] = ...) -> None: ...

class CreateRouteResponse(_message.Message):
    __slots__ = ("route",)
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    route: Route
    def __init__(self, route: _Optional[_Union[Route, _Mapping]] = ...) -> None: ...

class DeleteRouteRequest(_message.Message):
    __slots__ = ("cluster", "route")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    route: Route
    def __init__(self, cluster: _Optional[str] = ..., route: _Optional[_Union[Route, _Mapping]] = ...) -> None: ...

class DeleteRouteResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
