# SPDX-License-Identifier: GPL-2.0
"""The containerized demo: what run.py drives."""


class Failure(Exception):
    """One line for whoever runs the demo: what, why, what to do."""


class Interrupted(BaseException):
    """By the signal whose number it has."""


def unless_interrupted(failure):
    """The demo goes on after a failure, but not after one of clearing up when it was to end."""
    cause = failure
    while cause := cause.__context__:
        if isinstance(cause, Interrupted):
            raise cause
    return str(failure)
