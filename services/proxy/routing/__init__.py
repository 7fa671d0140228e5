"""The proxy's pure heart: Services and EndpointSlices in, a routing table and its changes out."""
