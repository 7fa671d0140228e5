"""What every start of a cluster loads as it goes, loaded at once: by who tells loading and starting apart, and has nothing to do meanwhile.

`knarr up` loads it while etcd gets ready. tests/standalone/test_in_process.py says what is missing here.
"""

from __future__ import annotations

import encodings.idna

from cryptography.hazmat.backends.openssl import backend
from joserfc.jwk import ECKey
from uvicorn.lifespan.off import LifespanOff

from knarr.service.web.shared_port import SharedPort
from services.apiserver.strategies.certificates import CertificateSigningRequestStrategy
from services.apiserver.strategies.flowcontrol import FlowSchemaStrategy
from services.apiserver.strategies.rbac import RoleStrategy
from services.apiserver.strategies.serviceaddress import canonical_address
from services.apiserver.strategies.storageclass import StorageClassStrategy
from services.cloud.providers.local.provider import LocalProvider
from services.kubelet.runtime.hollow import HollowRuntime

LOADED = (
    encodings.idna,
    backend,
    ECKey,
    LifespanOff,
    SharedPort,
    CertificateSigningRequestStrategy,
    FlowSchemaStrategy,
    RoleStrategy,
    canonical_address,
    StorageClassStrategy,
    LocalProvider,
    HollowRuntime,
)
