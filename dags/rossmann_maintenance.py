"""Airflow: the weekly upkeep of the Rossmann forecast's versions."""

from model_registry.pipelines import maintenance_dag

dag = maintenance_dag("rossmann")
