"""Operators of a model version: to a stage, back, kept in order, and what became of an approval."""

from model_registry.operators.after_approval import ConfirmPromotionOperator, RecordDecisionOperator
from model_registry.operators.maintenance import ModelReconcileOperator, ModelRetentionOperator
from model_registry.operators.rollback import ModelRollbackOperator, RollbackApprovalOperator
from model_registry.operators.stage import ModelStageOperator

__all__ = [
    "ConfirmPromotionOperator",
    "ModelReconcileOperator",
    "ModelRetentionOperator",
    "ModelRollbackOperator",
    "ModelStageOperator",
    "RecordDecisionOperator",
    "RollbackApprovalOperator",
]
