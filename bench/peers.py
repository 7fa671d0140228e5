"""What a datapath is measured beside: HAProxy and nginx's stream module, one thread each, before the same backends."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TOOLS = ("nginx", "haproxy", "iperf3")
BACKENDS = ("10.244.0.11", "10.244.0.12", "10.244.0.13")
BACKEND_PORT = 8080
# One backend for a flow of two connections that must meet.
FLOW_BACKEND, FLOW_PORT = "10.244.0.11", 5201
ADDRESSES = {"haproxy": "192.0.2.1", "nginx": "192.0.2.2"}
STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"

BACKEND = """daemon off; worker_processes 1; worker_rlimit_nofile 16384; pid {directory}/{address}.pid; error_log stderr crit;
events {{ worker_connections 16384; }}
http {{ access_log off; keepalive_requests 1000000000; client_header_timeout 300s; client_body_temp_path {directory};
proxy_temp_path {directory}; fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
server {{ listen {address}:{port} backlog=8192; location / {{ return 200 "{address}"; }} }} }}
"""
NGINX = """{module}daemon off; worker_processes 1; worker_rlimit_nofile 19000; pid {directory}/stream.pid; error_log stderr crit;
events {{ worker_connections 18000; }}
stream {{ access_log off; proxy_connect_timeout 5s; proxy_timeout 300s;
upstream back {{ {servers} }}
upstream flow {{ server {flow_backend}:{flow_port}; }}
server {{ listen {address}:{port} backlog=8192; proxy_pass back; }}
server {{ listen {address}:{flow_port} backlog=8192; proxy_pass flow; }} }}
"""
HAPROXY = """global
  nbthread 1
  maxconn 8192
defaults
  mode tcp
  maxconn 8192
  timeout connect 5s
  timeout client 300s
  timeout server 300s
listen main
  bind {address}:{port} backlog 8192
  balance roundrobin
{servers}
listen flow
  bind {address}:{flow_port}
  server one {flow_backend}:{flow_port}
"""


@dataclass(frozen=True, slots=True)
class Peers:
    """The running peers: address and process of each."""

    processes: Mapping[str, int]

    def resident_bytes(self, name: str) -> int:
        """Memory of a peer and its workers."""
        return sum(resident_bytes(process) for process in (self.processes[name], *_children(self.processes[name])))


@contextlib.asynccontextmanager
async def running(directory: Path, port: int) -> AsyncIterator[Peers]:
    """Backends and peers, which listen on ``port`` of their addresses. Their logs go to our standard error."""
    commands = {f"backend {address}": _nginx(directory, address, _backend(directory, address)) for address in BACKENDS}
    commands["haproxy"] = ("haproxy", "-db", "-f", str(_write(directory / "haproxy.cfg", _haproxy(port))))
    commands["nginx"] = _nginx(directory, "stream", _stream(directory, port))
    commands["iperf3"] = ("iperf3", "-s", "-B", FLOW_BACKEND, "-p", str(FLOW_PORT))
    null = asyncio.subprocess.DEVNULL
    children = {name: await asyncio.create_subprocess_exec(*words, stdout=null) for name, words in commands.items()}
    try:
        yield Peers({name: child.pid for name, child in children.items()})
    finally:
        for child in children.values():
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        for child in children.values():
            await child.wait()


def resident_bytes(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _children(process: int) -> Sequence[int]:
    """Each ``/proc/PID/stat`` tells the parent as the second word after the name, which stands in parentheses."""
    found = [(int(path.parent.name), path.read_text().rpartition(")")[2].split()) for path in Path("/proc").glob("[0-9]*/stat")]
    return [child for child, words in found if int(words[1]) == process]


def _backend(directory: Path, address: str) -> str:
    return BACKEND.format(directory=directory, address=address, port=BACKEND_PORT)


def _stream(directory: Path, port: int) -> str:
    module = f"load_module {STREAM_MODULE};\n" if Path(STREAM_MODULE).exists() else ""
    servers = " ".join(f"server {address}:{BACKEND_PORT};" for address in BACKENDS)
    return NGINX.format(
        module=module, directory=directory, servers=servers, address=ADDRESSES["nginx"], port=port,
        flow_backend=FLOW_BACKEND, flow_port=FLOW_PORT,
    )  # fmt: skip


def _haproxy(port: int) -> str:
    servers = "\n".join(f"  server s{number} {address}:{BACKEND_PORT}" for number, address in enumerate(BACKENDS))
    return HAPROXY.format(address=ADDRESSES["haproxy"], port=port, servers=servers, flow_backend=FLOW_BACKEND, flow_port=FLOW_PORT)


def _nginx(directory: Path, name: str, config: str) -> tuple[str, ...]:
    return "nginx", "-c", str(_write(directory / f"{name}.conf", config)), "-p", str(directory)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
