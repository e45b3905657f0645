"""Airflow: predict with the Rossmann forecast every night."""

from model_registry.pipelines import predict_dag

dag = predict_dag("rossmann")
