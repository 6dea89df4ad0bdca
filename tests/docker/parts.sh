#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Parts of the containers' demo that need no container.
# shellcheck source=../netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"
host=$RUN-host
namespace "$host"

part() { # NAME
	inside "$host" timeout 300 python3 tests/docker/parts.py "$1"
}

check "requests that are never answered are counted, which wrk does not do" part unanswered
check "the table fits into 80 columns, and has ranges where there is more room" part table
check "an interruption is one though clearing up fails" part interruption
check "an engine that does not answer is told from one that was killed" part engine
check "units that a killed engine leaves running are stopped by the demo after it" part units
check "a mirror that does not answer is asked again; that, as an engine that cannot, is no fault of weir's" part mirror
check "a drained backend is idle when it is silent, where its connections are an estimate" part silence
check "the usage names all ways" docker/run.py --help
refused() { # ARGUMENTS...
	docker/run.py "$@"
	[ $? = 2 ]
}
check "no round is refused" refused --rounds 0
check "a way that is none is refused" refused --only nat
