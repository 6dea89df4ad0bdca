#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What all of `weir tcp ...` have in common: filters, pace, ends, output, loss; pins of every tracer, two
# instances, and kill -9 while one is pinned.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24
#        fd09::1/64                fd09::2/64
# shellcheck source=../../tcp/seen.sh
. "$(dirname "$0")/../../tcp/seen.sh"
seen sock/inet_sock_set_state
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../cgroup.sh
. tests/cgroup.sh
# shellcheck source=../../tcp/lib.sh
. tests/tcp/lib.sh
trap 'cgroups_remove; finish' EXIT
pair
WEIR_TIMEOUT=120
cgroup_make "$RUN/outer/inner" "$RUN/other"
mapfile -t tracers < <(tracer_names .can_be_pinned)

# ---- filters ----

dialers=()
dial() { # CGROUP ARGUMENTS...: waits for the sign
	local n=${#dialers[@]}
	cgroup_background "$1" python3 tests/tcp/frame.py dial "${@:2}" --wait "$SCRATCH/ready.$n" \
		>"$SCRATCH/truth.$n" 2>"$SCRATCH/errors.$n"
	dialers+=($!)
	await 60 test -e "$SCRATCH/ready.$n"
}

all_dial() {
	local pid
	kill -USR1 "${dialers[@]}"
	for pid in "${dialers[@]}"; do
		wait "$pid" || { cat "$SCRATCH"/errors.*; return 1; }
	done
	cat "$SCRATCH"/truth.* >"$SCRATCH/truth"
}

dial "$RUN/outer" 127.0.0.1 80 --client-netns "$host" --server-netns "$host"
dial "$RUN/outer" ::1 8080 --client-netns "$host" --server-netns "$host"
dial "$RUN/outer/inner" ::ffff:127.0.0.1 8081 --client-netns "$host" --server-netns "$host"
dial "$RUN/outer/inner" 127.0.0.1 443 --client-netns "$client" --server-netns "$client"
# A namespace may be told by a process in it.
background "$client" sleep 3000
there=$!
dial "$RUN/other" 10.9.0.2 81 --client-netns "$client" --server-netns "$host"
dial "$RUN/other" fd09::2 82 --client-netns "$client" --server-netns "$host"

# One FILTER of words a line, all together beside the same connections.
mapfile -t filters <<-EOF
	--netns $host
	--netns $there
	--netns $client --port 443
	--port 80
	--port 81-82,8080
	--port 1-80,8081
	--peer-port 82,80
	--peer-port 32768-65535
	--peer 10.9.0.1
	--peer 127.0.0.0/8
	--peer 10.9.0.0/30 --port 81
	--peer fd09::/64
	--peer fd09::1
	--peer ::1/128
	-4
	-6
	-6 --port 82
	--cgroup $RUN/outer
	--cgroup $RUN/outer/inner
	--cgroup /$RUN/other -4
	--pid ${dialers[1]}
	--netns $host --cgroup $RUN/outer --port 80,8080-8081 --peer 127.0.0.0/8 --peer-port 1024-65535 -4
EOF
ended=0
runs=()
begun=0
for i in "${!filters[@]}"; do
	# shellcheck disable=SC2086
	trace_begin "$SCRATCH/lines.$i" -j tcp states ${filters[i]} && begun=$((begun + 1))
	runs+=("$tracing")
done
equal "as many filters at once" ${#filters[@]} "$begun"
check "connections" all_dial
for pid in "${runs[@]}"; do
	trace_finish "$pid" || ended=1
done
equal "SIGINT ends all of them well" 0 $ended
for i in "${!filters[@]}"; do
	rows=5
	[[ ${filters[i]} != *--pid* ]] || rows=0
	# shellcheck disable=SC2086
	check "${filters[i]//$RUN/RUN}" python3 tests/tcp/frame.py compare --rows $rows \
		"$SCRATCH/truth" "$SCRATCH/lines.$i" ${filters[i]}
done

# ---- pace, and what the output ends with ----

# Ten changes each, and two of the listener.
some_connections() { # [COUNT]
	python3 tests/tcp/frame.py dial 127.0.0.1 1080 --quiet --count "${1:-4}" \
		--client-netns "$host" --server-netns "$host"
}

# Of theirs no socket is left but in TIME_WAIT, which is another kind.
all_closed() {
	inside "$host" ss -Htan state connected exclude time-wait "( sport = :1080 or dport = :1080 )" \
		>"$SCRATCH/open" && [ ! -s "$SCRATCH/open" ]
}

traced() { # COUNT WEIR-ARGUMENTS...: with connections while it runs, and SIGINT then
	trace_begin "$SCRATCH/out" -n "$host" "${@:2}" && some_connections "$1" && await 30 all_closed &&
		trace_finish "$tracing"
}

# The same, and what it said as one document.
traced_documents() { # COUNT WEIR-ARGUMENTS...
	traced "$@" && jq -s . "$SCRATCH/out"
}

documents() { # WEIR-ARGUMENTS...
	weir -j "$@" | jq -s .
}

# Events that are missed anywhere on the host are told in a line of their own.
documents_of_lines() {
	traced_documents "$@" | jq 'map(select(.lost | not))'
}

titles_and_lines() {
	traced 4 tcp states && echo "$(wc -l <"$SCRATCH/out") $(grep -c "Old state" "$SCRATCH/out")"
}

holds "lines, until SIGINT" 'length == 42 and all(.[]; .netns_inode > 0 and (.time | endswith("Z")))' \
	documents_of_lines 4 -j tcp states
says "as a table: one title, 42 lines" '^43 1$' titles_and_lines
check "-d: it ends by itself" traced 4 tcp states -d 0.5
holds "--summary: one document, with what was lost" \
	'length == 1 and (.[0] | .seconds > 0 and .lost.events_lost == 0 and .lost.records_full == 0)' \
	traced_documents 4 -j tcp states -s
holds "-i: a document each" 'length == 3 and all(.[]; .seconds > 0 and .time) and (map(.seconds) | add) >= 0.58' \
	documents tcp states -i 0.2 -c 3

holds "-i and -d: the last interval ends with the time" \
	'length == 2 and .[0].seconds >= 4 and .[1].seconds < 4 and (map(.seconds) | add) >= 5.9' \
	documents tcp states -i 4 -d 6

# Connections until it ends. Its status.
connections_until() { # PID
	local end=$((SECONDS + 120))
	while kill -0 "$1" 2>/dev/null && [ $SECONDS -le $end ]; do
		some_connections 2
	done
	kill "$1" 2>/dev/null
	wait "$1"
}

ends_with_its_reader() { # COMMAND of weir
	local reader writer
	rm -f "$SCRATCH/pipe"
	mkfifo "$SCRATCH/pipe"
	head -n 2 <"$SCRATCH/pipe" >"$SCRATCH/head" &
	reader=$!
	"$WEIR" -n "$host" "$@" >"$SCRATCH/pipe" 2>"$SCRATCH/errors" &
	writer=$!
	connections_until $writer || return
	wait $reader
	sed -i '/events were missed/d' "$SCRATCH/errors"
	[ "$(wc -l <"$SCRATCH/head")" = 2 ] && cat "$SCRATCH/errors" && [ ! -s "$SCRATCH/errors" ]
}

check "a reader of lines that leaves" ends_with_its_reader tcp states
check "a reader of JSON lines that leaves" ends_with_its_reader -j tcp states
check "a reader of summaries that leaves" ends_with_its_reader -j tcp states -i 0.1

count_lines() {
	"$WEIR" -n "$host" -j tcp states -c 7 -d 120 >"$SCRATCH/out" &
	connections_until $! && [ "$(jq -c 'select(.lost | not)' "$SCRATCH/out" | wc -l)" = 7 ]
}

check "-c 7: seven lines" count_lines

# ---- more events than are read ----

missed_runs() { # FILE...
	jq -s 'map(.lost // empty | .missed_runs) | add' "$@"
}

# The first counts all changes, the second is stopped while they come.
overrun() {
	local counting stopped
	trace_begin "$SCRATCH/counted" -n "$host" -j tcp states -s || return
	counting=$tracing
	trace_begin "$SCRATCH/lines" -n "$host" -j tcp states || return
	stopped=$tracing
	kill -STOP "$stopped"
	some_connections 7000
	await 30 all_closed
	kill -CONT "$stopped"
	trace_finish "$stopped"
	trace_finish "$counting"
}

check "70000 changes beside a reader that is stopped" overrun
shown=$(jq -c 'select(.seen_by == "event")' "$SCRATCH/lines" | wc -l)
lost=$(jq 'select(.lost) | .lost.events_lost' "$SCRATCH/lines")
counted=$(jq '[.changes[].changes] | add' "$SCRATCH/counted")
# A change in an interrupt of the program itself is missed, by one program or by the other.
missed=$(missed_runs "$SCRATCH/lines" "$SCRATCH/counted")
between "some are lost, which is said" 1 70002 "$lost"
between "there is room for some" 10000 70002 "$shown"
between "shown and lost are what there was" $((70002 - missed)) 70002 $((shown + lost))
between "which is counted" $((70002 - missed)) 70002 "$counted"
equal "and counting loses no event" 0 "$(jq .lost.events_lost "$SCRATCH/counted")"
says "and in words" "$lost events came faster" cat "$SCRATCH/lines.errors"

# ---- what it costs ----

# The programs run for all changes of the host, so at least for ours, and at most for all.
cost() {
	local all
	trace_begin "$SCRATCH/all" -j tcp states -s || return
	all=$tracing
	traced 500 -j tcp states -s --overhead
	trace_finish "$all"
}

check "--overhead" cost
measured=$(jq 'select(.overhead) | .overhead.programs[0].runs' "$SCRATCH/out")
counted=$(jq '[.changes[].changes] | add' "$SCRATCH/all")
between "as many runs as changes" $((5000 - $(missed_runs "$SCRATCH/out"))) \
	$((counted + $(missed_runs "$SCRATCH/all"))) "$measured"
# A run of nothing, which is taken off, may have taken long.
# shellcheck disable=SC2016 # jq's own variables
holds "with what a run takes" '.overhead | .floor_ns > 0 and .seconds > 0 and .floor_ns as $floor |
	(.programs[0] | .program == "weir_states" and .ns_per_run >= 0 and .ns_per_run + $floor > 20 and
	.runs_per_second > 0 and (.cpu_percent - .ns_per_run * .runs_per_second / 1e7 | fabs) < 0.001)' \
	jq 'select(.overhead)' "$SCRATCH/out"
jq -r '.overhead | select(.) | "# \(.programs[0].ns_per_run) ns a run"' "$SCRATCH/out"

# ---- words that are wrong ----

# PATTERN|ARGUMENTS behind `tcp states`.
table() {
	cat <<-EOF
		'frob' is not expected|frob
		'--frob' is not expected|--frob
		'-x' is not expected|-x
		'eth0' is not expected|-4 eth0
		'--port' needs a value|--port
		--port|--port 0
		--port|--port 65536
		--port|--port -1
		--port|--port http
		--port|--port 80x
		--port|--port 80,
		--port|--port ,80
		--port|--port 80-
		80-90|--port 90-80
		more than 16|--port $(seq -s , 1 2 40)
		'--peer-port' needs a value|--peer-port
		--peer-port|--peer-port 1-2-3
		'--peer' needs a value|--peer
		example.org|--peer example.org
		prefix|--peer 10.0.0.0/33
		prefix|--peer fd00::/129
		10.0.0.0/8|--peer 10.0.0.1/8
		'--pid' needs a value|--pid
		--pid|--pid 0
		--pid|--pid -1
		--pid|--pid nginx
		--pid|--pid 99999999999999999999
		'--netns' needs a value|--netns
		'--cgroup' needs a value|--cgroup
		only one|--cgroup $RUN/outer --cgroup $RUN/other
		IPv4 and of IPv6|-4 -6
		IPv4 and of IPv6|-6 -4
		IPv4 and of IPv6|--peer fd09::/64 -4
		IPv4 and of IPv6|-4 --peer fd09::/64
		IPv4 and of IPv6|--peer 10.0.0.0/8 -6
		'--min' needs a value|--min
		--min|--min 0
		--min|--min -1ms
		--min|--min 5m
		--min|--min ms
		--min|--min inf
		--min|--min nan
		interval|-i 0
		interval|-i -1
		interval|-i x
		interval|-i nan
		'-i' needs a value|-i
		duration|-d 0
		duration|-d 1h
		'-d' needs a value|-d
		count|-c 0
		count|-c 1.5
		count|-c -1
		'-c' needs a value|-c
		how far apart|-s -c 3
		only one of|--pin --unpin
		only one of|--pinned --pin
		returns at once|--pin -i 1
		returns at once|--pin -d 1
		returns at once|--pin -c 1
		returns at once|--pin -s
		returns at once|--pin --overhead
		stands alone|--unpin -i 1
		stands alone|--unpin --port 80
		filters belong to --pin|--pinned --port 80
		filters belong to --pin|--pinned -4
		filters belong to --pin|--pinned --min 1ms
	EOF
}

while IFS='|' read -r pattern words; do
	# shellcheck disable=SC2086
	refuses "tcp states ${words:0:50}" 1 "$pattern" tcp states $words
	# shellcheck disable=SC2086
	[[ $words = *pin* || $words = -s* ]] ||
		refuses "the same to be pinned" 1 "$pattern" tcp states --pin $words
done < <(table)
for words in rtt port "states -s" "life --pinned"; do
	# shellcheck disable=SC2086
	refuses "$words -c 2, which is one summary" 1 "how far apart says -i" tcp $words -c 2
done
refuses "an empty namespace" 1 "netns" tcp states --netns ''
# What is named does not exist: the command is well written.
while IFS='|' read -r pattern words; do
	# shellcheck disable=SC2086
	refuses "tcp states $words" 2 "$pattern" tcp states $words
	# shellcheck disable=SC2086
	refuses "the same to be pinned" 2 "$pattern" tcp states --pin $words
done <<-EOF
	no such namespace|--netns nosuch
	no such process|--netns 4194304
	no such namespace|--netns /nosuch
	not a network namespace|--netns /etc/passwd
	not a network namespace|--netns /proc/self/ns/mnt
	none of that name|--cgroup $RUN/nosuch
	that is no cgroup|--cgroup /etc
EOF
refuses "a command that is none" 1 "no command 'tcp frob'" tcp frob
refuses "show" 1 "'frob' is not expected" tcp show frob
refuses "show -d alone" 1 "overhead is missing" tcp show -d 1
refuses "show --overhead -d 0" 1 "duration" tcp show --overhead -d 0
check "nothing is pinned" no_pins

# ---- pins ----

pinned_ones() { # [WEIR-OPTIONS...]
	weir "$@" -j tcp show | jq -r '[.tracers[] | select(.pinned) | .tracer] | join(" ")'
}

# As bpffs has it.
pinned_programs() {
	find "$(pins_of "$host")/tcp" -name 'link_*' 2>/dev/null | wc -l
}

holds "show: nothing is pinned, everything runs" \
	'.tracers | length > 0 and all(.pinned == false and .answers and .runs == "fully" and .missing == [])' \
	weir -j tcp show
for name in "${tracers[@]}"; do
	refuses "$name: none is pinned" 2 "'$name' does not collect.*--pin" tcp "$name" --pinned
	refuses "$name: nor can it be unpinned" 2 "'$name' does not collect" tcp "$name" --unpin
	says "$name --pin" "$name: collecting in the background" weir tcp "$name" --pin --port 1-9,80 -6
	refuses "$name --pin again" 2 "'$name' collects in the background already" tcp "$name" --pin
	holds "$name --pinned" '.time and .seconds > 0 and (.lost | .records_full == 0)' \
		weir -j tcp "$name" --pinned
	holds "$name --pinned -i" 'length == 2 and all(.[]; .seconds < 30)' \
		documents tcp "$name" --pinned -i 0.1 -c 2
	holds "$name --pinned --overhead" '[.[] | select(.overhead)][0].overhead.programs | length > 0' \
		documents tcp "$name" --pinned -d 0.2 --overhead
	holds "show has it, with its filter" ".tracers[] | select(.tracer == \"$name\") | .pinned and
		.collecting_seconds > 0 and .filter.port == \"1-9,80\" and .filter.family == 6 and
		.filter.netns_inode == $(stat -Lc %i "/run/netns/$host")" weir -j tcp show
done
equal "all are pinned" "${tracers[*]}" "$(pinned_ones)"
holds "show --overhead has all of them" "[.overhead.programs[].tracer] | unique | length == ${#tracers[@]}" \
	weir -j tcp show --overhead -d 0.2
between "each by its links" ${#tracers[@]} 200 "$(pinned_programs)"
equal "another instance has none" "" "$(pinned_ones --instance "$RUN-second")"
check "one of them there" weir --instance "$RUN-second" tcp "${tracers[0]}" --pin
equal "which it has alone" "${tracers[0]}" "$(pinned_ones --instance "$RUN-second")"
for name in "${tracers[@]}"; do
	says "$name --unpin" "$name: collects no more" weir tcp "$name" --unpin
done
check "nothing is left" no_pins
check "but for the other instance" weir -j --instance "$RUN-second" tcp "${tracers[0]}" --pinned
check "until there, too" weir --instance "$RUN-second" tcp "${tracers[0]}" --unpin
check "nothing is left there" no_pins "$RUN-second"

# ---- kill -9 ----

# Pins, and kills that up to so many milliseconds later. Whatever it has left, it is either pinned as a whole
# or gone with the next command.
killed_pin() { # TRACER MOST_MS
	local pid left pin names=(. tally events)
	"$WEIR" -n "$host" tcp "$1" --pin >/dev/null 2>&1 &
	pid=$!
	pin=$(pins_of "$host")/tcp/$1
	if [ $((RANDOM % 2)) = 0 ]; then
		sleep "$(awk -v m="$2" -v r=$RANDOM 'BEGIN { printf "%.4f", m * r / 32768000 }')"
	else # as soon as the directory is there, or a pin in it
		pin=$pin/${names[RANDOM % ${#names[@]}]}
		until [ -e "$pin" ] || [ ! -e "/proc/$pid/exe" ]; do :; done
	fi
	kill -KILL $pid 2>/dev/null && killed=$((killed + 1))
	wait $pid 2>/dev/null
	left=$(pinned_ones)
	[ -n "$left" ] || [ ! -e "$(pins_of "$host")/tcp/$1" ] || half=$((half + 1))
	case $((RANDOM % 3)) in
	0) weir tcp "$1" --unpin ;;
	1) weir tcp "$1" --pin; weir tcp "$1" --unpin ;;
	2) weir rule flush && [ -n "$left" ] && weir tcp "$1" --unpin ;;
	esac >/dev/null 2>&1
	no_pins "$host" || { echo "round $round, which had pinned '$left'"; return 1; }
}

survives() { # TRACER
	local round most begin
	begin=$(date +%s%3N)
	weir tcp "$1" --pin >/dev/null 2>&1
	most=$(($(date +%s%3N) - begin + 1))
	weir tcp "$1" --unpin
	killed=0
	for round in {1..60}; do
		killed_pin "$1" "$most" || return
		[ "$round" -lt 12 ] || [ "$killed" -le 1 ] || return 0
	done
	return 1
}

half=0
for name in "${tracers[@]}"; do
	check "$name: kill -9 while it is pinned" survives "$name"
done
echo "# half pinned: $half times"

# As if killed half way: the links run, and nothing says that it is whole.
weir tcp states --pin >"$OUTPUT"
rm "$(pins_of "$host")/tcp/states/about"
equal "half of a tracer is none" "" "$(pinned_ones)"
holds "show says what it is" '.tracers[] | select(.tracer == "states") | .note | test("half pinned")' \
	weir -j tcp show
check "and goes with the next command that changes something" weir rule flush
check "nothing is left" no_pins

# A link that somebody has removed.
weir tcp states --pin >"$OUTPUT"
find "$(pins_of "$host")/tcp/states" -name 'link_*' -delete
refuses "one without its links tells nothing" 2 "lost [0-9]+ of its [0-9]+ links" tcp states --pinned
holds "show says so" '.tracers[] | select(.tracer == "states") | .pinned and (.note | test("--unpin"))' \
	weir -j tcp show
check "it can be unpinned" weir tcp states --unpin
check "nothing is left" no_pins

# What another weir has pinned, in an instance that has something else.
weir rule add pass dst 192.0.2.1 >"$OUTPUT" 2>&1
mkdir -p "$(pins_of "$host")/tcp/states"
bpftool map create "$(pins_of "$host")/tcp/states/about" type array key 4 value 12 entries 1 name about
refuses "a record of another schema" 2 "another schema" tcp states --pinned
refuses "nothing is pinned over it" 2 "another schema" tcp states --pin
holds "show says so" '.tracers[] | select(.tracer == "states") | .pinned and (.note | test("schema"))' \
	weir -j tcp show
check "it can be unpinned" weir tcp states --unpin
weir rule flush >"$OUTPUT"
check "nothing is left" no_pins

# A namespace that is gone takes what is pinned for it along.
check "pinned in a namespace" weir tcp states --pin
ip netns del "$host"
ip netns add "$host"
equal "one of the same name knows nothing of it" "" "$(pinned_ones)"
check "and begins anew" weir tcp states --pin
holds "with its own filter" \
	".tracers[] | select(.tracer == \"states\").filter.netns_inode == $(stat -Lc %i "/run/netns/$host")" \
	weir -j tcp show
check "it ends" weir tcp states --unpin
check "nothing is left" no_pins

# ---- what other commands say of it ----

holds "doctor: what the commands of weir tcp can do here" \
	'any(.findings[]; .subject == "host" and .check == "tracing" and .level == "ok")' weir -j doctor
check "pinned" weir tcp states --pin --port 80
holds "status has it" ".tracers[0] | .tracer == \"states\" and .state == \"collects\" and
	(.filter_text | test(\"^port 80, netns_inode\")) and .collecting_seconds > 0" weir -j status
says "as a table" '^states .* port 80' weir status
check "detach --all leaves it" weir detach --all
equal "it is of no device" "states" "$(pinned_ones)"
says "nor does status of an instance without devices fail" '^states ' weir status
check "it ends" weir tcp states --unpin
holds "status has none" '.tracers == []' weir -j status
