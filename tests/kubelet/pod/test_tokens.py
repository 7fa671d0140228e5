"""Tokens of pods: asked for, laid as files that only the right ones read, and renewed in time."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.clock import Clock
from knarr.machinery.errors import StatusError, status_error
from services.apiserver.tokens.keys import SigningKeys
from services.kubelet.node.view import NodeView
from services.kubelet.pod.contents import File, Files, VolumeError
from services.kubelet.pod.references import References
from services.kubelet.pod.tokens import TokenKeeper, Wanted
from tests.kubelet.support import NODE, Cluster, FiledRuntime, contents, make_pod, running, until
from tests.support.api import FaultyApi
from tests.support.set_clock import SetClock
from tests.support.signing import signing_keys
from tests.support.virtual_time import START, VirtualClock, virtual_time

VIEW = NodeView("node-1", "192.0.2.1", {"cpu": "4"})
HOUR = Wanted("", 3607)


@pytest.fixture
def keys() -> SigningKeys:
    return signing_keys()


def token_pod(name: str = "web", audience: str = "", seconds: int = 3607) -> core.Pod:
    pod = make_pod(name)
    pod.metadata.uid, pod.spec.service_account_name = f"uid-of-{name}", "default"
    volume = pod.spec.volumes.add(name="access").volume_source.projected
    volume.default_mode = 0o644
    token = volume.sources.add().service_account_token
    token.path, token.expiration_seconds, token.audience = "token", seconds, audience
    return pod


def laid(pod: core.Pod, tokens: dict[Wanted, str] | None = None) -> File:
    content = contents(pod, References(tokens={HOUR: "t"} if tokens is None else tokens), VIEW)["access"]
    assert isinstance(content, Files) and content.secret
    (file,) = content.files
    return file


def test_who_may_read_the_file() -> None:
    assert laid(token_pod()) == File("token", b"t", 0o644)
    grouped = token_pod()
    grouped.spec.security_context.fs_group = 2000
    assert laid(grouped) == File("token", b"t", 0o600)
    one = token_pod()
    one.spec.security_context.run_as_user = 1000
    assert laid(one) == File("token", b"t", 0o600, 1000)
    one.spec.containers[0].security_context.run_as_user = 1001
    assert laid(one) == File("token", b"t", 0o600, 1001)
    one.spec.init_containers.add(name="first", image="app:1")
    assert laid(one) == File("token", b"t", 0o644)
    one.spec.volumes[0].volume_source.projected.sources[0].service_account_token.user = 7
    assert laid(one) == File("token", b"t", 0o600, 7)


def test_what_is_not_there_yet_is_told() -> None:
    with pytest.raises(VolumeError, match="there is no token"):
        laid(token_pod(), {})


class Asked:
    """A client that issues a token for each request, unless told to fail."""

    def __init__(self) -> None:
        self.requests: list[authentication.TokenRequest] = []
        self.error: StatusError | None = None

    async def create(self, request: Any, *, subresource: str, name: str) -> Any:
        assert (subresource, name) == ("token", "default")
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.requests.append(request)
        answer = authentication.TokenRequest()
        answer.CopyFrom(request)
        answer.status.token = f"token {len(self.requests)}"
        return answer


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def keeper(asked: Asked, clock: SetClock) -> TokenKeeper:
    return TokenKeeper(asked, clock)  # type: ignore[arg-type]


async def test_a_token_is_bound_to_its_pod_and_asked_for_once(keeper: TokenKeeper, asked: Asked) -> None:
    pod = token_pod(audience="vault", seconds=600)
    for _ in range(3):
        assert await keeper.read(pod) == {Wanted("vault", 600): "token 1"}
    (request,) = asked.requests
    bound = request.spec.bound_object_ref
    assert (bound.api_version, bound.kind, bound.name, bound.uid) == ("v1", "Pod", "web", "uid-of-web")
    assert (list(request.spec.audiences), request.spec.expiration_seconds) == (["vault"], 600)
    await keeper.read(token_pod("other", "vault", 600))
    keeper.forget("uid-of-web")
    await keeper.read(pod)
    assert len(asked.requests) == 3


@pytest.mark.parametrize(("seconds", "due"), [(600, 480), (3607, 2885), (7 * 24 * 3600, 24 * 3600)])
async def test_it_is_renewed_after_most_of_its_life_or_a_day(
    seconds: int, due: int, keeper: TokenKeeper, clock: SetClock, asked: Asked
) -> None:
    pod = token_pod(seconds=seconds)
    await keeper.read(pod)
    renewal = keeper.renew_at("uid-of-web")
    assert renewal is not None and due - 11 <= (renewal - START).total_seconds() <= due + 1
    clock.at = renewal - timedelta(seconds=1)
    assert list((await keeper.read(pod)).values()) == ["token 1"]
    clock.at = renewal
    assert list((await keeper.read(pod)).values()) == ["token 2"]


async def test_one_that_is_good_is_kept_while_no_other_can_be_had(keeper: TokenKeeper, clock: SetClock, asked: Asked) -> None:
    pod = token_pod(seconds=600)
    await keeper.read(pod)
    asked.error = status_error("ServiceUnavailable", "away")
    clock.at = START + timedelta(seconds=599)
    assert list((await keeper.read(pod)).values()) == ["token 1"]
    assert keeper.renew_at("uid-of-web") == clock.at + timedelta(seconds=30)
    clock.at = START + timedelta(seconds=630)
    with pytest.raises(StatusError, match="away"):
        await keeper.read(pod)
    asked.error = None
    assert list((await keeper.read(pod)).values()) == ["token 2"]


async def test_pods_without_one_cost_nothing(keeper: TokenKeeper, asked: Asked) -> None:
    assert await keeper.read(make_pod()) == {} and keeper.renew_at("") is None and not asked.requests


def claims(text: str) -> Any:
    return orjson.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))


def api_with_tokens(keys: SigningKeys, clock: Clock) -> FaultyApi:
    api = FaultyApi(clock, keys=keys)
    api.seed(core.ConfigMap(metadata=meta.ObjectMeta(name="kube-root-ca.crt", namespace="default"), data={"ca.crt": "CERTIFICATE"}))
    return api


def volume(cluster: Cluster) -> Path:
    (worker,) = cluster.kubelet.manager.workers.values()
    return worker.volume_path(worker.pod.spec.volumes[0].name)


@pytest.mark.usefixtures("at_once")
@virtual_time
async def test_a_pod_sees_its_token_which_is_renewed_while_it_runs(folder: Path, keys: SigningKeys) -> None:
    clock = VirtualClock()
    api = api_with_tokens(keys, clock)
    async with running(FiledRuntime("10.0.0.0/24", clock=clock), folder, api, clock) as cluster:
        await api.client().create(make_pod())
        pod = await cluster.ready()
        path = volume(cluster)
        assert {entry.name for entry in path.iterdir() if not entry.name.startswith("..")} == {"token", "ca.crt", "namespace"}
        assert ((path / "ca.crt").read_text(), (path / "namespace").read_text()) == ("CERTIFICATE", "default")
        first = (path / "token").read_text()
        assert claims(first)["kubernetes.io"]["pod"] == {"name": "web", "uid": pod.metadata.uid}
        assert claims(first)["kubernetes.io"]["node"]["name"] == NODE
        await asyncio.sleep(2800)
        assert (path / "token").read_text() == first
        await asyncio.sleep(100)
        second = (path / "token").read_text()
        assert claims(second)["iat"] > claims(first)["iat"] and (path / "token").stat().st_mode & 0o777 == 0o644
        started = [status.restart_count for status in (await cluster.ready()).status.container_statuses]
        assert started == [0]


@pytest.mark.usefixtures("at_once")
@virtual_time
async def test_a_pod_waits_for_its_token(folder: Path, keys: SigningKeys) -> None:
    clock = VirtualClock()
    api = api_with_tokens(keys, clock)
    api.fail_next(status_error("ServiceUnavailable", "no tokens today"), verb="create", subresource="token", times=3)
    async with running(FiledRuntime("10.0.0.0/24", clock=clock), folder, api, clock) as cluster:
        await api.client().create(make_pod())
        await cluster.ready()
        assert "no tokens today" in cluster.events("FailedMount")[0]


@pytest.mark.usefixtures("at_once")
@virtual_time
async def test_only_the_certificates_config_map_is_watched_for_it(folder: Path, keys: SigningKeys) -> None:
    clock = VirtualClock()
    api = api_with_tokens(keys, clock)
    api.seed(core.ConfigMap(metadata=meta.ObjectMeta(name="other", namespace="default")))
    async with running(FiledRuntime("10.0.0.0/24", clock=clock), folder, api, clock) as cluster:
        await api.client().create(make_pod())
        await cluster.ready()
        references = cluster.kubelet.context.references
        [((kind, key), followed)] = references._followed.items()
        assert (kind, key.name) == (core.ConfigMap, "kube-root-ca.crt")
        await until(lambda: followed.informer.synced)
        path = volume(cluster)
        await api.client().patch(core.ConfigMap, "kube-root-ca.crt", "default", patch={"data": {"ca.crt": "ANOTHER"}})
        await until(lambda: (path / "ca.crt").read_text() == "ANOTHER")
