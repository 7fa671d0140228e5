from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Fate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FATE_UNSPECIFIED: _ClassVar[Fate]
    FATE_PLACED: _ClassVar[Fate]
    FATE_WAITS: _ClassVar[Fate]
    FATE_STAYS: _ClassVar[Fate]
    FATE_GONE: _ClassVar[Fate]
FATE_UNSPECIFIED: Fate
FATE_PLACED: Fate
FATE_WAITS: Fate
FATE_STAYS: Fate
FATE_GONE: Fate

class WhatIfThere(_message.Message):
    __slots__ = ("drain_node", "delete_pod", "set_requests")
    DRAIN_NODE_FIELD_NUMBER: _ClassVar[int]
    DELETE_POD_FIELD_NUMBER: _ClassVar[int]
    SET_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    drain_node: DrainNode
    delete_pod: DeletePod
    set_requests: SetRequests
    def __init__(self, drain_node: _Optional[_Union[DrainNode, _Mapping]] = ..., delete_pod: _Optional[_Union[DeletePod, _Mapping]] = ..., set_requests: _Optional[_Union[SetRequests, _Mapping]] = ...) -> None: ...

class DrainNode(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class DeletePod(_message.Message):
    __slots__ = ("namespace", "pod")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ...) -> None: ...

class SetRequests(_message.Message):
    __slots__ = ("namespace", "pod", "container", "requests")
    class RequestsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    container: str
    requests: _containers.ScalarMap[str, str]
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ..., container: _Optional[str] = ..., requests: _Optional[_Mapping[str, str]] = ...) -> None: ...

class WhatIfResponse(_message.Message):
    __slots__ = ("pods", "budgets", "limits")
    PODS_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    pods: _containers.RepeatedCompositeFieldContainer[PodOutcome]
    budgets: _containers.RepeatedCompositeFieldContainer[BudgetOutcome]
    limits: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pods: _Optional[_Iterable[_Union[PodOutcome, _Mapping]]] = ..., budgets: _Optional[_Iterable[_Union[BudgetOutcome, _Mapping]]] = ..., limits: _Optional[_Iterable[str]] = ...) -> None: ...

class PodOutcome(_message.Message):
    __slots__ = ("namespace", "pod", "fate", "to", "reason", "refused_by")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    FATE_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REFUSED_BY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    fate: Fate
    to: str
    reason: str
    refused_by: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ..., fate: _Optional[_Union[Fate, str]] = ..., to: _Optional[str] = ..., reason: _Optional[str] = ..., refused_by: _Optional[_Iterable[str]] = ..., **kwargs) -> None: ...

class BudgetOutcome(_message.Message):
    __slots__ = ("namespace", "name", "allowed", "pods")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    allowed: int
    pods: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., allowed: _Optional[int] = ..., pods: _Optional[_Iterable[str]] = ...) -> None: ...
