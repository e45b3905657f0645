"""In Airflow's API server: who marked what, entered in the ledger; sent later where MLflow was away."""
