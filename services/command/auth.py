"""``knarr auth why``: by which rule of which binding somebody may do something, or what is missing for it."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.json_format import MessageToJson

from knarr.api.apiserver.v1 import authorization_service_pb2 as face
from knarr.api.apiserver.v1 import authorization_service_pb2_grpc as face_grpc
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from services.command.output import deliver
from services.command.reach import answered
from services.standalone.files import Files

ANSWER_SECONDS = 10.0
CORE = "core"
# Roles that are made to be bound to somebody, the narrowest first.
USUAL = ("view", "edit", "admin", "system:monitoring")


@dataclass(frozen=True, slots=True)
class Question:
    """``what`` is a resource as `kubectl auth can-i` takes it (`pods`, `pods/log`, `deployments.apps/scale`), or a path that begins with a
    slash. Without ``user`` and ``groups`` it is about the administrator."""

    verb: str
    what: str
    name: str = ""
    namespace: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()

    @property
    def request(self) -> face.ExplainRequest:
        asked = face.ExplainRequest(user=self.user, groups=self.groups)
        if self.what.startswith("/"):
            asked.path.verb, asked.path.path = self.verb, self.what
            return asked
        typed, _, subresource = self.what.partition("/")
        plural, _, group = typed.partition(".")
        about = asked.resource
        about.verb, about.resource, about.group, about.subresource = self.verb, plural, group, subresource
        about.name, about.namespace = self.name, self.namespace
        return asked


def why(files: Files, question: Question, *, as_json: bool) -> int:
    """Prints the answer; 0 where it is yes, 1 where it is no."""
    asked = question.request
    call = answered(files, "apiserver", lambda channel: face_grpc.AuthorizationServiceStub(channel).Explain, asked, ANSWER_SECONDS)
    answer: face.ExplainResponse = asyncio.run(call)
    deliver(MessageToJson(answer) if as_json else "\n".join(told(question, answer)))
    return 0 if answer.allowed else 1


def told(question: Question, answer: face.ExplainResponse) -> Iterator[str]:
    """For people, line by line."""
    yield f"{'yes' if answer.allowed else 'no'}: {_asked(question, answer.namespace)}"
    for said in answer.decisions:
        if said.reason or said.decision != "no opinion":
            yield f"  {said.authorizer}: {said.decision}" + (f" ({said.reason})" if said.reason else "")
    for grant in answer.grants:
        given = f"{_binding(grant)} gives {grant.subject_kind} {grant.subject_name} the {grant.role_kind} {grant.role_name}"
        yield f"  {given}: {_rule(grant.rule)}"
    for grant in answer.broken:
        yield f"  {_binding(grant)} names the {grant.role_kind} {grant.role_name}, which is not there"
    if not answer.allowed:
        yield f"needed: {_rule(answer.needed)}"
        if answer.candidates:
            yield f"ClusterRoles that say so: {', '.join(answer.candidates)}"
        yield from (f"  {command}" for command in _commands(question, answer))


def _asked(question: Question, namespace: str) -> str:
    who = question.user or ", ".join(question.groups) or "the administrator"
    named = f" {question.name}" if question.name else ""
    where = "" if question.what.startswith("/") else f" in {namespace}" if namespace else " in the whole cluster"
    return f"{who}: {question.verb} {question.what}{named}{where}"


def _binding(grant: face.Grant) -> str:
    return f"{grant.binding_kind} " + (f"{grant.binding_namespace}/" if grant.binding_namespace else "") + grant.binding_name


def _rule(rule: rbac.PolicyRule) -> str:
    if rule.non_resource_urls:
        return f"{_some(rule.verbs)} {_some(rule.non_resource_urls)}"
    named = f" called {_some(rule.resource_names)}" if rule.resource_names else ""
    return f"{_some(rule.verbs)} {_some(rule.resources)} of {_some([group or CORE for group in rule.api_groups])}{named}"


def _some(words: Sequence[str]) -> str:
    return ", ".join(words)


def _commands(question: Question, answer: face.ExplainResponse) -> Iterator[str]:
    """What gives it: a usual role, or one that is made for it. Roles of components and of administrators allow far more than was asked."""
    kind, place = ("rolebinding", ["-n", answer.namespace]) if answer.namespace else ("clusterrolebinding", [])
    role = next((name for name in (*USUAL, *answer.candidates) if name in answer.candidates and _is_for_people(name)), "")
    if not role:
        role, wanted = "NAME", "--non-resource-url" if question.what.startswith("/") else "--resource"
        yield shlex.join(["kubectl", "create", "clusterrole", role, f"--verb={question.verb}", f"{wanted}={question.what}"])
    account = question.user.removeprefix("system:serviceaccount:")
    subject = f"--serviceaccount={account}" if account != question.user else f"--user={question.user}" if question.user else ""
    subject = subject or f"--group={question.groups[0] if question.groups else ''}"
    yield shlex.join(["kubectl", "create", kind, "NAME", f"--clusterrole={role}", subject, *place])


def _is_for_people(role: str) -> bool:
    return role in USUAL or not (role.startswith("system:") or role == "cluster-admin")
