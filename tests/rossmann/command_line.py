"""The command line without a process of its own: a start of Python with its imports takes seconds."""

import contextlib
import io
import sys
from dataclasses import dataclass

import pytest

from include.lifecycle.cli.console import run_cli
from include.models.rossmann.cli import app


@dataclass(frozen=True)
class Done:
    """What a command left behind: exit code and texts."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def sentence(self) -> str:
        """The last line of stderr."""
        return (self.stderr.strip().splitlines() or [""])[-1]


def run(*arguments: str, **variables: str) -> Done:
    """Run a command as its process does.

    :param arguments: of the command line
    :param variables: environment variables
    """
    # UTF-8, as the process's own: a text that cannot be written there is an error here too
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["include.models.rossmann", *arguments])
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            code = run_cli(app)
        except SystemExit as error:  # how typer ends
            code = int(error.code or 0)
    return Done(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))
