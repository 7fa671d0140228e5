"""Knarr."""

import os

# gRPC reads this when it is imported. What it would write by itself anybody causes who speaks no TLS to one of its ports, a line each time.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
