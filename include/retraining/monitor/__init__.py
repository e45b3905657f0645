"""Monitoring of the version in Production: live error, drift, missing data, and the alarms that ask for a retrain.

Everything here is a pure function of frames and of the alarms' state. ``watch.watch`` judges one night.
"""
