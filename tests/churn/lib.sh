# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# What the balancer's tests have in common: a site with services on its balancers, servers on its
# backends, load from its client. Sourced behind tests/netns/lib.sh.
# shellcheck disable=SC2154 # site sets them

CHURN=$(dirname "$WEIR")/tests/churn/churn
[ -x "$CHURN" ] || { echo "1..0 # SKIP $CHURN is not built: 'make test-programs'"; exit 0; }
PORT=80 OTHER=81
VIPS=("$VIP4:$PORT" "[$VIP6]:$PORT")
IDLE=${IDLE:-5}
WEIR_TIMEOUT=${WEIR_TIMEOUT:-100}
mode='' loading=0 outcome=$SCRATCH/outcome

balancer() { # NUMBER WEIR-ARGUMENTS...
	timeout -k 5 "$WEIR_TIMEOUT" "$WEIR" -n "${balancers[$1 - 1]}" "${@:2}"
}

# How a service of this family names the backend. Tunnels carry IPv4 over IPv6 as well.
backend_name() { # FAMILY NUMBER
	if [ "$1" = 6 ] || { [ "$mode" = dsr-ipip ] && [ $(($2 % 2)) = 0 ]; }; then
		echo "${addresses6[$2 - 1]}"
	else
		echo "${addresses4[$2 - 1]}"
	fi
}

vip() { # FAMILY
	[ "$1" = 4 ] && echo "${VIPS[0]}" || echo "${VIPS[1]}"
}

# Frames that XDP sends into a veth are taken at its far end if that polls with NAPI, and those that
# leave by the device they came from, if it has an XDP program. Elsewhere weir has TC transmit.
far_ends_take_xdp() {
	foreign_program "$router" lb1
	foreign_program "$router" lb2
	[ -z "$inside" ] || inside "$inside" ethtool -K lb1 gro on
	[ -z "$inside" ] || inside "$inside" ethtool -K lb2 gro on
}

attach_all() {
	local i device
	for i in 1 2; do
		for device in eth0 ${inside:+eth1}; do
			balancer $i attach "$device" || return
		done
	done
	[ "$mode" = dsr-ipip ] || return 0
	for i in "${!backends[@]}"; do
		timeout 30 "$WEIR" -n "${backends[i]}" attach eth0 --decap || return
	done
}

add_services() { # BALANCER [OPTION VALUE]...
	balancer "$1" service add tcp "${VIPS[0]}" mode "$mode" idle "$IDLE" "${@:2}" \
		${source4:+source "$source4"} &&
		balancer "$1" service add tcp "${VIPS[1]}" mode "$mode" idle "$IDLE" "${@:2}" \
			${source6:+source "$source6"}
}

add_backend() { # BALANCER NUMBER [WEIGHT]
	local family
	for family in 4 6; do
		balancer "$1" backend add tcp "$(vip $family)" "$(backend_name $family "$2")" \
			weight "${3:-1}" || return
	done
}

# A neighbour that was late to answer is found by a later command.
reaches_all() { # BALANCER
	balancer "$1" attach eth0 &&
		balancer "$1" -j backend list | jq -e '[.services[].backends[].reachable] | all'
}

# Where servers listen: direct return keeps the VIP, NAT does not.
listens_at() { # NUMBER PORT
	if [ "$mode" = nat ]; then
		echo "${addresses4[$1 - 1]}:$2 [${addresses6[$1 - 1]}]:$2"
	else
		echo "$VIP4:$2 [$VIP6]:$2"
	fi
}

serve_all() {
	local i
	for i in "${!backends[@]}"; do
		# shellcheck disable=SC2046
		background "${backends[i]}" timeout 600 "$CHURN" serve "b$((i + 1))" \
			$(listens_at $((i + 1)) $PORT) $(listens_at $((i + 1)) $OTHER) \
			>"$SCRATCH/serve.$i" 2>&1
	done
	for i in "${!backends[@]}"; do
		await 20 grep -q ready "$SCRATCH/serve.$i" || return
	done
}

# Load on both families at once, until load_end or for at most 60 seconds.
load_begin() { # CHURN-ARGUMENTS...
	background "$client" timeout -k 30 300 "$CHURN" load "$@" "${VIPS[@]}" \
		>"$outcome" 2>"$outcome.broken"
	loading=$!
	await 30 grep -q ready "$outcome.broken"
}

load_end() {
	kill -TERM $loading
	wait $loading
}

told() { # JQ-FILTER
	jq -r "$1" "$outcome"
}

# No connection broke, and none but served ones were counted.
unbroken() { # TEXT
	{ cat "$outcome"; head -n 20 "$outcome.broken"; } >"$OUTPUT"
	[ "$(told '.broken == 0 and .connections == .finished and .connections > 0')" = true ]
	report $? "$1: $(told '"\(.broken) of \(.connections) connections broken"')"
}

moving() { # BALANCER
	balancer "$1" -j service list | jq '[.services[].slots_moving] | add'
}

# The site goes, and another one may come.
rest() {
	local name
	disown -a
	for name in "${NAMESPACES[@]}"; do
		remove_namespace "$name"
	done
	NAMESPACES=()
}
