# SPDX-License-Identifier: GPL-2.0
"""The Docker engine and compose, as this machine has them; what is missing is installed."""
import os
import re
import shutil

from lab import Failure, daemon
from lab.tools import DOCKER_DIR, ROOT, NoEngine, finish, last_line

ANSWER = 60  # seconds
OTHER_PACKAGES = ("docker-ce", "containerd.io", "podman-docker")


def project_name():
    name = os.environ.get("WEIR_DEMO_NAME") or "weir-demo"
    if not re.fullmatch("[a-z0-9][a-z0-9-]{0,40}", name):
        raise Failure(f"WEIR_DEMO_NAME={name}: small letters, digits and - only, at most 41")
    return name


def answers():
    try:
        return not finish(["docker", "info", "-f", "{{.ServerVersion}}"], check=False,
                          timeout=ANSWER).returncode
    except Failure:
        return False


def check_endpoint():
    """Containers of another machine have their namespaces there."""
    where = os.environ.get("DOCKER_HOST") or finish(
        ["docker", "context", "inspect", "-f", "{{.Endpoints.docker.Host}}"],
        check=False).stdout.strip()
    if where and not where.startswith("unix://"):
        raise NoEngine(f"docker is set to use {where}: weir needs an engine of this host; unset "
                       "DOCKER_HOST, or docker context use default")
    return where


def check_kind():
    about = finish(["docker", "--version"], check=False).stdout
    if "podman" in about.lower():
        raise NoEngine("docker is Podman here: the demo needs Docker's own engine")
    if "rootless" in finish(["docker", "info", "-f", "{{.SecurityOptions}}"]).stdout:
        raise NoEngine("this Docker engine is rootless, and may load no BPF programs: unset "
                       "DOCKER_HOST, so that root's engine is used")


def install(group, wanted):
    done = finish([f"{ROOT}/tests/deps.sh", group], check=False, timeout=1200)
    if done.returncode:
        raise NoEngine(f"{wanted} is missing and cannot be installed: "
                       f"{last_line(done.stderr or done.stdout)}")


def has_other_package():
    for package in OTHER_PACKAGES if shutil.which("dpkg-query") else ():
        done = finish(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], check=False)
        if done.stdout == "installed":
            return package
    return None


def provide(name, work, say):
    """After this an engine answers, and the state file tells whether it is to be stopped."""
    where = check_endpoint() if shutil.which("docker") else ""
    if not where or not answers():
        if os.environ.get("DOCKER_HOST"):
            raise NoEngine(f"no engine answers at DOCKER_HOST={where}")
        if not shutil.which("dockerd"):
            other = has_other_package()
            if other:
                raise NoEngine(f"{other} is installed, but no engine answers: start it")
            say("installing docker.io")
            install("engine", "Docker")
        say("starting dockerd")
        daemon.start(name, work, answers)
    check_kind()


def release(name, say):
    """Stops the engine if a demo has started it, and nobody else has come to use it."""
    if daemon.started_by_demo(name) and answers():
        running = finish(["docker", "ps", "--format", "{{.Names}}"]).stdout.split()
        others = [other for other in running if not other.startswith(f"{name}-")]
        if others:
            say(f"the engine goes on, because it runs {', '.join(others)} by now; --clean stops it "
                "when they have ended")
            return
    daemon.stop(name)


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
        if not self.compose_argv:
            install("compose", "docker compose")
            self.compose_argv = find_compose()
        return finish([*self.compose_argv, "-p", project, "-f", f"{DOCKER_DIR}/compose.yaml",
                       *argv], env={**os.environ, **environment}, **how)
