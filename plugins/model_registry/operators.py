"""The operator that moves a model version between stages."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseOperator, Context

from include.lifecycle.config import NotificationConfig, PolicyConfig
from include.lifecycle.decisions import Decision, Door, Outcome
from include.lifecycle.stages import NONE, PRODUCTION, STAGING
from include.lifecycle.statements import Ask, Decided, as_reason
from model_registry.approvals import place_of, task_state
from model_registry.assets import emit_promotion, promotions_of
from model_registry.exceptions import (
    DecisionPendingError,
    NotApprovedError,
    PolicyRefusedError,
    decided_otherwise,
    told_to_airflow,
)
from model_registry.hooks import MLflowRegistryHook
from model_registry.links import ModelVersionLink
from model_registry.notifications import Notifications, promoted, tells
from model_registry.policies import PromotionRules, known_timezone
from model_registry.values import constant, rendered_text, rendered_version

if TYPE_CHECKING:
    from include.lifecycle.integrity import IntegrityMode
    from include.lifecycle.promotion import Transition
    from include.lifecycle.registry import ModelRegistry
    from include.lifecycle.state import LedgerState

_TARGETS = (STAGING, PRODUCTION, NONE)  # a version reaches Archived only by being replaced


class ModelStageOperator(BaseOperator):
    """Move a version of any registered model to a stage, under the model's lock and with an entry in its ledger.

    A move to Production archives the version that was there, by the same call. Moving a version that is
    there already changes nothing, so the task may be retried or cleared.

    With ``approval_task_id`` the version is the one about which that task of the same run asked last, as the promotion
    ledger has it, and the move needs what somebody decided on that ask: neither the state of that task nor any XCom
    approves anything. An approval is used once.

    With ``policy`` the approval has to meet it as well, else the task fails without a retry and nothing is moved.
    Inside a blackout the move waits for its end: deferred, so a triggerer has to run.

    A move to Production makes an event of the asset ``production_asset(model_name)``, once for each promotion.

    :param model_name: registered model (templated)
    :param version: version to move (templated): the one that an earlier task of the run returned. With
        ``approval_task_id`` it is only what the link leads to
    :param stage: Staging, Production or None (templated)
    :param reason: why, for moves that no person decides (templated)
    :param supersede: on the way to Staging: ``newer`` sends what else is there, but for the newest version,
        back to None, and ends its wait; ``never`` leaves it
    :param require_validation: refuse a version of which the ledger does not know that it passed its gate
    :param approval_task_id: the task that waits for the approval, usually a ``ModelApprovalSensor``
    :param policy: what the approval needs; None: any approval will do
    :param timezone: of the policy's times of day, an IANA name
    :param integrity: ``required`` promotes no version without recorded digests of its artifacts
    :param notifications: the notifiers that are told
    :param mlflow_conn_id: connection of the MLflow server
    """

    template_fields: Sequence[str] = ("model_name", "version", "stage", "reason", "mlflow_conn_id")
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
        self.version_url = ""

    @tells(promoted)
    def execute(self, context: Context) -> dict[str, Any]:
        """Move the version and return what was done."""
        model = rendered_text(self.task_id, "model_name", self.model_name)
        with told_to_airflow(), MLflowRegistryHook(self.mlflow_conn_id).registry(integrity=self.integrity) as registry:
            if self.approval_task_id is not None:
                return self._promote(context, registry, model, self.approval_task_id)
            version = rendered_version(self.task_id, self.version)
            self.version_url = MLflowRegistryHook(self.mlflow_conn_id).version_url(model, version)
            return self._move(context, registry, model, version)

    @tells(promoted)
    def execute_after_blackout(
        self,
        context: Context,
        event: Any,  # noqa: ARG002
        decision: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Move the version once the blackout has ended.

        :param context: context of the task
        :param event: the trigger's event, which tells nothing
        :param decision: what an earlier release left with the trigger; the ledger has it
        """
        model = rendered_text(self.task_id, "model_name", self.model_name)
        with told_to_airflow(), MLflowRegistryHook(self.mlflow_conn_id).registry(integrity=self.integrity) as registry:
            return self._promote(context, registry, model, str(self.approval_task_id), waited=True)

    def _move(self, context: Context, registry: "ModelRegistry", model: str, version: int) -> dict[str, Any]:
        """Make a move that no person decides."""
        ti = context["ti"]
        decision = Decision(
            Outcome.SUPERSEDED if self.stage == NONE else Outcome.APPROVED,
            reason=as_reason(self.reason),
            door=Door.AUTOMATIC,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
        )
        done = registry.transition(model, version, self.stage, decision, require_validation=self.require_validation)
        moves = [done]
        if self.stage == STAGING and self.supersede == "newer":
            moves += registry.supersede(model, dag_id=ti.dag_id, run_id=ti.run_id)
        return self._done(context, done, moves)

    def _promote(
        self, context: Context, registry: "ModelRegistry", model: str, task_id: str, *, waited: bool = False
    ) -> dict[str, Any]:
        """Move what a person approved; a promotion that was made already is returned.

        :param task_id: the task that asked
        :param waited: for the end of a blackout: the policy was met when the approval was taken
        """
        state = registry.ledger(model).read()
        ask = state.statements.last_ask(place_of(context, task_id))
        if ask is None:
            raise NotApprovedError(
                f"{task_id} has asked nobody about a version of {model!r}, as the promotion ledger knows: whatever its"
                f" state is, nothing is approved. Clear {task_id}, then decide."
            )
        self.version_url = MLflowRegistryHook(self.mlflow_conn_id).version_url(model, ask.version)
        self.version = ask.version
        if (used := state.used(ask.id)) is not None or state.production == ask.version:
            last = used or state.last_move(ask.version)
            self.log.info("Version %d of %s was promoted already: entry %s", ask.version, model, last and last.entry)
        decided = self._decided(context, registry, state, ask)
        if decided is None:  # it went to Production outside of this run
            decision = Decision(Outcome.APPROVED, door=Door.OUTSIDE, reason="moved to Production from outside")
            done = registry.promote(model, ask.version, decision, require_validation=False)
            return self._done(context, done, [done])
        decision = decided.decision
        if objection := MLflowRegistryHook(self.mlflow_conn_id).objection(self.policy):
            raise PolicyRefusedError(f"Version {ask.version} of {model!r} is not promoted. {objection}")
        if self.policy is not None and used is None:
            rules = PromotionRules(
                policy=self.policy,
                timezone=self.timezone,
                registry=registry,
                ask=ask,
                decided=decided,
                validated_at=state.validated_at(ask.version),
            )
            if not waited:
                decision = rules.approve()
            if (until := rules.held_until(decision)) is not None:
                self.log.info("Approved, and a blackout is in force: the promotion waits until %s", until)
                self.defer(trigger=DateTimeTrigger(moment=until), method_name="execute_after_blackout")
        done = registry.promote(
            model,
            ask.version,
            decision,
            require_validation=self.require_validation,
            ask=ask.id,
            # the policy under which it was asked: an ask from before there were reviews can be answered
            require_review=ask.policy is not None and ask.policy.review_required,
        )
        return self._done(context, done, [done])

    def _decided(self, context: Context, registry: "ModelRegistry", state: "LedgerState", ask: Ask) -> Decided | None:
        """Return the approval of what was asked; None for a version that came into Production from outside.

        :raises NotApprovedError: when there is none
        :raises DecisionPendingError: when there may be one that the ledger does not have yet
        """
        item, which = state.statements.decided.get(ask.id), f"Version {ask.version} of {ask.model!r}"
        if item is not None and item.what.decision.outcome is not Outcome.APPROVED:
            raise NotApprovedError(decided_otherwise(ask.model, ask.version, item.what.decision))
        if item is not None:
            self.log.info("%s: approved by %s (entry %d)", which, item.what.decision.user, item.number)
            return item.what
        if registry.version(ask.model, ask.version).stage == PRODUCTION:
            return None
        if (now := task_state(context, ask.place.task_id)) == "success":
            raise DecisionPendingError(
                f"{which} is not approved: {ask.place.task_id} is success, and the promotion ledger has no decision on"
                " it. If MLflow was away, Airflow's API server enters it soon, and this task finds it when it is tried"
                " again. Else nobody decided: the whole run was marked, or Airflow's API server runs without the"
                f" plugin of this package. Clear {ask.place.task_id}, then decide."
            )
        raise NotApprovedError(
            f"{which} was not approved: {ask.place.task_id} is {now or 'not started'}. Approve it there; this task"
            " then runs by itself."
        )

    def _done(self, context: Context, done: "Transition", moves: "list[Transition]") -> dict[str, Any]:
        from include.lifecycle.messages import confirm

        for sentence in (sentence for move in moves for sentence in confirm(move)):
            self.log.info("%s", sentence)
        if self.stage == PRODUCTION:
            emit_promotion(context, done.event, self.mlflow_conn_id)
        return done.to_dict()
