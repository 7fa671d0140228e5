"""What an API server must be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.apiserver.backend import Waits
from services.apiserver.cache.history import Limits
from services.apiserver.encryption.transformer import Encryption
from services.apiserver.fairness.fairness import MAX_MUTATING, MAX_REQUESTS
from services.apiserver.storage.etcd import EtcdSettings
from services.apiserver.storage.values import NOT_ENCRYPTED

# Who decides unless others are named.
AUTHORIZATION_MODES = ("Node", "RBAC")


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Files by which callers are known besides certificates, listed tokens and service accounts."""

    # An AuthenticationConfiguration; it is read anew when it is replaced.
    configuration: Path | None = None
    # A kubeconfig that names a webhook for tokens, and how many seconds its answers hold.
    webhook: Path | None = None
    webhook_ttl_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class ApiServerSettings:
    """Settings of one API server; several may share an etcd and must agree on the ranges."""

    # Where etcd is, and how long a call to it may take.
    etcd: EtcdSettings = field(default_factory=EtcdSettings)
    # Whether other API servers use the same etcd: then reads ask it what is newest, and each server announces itself.
    shared_store: bool = False
    # Retired versions that are served all the same, like `policy/v1beta1`, for clients as old as they are.
    revived_versions: frozenset[str] = frozenset()
    # Older versions that objects are written in, for API servers on the same etcd that do not know the present ones.
    storage_versions: frozenset[str] = frozenset()
    # Which objects lie encrypted in the store, and how.
    encryption: Encryption = NOT_ENCRYPTED
    # By which files callers are known.
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    # Admission plugins that are turned on and off, by name, and what is said of some.
    enabled_plugins: frozenset[str] = frozenset()
    disabled_plugins: frozenset[str] = frozenset()
    plugin_configurations: Mapping[str, Any] = field(default_factory=dict)
    # Who decides what callers may do, one after the other; and a file that says so instead, and is followed while the server runs.
    authorization_modes: tuple[str, ...] = AUTHORIZATION_MODES
    authorization_file: Path | None = None
    # Where that is said: the file is taken over when it is replaced. None: it stays as it is.
    encryption_file: Path | None = None
    # Addresses of Services (CIDR); the first one is the `kubernetes` Service's.
    service_cidr: str = "10.96.0.0/16"
    # First and last port of NodePort Services, both included.
    node_ports: tuple[int, int] = (30000, 32767)
    # Address and port under which the REST face is reached by pods; an empty address announces nothing.
    advertise_address: str = ""
    advertise_port: int = 6443
    # Seconds that an Event is kept.
    event_ttl_seconds: int = 3600
    # Seconds between compactions of etcd; what is younger than this is kept. 0: this server never compacts.
    compaction_seconds: float = 300.0
    # Seconds between looks at whether the records of addresses and ports tell what Services hold. 0: only at the start.
    repair_seconds: float = 180.0
    # Requests at once, of all who are not exempt, by priority and fairness. 0: whoever comes first is served first.
    requests_at_once: int = MAX_REQUESTS + MAX_MUTATING
    # Bounds of the history of each kind.
    history: Limits = field(default_factory=Limits)
    # Bounds of every wait.
    waits: Waits = field(default_factory=Waits)
