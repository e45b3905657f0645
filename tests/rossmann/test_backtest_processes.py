"""A backtest's trainings are processes of their own, which do not outlive it."""

import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
BUSY = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from include.models.rossmann.steps.backtest import begin_process

if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=begin_process) as processes:
        print(processes.submit(os.getpid).result(), flush=True)
        processes.submit(time.sleep, 600)
        time.sleep(600)
"""


def test_a_killed_backtest_leaves_no_training_behind(tmp_path: Path) -> None:
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    environment = {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        training = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert training.wait(30) is None or not training.is_running()
