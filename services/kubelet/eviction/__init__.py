"""A node that runs short protects itself: what is short, what is given up for it, and who is ended."""
