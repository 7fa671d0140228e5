"""A plain TLS relay, as one writes it in ten lines, the peer of port-forwards: ``python -m bench.relay CERT KEY PORT HOST PORT``."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys

PIECE_BYTES = 1 << 16


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(certificate: str, key: str, port: str, host: str, to: str) -> None:
    """Until it is killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        out_reader, out_writer = await asyncio.open_connection(host, int(to))
        await asyncio.gather(_copy(reader, out_writer), _copy(out_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", int(port), ssl=context)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
