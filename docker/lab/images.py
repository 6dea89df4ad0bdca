# SPDX-License-Identifier: GPL-2.0
"""The two images of the Dockerfile, and what they are based on."""
import os

from lab import Failure
from lab.tools import DOCKER_DIR, ROOT, finish

OFFICIAL = "debian:bookworm-slim"
TARGETS = ("weir", "demo")
MARK = "weir.demo"  # on images that are large, of which only the last ones are of use
BUILD_SECONDS = 1800


def base(engine, say):
    """Debian's image, from the registry where one answers; else the one base.sh makes."""
    chosen = os.environ.get("WEIR_DEMO_BASE")
    if chosen:
        return chosen
    if not engine.docker("image", "inspect", OFFICIAL, check=False).returncode:
        return OFFICIAL
    say(f"asking the registry for {OFFICIAL}, or making a base image")
    try:
        if not engine.docker("pull", "-q", OFFICIAL, check=False, timeout=120).returncode:
            return OFFICIAL
    except Failure:
        pass
    return finish([f"{DOCKER_DIR}/base.sh"], "base image", timeout=600).stdout.strip()


def build(engine, project, say):
    """Makes PROJECT:weir and PROJECT:demo; what has not changed is not made again."""
    of = base(engine, say)
    # The classic builder's cache is images: the one without a name would be anybody's to remove.
    for target in TARGETS if engine.buildkit == "1" else ("build", *TARGETS):
        image = f"{project}:{target}"
        say(f"image {image} from {of}")
        engine.docker("build", "-q", "--force-rm", "--network", "host",
                      "-f", f"{DOCKER_DIR}/Dockerfile", "--build-arg", f"BASE={of}",
                      "--target", target, "-t", image, ROOT,
                      what=f"image {image}", timeout=BUILD_SECONDS,
                      env={**os.environ, "DOCKER_BUILDKIT": engine.buildkit})
    engine.docker("image", "prune", "-f", "--filter", f"label={MARK}")
