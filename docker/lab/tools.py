# SPDX-License-Identifier: GPL-2.0
"""Programs run to their end."""
import os
import subprocess

from lab import Failure

DOCKER_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(DOCKER_DIR)


class NoEngine(Failure):
    """Nothing is wrong with weir, but here the demo cannot run."""


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def finish(argv, what=None, check=True, timeout=180, env=None, text_in=None):
    """Runs argv to its end and returns it; a Failure names what was wanted and the last line said.
    Ctrl-C at a terminal is for this process alone."""
    what = what or " ".join(argv)
    try:
        done = subprocess.run(argv, input=text_in, capture_output=True, text=True, timeout=timeout,
                              env=env, check=False, errors="replace", start_new_session=True,
                              stdin=subprocess.DEVNULL if text_in is None else None)
    except subprocess.TimeoutExpired:
        raise Failure(f"{what}: no end after {timeout} s") from None
    except OSError as error:
        raise Failure(f"{what}: {argv[0]}: {error.strerror}") from None
    if check and done.returncode:
        raise Failure(f"{what}: {last_line(done.stderr or done.stdout)}")
    return done
