"""The page of the models, in Airflow's own API application, on a real MLflow server."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import count
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient

from include.lifecycle import tags as tag
from include.lifecycle.config.files import configured_models
from include.lifecycle.config.load import load_lifecycle_config
from include.lifecycle.ledger.anchors import Anchor, head_of, sign
from include.lifecycle.ledger.keys import Keyring
from include.lifecycle.ledger.reviewed import Reviewed
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.views.review import QUICK_WORDS
from model_registry.web.problems import PageError
from model_registry.web.source import Source
from tests.airflow_home import PASSWORD, example_bag
from tests.mlflow_database import Prepared
from tests.registry_server import add_version

DAG = "example_other_model"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }} javascript:alert(1) \u202egnp.exe"
ROOT = "/model-registry"

pytestmark = pytest.mark.usefixtures("no_anchors", "nothing_remembered")


@pytest.fixture(scope="module")
def client(airflow_db: None) -> Iterator[Any]:
    from airflow.api_fastapi.app import create_app
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import sync_bag_to_db
    from fastapi.testclient import TestClient

    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(example_bag(), "examples", None)
    with TestClient(create_app(apps="core"), follow_redirects=False) as client:
        yield client


def token(client: Any, user: str) -> str:
    answer = client.post("/auth/token", json={"username": user, "password": PASSWORD})
    return str(answer.json()["access_token"])


@pytest.fixture
def get(client: Any) -> Callable[..., Any]:
    """GET a page below the root as a user, None for nobody."""

    def get(path: str, user: str | None = "vera", **headers: str) -> Any:
        if user is not None:
            headers["Authorization"] = f"Bearer {token(client, user)}"
        return client.get(f"{ROOT}{path}", headers={"Accept": "text/html", **headers})

    return get


@pytest.fixture
def registry(mlflow: str) -> ModelRegistry:
    return ModelRegistry(tracking_uri=mlflow)


def approval(user: str = "eve", reason: str = "looks right", dag_id: str = DAG) -> Decision:
    return Decision(Outcome.APPROVED, user, "audit", reason, Channel.MARK, dag_id=dag_id, run_id="night 1/2")


def add(mlflow: str, model: str, dag_id: str | None = DAG, **tags: str) -> int:
    version = add_version(mlflow, model)
    if dag_id:
        tags |= {tag.AIRFLOW_DAG_ID: dag_id, tag.AIRFLOW_RUN_ID: "night 1/2"}
    for key, value in tags.items():
        MlflowClient(tracking_uri=mlflow).set_model_version_tag(model, str(version), key, value)
    return version


@pytest.fixture
def two(registry: ModelRegistry, mlflow: str, prepared: Prepared) -> str:
    """A model whose version 1 is live and whose version 2 waits."""
    model = "two-versions"

    def prepare() -> None:
        for _ in range(2):
            registry.stage(model, add(mlflow, model))
        registry.promote(model, 1, approval())

    prepared("one live, one waiting", prepare)
    return model


class Parsed(HTMLParser):
    """Which elements and attributes a page has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


# ---- reviews ----


@pytest.fixture
def shown(registry: ModelRegistry, mlflow: str, two: str) -> str:
    """A model whose version 2 was reviewed; its page is an artifact of the version's run."""
    run_id = registry.version(two, 2).run_id
    registry.client.log_text(run_id, PAGE_OF_A_REVIEW, "review/review.html")
    digest = hashlib.sha256(PAGE_OF_A_REVIEW.encode()).hexdigest()
    place = (run_id, "review/review.html")
    registry.reviewed(Reviewed(model=two, version=2, verdict="pass", page=digest, artifact=place))
    return two


PAGE_OF_A_REVIEW = "<!doctype html><title>Review</title><p>Better.</p>"


def test_a_review_is_shown_as_it_was_asked_about_and_runs_nothing(shown: str, get: Callable[..., Any]) -> None:
    answer = get(f"/reviews/2/{shown}")
    assert (answer.status_code, answer.text) == (200, PAGE_OF_A_REVIEW)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox ")
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "x-sandboxed" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" not in get(f"/models/{shown}").headers["content-security-policy"]


def test_a_review_that_somebody_changed_is_not_shown(
    registry: ModelRegistry, shown: str, get: Callable[..., Any]
) -> None:
    run_id = registry.version(shown, 2).run_id
    registry.client.log_text(run_id, PAGE_OF_A_REVIEW.replace("Better", "Much better"), "review/review.html")
    answer = get(f"/reviews/2/{shown}")
    assert answer.status_code == 410
    assert "was changed" in answer.text
    assert "Much better" not in answer.text


def test_a_page_that_is_not_there_hides_no_other(shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_registry.web.lane.REMEMBERED_SECONDS", 60.0)

    async def ask(source: Source) -> str:
        with pytest.raises(PageError) as raised:
            await source.find(f"review 2 {shown}")
        assert raised.value.status == 404
        conn_id, _ = await source.find(shown)
        return await source.review(conn_id, shown, 2)

    assert asyncio.run(ask(Source())) == PAGE_OF_A_REVIEW


def test_who_may_not_see_a_model_sees_no_review_of_it(
    shown: str, get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get(f"/reviews/2/{shown}", None).status_code == 401
    assert get("/reviews/2/no-such-model").status_code == 404
    assert get(f"/reviews/1/{shown}").status_code == 404, "version 1 was not reviewed"
    assert get(f"/reviews/0/{shown}").status_code == 422
    assert get(f"/reviews/x/{shown}").status_code == 422
    monkeypatch.setattr("model_registry.web.app.may_see", lambda *_: False)
    answer = get(f"/reviews/2/{shown}")
    assert answer.status_code == 404
    assert "Better" not in answer.text


# ---- who may see what ----


@pytest.mark.parametrize("path", ["/", "/models/any", "/api/models", "/api/models/any"])
def test_anonymous_gets_401(get: Callable[..., Any], path: str) -> None:
    answer = get(path, None)
    assert answer.status_code == 401
    if "/api/" in path:
        assert answer.json() == {"detail": "Log in to Airflow to see the models."}
    else:
        assert "/api/v2/auth/login?next=http" in answer.text
    assert get(path, None, Authorization="Bearer nonsense").status_code in (401, 403)
    assert get(path, None, Cookie="_token=nonsense").status_code in (401, 403)


def test_the_page_says_that_nothing_is_promoted_through_a_connection_that_people_can_edit(
    get: Callable[..., Any], two: str, mlflow: str, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    monkeypatch.setenv("RETRAIN_APPROVERS", "user:anna")
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    config = load_lifecycle_config("rossmann").model_copy(update={"model": two})
    monkeypatch.setattr("model_registry.web.configured.load_lifecycle_config", lambda _: config)
    assert get(f"/api/models/{two}").json()["warnings"] == []
    parts = urlsplit(mlflow_url)
    fields = {"conn_type": "http", "host": parts.hostname, "port": parts.port, "schema": "http"}
    monkeypatch.delenv("AIRFLOW_CONN_MLFLOW_DEFAULT")
    with create_session() as session:
        session.add(Connection(conn_id="mlflow_default", **fields))
    try:
        (warning,) = get(f"/api/models/{two}").json()["warnings"]
    finally:
        with create_session() as session:
            session.query(Connection).filter_by(conn_id="mlflow_default").delete()
    assert "AIRFLOW_CONN_MLFLOW_DEFAULT" in warning


def test_the_page_says_that_a_ledger_was_cut_by_what_airflow_keeps(
    get: Callable[..., Any], two: str, registry: ModelRegistry
) -> None:
    from airflow.models import Log
    from airflow.utils.session import create_session

    head = head_of(registry.ledger(two).read())
    assert head is not None
    assert get(f"/api/models/{two}").json()["ledger"]["verified"]
    later = Anchor(head.entry + 2, "f" * 64)
    for server, verified in (("another_server", True), ("mlflow_default", False)):
        anchor = sign(Keyring.from_environment(), two, later, server)
        with create_session() as session:
            session.add(Log(event="approval_decided", extra=json.dumps({"model": two, "ledger_anchor": anchor})))
        found = get(f"/api/models/{two}").json()["ledger"]
        assert (found["verified"], any("was cut" in text for text in found["problems"])) == (verified, not verified)


def test_a_viewer_finds_the_page_in_the_menu_browse(client: Any) -> None:
    headers = {"Authorization": f"Bearer {token(client, 'vera')}"}
    plugins = client.get("/api/v2/plugins", headers=headers).json()["plugins"]
    views = next(plugin for plugin in plugins if plugin["name"] == "model_registry")["external_views"]
    assert [(view["name"], view["category"], view["destination"]) for view in views] == [("Models", "browse", "nav")]
    assert urlsplit(views[0]["href"]).path == f"{ROOT}/"


def test_a_viewer_sees_what_is_live_what_waits_and_the_ledger(
    get: Callable[..., Any], two: str, mlflow: str, mlflow_url: str
) -> None:
    answer = get(f"/models/{two}")
    assert answer.status_code == 200
    for shown in (
        "version",
        "eve",
        "looks right",
        "The chain of digests verifies",
        f"{mlflow_url}/#/models/{two}/versions/2",
    ):
        assert shown in answer.text, shown
    assert f"/dags/{DAG}/runs/night%201%2F2" in answer.text
    assert two in get("/").text
    found = get(f"/api/models/{two}").json()
    assert (found["live"]["version"], found["live"]["user"], found["live"]["door"]) == (1, "eve", "mark")
    assert [item["version"] for item in found["waiting"]] == [2]
    assert [event["event"] for event in found["ledger"]["events"]] == ["promoted", "staged", "staged"]
    assert found["ledger"]["verified"]
    assert found["live"]["run"]["url"] == f"/dags/{DAG}/runs/night%201%2F2"
    assert two in [item["model"] for item in get("/api/models").json()["models"]]


@pytest.mark.parametrize("quick", ["1", "2", ""])
def test_what_a_quick_run_trained_is_only_a_try(
    get: Callable[..., Any], two: str, registry: ModelRegistry, quick: str
) -> None:
    if quick:
        registry.client.set_model_version_tag(two, quick, tag.QUICK, tag.TRUE)
    found, page = get(f"/api/models/{two}").json(), get(f"/models/{two}").text
    (waiting,) = found["waiting"]
    assert (found["live"]["only_a_try"], waiting["only_a_try"]) == tuple(
        QUICK_WORDS if quick == version else None for version in ("1", "2")
    )
    assert page.count(QUICK_WORDS) == bool(quick)
    (summary,) = (item for item in get("/api/models").json()["models"] if item["model"] == two)
    assert summary["waiting"][0]["only_a_try"] is (quick == "2")
    card = get("/").text.partition(f"/models/{two}")[2].partition("</section>")[0]
    assert ("only a try" in card) is (quick == "2")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (("airflow login", "required_actions"), "airflow login, Required Actions"),
        (("airflow login", "mark"), "airflow login, mark"),
        (("required_actions", "required_actions"), "Required Actions"),
        (("mark", "mark"), "mark"),
        (("unknown", "outside"), "unknown, outside"),
    ],
)
def test_how_a_user_is_known_is_said_once(named: tuple[str, str], words: str) -> None:
    from model_registry.web.app import TEMPLATES

    assert TEMPLATES.filters["known"](named) == words


def test_the_cookie_of_the_ui_is_enough(client: Any, get: Callable[..., Any], two: str) -> None:
    assert get(f"/models/{two}", None, Cookie=f"_token={token(client, 'vera')}").status_code == 200


@pytest.fixture
def team(client: Any) -> Iterator[None]:
    """The example's DAG belongs to a team of which only the admin sees anything."""
    from airflow.models.dag import clear_team_name_cache
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.team import Team
    from airflow.utils.session import create_session

    with create_session() as session:
        bundle = session.get(DagBundleModel, "examples")
        bundle.teams = [Team(name="pricing")]
    clear_team_name_cache()
    yield
    with create_session() as session:
        session.get(DagBundleModel, "examples").teams = []
        session.delete(session.get(Team, "pricing"))
    clear_team_name_cache()


def test_who_may_not_read_the_dag_does_not_see_the_model(
    get: Callable[..., Any], two: str, registry: ModelRegistry, mlflow: str, team: None
) -> None:
    unknown = get("/models/there-is-none")
    for user, seen in (("vera", False), ("ben", False), ("anna", True)):
        assert get(f"/models/{two}", user).status_code == (200 if seen else 404)
        assert get(f"/api/models/{two}", user).status_code == (200 if seen else 404)
        assert (two in get("/", user).text) is seen
        assert (two in get("/api/models", user).text) is seen
    assert get(f"/models/{two}").text.split("<main>")[1] == unknown.text.split("<main>")[1], (
        "it tells that there is one"
    )


def test_runs_of_dags_that_a_user_may_not_read_are_not_shown(
    get: Callable[..., Any], registry: ModelRegistry, mlflow: str, model: str, team: None
) -> None:
    registry.stage(model, add(mlflow, model, "another_dag"))
    registry.promote(model, 1, approval(dag_id=DAG))
    for user, seen in (("vera", False), ("anna", True)):
        answer = get(f"/api/models/{model}", user)
        assert answer.status_code == 200
        assert (DAG in answer.text) is seen
        assert (answer.json()["live"]["run"] is not None) is seen


def test_a_model_that_no_dag_registered_is_for_who_may_edit_dags(
    get: Callable[..., Any], registry: ModelRegistry, mlflow: str, model: str
) -> None:
    registry.stage(model, add(mlflow, model, None))
    assert get(f"/models/{model}", "vera").status_code == 404
    assert get(f"/models/{model}", "ben").status_code == 200


# ---- it only shows ----


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/models/x", "/api/models", "/api/models/x", "/static/page.css", "/nothing"])
def test_no_other_method_is_answered(client: Any, method: str, path: str) -> None:
    answer = client.request(method, f"{ROOT}{path}", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_head_has_no_body(client: Any, get: Callable[..., Any], two: str) -> None:
    answer = client.head(f"{ROOT}/models/{two}", headers={"Authorization": f"Bearer {token(client, 'vera')}"})
    assert (answer.status_code, answer.content) == (200, b"")


def test_looking_writes_nothing(get: Callable[..., Any], two: str, registry: ModelRegistry) -> None:
    before = (registry.ledger(two).read().entries, registry.versions(two))
    for path in ("/", f"/models/{two}", f"/api/models/{two}", "/api/models"):
        assert get(path, "anna").status_code == 200
    assert (registry.ledger(two).read().entries, registry.versions(two)) == before


def test_every_answer_has_the_headers(get: Callable[..., Any], client: Any, two: str) -> None:
    answers = [get(f"/models/{two}"), get("/", None), get("/nothing"), get("/static/page.css"), client.post(f"{ROOT}/")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


# ---- untrusted text ----


def test_hostile_text_is_only_text(
    get: Callable[..., Any], registry: ModelRegistry, mlflow: str, mlflow_url: str
) -> None:
    model = '<script>alert(1)<!-- & "quoted"'
    for _ in range(2):
        hostile = {tag.DATA_VERSION: HOSTILE, tag.VALIDATION_METRIC: HOSTILE, tag.VALIDATION_VALUE: HOSTILE}
        registry.stage(model, add(mlflow, model, **hostile, **{"promotion.refused": HOSTILE}))
    registry.promote(model, 1, approval(HOSTILE, HOSTILE))
    index = get("/")
    path = next(value for name, value in Parsed(index.text).attributes if name == "href" and "script" in value)
    assert path.startswith(f"{ROOT}/models/%3Cscript%3E")
    answer = get(path.removeprefix(ROOT))
    assert answer.status_code == 200
    for page in (index, answer):
        parsed = Parsed(page.text)
        assert not parsed.tags & {"script", "img", "iframe", "object", "style", "form", "base"}
        assert not [name for name, _ in parsed.attributes if name.startswith("on") or name == "style"]
        assert all(
            value.startswith(("/", mlflow_url, "#")) for name, value in parsed.attributes if name in ("href", "src")
        )
    assert "&lt;script&gt;alert(1)" in answer.text
    assert "{{ 7*7 }}" in answer.text
    found = get(path.replace("/models/", "/api/models/").removeprefix(ROOT)).json()
    assert found["live"]["reason"] == HOSTILE.replace("\u202e", "\ufffd")


def test_a_figure_that_is_no_number_is_still_json(get: Callable[..., Any], two: str, registry: ModelRegistry) -> None:
    run_id = registry.version(two, 1).run_id
    registry.client.log_metric(run_id, "holdout_rmspe", float("nan"))
    assert json.loads(get(f"/api/models/{two}").text)["live"]["metrics"] == {"holdout_rmspe": "nan"}
    assert get(f"/models/{two}").status_code == 200


# ---- the ledger, page by page ----


def test_the_ledger_is_paged_newest_first(
    get: Callable[..., Any], registry: ModelRegistry, mlflow: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_registry.web.content.PER_PAGE", 2)
    for version in range(1, 3):
        registry.stage(model, add(mlflow, model))
        registry.promote(model, version, approval())
    registry.rollback(model, 1, approval("rob", "2 is bad"))
    pages = [get(f"/api/models/{model}?page={number}").json()["ledger"] for number in (1, 2, 3, 99)]
    assert [page["page"] for page in pages] == [1, 2, 3, 3]
    events = [event for page in pages[:3] for event in page["events"]]
    assert [(event["event"], event["version"]) for event in events] == [
        ("rolled back", 1),
        ("promoted", 2),
        ("staged", 2),
        ("promoted", 1),
        ("staged", 1),
    ]
    assert f"/models/{model}?page=3#ledger" in get(f"/models/{model}?page=2").text
    for page in ("0", "-1", "x", "1e3", "9" * 30):
        assert get(f"/models/{model}?page={page}").status_code == 422
        assert get(f"/api/models/{model}?page={page}").status_code == 422


# ---- the task that waits ----


def test_the_waiting_task_and_its_expiry(
    get: Callable[..., Any], client: Any, registry: ModelRegistry, mlflow: str, model: str, team: None
) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session

    from model_registry.approval.triggers import ModelApprovalTrigger

    headers = {"Authorization": f"Bearer {token(client, 'anna')}"}
    answer = client.post(f"/api/v2/dags/{DAG}/dagRuns", json={"logical_date": None, "conf": {}}, headers=headers)
    run_id = answer.json()["dag_run_id"]
    version = add(mlflow, model, "another_dag")
    registry.stage(model, version, Decision(Outcome.APPROVED, dag_id=DAG, run_id=run_id))
    expires_at = "2030-01-02T03:04:05+00:00"
    waiting = ModelApprovalTrigger(
        model_name=model, version=version, ti_id="x", mlflow_conn_id="c", poll_seconds=1.0, expires_at=expires_at
    )
    with create_session() as session:
        trigger = Trigger.from_object(waiting)
        session.add(trigger)
        session.flush()
        task = session.query(TaskInstance).filter_by(run_id=run_id, task_id="await_approval").one()
        task.state, task.trigger_id = "deferred", trigger.id
    (item,) = get(f"/api/models/{model}", "anna").json()["waiting"]
    assert item["expires_at"] == expires_at
    assert (item["task"]["task_id"], item["task"]["state"]) == ("await_approval", "deferred")
    assert item["task"]["url"].endswith("/tasks/await_approval")
    assert "2030-01-02 03:04 UTC" in get(f"/models/{model}", "anna").text
    (item,) = get(f"/api/models/{model}", "vera").json()["waiting"]
    assert (item["task"], item["run"], item["expires_at"]) == (None, None, None), "the DAG is another team's"


# ---- one that cannot be read ----


def cards(answer: Any) -> dict[str, Any]:
    return {item["model"]: item for item in answer.json()["models"]}


def test_a_ledger_that_cannot_be_read_hides_no_other_model(
    get: Callable[..., Any], registry: ModelRegistry, two: str, mlflow: str, model: str
) -> None:
    broken = f"a-{model}"
    registry.stage(broken, add(mlflow, broken))
    registry.client.delete_run(registry.ledger(broken).read().run_id)
    found = cards(get("/api/models"))
    assert (found[two]["live"]["version"], found[two]["problem"]) == (1, None)
    assert "mlflow runs restore" in found[broken]["problem"]
    assert (found[broken]["live"], found[broken]["verified"]) == (None, False)
    page = get("/")
    assert page.status_code == 200
    assert 'class="problem"' in page.text
    assert broken in page.text
    assert "mlflow runs restore" in get(f"/models/{broken}").text


def test_whose_dag_a_user_may_not_read_is_not_told_either_when_it_cannot_be_read(
    get: Callable[..., Any], registry: ModelRegistry, mlflow: str, model: str, team: None
) -> None:
    registry.stage(model, add(mlflow, model))
    registry.client.delete_run(registry.ledger(model).read().run_id)
    assert model not in cards(get("/api/models", "vera"))
    assert "problem" in cards(get("/api/models", "anna"))[model]


def test_many_names_keep_none_from_being_listed(
    get: Callable[..., Any], registry: ModelRegistry, two: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"0-{number}" for number in range(150)]
    monkeypatch.setattr("include.lifecycle.views.overview.known_models", lambda _: [*names, two])
    monkeypatch.setattr("model_registry.web.server.READING_SECONDS", 0.0)
    late = cards(get("/api/models", "anna"))
    assert "Its own page reads it" in late[two]["problem"]
    assert set(late) >= set(names)
    assert get(f"/models/{two}", "anna").status_code == 200


def test_what_was_read_before_stands_while_the_server_is_slow(
    get: Callable[..., Any], registry: ModelRegistry, two: str, mlflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cards(get("/api/models"))[two]["warnings"] == []
    monkeypatch.setattr("model_registry.web.server.READING_SECONDS", -1.0)
    late = f"late-{two}"
    registry.stage(late, add(mlflow, late))
    found = cards(get("/api/models"))
    assert (found[two]["live"]["version"], found[two]["problem"]) == (1, None)
    assert found[two]["warnings"][0].startswith("As it was at")
    assert late not in found, "who registered it is not known yet"


def test_what_was_left_is_read_first_the_next_time(
    get: Callable[..., Any], registry: ModelRegistry, two: str, mlflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}-{two}" for number in range(2)]
    for name in names:
        registry.stage(name, add(mlflow, name))
    monkeypatch.setattr("include.lifecycle.views.overview.known_models", lambda _: names)
    # the clock is asked once at the start, and before each model, of which the configured ones come first
    monkeypatch.setattr("model_registry.web.server.time", SimpleNamespace(monotonic=count().__next__))
    monkeypatch.setattr("model_registry.web.server.READING_SECONDS", len(configured_models()) + 1)
    for expected in (names[:1], names, names):
        assert [name for name in cards(get("/api/models")) if name in names] == expected


# ---- what may be away ----


def one_sentence(answer: Any, status: int, sentence: str) -> None:
    assert answer.status_code == status
    assert sentence in answer.text
    assert "Traceback" not in answer.text


def test_mlflow_is_away(get: Callable[..., Any], connect: Callable[..., None]) -> None:
    connect("mlflow_default", host="127.0.0.1", port=9, login="somebody", password="very secret")
    for path in ("/", "/models/rossmann-ensemble", "/models/nowhere", "/api/models"):
        answer = get(path, "anna")
        one_sentence(answer, 503, "MLflow does not answer: try again later.")
        assert "very secret" not in answer.text


def test_mlflow_answers_too_late(
    get: Callable[..., Any], connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr("model_registry.web.lane.PATIENCE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connect("mlflow_default", host="127.0.0.1", port=silent.getsockname()[1])
        one_sentence(get("/"), 504, "MLflow gave no answer within")


def test_no_connection(get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_MLFLOW_DEFAULT", raising=False)
    one_sentence(get("/"), 503, "The Airflow connection that the configuration names for MLflow is not defined.")


def test_a_connection_that_cannot_be_used(get: Callable[..., Any], connect: Callable[..., None]) -> None:
    connect("mlflow_default", host="")
    one_sentence(get("/"), 503, "MLflow cannot be reached: connection &#39;mlflow_default&#39; has no host.")


def test_what_nobody_thought_of_is_a_sentence_too(
    get: Callable[..., Any], mlflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("include.lifecycle.views.overview.known_models", fail)
    answer = get("/")
    one_sentence(answer, 500, "The page could not be made")
    assert "secret detail" not in answer.text


def test_links_lead_to_where_people_reach_mlflow(
    get: Callable[..., Any], two: str, connect: Callable[..., None], mlflow_url: str
) -> None:
    connect("mlflow_default", host=mlflow_url, extra={"ui_url": "https://models.example.com/ui"})
    found = get(f"/api/models/{two}").json()
    assert found["live"]["url"] == f"https://models.example.com/ui/#/models/{two}/versions/1"


# ---- in Airflow ----


def test_it_is_in_the_navigation_and_the_plugin_stays_light(client: Any) -> None:
    import os
    import subprocess
    import sys

    from tests.airflow_home import PROJECT

    headers = {"Authorization": f"Bearer {token(client, 'anna')}"}
    plugins = client.get("/api/v2/plugins", headers=headers).json()["plugins"]
    (plugin,) = [item for item in plugins if item["name"] == "model_registry"]
    (view,) = plugin["external_views"]
    assert (view["name"], view["href"], view["category"]) == ("Models", "/model-registry/", "browse")
    assert view["url_route"] is None, "Airflow's frame lets no link out"
    code = "import model_registry.web, sys; print([m for m in ('fastapi', 'mlflow', 'jinja2') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "plugins")])}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert found.stdout.strip() == "[]"
