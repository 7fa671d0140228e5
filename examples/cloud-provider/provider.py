"""A cloud provider as a process of its own: the calls of Knarr's contract on one side, "a cloud" on the other.

The cloud of this example is one JSON file: `machines` by node name, which you write, and `balancers` by Service, which it keeps. A real
provider calls its cloud's API in the same places. Nothing here is Knarr's but the generated contract, so the same can be written in any
language that has gRPC; the README says how.

    python provider.py --listen 127.0.0.1:10300 --cert server.crt --key server.key --token token --cloud cloud.json
"""

import argparse
import hmac
import json
import threading
from concurrent import futures
from pathlib import Path

import grpc

from knarr.api.cloud.v1 import provider_pb2 as api
from knarr.api.cloud.v1 import provider_pb2_grpc as api_grpc

NAME = "example"
# An option of this provider's own: a Service may ask for an address by this annotation. Other providers do not look at it.
ADDRESS = "example.com/address"
STATES = {"running": api.INSTANCE_STATE_RUNNING, "off": api.INSTANCE_STATE_SHUT_DOWN}


class Provider(api_grpc.CloudProviderServiceServicer):
    def __init__(self, file: Path) -> None:
        self.file, self.lock = file, threading.Lock()

    def GetInfo(self, request, context):
        return api.GetInfoResponse(name=NAME, instances=True, load_balancers=True)

    def GetInstance(self, request, context):
        name = request.node.metadata.name
        machine = self.read()["machines"].get(name)
        if machine is None:
            return api.GetInstanceResponse(instance=api.Instance(state=api.INSTANCE_STATE_GONE))
        instance = api.Instance(state=STATES[machine.get("state", "running")], provider_id=f"{NAME}://{name}")
        instance.zone, instance.instance_type = machine.get("zone", ""), machine.get("type", "")
        for address in machine.get("addresses", []):
            instance.addresses.add(type="ExternalIP", address=address)
        return api.GetInstanceResponse(instance=instance)

    # Every call may come again with what was asked before: it finds what is there, and changes what differs.

    def EnsureLoadBalancer(self, request, context):
        return api.EnsureLoadBalancerResponse(load_balancer=self.balance(request, context))

    def UpdateLoadBalancer(self, request, context):
        return api.UpdateLoadBalancerResponse(load_balancer=self.balance(request, context))

    def DeleteLoadBalancer(self, request, context):
        with self.lock:
            cloud = self.read()
            if cloud["balancers"].pop(request.service.metadata.uid, None) is not None:
                self.write(cloud)
        return api.DeleteLoadBalancerResponse()

    def balance(self, request, context):
        service = request.service
        with self.lock:
            cloud = self.read()
            balancer = cloud["balancers"].setdefault(service.metadata.uid, {})
            others = {one.get("address") for uid, one in cloud["balancers"].items() if uid != service.metadata.uid}
            wanted = service.metadata.annotations.get(ADDRESS)
            free = [address for address in cloud["addresses"] if address not in others]
            if wanted and wanted not in free:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"annotation {ADDRESS}: {wanted} is not free; free are {', '.join(free)}")
            if not free:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this cloud has no address left")
            balancer["address"] = wanted or balancer.get("address") or free[0]
            balancer["ports"] = [port.port for port in service.spec.ports]
            balancer["nodes"] = [node.metadata.name for node in request.nodes]
            self.write(cloud)
        answer = api.LoadBalancer()
        answer.status.ingress.add(ip=balancer["address"])
        if any(port.protocol == "UDP" for port in service.spec.ports):
            answer.limitations.append("this cloud balances no UDP")
        return answer

    def read(self):
        return {"machines": {}, "addresses": [], "balancers": {}, **json.loads(self.file.read_text())}

    def write(self, cloud):
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(cloud, indent=2))
        fresh.replace(self.file)


class OnlyWithToken(grpc.ServerInterceptor):
    """Whoever does not show the token is refused."""

    def __init__(self, token: str) -> None:
        self.wanted = f"Bearer {token}"
        self.refusal = grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token"))

    def intercept_service(self, continuation, details):
        shown = next((value for name, value in details.invocation_metadata if name == "authorization"), "")
        return continuation(details) if hmac.compare_digest(shown, self.wanted) else self.refusal


def main() -> None:
    parser = argparse.ArgumentParser(description="An example of a cloud provider for Knarr.")
    for name in ("listen", "cert", "key", "token", "cloud"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    token = OnlyWithToken(Path(options.token).read_text().strip())
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), interceptors=[token])
    api_grpc.add_CloudProviderServiceServicer_to_server(Provider(Path(options.cloud)), server)
    tls = grpc.ssl_server_credentials([(Path(options.key).read_bytes(), Path(options.cert).read_bytes())])
    server.add_secure_port(options.listen, tls)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
