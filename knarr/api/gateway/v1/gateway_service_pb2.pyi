import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExplainRequest(_message.Message):
    __slots__ = ("host", "path", "method", "headers", "port", "gateway")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HOST_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    host: str
    path: str
    method: str
    headers: _containers.ScalarMap[str, str]
    port: int
    gateway: str
    def __init__(self, host: _Optional[str] = ..., path: _Optional[str] = ..., method: _Optional[str] = ..., headers: _Optional[_Mapping[str, str]] = ..., port: _Optional[int] = ..., gateway: _Optional[str] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("kind", "namespace", "name", "place", "port", "host", "path_type", "path", "conditions", "action", "backends", "gateway")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PATH_TYPE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    kind: str
    namespace: str
    name: str
    place: str
    port: int
    host: str
    path_type: str
    path: str
    conditions: _containers.RepeatedScalarFieldContainer[str]
    action: str
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    gateway: str
    def __init__(self, kind: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., place: _Optional[str] = ..., port: _Optional[int] = ..., host: _Optional[str] = ..., path_type: _Optional[str] = ..., path: _Optional[str] = ..., conditions: _Optional[_Iterable[str]] = ..., action: _Optional[str] = ..., backends: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ..., gateway: _Optional[str] = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ("namespace", "service", "port", "weight", "endpoints")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    service: str
    port: str
    weight: int
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    def __init__(self, namespace: _Optional[str] = ..., service: _Optional[str] = ..., port: _Optional[str] = ..., weight: _Optional[int] = ..., endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("address", "port", "pod")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    address: str
    port: int
    pod: str
    def __init__(self, address: _Optional[str] = ..., port: _Optional[int] = ..., pod: _Optional[str] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("route", "taken", "reason")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    route: Route
    taken: bool
    reason: str
    def __init__(self, route: _Optional[_Union[Route, _Mapping]] = ..., taken: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("steps", "result", "notes")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    result: str
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., result: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class GetRoutesRequest(_message.Message):
    __slots__ = ("namespace",)
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    def __init__(self, namespace: _Optional[str] = ...) -> None: ...

class GetRoutesResponse(_message.Message):
    __slots__ = ("routes", "problems")
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("kind", "namespace", "name", "reason", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    namespace: str
    name: str
    reason: str
    message: str
    def __init__(self, kind: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Listener(_message.Message):
    __slots__ = ("port", "addresses", "tls", "problem", "gateway")
    PORT_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    port: int
    addresses: _containers.RepeatedScalarFieldContainer[str]
    tls: bool
    problem: str
    gateway: str
    def __init__(self, port: _Optional[int] = ..., addresses: _Optional[_Iterable[str]] = ..., tls: _Optional[bool] = ..., problem: _Optional[str] = ..., gateway: _Optional[str] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("synced", "process", "leaving", "listeners", "routes", "backends", "changes", "reloads", "last_change_seconds", "restarts", "stale", "stale_since", "problems", "address")
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    LISTENERS_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    RELOADS_FIELD_NUMBER: _ClassVar[int]
    LAST_CHANGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    STALE_SINCE_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    synced: bool
    process: int
    leaving: _containers.RepeatedScalarFieldContainer[int]
    listeners: _containers.RepeatedCompositeFieldContainer[Listener]
    routes: int
    backends: int
    changes: int
    reloads: int
    last_change_seconds: float
    restarts: int
    stale: bool
    stale_since: _timestamp_pb2.Timestamp
    problems: _containers.RepeatedScalarFieldContainer[str]
    address: str
    def __init__(self, synced: _Optional[bool] = ..., process: _Optional[int] = ..., leaving: _Optional[_Iterable[int]] = ..., listeners: _Optional[_Iterable[_Union[Listener, _Mapping]]] = ..., routes: _Optional[int] = ..., backends: _Optional[int] = ..., changes: _Optional[int] = ..., reloads: _Optional[int] = ..., last_change_seconds: _Optional[float] = ..., restarts: _Optional[int] = ..., stale: _Optional[bool] = ..., stale_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., problems: _Optional[_Iterable[str]] = ..., address: _Optional[str] = ...) -> None: ...
