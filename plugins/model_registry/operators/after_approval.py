"""Operators behind an approval: what became of it, and whether the promotion promoted."""

from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.errors import TransitionRefusedError, VersionNotFoundError
from include.lifecycle.rules.decisions import Channel, Outcome
from include.lifecycle.stages import PRODUCTION
from model_registry.approval.asking import place_of
from model_registry.exceptions import PromotionSkippedError
from model_registry.tasks import ModelTask, tells_refusals

if TYPE_CHECKING:
    from include.lifecycle.config.models import Occasion
    from include.lifecycle.ledger.state import LedgerState
    from include.lifecycle.ledger.statements import Ask
    from include.lifecycle.moves.model_registry import ModelRegistry


class _AfterApproval(ModelTask):
    """A task behind an approval. What was asked, the promotion ledger tells it; no XCom does."""

    def __init__(self, *, approval_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check_given(approval_task_id=approval_task_id)
        self.approval_task_id = approval_task_id

    def asked(self, context: Context, registry: "ModelRegistry", model: str) -> "tuple[LedgerState, Ask | None]":
        """Return the ledger, and what the approval of this run asked last, None when it asked nothing."""
        state = registry.ledger(model).read()
        ask = state.statements.last_ask(place_of(context, self.approval_task_id))
        if ask is not None:
            self.version, self.version_url = ask.version, self.hook.version_url(model, ask.version)
        return state, ask


class ConfirmPromotionOperator(_AfterApproval):
    """Fail, and tag the version, when the task that promotes was marked success by hand and promoted nothing.

    Give it no trigger rule of its own: behind a promotion that failed or was skipped it must not run, so that the
    run is red or green as the promotion was.

    :param approval_task_id: the task that asked for the approval
    :param promote_task_id: the task that promotes
    :param kwargs: of ``ModelTask``
    """

    def __init__(self, *, promote_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check_given(promote_task_id=promote_task_id)
        self.promote_task_id = promote_task_id

    @tells_refusals
    def execute(self, context: Context) -> None:
        """Check that what was approved was promoted, or came into Production in another way.

        :raises PromotionSkippedError: when neither is so
        """
        from include.lifecycle.tags import PROMOTION_SKIPPED

        model = self.rendered_model()
        with self.registry() as registry:
            state, ask = self.asked(context, registry, model)
            if ask is None:
                raise PromotionSkippedError(
                    f"{self.approval_task_id} asked nobody about a version of {model!r}: nothing was promoted by this"
                    f" run. Clear {self.approval_task_id}, then decide."
                )
            if (used := state.used(ask.id)) is not None:
                self.log.info("Version %d of %s was promoted: entry %s", ask.version, model, used.entry)
                return
            if registry.version(model, ask.version).stage == PRODUCTION:
                self.log.info("Version %d of %s is in Production", ask.version, model)
                return
            sentence = (
                f"Version {ask.version} of {model!r} is not promoted: {self.promote_task_id} was marked success without"
                f" running. Clear {self.promote_task_id} to promote it."
            )
            registry.client.set_model_version_tag(model, str(ask.version), PROMOTION_SKIPPED, sentence)
        raise PromotionSkippedError(sentence)


class RecordDecisionOperator(_AfterApproval):
    """Write onto the version how its approval ended, where no code of the approval task did, and tell people.

    Marking a task failed runs none of its code. The promotion ledger has the rejection since the mark; this task,
    right behind the approval and with the trigger rule ``all_done``, shows it on the version. It does nothing when
    the approval was given (the promotion shows that) or nobody decided. It must not stand behind the promotion:
    Airflow takes a run's state from its last tasks, and this one is no failure when the approval was.

    :param approval_task_id: the task that waits for the approval
    :param kwargs: of ``ModelTask``
    """

    def __init__(self, *, trigger_rule: str = "all_done", **kwargs: Any) -> None:
        super().__init__(trigger_rule=trigger_rule, **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Show the decision on the version and return it."""
        from include.lifecycle.views.messages import confirm_decision

        model = self.rendered_model()
        with self.registry() as registry:
            state, ask = self.asked(context, registry, model)
            if ask is None:
                raise AirflowSkipException(f"{self.approval_task_id} asked nobody about a version of {model!r}")
            item = state.statements.decided.get(ask.id)
            if item is None:
                raise AirflowSkipException(
                    f"Nobody decided on version {ask.version} of {model!r} in this run. Where it still waits in"
                    f" Staging, clear {self.approval_task_id} to ask again."
                )
            decision = item.what.decision
            if decision.outcome is Outcome.APPROVED:
                raise AirflowSkipException("The approval was given: the promotion shows it")
            try:
                holds = registry.record_decision(model, ask.version, decision)
            except (TransitionRefusedError, VersionNotFoundError) as error:  # it is not there any more
                raise AirflowSkipException(f"Nothing to record: {error}") from error
        for sentence in confirm_decision(ask.version, decision, holds):
            self.log.info("%s", sentence)
        result = {"model": model, "version": ask.version, **holds.to_dict()}
        if holds.door == Channel.MARK:  # through other doors code of the approval task ran, which told people
            self.tell(context, cast("Occasion", holds.outcome.value), result)
        return result
