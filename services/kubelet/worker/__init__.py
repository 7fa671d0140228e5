"""A worker for each pod, and the manager that leads changes to them."""
