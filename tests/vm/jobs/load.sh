#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# load.sh PROGRAM: tests/vm/load.c, built.
exec "${1:-build/tests/vm/load}"
