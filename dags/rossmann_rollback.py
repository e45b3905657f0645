"""Airflow: put a former version of the Rossmann forecast back."""

from model_registry.pipelines import rollback_dag

dag = rollback_dag("rossmann")
