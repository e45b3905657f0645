"""Command line of the forecast: the pipeline's steps, and what a person needs beside them.

A step prints one JSON object as the last line of stdout; everything else goes to stderr. Values that
somebody typed into a form reach a step through environment variables only.
"""

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from include.lifecycle.errors import BadInputError, GateFailedError, RetrainError
from include.lifecycle.statements import IN_AIRFLOW_ENV
from include.lifecycle.text import one_line, storable, without_credentials
from include.lifecycle.tracking_address import no_answer
from include.rossmann.config import Booster, RossmannConfig, load_config

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
log = logging.getLogger("include.rossmann")

STEPS = "Steps of the nightly retrain (each prints one JSON line)"
PEOPLE = "For people"
DATA = "Data registry"


def _text(value: str | None) -> str | None:
    """Return what somebody typed as MLflow and a log can hold it."""
    return storable(value) if value else value


def _mlflow_run(value: str | None) -> str | None:
    """Check the id of an MLflow run.

    :raises BadInputError: when it is none
    """
    if value and not re.fullmatch(r"[\w-]{1,64}", value, re.ASCII):
        raise BadInputError(f"the run must be the id of an MLflow run, found {one_line(value, 40)!r}")
    return value


RunId = Annotated[
    str, typer.Option(envvar="RETRAIN_RUN_ID", callback=_mlflow_run, help="MLflow run that `pull` opened")
]
RetrainOf = Annotated[
    str | None, typer.Option(envvar="RETRAIN_RUN_ID", callback=_mlflow_run, help="MLflow run of the retrain")
]
VersionOf = Annotated[
    int | None, typer.Option(help="Model version; default: the one of the run, else the newest of its stage")
]
DagId = Annotated[str | None, typer.Option(envvar="RETRAIN_DAG_ID", callback=_text, help="Airflow DAG, for the record")]
DagRunId = Annotated[
    str | None,
    typer.Option(envvar="RETRAIN_DAG_RUN_ID", callback=_text, help="Airflow run; makes retries idempotent"),
]
Reason = Annotated[str, typer.Option(help="Why: kept in the promotion history")]
ModelName = Annotated[str | None, typer.Option("--model", help="Registered model; default: the configured one")]


@app.command(rich_help_panel=STEPS)
def pull(
    revision: Annotated[
        str | None,
        typer.Option(envvar="RETRAIN_DATA_REVISION", callback=_text, help="Branch, tag or commit; default: configured"),
    ] = None,
    dag_id: DagId = None,
    dag_run_id: DagRunId = None,
    note: Annotated[str, typer.Option(envvar="RETRAIN_NOTE", callback=_text, help="Remark kept with the run")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", envvar="RETRAIN_QUICK", help="Fewer boosting rounds: a try, not a release")
    ] = False,
    origins: Annotated[
        int,
        typer.Option(
            envvar="RETRAIN_ORIGINS", min=1, max=60, help="Forecast origins of the backtest; 1: the holdout's"
        ),
    ] = 1,
) -> None:
    """Open the retrain's MLflow run; get, check and log the data."""
    from include.rossmann.steps.pull import pull as run
    from include.rossmann.tracking import Origin

    asked = Origin(dag_id, dag_run_id, note)
    emit(run(load_config(), asked, revision=revision or None, quick=quick, origins=origins))


@app.command(rich_help_panel=STEPS)
def features(run_id: RunId) -> None:
    """Compute the training matrix and the naive baseline."""
    from include.rossmann.steps.features import features as run

    emit(run(load_config(), run_id))


@app.command(rich_help_panel=STEPS)
def train(booster: Annotated[str, typer.Option(help="lightgbm, xgboost or catboost")], run_id: RunId) -> None:
    """Train one booster: cross-validation folds, backtest member, served member."""
    from include.rossmann.steps.train import train as run

    config = load_config()
    emit(run(config, run_id, configured_booster(config, booster)))


@app.command(rich_help_panel=STEPS)
def ensemble(run_id: RunId) -> None:
    """Blend the boosters: weights, bias correction, cross-validation metrics."""
    from include.rossmann.steps.ensemble import ensemble as run

    emit(run(load_config(), run_id))


@app.command(rich_help_panel=STEPS)
def register(run_id: RunId) -> None:
    """Log the ensemble as one model and register it as a new model version."""
    from include.rossmann.steps.register import register as run

    emit(run(load_config(), run_id))


@app.command(rich_help_panel=STEPS)
def validate(
    run_id: RetrainOf = None,
    version: VersionOf = None,
) -> None:
    """Score the registered version's backtest member on the holdout and apply the gate."""
    from include.rossmann.steps.validate import validate as run

    emit_gated(lambda: run(load_config(), run_id=run_id, version=version))


@app.command(rich_help_panel=STEPS)
def review(
    run_id: RetrainOf = None,
    version: VersionOf = None,
) -> None:
    """Compare a version with Production, answer the checklist, keep the page that an approver reads."""
    from include.rossmann.steps.review import review as run

    emit_gated(lambda: run(load_config(), run_id=run_id, version=version))


@app.command(rich_help_panel=STEPS)
def monitor(
    revision: Annotated[
        str | None,
        typer.Option(envvar="RETRAIN_DATA_REVISION", callback=_text, help="Data revision with the actuals"),
    ] = None,
    day: Annotated[
        str, typer.Option(envvar="RETRAIN_DAY", help="The night to judge, e.g. 2026-03-01; default: the newest")
    ] = "",
    run_after: Annotated[
        str | None, typer.Option(envvar="RETRAIN_RUN_AFTER", help="When the run was due; default: now")
    ] = None,
    dag_id: DagId = None,
    dag_run_id: DagRunId = None,
) -> None:
    """Judge predictions by what came true: live error, bias, drift, coverage; ask for a retrain where it takes one."""
    from include.rossmann.steps.monitor import monitor as run
    from include.rossmann.tracking import Origin

    night = night_of(day)
    origin = Origin(dag_id, dag_run_id, "")
    at = moment(run_after) if run_after else None
    emit(run(load_config(), origin, revision=revision or None, day=night, moment=at))


@app.command(rich_help_panel=STEPS)
def check(
    version: Annotated[
        str, typer.Option(envvar="RETRAIN_VERSION", help="A version that was in Production; empty: the one before")
    ] = "",
) -> None:
    """Check that a version can be rolled back to: digests, loading, a sample forecast."""
    from include.rossmann.steps.check import check as run

    emit(run(load_config(), version=version_number(version)))


@app.command(rich_help_panel=PEOPLE)
def init() -> None:
    """Make the model's names in MLflow before anybody else can; says whose they are."""
    from include.rossmann.people import init as run

    say(run(load_config()))


@app.command(rich_help_panel=PEOPLE)
def promote(
    reason: Reason,
    version: Annotated[int | None, typer.Option(help="Model version; needed when several wait in Staging")] = None,
) -> None:
    """Promote a version from Staging to Production; the one before is archived."""
    from include.rossmann.people import promote as run

    say(run(load_config(), version, reason))


@app.command(rich_help_panel=PEOPLE)
def reject(reason: Reason, version: Annotated[int, typer.Option(help="Model version in Staging")]) -> None:
    """Reject a version that waits in Staging; Production stays as it is."""
    from include.rossmann.people import reject as run

    say(run(load_config(), version, reason))


@app.command(rich_help_panel=PEOPLE)
def rollback(
    reason: Reason,
    version: Annotated[
        int | None, typer.Option(help="A version that was in Production; default: the one before, after a question")
    ] = None,
) -> None:
    """Put a former Production version back; the current one is archived."""
    from include.rossmann.people import rollback as run

    config = load_config()
    say(run(config, version if version is not None else proposed(config), reason))


@app.command(rich_help_panel=PEOPLE)
def predict(
    output: Annotated[
        str | None, typer.Option(help="File or fsspec URL to write; its name decides: .csv, .csv.gz or .parquet")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Write to the configured place: dated names, and a pointer to the newest")
    ] = False,
    stage: Annotated[
        str | None, typer.Option(envvar="RETRAIN_STAGE", help="Production or Staging; default: the configured one")
    ] = None,
    version: Annotated[str, typer.Option(envvar="RETRAIN_VERSION", help="A model version instead of a stage")] = "",
    input: Annotated[  # noqa: A002 -- the option is called --input
        Path | None, typer.Option(help="Future rows, any file; default: the data registry's future file")
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(envvar="RETRAIN_DATA_REVISION", callback=_text, help="Data revision of the newest history"),
    ] = None,
    input_name: Annotated[
        str | None, typer.Option(envvar="RETRAIN_INPUT", callback=_text, help="Future rows, below prediction.inputs")
    ] = None,
    output_name: Annotated[
        str | None,
        typer.Option(envvar="RETRAIN_OUTPUT", callback=_text, help="With --publish: a name instead of dated ones"),
    ] = None,
    run_after: Annotated[
        str | None, typer.Option(envvar="RETRAIN_RUN_AFTER", help="With --publish: when the run was due; default: now")
    ] = None,
    dag_id: DagId = None,
    dag_run_id: DagRunId = None,
) -> None:
    """Forecast future rows with one version; records in MLflow which version predicted what."""
    from include.rossmann.prediction_request import PredictionRequest
    from include.rossmann.steps.predict import predict as run
    from include.rossmann.tracking import Origin

    request = PredictionRequest(
        stage=stage or None,
        version=version_number(version),
        revision=revision or None,
        input_file=input,
        input_name=input_name or None,
        output=output,
        publish=publish,
        output_name=output_name or None,
        moment=moment(run_after) if run_after else None,
    )
    result = run(load_config(), request, Origin(dag_id, dag_run_id))
    which = f"{result['model']} version {result['version']} ({result['stage']})"
    where = f" in {result['place']}" if "place" in result else ""
    names = ", ".join(item["name"] for item in result["outputs"])
    say([f"Predicted {result['rows']} rows with {which}: {names}{where}"])
    emit(result)


@app.command(rich_help_panel=PEOPLE)
def compare(
    a: Annotated[str, typer.Option("--a", help="Stage or version number")] = "Staging",
    b: Annotated[str, typer.Option("--b", help="The other one")] = "Production",
    page: Annotated[
        str | None, typer.Option(help="File or fsspec URL to write, NAME.html, with tables and pictures")
    ] = None,
) -> None:
    """Compare two versions on the same rows, which neither was trained on."""
    from include.rossmann.steps.compare import compare as run

    say(run(load_config(), a, b, page))


@app.command(rich_help_panel=PEOPLE)
def backtest(
    origins: Annotated[int, typer.Option(min=2, max=60, help="Forecast origins, one every horizon back")] = 6,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer boosting rounds: for experiments")] = False,
    revision: Annotated[str | None, typer.Option(callback=_text, help="Data revision; default: configured")] = None,
    page: Annotated[
        str | None, typer.Option(help="File or fsspec URL to write, NAME.html, with tables and pictures")
    ] = None,
) -> None:
    """Forecast the past from many origins, the full recipe at each; folds that have not changed are kept."""
    from include.rossmann.steps.backtest import backtest as run

    say(run(load_config(), origins=origins, quick=quick, revision=revision, page=page))


@app.command(rich_help_panel=PEOPLE)
def tune(
    booster: Annotated[str, typer.Option(help="lightgbm, xgboost or catboost")],
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to go on")] = 30,
    origins: Annotated[int, typer.Option(min=3, max=60, help="Forecast origins before the holdout's")] = 5,
    journal: Annotated[Path, typer.Option(help="File of the trials: named again, the search goes on")] = Path(
        "tuning.journal"
    ),
    revision: Annotated[str | None, typer.Option(callback=_text, help="Data revision; default: configured")] = None,
) -> None:
    """Search for better parameters of a booster on earlier origins; prints the change of the configuration."""
    from include.rossmann.steps.tune import tune as run

    config = load_config()
    chosen = configured_booster(config, booster)
    say(run(config, chosen, minutes=minutes, origins=origins, journal=journal, revision=revision))


@app.command(rich_help_panel=PEOPLE)
def history(
    model: ModelName = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of a table")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV instead of a table")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Check that the record is whole, instead")] = False,
    anchor: Annotated[
        list[str] | None, typer.Option(help="With --verify: ENTRY:DIGEST from a confirmation; may be repeated")
    ] = None,
    anchors: Annotated[
        Path | None, typer.Option(help="With --verify: a file that RETRAIN_LEDGER_ANCHORS collected")
    ] = None,
) -> None:
    """List the promotions: when, which version, who, why."""
    from include.rossmann import ledger_commands as run
    from include.rossmann.people import open_registry

    if as_json + as_csv + verify > 1:
        raise BadInputError("--json, --csv and --verify exclude one another: give one")
    if (anchor or anchors) and not verify:
        raise BadInputError("--anchor and --anchors are compared by --verify: give that as well")
    config = load_config()
    registry, name = open_registry(config), model or config.lifecycle.model
    if verify:
        say(run.verify(registry, name, anchor or [], anchors))
    else:
        listing = run.history_json if as_json else run.history_csv if as_csv else run.history
        say(listing(registry, name))


@app.command(name="live-at", rich_help_panel=PEOPLE)
def live_at(
    when: Annotated[str, typer.Argument(help="Time with its timezone, e.g. 2026-03-01T12:00Z")],
    model: ModelName = None,
) -> None:
    """Say which version was in Production at a time, who put it there and why."""
    from include.rossmann.ledger_commands import live_at as run
    from include.rossmann.people import open_registry

    config = load_config()
    say(run(open_registry(config), model or config.lifecycle.model, when))


@app.command(rich_help_panel=PEOPLE)
def reconcile() -> None:
    """Repair stages and aliases from the promotion ledger, e.g. after a crash."""
    from include.rossmann.people import reconcile as run

    say(run(load_config()))


@app.command(rich_help_panel=PEOPLE)
def retention(
    delete: Annotated[bool, typer.Option("--delete", help="Delete what may go; without it nothing is changed")] = False,
) -> None:
    """Say which versions are kept and why, and which may be deleted."""
    from include.rossmann.people import retention as run

    say(run(load_config(), delete=delete))


@app.command(rich_help_panel=PEOPLE)
def seal(version: Annotated[int, typer.Option(help="A version that was registered without digests")]) -> None:
    """Record the digests of a version's artifacts, as the store holds them now."""
    from include.rossmann.people import seal as run

    say(run(load_config(), version))


@app.command(name="seal-ledger", rich_help_panel=PEOPLE)
def seal_ledger(
    model: Annotated[str | None, typer.Option(help="Registered model; by default the configured one")] = None,
) -> None:
    """Take a promotion ledger from before there was a key on trust, once; read `history` first."""
    from include.rossmann.ledger_commands import seal as run
    from include.rossmann.people import open_registry

    config = load_config()
    say(run(open_registry(config), model or config.lifecycle.model))


@app.command(name="accept-ledger", rich_help_panel=PEOPLE)
def accept_ledger(
    reason: Reason,
    after: Annotated[
        str | None, typer.Option(help="ENTRY:DIGEST of the last entry that is known of, where all is lost")
    ] = None,
    model: ModelName = None,
) -> None:
    """Go on with a promotion ledger that is damaged or lost; the ledger keeps who accepted that and why."""
    from include.rossmann.people import accept_ledger as run

    config = load_config()
    say(run(config, model or config.lifecycle.model, reason, after))


@app.command(rich_help_panel=DATA)
def sample(
    folder: Annotated[Path, typer.Argument(help="Data registry to create or extend (a git repository)")],
    stores: Annotated[int, typer.Option(min=1, help="Number of stores")] = 120,
    months: Annotated[int, typer.Option(min=1, help="Length of the history")] = 30,
    extra_days: Annotated[int, typer.Option(min=0, help="Days more: the same past, a later revision")] = 0,
    spoil: Annotated[bool, typer.Option("--spoil", help="Shuffle the newest sales, so that the gate fails")] = False,
) -> None:
    """Make a data registry from generated sample data, or add a revision to it."""
    from include.rossmann.data.publish import publish_sample

    emit(publish_sample(folder, stores=stores, months=months, extra_days=extra_days, spoil=spoil))


@app.command(name="import-data", rich_help_panel=DATA)
def import_data(
    source: Annotated[Path, typer.Argument(help="Folder with train.csv, store.csv, maybe future.csv (or .csv.xz)")],
    folder: Annotated[Path, typer.Argument(help="Data registry to create or extend (a git repository)")],
) -> None:
    """Put the files of a folder, unchanged, into a data registry."""
    from include.rossmann.data.publish import publish_folder

    emit(publish_folder(folder, source))


@app.command(rich_help_panel=PEOPLE)
def config() -> None:
    """Print the configuration that holds, defaults filled in."""
    import yaml

    say([yaml.safe_dump(load_config().model_dump(mode="json"), sort_keys=False).rstrip()])


def proposed(config: RossmannConfig) -> int:
    """Return the version of the champion before, once whoever sits at the terminal agreed to it.

    :raises BadInputError: when there is no terminal, naming the version, or no such version
    """
    from include.rossmann.people import proposal

    version, known = proposal(config)
    if not sys.stdin.isatty():
        raise BadInputError(f"The rollback names no version; the champion before was {known}: give --version {version}")
    say([f"The champion before was {known}"])
    if not typer.confirm(f"Roll back to version {version}?", default=False):
        say(["Nothing was changed"])
        raise typer.Exit(1)
    return version


def configured_booster(config: RossmannConfig, name: str) -> Booster:
    """Return the booster of that name.

    :raises BadInputError: when the configuration has none, naming those it has
    """
    for booster in config.boosters:
        if booster == name:
            return booster
    raise BadInputError(f"unknown booster {name!r}: configured are {', '.join(config.boosters)}")


def version_number(text: str) -> int | None:
    """Return the version that a form's field names, None when it was left empty.

    :raises BadInputError: when it is not a number
    """
    if not text.strip():
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,8})(\.0)?", text.strip())  # 7.0 is a whole number to a form
    if not found:
        raise BadInputError(f"the version must be a whole number from 1, found {one_line(text, 40)!r}")
    return int(found[1])


def night_of(text: str) -> "pd.Timestamp | None":
    """Return the night that a form's field names, None when it was left empty.

    :raises BadInputError: when it is no day, or in no year that data is from
    """
    import pandas as pd

    from include.rossmann.forecaster.values import A_DAY, days_of

    if not text.strip():
        return None
    days, wrong = days_of(pd.Series([storable(text.strip())]))
    if wrong.any():
        raise BadInputError(f"the day must be {A_DAY}, found {one_line(text, 40)!r}")
    return pd.Timestamp(days.iloc[0])


def moment(text: str) -> datetime:
    """Return a time that names its timezone.

    :raises BadInputError: when it is none, or names no timezone
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise BadInputError(f"expected a time with its timezone, e.g. 2026-03-01T05:00Z, found {one_line(text, 60)!r}")
    return found


def emit(result: dict[str, Any]) -> None:
    """Print a step's result: one JSON object, the last line of stdout."""
    sys.stdout.write(json.dumps(result, sort_keys=True) + "\n")
    sys.stdout.flush()


def emit_gated(run: Callable[[], dict[str, Any]]) -> None:
    """Print a step's result, also that of a version which did not pass."""
    try:
        emit(run())
    except GateFailedError as error:
        emit(dict(error.result or {}))
        raise


def say(lines: list[str]) -> None:
    """Print lines for a person."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


class Discreet(logging.Formatter):
    """Shows no credentials of URLs, in tracebacks either."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return without_credentials(super().format(record))


def run_cli(command: Callable[[], Any]) -> int:
    """Run the command line and return its exit code.

    What we raise ourselves ends as one sentence on stderr; what we did not expect keeps its traceback, and
    the last line is still the sentence that an operator looks for.

    :param command: the typer application, or one like it
    """
    handler = logging.StreamHandler(sys.stderr)
    # Airflow gives each line a time of its own
    time = "" if os.environ.get(IN_AIRFLOW_ENV) else "%(asctime)s "
    handler.setFormatter(Discreet(f"{time}%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=os.environ.get("RETRAIN_LOG_LEVEL", "INFO"), handlers=[handler])
    # MLflow, which the commands import, would log in a form of its own
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # the server's with its password
    for noisy in ("alembic", "urllib3", "mlflow.store", "mlflow.tracking", "git", "dvc", "dvc_objects"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # stages are what the platform's users know; aliases are kept in step
    warnings.filterwarnings("ignore", message=".*Model Registry stages.*", category=FutureWarning)
    try:
        command()
    except RetrainError as error:
        sys.stderr.write(f"error: {without_credentials(storable(str(error)))}\n")
        return error.exit_code
    except Exception as error:  # the boundary of the process: log all, name one sentence
        if (sentence := no_answer(error)) is not None:
            sys.stderr.write(f"error: {sentence}\n")
            return RetrainError.exit_code
        log.exception("Unexpected failure")
        sys.stderr.write(f"error: {type(error).__name__}: {one_line(without_credentials(str(error)), 2000)}\n")
        return 1
    return 0


def main() -> None:
    """Entry point of ``python -m include.rossmann``."""
    # Boosters train side by side: a waiting OpenMP thread that spins takes the core that another one needs
    # (measured: 70 s instead of 3 s). Read when a booster is loaded, which the commands do.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run_cli(app))
