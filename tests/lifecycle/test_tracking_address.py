"""Where MLflow is: what of all that people write works, and what is said of the rest."""

import pytest

from include.lifecycle.errors import BadInputError
from include.lifecycle.tracking_address import tracking_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("http://mlflow:5000/", "http://mlflow:5000"),
        (" http://mlflow:5000/ml/flow/ \n", "http://mlflow:5000/ml/flow"),
        ('"https://mlflow.example.com"', "https://mlflow.example.com"),
        ("' HTTPS://mlflow.example.com '", "https://mlflow.example.com"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("http://me:s3c%2Fret@mlflow", "http://me:s3c%2Fret@mlflow"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("SQLite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("postgresql://me:pw@db/mlflow", "postgresql://me:pw@db/mlflow"),
        ("mysql+pymysql://me:pw@db/mlflow", "mysql+pymysql://me:pw@db/mlflow"),
    ],
)
def test_what_works(text: str, address: str) -> None:
    assert tracking_address(text) == address
    assert tracking_address(address) == address


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "is not set"),
        ('" "', "is not set"),
        ("localhost:5000", "write http://localhost:5000"),
        ("localhost", "write http://localhost"),
        ("mlflow:5000/path", "write http://mlflow:5000/path"),
        ("127.0.0.1:5000", "write http://127.0.0.1:5000"),
        ("./mlruns", "mlflow migrate-filestore"),
        ("/srv/mlruns", "mlflow migrate-filestore"),
        ("mlflow.example.com", "write http://HOST:PORT"),
        ("file:///srv/mlruns", "mlflow migrate-filestore"),
        ("http:/mlflow:5000", "write http://HOST:PORT"),
        ("http//mlflow:5000", "write http://HOST:PORT"),
        ("htp://mlflow:5000", "must be http, https, sqlite"),
        ("s3://bucket/mlflow", "must be http, https, sqlite"),
        ("postgres://me:s3cret@db/mlflow", "write postgresql://"),
        ("databricks", "Databricks"),
        ("databricks://profile", "Databricks"),
        ("databricks-uc", "Databricks"),
        ("uc:http://mlflow", "Databricks"),
        ("sqlite://", "sqlite:////FOLDER/mlflow.db"),
        ("sqlite:///", "sqlite:////FOLDER/mlflow.db"),
        ("sqlite:///:memory:", "sqlite:////FOLDER/mlflow.db"),
        ("sqlite://mlflow.db", "sqlite:////FOLDER/mlflow.db"),
        ("sqlite:////tmp", "a folder: name a file in it"),
        ("http://", "expected a host"),
        ("http://mlflow:99999", "a port from 1 to 65535"),
        ("http://mlflow:port", "a port from 1 to 65535"),
        ("http://ml flow", "expected a host"),
        ("http://[::1", "expected a host"),
        ("http://mlflow:5000/#/experiments/1", "leave out what begins with ? or #"),
        ("http://mlflow:5000?x=1", "leave out what begins with ? or #"),
        ("http://me:s3cret/x@mlflow", "%2F"),
        ("http://me:s3cret#x@mlflow", "%2F"),
    ],
)
def test_what_does_not_work_and_what_to_write(text: str, remedy: str) -> None:
    with pytest.raises(BadInputError) as refused:
        tracking_address(text)
    assert remedy in str(refused.value)
    assert str(refused.value).startswith("MLFLOW_TRACKING_URI is ")
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)
