"""What ``knarr audit`` looks at, a file for each thing that is looked at."""
