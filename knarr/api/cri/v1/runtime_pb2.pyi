from knarr.api.cri.v1 import container_pb2 as _container_pb2
from knarr.api.cri.v1 import sandbox_pb2 as _sandbox_pb2
from knarr.api.cri.v1 import stats_pb2 as _stats_pb2
from knarr.api.cri.v1 import status_pb2 as _status_pb2
from knarr.api.cri.v1 import stream_pb2 as _stream_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
