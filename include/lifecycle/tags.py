"""Names of the tags that a model version carries: the evidence that stage and promotion read."""

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Of an experiment: MLflow's UI opens one without it in its view for generative AI, which stays empty."""

VALIDATION_OUTCOME = "validation.outcome"
VALIDATION_METRIC = "validation.metric"
VALIDATION_VALUE = "validation.value"
VALIDATION_THRESHOLD = "validation.threshold"
VALIDATION_TIME = "validation.time"
VALIDATION_DATA_VERSION = "validation.data_version"
VALIDATION_FAILED_CHECKS = "validation.failed_checks"
"""JSON list of sentences, one for each check that failed."""
PASSED = "passed"
FAILED = "failed"

REVIEW_OUTCOME = "review.outcome"
REVIEW_HEADLINE = "review.headline"

MONITOR_ALARMS = "monitor.alarms"
"""On the version in Production: the alarms of its monitoring that are raised."""

RETRAIN_REQUIRED = "retrain_required"
TRUE = "true"

DECISION_OUTCOME = "decision.outcome"
DECISION_USER = "decision.user"
DECISION_USER_SOURCE = "decision.user_source"
DECISION_REASON = "decision.reason"
DECISION_DOOR = "decision.door"
DECISION_TIME = "decision.time"

PROMOTION_SKIPPED = "promotion.skipped"
"""Sentence on an approval that no promotion followed, because its task was marked success by hand."""
PROMOTION_REFUSED = "promotion.refused"
"""When and why the policy last refused to promote the version; gone once it is promoted."""
PROMOTION_WAITS_UNTIL = "promotion.waits_until"
"""End of the blackout that an approved version waits for; gone once it is promoted."""

DATA_VERSION = "data.version"
DATA_REGISTRY_COMMIT = "data.registry_commit"

CODE_COMMIT = "code.commit"
CODE_DIRTY = "code.dirty"

ARTIFACTS_DIGEST = "artifacts.digest"
"""SHA-256 of the manifest of the version's artifact files."""
LEDGER_ANCHOR = "promotion_ledger.anchor"
"""On a version that came into Production: number and digest of the ledger's entry that took the lock for it."""
ROLLED_BACK = "rollback.reason"
"""On a version that a rollback took out of Production: when, by whom, for which version, and why."""
ROLLBACK_REQUESTED = "rollback.requested"
"""When somebody last asked to roll back to the version: retention keeps it for a while."""

TRAINING_END = "training.end"
HOLDOUT_START = "holdout.start"
HOLDOUT_END = "holdout.end"

AIRFLOW_DAG_ID = "airflow.dag_id"
AIRFLOW_RUN_ID = "airflow.run_id"
QUICK = "retrain.quick"
"""``true`` on a version, and its run, that was trained with less than a release needs: a try."""

ENSEMBLE_WEIGHTS = "ensemble.weights"

ALIAS_CHAMPION = "champion"
"""Alias of the version in Production."""
ALIAS_PREVIOUS = "previous"
"""Alias of the Production version before it."""
