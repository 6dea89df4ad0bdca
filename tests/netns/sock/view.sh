#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What weir says of local sockets: the words it takes, how much is short-cut, every connection and why
# it is as it is, and who tends.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24     each in a cgroup that is attached, or not
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../sock/lib.sh
. tests/sock/lib.sh
pair
sock_begin

test_words() {
	says "nothing is attached, and show says so" "no cgroup is attached" weir sock
	says "list as well" "no local connection" weir sock list
	refuses "a stream of nothing" 2 "no cgroup is attached" sock show -i 1
	refuses "no cgroup" 1 "a cgroup is missing" sock attach
	refuses "a cgroup that is not there" 2 "$RUN-none" sock attach "$RUN-none"
	refuses "a port too many" 1 "65536" sock attach "$GROUP" --port 80,65536
	refuses "a list that ends too soon" 1 "empty" sock attach "$GROUP" --port 80,
	refuses "a range that ends before it begins" 1 "80-90" sock attach "$GROUP" --port 90-80
	refuses "bits behind the prefix" 1 "10.0.0.0/8" sock attach "$GROUP" --local 10.0.0.1/8
	refuses "a limit too small" 1 "64K" sock attach "$GROUP" --limit 1K
	refuses "no room at all" 1 "--pairs 0" sock attach "$GROUP" --pairs 0
	refuses "one word too many" 1 "'x'" sock attach "$GROUP" x
	refuses "detach of one and all" 1 "not both" sock detach "$GROUP" --all
	refuses "detach of what is not attached" 2 "not attached" sock detach "$GROUP"
	refuses "why without a connection" 1 "a connection is missing" sock why
	refuses "why without a port" 1 "no port" sock why 10.9.0.1
	check "nothing was made" no_pins
}

test_attach() {
	says "attach says what goes blind" "no netfilter rule.*'weir sock show' counts" \
		weir sock attach "$GROUP" --port 5000-5010,5020 --no-tend
	says "nobody tends, and show says so" "nobody tends.*weir run" weir sock show
	holds "again: what is not named stays, what is named changes" \
		'.updated and .ports == "5000-5010,5020" and .limit_bytes == 524288 and
			.tender_process > 0' \
		bash -c "'$WEIR' -n '$host' -j sock attach '$GROUP' --limit 512K 2>/dev/null"
	holds "status knows" '.sockets[0].cgroups == 1 and .sockets[0].tender_process > 0' \
		weir -j status
	refuses "a cgroup that is not attached has nothing to show" 2 "not attached" \
		sock show "$OUTSIDE"
	inside "$host" nft add table ip weirtest 2>/dev/null &&
		says "rules are loaded, and attach says so" "rules are loaded here" \
			weir sock attach "$GROUP"
}

# Rates are those of one second, in which anybody may have stood still.
shows_rates() {
	weir -j sock show "$GROUP" | tee "$SCRATCH/rates"
	jq -e <"$SCRATCH/rates" '.cgroups[0] | .pairs == 3 and (.by_port[] | select(.port == 5005) |
		.pairs == 3 and .messages_per_second > 50 and .bytes_per_second > 1000 and
		.shortcut_percent > 90 and .from_clients.messages > 0 and
		.from_servers.messages > 0)'
}

told_why() { # PATTERN ENDPOINT
	weir sock why "$2" | tee "$SCRATCH/why"
	grep -qE -- "$1" "$SCRATCH/why"
}

# Short-cut; a port that is not wanted; a client in a cgroup that is not attached.
test_connections() {
	sock_start "$SCRATCH/good" "$client" "$GROUP" pairs --conns 3 --rate 50 --seconds 500 \
		--client-netns "$client" --server-netns "$host" --listen 10.9.0.2 --port 5005
	sock_start "$SCRATCH/port" "$client" "$GROUP" pairs --conns 1 --rate 50 --seconds 500 \
		--client-netns "$client" --server-netns "$host" --listen 10.9.0.2 --port 5099
	sock_start "$SCRATCH/outside" "$client" "$GROUP" pairs --conns 1 --rate 50 --seconds 500 \
		--client-netns "$client" --server-netns "$host" --listen 10.9.0.2 --port 5020 \
		--client-cgroup "$(cgroup_path "$OUTSIDE")" --server-cgroup "$(cgroup_path "$GROUP")"
	await 60 connections_are 3 shortcut
	becomes "show counts them by port, in rates" shows_rates
	says "list has every connection" "10.9.0.1:[0-9]+ +10.9.0.2:5005 +shortcut" weir sock list
	holds "list of one port" '.connections | length == 3 and all(.bytes > 0 and .messages > 0)' \
		weir -j sock list 5005
	says "why, of a server's end with several" "3 connections have this end" \
		weir sock why 10.9.0.2:5005
	end=$(connections 'select(.state == "shortcut") | .client' | head -n 1 | tr -d '"')
	says "why, of one" "judgement +short-cut for" weir sock why "$end"
	holds "both ends named, in any order" \
		'.known and .ends.client.nonblocking and .ends.server.reads > 0' \
		weir -j sock why 10.9.0.2:5005 "$end"
	becomes "a port that is not among --port" \
		told_why "the settings of its cgroup leave it out" 10.9.0.2:5099
	becomes "a client in another cgroup" told_why "cgroup /$OUTSIDE is not attached" 10.9.0.2:5020
	says "what nobody has" "no connection that has 10.9.0.9:1" weir sock why 10.9.0.9:1
}

rows_are() { # COUNT: at least, of port 5006, and connections were added meanwhile
	jq -s -e "[.[] | select(.port == 5006)] |
		length >= $1 and .[-1].pairs_total > .[0].pairs_total" \
		<"$SCRATCH/rows"
}

judged_unready() {
	[ "$(value '.cgroups[0].by_port[] | select(.port == 5007) | .refused' sock show)" = 1 ]
}

# It is tried again and again, and counted once.
test_unready() {
	local unread
	weir sock attach "$GROUP" --port 5000-5010,5020 >/dev/null 2>&1
	cgroup_background "$GROUP" nsenter --net="/run/netns/$host" python3 tests/sock/unread.py 5007
	unread=$!
	await 60 judged_unready
	says "why, of one that always has something unread" "something was unread each time" \
		weir sock why 127.0.0.1:5007
	sleep 3
	holds "it is refused for that, and is no pair" '.cgroups[0].by_port[] | select(.port == 5007) |
		.refused == 1 and .refused_by_reason.unready == 1 and .pairs_total == 0 and .released == 0' \
		weir -j sock show
	kill $unread
	wait $unread 2>/dev/null
}

# Counters never run backwards, while connections end and others begin.
test_stream() {
	local showing
	sock_start "$SCRATCH/churn" "$client" "$GROUP" pairs --conns 10 --rate 50 --seconds 500 \
		--life 2000 --client-netns "$client" --server-netns "$host" --listen 10.9.0.2 \
		--port 5006
	"$WEIR" -n "$host" -j sock show "$GROUP" -i 0.02 >"$SCRATCH/rows" &
	showing=$!
	await 60 rows_are 50
	kill $showing
	wait $showing
	check "a stream of rows, in which connections are added" rows_are 2
	jq -s -e '[.[] | select(.port == 5006)] |
		[., .[1:]] | transpose | map(select(.[1])) | all(
			.[1].bytes >= .[0].bytes and .[1].messages >= .[0].messages and
			.[1].pairs_total >= .[0].pairs_total and .[1].bytes_per_second >= 0)' \
		<"$SCRATCH/rows" >"$OUTPUT" 2>&1
	report $? "rates and totals of connections that come and go never run backwards"
	equal "a reader that leaves is no failure" 0 \
		"$(weir sock show -i 0.02 | head -n 1 >/dev/null; echo "${PIPESTATUS[0]}")"
	sock_end
	told "the traffic was right" '.wrong == 0' "$SCRATCH/good"
	told "that of the connections that come and go as well" '.wrong == 0' "$SCRATCH/churn"
}

test_end() {
	tender=$(value .tender_process sock show)
	kill -KILL "$tender"
	await 30 gone "$tender"
	says "who tended is killed, and show says so" "nobody tends" weir sock show
	cgroup_remove "$GROUP"
	says "a cgroup that was removed has its number" "^#[0-9]+.*|this cgroup was removed" \
		weir sock show
	gone=$(value '.cgroups[0].cgroup' sock show)
	says "and is detached by it" "$gone: detached" weir sock detach "$gone"
	check "nothing stays pinned" no_pins
	cgroup_make "$GROUP"
	weir sock attach "$GROUP" >/dev/null 2>&1
	check "detach --all of everything takes cgroups as well" weir detach --all
	check "nothing stays pinned then" no_pins
}

tended_by() { # PROCESS
	[ "$(value .tender_process sock show)" = "$1" ]
}

# At nearly every moment this one asks for the lock that a detach holds while it waits for its sockets.
test_run() {
	local runner
	"$WEIR" -n "$host" run -i 0.1 >"$SCRATCH/run" 2>&1 &
	runner=$!
	weir sock attach "$GROUP" --no-tend >/dev/null 2>&1
	await 60 tended_by $runner
	check "weir run tends" tended_by $runner
	check "and gives the sockets to a detach though it wants to look after services" \
		weir sock detach "$GROUP"
	kill $runner
	wait $runner
	equal "it has complained of nothing" "" "$(cat "$SCRATCH/run")"
}

test_words
test_attach
test_connections
test_unready
test_stream
test_end
test_run
