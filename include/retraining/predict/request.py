"""What a prediction is asked for: by a person at the command line, who may name any file, or in a form, who may not.

A form of Airflow is filled in by whoever may trigger the DAG. What it names is a name below a configured place, never a
path or URL, and what it changes is written beside, never as the newest prediction.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from include.lifecycle.errors import BadInputError
from include.retraining.config.model import ModelConfig
from include.retraining.files import destination
from include.retraining.output_names import checked_name, format_of

STAGES = ("Production", "Staging")


@dataclass(frozen=True)
class PredictionRequest:
    """What is to be predicted, and where that goes.

    :param stage: whose newest version predicts; by default the configured one
    :param version: a version instead
    :param revision: data revision of the newest history; by default the configured one
    :param input_file: rows to forecast, named by a person at the command line
    :param input_name: rows to forecast, named in a form: below the configured ``prediction.inputs``
    :param output: file or URL to write, named by a person at the command line
    :param publish: write to the configured place as well
    :param output_name: there as a file of this name, named in a form, instead of under dated names
    :param moment: when the run was due, with a timezone; by default now
    """

    stage: str | None = None
    version: int | None = None
    revision: str | None = None
    input_file: Path | None = None
    input_name: str | None = None
    output: str | Path | None = None
    publish: bool = False
    output_name: str | None = None
    moment: datetime | None = None

    def check(self) -> None:
        """Refuse what cannot work before anything is loaded.

        :raises BadInputError: says what to give instead
        """
        if self.stage is not None and self.version is not None:
            raise BadInputError("a stage and a version exclude one another: give one")
        if self.stage is not None and self.stage not in STAGES:
            raise BadInputError(f"unknown stage {self.stage!r}: predict with {' or '.join(STAGES)}")
        if self.input_file is not None and self.input_name:
            raise BadInputError("an input file and the name of an input exclude one another: give one")
        if self.output is None and not self.publish:
            raise BadInputError("nothing says where the predictions go: give --output FILE, or --publish")
        if self.output_name and not self.publish:
            raise BadInputError("an output's name is one below the configured place: it needs --publish")
        if self.output is not None:
            format_of(str(self.output))
            destination.check(str(self.output), ("",))
        if self.output_name:
            format_of(checked_name(self.output_name, "output"))
        if self.input_name:
            checked_name(self.input_name, "input")

    def is_usual(self, config: ModelConfig) -> bool:
        """Whether it predicts what the nights predict: only that may become the newest prediction of its stage."""
        return self.version is None and not self.is_own(config)

    def is_own(self, config: ModelConfig) -> bool:
        """Whether its rows, or the data that they are predicted from, are other than those of the nights."""
        rows = self.input_file is not None or bool(self.input_name)
        return rows or (self.revision or config.data.revision) != config.data.revision
