"""Provider ``local``: load-balancer addresses without a cloud.

``pool`` says which addresses there are, ``decide`` which one a Service gets and which node answers for it; the proxies do the rest. Nothing
is kept elsewhere: an address is a Service's while its status says so.
"""
