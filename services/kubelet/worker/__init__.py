"""A worker for each pod, and the manager that passes changes on to them."""
