"""One exchange of HTTP with another server: bytes over a connection, a request that is passed on, its answer piece by piece."""
