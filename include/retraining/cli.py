"""Command line of any model: the steps of its pipeline, and what a person needs beside them.

A step prints one JSON object as the last line of stdout; everything else goes to stderr. Values that
somebody typed into a form reach a step through environment variables only.
"""

import os
import re
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from include.lifecycle.cli.commands import add_commands
from include.lifecycle.cli.console import PEOPLE, emit, emit_gated, moment, run_cli, say, typed, version_number
from include.lifecycle.errors import BadInputError
from include.lifecycle.untrusted_text import one_line, storable
from include.retraining.config.model import ModelConfig

if TYPE_CHECKING:
    import pandas as pd

    from include.retraining.pipeline import Pipeline

STEPS = "Steps of the nightly retrain (each prints one JSON line)"
DATA = "Data registry"
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
YEARS = range(1990, 2100)


@dataclass(frozen=True)
class Named:
    """A model as its command line knows it before anything heavy is imported.

    :param name: of its package and its configuration
    :param reference: ``module:NAME`` of the object that fulfils ``Pipeline``
    :param steps: which of ``prepare``, ``train`` and ``combine`` it has
    :param tables: the tables that each revision of its data registry has, beside ``future``
    """

    name: str
    configuration: type[ModelConfig]
    reference: str
    steps: tuple[str, ...]
    tables: tuple[str, ...]

    def config(self) -> Any:
        """Return its configuration.

        :raises BadInputError: names file, field, value and what was expected
        """
        return self.configuration.of(self.name)

    def model(self) -> "Pipeline[Any, Any]":
        """Return the model."""
        from include.retraining.protocol import find_model

        return cast("Pipeline[Any, Any]", find_model(self.reference))


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
DagId = Annotated[str | None, typer.Option(envvar="RETRAIN_DAG_ID", callback=typed, help="Airflow DAG, for the record")]
DagRunId = Annotated[
    str | None,
    typer.Option(envvar="RETRAIN_DAG_RUN_ID", callback=typed, help="Airflow run; makes retries idempotent"),
]
Revision = Annotated[
    str | None,
    typer.Option(envvar="RETRAIN_DATA_REVISION", callback=typed, help="Branch, tag or commit; default: configured"),
]
RunAfter = Annotated[str | None, typer.Option(envvar="RETRAIN_RUN_AFTER", help="When the run was due; default: now")]


def model_app(named: Named, description: str | None = None) -> typer.Typer:
    """Return a model's command line, to which it may add commands of its own."""
    app = typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=description or __doc__
    )
    _add_training(app, named)
    _add_judging(app, named)
    _add_use(app, named)
    _add_data(app, named)
    add_commands(app, lambda: named.config().lifecycle)
    return app


def _add_training(app: typer.Typer, named: Named) -> None:
    @app.command(rich_help_panel=STEPS)
    def pull(
        revision: Revision = None,
        dag_id: DagId = None,
        dag_run_id: DagRunId = None,
        note: Annotated[str, typer.Option(envvar="RETRAIN_NOTE", callback=typed, help="Remark kept with the run")] = "",
        quick: Annotated[
            bool, typer.Option("--quick", envvar="RETRAIN_QUICK", help="Less training: a try, not a release")
        ] = False,
        origins: Annotated[
            int,
            typer.Option(
                envvar="RETRAIN_ORIGINS", min=1, max=60, help="Forecast origins of the backtest; 1: the holdout's"
            ),
        ] = 1,
    ) -> None:
        """Open the retrain's MLflow run; get, check and log the data."""
        from include.retraining.run import Origin
        from include.retraining.steps.pull import pull as run

        asked = Origin(dag_id, dag_run_id, note)
        emit(run(named.model(), named.config(), asked, revision=revision or None, quick=quick, origins=origins))

    if "prepare" in named.steps:

        @app.command(rich_help_panel=STEPS)
        def prepare(run_id: RunId) -> None:
            """Make what all members train on."""
            from include.retraining.steps.train import prepare as run

            emit(run(named.model(), named.config(), run_id))

    if "train" in named.steps:

        @app.command(rich_help_panel=STEPS)
        def train(member: Annotated[str, typer.Option(help="Which member of the model")], run_id: RunId) -> None:
            """Train one member, as it is served and without the holdout."""
            from include.retraining.steps.train import train as run

            emit(run(named.model(), named.config(), run_id, member))

    if "combine" in named.steps:

        @app.command(rich_help_panel=STEPS)
        def combine(run_id: RunId) -> None:
            """Make one model of the members."""
            from include.retraining.steps.train import combine as run

            emit(run(named.model(), named.config(), run_id))

    @app.command(rich_help_panel=STEPS)
    def register(run_id: RunId) -> None:
        """Log what was trained as one model and register it as a new model version."""
        from include.retraining.steps.register import register as run

        emit(run(named.model(), named.config(), run_id))


def _add_judging(app: typer.Typer, named: Named) -> None:
    @app.command(rich_help_panel=STEPS)
    def validate(run_id: RetrainOf = None, version: VersionOf = None) -> None:
        """Score the registered version's backtest member on the holdout and apply the gate."""
        from include.retraining.steps.validate import validate as run

        emit_gated(lambda: run(named.model(), named.config(), run_id=run_id, version=version))

    @app.command(rich_help_panel=STEPS)
    def review(run_id: RetrainOf = None, version: VersionOf = None) -> None:
        """Compare a version with Production, answer the checklist, keep the page that an approver reads."""
        from include.retraining.steps.review import review as run

        emit_gated(lambda: run(named.model(), named.config(), run_id=run_id, version=version))

    @app.command(rich_help_panel=STEPS)
    def monitor(
        revision: Revision = None,
        day: Annotated[
            str, typer.Option(envvar="RETRAIN_DAY", help="The night to judge, e.g. 2026-03-01; default: the newest")
        ] = "",
        run_after: RunAfter = None,
        dag_id: DagId = None,
        dag_run_id: DagRunId = None,
    ) -> None:
        """Judge predictions by what came true: live error, bias, drift, coverage; ask for a retrain when needed."""
        from include.retraining.run import Origin
        from include.retraining.steps.monitor import monitor as run

        night = night_of(day)
        origin = Origin(dag_id, dag_run_id, "")
        at = moment(run_after) if run_after else None
        emit(run(named.model(), named.config(), origin, revision=revision or None, day=night, moment=at))

    @app.command(rich_help_panel=STEPS)
    def check(
        version: Annotated[
            str, typer.Option(envvar="RETRAIN_VERSION", help="A version that was in Production; empty: the one before")
        ] = "",
    ) -> None:
        """Check that a version can be rolled back to: digests, loading, a sample prediction."""
        from include.retraining.steps.check import check as run

        emit(run(named.model(), named.config(), version=version_number(version)))

    @app.command(rich_help_panel=PEOPLE)
    def compare(
        a: Annotated[str, typer.Option("--a", help="Stage or version number")] = "Staging",
        b: Annotated[str, typer.Option("--b", help="The other one")] = "Production",
        page: Annotated[
            str | None, typer.Option(help="File or fsspec URL to write, NAME.html, with tables and pictures")
        ] = None,
    ) -> None:
        """Compare two versions on the same rows, which neither was trained on."""
        from include.retraining.steps.compare import compare as run

        say(run(named.model(), named.config(), a, b, page))


def _add_use(app: typer.Typer, named: Named) -> None:
    @app.command(rich_help_panel=PEOPLE)
    def predict(
        output: Annotated[
            str | None, typer.Option(help="File or fsspec URL to write; its name decides: .csv, .csv.gz or .parquet")
        ] = None,
        publish: Annotated[
            bool,
            typer.Option("--publish", help="Write to the configured place: dated names, and a pointer to the newest"),
        ] = False,
        stage: Annotated[
            str | None,
            typer.Option(envvar="RETRAIN_STAGE", help="Production or Staging; default: the configured one"),
        ] = None,
        version: Annotated[str, typer.Option(envvar="RETRAIN_VERSION", help="A model version instead of a stage")] = "",
        input: Annotated[  # noqa: A002 -- the option is called --input
            Path | None, typer.Option(help="Rows to predict, any file; default: the data registry's future file")
        ] = None,
        revision: Revision = None,
        input_name: Annotated[
            str | None,
            typer.Option(envvar="RETRAIN_INPUT", callback=typed, help="Rows to predict, below prediction.inputs"),
        ] = None,
        output_name: Annotated[
            str | None,
            typer.Option(envvar="RETRAIN_OUTPUT", callback=typed, help="With --publish: a name instead of dated ones"),
        ] = None,
        run_after: RunAfter = None,
        dag_id: DagId = None,
        dag_run_id: DagRunId = None,
    ) -> None:
        """Predict rows with one version; records in MLflow which version predicted what."""
        from include.retraining.predict.request import PredictionRequest
        from include.retraining.run import Origin
        from include.retraining.steps.predict import predict as run

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
        result = run(named.model(), named.config(), request, Origin(dag_id, dag_run_id))
        which = f"{result['model']} version {result['version']} ({result['stage']})"
        where = f" in {result['place']}" if "place" in result else ""
        names = ", ".join(item["name"] for item in result["outputs"])
        say([f"Predicted {result['rows']} rows with {which}: {names}{where}"])
        emit(result)

    @app.command(rich_help_panel=PEOPLE)
    def config(
        schema: Annotated[bool, typer.Option("--schema", help="A JSON schema for editors, instead")] = False,
    ) -> None:
        """Print the configuration that holds, defaults filled in."""
        if schema:
            import json

            say([json.dumps(named.configuration.model_json_schema(), indent=2)])
            return
        import yaml

        say([yaml.safe_dump(named.config().model_dump(mode="json"), sort_keys=False).rstrip()])


def _add_data(app: typer.Typer, named: Named) -> None:
    @app.command(name="import-data", rich_help_panel=DATA)
    def import_data(
        source: Annotated[Path, typer.Argument(help="Folder with a file for each table, .csv (.xz, .gz) or .parquet")],
        folder: Annotated[Path, typer.Argument(help="Data registry to create or extend (a git repository)")],
    ) -> None:
        """Put the files of a folder, unchanged, into a data registry."""
        from include.retraining.data_source.publish import publish_data

        emit({"registry": str(folder), "commit": publish_data(named.tables, folder, source)})


def night_of(text: str) -> "pd.Timestamp | None":
    """Return the night that a form's field names, None when it was left empty.

    :raises BadInputError: when it is no day, or in no year that data is from
    """
    import pandas as pd

    if not text.strip():
        return None
    try:
        day = date.fromisoformat(text.strip()) if DAY.fullmatch(text.strip()) else None
    except ValueError:
        day = None
    if day is None or day.year not in YEARS:
        expected = f"a day such as 2026-03-01, from {YEARS[0]} to {YEARS[-1]}"
        raise BadInputError(f"the day must be {expected}, found {one_line(storable(text), 40)!r}")
    return pd.Timestamp(day)


def main(app: typer.Typer) -> None:
    """Run a model's command line, and exit."""
    # Members train side by side: a waiting OpenMP thread that spins takes the core that another one needs
    # (measured: 70 s instead of 3 s). Read when a library is loaded, which the commands do.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run_cli(app))
