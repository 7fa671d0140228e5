"""Other name servers, asked over UDP and TCP."""

import dns._features

# dnspython takes a client of HTTP with it where one is installed, for what is never asked here: 5 MB, and a tenth of a start's imports.
dns._features.force("doh", False)
