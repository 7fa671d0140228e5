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
    __slots__ = ("address", "port", "pod", "connections")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    address: str
    port: int
    pod: str
    connections: int
    def __init__(self, address: _Optional[str] = ..., port: _Optional[int] = ..., pod: _Optional[str] = ..., connections: _Optional[int] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("namespace", "service", "port_name", "protocol", "cluster_ip", "port", "node_port", "endpoints", "limitations")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PORT_NAME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_IP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    NODE_PORT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    LIMITATIONS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    service: str
    port_name: str
    protocol: str
    cluster_ip: str
    port: int
    node_port: int
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    limitations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., service: _Optional[str] = ..., port_name: _Optional[str] = ..., protocol: _Optional[str] = ..., cluster_ip: _Optional[str] = ..., port: _Optional[int] = ..., node_port: _Optional[int] = ..., endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ..., limitations: _Optional[_Iterable[str]] = ...) -> None: ...

class GetRoutesResponse(_message.Message):
    __slots__ = ("datapath", "routes", "changes", "last_change_seconds", "limitations")
    DATAPATH_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    LAST_CHANGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LIMITATIONS_FIELD_NUMBER: _ClassVar[int]
    datapath: str
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    changes: int
    last_change_seconds: float
    limitations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, datapath: _Optional[str] = ..., routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ..., changes: _Optional[int] = ..., last_change_seconds: _Optional[float] = ..., limitations: _Optional[_Iterable[str]] = ...) -> None: ...
