"""Control groups: what pods, classes of service and all pods together may use of the machine."""
