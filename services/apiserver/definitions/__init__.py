"""What custom resources are defined, and what follows: their names, that they are served, and that their objects go with them."""
