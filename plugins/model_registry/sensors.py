"""The approval sensor, where users of Airflow look for sensors; it is part of ``model_registry.approval``."""

from model_registry.approval.sensors import ModelApprovalSensor

__all__ = ["ModelApprovalSensor"]
