#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir rule load: 100,000 prefixes in one go, swapped under traffic without a gap.
#
#   client                                        host
#   eth0 10.9.0.1  fd09::1   not listed ---- eth0 10.9.0.2/24    weir is attached here
#        10.9.0.66 fd09::66  listed               fd09::2/64
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
pair
address "$client" eth0 10.9.0.66/24 fd09::66/64

# 100,000 prefixes of both families and many lengths, shuffled, with comments. The same seed makes
# the same list.
make_list() { # SEED EXTRA...
	python3 - "$@" <<-'EOF'
		import ipaddress, random, sys
		r = random.Random(sys.argv[1])
		lines = set(sys.argv[2:])
		while len(lines) < 70000:
		    n = r.choice([16, 19, 22, 24, 24, 24, 26, 28, 30, 32, 32, 32])
		    a = r.getrandbits(n - 8) << (32 - n) | r.choice([11, 21, 45, 77, 130, 198]) << 24
		    lines.add("%s/%d" % (ipaddress.IPv4Address(a), n))
		while len(lines) < 100000:
		    n = r.choice([32, 40, 48, 48, 56, 64, 64, 128])
		    a = (0x2001 << 112) | (r.getrandbits(n - 16) << (128 - n))
		    lines.add("%s/%d" % (ipaddress.IPv6Address(a), n))
		lines = sorted(lines)
		r.shuffle(lines)
		print("# made for a test\n")
		for i, line in enumerate(lines):
		    print(line, "# note" if i % 1000 == 0 else "")
	EOF
}

make_list 1 10.9.0.66 fd09::66 >"$SCRATCH/a"
make_list 2 10.9.0.64/30 fd09::/121 >"$SCRATCH/b" # fd09::1 is in there too
sed '5001s/.*/10.0.0.300/' "$SCRATCH/a" >"$SCRATCH/bad"

test_loading() {
	check "attach" weir attach eth0
	TIMEFORMAT='%R s, %U and %S s of CPU'
	{ time weir rule load "$SCRATCH/a" name block >"$OUTPUT" 2>&1; } 2>"$SCRATCH/time"
	equal "100,000 prefixes are loaded" 1 "$(grep -c '100000 prefixes' "$OUTPUT")"
	echo "# in $(<"$SCRATCH/time")"
	{ time weir rule load "$SCRATCH/b" name block >"$OUTPUT" 2>&1; } 2>"$SCRATCH/time"
	equal "and replaced" 1 "$(grep -c '100000 prefixes' "$OUTPUT")"
	echo "# in $(<"$SCRATCH/time")"
	weir rule load "$SCRATCH/a" name block >/dev/null
}

test_hits() {
	# These first: the host is no neighbour yet, and a listed source cannot ask for it over IPv6.
	check "sources that are not listed get through" pings "$client" 10.9.0.2
	check "over IPv6 as well" inside "$client" ping -q -c 2 -i 0.01 -W 5 -I fd09::1 fd09::2
	check_not "a listed IPv4 source does not" \
		inside "$client" ping -q -c 2 -i 0.01 -W 0.3 -I 10.9.0.66 10.9.0.2
	check_not "a listed IPv6 source neither" \
		inside "$client" ping -q -c 2 -i 0.01 -W 0.3 -I fd09::66 fd09::2
	between "the list counts its hits" 4 20 "$(matched 1)"
	holds "it is one rule" '.rules | length == 1 and .[0].prefixes == 100000' weir -j rule list
}

test_bad_line() {
	local before after
	before=$(value '.rules[] | [.id, .rule, .list, .prefixes]' rule list | md5sum)
	refuses "a file that does not exist" 2 "cannot open .*nofile" \
		rule load "$SCRATCH/nofile" name block
	refuses "a bad line is named by number and value" 1 "bad line 5001: '10.0.0.300'" \
		rule load "$SCRATCH/bad" name block
	after=$(value '.rules[] | [.id, .rule, .list, .prefixes]' rule list | md5sum)
	equal "and nothing was changed" "$before" "$after"
	check_not "the old list is in force" \
		inside "$client" ping -q -c 1 -W 0.3 -I 10.9.0.66 10.9.0.2
	check "from standard input" bash -c "'$WEIR' -n '$host' rule load - name other <<<'192.0.2.0/24'"
	check "deleted again" weir rule del 2
}

# 10.9.0.66 is in both lists: not one of its packets may pass, whichever of them is in force.
test_swap() {
	local before sink sender sent
	before=$(matched 1)
	start "$host" sink 5000 --wanted 0
	sink=$started
	background "$client" timeout 300 python3 "$TRAFFIC" send 10.9.0.2 5000 12000 --rate 2000 \
		--source 10.9.0.66 >"$SCRATCH/sent"
	sender=$!
	for list in b a b a b a; do
		weir rule load "$SCRATCH/$list" name block >>"$OUTPUT" 2>&1 || report 1 "reload"
	done
	wait $sender
	sent=$(cat "$SCRATCH/sent")
	stop "$sink"
	equal "lists are swapped six times under traffic: no packet of a listed source passes" 0 "$said"
	equal "each of them was counted" "$sent" $(($(matched 1) - before))
	holds "id and counters stayed" '.rules | length == 1 and .[0].id == 1' weir -j rule list
}

# A table is one map; what is in the slot is all there is.
test_memory() {
	local id bytes
	id=$(bpftool -j map dump pinned "$(pins_of "$host")/rules" |
		jq -r '.[0].value | reverse | map(ltrimstr("0x")) | "0x" + join("")')
	bytes=$(bpftool -j map show id $((id)) 2>/dev/null | jq -r '.bytes_memlock // empty')
	if [ -z "$bytes" ]; then
		skip "memory of the table" "bpftool does not tell"
		return
	fi
	echo "# the table takes $((bytes / 1024)) KiB"
	between "100,000 prefixes take less than 32 MiB" 0 33554432 "$bytes"
}

test_loading
test_hits
test_bad_line
test_swap
test_memory
check "detach --all" weir detach --all
check "no pins are left" no_pins
