"""The machine: the Node object, its Lease, its images, files and mounts."""
