"""Playing somebody else, on both faces: whom a request names, what it takes, and what cannot be smuggled in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apiserver.v1 import resource_service_pb2_grpc as face_grpc
from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.machinery.errors import BadRequest, forbidden
from knarr.machinery.packing import packed
from knarr.service.authentication import User
from services.apiserver.identity.impersonation import MAX_LETTERS, MAX_WORDS, Impersonation
from services.apiserver.in_memory import ADMIN, ApiInMemory
from services.apiserver.request import Request
from tests.support.faces import TOKEN, TOKENS, RestClient, rpc_server

REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
Pairs = list[tuple[bytes, bytes]]


class Limited:
    """Remembers what it was asked; refuses the things that are named."""

    def __init__(self) -> None:
        self.refused: set[tuple[str, str]] = set()
        self.asked: list[tuple[str, str, str, str]] = []
        self.users: list[User] = []

    def authorize(self, request: Request) -> None:
        self.users.append(request.user)
        if request.verb.startswith("impersonate:"):
            raise forbidden(request.ref.resource.plural, request.ref.name, "within no limits either")
        if request.verb == "impersonate":
            assert request.user == ADMIN
            ref = request.ref
            resource = f"{ref.resource.plural}/{ref.subresource}" if ref.subresource else ref.resource.plural
            self.asked.append((ref.version.group, resource, ref.namespace, ref.name))
            if (resource, ref.name) in self.refused:
                raise forbidden(resource, ref.name, "it is not to be")


@pytest.fixture
def authorizer() -> Limited:
    return Limited()


@pytest.fixture
async def api(authorizer: Limited) -> AsyncIterator[ApiInMemory]:
    async with ApiInMemory(authenticate=TOKENS.authenticate, authorizer=authorizer) as made:
        yield made


@pytest.fixture
def rest(api: ApiInMemory) -> RestClient:
    return RestClient(api)


async def who(rest: RestClient, *headers: tuple[bytes, bytes]) -> Any:
    """Who the request is answered to; the code and the words of a refusal."""
    answer = await RestClient(rest.api, headers).call("POST", REVIEWS, {})
    return answer.json["status"]["userInfo"] if answer.status == 201 else (answer.status, answer.json["message"])


async def test_a_user_is_played_with_all_that_is_said_of_him(rest: RestClient, authorizer: Limited) -> None:
    found = await who(
        rest,
        (b"impersonate-user", b"carol"),
        (b"impersonate-group", b"dev"),
        (b"impersonate-group", b"ops"),
        (b"impersonate-uid", b"7"),
        (b"impersonate-extra-scopes", b"view"),
        (b"impersonate-extra-scopes", b"edit"),
        (b"impersonate-extra-authentication.kubernetes.io%2fpod-name", b"web"),
    )
    assert found == {
        "username": "carol",
        "uid": "7",
        "groups": ["dev", "ops", "system:authenticated"],
        "extra": {"scopes": ["view", "edit"], "authentication.kubernetes.io/pod-name": ["web"]},
    }
    assert authorizer.asked == [
        ("", "users", "", "carol"),
        ("", "groups", "", "dev"),
        ("", "groups", "", "ops"),
        ("authentication.k8s.io", "userextras/scopes", "", "view"),
        ("authentication.k8s.io", "userextras/scopes", "", "edit"),
        ("authentication.k8s.io", "userextras/authentication.kubernetes.io/pod-name", "", "web"),
        ("authentication.k8s.io", "uids", "", "7"),
    ]


async def test_both_users_are_known_behind_it(rest: RestClient, authorizer: Limited) -> None:
    await who(rest, (b"impersonate-user", b"carol"))
    played = authorizer.users[-1]
    assert (played.name, played.impersonator) == ("carol", ADMIN)
    assert played == User("carol", groups=("system:authenticated",))


@pytest.mark.parametrize(
    ("said", "name", "groups"),
    [
        ({}, "carol", ["system:authenticated"]),
        ({"group": "system:unauthenticated"}, "carol", ["system:unauthenticated"]),
        ({"group": "system:authenticated"}, "carol", ["system:authenticated"]),
        ({}, "system:anonymous", ["system:unauthenticated"]),
        ({}, "system:serviceaccount:shop:robot", ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]),
        ({"group": "dev"}, "system:serviceaccount:shop:robot", ["dev", "system:authenticated"]),
        ({}, "Zoë Ünwin", ["system:authenticated"]),
    ],
)
def test_groups_follow_from_who_is_played(said: dict[str, str], name: str, groups: list[str]) -> None:
    headers = [(b"impersonate-user", name.encode()), *((f"impersonate-{key}".encode(), value.encode()) for key, value in said.items())]
    user = Impersonation.of_headers(headers).user(ADMIN)
    assert (user.name, list(user.groups)) == (name, groups)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("system:serviceaccount:shop:robot", ("serviceaccounts", "shop", "robot")),
        ("system:serviceaccount:shop:a:b", ("users", "", "system:serviceaccount:shop:a:b")),
        ("system:serviceaccount:shop:", ("users", "", "system:serviceaccount:shop:")),
        ("system:serviceaccount:Shop:robot", ("users", "", "system:serviceaccount:Shop:robot")),
        ("system:serviceaccount:../x:robot", ("users", "", "system:serviceaccount:../x:robot")),
    ],
)
def test_what_is_no_account_is_a_user_of_that_name(name: str, asked: tuple[str, str, str]) -> None:
    (ref,) = Impersonation.of_headers([(b"impersonate-user", name.encode())]).refs()
    assert (ref.resource.plural, ref.namespace, ref.name) == asked


@pytest.mark.parametrize(
    "refused", [("users", "carol"), ("groups", "ops"), ("uids", "7"), ("userextras/scopes", "edit")], ids=lambda refused: refused[0]
)
async def test_each_thing_is_to_be_permitted(rest: RestClient, authorizer: Limited, refused: tuple[str, str]) -> None:
    authorizer.refused = {refused}
    code, words = await who(
        rest,
        (b"impersonate-user", b"carol"),
        (b"impersonate-group", b"dev"),
        (b"impersonate-group", b"ops"),
        (b"impersonate-uid", b"7"),
        (b"impersonate-extra-scopes", b"view"),
        (b"impersonate-extra-scopes", b"edit"),
    )
    assert (code, words) == (403, f'{refused[0]} "{refused[1]}" is forbidden: it is not to be')
    assert all(user == ADMIN for user in authorizer.users)


USER = (b"impersonate-user", b"carol")


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([(b"impersonate-group", b"dev")], "without a user"),
        ([(b"impersonate-uid", b"7")], "without a user"),
        ([(b"impersonate-extra-scopes", b"view")], "without a user"),
        ([USER, (b"impersonate-user", b"dave")], "Impersonate-User is given more than once"),
        ([USER, USER], "Impersonate-User is given more than once"),
        ([(b"impersonate-user", b"")], "Impersonate-User is empty"),
        ([USER, (b"impersonate-uid", b"1"), (b"impersonate-uid", b"2")], "Impersonate-Uid is given more than once"),
        ([USER, (b"impersonate-extra-", b"x")], "is not known"),
        ([USER, (b"impersonate-role", b"x")], "Impersonate-Role is not known"),
        ([USER, (b"impersonate-group", b"\xff")], "no text in UTF-8"),
        ([USER, *[(b"impersonate-group", b"g")] * MAX_WORDS], f"{MAX_WORDS} things"),
        ([(b"impersonate-user", b"x" * MAX_LETTERS)], f"{MAX_LETTERS} letters"),
    ],
    ids=lambda value: value[:28].replace(" ", "-") if isinstance(value, str) else "",
)
async def test_what_could_be_read_in_two_ways_is_refused(rest: RestClient, authorizer: Limited, headers: Pairs, words: str) -> None:
    code, message = await who(rest, *headers)
    assert code == 400
    assert words in message
    assert not authorizer.users


@pytest.mark.parametrize(
    ("written", "key"),
    [(b"a%2fb", "a/b"), (b"a%2Fb", "a/b"), (b"a%zzb%2f", "a%zzb%2f"), (b"a%", "a%"), (b"a%ff", "a%ff"), (b"%c3%a9", "é"), (b"a+b", "a+b")],
)
def test_keys_of_extra_values_are_written_as_in_a_url(written: bytes, key: str) -> None:
    (found,) = Impersonation.of_headers([USER, (b"impersonate-extra-" + written, b"v")]).extra
    assert found == (key, ("v",))


def test_other_headers_are_passed_over() -> None:
    assert Impersonation.of_headers([(b"accept", b"\xff"), USER]) == Impersonation("carol")


async def test_who_is_not_known_plays_nobody(rest: RestClient, authorizer: Limited) -> None:
    answer = await RestClient(rest.api, [USER]).call("POST", REVIEWS, {}, authorization="Bearer wrong")
    assert answer.status == 401
    assert not authorizer.users


async def review(address: str, folder: Path, *metadata: tuple[str, str | bytes]) -> Any:
    credentials = grpc.ssl_channel_credentials((folder / "ca.crt").read_bytes())
    async with grpc.aio.secure_channel(address, credentials) as channel:
        body = packed(authentication.SelfSubjectReview, b"")
        ref = face.ResourceRef(group="authentication.k8s.io", version="v1", resource="selfsubjectreviews")
        call = face_grpc.ResourceServiceStub(channel).Create(
            face.CreateRequest(ref=ref, object=body), metadata=(("authorization", f"Bearer {TOKEN}"), *metadata)
        )
        return authentication.SelfSubjectReview.FromString((await call).object.value).status.user_info


async def test_the_same_holds_by_grpc(api: ApiInMemory, authorizer: Limited, tmp_path: Path) -> None:
    async with rpc_server(api, tmp_path) as address:
        found = await review(
            address,
            tmp_path,
            ("impersonate-user-bin", "Zoë".encode()),
            ("impersonate-group", "dev"),
            ("impersonate-group", "ops"),
            ("impersonate-extra-scopes", "view"),
            ("impersonate-extra", "example.com/Team=a=b"),
        )
        assert (found.username, list(found.groups)) == ("Zoë", ["dev", "ops", "system:authenticated"])
        assert {key: list(value.items) for key, value in found.extra.items()} == {"scopes": ["view"], "example.com/team": ["a=b"]}
        authorizer.refused = {("groups", "ops")}
        for metadata, code in (
            ([("impersonate-user", "carol"), ("impersonate-group", "ops")], grpc.StatusCode.PERMISSION_DENIED),
            ([("impersonate-group", "ops")], grpc.StatusCode.INVALID_ARGUMENT),
            ([("impersonate-user", "a"), ("impersonate-user-bin", b"b")], grpc.StatusCode.INVALID_ARGUMENT),
            ([("impersonate-user", "a"), ("impersonate-extra", "b")], grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await review(address, tmp_path, *metadata)
            assert caught.value.code() == code


def test_nothing_is_left_out_of_metadata() -> None:
    with pytest.raises(BadRequest, match="not known"):
        Impersonation.of_metadata([("impersonate-user", "carol"), ("impersonate-role", "x")])
