"""The sensor that waits for a person to decide on a candidate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from airflow.sdk import BaseSensorOperator, Context, Param, PokeReturnValue
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.hitl import upsert_hitl_detail

from include.lifecycle.config import NotificationConfig, Occasion, PolicyConfig
from include.lifecycle.decisions import Decision, Outcome, decide_wait
from include.lifecycle.policy import Facts
from include.lifecycle.text import one_line
from model_registry.airflow_api import AirflowApi, TaskKey
from model_registry.approvals import APPROVE, MAX_REASON, REASON, REJECT, Recorded, decision_of_response, tries_asked
from model_registry.exceptions import ApprovalExpiredError, ApprovalRejectedError, told_to_airflow
from model_registry.hooks import MLflowRegistryHook
from model_registry.links import ModelVersionLink
from model_registry.notifications import Notifications
from model_registry.operators import AIRFLOW_API_CONN
from model_registry.policies import REQUEST_KEY, facts_of, known_timezone, request_content
from model_registry.triggers import ModelApprovalTrigger
from model_registry.values import constant, rendered_text, rendered_version

_REASON_FORM = Param(
    "",
    type="string",
    title="Reason",
    description=f"Why: kept with the version and in the promotion history (at most {MAX_REASON} characters).",
)


@dataclass(frozen=True)
class _Found:
    """What a look at the registry showed.

    :param body: what a reviewer is shown
    :param facts: what the policy looks at
    :param decision: how the wait ends, None while it goes on
    """

    model: str
    version: int
    body: str = ""
    facts: Facts = field(default_factory=Facts)
    decision: Decision | None = None


class ModelApprovalSensor(BaseSensorOperator):
    """Wait until a person approves or rejects a version that is in Staging.

    The doors: marking this task success or failed; Approve or Reject under Required Actions, where the
    candidate's figures stand beside Production's; and what happens outside, such as a promotion by command
    line or by hand in MLflow. Approved ends as success, with the decision as XCom. Rejected and expired end
    as failed, without a retry. Superseded (the version left Staging meanwhile) ends as skipped.

    The form under Required Actions asks for a reason. What an approval needs is said by ``policy``: it is shown to
    the reviewer, applied at the door where the plugin is loaded in Airflow's API server, and applied again by the
    promotion. Without one, an approval without a reason is taken as well.

    :param model_name: registered model (templated)
    :param version: version that waits (templated): the one that an earlier task of the run staged
    :param policy: what an approval needs; give the promotion the same. None: whatever Airflow permits
    :param timezone: of the policy's times of day, an IANA name
    :param expires_after: how long a person has
    :param review_metrics: metrics of the versions' MLflow runs that the request shows, beside Production's
    :param poll_seconds: seconds between two looks at the registry
    :param deferrable: wait in the triggerer, without a worker slot. Otherwise the sensor reschedules itself,
        and Required Actions, which lists deferred tasks only, does not show it
    :param remind_before: how long before it expires the notification ``expiring`` is sent, when deferrable
    :param notifications: the notifiers that are told
    :param mlflow_conn_id: connection of the MLflow server
    :param airflow_conn_id: connection to Airflow's own API, optional
    """

    template_fields = ("model_name", "version")
    operator_extra_links = (ModelVersionLink(),)
    ui_color = "#fdebd0"

    def __init__(
        self,
        *,
        model_name: str,
        version: str | int,
        policy: PolicyConfig | None = None,
        timezone: str = "UTC",
        expires_after: timedelta = timedelta(days=7),
        review_metrics: Sequence[str] | None = None,
        poll_seconds: float = 30.0,
        deferrable: bool = True,
        remind_before: timedelta | None = None,
        notifications: Sequence[NotificationConfig] = (),
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        airflow_conn_id: str | None = AIRFLOW_API_CONN,
        **kwargs: Any,
    ) -> None:
        if expires_after <= timedelta(0) or poll_seconds <= 0:
            raise ValueError("ModelApprovalSensor: expires_after and poll_seconds must be positive")
        # The wait expires by its own rule: the sensor's time-out must not come before it.
        kwargs.setdefault("timeout", expires_after + timedelta(days=1))
        kwargs.setdefault("mode", "reschedule")
        super().__init__(poke_interval=poll_seconds, **kwargs)
        constant(self.task_id, "model_name", model_name)
        constant(self.task_id, "version", version)
        self.model_name = model_name
        self.version = version
        self.policy = policy
        self.timezone = known_timezone(self.task_id, timezone)
        self.expires_after = expires_after
        self.review_metrics = list(review_metrics) if review_metrics is not None else None
        self.deferrable = deferrable
        self.remind_before = remind_before if remind_before and remind_before < expires_after else None
        self.notifications = Notifications(notifications, self.task_id)
        self.mlflow_conn_id = mlflow_conn_id
        self.airflow_conn_id = airflow_conn_id
        self.version_url = ""

    def execute(self, context: Context) -> Any:
        """Ask, then wait."""
        if not self.deferrable:
            return super().execute(context)
        expires_at = datetime.now(UTC) + self.expires_after
        found = self._look(context, expires_at)
        if found.decision is not None:
            return self._end(context, found.model, found.version, found.decision)
        ti = context["ti"]
        # Where Airflow starts the task a second time, writing the request again would erase a response.
        response = self._earlier_response(context)
        if response is not None:
            decision = decision_of_response(response, dag_id=ti.dag_id, run_id=ti.run_id)
            return self._end(context, found.model, found.version, decision)
        self._announce(context, found, expires_at)
        upsert_hitl_detail(
            ti_id=ti.id,
            options=[APPROVE, REJECT],
            subject=f"Put version {found.version} of {found.model} into Production?",
            body=found.body,
            params={REASON: _REASON_FORM.serialize()},
        )
        model, version = found.model, found.version
        self.log.info("Waiting for a decision on version %d of %s until %s", version, model, expires_at)
        self.log.info("Approve or reject it under Required Actions, or mark this task: the note is the reason")
        self.notifications.send(context, "waiting", model, version, url=self.version_url)
        self._wait(context, model, version, expires_at, remind=True)
        return None

    def _wait(self, context: Context, model: str, version: int, expires_at: datetime, *, remind: bool) -> None:
        """Defer until the wait ends or, once, until it is time to remind people of it."""
        remind_at = expires_at - self.remind_before if remind and self.remind_before else None
        self.defer(
            trigger=ModelApprovalTrigger(
                model_name=model,
                version=version,
                ti_id=str(context["ti"].id),
                mlflow_conn_id=self.mlflow_conn_id,
                poll_seconds=self.poke_interval,
                expires_at=expires_at.isoformat(),
                remind_at=remind_at.isoformat() if remind_at else None,
            ),
            method_name="execute_complete",
        )

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """End the wait.

        :param event: the trigger's decision, or the response given under Required Actions
        """
        ti = context["ti"]
        model = rendered_text(self.task_id, "model_name", self.model_name)
        version = rendered_version(self.task_id, self.version)
        self.version_url = MLflowRegistryHook(self.mlflow_conn_id).version_url(model, version)
        if "remind" in event:
            expires_at = datetime.fromisoformat(event["remind"])
            until = f"it expires at {expires_at:%Y-%m-%d %H:%M} UTC"
            self.notifications.send(context, "expiring", model, version, reason=until, url=self.version_url)
            self._wait(context, model, version, expires_at, remind=False)
        if "decision" in event:
            decision = Decision.from_dict(event["decision"])
        else:
            decision = decision_of_response(event, dag_id=ti.dag_id, run_id=ti.run_id)
        return self._end(context, model, version, decision)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once, when not deferrable."""
        first = context["ti"].get_first_reschedule_date(context)
        expires_at = (first or datetime.now(UTC)) + self.expires_after
        found = self._look(context, expires_at)
        if found.decision is None:
            self._announce(context, found, expires_at)
            if first is None:
                self.notifications.send(context, "waiting", found.model, found.version, url=self.version_url)
            return PokeReturnValue(is_done=False)
        ended = self._end(context, found.model, found.version, found.decision)
        return PokeReturnValue(is_done=True, xcom_value=ended)

    def _announce(self, context: Context, found: _Found, expires_at: datetime) -> None:
        """Leave on which version a decision is asked for, and for the door what an approval needs.

        Without it a mark of this task approves nothing: nobody was asked about this version.
        """
        ti = context["ti"]
        ti.xcom_push(key="return_value", value=Recorded(found.model, found.version).to_xcom())
        ti.xcom_push(key=self.operator_extra_links[0].xcom_key, value=self.version_url)
        if self.policy is not None:
            content = request_content(found.model, found.version, self.policy, self.timezone, found.facts, expires_at)
            ti.xcom_push(key=REQUEST_KEY, value=content)

    def _look(self, context: Context, expires_at: datetime) -> _Found:
        """Return what the registry shows, and what a reviewer is shown while the wait goes on."""
        from include.lifecycle.errors import VersionNotFoundError
        from include.lifecycle.review import METRICS, render_policy, render_review

        model = rendered_text(self.task_id, "model_name", self.model_name)
        version = rendered_version(self.task_id, self.version)
        hook = MLflowRegistryHook(self.mlflow_conn_id)
        self.version_url = hook.version_url(model, version)
        with told_to_airflow(), hook.registry() as registry:
            try:
                info = registry.version(model, version)
            except VersionNotFoundError:
                return _Found(model, version, decision=decide_wait(None, {}, expires_at=expires_at))
            decision = decide_wait(info.stage, info.tags, expires_at=expires_at)
            if decision is not None:
                return _Found(model, version, decision=decision)
            facts, body = Facts(), ""
            if self.policy is not None:
                facts = facts_of(context, self.policy, self.airflow_conn_id, info.tags)
            if self.deferrable:  # Required Actions, which shows it, lists deferred tasks only
                metrics = METRICS if self.review_metrics is None else self.review_metrics
                body = render_review(registry, model, version, metrics=metrics)
                if self.policy is not None:
                    body += f"\n{render_policy(self.policy, self.timezone, facts)}"
        return _Found(model, version, body, facts)

    def _earlier_response(self, context: Context) -> dict[str, Any] | None:
        """Return a response to this request that was not followed, from this try or those it retries."""
        ti = context["ti"]
        try:
            api = AirflowApi.from_connection(self.airflow_conn_id)
            if api is None:
                return None
            with api:
                task = TaskKey(ti.dag_id, ti.run_id, ti.task_id)
                tries = tries_asked(ti.try_number, ti.max_tries, self.retries or 0)
                found = (api.response(task, number) for number in tries)
                return next((response for response in found if response is not None), None)
        except Exception as error:  # noqa: BLE001 -- Airflow's API is a help here, never a condition
            self.log.warning("An earlier response could not be read: %s", type(error).__name__)
            return None

    def _end(self, context: Context, model: str, version: int, decision: Decision) -> dict[str, Any]:
        """Leave the decision as XCom and end in the state that shows it."""
        ti = context["ti"]
        if decision.run_id is None:
            decision = replace(decision, dag_id=ti.dag_id, run_id=ti.run_id)
        result = Recorded(model, version, decision).to_xcom()
        ti.xcom_push(key="return_value", value=result)
        reason = f": {one_line(decision.reason)}" if decision.reason else ""
        who = f"version {version} of {model!r} was {decision.outcome} by {one_line(decision.user, 80)}{reason}"
        if decision.outcome is Outcome.APPROVED:
            self.log.info("Approved: %s", who)
            return result
        if decision.outcome is Outcome.SUPERSEDED:
            self._tell(context, model, version, decision)
            raise AirflowSkipException(f"Superseded: version {version} of {model!r}: {one_line(decision.reason)}.")
        self._record(model, version, decision)
        self._tell(context, model, version, decision)
        if decision.outcome is Outcome.EXPIRED:
            raise ApprovalExpiredError(
                f"Expired: version {version} of {model!r}: {decision.reason}. Production stays as it was;"
                " the next retrain brings a new candidate."
            )
        raise ApprovalRejectedError(f"Rejected: {who}. Production stays as it was.")

    def _tell(self, context: Context, model: str, version: int, decision: Decision) -> None:
        event = cast("Occasion", decision.outcome.value)
        told = {"user": decision.user, "reason": decision.reason, "url": self.version_url}
        self.notifications.send(context, event, model, version, **told)

    def _record(self, model: str, version: int, decision: Decision) -> None:
        """Record the decision on the version at once; what fails here is left to ``RecordDecisionOperator``."""
        try:
            with MLflowRegistryHook(self.mlflow_conn_id).registry() as registry:
                registry.record_decision(model, version, decision)
        except Exception as error:  # noqa: BLE001 -- a retry of this task would ask the person again
            self.log.warning("The decision is not on the version yet, the task behind records it: %s", error)
