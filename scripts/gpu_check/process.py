"""Processes that must not outlive their time."""

import os
import signal
import subprocess
import time


def end_session(process):
    """Ends the program's session: its group first, so that nothing is left holding the GPU."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGTERM:
            time.sleep(0.2)
