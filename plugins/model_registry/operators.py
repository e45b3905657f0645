"""The operator that moves a model version between stages."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseOperator, Context

from include.lifecycle.config import NotificationConfig, PolicyConfig
from include.lifecycle.decisions import Decision, Door, Outcome
from include.lifecycle.stages import NONE, PRODUCTION, STAGING
from model_registry.airflow_api import TaskKey
from model_registry.approvals import (
    NobodyDecidedError,
    as_reason,
    decision_of_mark,
    recorded_by,
    task_state,
    verified_response,
    was_asked_before,
    without_user,
)
from model_registry.assets import emit_promotion, promotions_of
from model_registry.exceptions import NotApprovedError, decided_otherwise, told_to_airflow
from model_registry.hooks import MLflowRegistryHook
from model_registry.links import ModelVersionLink
from model_registry.notifications import Notifications, promoted, tells
from model_registry.policies import PromotionRules, known_timezone
from model_registry.values import constant, rendered_text, rendered_version

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from include.lifecycle.integrity import IntegrityMode
    from include.lifecycle.registry import ModelRegistry

AIRFLOW_API_CONN = "airflow_api_default"
_TARGETS = (STAGING, PRODUCTION, NONE)  # a version reaches Archived only by being replaced


class ModelStageOperator(BaseOperator):
    """Move a version of any registered model to a stage, under the model's lock and with an entry in its ledger.

    A move to Production archives the version that was there, by the same call. Moving a version that is
    there already changes nothing, so the task may be retried or cleared. With ``approval_task_id`` the move
    needs an approval by that task of the same run, for this version; who decided, when and why goes into
    the ledger with it.

    With ``policy`` the approval has to meet it as well, else the task fails without a retry and nothing is moved.
    Inside a blackout the approval is recorded at once, on the version and in the ledger, and the move waits for its
    end: deferred, so a triggerer has to run.

    A move to Production makes an event of the asset ``production_asset(model_name)``, once for each promotion.

    :param model_name: registered model (templated)
    :param version: version to move (templated): the one that an earlier task of the run returned
    :param stage: Staging, Production or None (templated)
    :param reason: why, for moves that no person decides (templated)
    :param supersede: on the way to Staging: ``newer`` sends what else is there, but for the newest version,
        back to None, and ends its wait; ``never`` leaves it
    :param require_validation: refuse a version whose gate has not passed, as the version's tags tell
    :param approval_task_id: the task that waits for the approval, usually a ``ModelApprovalSensor``
    :param policy: what the approval needs; None: any approval will do
    :param timezone: of the policy's times of day, an IANA name
    :param integrity: ``required`` promotes no version without recorded digests of its artifacts
    :param notifications: the notifiers that are told
    :param mlflow_conn_id: connection of the MLflow server
    :param airflow_conn_id: connection to Airflow's own API, optional: tells who marked the approval
    """

    template_fields: Sequence[str] = ("model_name", "version", "stage", "reason")
    operator_extra_links = (ModelVersionLink(),)
    ui_color = "#d6eaf8"

    def __init__(
        self,
        *,
        model_name: str,
        version: str | int,
        stage: str,
        reason: str = "",
        supersede: Literal["newer", "never"] = "newer",
        require_validation: bool = True,
        approval_task_id: str | None = None,
        policy: PolicyConfig | None = None,
        timezone: str = "UTC",
        integrity: "IntegrityMode" = "when_recorded",
        notifications: Sequence[NotificationConfig] = (),
        mlflow_conn_id: str = MLflowRegistryHook.default_conn_name,
        airflow_conn_id: str | None = AIRFLOW_API_CONN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**(promotions_of(model_name, kwargs) if stage == PRODUCTION else kwargs))
        for name, value in (("model_name", model_name), ("version", version), ("stage", stage)):
            constant(self.task_id, name, value)
        if "{{" not in stage and stage not in _TARGETS:
            raise ValueError(f"{self.task_id}: stage must be one of {', '.join(_TARGETS)}, found {stage!r}")
        if supersede not in ("newer", "never"):
            raise ValueError(f"{self.task_id}: supersede must be newer or never, found {supersede!r}")
        if approval_task_id == self.task_id:
            raise ValueError(f"{self.task_id}: approval_task_id must name another task")
        if policy is not None and (approval_task_id is None or stage != PRODUCTION):
            raise ValueError(
                f"{self.task_id}: policy needs approval_task_id, and the stage {PRODUCTION}: found {stage!r}"
            )
        self.model_name = model_name
        self.version = version
        self.stage = stage
        self.reason = reason
        self.supersede = supersede
        self.require_validation = require_validation
        self.approval_task_id = approval_task_id
        self.policy = policy
        self.timezone = known_timezone(self.task_id, timezone)
        self.integrity = integrity
        self.notifications = Notifications(notifications, self.task_id)
        self.mlflow_conn_id = mlflow_conn_id
        self.airflow_conn_id = airflow_conn_id
        self.version_url = ""

    @tells(promoted)
    def execute(self, context: Context) -> dict[str, Any]:
        """Move the version and return what was done."""
        model, version = self._version()
        decision = self._decision(context, model, version)
        with told_to_airflow(), self._registry() as registry:
            rules = self._rules(registry, model, version)
            if rules is not None:
                decision = rules.approve(context, decision)
            return self._move_or_wait(context, registry, rules, model, version, decision)

    @tells(promoted)
    def execute_after_blackout(self, context: Context, event: Any, decision: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Move the version once the blackout has ended.

        :param context: context of the task
        :param event: the trigger's event, which tells nothing
        :param decision: the approval, which met the policy when it was taken
        """
        model, version = self._version()
        with told_to_airflow(), self._registry() as registry:
            rules = self._rules(registry, model, version)
            return self._move_or_wait(context, registry, rules, model, version, Decision.from_dict(decision))

    def _registry(self) -> "AbstractContextManager[ModelRegistry]":
        return MLflowRegistryHook(self.mlflow_conn_id).registry(integrity=self.integrity)

    def _version(self) -> tuple[str, int]:
        model = rendered_text(self.task_id, "model_name", self.model_name)
        version = rendered_version(self.task_id, self.version)
        self.version_url = MLflowRegistryHook(self.mlflow_conn_id).version_url(model, version)
        return model, version

    def _rules(self, registry: "ModelRegistry", model: str, version: int) -> PromotionRules | None:
        if self.policy is None:
            return None
        return PromotionRules(
            policy=self.policy,
            timezone=self.timezone,
            airflow_conn_id=self.airflow_conn_id,
            registry=registry,
            model=model,
            version=version,
        )

    def _move_or_wait(
        self,
        context: Context,
        registry: "ModelRegistry",
        rules: PromotionRules | None,
        model: str,
        version: int,
        decision: Decision,
    ) -> dict[str, Any]:
        until = rules.held_until(decision) if rules is not None else None
        if until is not None:
            self.log.info("Approved, and a blackout is in force: the promotion waits until %s", until)
            self.defer(
                trigger=DateTimeTrigger(moment=until),
                method_name="execute_after_blackout",
                kwargs={"decision": decision.to_dict()},
            )
        return self._move(context, registry, model, version, decision)

    def _move(
        self, context: Context, registry: "ModelRegistry", model: str, version: int, decision: Decision
    ) -> dict[str, Any]:
        from include.lifecycle.messages import confirm

        moves = [
            done := registry.transition(
                model, version, self.stage, decision, require_validation=self.require_validation
            )
        ]
        if self.stage == STAGING and self.supersede == "newer":
            moves += registry.supersede(model, dag_id=decision.dag_id, run_id=decision.run_id)
        for sentence in (sentence for move in moves for sentence in confirm(move)):
            self.log.info("%s", sentence)
        if self.stage == PRODUCTION:
            emit_promotion(context, done.event)
        return done.to_dict()

    def _decision(self, context: Context, model: str, version: int) -> Decision:
        ti = context["ti"]
        if self.approval_task_id is None:
            outcome = Outcome.SUPERSEDED if self.stage == NONE else Outcome.APPROVED
            reason = as_reason(self.reason)
            return Decision(outcome, reason=reason, door=Door.AUTOMATIC, dag_id=ti.dag_id, run_id=ti.run_id)
        decision = self._approval(context, self.approval_task_id, model, version)
        self.log.info(
            "Approved by %s (%s) through %s at %s", decision.user, decision.user_source, decision.door, decision.at
        )
        return decision

    def _approval(self, context: Context, task_id: str, model: str, version: int) -> Decision:
        """Return the approval of this version by this run.

        :raises NotApprovedError: when there is none
        """
        task = TaskKey(context["ti"].dag_id, context["ti"].run_id, task_id)
        recorded = recorded_by(context, task_id)
        if recorded is not None and (recorded.model, recorded.version) != (model, version):
            raise NotApprovedError(
                f"{task_id} decided on version {recorded.version} of {recorded.model!r}, not on version {version}"
                f" of {model!r}: nothing is moved. Clear {task_id} to ask for this version."
            )
        if recorded is not None and recorded.decision is not None:
            decision = replace(recorded.decision, roles=None, policy="")
            if decision.outcome is not Outcome.APPROVED:
                raise NotApprovedError(decided_otherwise(model, version, decision))
            if decision.door is Door.MARK:  # no code of the approval task sees a mark: somebody edited the XCom
                return without_user(decision)
            if decision.door is not Door.REQUIRED_ACTIONS:
                return decision
            return verified_response(decision, task, self._retries_of(task_id), self.airflow_conn_id)
        state = task_state(context, task_id)
        if recorded is None and state == "success" and not was_asked_before(task, self.airflow_conn_id):
            raise NotApprovedError(
                f"{task_id} was marked success before it asked: nobody was shown version {version} of {model!r}."
                f" Clear {task_id}, then decide."
            )
        if state != "success":
            raise NotApprovedError(
                f"Version {version} of {model!r} was not approved: {task_id} is {state or 'not started'}."
                f" Approve it there; this task then runs by itself."
            )
        try:
            return decision_of_mark(context, task_id, Outcome.APPROVED, self.airflow_conn_id)
        except NobodyDecidedError as error:
            raise NotApprovedError(
                f"Version {version} of {model!r} was not approved: {error}, which is no decision about it."
                f" Clear {task_id}, then decide."
            ) from error

    def _retries_of(self, task_id: str) -> int:
        dag = self.get_dag()
        task = dag.task_dict.get(task_id) if dag is not None else None
        return (task.retries or 0) if task is not None else 0
