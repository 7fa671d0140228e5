from knarr.api.core.v1 import core_pb2 as _core_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetInfoResponse(_message.Message):
    __slots__ = ("name", "filter", "score", "reserve", "pre_bind", "pods")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    PRE_BIND_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    name: str
    filter: bool
    score: bool
    reserve: bool
    pre_bind: bool
    pods: bool
    def __init__(self, name: _Optional[str] = ..., filter: _Optional[bool] = ..., score: _Optional[bool] = ..., reserve: _Optional[bool] = ..., pre_bind: _Optional[bool] = ..., pods: _Optional[bool] = ...) -> None: ...

class View(_message.Message):
    __slots__ = ("session", "revision")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    session: str
    revision: int
    def __init__(self, session: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class UpdateNodesRequest(_message.Message):
    __slots__ = ("view", "base_revision", "nodes", "removed_nodes", "pods", "removed_pods")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    BASE_REVISION_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_NODES_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_PODS_FIELD_NUMBER: _ClassVar[int]
    view: View
    base_revision: int
    nodes: _containers.RepeatedCompositeFieldContainer[NumberedNode]
    removed_nodes: _containers.RepeatedScalarFieldContainer[int]
    pods: _containers.RepeatedCompositeFieldContainer[PlacedPod]
    removed_pods: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, view: _Optional[_Union[View, _Mapping]] = ..., base_revision: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[NumberedNode, _Mapping]]] = ..., removed_nodes: _Optional[_Iterable[int]] = ..., pods: _Optional[_Iterable[_Union[PlacedPod, _Mapping]]] = ..., removed_pods: _Optional[_Iterable[str]] = ...) -> None: ...

class NumberedNode(_message.Message):
    __slots__ = ("number", "node")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    number: int
    node: _core_pb2.Node
    def __init__(self, number: _Optional[int] = ..., node: _Optional[_Union[_core_pb2.Node, _Mapping]] = ...) -> None: ...

class PlacedPod(_message.Message):
    __slots__ = ("node", "pod")
    NODE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    node: str
    pod: _core_pb2.Pod
    def __init__(self, node: _Optional[str] = ..., pod: _Optional[_Union[_core_pb2.Pod, _Mapping]] = ...) -> None: ...

class UpdateNodesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FilterRequest(_message.Message):
    __slots__ = ("view", "pod", "candidates", "without_pods")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_PODS_FIELD_NUMBER: _ClassVar[int]
    view: View
    pod: _core_pb2.Pod
    candidates: _containers.RepeatedScalarFieldContainer[int]
    without_pods: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, view: _Optional[_Union[View, _Mapping]] = ..., pod: _Optional[_Union[_core_pb2.Pod, _Mapping]] = ..., candidates: _Optional[_Iterable[int]] = ..., without_pods: _Optional[_Iterable[str]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("reason", "nodes", "unresolvable")
    REASON_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    UNRESOLVABLE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    nodes: _containers.RepeatedScalarFieldContainer[int]
    unresolvable: bool
    def __init__(self, reason: _Optional[str] = ..., nodes: _Optional[_Iterable[int]] = ..., unresolvable: _Optional[bool] = ...) -> None: ...

class FilterResponse(_message.Message):
    __slots__ = ("refusals",)
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    def __init__(self, refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("view", "pod", "candidates")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    view: View
    pod: _core_pb2.Pod
    candidates: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, view: _Optional[_Union[View, _Mapping]] = ..., pod: _Optional[_Union[_core_pb2.Pod, _Mapping]] = ..., candidates: _Optional[_Iterable[int]] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("scores",)
    SCORES_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, scores: _Optional[_Iterable[int]] = ...) -> None: ...

class ReserveRequest(_message.Message):
    __slots__ = ("pod", "node")
    POD_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    pod: _core_pb2.Pod
    node: str
    def __init__(self, pod: _Optional[_Union[_core_pb2.Pod, _Mapping]] = ..., node: _Optional[str] = ...) -> None: ...

class ReserveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnreserveRequest(_message.Message):
    __slots__ = ("pod", "node")
    POD_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    pod: _core_pb2.Pod
    node: str
    def __init__(self, pod: _Optional[_Union[_core_pb2.Pod, _Mapping]] = ..., node: _Optional[str] = ...) -> None: ...

class UnreserveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PreBindRequest(_message.Message):
    __slots__ = ("pod", "node")
    POD_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    pod: _core_pb2.Pod
    node: str
    def __init__(self, pod: _Optional[_Union[_core_pb2.Pod, _Mapping]] = ..., node: _Optional[str] = ...) -> None: ...

class PreBindResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
