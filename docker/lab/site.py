# SPDX-License-Identifier: GPL-2.0
"""The containers of one project, by the names of their services."""
import contextlib
import ipaddress
import json
import os
import re
import subprocess
import time

from lab import Failure
from lab.engine import project_name
from lab.tools import NoEngine, finish, last_line

HOSTS = {"client": 2, "lb": 10, "course": 11, "tuned": 12, "stream": 13, "haproxy": 14, "nft": 15,
         "b1": 21, "b2": 22, "b3": 23, "vip": 100}
SERVES = ("b1", "b2", "b3", "course", "tuned", "stream", "haproxy", "nft")
PORT = 80
# What the engine says of a host that cannot do it; all else may be a fault of compose.yaml's.
CANNOT = re.compile("ip6?tables|IP tables|cgroup|seccomp|apparmor|overlay|no space left|not permitted",
                    re.IGNORECASE)
GONE = 300  # seconds

# Asks each address for / until it has answered with 200.
WAIT = """
ask() {
    exec 3<>"/dev/tcp/$1/80" && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 &&
        [ "$status" = 200 ]
}
for address; do
    until (ask "$address") 2>/dev/null; do sleep 0.05; done
done
"""

# The program ends when standard input does: `docker exec` passes on no signals.
LEASH = 'exec 3<&0; (read -r _ <&3; kill "$$") >/dev/null 2>&1 & exec "$@" </dev/null 3<&-'


class Inside(subprocess.Popen):
    """A program in a container. It is told to end by terminate(), and when this process ends."""

    def __init__(self, container, argv, **popen):
        ours, self.leash = os.pipe()
        try:
            super().__init__(["docker", "exec", "-i", container, "sh", "-c", LEASH, "sh", *argv],
                             stdin=ours, start_new_session=True, **popen)
        finally:
            os.close(ours)

    def terminate(self):
        if self.leash is not None:
            os.close(self.leash)
            self.leash = None

    kill = terminate

    def __del__(self):
        self.terminate()
        super().__del__()


class Site:
    families = (4, 6)

    def __init__(self, engine, families=families):
        self.engine, self.families = engine, families
        self.name = project_name()
        self.net = {4: os.environ.get("WEIR_DEMO_NET4", "10.99.77"),
                    6: os.environ.get("WEIR_DEMO_NET6", "fd99:77:")}
        self.bridge = self.name[:15]
        self.environment = {"WEIR_DEMO_NAME": self.name, "WEIR_DEMO_BRIDGE": self.bridge,
                            "WEIR_DEMO_NET4": self.net[4], "WEIR_DEMO_NET6": self.net[6]}

    def address(self, service, family):
        return f"{self.net[family]}{'.' if family == 4 else ':'}{HOSTS[service]}"

    def vip(self, family):
        return self.address("vip", family)

    def url(self, address, path="/"):
        host = f"[{address}]" if ":" in address else address
        return f"http://{host}:{PORT}{path}"

    def container(self, service):
        return f"{self.name}-{service}"

    def up(self, *services):
        """Starts these services, or all, and returns when each serves."""
        up = ("up", "-d", "--no-build", *services)
        done = self.engine.compose(self.name, self.environment, *up, check=False, timeout=600)
        if done.returncode:
            # Once more: a busy engine may have given up one of them, and those that run stay.
            done = self.engine.compose(self.name, self.environment, *up, check=False, timeout=600)
        if done.returncode:
            raise self.why_not_up(done.stderr)
        self.check_host("lb" if not services or "weir" in services else services[0])
        self.wait(*(services or (*SERVES, "weir")))

    def check_networks(self):
        """Docker looks at its own networks, not at the host's other routes and devices. Half of all
        addresses is what a VPN has instead of a default route."""
        if os.path.exists(f"/sys/class/net/{self.bridge}"):
            raise Failure(f"there is a device {self.bridge}, which is what the bridge is to be "
                          f"called: set WEIR_DEMO_NAME, or ip link delete {self.bridge}")
        for family, rest in ((4, ".0/24"), (6, ":/64")):
            try:
                own = ipaddress.ip_network(self.net[family] + rest)
            except ValueError:
                raise Failure(f"WEIR_DEMO_NET{family}={self.net[family]}: {self.net[family]}{rest} "
                              "is no network; 10.99.78 and fd99:78: are good ones") from None
            for route in json.loads(finish(["ip", "-j", f"-{family}", "route"]).stdout or "[]"):
                if route["dst"] == "default":
                    continue
                other = ipaddress.ip_network(route["dst"])
                if other.prefixlen > 1 and own.overlaps(other):
                    raise Failure(self.in_use(f"{route['dst']} of {route.get('dev', 'this host')}"))

    def in_use(self, by):
        return (f"{self.net[4]}.0/24 or {self.net[6]}:/64 is in use by {by}: "
                "set WEIR_DEMO_NET4 (as in 10.99.78) and WEIR_DEMO_NET6 (as in fd99:78:)")

    def check_host(self, service):
        """Whether the engine's processes are this host's."""
        try:
            with open(f"/proc/{self.pid(service)}/root/etc/hostname", encoding="ascii") as hostname:
                if hostname.read().strip() == service:
                    return
        except OSError:
            pass
        raise NoEngine("the engine runs its containers in a virtual machine or on another host, "
                       "where weir cannot be watched: run this where the engine is")

    def why_not_up(self, said):
        if "overlap" in said.lower():
            return Failure(self.in_use("another network of Docker"))
        errors = [line.strip() for line in said.splitlines() if "error" in line.lower()
                  and "Encountered errors" not in line]
        kind = NoEngine if CANNOT.search(said) and "No such image" not in said else Failure
        return kind(f"containers do not start: {errors[-1] if errors else last_line(said)}")

    def wait(self, *services, seconds=120):
        addresses = [self.address(service, family) for service in services if service in SERVES
                     for family in self.families]
        if addresses:
            asker = "client" if self.is_up("client") else services[0]
            self.run(asker, "bash", "-c", WAIT, "wait", *addresses, timeout=seconds)
        if "weir" in services:
            self.weir("status")

    def is_up(self, service):
        done = self.engine.docker("inspect", "-f", "{{.State.Running}}", self.container(service),
                                  check=False)
        return done.stdout.strip() == "true"

    def down(self):
        """Removes everything that carries the project's name, whoever left it. What was being made
        or removed when another run was killed may come up late, or be in the way for a moment."""
        end = time.monotonic() + GONE
        while any([self.remove(kind) for kind in ("container", "network", "volume")]):
            if time.monotonic() > end:
                raise Failure(f"containers of {self.name} cannot be removed: docker ps -a")

    def remove(self, kind):
        """Whether there was any."""
        everything = ["--all"] if kind == "container" else []
        found = self.engine.docker(kind, "ls", "-q", *everything, "--filter",
                                   f"label=com.docker.compose.project={self.name}").stdout.split()
        force = [] if kind == "network" else ["--force"]
        # One by one: of several at a time Docker 20.10 may forget to count one as off its network,
        # which "has active endpoints" then for as long as the engine runs.
        for one in found:
            with contextlib.suppress(Failure):  # which down() tells, if it stays so
                self.engine.docker(kind, "rm", *force, one, check=False)
        return bool(found)

    def start(self, service):
        self.engine.docker("start", self.container(service))
        self.wait(service)

    def stop(self, service):
        self.engine.docker("stop", self.container(service))

    def run(self, service, *argv, timeout=180, check=True, input=None):
        """What argv writes on standard output in the service's container."""
        what = f"{service}: {argv[0]}"
        if input is not None:
            return self.engine.docker("exec", "-i", self.container(service), *argv, what=what,
                                      check=check, timeout=timeout, text_in=input).stdout
        process = self.spawn(service, *argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, errors="replace")
        try:
            said, complaint = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"{what}: no end after {timeout} s") from None
        finally:
            process.terminate()
        if process.returncode and check:
            raise Failure(f"{what}: {last_line(complaint or said)}")
        return said

    def spawn(self, service, *argv, **popen):
        return Inside(self.container(service), argv, **popen)

    def pid(self, service):
        pid = int(self.engine.docker("inspect", "-f", "{{.State.Pid}}",
                                     self.container(service)).stdout)
        if not pid:
            raise Failure(f"container {self.container(service)} is not running: "
                          f"docker logs {self.container(service)}")
        return pid

    def cgroup(self, service):
        """Of version 2, as a path below its mount."""
        with open(f"/proc/{self.pid(service)}/cgroup", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("0::"):
                    return line[3:].strip()
        raise Failure("no cgroups of version 2 here, which 'weir sock' needs")

    def on_host(self, service, *argv):
        """argv, a program of this host, in the container's network namespace."""
        return finish(["nsenter", f"--net=/proc/{self.pid(service)}/ns/net", *argv],
                      what=f"{service}: {argv[0]}").stdout

    def far_end(self, service):
        """The name of the host's end of the container's eth0."""
        index = self.run(service, "cat", "/sys/class/net/eth0/iflink").strip()
        for name in os.listdir("/sys/class/net"):
            with open(f"/sys/class/net/{name}/ifindex", encoding="ascii") as own:
                if own.read().strip() == index:
                    return name
        raise Failure(f"the far end of {service}'s eth0, device {index}, is not in this namespace")

    def weir(self, *args):
        return self.run("weir", "weir", *args)

    def weir_json(self, *args):
        return json.loads(self.weir("-j", *args))
