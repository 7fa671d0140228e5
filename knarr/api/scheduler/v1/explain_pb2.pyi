from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExplainRequest(_message.Message):
    __slots__ = ("namespace", "pod")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ...) -> None: ...

class NodeVerdict(_message.Message):
    __slots__ = ("node", "fits", "refused_by", "reasons", "scores", "total_score", "hindrances")
    class ScoresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    FITS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_BY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SCORE_FIELD_NUMBER: _ClassVar[int]
    HINDRANCES_FIELD_NUMBER: _ClassVar[int]
    node: str
    fits: bool
    refused_by: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    scores: _containers.ScalarMap[str, int]
    total_score: int
    hindrances: _containers.RepeatedCompositeFieldContainer[Hindrance]
    def __init__(self, node: _Optional[str] = ..., fits: _Optional[bool] = ..., refused_by: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ..., scores: _Optional[_Mapping[str, int]] = ..., total_score: _Optional[int] = ..., hindrances: _Optional[_Iterable[_Union[Hindrance, _Mapping]]] = ...) -> None: ...

class Hindrance(_message.Message):
    __slots__ = ("filter", "reasons", "numbers")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    filter: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    numbers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, filter: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ..., numbers: _Optional[_Iterable[str]] = ...) -> None: ...

class Remedy(_message.Message):
    __slots__ = ("words", "nodes")
    WORDS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    words: str
    nodes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, words: _Optional[str] = ..., nodes: _Optional[_Iterable[str]] = ...) -> None: ...

class Victim(_message.Message):
    __slots__ = ("namespace", "pod", "priority")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    priority: int
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class Eviction(_message.Message):
    __slots__ = ("node", "victims", "violations", "why", "decided")
    NODE_FIELD_NUMBER: _ClassVar[int]
    VICTIMS_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    node: str
    victims: _containers.RepeatedCompositeFieldContainer[Victim]
    violations: int
    why: str
    decided: bool
    def __init__(self, node: _Optional[str] = ..., victims: _Optional[_Iterable[_Union[Victim, _Mapping]]] = ..., violations: _Optional[int] = ..., why: _Optional[str] = ..., decided: _Optional[bool] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("verdicts", "summary", "choice", "scheduler_name", "filters", "weights", "remedies", "standing", "queued", "eviction", "eviction_reason")
    class WeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_NAME_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    REMEDIES_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    EVICTION_FIELD_NUMBER: _ClassVar[int]
    EVICTION_REASON_FIELD_NUMBER: _ClassVar[int]
    verdicts: _containers.RepeatedCompositeFieldContainer[NodeVerdict]
    summary: str
    choice: str
    scheduler_name: str
    filters: _containers.RepeatedScalarFieldContainer[str]
    weights: _containers.ScalarMap[str, int]
    remedies: _containers.RepeatedCompositeFieldContainer[Remedy]
    standing: str
    queued: QueuedPod
    eviction: Eviction
    eviction_reason: str
    def __init__(self, verdicts: _Optional[_Iterable[_Union[NodeVerdict, _Mapping]]] = ..., summary: _Optional[str] = ..., choice: _Optional[str] = ..., scheduler_name: _Optional[str] = ..., filters: _Optional[_Iterable[str]] = ..., weights: _Optional[_Mapping[str, int]] = ..., remedies: _Optional[_Iterable[_Union[Remedy, _Mapping]]] = ..., standing: _Optional[str] = ..., queued: _Optional[_Union[QueuedPod, _Mapping]] = ..., eviction: _Optional[_Union[Eviction, _Mapping]] = ..., eviction_reason: _Optional[str] = ...) -> None: ...

class QueuedPod(_message.Message):
    __slots__ = ("namespace", "pod", "state", "attempts", "retry_in_seconds", "refused_by", "awaits")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    RETRY_IN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_BY_FIELD_NUMBER: _ClassVar[int]
    AWAITS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    state: str
    attempts: int
    retry_in_seconds: float
    refused_by: _containers.RepeatedScalarFieldContainer[str]
    awaits: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ..., state: _Optional[str] = ..., attempts: _Optional[int] = ..., retry_in_seconds: _Optional[float] = ..., refused_by: _Optional[_Iterable[str]] = ..., awaits: _Optional[_Iterable[str]] = ...) -> None: ...
