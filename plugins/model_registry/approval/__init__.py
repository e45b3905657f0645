"""The wait for a person: what is asked, the sensor, its trigger, the policy."""
