"""The review of a candidate: what a person reads before a version goes into Production."""
