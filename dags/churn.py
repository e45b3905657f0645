"""Airflow: the DAGs of the churn model, the worked example of a second model."""

from model_registry.pipelines import maintenance_dag, monitor_dag, predict_dag, retrain_dag, rollback_dag

NAME = "churn"

retrain = retrain_dag(NAME, [{"train": ["train", "--member", "model"]}])
predict = predict_dag(NAME)
monitor = monitor_dag(NAME)
rollback = rollback_dag(NAME)
maintenance = maintenance_dag(NAME)
