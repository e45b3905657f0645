"""What the DAGs run: the model life cycle and the Rossmann forecast. Nothing in here imports Airflow."""
