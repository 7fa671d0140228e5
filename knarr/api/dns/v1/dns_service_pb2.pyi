import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResolveRequest(_message.Message):
    __slots__ = ("name", "type", "namespace")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    namespace: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("name", "type", "ttl_seconds", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    ttl_seconds: int
    data: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., ttl_seconds: _Optional[int] = ..., data: _Optional[str] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("name", "code", "answers", "rule", "objects", "upstream")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_FIELD_NUMBER: _ClassVar[int]
    name: str
    code: str
    answers: int
    rule: str
    objects: _containers.RepeatedScalarFieldContainer[str]
    upstream: str
    def __init__(self, name: _Optional[str] = ..., code: _Optional[str] = ..., answers: _Optional[int] = ..., rule: _Optional[str] = ..., objects: _Optional[_Iterable[str]] = ..., upstream: _Optional[str] = ...) -> None: ...

class ResolveResponse(_message.Message):
    __slots__ = ("code", "answers", "additional", "steps")
    CODE_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    code: str
    answers: _containers.RepeatedCompositeFieldContainer[Record]
    additional: _containers.RepeatedCompositeFieldContainer[Record]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, code: _Optional[str] = ..., answers: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., additional: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("name", "type", "namespace")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    namespace: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("steps", "answers", "records", "notes")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    answers: _containers.RepeatedCompositeFieldContainer[Record]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., answers: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Upstream(_message.Message):
    __slots__ = ("address", "queries", "failures", "healthy", "seconds", "last_error")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    address: str
    queries: int
    failures: int
    healthy: bool
    seconds: float
    last_error: str
    def __init__(self, address: _Optional[str] = ..., queries: _Optional[int] = ..., failures: _Optional[int] = ..., healthy: _Optional[bool] = ..., seconds: _Optional[float] = ..., last_error: _Optional[str] = ...) -> None: ...

class Instance(_message.Message):
    __slots__ = ("name", "address", "port", "self")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    SELF_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    port: int
    self: bool
    def __init__(self_, name: _Optional[str] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., self: _Optional[bool] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("synced", "api_reachable", "last_heard", "names", "services", "queries", "answers", "ready_hits", "cache_entries", "cache_hits", "cache_misses", "upstreams", "upstreams_left_out", "instances", "cluster_ip", "problems", "domain")
    class QueriesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class AnswersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    API_REACHABLE_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    READY_HITS_FIELD_NUMBER: _ClassVar[int]
    CACHE_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
    CACHE_MISSES_FIELD_NUMBER: _ClassVar[int]
    UPSTREAMS_FIELD_NUMBER: _ClassVar[int]
    UPSTREAMS_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_IP_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    synced: bool
    api_reachable: bool
    last_heard: _timestamp_pb2.Timestamp
    names: int
    services: int
    queries: _containers.ScalarMap[str, int]
    answers: _containers.ScalarMap[str, int]
    ready_hits: int
    cache_entries: int
    cache_hits: int
    cache_misses: int
    upstreams: _containers.RepeatedCompositeFieldContainer[Upstream]
    upstreams_left_out: _containers.RepeatedScalarFieldContainer[str]
    instances: _containers.RepeatedCompositeFieldContainer[Instance]
    cluster_ip: str
    problems: _containers.RepeatedScalarFieldContainer[str]
    domain: str
    def __init__(self, synced: _Optional[bool] = ..., api_reachable: _Optional[bool] = ..., last_heard: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., names: _Optional[int] = ..., services: _Optional[int] = ..., queries: _Optional[_Mapping[str, int]] = ..., answers: _Optional[_Mapping[str, int]] = ..., ready_hits: _Optional[int] = ..., cache_entries: _Optional[int] = ..., cache_hits: _Optional[int] = ..., cache_misses: _Optional[int] = ..., upstreams: _Optional[_Iterable[_Union[Upstream, _Mapping]]] = ..., upstreams_left_out: _Optional[_Iterable[str]] = ..., instances: _Optional[_Iterable[_Union[Instance, _Mapping]]] = ..., cluster_ip: _Optional[str] = ..., problems: _Optional[_Iterable[str]] = ..., domain: _Optional[str] = ...) -> None: ...
