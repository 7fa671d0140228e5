"""The page of the compose cluster: whoever signs in sees what his token may, and grpcurl can travel in time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from services.web.guard import OWN_HEADER
from tests.support.compose import NETWORK, ComposeCluster

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]
GRPC = f"{NETWORK}.65:10255"
COMPONENTS = {"apiserver", "scheduler", "controller", "cloud", "dns", "proxy", "gateway"}


@pytest.fixture
def looker(cluster: ComposeCluster) -> Iterator[str]:
    """A token of a service account that may look at all but Secrets."""
    cluster.kubectl("create", "serviceaccount", "looker")
    cluster.kubectl("create", "clusterrolebinding", "looker", "--clusterrole=view", "--serviceaccount=default:looker")
    yield cluster.kubectl("create", "token", "looker").stdout.strip()
    cluster.kubectl("delete", "clusterrolebinding/looker", "serviceaccount/looker")


async def test_each_viewer_sees_what_he_may(cluster: ComposeCluster, looker: str) -> None:
    page = f"http://127.0.0.1:{cluster.environment['KNARR_WEB_PORT']}"
    admin = (cluster.data_dir / "token").read_text().strip()
    headers = {"Origin": page, OWN_HEADER: "1"}
    for token, secrets, asks in ((admin, 200, 200), (looker, 403, 503)):
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            async with session.get(f"{page}/cluster/api/v1/nodes") as answer:
                assert answer.status == 401
            async with session.post(f"{page}/login", json={"token": token}, headers=headers) as answer:
                assert answer.status == 204, await answer.text()
            async with session.get(f"{page}/cluster/api/v1/secrets") as answer:
                assert answer.status == secrets
            async with session.get(f"{page}/parts") as answer:
                parts = await answer.json()
                assert {one["component"] for one in parts} == COMPONENTS and {one["answer"] for one in parts} == {"SERVING"}, parts
            # Components are asked for whoever may call them himself.
            for path in ("/controllers", "/traffic", "/what-if?drain=node-1"):
                async with session.get(page + path) as answer:
                    assert answer.status == asks, (path, await answer.text())


def test_grpcurl_travels_in_time(cluster: ComposeCluster, looker: str) -> None:
    shown = ["-H", f"authorization: Bearer {looker}"]
    assert asked(cluster, shown, "GetStatus")["latest_revision"]
    cluster.kubectl("create", "configmap", "seen", "--from-literal=a=1")
    cluster.kubectl("patch", "configmap", "seen", "--patch", '{"data":{"a":"2"}}')
    object_ = {"resource": "configmaps", "namespace": "default", "name": "seen"}
    cluster.wait_for("both changes", lambda: len(asked(cluster, shown, "ListChanges", **object_).get("changes", [])) == 2)
    last, first = asked(cluster, shown, "ListChanges", **object_)["changes"]
    (difference,) = asked(cluster, shown, "GetChange", revision=last["revision"])["differences"]
    assert (difference["path"], difference["before"], difference["after"]) == ("data.a", '"1"', '"2"') and "kubectl" in last["writer"]
    then = asked(cluster, shown, "ListObjects", revision=first["revision"], resource="configmaps", namespace="default")
    found = {one["metadata"]["name"]: one for one in (json.loads(one["json"]) for one in then["objects"])}
    assert found["seen"]["data"] == {"a": "1"}
    cluster.kubectl("delete", "configmap", "seen")


def asked(cluster: ComposeCluster, shown: list[str], method: str, **request: Any) -> Any:
    command = [*cluster.grpcurl, *shown, "-d", json.dumps(request), GRPC, f"knarr.api.web.v1.WebService/{method}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
