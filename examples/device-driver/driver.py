"""A driver of devices of a node: lamps, of which there are so many as one says, each `/dev/null` under another name.

It publishes them as a ResourceSlice, makes itself known to the kubelet by a socket, and says in a file of the container device interface
what a container gets of a lamp. Nothing here is Knarr's but the generated contracts, which are Kubernetes' own; the README says how it
is run.

    python driver.py --node NAME --kubelet-dir DIR --lamps 2
"""

import argparse
import json
import signal
import threading
from concurrent import futures
from pathlib import Path

import grpc
from kubernetes import client, config

from knarr.api.dra.v1 import plugin_pb2 as dra
from knarr.api.dra.v1 import plugin_pb2_grpc as dra_grpc
from knarr.api.pluginregistration.v1 import registration_pb2 as registration
from knarr.api.pluginregistration.v1 import registration_pb2_grpc as registration_grpc

NAME = "lamps.example.com"
GROUP, VERSION = "resource.k8s.io", "v1"


class Lamps(dra_grpc.DRAPluginServicer):
    """Makes claims ready and undoes it. Both may come twice, and after a crash: a file each claim is all that there is."""

    def __init__(self, api, cdi):
        self.api, self.cdi = api, cdi

    def NodePrepareResources(self, request, context):
        answer = dra.NodePrepareResourcesResponse()
        for claim in request.claims:
            try:
                answer.claims[claim.uid].devices.extend(self.prepare(claim))
            except Exception as error:
                answer.claims[claim.uid].Clear()
                answer.claims[claim.uid].error = str(error)
        return answer

    def prepare(self, claim):
        found = self.api.get_namespaced_custom_object(GROUP, VERSION, claim.namespace, "resourceclaims", claim.name)
        if found["metadata"]["uid"] != claim.uid:
            raise ValueError(f"claim {claim.namespace}/{claim.name} is another one by now")
        results = [one for one in found["status"]["allocation"]["devices"]["results"] if one["driver"] == NAME]
        said = {"cdiVersion": "0.6.0", "kind": f"{NAME}/claim", "devices": []}
        for result in results:
            lamp = result["device"]
            edits = {"env": [f"{lamp.upper().replace('-', '_')}=on"], "deviceNodes": [{"path": f"/dev/{lamp}", "hostPath": "/dev/null"}]}
            said["devices"].append({"name": f"{claim.uid}-{lamp}", "containerEdits": edits})
        self.cdi.mkdir(parents=True, exist_ok=True)
        aside = self.file(claim).with_suffix(".tmp")
        aside.write_text(json.dumps(said))
        aside.replace(self.file(claim))
        for result in results:
            names = [f"{NAME}/claim={claim.uid}-{result['device']}"]
            yield dra.Device(
                request_names=[result["request"]], pool_name=result["pool"], device_name=result["device"], cdi_device_ids=names
            )

    def NodeUnprepareResources(self, request, context):
        answer = dra.NodeUnprepareResourcesResponse()
        for claim in request.claims:
            self.file(claim).unlink(missing_ok=True)
            answer.claims[claim.uid].SetInParent()
        return answer

    def file(self, claim):
        return self.cdi / f"{NAME}-{claim.uid}.json"


class Registrar(registration_grpc.RegistrationServicer):
    def __init__(self, endpoint):
        self.endpoint = endpoint

    def GetInfo(self, request, context):
        return registration.PluginInfo(type="DRAPlugin", name=NAME, endpoint=self.endpoint, supported_versions=["v1.DRAPlugin"])

    def NotifyRegistrationStatus(self, request, context):
        print("registered" if request.plugin_registered else f"refused: {request.error}", flush=True)
        return registration.RegistrationStatusResponse()


def serve(socket, add):
    """A server at a socket."""
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    add(server)
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    return server


def publish(api, node, number):
    """Says what the node has: a slice of its own, made or brought up to date."""
    name = f"{node}-{NAME}"
    devices = [{"name": f"lamp-{n}", "attributes": {"watts": {"int": 5 * (n + 1)}}} for n in range(number)]
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": NAME, "nodeName": node, "pool": pool, "devices": devices}
    body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "ResourceSlice", "metadata": {"name": name}, "spec": spec}
    try:
        known = api.get_cluster_custom_object(GROUP, VERSION, "resourceslices", name)
        body["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
        pool["generation"] = known["spec"]["pool"]["generation"] + (known["spec"]["devices"] != devices)
        api.replace_cluster_custom_object(GROUP, VERSION, "resourceslices", name, body)
    except client.ApiException as error:
        if error.status != 404:
            raise
        api.create_cluster_custom_object(GROUP, VERSION, "resourceslices", body)
    return name


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--node", required=True, help="the name of the Node")
    parser.add_argument("--kubelet-dir", required=True, type=Path, help="the kubelet's --data-dir")
    parser.add_argument("--cdi-dir", type=Path, default=Path("/var/run/cdi"), help="where files of the container device interface lie")
    parser.add_argument("--lamps", type=int, default=2, help="how many lamps the node has")
    options = parser.parse_args()
    config.load_config()
    api = client.CustomObjectsApi()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    endpoint = options.kubelet_dir.absolute() / "plugins" / NAME / "dra.sock"
    lamps = Lamps(api, options.cdi_dir)
    served = serve(endpoint, lambda server: dra_grpc.add_DRAPluginServicer_to_server(lamps, server))
    registry = options.kubelet_dir.absolute() / "plugins_registry" / f"{NAME}-reg.sock"
    known = serve(registry, lambda server: registration_grpc.add_RegistrationServicer_to_server(Registrar(str(endpoint)), server))
    name = publish(api, options.node, options.lamps)
    ended.wait()
    # Nobody is to be given a lamp whose driver is away for good.
    api.delete_cluster_custom_object(GROUP, VERSION, "resourceslices", name)
    known.stop(None).wait()
    served.stop(1).wait()


if __name__ == "__main__":
    main()
