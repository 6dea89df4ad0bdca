# SPDX-License-Identifier: GPL-2.0
"""The containerized demo: what run.py drives."""


class Failure(Exception):
    """One line for whoever runs the demo: what, why, what to do."""
