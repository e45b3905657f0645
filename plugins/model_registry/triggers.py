"""The path under which triggers that wait since before a release were stored in Airflow's database."""

from model_registry.approval.triggers import ModelApprovalTrigger

__all__ = ["ModelApprovalTrigger"]
