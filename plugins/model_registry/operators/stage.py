"""The operator that moves a model version between stages."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import Context

from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.ledger.statements import Ask, Decided, as_reason
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.stages import NONE, PRODUCTION, STAGING
from model_registry.approval.asking import place_of, task_state
from model_registry.approval.policies import PromotionRules, known_timezone
from model_registry.assets import promotions_of
from model_registry.exceptions import DecisionPendingError, NotApprovedError, PolicyRefusedError, decided_otherwise
from model_registry.tasks import ModelTask, tells_refusals

if TYPE_CHECKING:
    from include.lifecycle.ledger.state import LedgerState
    from include.lifecycle.moves.integrity import IntegrityMode
    from include.lifecycle.moves.model_registry import ModelRegistry
    from include.lifecycle.moves.promotion import Transition

_TARGETS = (STAGING, PRODUCTION, NONE)  # a version reaches Archived only by being replaced


class ModelStageOperator(ModelTask):
    """Move a version of any registered model to a stage, under the model's lock and with an entry in its ledger.

    A move to Production archives the version that was there, by the same call. Moving a version that is
    there already changes nothing, so the task may be retried or cleared.

    With ``approval_task_id`` the version is the one about which that task of the same run asked last, as the promotion
    ledger has it, and the move needs what somebody decided on that ask: neither the state of that task nor any XCom
    approves anything. An approval is used once.

    With ``policy`` the approval has to meet it as well, else the task fails without a retry and nothing is moved.
    Inside a blackout the move waits for its end: deferred, so a triggerer has to run.

    A move to Production makes an event of the asset ``production_asset(model_name)``, once for each promotion.

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
    :param kwargs: of ``ModelTask``
    """

    template_fields: Sequence[str] = ("model_name", "version", "stage", "reason", "mlflow_conn_id")

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
        **kwargs: Any,
    ) -> None:
        kwargs = promotions_of(model_name, kwargs) if stage == PRODUCTION else kwargs
        super().__init__(model_name=model_name, **kwargs)
        self.check_given(version=version, stage=stage)
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
        self.version = version
        self.stage = stage
        self.reason = reason
        self.supersede = supersede
        self.require_validation = require_validation
        self.approval_task_id = approval_task_id
        self.policy = policy
        self.timezone = known_timezone(self.task_id, timezone)
        self.integrity = integrity

    def execute(self, context: Context) -> dict[str, Any]:
        """Move the version and return what was done."""
        return self._execute(context)

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
        return self._execute(context, waited=True)

    @tells_refusals
    def _execute(self, context: Context, *, waited: bool = False) -> dict[str, Any]:
        model = self.rendered_model()
        with self.registry(self.integrity) as registry:
            if self.approval_task_id is None:
                moves = self._move(context, registry)
            else:
                moves = [self._promote(context, registry, model, self.approval_task_id, waited=waited)]
        return self.moved(context, "promoted", moves)

    def _move(self, context: Context, registry: "ModelRegistry") -> "list[Transition]":
        """Make a move that no person decides, and those that it brings with it."""
        ti = context["ti"]
        model, version = self.rendered()
        decision = Decision(
            Outcome.SUPERSEDED if self.stage == NONE else Outcome.APPROVED,
            reason=as_reason(self.reason),
            door=Channel.AUTOMATIC,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
        )
        done = registry.transition(model, version, self.stage, decision, require_validation=self.require_validation)
        if self.stage == STAGING and self.supersede == "newer":
            return [done, *registry.supersede(model, dag_id=ti.dag_id, run_id=ti.run_id)]
        return [done]

    def _promote(
        self, context: Context, registry: "ModelRegistry", model: str, task_id: str, *, waited: bool
    ) -> "Transition":
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
        self.version, self.version_url = ask.version, self.hook.version_url(model, ask.version)
        if (used := state.used(ask.id)) is not None or state.production == ask.version:
            last = used or state.last_move(ask.version)
            self.log.info("Version %d of %s was promoted already: entry %s", ask.version, model, last and last.entry)
        decided = self._decided(context, registry, state, ask)
        if decided is None:  # it went to Production outside of this run
            decision = Decision(Outcome.APPROVED, door=Channel.OUTSIDE, reason="moved to Production from outside")
            return registry.promote(model, ask.version, decision, require_validation=False)
        decision = decided.decision
        if objection := self.hook.objection(self.policy):
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
        return registry.promote(
            model,
            ask.version,
            decision,
            require_validation=self.require_validation,
            ask=ask.id,
            # the policy under which it was asked: an ask from before there were reviews can be answered
            require_review=ask.policy is not None and ask.policy.review_required,
        )

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
