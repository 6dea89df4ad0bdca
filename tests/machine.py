# SPDX-License-Identifier: GPL-2.0
"""What figures were measured on."""
import os
import platform


def machine():
    return {"kernel": platform.release(), "cpu": cpu_model(), "cpus": os.cpu_count()}


def cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
            return next(line.split(":")[1].strip() for line in info
                        if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"
