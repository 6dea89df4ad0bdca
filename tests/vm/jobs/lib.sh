# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# What weir.sh looks at besides weir: other people's programs and filters on the host's eth0, and
# what passes them.
# shellcheck source=tests/netns/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../netns/lib.sh"

objects=$(echo /usr/lib/*/bpf/xdpfilt_alw_tcp.o)
objects=${objects%/*}

ping_some() { # COUNT
	inside "$client" busybox ping -q -i 0.02 -W 1 -c "$1" 10.9.0.2
}

# One "priority name id" a line, in the order in which they run.
chain() {
	inside "$host" xdp-loader status eth0 | awk '$1 == "=>" { print $2, $3, $4 }'
}

names_in_chain() {
	chain | awk '{ printf "%s%s", sep, $2; sep = " " }'
}

id_in_chain() { # NAME
	chain | awk -v name="$1" '$2 == name { print $3 }'
}

# Packets that one of xdp-filter's programs has let through. The values' BTF has two fields for
# one number, so bpftool's bytes are read.
seen_by() { # PROGRAM-ID
	local map
	for map in $(bpftool -j prog show id "$1" | jq -r '.map_ids[]'); do
		[ "$(bpftool -j map show id "$map" | jq -r .name)" = xdp_stats_map ] || continue
		bpftool -j map dump id "$map" | jq 'def number: ltrimstr("0x") | explode |
			reduce .[] as $digit (0; . * 16 + $digit - if $digit > 96 then 87 else 48 end);
			[.[].values[].value[:3] | (.[0] | number) + 256 * (.[1] | number) +
				65536 * (.[2] | number)] | add'
	done
}

# Packets that the user's filter of that priority has seen.
filter_packets() { # PRIORITY
	inside "$host" tc -s -j filter show dev eth0 ingress |
		jq --argjson pref "$1" '[.[] | select(.pref == $pref) |
			.options.actions[]?.stats.packets] | add'
}

user_filters() {
	inside "$host" tc -j filter show dev eth0 ingress |
		jq -c '[.[] | select(.kind == "matchall") | .pref] | unique'
}

# Runs a command while packets flow. What replaces must not interrupt: from the first reply to the
# last each has come, once, whatever is still on its way at the end.
without_loss() { # TEXT COMMAND...
	local pinging replies=$SCRATCH/replies
	nsenter --net="/run/netns/$client" busybox ping -i 0.02 10.9.0.2 >"$replies" 2>&1 &
	pinging=$!
	await 5 grep -q seq=5 "$replies"
	check "$1" "${@:2}"
	sleep 0.5
	kill -INT "$pinging"
	wait "$pinging"
	sed -n 's/.* seq=\([0-9]*\) .*/\1/p' "$replies" | awk '
		$1 != NR - 1 && !bad { bad = 1; print "reply " NR " is of packet " $1 }
		END { print NR " replies"; exit bad || NR < 20 }' >"$OUTPUT"
	report $? "$1: no packet lost"
}

nothing_of_ours() {
	! find /sys/fs/bpf -path '*weir*' | grep . && ! bpftool prog show | grep weir &&
		! bpftool map show | grep -E 'name (counters|rules|rule_counters|handshakes|weir)'
}

serve() { # NAMESPACE PORT
	inside "$1" busybox httpd -f -p "$2" -h "$SCRATCH" &
	await 5 eval "inside $1 ss -Hltn sport = $2 | grep -q ."
}

fetch() { # NAMESPACE URL
	inside "$1" curl -sf -m 5 -o /dev/null "$2"
}

endpoint() { # ROLE PORT CONDITION: what handshake show says of it
	weir -j handshake show eth0 | jq "[.devices[0].endpoints[] |
		select(.role == \"$1\" and .port == $2) | $3] == [true]"
}
