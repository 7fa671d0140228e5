"""ReplicationController: as a ReplicaSet, with a selector that is a map of labels (``workloads/replicas.py`` decides)."""

from __future__ import annotations

from typing import ClassVar

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from services.controller.workloads.replicated import ReplicatedController


class ReplicationControllerController(ReplicatedController[core.ReplicationController]):
    name = "replicationcontroller"
    speaks_as = "replication-controller"
    workload: ClassVar[type[Message]] = core.ReplicationController
