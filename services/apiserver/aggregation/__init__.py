"""API servers of others behind this one: what is asked of a group version that an APIService gives to a Service goes there."""
