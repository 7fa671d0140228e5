from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_STATE_UNSPECIFIED: _ClassVar[KeyState]
    KEY_STATE_RUNNING: _ClassVar[KeyState]
    KEY_STATE_QUEUED: _ClassVar[KeyState]
    KEY_STATE_RETRIED: _ClassVar[KeyState]
    KEY_STATE_PLANNED: _ClassVar[KeyState]
    KEY_STATE_FAILED: _ClassVar[KeyState]
KEY_STATE_UNSPECIFIED: KeyState
KEY_STATE_RUNNING: KeyState
KEY_STATE_QUEUED: KeyState
KEY_STATE_RETRIED: KeyState
KEY_STATE_PLANNED: KeyState
KEY_STATE_FAILED: KeyState

class ListControllersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ControllerStatus(_message.Message):
    __slots__ = ("name", "queue_depth", "running", "syncs", "errors")
    NAME_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SYNCS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    name: str
    queue_depth: int
    running: int
    syncs: int
    errors: int
    def __init__(self, name: _Optional[str] = ..., queue_depth: _Optional[int] = ..., running: _Optional[int] = ..., syncs: _Optional[int] = ..., errors: _Optional[int] = ...) -> None: ...

class ListControllersResponse(_message.Message):
    __slots__ = ("controllers", "leader")
    CONTROLLERS_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    controllers: _containers.RepeatedCompositeFieldContainer[ControllerStatus]
    leader: bool
    def __init__(self, controllers: _Optional[_Iterable[_Union[ControllerStatus, _Mapping]]] = ..., leader: _Optional[bool] = ...) -> None: ...

class GetKeyRequest(_message.Message):
    __slots__ = ("controller", "key")
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    controller: str
    key: str
    def __init__(self, controller: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class GetKeyResponse(_message.Message):
    __slots__ = ("last_sync_seconds", "last_error", "failures", "next_in_seconds")
    LAST_SYNC_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_IN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    last_sync_seconds: float
    last_error: str
    failures: int
    next_in_seconds: float
    def __init__(self, last_sync_seconds: _Optional[float] = ..., last_error: _Optional[str] = ..., failures: _Optional[int] = ..., next_in_seconds: _Optional[float] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ("controller", "limit")
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    controller: str
    limit: int
    def __init__(self, controller: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ActiveKey(_message.Message):
    __slots__ = ("controller", "key", "state", "last_error", "failures", "next_in_seconds", "last_sync_seconds")
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_IN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LAST_SYNC_SECONDS_FIELD_NUMBER: _ClassVar[int]
    controller: str
    key: str
    state: KeyState
    last_error: str
    failures: int
    next_in_seconds: float
    last_sync_seconds: float
    def __init__(self, controller: _Optional[str] = ..., key: _Optional[str] = ..., state: _Optional[_Union[KeyState, str]] = ..., last_error: _Optional[str] = ..., failures: _Optional[int] = ..., next_in_seconds: _Optional[float] = ..., last_sync_seconds: _Optional[float] = ...) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("keys", "left_out")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[ActiveKey]
    left_out: int
    def __init__(self, keys: _Optional[_Iterable[_Union[ActiveKey, _Mapping]]] = ..., left_out: _Optional[int] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ("controller", "key")
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    controller: str
    key: str
    def __init__(self, controller: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
