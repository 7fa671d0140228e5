"""Keep-alive requests through a datapath and through HAProxy, to the same three backends, in one run.

Everything runs in network and process namespaces of its own, which end with the run. `python -m bench.datapaths userspace` shows one run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from services.proxy.datapath.port import Datapath
from services.proxy.routing.table import Change, Endpoint, Route, RouteKey
from services.proxy.service import make_datapath
from services.proxy.settings import ProxySettings

CLUSTER_IP, PORT = "10.96.0.10", 80
BACKENDS = ("10.244.0.11", "10.244.0.12", "10.244.0.13")
BACKEND_PORT = 8080
PEER_ADDRESS, PEER_PORT = "192.0.2.1", 8080
CONNECTIONS = 32
ROUNDS = 3
SECONDS = 2
TIMEOUT_SECONDS = 90
TOOLS = ("wrk", "nginx", "haproxy", "unshare", "ip")

NGINX = """daemon off; worker_processes 1; pid {directory}/{address}.pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {directory}; proxy_temp_path {directory};
fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
server {{ listen {address}:{port} backlog=4096; location / {{ return 200 "{address}"; }} }} }}
"""
HAPROXY = """global
  nbthread 1
  maxconn 4096
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind {address}:{port}
  default_backend back
backend back
  balance roundrobin
{servers}
"""


async def run(datapath: str) -> dict[str, float]:
    """``requests_per_second`` of ours, ``haproxy_requests_per_second`` of the peer, ``ratio``; RuntimeError when it cannot be measured."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=_path()) is None]
    if missing:
        raise RuntimeError(f"missing for this measure: {', '.join(missing)}")
    child = await asyncio.create_subprocess_exec(
        "unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
        sys.executable, "-m", "bench.datapaths", datapath, "--inside",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "PATH": _path()},
    )  # fmt: skip
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            output, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise RuntimeError(f"the measure failed: {errors.decode().strip()[-2000:]}")
    measured: dict[str, float] = json.loads(output)
    return measured


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


async def _inside(name: str) -> dict[str, float]:
    for command in ("link set lo up", "route add unreachable 10.96.0.0/16 metric 4100000000", f"addr add {PEER_ADDRESS}/32 dev lo"):
        await _command("ip", *command.split())
    for address in BACKENDS:
        await _command("ip", "addr", "add", f"{address}/32", "dev", "lo")
    with tempfile.TemporaryDirectory() as directory:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(_servers(Path(directory)))
            await stack.enter_async_context(_programmed(make_datapath(ProxySettings(datapath=name, instance="bench"))))
            for address, port in (*((backend, BACKEND_PORT) for backend in BACKENDS), (PEER_ADDRESS, PEER_PORT), (CLUSTER_IP, PORT)):
                await _answers(address, port)
            ours, peer = [], []
            for _ in range(ROUNDS):
                ours.append(await _wrk(CLUSTER_IP, PORT))
                peer.append(await _wrk(PEER_ADDRESS, PEER_PORT))
    value, peer_value = statistics.median(ours), statistics.median(peer)
    return {"requests_per_second": value, "haproxy_requests_per_second": peer_value, "ratio": value / peer_value}


@contextlib.asynccontextmanager
async def _programmed(datapath: Datapath) -> AsyncIterator[None]:
    endpoints = tuple(Endpoint(address, BACKEND_PORT) for address in BACKENDS)
    await datapath.start()
    try:
        await datapath.apply(Change(added=(Route(RouteKey("bench", "bench", ""), "tcp", (CLUSTER_IP,), PORT, 0, endpoints),)))
        yield
    finally:
        await datapath.close()


@contextlib.asynccontextmanager
async def _servers(directory: Path) -> AsyncIterator[None]:
    commands: list[tuple[str, ...]] = []
    for address in BACKENDS:
        path = directory / f"{address}.conf"
        path.write_text(NGINX.format(directory=directory, address=address, port=BACKEND_PORT))
        commands.append(("nginx", "-c", str(path), "-p", str(directory)))
    servers = "\n".join(f"  server s{number} {address}:{BACKEND_PORT}" for number, address in enumerate(BACKENDS))
    haproxy = directory / "haproxy.cfg"
    haproxy.write_text(HAPROXY.format(address=PEER_ADDRESS, port=PEER_PORT, servers=servers))
    commands.append(("haproxy", "-db", "-f", str(haproxy)))
    children = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL) for command in commands]
    try:
        yield
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        for child in children:
            await child.wait()


async def _answers(address: str, port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                reader, writer = await asyncio.open_connection(address, port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            if b"200" not in answer:
                raise RuntimeError(f"{address}:{port} answers {answer!r}")
            return


async def _wrk(address: str, port: int) -> float:
    output = await _command("wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", f"http://{address}:{port}/")
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None:
        raise RuntimeError(f"wrk said: {output}")
    return float(found.group(1))


async def _command(*command: str) -> str:
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await child.communicate()
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {output.decode().strip()}")
    return output.decode()


def main() -> None:
    """Measures one datapath and prints what was found as JSON."""
    import uvloop

    name = sys.argv[1]
    print(json.dumps(uvloop.run(_inside(name) if "--inside" in sys.argv else run(name))))


if __name__ == "__main__":
    main()
