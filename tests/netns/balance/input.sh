#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What the balancer is told wrongly, and what runs full or out of reach: a clear line or a counted
# reason, and nothing that there was is lost.
#
#   client -- router -- balancer -- 2 backends       topology.sh: site
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../churn/lib.sh
. tests/churn/lib.sh
IDLE=60

begin() {
	mode=nat
	site inner 2
	host=${balancers[0]}
	far_ends_take_xdp
	attach_all && serve_all && add_services 1 flows 64 && add_backend 1 1 &&
		await 60 reaches_all 1
}

configuration() {
	weir -j backend list | jq -c '[.services[] | [.service, .mode,
		[.backends[] | [.backend, .weight, .state]]]]'
}

test_services() {
	local v=tcp\ $VIP4
	refuses "a service twice" 2 "already" service add tcp "$VIP4:80" mode nat
	refuses "in another mode" 2 "already" service add tcp "$VIP4:80" mode dsr-l2
	refuses "port 0" 1 "port 0" service add tcp "$VIP4:0" mode nat
	refuses "port 65536" 1 "65536" service add tcp "$VIP4:65536" mode nat
	refuses "no port" 1 "has no port" service add tcp "$VIP4" mode nat
	refuses "no address" 1 "is no address" service add tcp 300.1.1.1:80 mode nat
	refuses "a multicast address" 1 "multicast" service add tcp 224.0.0.1:80 mode nat
	refuses "no mode" 1 "mode is missing" service add tcp "$VIP4:82"
	refuses "an unknown mode" 1 "tunnel.*wanted nat" service add tcp "$VIP4:82" mode tunnel
	refuses "an option twice" 1 "twice" service add tcp "$VIP4:82" mode nat idle 5 idle 6
	refuses "an option of the other protocol" 1 "belongs to services of TCP" \
		service add udp "$VIP4:82" mode nat mss 1400
	refuses "a source where there is none" 1 "dsr-l2 keeps" \
		service add tcp "$VIP4:82" mode dsr-l2 source 10.9.3.1
	refuses "slots that are no power of two" 1 "no power of two" \
		service set tcp "$VIP4:80" slots 1500
	refuses "idle 0" 1 "idle 0" service set tcp "$VIP4:80" idle 0
	refuses "another mode for a service" 1 "cannot change" \
		service set tcp "$VIP4:80" mode dsr-l2
	refuses "an unknown service" 2 "no service $v:99" service del tcp "$VIP4:99"
}

test_backends() {
	refuses "a backend twice" 2 "already" backend add tcp "$VIP4:80" "${addresses4[0]}"
	refuses "twice in a line" 1 "twice" backend add tcp "$VIP4:80" 10.9.3.12 10.9.3.12
	refuses "IPv6 behind IPv4 with NAT" 1 "wants an IPv4" \
		backend add tcp "$VIP4:80" "${addresses6[0]}"
	check "a service of tunnels" weir service add tcp "[$VIP6]:83" mode dsr-ipip
	refuses "IPv6 in IPv4" 1 "not carried in IPv4" \
		backend add tcp "[$VIP6]:83" "${addresses4[0]}"
	check "it goes" weir service del tcp "[$VIP6]:83"
	refuses "the service itself" 1 "own address" backend add tcp "$VIP4:80" "$VIP4"
	refuses "weight 0" 1 "weight 0" backend add tcp "$VIP4:80" 10.9.3.12 weight 0
	refuses "weight -1" 1 "weight -1" backend add tcp "$VIP4:80" 10.9.3.12 weight -1
	refuses "weight 1001" 1 "weight 1001" backend add tcp "$VIP4:80" 10.9.3.12 weight 1001
	refuses "weight 99999999999999999999" 1 "weight" \
		backend add tcp "$VIP4:80" 10.9.3.12 weight 99999999999999999999
	refuses "an unknown state" 1 "wanted up, drain or dead" \
		backend set tcp "$VIP4:80" "${addresses4[0]}" state gone
	refuses "an unknown backend" 2 "no backend 10.9.3.12" \
		backend drain tcp "$VIP4:80" 10.9.3.12
	refuses "a port in a mode that keeps it" 2 "no service" \
		backend add tcp "$VIP4:99" 10.9.3.12:8080
	# shellcheck disable=SC2046
	refuses "more than 1000 backends" 2 "1000" backend add tcp "$VIP4:80" \
		$(seq -f 10.9.41.%g 250) $(seq -f 10.9.42.%g 250) $(seq -f 10.9.43.%g 250) \
		$(seq -f 10.9.44.%g 250)
}

dropped() { # REASON
	value "[.devices[].reasons[] | select(.reason == \"$1\") | .packets] | add" drop show
}

# The VIP is an address of the balancer itself: its other ports stay its own.
test_local_vip() {
	check "a service at an address of the balancer" weir service add tcp 10.9.2.1:80 mode nat
	check "and its backend" weir backend add tcp 10.9.2.1:80 "${addresses4[0]}"
	start "$host" listen 7000
	equal "its other ports are its own" 1 "$(traffic "$client" connect 10.9.2.1 7000 1 --wait 20)"
	equal "the service is the backend's" 1 "$(traffic "$client" connect 10.9.2.1 80 1 --wait 20)"
	check "it answers a ping" pings "$client" 10.9.2.1
	stop "$started"
	check "it goes" weir service del tcp 10.9.2.1:80
}

test_unreachable() {
	local agent
	check "a service" weir service add tcp "$VIP4:84" mode nat
	says "a backend that does not answer" "does not answer" \
		backend_added "$VIP4:84" 10.9.3.99
	equal "no connection comes about" 0 "$(traffic "$client" connect "$VIP4" 84 1 --wait 0.5)"
	check "what is dropped is counted" await 10 more_than 0 dropped no_route
	background "$host" timeout 200 "$WEIR" -n "$host" run >/dev/null 2>&1
	agent=$!
	address "${backends[1]}" eth0 10.9.3.99/24
	background "${backends[1]}" timeout 200 "$CHURN" serve late 10.9.3.99:84 >/dev/null
	check "it goes on when there is an answer" await 60 connects "$VIP4" 84
	kill "$agent"
	check "it goes" weir service del tcp "$VIP4:84"
}

backend_added() { # SERVICE BACKEND
	weir backend add tcp "$@"
}

connects() { # ADDRESS PORT
	[ "$(traffic "$client" connect "$1" "$2" 1 --wait 2)" = 1 ]
}

established() {
	inside "$client" ss -Htn state established | wc -l
}

# There is room for 64 flows of NAT: others are refused and counted, and those there are stay.
test_full() {
	local first
	check "few connections" load_begin -c 20 -l 20
	check "all of them are made" await 20 more_than 19 established
	first=$loading
	outcome=$SCRATCH/second
	background "$client" timeout -k 30 60 "$CHURN" load -c 400 -l 400 -t 3 -w 3 "${VIPS[@]}" \
		>"$outcome" 2>"$outcome.broken"
	wait $!
	check "too many more: some are not made" [ "$(told .unopened)" -gt 0 ]
	equal "but none breaks" 0 "$(told '.reset + .cut + .wrong_data')"
	check "refusals are counted" [ "$(value '[.services[].nat_full] | add' service list)" -gt 0 ]
	outcome=$SCRATCH/outcome loading=$first
	load_end
	unbroken "the first ones"
}

check "a site" begin
before=$(configuration)
test_services
test_backends
equal "all is as it was" "$before" "$(configuration)"
test_local_vip
test_unreachable
test_full
equal "and at the end" "$before" "$(configuration)"
