# SPDX-License-Identifier: GPL-2.0
"""The two images of the Dockerfile, and what they are based on."""
import contextlib
import functools
import os
import re
import time

from lab import Failure
from lab.tools import DOCKER_DIR, ROOT, NoEngine, finish

OFFICIAL = "debian:bookworm-slim"
OWN = "weir-base"
TARGETS = ("weir", "demo")
MARK = "weir.demo"  # on images that are large, of which only the last ones are of use
BUILD_SECONDS = 1800
TRIES, PAUSE = 3, 10  # seconds
NOT_OURS = re.compile(r"apt-get|deps\.sh|base image|no space left", re.IGNORECASE)


def base(engine, say):
    """Debian's image, from the registry where one answers; else the one base.sh makes. Another one
    than last time would have all images made again."""
    chosen = os.environ.get("WEIR_DEMO_BASE")
    if chosen:
        return chosen
    if not engine.docker("image", "inspect", OFFICIAL, check=False).returncode:
        return OFFICIAL
    say(f"asking the registry for {OFFICIAL}, or making a base image")
    if not engine.docker("image", "ls", "-q", OWN).stdout:
        with contextlib.suppress(Failure):
            if not engine.docker("pull", "-q", OFFICIAL, check=False, timeout=120).returncode:
                return OFFICIAL
    return patiently(lambda: finish([f"{DOCKER_DIR}/base.sh"], "base image", timeout=900), say
                     ).stdout.strip()


def patiently(make, say):
    """A mirror that does not answer may do so later; one that never does is no fault of weir's,
    as a full disk is none."""
    for left in reversed(range(TRIES)):
        try:
            return make()
        except Failure as failure:
            if not NOT_OURS.search(str(failure)):
                raise
            if not left:
                raise NoEngine(str(failure)) from None
            say(f"once more: {failure}")
            time.sleep(PAUSE)


def build(engine, project, say):
    """Makes PROJECT:weir and PROJECT:demo; what has not changed is not made again."""
    of = base(engine, say)
    # The classic builder's cache is images: the one without a name would be anybody's to remove.
    for target in TARGETS if engine.buildkit == "1" else ("build", *TARGETS):
        image = f"{project}:{target}"
        say(f"image {image} from {of}")
        argv = ("build", "-q", "--force-rm", "--network", "host",
                "-f", f"{DOCKER_DIR}/Dockerfile", "--build-arg", f"BASE={of}",
                "--target", target, "-t", image, ROOT)
        how = {"what": f"image {image}", "timeout": BUILD_SECONDS,
               "env": {**os.environ, "DOCKER_BUILDKIT": engine.buildkit}}
        patiently(functools.partial(engine.docker, *argv, **how), say)
    # In vain where somebody else prunes at the same time.
    engine.docker("image", "prune", "-f", "--filter", f"label={MARK}", check=False)
