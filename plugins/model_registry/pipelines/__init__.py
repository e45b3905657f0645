"""The DAGs of any model: each function makes one, so that a model's DAG file is a call."""

from model_registry.pipelines.maintenance import maintenance_dag
from model_registry.pipelines.monitor import monitor_dag
from model_registry.pipelines.predict import predict_dag
from model_registry.pipelines.retrain import Layer, retrain_dag
from model_registry.pipelines.rollback import rollback_dag

__all__ = ["Layer", "maintenance_dag", "monitor_dag", "predict_dag", "retrain_dag", "rollback_dag"]
