"""Airflow: retrain the Rossmann forecast every night, three boosters side by side."""

from model_registry.pipelines import retrain_dag

BOOSTERS = ("lightgbm", "xgboost", "catboost")

dag = retrain_dag(
    "rossmann",
    [
        {"features": ["prepare"]},
        {f"train_{booster}": ["train", "--member", booster] for booster in BOOSTERS},
        {"ensemble": ["combine"]},
    ],
    about="training matrix; one booster each (unchanged folds are kept); the blend",
    backtest=True,
)
