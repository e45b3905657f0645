"""The life cycle of any registered model: registry, promotion ledger, gates, review. MLflow yes, Airflow never."""
