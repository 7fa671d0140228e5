"""Tokens of service accounts, as they are asked for at ``serviceaccounts/NAME/token``.

The steps and their order, the rules and their words are those of Kubernetes' TokenRequest.
"""

from __future__ import annotations

from typing import Any

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import bad_request, conflict, invalid, status_error
from knarr.machinery.resources import Version
from knarr.objects.names import new_uid
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.read import cached
from services.apiserver.pipeline.refusals import missing
from services.apiserver.request import Request
from services.apiserver.results import Ref
from services.apiserver.strategies.reviews import DEFAULT_TOKEN_SECONDS, validate_token_request
from services.apiserver.tokens.accounts import ISSUER
from services.apiserver.tokens.claims import Claims, Named

ACCOUNTS, PODS, SECRETS, NODES = (version_of(kind) for kind in (core.ServiceAccount, core.Pod, core.Secret, core.Node))
# What pods are given is asked for with the first, by which clients are known that may not have it renewed: such a token is good for the
# second while its pod is there, and says that it should have been renewed.
RENEWED_SECONDS, EXTENDED_SECONDS = 3607, 365 * 24 * 3600
# A token is one header of a request: more audiences are of no use to anybody.
MAX_AUDIENCES = 64


async def issue_token(pipeline: Pipeline, request: Request, asked: Any) -> authentication.TokenRequest:
    """The request with its token."""
    accounts, ref = pipeline.callers.accounts, request.ref
    if accounts is None:
        words = "this API server has no key to sign tokens with; give it one: --trust, or --service-account-key"
        raise status_error("ServiceUnavailable", words)
    account = (await cached(pipeline, request, Ref(ACCOUNTS, ref.namespace, ref.name))).shared_message
    spec = asked.spec
    if asked.metadata.uid and asked.metadata.uid != account.metadata.uid:
        told = f"({asked.metadata.uid}) does not match the UID of the service account ({account.metadata.uid})"
        raise conflict("TokenRequest", ref.name, "authentication.k8s.io", f"the UID in the token request {told}")
    _complete(asked, account, accounts.audiences)
    causes = validate_token_request(asked)
    if causes:
        raise invalid("TokenRequest", "", causes, "authentication.k8s.io")
    if len(spec.audiences) > MAX_AUDIENCES:
        raise bad_request(f"a token may name {MAX_AUDIENCES} audiences at most")
    bound = await _bound(pipeline, request, spec.bound_object_ref) if spec.HasField("bound_object_ref") else {}
    now, seconds, warn_after = int(pipeline.backend.clock().timestamp()), spec.expiration_seconds, 0
    if "pod" in bound and seconds == RENEWED_SECONDS and set(spec.audiences) <= set(accounts.audiences):
        warn_after, seconds = now + seconds, EXTENDED_SECONDS
    claims = Claims(
        issuer=ISSUER,
        audiences=tuple(spec.audiences),
        issued_at=now,
        expires_at=now + seconds,
        id=new_uid(pipeline.backend.source),
        namespace=ref.namespace,
        account=Named(ref.name, account.metadata.uid),
        warn_after=warn_after,
        **bound,
    )
    asked.metadata.creation_timestamp.seconds = now
    asked.status.expiration_timestamp.seconds = now + spec.expiration_seconds
    if not request.dry_run:
        asked.status.token = accounts.keys.sign(claims.json)
    return asked  # type: ignore[no-any-return]


def _complete(asked: Any, account: core.ServiceAccount, audiences: tuple[str, ...]) -> None:
    asked.ClearField("status")
    asked.metadata.name, asked.metadata.namespace = account.metadata.name, account.metadata.namespace
    if not asked.spec.audiences:
        asked.spec.audiences.extend(audiences)
    if not asked.spec.HasField("expiration_seconds"):
        asked.spec.expiration_seconds = DEFAULT_TOKEN_SECONDS


async def _bound(pipeline: Pipeline, request: Request, wanted: authentication.BoundObjectReference) -> dict[str, Named]:
    """What the token is bound to, by the names of claims. Raises NotFound, BadRequest, Conflict."""
    group, _, version = wanted.api_version.rpartition("/")
    if group or wanted.kind not in ("Pod", "Secret", "Node"):
        raise bad_request(f"cannot bind token to object of type {group}/{version}, Kind={wanted.kind}")
    kind = {"Pod": PODS, "Secret": SECRETS, "Node": NODES}[wanted.kind]
    found = await _object(pipeline, request, kind, wanted.name)
    bound = {wanted.kind.lower(): Named(wanted.name, found.metadata.uid)}
    if kind is PODS:
        if found.spec.service_account_name != request.name:
            words = f'cannot bind token for serviceaccount "{request.name}" to pod running with different serviceaccount name.'
            raise bad_request(words)
        if found.spec.node_name:
            bound["node"] = _node(pipeline, found.spec.node_name)
    if wanted.uid and wanted.uid != found.metadata.uid:
        detail = (
            f"the UID in the bound object reference ({wanted.uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise conflict(wanted.kind, wanted.name, "", detail)
    return bound


async def _object(pipeline: Pipeline, request: Request, kind: Version, name: str) -> Any:
    """Only to be read. One that the cache knows is taken; what was made just now elsewhere is asked for."""
    ref = Ref(kind, request.namespace if kind.resource.namespaced else "", name)
    entry = await pipeline.backend.current(ref, request.deadline)
    if entry is None:
        raise missing(ref)
    return entry.shared_message


def _node(pipeline: Pipeline, name: str) -> Named:
    """Where a pod runs, by its name alone where the Node is gone."""
    entry = pipeline.backend.cache.get(NODES.resource, "", name)
    return Named(name, entry.shared_message.metadata.uid if entry is not None else "")
