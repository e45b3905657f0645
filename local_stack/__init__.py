"""A local Airflow and MLflow for trying the package out: what ``make run`` starts.

Nothing here imports Airflow or MLflow: both run as processes of their own and are spoken to over HTTP.
"""
