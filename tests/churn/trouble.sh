# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Trouble for a balancer under load: backends come, go, drain and change their weight at random, weir
# is killed and upgraded, SYNs flood in; and in quiet time a second balancer of the same configuration
# takes flows over in mid-stream. Sourced behind tests/churn/lib.sh.
# shellcheck disable=SC2154,SC2034 # site sets some, others are for who sources this

COUNT=6
SECONDS_OF_TROUBLE=${SECONDS_OF_TROUBLE:-10}
SEED=${SEED:-3}
declare -A state
killed=0 changed=0

# By a weir that may be killed on its way; then again, by one that is not, and which may find that the
# first one got through.
change() { # WEIR-ARGUMENTS...
	local was_killed=0
	changed=$((changed + 1))
	if [ $((RANDOM % 4)) = 0 ]; then
		was_killed=1
		{ timeout -s KILL "0.$((RANDOM % 6))$((RANDOM % 10))" "$WEIR" -n "$host" "$@"; } >/dev/null 2>&1
		[ $? != 137 ] || killed=$((killed + 1))
	fi
	weir "$@" >"$OUTPUT" 2>&1 || [ $was_killed != 0 ] || report 1 "weir $*"
}

ups() { # FAMILY
	local i n=0
	for i in $(seq $COUNT); do
		[ "${state[$1.$i]}" != up ] || n=$((n + 1))
	done
	echo $n
}

change_backend() { # FAMILY NUMBER CHANGE
	local service name
	service=$(vip "$1") name=$(backend_name "$1" "$2")
	case $3 in
	add) change backend add tcp "$service" "$name" weight $((RANDOM % 3 + 1)) ;;
	up) change backend set tcp "$service" "$name" state up ;;
	weight) change backend set tcp "$service" "$name" weight $((RANDOM % 4 + 1)) ;;
	drain) change backend drain tcp "$service" "$name" ;;
	del) change backend del tcp "$service" "$name" ;;
	esac
}

# Two backends are always up.
step() {
	local family=$((RANDOM % 2 * 2 + 4)) i=$((RANDOM % COUNT + 1)) what next
	local of_up=(weight drain del weight) of_drain=(up del)
	case ${state[$family.$i]} in
	up)
		what=${of_up[RANDOM % 4]}
		[ "$(ups $family)" -gt 2 ] || what=weight
		;;
	drain)
		what=${of_drain[RANDOM % 2]}
		;;
	gone) what=add ;;
	esac
	change_backend $family $i "$what"
	case $what in
	add | up | weight) next=up ;;
	drain) next=drain ;;
	del) next=gone ;;
	esac
	state[$family.$i]=$next
}

flood() { # PORT
	background "$client" timeout 20 "$CHURN" flood -n 20000 -r 5000 -b 8 -s "$1" 10.9.66.0:0 \
		"$VIP4:$1" >/dev/null 2>&1
	background "$client" timeout 20 "$CHURN" flood -n 20000 -r 5000 -b 16 -s "$1" "[fd09:66::]:0" \
		"[$VIP6]:$1" >/dev/null 2>&1
}

agent_begin() {
	"$WEIR" -n "$host" run >"$SCRATCH/agent" 2>&1 &
	agent=$!
}

agent_kill() {
	kill -KILL "$agent"
	wait "$agent"
	true
} 2>/dev/null

# NAT has to remember the SYNs of a flood as well; they are 20,000.
room() {
	[ "$mode" = nat ] && echo 65536 || echo 1024
}

begin() { # SHAPE
	local i family
	host='' state=() killed=0 changed=0
	RANDOM=$SEED
	site "$1" $COUNT
	host=${balancers[0]}
	far_ends_take_xdp
	add_services 1 flows "$(room)" >/dev/null
	for i in $(seq $COUNT); do
		for family in 4 6; do
			state[$family.$i]=gone
			[ "$i" -gt 4 ] || state[$family.$i]=up
		done
		[ "$i" -gt 4 ] || add_backend 1 "$i"
	done >/dev/null
	other_service >/dev/null
	serve_all && attach_all && await 60 reaches_all 1
}

other_service() {
	weir service add tcp "$VIP4:$OTHER" mode "$mode" ${source4:+source "$source4"}
	weir service add tcp "[$VIP6]:$OTHER" mode "$mode" ${source6:+source "$source6"}
	weir backend add tcp "$VIP4:$OTHER" "${addresses4[0]}" "${addresses4[1]}"
	weir backend add tcp "[$VIP6]:$OTHER" "${addresses6[0]}" "${addresses6[1]}"
}

# The run has eight parts, and most begin with something of their own. Where all is slow it takes a
# little longer, so that enough changes.
trouble() {
	local begin=${EPOCHREALTIME/[.,]/} part=0 now=0
	while [ $now -lt 8 ] || { [ $changed -lt 15 ] && [ $now -lt 20 ]; }; do
		step
		sleep 0.1
		now=$(((${EPOCHREALTIME/[.,]/} - begin) * 8 / SECONDS_OF_TROUBLE / 1000000))
		while [ $part -lt $now ]; do
			part=$((part + 1))
			trouble_in_part $part
		done
	done
}

trouble_in_part() { # NUMBER
	case $1 in
	1) flood "$PORT" ;;
	2) agent_kill && agent_begin ;;
	4) "$NEXT" -n "$host" attach eth0 >"$OUTPUT" 2>&1 || report 1 "upgrade" ;;
	5) flood "$OTHER" ;;
	6) agent_kill ;;
	esac
}

# One run: $broken and $total are its outcome.
churn() {
	agent_begin
	check "$mode: load" load_begin -c 400 -l 120 -s "$SEED"
	trouble
	load_end
	broken=$(told .broken) total=$(told .connections)
	echo "# $mode, seed $SEED: $changed changes, $killed weirs killed in the middle of one;" \
		"$(told '"\(.connections) connections, \(.bytes / 1e6 | floor) MB"')"
}

# The same configuration by another way: from the last backend to the first, once.
configure_second() {
	local i family name
	add_services 2 flows "$(room)" || return
	for family in 4 6; do
		weir -j backend list tcp "$(vip $family)" |
			jq -r '.services[].backends[] | select(.state != "leaving") |
				"\(.backend) weight \(.weight) state \(.state)"' | tac |
			while read -r i; do
				# shellcheck disable=SC2086
				balancer 2 backend add tcp "$(vip $family)" $i || exit
			done || return
	done
	await 60 reaches_all 2
}

second_carries() { # as so many packets so far
	balancer 2 -j backend list | jq '[.services[].backends[].packets] | add'
}

quiet() {
	local family
	for family in 4 6; do
		weir service set tcp "$(vip $family)" idle 1
	done
	agent_begin
	await 60 at_rest && agent_kill
}

at_rest() {
	[ "$(moving 1)" = 0 ]
}

# A route over both balancers spreads the flows by their hash. With NAT each must see the whole of a
# flow, so what goes to the second one is told by the client's port.
takeover() {
	[ "$mode" = nat ] || check "$mode: the first balancer comes to rest" quiet
	check "$mode: a second balancer, configured in another order" configure_second
	check "$mode: load" load_begin -c 400 -l 400 -s "$SEED"
	sleep 1
	if [ "$mode" = nat ]; then
		site_detour 2 32768-46000
	else
		site_way 1 2
	fi
	sleep 1.5
	site_way 2
	site_detour
	sleep 1.5
	await 20 more_than 1000 second_carries
	site_way 1
	sleep 1
	load_end
	unbroken "$mode: a second balancer takes over half of the flows, all, and gives them back"
	between "$mode: it did" 1000 999999 "$(second_carries)"
}

# With NAT a flow survives only where it has kept its client's port, so what the floods leave behind,
# for half a minute, must not be in its way.
whole() { # MODE SHAPE
	mode=$1
	check "$mode: services, backends, attached" begin "$2"
	[ "$mode" != nat ] || takeover
	churn
	unbroken "$mode: changes, floods, kill -9, upgrade"
	[ "$mode" = nat ] || takeover
	rest
}

# A second build, to upgrade to.
next_version() {
	[ -n "${NEXT:-}" ] && return
	build_another "$SCRATCH/next" VERSION=9.9 && NEXT=$SCRATCH/next/weir
}
