"""Calling webhooks: who is meant, and the call itself; what is asked and what an answer means is the caller's affair."""
