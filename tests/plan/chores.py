"""Tasks for worker processes, which import this module by its name."""

import os
import signal
import time
from pathlib import Path


def echo(setting, value):
    return value


def fatal_once(setting, flag):
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def fatal(setting, number):
    os.kill(os.getpid(), signal.SIGKILL)


def slow(setting, number):
    time.sleep(0.02)
    return number
