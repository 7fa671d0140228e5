"""A scheduler extender in nothing but Python's own library: nodes that are listed in a file are left out, others by name are better."""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar


class Extender(BaseHTTPRequestHandler):
    # Names of nodes, one a line; read anew for each question.
    closed: ClassVar[Path]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answers = {"/filter": self.filter, "/prioritize": self.prioritize}
        answer = answers.get(self.path)
        body = json.dumps(answer(question["NodeNames"])).encode() if answer is not None else b""
        self.send_response(200 if answer is not None else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def filter(self, names: list[str]) -> dict[str, Any]:
        """Which nodes will do, and why the others will not."""
        closed = set(self.closed.read_text().split()) if self.closed.exists() else set()
        return {
            "NodeNames": [name for name in names if name not in closed],
            "FailedNodes": {name: "node(s) were closed" for name in names if name in closed},
        }

    def prioritize(self, names: list[str]) -> list[dict[str, Any]]:
        """Up to ten points a node; here the first by name is the best."""
        return [{"Host": name, "Score": max(10 - place, 0)} for place, name in enumerate(sorted(names))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8888)
    parser.add_argument("--closed", type=Path, default=Path("closed"), help="file with the names of nodes that are left out")
    arguments = parser.parse_args()
    Extender.closed = arguments.closed
    ThreadingHTTPServer(("127.0.0.1", arguments.port), Extender).serve_forever()


if __name__ == "__main__":
    main()
