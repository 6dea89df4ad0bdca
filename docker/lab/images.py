# SPDX-License-Identifier: GPL-2.0
"""The two images of the Dockerfile, and what they are based on."""
import os

from lab import Failure
from lab.engine import DOCKER_DIR, ROOT, finish

OFFICIAL = "debian:bookworm-slim"
TARGETS = ("weir", "demo")
BUILD_SECONDS = 1800


def base(engine):
    """Debian's image, from the registry where one answers; else the one base.sh makes."""
    chosen = os.environ.get("WEIR_DEMO_BASE")
    if chosen:
        return chosen
    if not engine.docker("image", "inspect", OFFICIAL, check=False).returncode:
        return OFFICIAL
    try:
        if not engine.docker("pull", "-q", OFFICIAL, check=False, timeout=120).returncode:
            return OFFICIAL
    except Failure:
        pass
    return finish([f"{DOCKER_DIR}/base.sh"], "base image", timeout=600).stdout.strip()


def build(engine, project):
    """Makes PROJECT:weir and PROJECT:demo; what has not changed is not made again."""
    of = base(engine)
    for target in TARGETS:
        engine.docker("build", "-q", "--network", "host", "-f", f"{DOCKER_DIR}/Dockerfile",
                      "--build-arg", f"BASE={of}", "--target", target, "-t", f"{project}:{target}",
                      ROOT, what=f"image {project}:{target}", timeout=BUILD_SECONDS,
                      env={**os.environ, "DOCKER_BUILDKIT": engine.buildkit})
