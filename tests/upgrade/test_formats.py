"""A data directory, a backup and a trust folder that an earlier Knarr left serve on: nothing is lost, and nothing is made anew."""

from __future__ import annotations

import json
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.service.authentication import AUTHENTICATED, TokenTable
from knarr.service.certificates import covers
from knarr.service.signing_key import SIGNING_KEY
from services.apiserver.bootstrap import service_names
from services.compose import trust
from services.kubelet.pod.spec import container_hash
from services.kubelet.runtime.docker.observations import container_from
from services.kubelet.runtime.labels import CLUSTER, NODE, is_sandbox, sandbox_from
from services.standalone.settings import ClusterSettings
from tests.support.cluster_client import run
from tests.support.knarr_cluster import BIN, KnarrCluster
from tests.upgrade.kept import FORMATS, SETTINGS, TRUST, Api, content, identity, part_of

NAMES = sorted(path.name for path in FORMATS.iterdir() if path.is_dir())
# What is made once and handed out, or stands in what was handed out.
LASTING = ("cluster-id", "token", "pki/ca.crt", "pki/ca.key", "pki/admin.crt", "pki/admin.key", "pki/apiserver.token")
# What components write again by themselves: where things are now, and what happened. They are the same objects still.
DERIVED = ("endpoints/", "endpointslices/", "events/", "leases/kube-", "nodes/")
OWN = ("endpoints/kept/by-hand", "endpointslices/kept/own", "events/kept/noted.1")
# Each instance of DNS removes its slice when it stops.
RENEWED = ("endpointslices/kube-system/kube-dns-kept-node", "leases/kube-system/kube-dns-kept-node")


@pytest.fixture(params=NAMES)
def kept(request: pytest.FixtureRequest) -> Path:
    return FORMATS / str(request.param)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnarrCluster]:
    """Not started. Its path is short: it holds sockets."""
    made = KnarrCluster(tmp_path_factory.mktemp("k"), runtime="hollow", datapath="userspace")
    try:
        yield made
    finally:
        made.down()


def unpack(archive: Path, folder: Path) -> None:
    # The archives are the project's own. Earlier Pythons know no filters.
    with tarfile.open(archive) as opened:
        if hasattr(tarfile, "tar_filter"):
            opened.extractall(folder, filter="tar")
        else:
            opened.extractall(folder)


def objects(kept: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lzma.decompress((kept / "objects.json.xz").read_bytes()))
    return found


def up(cluster: KnarrCluster) -> str:
    """Starts it with ports of this run's, and no other choice; returns where REST is."""
    ports = [f"--{name}-port={port}" for name, port in cluster.ports.items()]
    cluster.knarr("up", "--data-dir", str(cluster.data_dir), *ports)
    return f"https://127.0.0.1:{cluster.ports['rest']}"


def check(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Every object is there, as the one that it was."""
    assert not [name for name in old if name not in new and name not in RENEWED]
    for name, before in old.items():
        if name in RENEWED:
            continue
        assert new[name]["metadata"]["uid"] == before["metadata"]["uid"], name
        if name in OWN or not name.startswith(DERIVED):
            assert part_of(content(before), content(new[name])), (name, content(before), content(new[name]))


def use(cluster: KnarrCluster, api: Api, old: dict[str, Any]) -> None:
    """What is stored can be written on: revisions count on, addresses and ports are taken, finalizers end, what is refused now stays."""
    words = old["configmaps/kept/words"]
    last = max(int(obj["metadata"]["resourceVersion"]) for obj in old.values())
    assert api.get(f"/api/v1/configmaps?resourceVersion={last}&resourceVersionMatch=NotOlderThan")["items"]
    body = {key: value for key, value in words.items() if key != "path"}
    written = api.call("PUT", words["path"], {**body, "data": {**body["data"], "more": "now"}})
    assert written.status == 200 and int(written.body["metadata"]["resourceVersion"]) > last, written
    assert api.call("PUT", words["path"], body).status == 409
    labelled = {"metadata": {"labels": {"seen": "later"}}}
    for name in old:
        if name.startswith(("replicasets/kept/earlier", "pods/kept/earlier", "nodes//away", "services/kept/outside")):
            patched = api.call("PATCH", old[name]["path"], labelled, "application/merge-patch+json")
            assert patched.status == 200, (name, patched)
    web = old["services/kept/web"]["spec"]
    port = {"port": 80, "protocol": "TCP"}
    for taken in ({"clusterIP": web["clusterIP"], "ports": [port]}, {"type": "NodePort", "ports": [{**port, "nodePort": 32111}]}):
        again = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "again"}, "spec": taken}
        assert api.call("POST", "/api/v1/namespaces/kept/services", again).status == 422
    for name, gone in (("configmaps/leaving/holds", "/api/v1/namespaces/leaving"), ("pods/kept/alone", old["pods/kept/alone"]["path"])):
        api.call("PATCH", old[name]["path"], {"metadata": {"finalizers": None}}, "application/merge-patch+json")
        cluster.wait_for(f"{gone} to go", missing(api, gone))
    cluster.kubectl("scale", "deployment/web", "-n", "kept", "--replicas=3")
    cluster.kubectl("rollout", "status", "deployment/web", "-n", "kept", "--timeout=60s")


def token_of(api: Api) -> str:
    """A new one of an account that was there before."""
    return str(api.call("POST", "/api/v1/namespaces/kept/serviceaccounts/default/token", {}).body["status"]["token"])


def missing(api: Api, path: str) -> Callable[[], bool]:
    return lambda: api.call("GET", path).status == 404


@pytest.mark.etcd
def test_a_data_directory_starts_with_all_that_it_held(kept: Path, cluster: KnarrCluster) -> None:
    folder, old = cluster.data_dir, objects(kept)
    unpack(kept / "data.tar.xz", folder)
    handed_out = (folder / "kubeconfig").read_text()
    lasting = {name: (folder / name).read_bytes() for name in LASTING}
    server = up(cluster)
    assert {name: (folder / name).read_bytes() for name in LASTING} == lasting
    settings = ClusterSettings.saved(folder)
    assert {name: getattr(settings, name.replace("-", "_")) for name in SETTINGS} == SETTINGS
    signing = (folder / "pki" / SIGNING_KEY).read_bytes()
    by_token, by_certificate = Api.by_token(folder, server, lasting["token"].decode().strip()), Api.by_kubeconfig(handed_out, server)
    check(old, by_token.everything())
    check(old, by_certificate.everything())
    use(cluster, by_token, old)
    left = {name: obj for name, obj in by_token.everything().items() if obj["metadata"].get("namespace") == "kept"}
    pair = (folder / "pki/server.key").read_bytes()
    cluster.down()
    server = up(cluster)
    check({name: obj for name, obj in left.items() if not name.startswith("events/")}, Api.by_kubeconfig(handed_out, server).everything())
    assert {name: (folder / name).read_bytes() for name in LASTING} == lasting and (folder / "pki/server.key").read_bytes() == pair
    assert (folder / "pki" / SIGNING_KEY).read_bytes() == signing
    review = {"spec": {"token": token_of(api := Api.by_token(folder, server, lasting["token"].decode().strip()))}}
    assert api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review).body["status"]["authenticated"]


@pytest.mark.etcd
def test_a_backup_is_restored(kept: Path, cluster: KnarrCluster) -> None:
    file = cluster.data_dir.with_name(f"{cluster.data_dir.name}.db")
    file.write_bytes(lzma.decompress((kept / "backup.db.xz").read_bytes()))
    cluster.knarr("restore", "--data-dir", str(cluster.data_dir), str(file))
    options = [f"--{name}={value}" for name, value in SETTINGS.items()]
    cluster.knarr("up", "--data-dir", str(cluster.data_dir), *options, *(f"--{name}-port={port}" for name, port in cluster.ports.items()))
    token = (cluster.data_dir / "token").read_text().strip()
    api = Api.by_token(cluster.data_dir, f"https://127.0.0.1:{cluster.ports['rest']}", token)
    old = objects(kept)
    check(old, api.everything())
    use(cluster, api, old)


def test_a_trust_folder_stays_as_it_is(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack(kept / "trust.tar.xz", tmp_path)
    before = contents(tmp_path)
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["trust", str(tmp_path), *TRUST])
        assert trust.main() == 0
        check_trust(before, tmp_path)
    once = contents(tmp_path)
    assert trust.main() == 0
    assert contents(tmp_path) == once


def test_the_earlier_name_of_the_trust_command_still_works(kept: Path, tmp_path: Path) -> None:
    unpack(kept / "trust.tar.xz", tmp_path)
    before = contents(tmp_path)
    run([str(BIN / "python"), "-m", "services.standalone.trust", str(tmp_path), *TRUST])
    check_trust(before, tmp_path)


def check_trust(before: dict[str, bytes], folder: Path) -> None:
    """Keys, certificates and tokens stay. Tables of those who may call are made from them; a kubelet's was changed in November 2026, and
    since then the API server is an administrator in none of them.

    The API server's certificate names what pods call it by since then, and it has got the key for their tokens, and what is shown to
    extension API servers.
    """
    made = {name for name in before if name.endswith("tokens.csv")}
    renewed = {"apiserver/server.crt", "apiserver/server.key"}
    after = contents(folder)
    kept = before.keys() - made - renewed
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    new = {name for name in after.keys() - before.keys() if "front-proxy" not in name}
    # With them the controller signs certificates, the API server calls kubelets, and people are known without a token.
    pairs = {f"{pair}.{suffix}" for pair in ("controller/signing", "apiserver/kubelet-client", "admin/admin") for suffix in ("crt", "key")}
    # A component that came since then has what each has.
    page = {f"web/{name}" for name in ("ca.crt", "server.crt", "server.key")}
    assert new == {f"apiserver/{SIGNING_KEY}", f"authority/{SIGNING_KEY}", *pairs, *page}
    authority = x509.load_pem_x509_certificate(before["apiserver/ca.crt"])
    x509.load_pem_x509_certificate(after["apiserver/server.crt"]).verify_directly_issued_by(authority)
    assert covers(after["apiserver/server.crt"], ["192.0.2.10", *service_names()])
    admin = after["admin/token"].decode().strip()
    assert all(TokenTable.load(folder / name).authenticate(f"Bearer {admin}").name == "knarr-admin" for name in made)
    whom = after["apiserver/token"].decode().strip()
    assert TokenTable.load(folder / "apiserver/tokens.csv").authenticate(f"Bearer {whom}").groups == (AUTHENTICATED,)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_objects_kept_are_of_every_kind(kept: Path) -> None:
    """What no controller made by itself is there as it was applied."""
    old = objects(kept)
    assert {"leases/kept/of-a-client", "secrets/kept/test-secret", identity("namespaces", {"metadata": {"name": "leaving"}})} <= old.keys()
    assert old["configmaps/kept/words"]["data"]["greeting"] == "Grüße, 世界 🚢"
    assert "deletionTimestamp" in old["namespaces//leaving"]["metadata"] and "deletionTimestamp" in old["pods/kept/alone"]["metadata"]
    assert len({name.partition("/")[0] for name in old}) >= 15


def test_a_container_that_runs_is_recognized(kept: Path) -> None:
    """A kubelet of the next version adopts it: the hash of its spec is the same, and so are the names of its labels."""
    hashes = json.loads((kept / "containers.json").read_bytes())
    old = objects(kept)
    assert hashes.keys() == {name for name in old if name.startswith("pods/")}
    for name, known in hashes.items():
        pod = codec.from_json(core.Pod, {key: value for key, value in old[name].items() if key != "path"}).message
        assert [container_hash(spec) for spec in pod.spec.containers] == known


def test_the_labels_of_an_earlier_engine_are_understood() -> None:
    """Never renamed: each node of a compose cluster keeps its containers while its kubelet is replaced."""
    of_pod = {"io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "kept", "io.kubernetes.pod.uid": "u"}
    own = {"io.kubernetes.container.name": "c", "io.knarr.attempt": "2", "io.knarr.sandbox-attempt": "1", "io.knarr.spec-hash": "76a8"}
    labels = {"io.knarr.cluster": "0123abcd", "io.knarr.node": "node-1", **of_pod}
    container = {**labels, **own, "io.knarr.kind": "container", "io.knarr.image": "web:1", "io.knarr.tty": ""}
    state = {"Status": "running", "StartedAt": "2026-11-28T10:00:00.5Z"}
    found = container_from(
        {"Id": "1", "Config": {"Labels": container}, "State": state, "Image": "sha256:1", "Created": "2026-11-28T10:00:00Z"}
    )
    assert (found.name, found.attempt, found.sandbox_attempt, found.spec_hash, found.image) == ("c", 2, 1, "76a8", "web:1")
    assert not is_sandbox(container) and is_sandbox({**labels, "io.knarr.kind": "sandbox"})
    sandbox = sandbox_from("2", {**labels, "io.knarr.attempt": "1", "io.knarr.ip": "10.62.3.2"}, ready=True, created_at=None)
    assert (sandbox.pod.uid, sandbox.pod.name, sandbox.pod.namespace, sandbox.attempt, sandbox.ip) == ("u", "web", "kept", 1, "10.62.3.2")
    assert (CLUSTER, NODE) == ("io.knarr.cluster", "io.knarr.node")
