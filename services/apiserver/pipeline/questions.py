"""What is asked and answered at once: who somebody is, what somebody may do, how the server's store is; and bindings by their own path.

Nothing of it is stored. As in Kubernetes the answer to a review is the review itself with its status. Admission is not asked: nothing
comes into being.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Forbidden, bad_request, invalid, status_error
from knarr.service.authentication import User
from services.apiserver.authorization import Denied, imagined, imagined_path, permit, rules_of
from services.apiserver.backend import serialize
from services.apiserver.entries import Entries
from services.apiserver.entry import Entry
from services.apiserver.fields.judge import judge
from services.apiserver.pipeline import elsewhere, metadata, posted, usage
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.refusals import missing
from services.apiserver.pipeline.token_request import MAX_AUDIENCES
from services.apiserver.request import LIST, WATCH, Request
from services.apiserver.results import Page, Ref, Written
from services.apiserver.storage.keys import object_key
from services.apiserver.strategies.reviews import empty_question, validate_review
from services.apiserver.tokens.accounts import Refused

PODS = version_of(core.Pod)
STORE = "etcd-0"


async def ask(pipeline: Pipeline, request: Request, obj: Any) -> Written:
    """Answers what is created of a kind that is not stored. Raises Invalid for a question that makes no sense, BadRequest for none."""
    metadata.check_request(request.ref, obj)
    answer = ANSWERS.get(type(obj))
    if answer is None:
        raise status_error("MethodNotAllowed", "the server does not allow this method on the requested resource")
    judged = judge(request.ref, obj)
    causes = [*validate_review(obj), *judged.causes]
    if causes:
        raise invalid(request.ref.version.kind, obj.metadata.name, causes, request.ref.version.group)
    if missing_words := empty_question(obj):
        raise bad_request(missing_words)
    return (await answer(pipeline, request, obj))._replace(warnings=judged.warnings)


async def get(pipeline: Pipeline, request: Request) -> Written:
    if request.ref.version.message in usage.SUBJECTS:
        return await usage.get(pipeline, request)
    if request.resource in pipeline.elsewhere:
        return await elsewhere.get(pipeline, request)
    found = next((entry for entry in _components(pipeline, request.ref) if entry.name == request.name), None)
    if found is None:
        raise missing(request.ref)
    return Written(entry=found)


async def list_page(pipeline: Pipeline, request: Request) -> Page:
    if request.ref.version.message in usage.SUBJECTS:
        return await usage.list_page(pipeline, request)
    if request.resource in pipeline.elsewhere:
        return await elsewhere.list_page(pipeline, request)
    return Page(Entries.of(_components(pipeline, request.ref)), pipeline.backend.cache.revision)


def _components(pipeline: Pipeline, ref: Ref) -> list[Entry]:
    """The one component that this server knows by itself: all others write what they do, and are seen by their Leases and Nodes."""
    connected = pipeline.backend.feed.connected
    found = core.ComponentStatus(metadata=meta.ObjectMeta(name=STORE))
    status = ("True", "ok", "") if connected else ("False", "", "the watch on etcd does not stand")
    found.conditions.add(type="Healthy", status=status[0], message=status[1], error=status[2])
    return [Entry(ref.version, object_key(ref.resource, "", STORE), 0, serialize(found))]


async def _bind(pipeline: Pipeline, request: Request, binding: Any) -> Written:
    """A binding of the pod of its name."""
    if not binding.metadata.name:
        raise bad_request("metadata.name must be the name of a pod")
    pod = Ref(PODS, request.namespace, binding.metadata.name, "binding")
    return await posted.post(pipeline, request.of(pod), binding)


async def _who_am_i(pipeline: Pipeline, request: Request, review: Any) -> Written:
    _describe(request.user, review.status.user_info)
    return _answered(review)


async def _whose_token(pipeline: Pipeline, request: Request, review: Any) -> Written:
    review.ClearField("status")
    if len(review.spec.audiences) > MAX_AUDIENCES:
        raise bad_request(f"a review may name {MAX_AUDIENCES} audiences at most: no token has more")
    try:
        user, meant = await pipeline.callers.review(review.spec.token, review.spec.audiences)
    except Refused as error:
        review.status.error = str(error)
    else:
        review.status.authenticated = True
        review.status.audiences.extend(meant)
        _describe(user, review.status.user)
    return _answered(review)


def _describe(user: User, found: authentication.UserInfo) -> None:
    found.username, found.uid = user.name, user.uid
    found.groups.extend(user.groups)
    for key, values in user.extra:
        found.extra[key].items.extend(values)


async def _may_i(pipeline: Pipeline, request: Request, review: Any) -> Written:
    return await _decide(pipeline, request, review, request.user)


async def _may_they(pipeline: Pipeline, request: Request, review: Any) -> Written:
    spec = review.spec
    return await _decide(pipeline, request, review, _spoken_of(spec))


def _spoken_of(spec: Any) -> User:
    extra = tuple((key, tuple(values.items)) for key, values in sorted(spec.extra.items()))
    return User(spec.user, spec.uid, tuple(spec.groups), extra)


async def _decide(pipeline: Pipeline, request: Request, review: Any, user: User) -> Written:
    review.ClearField("status")
    wanted = _asked_about(pipeline, request, review.spec, user)
    told = _Told()
    wanted.audit = told
    try:
        await permit(pipeline.authorizer, wanted)
    except Forbidden as error:
        review.status.denied, review.status.reason = isinstance(error, Denied), error.status.message
    else:
        review.status.allowed, review.status.reason = True, told.reason
    return _answered(review)


class _Told:
    """Hears by what it was decided, as the audit log would."""

    def __init__(self) -> None:
        self.is_permitted, self.reason = False, ""

    def annotate(self, key: str, value: str) -> None:
        """Nobody asks for more."""

    def about(self, name: str) -> None:
        """Nothing is created."""

    def begun(self) -> None:
        """Nothing goes on."""

    def concluded(self, code: int, status: meta.Status | None, found: object = None) -> None:
        """Nobody is answered by it."""

    def failed(self, error: Exception) -> None:
        """Whoever asks hears of it himself."""


def _asked_about(pipeline: Pipeline, request: Request, spec: Any, user: User) -> Request:
    """The request that the review speaks of. What is not served, and other paths of the server, have a resource of that name."""
    about = spec.resource_attributes
    if spec.HasField("non_resource_attributes"):
        path = spec.non_resource_attributes
        return Request(user, path.verb, Ref(imagined_path(path.path)), None, request.deadline)
    registry = pipeline.backend.cache.registry
    version = registry.preferred(about.group, about.resource) or imagined(about.group, about.resource)
    ref = Ref(version, about.namespace, about.name, about.subresource)
    return Request(user, about.verb, ref, _selection(about) if about.verb in (LIST, WATCH) else None, request.deadline)


def _selection(about: Any) -> meta.ListOptions:
    """Of the field selector that which is about one value each: by anything else less is chosen, and so nothing more is allowed."""
    said = about.field_selector
    exact = (f"{found.key}={found.values[0]}" for found in said.requirements if found.operator == "In" and len(found.values) == 1)
    return meta.ListOptions(field_selector=said.raw_selector or ",".join(exact))


async def _what_may_i(pipeline: Pipeline, request: Request, review: Any) -> Written:
    review.ClearField("status")
    rules = rules_of(pipeline.authorizer, request.user, review.spec.namespace)
    if rules is None:
        review.status.incomplete = True
        review.status.evaluation_error = "the authorizer decides on each request, and lists no rules"
    else:
        review.status.CopyFrom(rules)
    return _answered(review)


def _answered(review: Any) -> Written:
    return Written(review, created=True)


ANSWERS: dict[type[Message], Callable[[Pipeline, Request, Any], Awaitable[Written]]] = {
    core.Binding: _bind,
    authentication.TokenReview: _whose_token,
    authentication.SelfSubjectReview: _who_am_i,
    authorization.SelfSubjectAccessReview: _may_i,
    authorization.SubjectAccessReview: _may_they,
    authorization.LocalSubjectAccessReview: _may_they,
    authorization.SelfSubjectRulesReview: _what_may_i,
}
