"""What both webhook plugins stand on: configurations, compiled; the review that is sent; the call."""
