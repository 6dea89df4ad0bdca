#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# wrk through each mode to nginx, IPv4 and IPv6, a connection for each request: none fails, and each
# backend gets connections in proportion to its weight.
#
#   client -- router -- balancer, 4 backends with weights 1 1 2 2       topology.sh: site
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../churn/lib.sh
. tests/churn/lib.sh

WEIGHTS=(1 1 2 2)
options=()
SOURCES=4

begin() { # SHAPE
	local i
	site "$1" 4
	host=${balancers[0]}
	far_ends_take_xdp
	for i in $(seq 2 $SOURCES); do
		address "$client" eth0 "10.9.1.$i/24" "fd09:1::$i/64"
	done
	# Who closes first keeps the port for a minute.
	inside "$client" sysctl -qw net.ipv4.ip_local_port_range='1024 65535'
	attach_all >/dev/null && add_services 1 "${options[@]}" >/dev/null || return
	for i in 1 2 3 4; do
		# shellcheck disable=SC2046
		web "${backends[i - 1]}" b$i $(listens_at $i $PORT)
		add_backend 1 $i "${WEIGHTS[i - 1]}" >/dev/null || return
	done
	await 30 answers "$VIP4" && await 30 answers "[$VIP6]" && await 60 reaches_all 1
}

answers() { # ADDRESS
	inside "$client" curl -sfg -m 5 "http://$1:$PORT/"
}

# TCP connections that each backend has accepted so far.
accepted() {
	local name
	for name in "${backends[@]}"; do
		inside "$name" nstat -saz TcpPassiveOpens | awk '/TcpPassiveOpens/ { print $2 }'
	done
}

requests() {
	awk '/requests in/ { n += $1 } END { print n + 0 }' "$SCRATCH/wrk"
}

# From several sources, one after another: the more connections differ, the closer are their shares to
# the weights. Where all is slow, several times.
load() { # FAMILY
	: >"$SCRATCH/wrk"
	for _ in {1..6}; do
		load_once "$1"
		[ "$(requests)" -lt 2000 ] || break
	done
}

load_once() { # FAMILY
	local k
	for k in $(seq $SOURCES); do
		if [ "$1" = 4 ]; then
			ip -n "$client" route replace default via 10.9.1.254 src "10.9.1.$k"
		else
			ip -n "$client" route replace default via fd09:1::fe dev eth0 src "fd09:1::$k"
		fi
		inside "$client" timeout 60 wrk -t 1 -c 32 -d 2s --timeout 20s -H "Connection: close" \
			"http://$(vip "$1")/" >>"$SCRATCH/wrk" 2>&1
	done
}

# Of a share of p of n connections a standard deviation is sqrt((1 - p) / (p * n)): one of some dozen
# shares is beyond three of them in every tenth run, beyond five in none. Those of the same ports are not
# chance: each source takes them from the half of some 64,000 that are of one parity.
shares() { # BEFORE AFTER
	paste <(echo "$1") <(echo "$2") <(printf '%s\n' "${WEIGHTS[@]}") | awk -v sources=$SOURCES '
		{ got[NR] = $2 - $1; weight[NR] = $3; n += got[NR]; sum += $3 }
		END {
			for (i = 1; i <= NR; i++) {
				p = weight[i] / sum
				off = got[i] / (n * p) - 1
				differ = n < sources * 32000 ? n : sources * 32000
				most = 5 * sqrt((1 - p) / (p * differ))
				if (most < 0.03) most = 0.03
				if (off > most || -off > most) bad = 1
				printf "b%d: %d connections, %+.1f %% off its weight (%.1f %% allowed)\n",
					i, got[i], off * 100, most * 100
			}
			exit bad || n < 1000
		}'
}

measure() { # FAMILY
	local before after requests
	before=$(accepted)
	load "$1"
	after=$(accepted)
	requests=$(requests)
	cp "$SCRATCH/wrk" "$OUTPUT"
	! grep -qE 'Socket errors|Non-2xx' "$OUTPUT" && [ "$requests" -gt 1000 ]
	report $? "$mode, IPv$1: $requests requests, none failed"
	shares "$before" "$after" >"$OUTPUT"
	report $? "$mode, IPv$1: each backend has its share"
	sed 's/^/# /' "$OUTPUT"
}

whole() { # MODE SHAPE
	mode=$1
	check "$mode, $2: a site that answers" begin "$2"
	measure 4
	measure 6
	rest
}

whole dsr-l2 lan
whole dsr-ipip routed
# It remembers every flow, for some seconds beyond its end.
options=(flows 262144)
whole nat inner
