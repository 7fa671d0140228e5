"""Whether a user may do what a request asks: the port, what one who decides says, and who decides in tests of other things."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Forbidden, StatusError, status_error
from knarr.machinery.resources import Resource, Version
from knarr.machinery.selectors import parse_field_selector
from knarr.service.authentication import UNAUTHENTICATED, User
from services.apiserver.deadline import within
from services.apiserver.request import LIST, WATCH, Request
from services.apiserver.results import Ref

# The kind of what is a path: no kind is spelled like that.
PATH = "/"
NAME = "metadata.name"
SELECTING = frozenset((LIST, WATCH))
# What the audit log is told, in Kubernetes' words.
DECISION, REASON = "authorization.k8s.io/decision", "authorization.k8s.io/reason"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one of those who decide says: yes, no, or neither, after which the next one is asked."""

    allowed: bool = False
    denied: bool = False
    reason: str = ""


class Denied(Forbidden):
    """Somebody who decides says no, and nobody behind him is asked: there is no right that would help."""


ALLOWED, NO_OPINION = Verdict(allowed=True), Verdict()


class Mode(Protocol):
    """One of those who decide, under the name that `--authorization-mode` has for it, or the configuration."""

    name: str

    def decide(self, request: Request) -> Verdict | Coroutine[Any, Any, Verdict]:
        """Most decide at once, on every request; whoever must ask elsewhere answers a coroutine."""
        ...


class Authorizer(Protocol):
    """Asked once for each request, before anything is read for it; the objects of a deletecollection are one request."""

    def authorize(self, request: Request) -> Coroutine[Any, Any, None] | None:
        """Raises Forbidden. Whoever must ask elsewhere answers a coroutine that raises it."""
        ...


def asked(authorizer: Authorizer, request: Request) -> Coroutine[Any, Any, None] | None:
    """Asks; answers what is to be waited for, if anything. Raises Forbidden; what is waited for raises Timeout too."""
    try:
        asking = authorizer.authorize(request)
    except StatusError as error:
        _note_refusal(request, error)
        raise
    if asking is not None:
        return _told(request, asking)
    if request.audit is not None:
        request.audit.is_permitted = True
    return None


async def permit(authorizer: Authorizer, request: Request) -> None:
    """Asks and waits, for who need not know whether it takes long. Raises Forbidden, Timeout."""
    if (asking := asked(authorizer, request)) is not None:
        await asking


async def _told(request: Request, asking: Coroutine[Any, Any, None]) -> None:
    """Waits for what is decided elsewhere, and tells it to the audit log."""
    try:
        await within(request.deadline, asking, "the authorizer")
    except StatusError as error:
        _note_refusal(request, error)
        raise
    if request.audit is not None:
        request.audit.is_permitted = True


def _note_refusal(request: Request, error: StatusError) -> None:
    audit = request.audit
    if error.code == 403 and audit is not None:
        audit.annotate(DECISION, "forbid")
        audit.reason = audit.reason or error.status.message


@runtime_checkable
class ListsRules(Protocol):
    """An authorizer that can say beforehand what somebody may do."""

    def rules(self, user: User, namespace: str) -> authorization.SubjectRulesReviewStatus:
        """What a user may do in a namespace."""
        ...


def rules_of(authorizer: Authorizer, user: User, namespace: str) -> authorization.SubjectRulesReviewStatus | None:
    """What a user may do in a namespace; None where the authorizer cannot say."""
    return authorizer.rules(user, namespace) if isinstance(authorizer, ListsRules) else None


class AllowAuthenticated:
    """Everybody whom the faces have made out may do everything."""

    def rules(self, user: User, namespace: str) -> authorization.SubjectRulesReviewStatus:
        found = authorization.SubjectRulesReviewStatus()
        if UNAUTHENTICATED not in user.groups:
            found.resource_rules.add(verbs=["*"], api_groups=["*"], resources=["*"])
            found.non_resource_rules.add(verbs=["*"], non_resource_urls=["*"])
        return found

    def authorize(self, request: Request) -> None:
        if UNAUTHENTICATED in request.user.groups:
            raise refusal(request)


ALLOW_AUTHENTICATED = AllowAuthenticated()


def imagined(group: str, plural: str, version: str = "") -> Version:
    """A resource that is not served here, whatever it is called."""
    return Resource(plural, (Version(group, version, "", meta.PartialObjectMetadata, None),), stored=False).storage


def imagined_path(path: str) -> Version:
    """A path of this server that is no resource's."""
    return Resource(path or "/", (Version("", "", PATH, meta.PartialObjectMetadata, None),), stored=False).storage


def path_of(ref: Ref) -> str:
    """The path of the server that is meant; empty where it is a resource, whatever that is called."""
    return ref.resource.plural if ref.version.kind == PATH else ""


def name_of(request: Request) -> str:
    """The one object that a request is about, also where a list or a watch selects it: who may look at one object may wait for its changes,
    as in Kubernetes. Empty where it is about several."""
    if request.ref.name or not may_select_one(request):
        return request.ref.name
    try:
        return parse_field_selector(request.options.field_selector).exact(NAME) or ""
    except StatusError:
        # What is wrong with it is said to those who may ask.
        return ""


def may_select_one(request: Request) -> bool:
    """Whether a list or a watch says something of names; else what it is about is in its reference."""
    if request.verb not in SELECTING:
        return False
    options = request.options
    return isinstance(options, meta.ListOptions) and NAME in options.field_selector


def refusal(request: Request, reason: str = "") -> StatusError:
    """Forbidden, in Kubernetes' words for who may not do what; ``reason`` follows them."""
    ref, group = request.ref, request.ref.version.group
    if path := path_of(ref):
        message = f'forbidden: User "{request.user.name}" cannot {request.verb} path "{path}"'
        return status_error("Forbidden", message + (f": {reason}" if reason else ""))
    resource = f"{ref.resource.plural}/{ref.subresource}" if ref.subresource else ref.resource.plural
    where = f'in the namespace "{ref.place}"' if ref.place else "at the cluster scope"
    detail = f'User "{request.user.name}" cannot {request.verb} resource "{resource}" in API group "{group}" {where}'
    subject = f'{ref.version.qualified} "{ref.name}"' if ref.name else ref.version.qualified
    message = f"{subject} is forbidden: {detail}" + (f": {reason}" if reason else "")
    return status_error("Forbidden", message, name=ref.name, group=group, kind=ref.resource.plural)
