"""What another team schedules on a promotion."""

import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from model_registry.assets import production_asset

with DAG(
    dag_id="on_promotion",
    schedule=[production_asset("rossmann-ensemble")],
    start_date=pendulum.datetime(2026, 1, 1),
    is_paused_upon_creation=False,
):
    EmptyOperator(task_id="serve")
