"""Files of MLflow runs: the newest about a model, whoever else writes into the same experiment."""

from mlflow import MlflowClient

from include.lifecycle.registry.stored_file import newest_artifact


def night(client: MlflowClient, experiment: str, model: str, text: str, status: str = "FINISHED") -> None:
    run_id = client.create_run(experiment, tags={"model": model}).info.run_id
    client.log_text(run_id, text, "page.html")
    client.set_terminated(run_id, status)


def test_runs_about_other_models_hide_no_page(mlflow_uri: str) -> None:
    client = MlflowClient(mlflow_uri)
    experiment = client.create_experiment("nights")
    night(client, experiment, "demand", "first")
    night(client, experiment, "demand", "second")
    night(client, experiment, "demand", "broken", "FAILED")
    for number in range(20):
        night(client, experiment, "other", f"other {number}")
    assert newest_artifact(client, "nights", "demand", "page.html") == b"second"
    assert newest_artifact(client, "nights", "nobody", "page.html") is None
    assert newest_artifact(client, "days", "demand", "page.html") is None
