"""Command line of the local stack: ``make run`` and ``make stop`` call it."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from local_stack.credentials import password_file
from local_stack.errors import StackError
from local_stack.lock import only_one
from local_stack.lock import stop as stop_stack
from local_stack.preparation import DEFAULT_MODEL
from local_stack.processes import Processes
from local_stack.progress import Printer
from local_stack.session import Session
from local_stack.stack import PROJECT, Settings, Stack, clean_environment

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

StateDir = Annotated[Path, typer.Option(help="Folder for databases, models, logs and passwords")]


class Interrupted(BaseException):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)


def _on_signals(act: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, act)


def _say_where(stack: Stack, printer: Printer) -> None:
    login = stack.credentials
    shown = login.password if login.new else f"as before, see {password_file(stack.processes.state_dir)}"
    printer.line()
    printer.line(f"  Airflow  {stack.airflow.url}   login {login.user}, password {shown}")
    printer.line(f"  MLflow   {stack.mlflow.url}")
    printer.line(f"  Logs     {stack.processes.log_dir}   task logs: {stack.airflow.logs}")
    printer.line("  Stop     Ctrl-C here, or `make stop` elsewhere")
    printer.line()


def _work(settings: Settings, processes: Processes, printer: Printer, *, approve: bool, quick: bool) -> None:
    stack = Stack(settings, processes, printer)
    stack.start()
    _say_where(stack, printer)
    session = Session(stack, quick=quick)
    if approve:
        session.approve_and_predict()
    else:
        session.watch()


def checked_models(names: list[str]) -> tuple[str, ...]:
    """Return the models that are named, each once.

    :raises typer.BadParameter: when there is none of that name, naming those that there are
    """
    there = sorted(file.parent.name for file in (PROJECT / "include" / "models").glob("*/__main__.py"))
    if unknown := [name for name in names if name not in there]:
        raise typer.BadParameter(f"there is no model {unknown[0]!r}: MODEL names one of {', '.join(there)}")
    return tuple(dict.fromkeys(names))


@app.command()
def run(
    state_dir: StateDir = Path(".run"),
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with a file for each table of the first model; default: sample data"),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model to retrain, e.g. churn; may be repeated; default: rossmann")
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Approve, predict, stop and exit")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer boosting rounds: a try, not a release")] = False,
    airflow_port: Annotated[int, typer.Option(help="Port of Airflow on 127.0.0.1")] = 8080,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow on 127.0.0.1")] = 5000,
) -> None:
    """Start MLflow and Airflow, retrain, and wait for a person's approval (or give it)."""
    printer = Printer()
    state_dir = state_dir.resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    state_dir.chmod(0o700)
    settings = Settings(state_dir, airflow_port, mlflow_port, data, checked_models(model or [DEFAULT_MODEL]))
    processes = Processes(state_dir, clean_environment(os.environ), PROJECT, adopting=True)
    _on_signals(_interrupt)
    status = 0
    try:
        with only_one(state_dir):
            try:
                with processes:
                    try:
                        _work(settings, processes, printer, approve=approve, quick=quick)
                    finally:
                        # From here on a signal must not interrupt the stopping itself, only speed it up.
                        _on_signals(lambda *_: processes.hurry())
                        printer.status("Stopping ...")
            except Interrupted as interruption:
                # Without APPROVE=1, Ctrl-C is the way to end and no failure.
                status = 128 + interruption.number if approve or interruption.number != signal.SIGINT else 0
                printer.line(f"\nStopped ({interruption}). `make run` goes on from here.")
            else:
                printer.line("Everything is stopped; `make run` starts it again with what is there.")
    except StackError as error:
        printer.line()
        sys.stderr.write(f"error: {error}\n")
        status = 1
    raise typer.Exit(status)


@app.command()
def stop(state_dir: StateDir = Path(".run")) -> None:
    """Stop a stack that runs in another terminal, or what a killed one left."""
    try:
        Printer().line(stop_stack(state_dir.resolve()))
    except StackError as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
