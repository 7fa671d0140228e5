"""What is answered and never stored: reviews, the state of components, and bindings, which change a pod."""

from __future__ import annotations

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog.parts import v1
from knarr.machinery.resources import Resource

AUTHENTICATION, AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"
CREATE = ("create",)
COMPONENTS_WARNING = "v1 ComponentStatus is deprecated in v1.19+"

RESOURCES: tuple[Resource, ...] = (
    Resource("bindings", (v1("", core.Binding),), verbs=CREATE, stored=False),
    Resource(
        "componentstatuses",
        (v1("", core.ComponentStatus, core.ComponentStatusList, deprecation_warning=COMPONENTS_WARNING),),
        namespaced=False,
        short_names=("cs",),
        verbs=("get", "list"),
        stored=False,
    ),
    Resource("tokenreviews", (v1(AUTHENTICATION, authentication.TokenReview),), namespaced=False, verbs=CREATE, stored=False),
    Resource("selfsubjectreviews", (v1(AUTHENTICATION, authentication.SelfSubjectReview),), namespaced=False, verbs=CREATE, stored=False),
    Resource("subjectaccessreviews", (v1(AUTHORIZATION, authorization.SubjectAccessReview),), namespaced=False, verbs=CREATE, stored=False),
    Resource(
        "selfsubjectaccessreviews",
        (v1(AUTHORIZATION, authorization.SelfSubjectAccessReview),),
        namespaced=False,
        verbs=CREATE,
        stored=False,
    ),
    Resource(
        "selfsubjectrulesreviews", (v1(AUTHORIZATION, authorization.SelfSubjectRulesReview),), namespaced=False, verbs=CREATE, stored=False
    ),
    Resource("localsubjectaccessreviews", (v1(AUTHORIZATION, authorization.LocalSubjectAccessReview),), verbs=CREATE, stored=False),
)
