"""Airflow faces of the model life cycle: hook, operators, sensor, trigger, link. For any registered model."""
