"""``python -m knarr.service.healthcheck HOST:PORT --ca FILE``: does a component serve?

Exit code 0 when it says SERVING, 1 with one line of reason otherwise; for whoever watches processes.
"""

from __future__ import annotations

import argparse
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from knarr.service.options import address, readable_file, seconds


def check(target: str, ca_certificate: bytes, timeout_seconds: float) -> str:
    """What the component says of itself: ``SERVING``, ``NOT_SERVING``; raises grpc.RpcError when it does not answer."""
    with grpc.secure_channel(target, grpc.ssl_channel_credentials(ca_certificate)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_seconds)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m knarr.service.healthcheck", description="Ask a component for its health.")
    parser.add_argument("address", type=address, metavar="HOST:PORT")
    parser.add_argument("--ca", type=readable_file, required=True, metavar="FILE", help="certificate of the cluster's CA, PEM")
    parser.add_argument("--timeout", type=seconds, default=3.0, metavar="SECONDS", help="(default: %(default)s)")
    arguments = parser.parse_args()
    try:
        said = check(arguments.address, arguments.ca.read_bytes(), arguments.timeout)
    except grpc.RpcError as error:
        said = f"{error.code().name}: {error.details()}"
    print(f"{arguments.address} {said}", file=sys.stderr if said != "SERVING" else sys.stdout)
    return 0 if said == "SERVING" else 1


if __name__ == "__main__":
    raise SystemExit(main())
