from knarr.api.authorization.v1 import authorization_pb2 as _authorization_pb2
from knarr.api.rbac.v1 import rbac_pb2 as _rbac_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExplainRequest(_message.Message):
    __slots__ = ("user", "uid", "groups", "extra", "resource", "path")
    class ExtraEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _authorization_pb2.ExtraValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_authorization_pb2.ExtraValue, _Mapping]] = ...) -> None: ...
    USER_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    user: str
    uid: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    extra: _containers.MessageMap[str, _authorization_pb2.ExtraValue]
    resource: _authorization_pb2.ResourceAttributes
    path: _authorization_pb2.NonResourceAttributes
    def __init__(self, user: _Optional[str] = ..., uid: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ..., extra: _Optional[_Mapping[str, _authorization_pb2.ExtraValue]] = ..., resource: _Optional[_Union[_authorization_pb2.ResourceAttributes, _Mapping]] = ..., path: _Optional[_Union[_authorization_pb2.NonResourceAttributes, _Mapping]] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("allowed", "decisions", "grants", "broken", "needed", "candidates", "namespace")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    BROKEN_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    decisions: _containers.RepeatedCompositeFieldContainer[AuthorizerDecision]
    grants: _containers.RepeatedCompositeFieldContainer[Grant]
    broken: _containers.RepeatedCompositeFieldContainer[Grant]
    needed: _rbac_pb2.PolicyRule
    candidates: _containers.RepeatedScalarFieldContainer[str]
    namespace: str
    def __init__(self, allowed: _Optional[bool] = ..., decisions: _Optional[_Iterable[_Union[AuthorizerDecision, _Mapping]]] = ..., grants: _Optional[_Iterable[_Union[Grant, _Mapping]]] = ..., broken: _Optional[_Iterable[_Union[Grant, _Mapping]]] = ..., needed: _Optional[_Union[_rbac_pb2.PolicyRule, _Mapping]] = ..., candidates: _Optional[_Iterable[str]] = ..., namespace: _Optional[str] = ...) -> None: ...

class AuthorizerDecision(_message.Message):
    __slots__ = ("authorizer", "decision", "reason")
    AUTHORIZER_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    authorizer: str
    decision: str
    reason: str
    def __init__(self, authorizer: _Optional[str] = ..., decision: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Grant(_message.Message):
    __slots__ = ("binding_kind", "binding_namespace", "binding_name", "subject_kind", "subject_name", "role_kind", "role_name", "rule")
    BINDING_KIND_FIELD_NUMBER: _ClassVar[int]
    BINDING_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    BINDING_NAME_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_KIND_FIELD_NUMBER: _ClassVar[int]
    ROLE_NAME_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    binding_kind: str
    binding_namespace: str
    binding_name: str
    subject_kind: str
    subject_name: str
    role_kind: str
    role_name: str
    rule: _rbac_pb2.PolicyRule
    def __init__(self, binding_kind: _Optional[str] = ..., binding_namespace: _Optional[str] = ..., binding_name: _Optional[str] = ..., subject_kind: _Optional[str] = ..., subject_name: _Optional[str] = ..., role_kind: _Optional[str] = ..., role_name: _Optional[str] = ..., rule: _Optional[_Union[_rbac_pb2.PolicyRule, _Mapping]] = ...) -> None: ...
