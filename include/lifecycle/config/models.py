"""The ``lifecycle`` section of a model's YAML file: one registered model's schedule, gate, tasks and connections."""

from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationInfo, field_validator

from include.lifecycle.config.approval import ApprovalConfig, RollbackConfig
from include.lifecycle.config.containers import ContainerConfig
from include.lifecycle.config.sections import Cron, Positive, Section


class ScheduleConfig(Section):
    """When the nightly retrain starts: a cron expression read in a timezone."""

    cron: Cron = "0 2 * * *"
    timezone: str = "Europe/Berlin"

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("expected an IANA timezone such as Europe/Berlin") from error
        return value


class GateConfig(Section):
    """The gate a candidate passes before Staging: the model's metric, strictly on the better side of ``threshold``."""

    metric: str
    threshold: Annotated[float, Field(allow_inf_nan=False)]


class RetentionConfig(Section):
    """Which versions the maintenance keeps although nothing uses them."""

    keep_champions: Annotated[int, Field(ge=1)] = 3
    """Former Production versions, the last ones."""
    keep_days: Annotated[float, Field(ge=1)] = 30.0
    """Days for which a version is kept that was registered, or that the ledger names."""


Occasion = Literal[
    "gate_failed",
    "held_back",
    "waiting",
    "promoted",
    "rejected",
    "superseded",
    "expiring",
    "expired",
    "refused",
    "rolled_back",
    "live_error",
    "drift",
    "data_missing",
    "retrain_asked",
    "rollback_proposed",
]
OCCASIONS: tuple[Occasion, ...] = get_args(Occasion)


class NotificationConfig(Section):
    """An Airflow notifier, and when it is told.

    ``arguments`` are those of its constructor; its templated fields see ``notification``.
    """

    notifier: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]
    arguments: dict[str, Any] = Field(default_factory=dict)
    events: tuple[Occasion, ...] = OCCASIONS


class TaskConfig(Section):
    """Retries and time limits of the tasks that may fail for a while."""

    retries: Annotated[int, Field(ge=0)] = 3
    retry_delay_seconds: Positive = 60.0
    max_retry_delay_seconds: Positive = 900.0
    step_timeout_minutes: Positive = 180.0


class ConnectionConfig(Section):
    """Airflow connection ids. The second is optional: without it the step's environment leads to the data registry."""

    mlflow: str = "mlflow_default"
    data: str | None = None


def experiments_of(experiment: str) -> tuple[str, str, str]:
    """Return a model's MLflow experiments: of its retrains, of who predicted what, and of each night's monitoring."""
    return experiment, f"{experiment}-predictions", f"{experiment}-monitoring"


def retrain_dag_id(name: str) -> str:
    """Return the id of the DAG that retrains a model, and so registers its versions."""
    return f"{name}_retrain"


class LifecycleConfig(Section):
    """The life cycle of one registered model."""

    @property
    def predictions_experiment(self) -> str:
        """The MLflow experiment that records which version made which predictions."""
        return self.experiments[1]

    @property
    def monitoring_experiment(self) -> str:
        """The MLflow experiment that holds what each night's monitoring found."""
        return self.experiments[2]

    @property
    def experiments(self) -> tuple[str, str, str]:
        """All MLflow experiments of the model, which belong to the pipeline's login; the ledger has its own."""
        return experiments_of(self.experiment)

    name: str = Field("", description="the model's package below include/models; by default its file's name")
    title: str = Field("the model", min_length=1, max_length=60, description="what its DAGs call it")
    model: str
    experiment: Annotated[str, Field(min_length=1)]
    owner: str
    tags: tuple[str, ...] = ()
    runner: Literal["local", "docker"] = "local"
    python: str | None = Field(None, description="Interpreter of the steps; null means Airflow's own")
    schedule: ScheduleConfig = ScheduleConfig()
    gate: GateConfig
    approval: ApprovalConfig = ApprovalConfig()
    rollback: RollbackConfig = Field(RollbackConfig(), validate_default=True)
    retention: RetentionConfig = RetentionConfig()
    integrity: Literal["required", "when_recorded"] = Field(
        "when_recorded", description="required: a version without recorded digests is neither promoted nor used"
    )
    tasks: TaskConfig = TaskConfig()
    containers: ContainerConfig = ContainerConfig()
    connections: ConnectionConfig = ConnectionConfig()
    notifications: tuple[NotificationConfig, ...] = ()

    @field_validator("model")
    @classmethod
    def _nameable(cls, value: str) -> str:
        """Refuse what MLflow does not take as a name, and quotes, with which its searches cannot ask for one."""
        if not value or value != value.strip() or not value.isprintable() or set(value) & set("/:'\""):
            raise ValueError("expected the name of a registered model: one line without / : ' and \"")
        return value

    @field_validator("rollback")
    @classmethod
    def _approvers_of_the_approval(cls, rollback: RollbackConfig, info: ValidationInfo) -> RollbackConfig:
        """Give a rollback that names no approvers those of an approval: it puts a version into Production as well."""
        approval = info.data.get("approval")  # missing where it is not valid, which is said
        if approval is None or rollback.policy.approvers:
            return rollback
        policy = rollback.policy.model_copy(update={"approvers": approval.policy.approvers})
        return rollback.model_copy(update={"policy": policy})
