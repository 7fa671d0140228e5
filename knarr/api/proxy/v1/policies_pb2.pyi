import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetPoliciesRequest(_message.Message):
    __slots__ = ("namespace", "pod")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("namespace", "name", "ingress", "egress", "pods", "in_force_since", "problems")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    INGRESS_FIELD_NUMBER: _ClassVar[int]
    EGRESS_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    IN_FORCE_SINCE_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    ingress: bool
    egress: bool
    pods: int
    in_force_since: _timestamp_pb2.Timestamp
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., ingress: _Optional[bool] = ..., egress: _Optional[bool] = ..., pods: _Optional[int] = ..., in_force_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class PodPolicies(_message.Message):
    __slots__ = ("namespace", "name", "address", "ingress_isolated", "egress_isolated", "policies")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    INGRESS_ISOLATED_FIELD_NUMBER: _ClassVar[int]
    EGRESS_ISOLATED_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    address: str
    ingress_isolated: bool
    egress_isolated: bool
    policies: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., address: _Optional[str] = ..., ingress_isolated: _Optional[bool] = ..., egress_isolated: _Optional[bool] = ..., policies: _Optional[_Iterable[str]] = ...) -> None: ...

class GetPoliciesResponse(_message.Message):
    __slots__ = ("enabled", "problem", "limitations", "policies", "pods", "changes", "last_change_seconds", "stale", "stale_since")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    LIMITATIONS_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    LAST_CHANGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    STALE_SINCE_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    problem: str
    limitations: _containers.RepeatedScalarFieldContainer[str]
    policies: _containers.RepeatedCompositeFieldContainer[Policy]
    pods: _containers.RepeatedCompositeFieldContainer[PodPolicies]
    changes: int
    last_change_seconds: float
    stale: bool
    stale_since: _timestamp_pb2.Timestamp
    def __init__(self, enabled: _Optional[bool] = ..., problem: _Optional[str] = ..., limitations: _Optional[_Iterable[str]] = ..., policies: _Optional[_Iterable[_Union[Policy, _Mapping]]] = ..., pods: _Optional[_Iterable[_Union[PodPolicies, _Mapping]]] = ..., changes: _Optional[int] = ..., last_change_seconds: _Optional[float] = ..., stale: _Optional[bool] = ..., stale_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Party(_message.Message):
    __slots__ = ("namespace", "pod", "address")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    address: str
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class ExplainConnectionRequest(_message.Message):
    __slots__ = ("source", "destination", "protocol", "port")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    source: Party
    destination: Party
    protocol: str
    port: int
    def __init__(self, source: _Optional[_Union[Party, _Mapping]] = ..., destination: _Optional[_Union[Party, _Mapping]] = ..., protocol: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class Judgement(_message.Message):
    __slots__ = ("direction", "namespace", "pod", "isolated", "allowed", "policies")
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    ISOLATED_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    direction: str
    namespace: str
    pod: str
    isolated: bool
    allowed: bool
    policies: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, direction: _Optional[str] = ..., namespace: _Optional[str] = ..., pod: _Optional[str] = ..., isolated: _Optional[bool] = ..., allowed: _Optional[bool] = ..., policies: _Optional[_Iterable[str]] = ...) -> None: ...

class ExplainConnectionResponse(_message.Message):
    __slots__ = ("allowed", "reason", "judgements")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    JUDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    reason: str
    judgements: _containers.RepeatedCompositeFieldContainer[Judgement]
    def __init__(self, allowed: _Optional[bool] = ..., reason: _Optional[str] = ..., judgements: _Optional[_Iterable[_Union[Judgement, _Mapping]]] = ...) -> None: ...
