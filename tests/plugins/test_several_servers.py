"""The page of models whose MLflow servers differ: no server, and no configuration, holds up or hides another model."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from include.lifecycle import tags as tag
from include.lifecycle.config.files import SHIPPED
from include.lifecycle.config.models import retrain_dag_id
from include.lifecycle.ledger.reviewed import Reviewed
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.untrusted_text import text_digest
from model_registry import hooks
from tests.airflow_home import PASSWORD
from tests.plugins.api_server import DAG
from tests.plugins.gates import Gate
from tests.registry_server import add_version, database_of, mlflow_server, store_of

A, B = "a-model", "b-model"
"""Registered models: of the configuration ``rossmann`` behind ``mlflow_default``, of ``churn`` behind ``mlflow_b``."""
ROOT = "/model-registry"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Path:
    """The configurations: ``rossmann`` and ``churn``, each with a server of its own; Airflow knows no DAG of theirs."""
    from airflow.api.common.delete_dag import delete_dag
    from airflow.exceptions import DagNotFound

    for name, model, conn_id in (("rossmann", A, "mlflow_default"), ("churn", B, "mlflow_b")):
        with suppress(DagNotFound):  # from another test
            delete_dag(retrain_dag_id(name))
        configure(tmp_path, name, model=model, connections={"mlflow": conn_id})
    monkeypatch.setenv("RETRAIN_CONFIG", str(tmp_path))
    return tmp_path


def configure(folder: Path, name: str, **lifecycle: Any) -> None:
    """Write a model's configuration; ``lifecycle`` replaces what the shipped one of its kind has."""
    shipped = SHIPPED / f"{name}.yaml"
    content = yaml.safe_load((shipped if shipped.exists() else SHIPPED / "churn.yaml").read_text(encoding="utf-8"))
    content["lifecycle"] |= lifecycle
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


@pytest.fixture
def get(api_client: Any, nothing_remembered: None) -> Callable[..., Any]:
    """GET a page below the root as a user."""

    def get(path: str, user: str = "anna") -> Any:
        answer = api_client.post("/auth/token", json={"username": user, "password": PASSWORD})
        headers = {"Accept": "text/html", "Authorization": f"Bearer {answer.json()['access_token']}"}
        return api_client.get(f"{ROOT}{path}", headers=headers)

    return get


def add(mlflow: str, model: str, dag_id: str | None = DAG) -> None:
    """Stage a version of a model."""
    version = add_version(mlflow, model)
    if dag_id is not None:
        MlflowClient(tracking_uri=mlflow).set_model_version_tag(model, str(version), tag.AIRFLOW_DAG_ID, dag_id)
    ModelRegistry(tracking_uri=mlflow).stage(model, version)


def cards(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {item["model"]: item for item in answer.json()["models"]}


# ---- a server that does not answer ----


def test_a_page_does_not_wait_for_another_server(
    gate: Gate, folder: Path, mlflow: str, get: Callable[..., Any], beside: Any, patient: None
) -> None:
    add(mlflow, A)
    add(mlflow, B)
    gate.close()
    held_up = beside(get, f"/api/models/{B}")
    assert gate.came.wait(30)
    assert get(f"/api/models/{A}").status_code == 200
    assert not held_up.done(), "the other server has not answered yet"
    gate.open()
    assert held_up.result(60).status_code == 200


def test_the_list_shows_what_other_servers_have(
    gate: Gate, folder: Path, mlflow: str, get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hooks.LIMITS_OF_A_PERSON, "MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    add(mlflow, A)
    add(mlflow, B)
    gate.close()
    found = cards(get("/api/models"))
    assert found[A]["problem"] is None
    assert "MLflow does not answer" in found[B]["problem"]


def test_a_slow_server_takes_no_time_from_others(
    gate: Gate, folder: Path, mlflow: str, get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_registry.web.server.READING_SECONDS", 3.0)
    monkeypatch.setattr("model_registry.web.lane.PATIENCE_SECONDS", 60.0)
    configure(folder, "third", model="c-model", experiment="third", connections={"mlflow": "mlflow_b"})
    for model in (A, B, "c-model"):
        add(mlflow, model)
    gate.seconds = 1.0
    found = cards(get("/api/models"))
    assert found[A]["problem"] is None
    assert "too slow" in found["c-model"]["problem"]


def test_a_model_is_found_behind_a_server_that_answers(
    gate: Gate, folder: Path, mlflow: str, get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hooks.LIMITS_OF_A_PERSON, "MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    add(mlflow, "unconfigured")
    gate.close()
    assert get("/api/models/unconfigured").status_code == 200
    nowhere = get("/api/models/nowhere")
    assert nowhere.status_code == 503, "it may be behind the server that does not answer"
    assert "MLflow does not answer" in nowhere.text


# ---- who may see a model that cannot be read ----


@pytest.fixture
def dag(api_client: Any) -> Iterator[Callable[..., None]]:
    """Let Airflow know a DAG, which may belong to a team that only the admin sees."""
    from airflow.models.dag import DagModel, clear_team_name_cache
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.team import Team
    from airflow.utils.session import create_session

    def define(dag_id: str, team: str | None = None) -> None:
        with create_session(scoped=False) as session:
            bundle = DagBundleModel(name=f"bundle of {dag_id}")
            bundle.teams = [Team(name=team)] if team else []
            session.add(bundle)
            session.flush()
            session.add(DagModel(dag_id=dag_id, bundle_name=bundle.name, has_task_concurrency_limits=False))
        defined.append(dag_id)
        clear_team_name_cache()

    defined: list[str] = []
    yield define
    for dag_id in defined:
        with create_session(scoped=False) as session:
            session.delete(session.get(DagModel, dag_id))
            bundle = session.get(DagBundleModel, f"bundle of {dag_id}")
            teams, bundle.teams = list(bundle.teams), []
            session.flush()
            for item in (*teams, bundle):
                session.delete(item)
    clear_team_name_cache()


@pytest.fixture
def away(gate: Gate, folder: Path, mlflow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of the model B does not answer."""
    monkeypatch.setitem(hooks.LIMITS_OF_A_PERSON, "MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    add(mlflow, A)
    add(mlflow, B)
    gate.close()


@pytest.mark.parametrize(
    ("known", "team", "seen"), [(True, None, True), (True, "pricing", False), (False, None, False)]
)
def test_who_may_read_the_dag_of_its_configuration_sees_that_a_model_cannot_be_read(
    away: None, get: Callable[..., Any], dag: Callable[..., None], known: bool, team: str | None, seen: bool
) -> None:
    if known:
        dag("churn_retrain", team)
    for user, sees in (("vera", seen), ("anna", True)):
        found = cards(get("/api/models", user))
        assert found[A]["problem"] is None
        assert (B in found) is sees
        answer = get(f"/api/models/{B}", user)
        assert answer.status_code == (503 if sees else 404)
        assert ("MLflow does not answer" in answer.text) is sees
    unknown = get("/api/models/nowhere", "vera")
    assert (unknown.status_code, unknown.text) == (
        404,
        get(f"/api/models/{B}", "vera").text if not seen else unknown.text,
    )


def test_why_a_ledger_cannot_be_read_is_told_to_who_may_see_the_model(
    folder: Path, mlflow: str, get: Callable[..., Any], dag: Callable[..., None], gate: Gate
) -> None:
    dag("of_a_team", "pricing")
    add(mlflow, A, "of_a_team")
    registry = ModelRegistry(tracking_uri=mlflow)
    registry.client.delete_run(registry.ledger(A).read().run_id)
    for user, status in (("anna", 503), ("vera", 404)):
        answer = get(f"/api/models/{A}", user)
        assert answer.status_code == status
        assert ("mlflow runs restore" in answer.text) == (status == 503)


# ---- a configuration that cannot be used ----

BROKEN = {
    f"lifecycle: {{model: {B}, owner: pw-of-somebody}}": "churn.yaml, section lifecycle: experiment: Field required",
    "lifecycle: {model: [pw-of-somebody]}": "model: Input should be a valid string",
    "lifecycle: {approval: pw-of-somebody}": "found &#39;pw-of-somebody&#39;",
    "lifecycle: {model: pw-of-somebody": "churn.yaml is not valid YAML",
    "pw-of-somebody": "must be a mapping of sections",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_configuration_is_one_card_and_hides_no_other_model(
    gate: Gate, folder: Path, mlflow: str, get: Callable[..., Any], dag: Callable[..., None], text: str
) -> None:
    dag("churn_retrain")
    (folder / "churn.yaml").write_text(text, encoding="utf-8")
    add(mlflow, A)
    add(mlflow, "unconfigured")
    environment = dict(os.environ)
    shown = B if B in text else "churn.yaml"
    for user, admin in (("anna", True), ("ben", True), ("vera", False)):
        found = cards(get("/api/models", user))
        assert set(found) == {A, shown, "unconfigured"}
        assert {name for name, card in found.items() if card["problem"]} == {shown}
        page = get("/", user).text
        assert page.count('class="problem"') == 1
        assert (BROKEN[text] in page) is admin
        assert ("churn.yaml cannot be used" in page) is admin
        assert ("who administers Airflow" in page) is not admin
        alone = get(f"/models/{shown}", user)
        assert alone.status_code == 503
        assert (BROKEN[text] in alone.text) is admin
        if not admin:
            assert "pw-of-somebody" not in page + alone.text
    assert dict(os.environ) == environment


def test_what_a_broken_configuration_names_is_shown_of_no_server(
    gate: Gate, folder: Path, mlflow: str, get: Callable[..., Any]
) -> None:
    add(mlflow, A)
    add(mlflow, B)
    configure(folder, "churn", model=B, runner="cloud")
    assert cards(get("/api/models"))[B]["problem"].endswith("(found 'cloud')")
    assert (get(f"/api/models/{B}").status_code, get(f"/api/models/{B}", "vera").status_code) == (503, 404)
    configure(folder, "churn", model=B, connections={"mlflow": "mlflow_b"})
    assert cards(get("/api/models"))[B]["problem"] is None, "nothing is left of what was wrong"
    assert get(f"/api/models/{B}", "vera").status_code == 200


def test_a_model_that_two_configurations_name_is_neither_s(
    gate: Gate, folder: Path, mlflow: str, get: Callable[..., Any]
) -> None:
    add(mlflow, A)
    add(mlflow, B)
    configure(folder, "zzz", model=A, experiment="zzz", connections={"mlflow": "mlflow_b"})
    found = cards(get("/api/models"))
    assert [found[name]["problem"] is None for name in (A, "zzz.yaml", B)] == [False, False, True]
    assert f"lead to the same lifecycle.model '{A}'" in found["zzz.yaml"]["problem"]


def test_where_no_configuration_can_be_used_the_page_says_so(
    folder: Path, get: Callable[..., Any], dag: Callable[..., None], mlflow: str
) -> None:
    for name in ("rossmann", "churn"):
        (folder / f"{name}.yaml").write_text("lifecycle: {owner: pw-of-somebody}", encoding="utf-8")
    page = get("/").text
    assert "churn.yaml cannot be used" in page
    assert "rossmann.yaml cannot be used" in page
    assert "experiment: Field required" in page
    page = get("/", "vera").text
    assert "Not every model can be read now" in page
    assert "churn.yaml" not in page + get("/models/churn.yaml", "vera").text
    assert "pw-of-somebody" not in page
    dag("churn_retrain")
    page = get("/", "vera").text
    assert "churn.yaml" in page
    assert "pw-of-somebody" not in page


# ---- models of the same name ----


@pytest.fixture(scope="module")
def other_url(mlflow_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server with models of its own."""
    with mlflow_server(tmp_path_factory.mktemp("other-server"), mlflow_template) as url:
        yield url


@pytest.fixture
def other(gate: Gate, other_url: str) -> str:
    """The store of the server that ``mlflow_b`` leads to, which is another one now."""
    gate.target = other_url
    return store_of(other_url)


def reviewed(store: str, artifacts: Path, model: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage a version of a model with a review."""
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(artifacts))
    add(store, model)
    registry = ModelRegistry(tracking_uri=store)
    run_id = registry.version(model, 1).run_id
    registry.client.log_text(run_id, text, "review/review.html")
    place = (run_id, "review/review.html")
    registry.reviewed(Reviewed(model=model, version=1, verdict="pass", page=text_digest(text), artifact=place))


def test_models_of_the_same_name_are_not_mixed_up(
    gate: Gate,
    other: str,
    other_url: str,
    folder: Path,
    mlflow: str,
    mlflow_url: str,
    get: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("model_registry.web.lane.REMEMBERED_SECONDS", 600.0)
    monkeypatch.setitem(hooks.LIMITS_OF_A_PERSON, "MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    reviewed(mlflow, database_of(mlflow_url).artifacts, "twin", "of the default server", monkeypatch)
    reviewed(other, database_of(other_url).artifacts, "twin", "of the other server", monkeypatch)
    (waiting,) = get("/api/models/twin").json()["waiting"]
    assert waiting["url"].startswith(gate.url), "the first connection leads there"
    gate.close()
    answer = get("/reviews/1/twin")
    assert answer.status_code == 503, "the page of the one is not followed by the other's review"
    assert "of the default server" not in answer.text
    gate.open()
    configure(folder, "rossmann", model="twin", connections={"mlflow": "mlflow_default"})
    assert get("/reviews/1/twin").text == "of the default server"
    (waiting,) = get("/api/models/twin").json()["waiting"]
    assert waiting["url"].startswith(mlflow_url)
