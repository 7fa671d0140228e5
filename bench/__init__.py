"""Measurements: each a ratio to a peer or to the engine, in one run where the peer can run here."""
