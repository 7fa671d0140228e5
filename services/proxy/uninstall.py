"""``python -m services.proxy.uninstall``: removes what a proxy leaves on its node, also one that was killed."""

from __future__ import annotations

import argparse

from knarr.service.options import cidr, optional_cidr
from services.proxy.cleanup import remove_everything
from services.proxy.podnetwork.plan import AUTO
from services.proxy.settings import ProxySettings


def main() -> int:
    fresh = ProxySettings()
    parser = argparse.ArgumentParser(prog="python -m services.proxy.uninstall", description="Remove what a proxy left on this node.")
    parser.add_argument("--service-cidr", default=fresh.service_cidr, type=cidr, metavar="CIDR", help="as the proxy was given it")
    parser.add_argument("--cluster-cidr", default=fresh.pod_cidr, type=cidr, metavar="CIDR", help="as the proxy was given it")
    parser.add_argument("--load-balancer-cidr", default="", type=optional_cidr, metavar="CIDR", help="as the proxy was given it")
    parser.add_argument("--instance", default="", help="as the proxy was given it")
    arguments = parser.parse_args()
    remove_everything(
        ProxySettings(
            instance=arguments.instance,
            service_cidr=arguments.service_cidr,
            pod_cidr=arguments.cluster_cidr,
            load_balancer_cidr=arguments.load_balancer_cidr,
            pod_network=AUTO,
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
