"""The hook: which server a connection describes, and that no credential shows."""

import base64
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.lifecycle.environment import OF_ANOTHER_RUN
from include.lifecycle.errors import ReportedError
from include.lifecycle.ledger.limits import CLIENT_LIMITS
from include.lifecycle.moves.model_registry import ModelRegistry
from model_registry.hooks import MLflowRegistryHook
from tests.plugins.gates import Gate, gate_before
from tests.registry_server import add_version

Connect = Callable[..., None]


@pytest.mark.parametrize(
    ("fields", "uri"),
    [
        ({"host": "mlflow", "port": 5000}, "http://mlflow:5000"),
        ({"host": "mlflow", "schema": "https"}, "https://mlflow"),
        ({"host": "https://mlflow.example.com/"}, "https://mlflow.example.com"),
        ({"host": "https://mlflow.example.com/base", "port": 8443}, "https://mlflow.example.com:8443/base"),
        ({"host": "mlflow", "extra": {"path": "/ml/flow/"}}, "http://mlflow/ml/flow"),
        ({"host": "http://[::1]", "port": 5000}, "http://[::1]:5000"),
        ({"host": "::1", "port": 5000}, "http://[::1]:5000"),
        ({"host": "mlflow", "schema": "HTTPS"}, "https://mlflow"),
        ({"host": "mlflow", "schema": "https", "conn_type": "https"}, "https://mlflow"),
        ({"host": "mlflow", "schema": " https:// "}, "https://mlflow"),
        ({"host": "HTTPS://mlflow"}, "https://mlflow"),
        ({"host": "mlflow", "schema": "flow", "conn_type": "https"}, "https://mlflow/flow"),
        ({"host": "mlflow:5000", "port": 5000}, "http://mlflow:5000"),
        ({"host": "mlflow_1", "schema": "http"}, "http://mlflow_1"),
    ],
)
def test_the_tracking_uri_is_what_the_connection_says(connect: Connect, fields: dict[str, object], uri: str) -> None:
    connect("mlflow_default", **fields)
    assert MLflowRegistryHook().tracking_uri == uri


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": "mlflow", "extra": {"tokn": "x", "verify": True}}, "unknown extras tokn, verify"),
        ({}, "has no host"),
        ({"host": "ftp://mlflow"}, "https, found 'ftp'"),
        ({"host": "mlflow", "schema": "htps"}, "https, found 'htps'"),
        ({"host": "me:secret@mlflow"}, "into their own fields"),
        ({"host": "mlflow", "extra": {"tls_verify": 1}}, "tls_verify must be"),
        ({"host": "http://me:secret@mlflow"}, "into their own fields"),
        ({"host": "mlflow", "extra": {"tls_verify": "no"}}, "tls_verify must be"),
        ({"host": "mlflow", "extra": {"tls_verify": False, "ca_bundle": "/ca.pem"}}, "not both"),
        ({"host": "mlflow", "extra": {"ca_bundle": "/nowhere/ca.pem"}}, "'/nowhere/ca.pem' here"),
        ({"host": "http://mlflow", "schema": "https"}, "says http, another https"),
        ({"host": "http://mlflow", "conn_type": "https"}, "says http, another https"),
        ({"host": "mlflow", "schema": "http", "conn_type": "https"}, "says http, another https"),
        ({"host": "mlflow", "schema": "https/path"}, "https, found 'https/path'"),
        ({"host": "https:/mlflow"}, "host 'https:' is none"),
        ({"host": "//mlflow"}, "host '' is none"),
        ({"host": "ml flow"}, "'ml flow' is none"),
        ({"host": "mlflow#x"}, "host 'mlflow#x' is none"),
        ({"host": "mlflow/a?b"}, "must hold no '\\?'"),
        ({"host": "mlflow", "extra": {"path": "a b"}}, "must hold no ' '"),
        ({"host": "mlflow", "extra": {"path": ["a"]}}, "path must be text"),
        ({"host": "mlflow:5000", "port": 6000}, "from 1 to 65535, found 5000 and 6000"),
        ({"host": "mlflow", "port": 70000}, "from 1 to 65535, found 70000"),
        ({"host": "mlflow:0"}, "from 1 to 65535, found 0"),
        ({"host": "mlflow", "extra": "nonsense"}, "must be a JSON object"),
        ({"host": "mlflow", "extra": {"ui_url": "javascript:alert(1)"}}, "ui_url must be"),
        ({"host": "mlflow", "extra": {"ui_url": "mlflow.example.com"}}, "ui_url must be"),
        ({"host": "mlflow", "extra": {"ui_url": "https://me:secret@mlflow"}}, "ui_url must be"),
        ({"host": "mlflow", "login": "me", "password": "secret", "extra": {"token": "secret"}}, "not both"),
        ({"host": "mlflow", "password": "secret"}, "a password and no login"),
    ],
)
def test_a_wrong_connection_is_named(connect: Connect, fields: dict[str, object], message: str) -> None:
    connect("mlflow_default", **fields)
    with pytest.raises(ValueError, match=message) as raised:
        _ = MLflowRegistryHook().tracking_uri
    assert "mlflow_default" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://me:pw@ml.example.com", "https://ml.example.com"),
        ("https://me:pw@ml.example.com:8443/base/path", "https://ml.example.com:8443/base/path"),
        ("https://me:pw@ml.example.com/base?path=more", "https://ml.example.com/base/more"),
        ("https://[2001:db8::1]:5000", "https://[2001:db8::1]:5000"),
        ("http://me:pw@mlflow:5000", "http://mlflow:5000"),
        ("http://me:pw@mlflow:5000/https", "https://mlflow:5000"),
        ("http://mlflow:5000/ml/flow", "http://mlflow:5000/ml/flow"),
        ("HTTPS://ml.example.com/", "https://ml.example.com"),
        ("https://ml.example.com/a%2Fb", "https://ml.example.com/a/b"),
        ("http://https%3A%2F%2Fml.example.com", "https://ml.example.com"),
    ],
)
def test_a_uri_means_what_it_says(monkeypatch: pytest.MonkeyPatch, uri: str, expected: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", uri)
    assert MLflowRegistryHook().tracking_uri == expected


@pytest.mark.parametrize("uri", ["https://me:pw@ml.example.com/http", "http://me:pw@http%3A%2F%2Fml.example.com/https"])
def test_a_uri_that_says_both_goes_nowhere_in_clear(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", uri)
    with pytest.raises(ValueError, match="says http, another https"):
        _ = MLflowRegistryHook().tracking_uri


@pytest.mark.parametrize(("text", "verified"), [("true", True), ("false", False), ("False", False)])
def test_a_uri_has_true_and_false_as_text(monkeypatch: pytest.MonkeyPatch, text: str, verified: bool) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", f"https://ml.example.com?tls_verify={text}")
    assert MLflowRegistryHook().server.tls_verify is verified


def test_the_constructor_contacts_nothing_and_reads_no_connection() -> None:
    MLflowRegistryHook("a connection that does not exist")


def test_the_environment_of_a_child_process(connect: Connect, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    connect("mlflow_default", host="mlflow", login="me", password="pw-of-mlflow", extra={"tls_verify": False})
    assert MLflowRegistryHook().environment() == {
        "MLFLOW_TRACKING_URI": "http://mlflow",
        "MLFLOW_REGISTRY_URI": "http://mlflow",
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": "pw-of-mlflow",
        "MLFLOW_TRACKING_INSECURE_TLS": "true",
    }
    connect("other", host="mlflow", extra={"token": "t0ken-of-mlflow", "ca_bundle": str(bundle)})
    other = MLflowRegistryHook("other")
    assert other.environment()["MLFLOW_TRACKING_TOKEN"] == "t0ken-of-mlflow"
    assert other.environment()["MLFLOW_TRACKING_SERVER_CERT_PATH"] == str(bundle)
    assert "t0ken" not in repr(other.server)


def test_the_registry_takes_its_credentials_from_the_connection_and_leaves_none_behind(
    mlflow: str, mlflow_url: str, connect: Connect, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere.else")
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    connect("mlflow_default", host=mlflow_url, login="me", password="pw-of-mlflow")
    version = add_version(mlflow, model)
    with MLflowRegistryHook().registry() as registry:
        assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
        assert registry.version(model, version).stage == "None"
    assert "MLFLOW_TRACKING_USERNAME" not in os.environ
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://somewhere.else"


@pytest.mark.parametrize("door", ["registry", "registry_beside_others"])
def test_a_login_of_the_process_is_not_sent_to_the_server_of_a_connection(
    mlflow_url: str, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, door: str
) -> None:
    for name, value in (("USERNAME", "worker"), ("PASSWORD", "pw-of-the-worker"), ("INSECURE_TLS", "true")):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    connect("mlflow_default", host=mlflow_url, extra={"token": "t0ken-of-mlflow", "ca_bundle": str(bundle)})
    with getattr(MLflowRegistryHook(), door)() as registry:
        for client in (registry.client._tracking_client, registry.client._get_registry_client()):
            found = client.store.get_host_creds()
            assert (found.username, found.password, found.token) == (None, None, "t0ken-of-mlflow")
            assert (found.ignore_tls_verification, found.verify) == (False, str(bundle))
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "pw-of-the-worker"


def test_the_login_and_the_trust_of_a_connection_reach_its_client(connect: Connect) -> None:
    connect("mlflow_default", host="https://mlflow", login="me", password="pw-of-mlflow", extra={"tls_verify": False})
    with MLflowRegistryHook().registry_beside_others() as registry:
        found = registry.client._tracking_client.store.get_host_creds()
    assert (found.host, found.username, found.password) == ("https://mlflow", "me", "pw-of-mlflow")
    assert found.verify is False


def test_time_limits_that_an_operator_set_hold(
    mlflow_url: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    connect("mlflow_default", host=mlflow_url)
    with MLflowRegistryHook().registry():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == CLIENT_LIMITS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_each_server_is_sent_its_own_login(
    gate: Gate,
    connect: Connect,
    mlflow: str,
    mlflow_url: str,
    model: str,
    beside: Any,
    patient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "of-the-process")
    ModelRegistry(tracking_uri=mlflow).stage(model, add_version(mlflow, model))

    def read(conn_id: str) -> None:
        for number in range(2):
            with MLflowRegistryHook(conn_id).registry_beside_others() as registry:
                state = registry.ledger(model).read()
                registry.ledger(model).texts.keep(f"a long reason {number}")
                registry.client.log_text(state.run_id, "some text", f"{conn_id}.txt")
                registry.client.download_artifacts(state.run_id, f"{conn_id}.txt")
                assert f"{conn_id}.txt" in {item.path for item in registry.client.list_artifacts(state.run_id)}
                assert registry.versions(model)

    with gate_before(mlflow_url) as first:
        host, port = first.address
        connect("mlflow_a", host=host, port=port, extra={"token": "t0ken-of-a"})
        for read_by in [beside(read, conn_id) for conn_id in ("mlflow_a", "mlflow_b")]:
            read_by.result(120)
        assert first.logins == {"Bearer t0ken-of-a"}
    assert gate.logins == {f"Basic {base64.b64encode(b'bob:pw-of-b').decode()}"}
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "of-the-process"


def test_only_files_wait_for_files_of_another_server(
    gate: Gate, mlflow: str, model: str, beside: Any, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.lifecycle.environment.PATIENCE_SECONDS", 0.2)
    ModelRegistry(tracking_uri=mlflow).stage(model, add_version(mlflow, model))
    run_id = ModelRegistry(tracking_uri=mlflow).ledger(model).read().run_id

    def files(conn_id: str) -> Any:
        with MLflowRegistryHook(conn_id).registry_beside_others() as registry:
            return registry.client.list_artifacts(run_id)

    gate.close()
    held_up = beside(files, "mlflow_b")
    assert gate.came.wait(30)
    with MLflowRegistryHook().registry_beside_others() as registry:
        assert registry.ledger(model).read().entries
        with pytest.raises(ReportedError, match="Other threads"):
            registry.client.list_artifacts(run_id)
        gate.open()
        held_up.result(60)
        assert registry.client.list_artifacts(run_id) == []


def test_test_connection_tells_in_a_sentence(
    mlflow: str, mlflow_url: str, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert MLflowRegistryHook().test_connection() == (True, f"MLflow at {mlflow_url} answers")
    connect("mlflow_default", host="127.0.0.1", port=9, login="me", password="pw-of-mlflow")
    answered, sentence = MLflowRegistryHook().test_connection()
    assert (answered, sentence) == (False, "MLflow at http://127.0.0.1:9 does not answer: ConnectError")
    connect("mlflow_default", host="mlflow", extra={"nonsense": 1})
    assert MLflowRegistryHook().test_connection()[1].startswith("connection 'mlflow_default' has unknown extras")
    assert "pw-of-mlflow" not in caplog.text


def test_the_page_of_a_version(connect: Connect) -> None:
    connect("mlflow_default", host="mlflow", extra={"ui_url": "https://ml.example.com/"})
    assert (
        MLflowRegistryHook().version_url("a model/1", 7) == "https://ml.example.com/#/models/a%20model%2F1/versions/7"
    )


@pytest.mark.parametrize("door", ["registry", "registry_beside_others"])
def test_a_run_of_another_program_does_not_lead(connect: Connect, monkeypatch: pytest.MonkeyPatch, door: str) -> None:
    for name in OF_ANOTHER_RUN:
        monkeypatch.setenv(name, "stale")
    connect("mlflow_default", host="mlflow", port=5000)
    with getattr(MLflowRegistryHook(), door)():
        assert not set(OF_ANOTHER_RUN) & set(os.environ)
    assert {os.environ[name] for name in OF_ANOTHER_RUN} == {"stale"}
