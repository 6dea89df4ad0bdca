# SPDX-License-Identifier: GPL-2.0
"""What dockerd leaves in the host's network when it ends: forwarding, its bridge and its rules."""
import os
import pathlib
import shutil

from lab.tools import finish

SETTINGS = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding",
            "net/ipv6/conf/default/forwarding")
TABLES = ("nat", "filter", "raw", "mangle")


def snapshot():
    return {"settings": settings(), "bridge": os.path.exists("/sys/class/net/docker0"),
            "rules": {command: rules(command) for command in commands()}}


def settings():
    files = {name: pathlib.Path("/proc/sys", name) for name in SETTINGS}
    return {name: file.read_text(encoding="ascii").strip()
            for name, file in files.items() if file.exists()}


def commands():
    return [name for name in ("iptables", "ip6tables") if shutil.which(name)]


def rules(command):
    """Each as [table, rule], chains and policies among them; of a table that is not there, none."""
    return [[table, rule] for table in TABLES
            for rule in finish([command, "-w", "-t", table, "-S"], check=False).stdout.splitlines()]


def restore(before):
    """Only what is new and Docker's goes: others may have changed their rules meanwhile."""
    for command, earlier in before["rules"].items():
        new = [rule for rule in rules(command) if rule not in earlier]
        docker = [(table, rule.split()) for table, rule in new if "docker" in rule.lower()]
        # First the rules, those that lead to its chains among them, then its chains.
        for kind, undo in (("-A", "-D"), ("-N", "-X")):
            for table, words in docker:
                if words[0] == kind:
                    finish([command, "-w", "-t", table, undo, *words[1:]], check=False)
        now = rules(command)
        for table, rule in earlier:
            if rule.startswith("-P FORWARD") and [table, rule] not in now:
                finish([command, "-w", "-t", table, *rule.split()], check=False)
    if not before["bridge"] and os.path.exists("/sys/class/net/docker0"):
        finish(["ip", "link", "delete", "docker0"], check=False)
    for name, value in before["settings"].items():
        pathlib.Path("/proc/sys", name).write_text(value, encoding="ascii")
