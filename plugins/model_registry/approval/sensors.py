"""The sensor that waits for a person to decide on a candidate."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, cast

from airflow.sdk import BaseSensorOperator, Context, Param, PokeReturnValue
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.hitl import upsert_hitl_detail

from include.lifecycle.config.approval import PolicyConfig
from include.lifecycle.config.models import Occasion
from include.lifecycle.ledger.statements import MAX_REASON, Ask
from include.lifecycle.rules.decisions import Decision, Outcome, decide_wait, shown_state
from include.lifecycle.rules.policy import Facts
from include.lifecycle.tags import AIRFLOW_DAG_ID, AIRFLOW_RUN_ID, ARTIFACTS_DIGEST
from include.lifecycle.untrusted_text import markdown, one_line
from model_registry.approval.asking import APPROVE, REASON, REJECT, desk_objection, known_operator, place_of, series_of
from model_registry.approval.policies import known_timezone, requested_by
from model_registry.approval.triggers import ModelApprovalTrigger
from model_registry.exceptions import ApprovalExpiredError, ApprovalRejectedError, LifecycleRefusedError
from model_registry.links import ModelVersionLink, ReviewLink, review_url
from model_registry.tasks import ModelTask

if TYPE_CHECKING:
    from include.lifecycle.ledger.reviewed import Reviewed
    from include.lifecycle.ledger.state import LedgerState
    from include.lifecycle.moves.model_registry import ModelRegistry
    from include.lifecycle.registry.versions import VersionInfo

LOOK_AGAIN = timedelta(hours=1)
"""How often a deferred wait looks at the ledger in any case."""
LOOK_SOON = timedelta(seconds=5)
"""When it looks again after an answer that the ledger does not have yet."""
REVIEW_AGAIN, REVIEW_PATIENCE = timedelta(seconds=30), timedelta(hours=6)
"""How often, and for how long, a wait that an earlier version of this package began looks for the review."""
_REASON_FORM = Param(
    "",
    type="string",
    title="Reason",
    description=f"Why: kept with the version and in the promotion history (at most {MAX_REASON} characters).",
)


@dataclass(frozen=True)
class _Found:
    """What a look at the registry and its ledger showed.

    :param ask: what is asked, None where the wait ended before it asked, or while the version is being reviewed
    :param decision: how the wait ends, None while it goes on
    :param first: nobody was asked this before
    :param seen: stage and tags of the version
    :param body: what a reviewer is shown, empty where the task asked before in this try
    :param objection: why nobody can approve it here, empty when somebody can
    :param exists: whether there is such a version
    :param warned: that it is only a try, and what its review warns of, for the subject of what is asked
    :param reviewed: what its review said, in short
    """

    model: str
    version: int
    ask: Ask | None = None
    decision: Decision | None = None
    first: bool = False
    seen: str = ""
    body: str = ""
    objection: str = ""
    exists: bool = True
    warned: str = ""
    reviewed: str = ""


class ModelApprovalSensor(ModelTask, BaseSensorOperator):
    """Wait until a person approves or rejects a version that is in Staging.

    It enters in the promotion ledger what it asks. The doors: marking this task success or failed; Approve or Reject
    under Required Actions, where the candidate's figures stand beside Production's; and what happens outside, such as
    a promotion by command line or by hand in MLflow. Approved ends as success. Rejected and expired end as failed,
    without a retry. Superseded (the version left Staging meanwhile) ends as skipped. What this task ends as, and what
    it leaves as XCom, is for people: a promotion asks the ledger, in which Airflow's API server enters who decided.

    The form under Required Actions asks for a reason. What an approval needs is said by ``policy``: it is shown to
    the reviewer, held against a decision in Airflow's API server, which needs this package's plugin, and again by the
    promotion. Without one, an approval without a reason is taken as well.

    A run that validated a version asks about that version and no other.

    :param version: version that waits (templated): the one that an earlier task of the run staged
    :param policy: what an approval needs; give the promotion the same. None: whatever Airflow permits
    :param timezone: of the policy's times of day, an IANA name
    :param expires_after: how long a person has
    :param poll_seconds: seconds between two looks at the registry
    :param deferrable: wait in the triggerer, without a worker slot. Otherwise the sensor reschedules itself,
        and Required Actions, which lists deferred tasks only, does not show it
    :param remind_before: how long before it expires the notification ``expiring`` is sent, when deferrable
    :param kwargs: of ``ModelTask``
    """

    template_fields = ("model_name", "version", "mlflow_conn_id")
    operator_extra_links = (ModelVersionLink(), ReviewLink())
    ui_color = "#fdebd0"

    def __init__(
        self,
        *,
        version: str | int,
        policy: PolicyConfig | None = None,
        timezone: str = "UTC",
        expires_after: timedelta = timedelta(days=7),
        poll_seconds: float = 30.0,
        deferrable: bool = True,
        remind_before: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        if expires_after <= timedelta(0) or poll_seconds <= 0:
            raise ValueError("ModelApprovalSensor: expires_after and poll_seconds must be positive")
        # The wait expires by its own rule: the sensor's time-out must not come before it.
        kwargs.setdefault("timeout", expires_after + timedelta(days=1))
        kwargs.setdefault("mode", "reschedule")
        super().__init__(poke_interval=poll_seconds, **kwargs)
        known_operator(self)
        self.check_given(version=version)
        self.version = version
        self.policy = policy
        self.timezone = known_timezone(self.task_id, timezone)
        self.expires_after = expires_after
        self.deferrable = deferrable
        self.remind_before = remind_before if remind_before and remind_before < expires_after else None
        self.review_url = ""

    def execute(self, context: Context) -> Any:
        """Ask, then wait."""
        if not self.deferrable:
            return super().execute(context)
        return self._wait_or_end(context, self._look(context))

    def execute_complete(
        self, context: Context, event: Mapping[str, Any], *, remind: bool = False, unreviewed_since: str | None = None
    ) -> Any:
        """Look again.

        :param event: the trigger's, or the response given under Required Actions: it tells nothing that is believed
        :param remind: it was to come back when it is time to remind people
        :param unreviewed_since: since when it looks for the review before it asks, ISO format
        """
        now = datetime.now(UTC)
        since = datetime.fromisoformat(unreviewed_since) if unreviewed_since else now
        found = self._look(context, review_comes=now - since < REVIEW_PATIENCE)
        if found.ask is None and found.decision is None:
            self.log.warning(
                "Version %d of %s is not reviewed yet: this wait began with an earlier version of the package, and goes"
                " on until the run's task `review` has ended",
                found.version,
                found.model,
            )
            kwargs = {"unreviewed_since": since.isoformat()}
            self._defer(context, found, since + REVIEW_PATIENCE, now + REVIEW_AGAIN, kwargs)
        return self._wait_or_end(context, found, answered="chosen_options" in event, remind=remind)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once, when not deferrable."""
        found = self._look(context)
        if found.decision is not None:
            return PokeReturnValue(is_done=True, xcom_value=self._end(context, found, found.decision))
        if found.first:
            self._tell(context, found, "waiting", reason=found.reviewed)
        return PokeReturnValue(is_done=False)

    def _wait_or_end(self, context: Context, found: _Found, *, answered: bool = False, remind: bool = False) -> Any:
        if found.decision is not None:
            return self._end(context, found, found.decision)
        if found.ask is None:  # a look that does not end the wait has asked
            raise RuntimeError("nothing was asked")
        ti, ask, now = context["ti"], found.ask, datetime.now(UTC)
        if found.body:
            upsert_hitl_detail(
                ti_id=ti.id,
                options=[APPROVE, REJECT],
                # the list of Required Actions cuts it off: what tells one from another comes first
                subject=f"Version {found.version}: put {found.model} into Production?{found.warned}",
                body=found.body,
                params={REASON: _REASON_FORM.serialize()},
            )
        if found.first:
            if found.objection:
                self.log.error("%s", found.objection)
            self.log.info(
                "Waiting for a decision on version %d of %s until %s", found.version, found.model, ask.expires_at
            )
            self.log.info("Approve or reject it under Required Actions, or mark this task: the note is the reason")
            self._tell(context, found, "waiting", reason=found.reviewed)
        expires_at = ask.expires_at or now + self.expires_after
        remind_at = expires_at - self.remind_before if self.remind_before else None
        if remind and remind_at is not None and now >= remind_at:
            self._tell(context, found, "expiring", reason=f"it expires at {expires_at:%Y-%m-%d %H:%M} UTC")
        # the API server enters an answer in the ledger when it is committed, or soon after
        look_at = now + (LOOK_SOON if answered else LOOK_AGAIN)
        reminds = remind_at is not None and now < remind_at <= look_at
        if remind_at is not None and reminds:
            look_at = remind_at
        return self._defer(context, found, expires_at, look_at, {"remind": reminds})

    def _defer(
        self, context: Context, found: _Found, expires_at: datetime, look_at: datetime, kwargs: dict[str, Any]
    ) -> NoReturn:
        self.defer(
            trigger=ModelApprovalTrigger(
                model_name=found.model,
                version=found.version,
                ti_id=str(context["ti"].id),
                mlflow_conn_id=self.mlflow_conn_id,
                poll_seconds=self.poke_interval,
                expires_at=expires_at.isoformat(),
                remind_at=look_at.isoformat(),
                seen=found.seen,
            ),
            method_name="execute_complete",
            kwargs=kwargs,
        )

    def _look(self, context: Context, *, review_comes: bool = False) -> _Found:
        """Return what registry and ledger show; enter in the ledger what is asked, while the wait goes on.

        :param review_comes: a review that is missing is no error: it is being made
        """
        from include.lifecycle.errors import VersionNotFoundError
        from include.lifecycle.moves.checks import check_reviewed
        from include.lifecycle.views.review import verdict_line

        model, version = self.rendered()
        context["ti"].xcom_push(key=self.operator_extra_links[0].xcom_key, value=self.version_url)
        with self.registry() as registry:
            state = registry.ledger(model).read()
            self._check_own(context, state, model, version)
            try:
                info = registry.version(model, version)
            except VersionNotFoundError:
                info = None
            ask = self._question(context, state, model, version, info)
            before = state.statements.last_ask(ask.place)
            asked = before if before is not None and ask.continues(before) else None
            ask = asked or ask
            decision = self._decided(state, ask, info)
            seen = shown_state(info.stage if info is not None else None, info.tags if info is not None else {})
            if asked is None and decision is not None and decision.outcome is Outcome.APPROVED:
                # it went live before this look: the tasks behind find in the ledger what this run is about
                asked = registry.ask(ask)
            if decision is not None or info is None:
                return _Found(model, version, asked, decision, seen=seen, exists=info is not None)
            if asked is None and self.policy is not None and self.policy.review_required:
                if review_comes and state.review(version) is None:
                    return _Found(model, version, seen=seen)
                check_reviewed(state, info, required=True)
            new_try = asked is None or asked.instance != str(context["ti"].id)
            objection = (self.hook.objection(self.policy) or desk_objection()) if new_try else ""
            review = state.review(version)
            if review is not None:
                self.review_url = review_url(model, version)
                context["ti"].xcom_push(key=self.operator_extra_links[1].xcom_key, value=self.review_url)
            body = self._body(context, registry, ask, objection, review) if self.deferrable and new_try else ""
            if new_try:
                ask = registry.ask(replace(ask, instance=str(context["ti"].id)))
        warned = ["only a try: a quick run trained it"] if info.quick else []
        if review is not None and review.verdict == "warn":
            warned.append(verdict_line(review))
        reviewed = f"{verdict_line(review)}. {review.headline}" if review is not None else ""
        return _Found(
            model,
            version,
            ask,
            first=asked is None,
            seen=seen,
            body=body,
            objection=objection,
            warned=f" ({'; '.join(warned)})" if warned else "",
            reviewed=reviewed,
        )

    def _check_own(self, context: Context, state: "LedgerState", model: str, version: int) -> None:
        """Check that a run which validated a version asks about no other, whatever its XComs say meanwhile."""
        own = state.statements.by_run.get((context["ti"].dag_id, context["ti"].run_id))
        if own is not None and own != version:
            raise LifecycleRefusedError(
                f"This run validated version {own} of {model!r}, and was told to ask about version"
                f" {version}: somebody edited its XComs. Clear the task that registers, and what follows."
            )

    def _question(
        self, context: Context, state: "LedgerState", model: str, version: int, info: "VersionInfo | None"
    ) -> Ask:
        tags = info.tags if info is not None else {}
        made_by = set(state.statements.validated_by.get(version, ()))
        registered = (tags.get(AIRFLOW_DAG_ID, ""), tags.get(AIRFLOW_RUN_ID, ""))
        if all(registered):
            made_by.add(registered)
        return Ask(
            model=model,
            version=version,
            place=place_of(context),
            instance=str(context["ti"].id),
            series=series_of(context, self.retries or 0),
            digest=tags.get(ARTIFACTS_DIGEST, ""),
            policy=self.policy,
            timezone=self.timezone,
            evidence=state.evidence(version, tags),
            validated_at=state.validated_at(version),
            expires_at=datetime.now(UTC) + self.expires_after,
            made_by=tuple(sorted(made_by)),
        )

    def _decided(self, state: "LedgerState", ask: Ask, info: "VersionInfo | None") -> Decision | None:
        if (item := state.statements.decided.get(ask.id)) is not None:
            return item.what.decision
        standing = state.standing(ask.version)
        return decide_wait(
            info.stage if info is not None else None,
            standing.as_decision() if standing is not None else None,
            expires_at=ask.expires_at or datetime.now(UTC) + self.expires_after,
        )

    def _body(
        self, context: Context, registry: "ModelRegistry", ask: Ask, objection: str, review: "Reviewed | None"
    ) -> str:
        """Return what a reviewer is shown."""
        from include.lifecycle.views.review import render_policy, render_review

        page = self.review_url if review is not None else ""
        body = render_review(registry, ask.model, ask.version, review=review, page_url=page, link=self.version_url)
        if self.policy is not None:
            facts = Facts(requested_by=requested_by(context), validated_at=ask.validated_at)
            body += f"\n{render_policy(self.policy, self.timezone, facts)}"
        return f"**Nobody can approve it here.** {markdown(objection)}\n\n{body}" if objection else body

    def _end(self, context: Context, found: _Found, decision: Decision) -> dict[str, Any]:
        """Leave the decision as XCom and end in the state that shows it."""
        ti, model, version = context["ti"], found.model, found.version
        if decision.run_id is None:
            decision = replace(decision, dag_id=ti.dag_id, run_id=ti.run_id)
        result = {"model": model, "version": version, **decision.to_dict()}
        ti.xcom_push(key="return_value", value=result)
        reason = f": {one_line(decision.reason)}" if decision.reason else ""
        who = f"version {version} of {model!r} was {decision.outcome} by {one_line(decision.user, 80)}{reason}"
        if decision.outcome is Outcome.APPROVED:
            self.log.info("Approved: %s", who)
            return result
        told = {"user": decision.user, "reason": decision.reason}
        if found.exists:
            self._record(model, version, decision)
        if decision.outcome is Outcome.SUPERSEDED:
            self._tell(context, found, "superseded", **told)
            raise AirflowSkipException(f"Superseded: version {version} of {model!r}: {one_line(decision.reason)}.")
        self._tell(context, found, cast("Occasion", decision.outcome.value), **told)
        if decision.outcome is Outcome.EXPIRED:
            raise ApprovalExpiredError(
                f"Expired: version {version} of {model!r}: {decision.reason}. Production stays as it was;"
                " the next retrain brings a new candidate."
            )
        raise ApprovalRejectedError(f"Rejected: {who}. Production stays as it was.")

    def _tell(self, context: Context, found: _Found, event: Occasion, **told: str) -> None:
        url = self.review_url if event == "waiting" and self.review_url else self.version_url
        self.notifications.send(context, event, found.model, found.version, url=url, **told)

    def _record(self, model: str, version: int, decision: Decision) -> None:
        """Write the decision on the version at once; what fails here is left to ``RecordDecisionOperator``."""
        try:
            with self.hook.registry() as registry:
                registry.record_decision(model, version, decision)
        except Exception as error:  # noqa: BLE001 -- a retry of this task would ask the person again
            self.log.warning("The decision is not on the version yet, the task behind records it: %s", error)
