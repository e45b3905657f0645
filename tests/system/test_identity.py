"""Who decided: a table of cases on two real Airflows, one with SimpleAuthManager and one with FAB.

Each case has a run (or two) of its own, on a model of its own. All runs are started at first; when all of them
wait, the users act; when all have ended, what the registry tells of each version is held against what is expected.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from accounts import Account, Site, at_once, fab_site, simple_site
from mlflow import MlflowClient
from operations import SEEN
from servers import ODD, handed_over

from include.lifecycle import tags as tag
from include.lifecycle.ledger.limits import CLIENT_LIMITS
from include.lifecycle.moves.model_registry import ModelRegistry
from local_stack.airflow_api import run_path
from local_stack.stack import Stack
from tests.registry_server import add_version, stage_of, tags_of
from tests.ui.airflow_ui import PICTURES, SIZE, AirflowUi, installed_chromium

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

APPROVERS, FOUR_EYES, OPEN = "identity_approvers", "identity_four_eyes", "identity_open"
REJECTED = "identity_rejected"
ATTACKED = "identity_attacked"
"""Olga alone may approve; Omar is an Op, Uwe a User, with all that these may do."""
APPROVAL = "await_approval"
TAKEN, LATE, ANONYMOUS, NO_PERMISSION = "taken", "too late", "not logged in", "no permission"
NOT_APPROVER, NO_REASON, OWN_RUN = "not an approver", "no reason", "own run"
NOTHING = "nothing decided, in Staging"
_SENTENCES = {
    "Forbidden": NO_PERMISSION,
    "is not among the approvers": NOT_APPROVER,
    "A reason is required": NO_REASON,
    "triggered this run": OWN_RUN,
}


def said(answer: tuple[int, str]) -> str:
    """What an answer of the API says, in a word."""
    status, sentence = answer
    if status == 403:
        return next((word for part, word in _SENTENCES.items() if part in sentence), f"403 {sentence}")
    return {200: TAKEN, 401: ANONYMOUS, 409: LATE}.get(status, f"{status} {sentence}")


@dataclass
class Waiting:
    """A run that waits for a decision."""

    site: Site
    dag_id: str
    model: str
    version: int = 0
    run_id: str = ""

    @property
    def path(self) -> str:
        return run_path(self.dag_id, self.run_id)

    def start(self, user: str) -> None:
        """Register a version in Staging and have a user trigger the run."""
        url = self.site.mlflow.url
        self.version = add_version(url, self.model, stage="Staging")
        body = {"logical_date": None, "conf": {"model": self.model, "version": self.version}}
        account = self.site.accounts[user]
        answer = account.send("POST", f"/dags/{self.dag_id}/dagRuns", body)
        self.run_id = str(answer.json()["dag_run_id"])

    def state(self, task_id: str = APPROVAL) -> str | None:
        return self.site.api.task(self.dag_id, self.run_id, task_id).state

    def mark(self, account: Account, note: str | None, state: str = "success", task_id: str = APPROVAL) -> str:
        return said(account.patch(f"{self.path}/taskInstances/{task_id}", {"new_state": state, "note": note}))

    def respond(self, account: Account, option: str, reason: str) -> str:
        body = {"chosen_options": [option], "params_input": {"reason": reason}}
        return said(account.patch(f"{self.path}/taskInstances/{APPROVAL}/-1/hitlDetails", body))

    def clear(self, *task_ids: str) -> None:
        """Have the admin clear tasks."""
        body = {"dag_run_id": self.run_id, "task_ids": list(task_ids), "dry_run": False, "only_failed": False}
        self.site.api.request("POST", f"/dags/{self.dag_id}/clearTaskInstances", json=body | {"reset_dag_runs": True})

    def clear_as(self, account: Account, *task_ids: str) -> None:
        """Have somebody clear tasks, and start them again."""
        body = {"dag_run_id": self.run_id, "task_ids": list(task_ids), "dry_run": False, "only_failed": False}
        answer = account.send("POST", f"/dags/{self.dag_id}/clearTaskInstances", body | {"reset_dag_runs": True})
        assert answer.ok, answer.text

    def until_waiting(self, try_number: int = 1) -> None:
        def waits() -> bool:
            task = self.site.api.task(self.dag_id, self.run_id, APPROVAL)
            asked = (task.state, task.try_number) == ("deferred", try_number)
            return asked and handed_over(self.site.processes, task)

        self.site.wait(f"{self.model} waits", waits)

    def until_end(self) -> None:
        self.site.wait(
            f"the end of {self.model}",
            lambda: self.site.api.run(self.dag_id, self.run_id).state in ("success", "failed"),
        )

    def decided(self) -> str:
        """What the registry tells of the version's decision."""
        tags = tags_of(self.site.mlflow.url, self.model, self.version)
        stage = stage_of(self.site.mlflow.url, self.model, self.version)
        registry = ModelRegistry(tracking_uri=self.site.mlflow.url)
        assert registry.verify(self.model) == []
        live = registry.production(self.model)
        assert live is None or live.version == self.version, "nobody approved another version"
        if "decision.outcome" not in tags:
            return f"nothing decided, in {stage}"
        who, how = tags["decision.user"], tags["decision.user_source"]
        return f"{tags['decision.outcome']} by {who} ({how}): {tags.get('decision.reason', '')}, in {stage}"


def approved(user: str, reason: str, how: str = "airflow login") -> str:
    return f"approved by {user} ({how}): {reason}, in Production"


def rejected(user: str, reason: str, how: str = "airflow login") -> str:
    return f"rejected by {user} ({how}): {reason}, in Staging"


Act = Callable[..., list[str]]


@dataclass(frozen=True)
class Case:
    """Who does what, and what has to come of it.

    :param act: gets the logins by name and the runs; returns what the API said
    :param said: what it has to say; None: anything
    :param decided: what the registry has to tell, of each run
    :param check: in place of ``decided`` where it depends on what was said
    """

    name: str
    act: Act
    said: list[str] | None
    decided: tuple[str, ...] = ()
    dags: tuple[str, ...] = (APPROVERS,)
    triggered_by: str = "admin"
    check: Callable[[list[str], list[str]], bool] | None = field(default=None, compare=False)


CASES: list[Case] = []


def case(name: str, said: list[str] | None, *decided: str, **fields: Any) -> Callable[[Act], Act]:
    """Make a case of a function."""

    def add(act: Act) -> Act:
        CASES.append(Case(name, act, said, decided, **fields))
        return act

    return add


@case("an approver marks success", [TAKEN], approved("olga", "good"))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    return [run.mark(who["olga"], "good")]


@case("a name that has to be escaped", [TAKEN], approved(ODD, "{{ 1 }} <i>'; --"))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    return [run.mark(who[ODD], "{{ 1 }} <i>'; --")]


@case(
    "refused for want of login, permission, role, reason; then taken",
    [ANONYMOUS, NO_PERMISSION, NOT_APPROVER, NO_REASON, TAKEN],
    approved("olga", "good"),
)
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    tried = [("anonymous", "n"), ("vera", "v"), ("uwe", "u"), ("omar", None), ("olga", "good")]
    return [run.mark(who[user], note) for user, note in tried]


@case("taken; then others try", [TAKEN, NO_PERMISSION, LATE, LATE], approved("olga", "first"))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    return [run.mark(who[user], note) for user, note in [("olga", "first"), ("vera", "v"), ("omar", "o"), ("uwe", "u")]]


@case(
    "one approver among eight who are refused, in the same instant",
    [NO_PERMISSION, NOT_APPROVER] * 2 + [TAKEN] + [NO_PERMISSION, NOT_APPROVER] * 2,
    approved("olga", "of olga"),
    check=lambda said, decided: (
        said[4] == TAKEN and said.count(TAKEN) == 1 and decided == [approved("olga", "of olga")]
    ),
)
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    users = ["vera", "uwe"] * 2 + ["olga"] + ["vera", "uwe"] * 2
    return at_once(lambda user=user: run.mark(who[user], f"of {user}") for user in users)


def _whoever_was_taken(said: list[str], decided: list[str]) -> bool:
    taken = [user for user, word in zip(("olga", "omar"), said, strict=True) if word == TAKEN]
    return bool(taken) and any(decided[0].startswith(f"approved by {name} ") for name in taken)


@case(
    "two approvers in the same instant",
    None,
    "one of those who were taken: the first in the ledger",
    check=_whoever_was_taken,
    dags=(OPEN,),
)
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    return at_once(lambda user=user: run.mark(who[user], f"of {user}") for user in ("olga", "omar"))


@case(
    "another run of the DAG, in the same instant",
    [TAKEN, TAKEN],
    approved("olga", "of olga"),
    approved("omar", "of omar"),
    dags=(APPROVERS, APPROVERS),
)
def _(who: dict[str, Account], one: Waiting, other: Waiting) -> list[str]:
    return at_once([lambda: one.mark(who["olga"], "of olga"), lambda: other.mark(who["omar"], "of omar")])


@case(
    "a task of the same name in another DAG, in the same instant",
    [TAKEN, TAKEN],
    approved("olga", "of olga"),
    approved("uwe", "of uwe"),
    dags=(APPROVERS, OPEN),
)
def _(who: dict[str, Account], one: Waiting, other: Waiting) -> list[str]:
    return at_once([lambda: one.mark(who["olga"], "of olga"), lambda: other.mark(who["uwe"], "of uwe")])


@case("an earlier try, noted by another", [TAKEN, NO_REASON, TAKEN], approved("omar", "second try"))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    words = [said(who["olga"].patch(f"{run.path}/taskInstances/{APPROVAL}", {"note": "first try"}))]
    run.clear(APPROVAL)
    run.until_waiting(try_number=2)
    return [*words, run.mark(who["olga"], None), run.mark(who["omar"], "second try")]


@case(
    "a bulk mark of two runs",
    [NOT_APPROVER, TAKEN],
    approved("olga", "one"),
    approved("olga", "two"),
    dags=(APPROVERS, APPROVERS),
)
def _(who: dict[str, Account], one: Waiting, other: Waiting) -> list[str]:
    entities = [
        {"dag_id": run.dag_id, "dag_run_id": run.run_id, "task_id": APPROVAL, "new_state": "success", "note": note}
        for run, note in ((one, "one"), (other, "two"))
    ]
    body = {"actions": [{"action": "update", "entities": entities}]}
    path = f"/dags/{one.dag_id}/dagRuns/~/taskInstances"
    return [said(who[user].patch(path, body)) for user in ("uwe", "olga")]


@case("the whole run marked success, promote then cleared", [TAKEN], NOTHING)
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    words = [said(who["uwe"].patch(run.path, {"state": "success", "note": "close it"}))]
    run.clear("promote")
    return words


@case("the note edited by another after the mark", [TAKEN, TAKEN], approved("olga", "as given"))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    edit = {"note": "as edited"}
    return [run.mark(who["olga"], "as given"), said(who["omar"].patch(f"{run.path}/taskInstances/{APPROVAL}", edit))]


@case("the note written just after the mark", [TAKEN, TAKEN], approved("uwe", ""), dags=(OPEN,))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    later = {"note": "afterwards"}
    return [run.mark(who["uwe"], None), said(who["uwe"].patch(f"{run.path}/taskInstances/{APPROVAL}", later))]


@case(
    "marked failed, first without a reason",
    [NO_PERMISSION, NO_REASON, TAKEN],
    rejected("uwe", "odd figures"),
    dags=(REJECTED,),
)
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    tried = [("vera", "v"), ("uwe", None), ("uwe", "odd figures")]
    return [run.mark(who[user], note, "failed") for user, note in tried]


@case(
    "Required Actions: approved",
    [NO_PERMISSION, NOT_APPROVER, NO_REASON, TAKEN, LATE],
    approved("omar", "good"),
)
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    tried = [("vera", "v"), ("uwe", "u"), ("omar", " "), ("omar", "good"), ("olga", "o")]
    return [run.respond(who[user], "Approve", reason) for user, reason in tried]


@case("Required Actions: rejected", [NO_REASON, TAKEN], rejected("uwe", "odd"))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    return [run.respond(who["uwe"], "Reject", reason) for reason in ("", "odd")]


@case("Required Actions: a name that has to be escaped", [TAKEN], approved(ODD, "good"))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    return [run.respond(who[ODD], "Approve", "good")]


@case("own run", [OWN_RUN, OWN_RUN, TAKEN], approved("omar", "mine"), dags=(FOUR_EYES,), triggered_by="olga")
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    words = [run.mark(who["olga"], "mine"), run.respond(who["olga"], "Approve", "mine")]
    return [*words, run.mark(who["omar"], "mine")]


@case("no plugin in the API server", [NO_PERMISSION, TAKEN], NOTHING, dags=(OPEN,))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    return [run.mark(run.site.elsewhere(user), "good") for user in ("vera", "olga")]


@case("no plugin in the API server, approvers asked for", [TAKEN], NOTHING)
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    return [run.mark(run.site.elsewhere("olga"), "good")]


# Attacks: whatever an Op or a User may do, no version goes live that Olga did not decide on, and nobody is named for
# what they did not decide.


def other_version(run: Waiting) -> int:
    """Put another version of the run's model into Staging, which nobody approves."""
    return add_version(run.site.mlflow.url, run.model, stage="Staging")


def forge(account: Account, run: Waiting, task_id: str, value: Any, key: str = "return_value") -> str:
    """Edit an XCom of the run, or make it."""
    path = f"{run.path}/taskInstances/{task_id}/xcomEntries"
    edited = account.send("PATCH", f"{path}/{key}", {"value": value, "map_index": -1})
    if edited.status_code == 404:
        edited = account.send("POST", path, {"key": key, "value": value, "map_index": -1})
    return said((200 if edited.ok else edited.status_code, edited.text))


def claim(run: Waiting, version: int, outcome: str = "approved") -> dict[str, Any]:
    """What an approval task leaves as XCom, as if Olga had decided on a version."""
    return {
        "model": run.model, "version": version, "outcome": outcome, "user": "olga", "user_source": "airflow login",
        "reason": "good", "door": "mark", "at": "2026-01-01T00:00:00+00:00", "dag_id": run.dag_id, "run_id": run.run_id,
    }  # fmt: skip


@case("attack: XComs edited before the approval", [TAKEN] * 4, approved("olga", "good"), dags=(ATTACKED,))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    other = other_version(run)
    words = [forge(who["omar"], run, task_id, claim(run, other)) for task_id in ("stage", APPROVAL, "promote")]
    return [*words, run.mark(who["olga"], "good")]


def _edited_afterwards(who: dict[str, Account], run: Waiting, word: str) -> list[str]:
    """Let the run that was approved promote another version: its XComs say so when ``promote`` is cleared."""
    run.until_end()
    other = other_version(run)
    words = [forge(who["omar"], run, task_id, claim(run, other)) for task_id in ("stage", APPROVAL)]
    run.clear_as(who["omar"], "promote", "confirm")
    return [word, *words]


@case("attack: XComs edited after it, promote cleared", [TAKEN] * 3, approved("olga", "good"), dags=(ATTACKED,))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    return _edited_afterwards(who, run, run.mark(who["olga"], "good"))


@case(
    "attack: XComs edited after an answer, promote cleared",
    [TAKEN] * 3,
    approved("olga", "good"),
    dags=(ATTACKED,),
)
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    return _edited_afterwards(who, run, run.respond(who["olga"], "Approve", "good"))


@case(
    "attack: XComs that claim an approval, the whole run closed, promote cleared",
    [TAKEN] * 2,
    NOTHING,
    dags=(ATTACKED,),
)
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    words = [said(who["uwe"].patch(run.path, {"state": "success"}))]
    words.append(forge(who["omar"], run, APPROVAL, claim(run, run.version)))
    run.clear_as(who["uwe"], "promote")
    return words


@case("attack: a rejection in Olga's name from an XCom", [TAKEN] * 2, NOTHING, dags=(ATTACKED,))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    words = [said(who["uwe"].patch(run.path, {"state": "failed"}))]
    words.append(forge(who["omar"], run, APPROVAL, claim(run, run.version, "rejected")))
    run.clear_as(who["omar"], "record_decision")
    return words


@case("attack: promote and confirm marked success", [TAKEN] * 2, NOTHING, dags=(ATTACKED,))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    words = [run.mark(who["uwe"], "done", task_id="promote")]
    words.append(forge(who["omar"], run, "promote", {"version": run.version, "to": "Production"}))
    run.mark(who["uwe"], "done", state="skipped")
    return words


@case(
    "attack: a run deleted after its approval, and triggered again under the same id",
    [TAKEN, "refused", NOT_APPROVER],
    approved("olga", "good"),
    dags=(ATTACKED,),
)
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    words = [run.mark(who["olga"], "good")]
    run.until_end()
    assert who["uwe"].send("DELETE", run.path, None).ok
    other = other_version(run)
    conf = {"model": run.model, "version": other}
    body = {"logical_date": None, "conf": conf, "dag_run_id": run.run_id}
    assert who["uwe"].send("POST", f"/dags/{run.dag_id}/dagRuns", body).ok
    run.until_waiting()
    entity = {"task_id": APPROVAL, "new_state": "success", "note": "mine"}
    bulk = {"actions": [{"action": "update", "entities": [entity]}]}
    unseen = who["uwe"].send("PATCH", f"{run.path}/taskInstances%0A", bulk)
    words.append("refused" if unseen.status_code >= 400 and run.state() == "deferred" else unseen.text)
    words.append(run.mark(who["uwe"], "again"))
    who["uwe"].patch(run.path, {"state": "success"})
    run.clear_as(who["uwe"], "promote", "confirm")
    return words


@case("attack: a deleted run's approval, before it was used", [TAKEN, NOT_APPROVER], NOTHING, dags=(ATTACKED,))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    words = [run.mark(who["uwe"], "now", task_id="promote"), run.mark(who["uwe"], "mine")]
    who["uwe"].patch(run.path, {"state": "failed"})
    return words


@case("attack: a hundred notes behind the mark", [TAKEN], approved("olga", "good"), dags=(ATTACKED,))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    words = [run.mark(who["olga"], "good")]
    for number in range(101):
        who["uwe"].patch(f"{run.path}/taskInstances/{APPROVAL}", {"note": f"no. {number}"})
    return words


@case(
    "attack: paths and bodies that another parser reads otherwise",
    ["refused"] * 8 + [TAKEN],
    approved("olga", "good"),
    dags=(ATTACKED,),
)
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    entity = {"task_id": APPROVAL, "new_state": "success", "note": "mine"}
    bulk = {"actions": [{"action": "update", "entities": [entity]}]}
    tries = [
        (f"{run.path}/taskInstances{odd}", bulk, encoding)
        for odd in ("", "%0A")
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32")
    ]
    words = []
    for path, body, encoding in tries:
        answer = who["omar"].send_bytes("PATCH", path, json.dumps(body).encode(encoding))
        words.append("refused" if answer.status_code >= 400 and run.state() == "deferred" else answer.text)
    return [*words, run.mark(who["olga"], "good")]


@case("attack: an approval cleared after it was given, then asked anew", [TAKEN], NOTHING, dags=(ATTACKED,))
def _(who: dict[str, Account], run: Waiting) -> list[str]:
    run.clear_as(who["uwe"], APPROVAL)
    run.until_waiting(try_number=2)
    return [said(who["uwe"].patch(run.path, {"state": "success"}))]


@dataclass(frozen=True)
class Played:
    """What came of a case."""

    said: list[str]
    decided: list[str]


MANAGERS = ("simple", "fab")
LOOKS = 5
"""At the list of the models, which shows those that it could not read in time the next time."""


@dataclass(frozen=True)
class Seen:
    """What came of all cases under an auth manager.

    :param cases: by their name
    :param models: the text of the page that a viewer finds in *Browse > Models*
    """

    cases: dict[str, Played]
    models: str


@pytest.fixture(scope="module")
def played(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """Play all cases under both auth managers side by side: they mostly wait."""
    sites = {"simple": partial(simple_site, stack), "fab": partial(fab_site, stack, tmp_path_factory.mktemp("fab"))}

    def under(manager: str) -> Seen:
        with sites[manager]() as site:
            cases = play(site, manager)
            return Seen(cases, models_of_a_viewer(site, manager))

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(MANAGERS)) as pool:
        for name, value in CLIENT_LIMITS.items():  # else each thread's promotions take them from the other's
            patch.setenv(name, value)
        return dict(zip(MANAGERS, pool.map(under, MANAGERS), strict=True))


def play(site: Site, manager: str) -> dict[str, Played]:
    runs = {
        case.name: [Waiting(site, dag_id, f"{manager}-{number}-{part}") for part, dag_id in enumerate(case.dags)]
        for number, case in enumerate(CASES)
    }
    every = [run for waiting in runs.values() for run in waiting]
    for dag_id in {run.dag_id for run in every}:
        site.wait(f"the DAG {dag_id}", lambda dag_id=dag_id: site.api.dag(dag_id))
    for case in CASES:
        for run in runs[case.name]:
            run.start(case.triggered_by)
    for run in every:
        run.until_waiting()
    accounts = site.accounts | {"anonymous": site.anonymous}
    words = {case.name: case.act(accounts, *runs[case.name]) for case in CASES}
    for run in every:
        run.until_end()
    return {name: Played(words[name], [run.decided() for run in waiting]) for name, waiting in runs.items()}


def models_of_a_viewer(site: Site, manager: str) -> str:
    """Return what a viewer reads who looks in Airflow's menu for a model that one of the DAGs registered."""
    client = MlflowClient(tracking_uri=site.mlflow.url)
    client.set_model_version_tag(f"{manager}-0-0", "1", tag.AIRFLOW_DAG_ID, CASES[0].dags[0])
    with installed_chromium() as chromium:
        page = chromium.new_context(viewport=SIZE).new_page()
        ui = AirflowUi(page, site.airflow.url, site.mlflow.url, PICTURES)
        ui.log_in("vera", site.airflow.credentials.password)
        ui.page = ui.open_models()
        for _ in range(LOOKS):  # while every model of both sites is read, a busy machine needs more than one look
            ui.page.get_by_role("heading", name="Models").wait_for()
            if f"{manager}-0-0" in ui.page.inner_text("main"):
                break
            ui.page.wait_for_timeout(5_000)
            ui.page.reload()
        ui.shoot(f"viewer-models-{manager}")
        return ui.page.inner_text("main")


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_viewer_finds_the_models_in_the_menu(played: dict[str, Seen], manager: str) -> None:
    assert f"{manager}-0-0" in played[manager].models


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("manager", MANAGERS)
def test_who_decided(played: dict[str, Seen], manager: str, case: Case) -> None:
    found = played[manager].cases[case.name]
    expected = Played(case.said or found.said, list(case.decided))
    right = case.check(found.said, found.decided) if case.check else found == expected
    line = f"{manager}: {case.name} | {', '.join(found.said)} | {'; '.join(found.decided)}"
    SEEN.append(line if right else f"WRONG: {line}, expected {expected}")
    assert right, f"found {found}, expected {expected}"
