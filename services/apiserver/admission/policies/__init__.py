"""What both policy plugins stand on: policies with their bindings, compiled; their parameters; which of them a request is about."""
