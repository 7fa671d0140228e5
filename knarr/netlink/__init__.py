"""The kernel's netlink: its messages as bytes, and links, addresses, routes and neighbours through it."""
