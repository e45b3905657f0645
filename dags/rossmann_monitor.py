"""Airflow: watch the live error of the Rossmann forecast."""

from model_registry.pipelines import monitor_dag

dag = monitor_dag("rossmann")
