import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from knarr.api.proxy.v1 import policies_pb2 as _policies_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetRoutesRequest(_message.Message):
    __slots__ = ("namespace", "service")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    service: str
    def __init__(self, namespace: _Optional[str] = ..., service: _Optional[str] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("address", "port", "pod", "connections", "local", "in_force_since")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    IN_FORCE_SINCE_FIELD_NUMBER: _ClassVar[int]
    address: str
    port: int
    pod: str
    connections: int
    local: bool
    in_force_since: _timestamp_pb2.Timestamp
    def __init__(self, address: _Optional[str] = ..., port: _Optional[int] = ..., pod: _Optional[str] = ..., connections: _Optional[int] = ..., local: _Optional[bool] = ..., in_force_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("namespace", "service", "port_name", "protocol", "cluster_ip", "port", "node_port", "endpoints", "limitations", "external_ips", "load_balancer_ips", "load_balancer_source_ranges", "internal_traffic_policy", "external_traffic_policy", "session_affinity_seconds", "health_check_node_port", "announced")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PORT_NAME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_IP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    NODE_PORT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    LIMITATIONS_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_IPS_FIELD_NUMBER: _ClassVar[int]
    LOAD_BALANCER_IPS_FIELD_NUMBER: _ClassVar[int]
    LOAD_BALANCER_SOURCE_RANGES_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_TRAFFIC_POLICY_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_TRAFFIC_POLICY_FIELD_NUMBER: _ClassVar[int]
    SESSION_AFFINITY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_CHECK_NODE_PORT_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCED_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    service: str
    port_name: str
    protocol: str
    cluster_ip: str
    port: int
    node_port: int
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    limitations: _containers.RepeatedScalarFieldContainer[str]
    external_ips: _containers.RepeatedScalarFieldContainer[str]
    load_balancer_ips: _containers.RepeatedScalarFieldContainer[str]
    load_balancer_source_ranges: _containers.RepeatedScalarFieldContainer[str]
    internal_traffic_policy: str
    external_traffic_policy: str
    session_affinity_seconds: int
    health_check_node_port: int
    announced: bool
    def __init__(self, namespace: _Optional[str] = ..., service: _Optional[str] = ..., port_name: _Optional[str] = ..., protocol: _Optional[str] = ..., cluster_ip: _Optional[str] = ..., port: _Optional[int] = ..., node_port: _Optional[int] = ..., endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ..., limitations: _Optional[_Iterable[str]] = ..., external_ips: _Optional[_Iterable[str]] = ..., load_balancer_ips: _Optional[_Iterable[str]] = ..., load_balancer_source_ranges: _Optional[_Iterable[str]] = ..., internal_traffic_policy: _Optional[str] = ..., external_traffic_policy: _Optional[str] = ..., session_affinity_seconds: _Optional[int] = ..., health_check_node_port: _Optional[int] = ..., announced: _Optional[bool] = ...) -> None: ...

class HeldAddress(_message.Message):
    __slots__ = ("address", "device")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    address: str
    device: str
    def __init__(self, address: _Optional[str] = ..., device: _Optional[str] = ...) -> None: ...

class GetRoutesResponse(_message.Message):
    __slots__ = ("datapath", "routes", "changes", "last_change_seconds", "limitations", "held_addresses", "stale", "stale_since")
    DATAPATH_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    LAST_CHANGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LIMITATIONS_FIELD_NUMBER: _ClassVar[int]
    HELD_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    STALE_SINCE_FIELD_NUMBER: _ClassVar[int]
    datapath: str
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    changes: int
    last_change_seconds: float
    limitations: _containers.RepeatedScalarFieldContainer[str]
    held_addresses: _containers.RepeatedCompositeFieldContainer[HeldAddress]
    stale: bool
    stale_since: _timestamp_pb2.Timestamp
    def __init__(self, datapath: _Optional[str] = ..., routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ..., changes: _Optional[int] = ..., last_change_seconds: _Optional[float] = ..., limitations: _Optional[_Iterable[str]] = ..., held_addresses: _Optional[_Iterable[_Union[HeldAddress, _Mapping]]] = ..., stale: _Optional[bool] = ..., stale_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetPodNetworkRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Peer(_message.Message):
    __slots__ = ("node", "pod_cidr", "address", "way", "problem", "in_force_since")
    NODE_FIELD_NUMBER: _ClassVar[int]
    POD_CIDR_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    WAY_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    IN_FORCE_SINCE_FIELD_NUMBER: _ClassVar[int]
    node: str
    pod_cidr: str
    address: str
    way: str
    problem: str
    in_force_since: _timestamp_pb2.Timestamp
    def __init__(self, node: _Optional[str] = ..., pod_cidr: _Optional[str] = ..., address: _Optional[str] = ..., way: _Optional[str] = ..., problem: _Optional[str] = ..., in_force_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetPodNetworkResponse(_message.Message):
    __slots__ = ("mode", "node", "pod_cidr", "address", "device", "mtu", "peers", "in_force_since", "problem", "limitations")
    MODE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    POD_CIDR_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    IN_FORCE_SINCE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    LIMITATIONS_FIELD_NUMBER: _ClassVar[int]
    mode: str
    node: str
    pod_cidr: str
    address: str
    device: str
    mtu: int
    peers: _containers.RepeatedCompositeFieldContainer[Peer]
    in_force_since: _timestamp_pb2.Timestamp
    problem: str
    limitations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, mode: _Optional[str] = ..., node: _Optional[str] = ..., pod_cidr: _Optional[str] = ..., address: _Optional[str] = ..., device: _Optional[str] = ..., mtu: _Optional[int] = ..., peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ..., in_force_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., problem: _Optional[str] = ..., limitations: _Optional[_Iterable[str]] = ...) -> None: ...
