"""Provider ``aws``: EC2 instances behind the nodes, network load balancers for Services, VPC routes to pods.

``wish`` says what a Service should have, ``observe`` reads what is there, ``decide`` answers the steps between the two without I/O,
``execute`` takes them. All calls go through ``api``: boto3 in a few threads, errors in our words. boto3 is imported when this provider is
chosen.
"""
