# SPDX-License-Identifier: GPL-2.0
"""The Docker engine and compose, as this machine has them."""
import os
import subprocess

from lab import Failure

DOCKER_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(DOCKER_DIR)


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def finish(argv, what=None, check=True, timeout=60, env=None, text_in=None):
    """Runs argv to its end and returns it; a Failure names what was wanted and the last line said."""
    what = what or " ".join(argv)
    try:
        done = subprocess.run(argv, input=text_in, capture_output=True, text=True, timeout=timeout,
                              env=env, check=False, errors="replace",
                              start_new_session=True,
                              stdin=subprocess.DEVNULL if text_in is None else None)
    except subprocess.TimeoutExpired:
        raise Failure(f"{what}: no end after {timeout} s") from None
    except OSError as error:
        raise Failure(f"{what}: {argv[0]}: {error.strerror}") from None
    if check and done.returncode:
        raise Failure(f"{what}: {last_line(done.stderr or done.stdout)}")
    return done


def find_compose():
    for argv in (["docker", "compose"], ["docker-compose"]):
        try:
            if not finish([*argv, "version"], check=False).returncode:
                return argv
        except Failure:
            pass
    return None


class Engine:
    """The engine that answers to `docker`."""

    def __init__(self):
        self.compose_argv = find_compose()
        # The classic builder is announced to go, but is the only one where there is no plugin.
        has_buildx = not self.docker("buildx", "version", check=False).returncode
        self.buildkit = "1" if has_buildx else "0"

    def docker(self, *argv, **how):
        return finish(["docker", *argv], **how)

    def compose(self, project, environment, *argv, **how):
        return finish([*self.compose_argv, "-p", project, "-f", f"{DOCKER_DIR}/compose.yaml", *argv],
                      env={**os.environ, **environment}, **how)
