#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Commands on sockets that are wrong: one line on stderr, status 1 for how it is written and 2 for what it
# asks, and nothing has changed. And what else may be attached to a cgroup or have its sockets, which is
# left alone, or says so (trap 19 of traps.sh).
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../sock/lib.sh
. tests/sock/lib.sh
namespace "$host"
sock_begin
cgroup_make "$RUN-above/below" "$RUN-beside" "$RUN-gone" "$RUN-two"
path=$(cgroup_path "$GROUP")
v1=$(awk '$3 == "cgroup" { print $2; exit }' /proc/mounts)
long=$(printf 'x%.0s' $(seq 300))
many=$(seq -s , 1 2 40) # 20 ports that do not touch
: >"$SCRATCH/file"
ln -s "$path" "$SCRATCH/link"

# ---- wrong words ----

state() {
	value '[.tender_process, .on, (.cgroups[] | [.cgroup, .ports, .local, .limit_bytes])]' sock show
	bpftool cgroup list "$path" 2>/dev/null | awk '{ print $1, $2 }'
	find "$(pins_of "$host")" 2>/dev/null | sort
}

# STATUS|PATTERN|ARGUMENTS behind "sock", split at blanks.
table() {
	cat <<-EOF
		1|no command 'sock frob'|frob
		1|cgroup is missing|attach
		1|cgroup is missing|attach --no-tend
		1|'extra' is not expected|attach $GROUP extra
		1|'--frob' is not expected|attach $GROUP --frob
		1|'-x' is not expected|attach -x
		1|'--port' needs a value|attach $GROUP --port
		1|'--local' needs a value|attach $GROUP --local
		1|'--limit' needs a value|attach $GROUP --limit
		1|'--pairs' needs a value|attach $GROUP --pairs
		1|port 0|attach $GROUP --port 0
		1|port 65536|attach $GROUP --port 65536
		1|port|attach $GROUP --port -1
		1|'http'|attach $GROUP --port http
		1|80x|attach $GROUP --port 80x
		1|empty|attach $GROUP --port 80,
		1|empty|attach $GROUP --port ,80
		1|80-90|attach $GROUP --port 90-80
		1|port|attach $GROUP --port 80-
		1|20 ranges|attach $GROUP --port $many
		1|too long|attach $GROUP --port $long
		1|no address|attach $GROUP --local example.org
		1|10.0.0.0/8|attach $GROUP --local 10.0.0.1/8
		1|prefix length|attach $GROUP --local 10.0.0.0/33
		1|prefix length|attach $GROUP --local fd00::/129
		1|IPv4 as well|attach $GROUP --local ::/0
		1|empty|attach $GROUP --local 10.0.0.0/8,
		1|too long|attach $GROUP --local $long
		1|no number|attach $GROUP --limit many
		1|no number|attach $GROUP --limit 1T
		1|no number|attach $GROUP --limit -1
		1|between 64K and 64M|attach $GROUP --limit 1
		1|between 64K and 64M|attach $GROUP --limit 65M
		1|between 64K and 64M|attach $GROUP --limit 99999999999999999999
		1|--pairs|attach $GROUP --pairs 0
		1|--pairs|attach $GROUP --pairs 65537
		2|room for 4096 pairs|attach $GROUP --pairs 8192
		2|none of that name|attach $RUN-nosuch
		2|none of that name|attach $path/nosuch
		2|none of that name|attach $long
		2|no cgroup|attach $SCRATCH
		2|that is a file|attach $SCRATCH/file
		2|that is a file|attach $path/cgroup.procs
		1|missing|detach
		1|not both|detach --all $GROUP
		1|'--frob' is not expected|detach --frob
		1|'extra' is not expected|detach $GROUP extra
		2|none of that name|detach $RUN-nosuch
		2|is not attached|detach $OUTSIDE
		2|is not attached|detach #1
		1|no cgroup|detach #x
		2|none of that name|show $RUN-nosuch
		2|is not attached|show $OUTSIDE
		1|'extra' is not expected|show $GROUP extra
		1|interval|show -i 0
		1|interval|show -i x
		1|count|show -c 0
		1|count|show -c 1.5
		1|needs a value|show -c
		1|port|list x
		1|port|list 0
		1|port|list 65536
		1|'81' is not expected|list 80 81
		1|is missing|why
		1|no port|why 192.0.2.1
		1|192.0.2|why 192.0.2:80
		1|port|why 192.0.2.1:99999
		1|port|why 192.0.2.1:
		1|2001:db8::1|why [2001:db8::1:80
		1|'c' is not expected|why 192.0.2.1:1 192.0.2.2:2 c
	EOF
}

says "trap 19: attach says what goes blind" "netfilter.*tcpdump" weir sock attach "$GROUP" --port 80,443
before=$(state)
while IFS='|' read -r status pattern words; do
	# shellcheck disable=SC2086
	refuses "sock ${words:0:60}" "$status" "$pattern" sock $words
done < <(table)
refuses "an empty name" 1 "is empty" sock attach ''
if [ -n "$v1" ]; then
	refuses "a cgroup of version 1" 2 "version 1.*version 2" sock attach "$v1"
else
	skip "a cgroup of version 1" "none is mounted here"
fi
equal "nothing has changed" "$before" "$(state)"

# ---- who may, and from where ----

unprivileged() { # WEIR-ARGUMENTS...
	setpriv --reuid=65534 --regid=65534 --clear-groups "$WEIR" --instance "$host" "$@"
}

one_line() { # TEXT PATTERN COMMAND...: status 2, one line on stderr, nothing on stdout
	local right=1
	"${@:3}" >"$SCRATCH/stdout" 2>"$OUTPUT"
	[ $? = 2 ] && [ ! -s "$SCRATCH/stdout" ] && [ "$(wc -l <"$OUTPUT")" = 1 ] &&
		grep -qE -- "$2" "$OUTPUT" && right=0
	report $right "$1"
}

chmod 755 "$SCRATCH"
cp "$WEIR" "$SCRATCH/weir" # where the user may read it
unprivileged_weir=$WEIR
WEIR=$SCRATCH/weir
for words in "attach $GROUP" "detach --all" show list "why 192.0.2.1:80"; do
	# shellcheck disable=SC2086
	one_line "sock $words by a user" "root" unprivileged sock $words
done
WEIR=$unprivileged_weir
one_line "where ip netns exec hides the cgroups" "no cgroup2.*nsenter" \
	ip netns exec "$host" "$WEIR" --instance "$host" sock attach "$GROUP"
equal "nothing has changed by that" "$before" "$(state)"

# ---- again, and back ----

links() { # PATH: programs of weir there
	bpftool cgroup list "$1" 2>/dev/null | grep -c weir_
}

# The kernel takes them off a moment after the last reference to their link.
has_none() { # PATH
	[ "$(links "$1")" = 0 ]
}

equal "attached: two programs" 2 "$(links "$path")"
check "attached again" weir sock attach "$SCRATCH/link" --limit 512K
equal "the same two" 2 "$(links "$path")"
holds "what was not named stays, what was is new" \
	'.cgroups | length == 1 and (.[0] | .ports == "80,443" and .limit_bytes == 524288)' \
	weir -j sock show
holds "a connection nobody has is no error" '.known == false or (.connections // [] | length == 0)' \
	weir -j sock why 192.0.2.1:80 192.0.2.2:81
check "any and a unit are understood" weir sock attach "$GROUP" --port any --local any --limit 1m
holds "and mean what they say" \
	'.cgroups[0] | .ports == "any" and .local == [] and .limit_bytes == 1048576' weir -j sock show
check "a second cgroup" weir sock attach "$RUN-two" --no-tend
check "the first is detached" weir sock detach "$GROUP"
refuses "and is not any more" 2 "is not attached" sock detach "$GROUP"
check "it has no program" await 30 has_none "$path"
equal "the second has" 2 "$(links "$(cgroup_path "$RUN-two")")"
says "nobody is kept waiting by the tender" "$RUN-two" weir sock show
check "the last is detached" weir sock detach "$RUN-two"
check "nothing stays pinned" no_pins
says "detach --all where nothing is attached" "" weir sock detach --all
says "show where nothing is attached" "no cgroup is attached" weir sock
says "list where nothing is attached" "no local connection" weir sock list

# ---- a cgroup that is removed ----

check "attached" weir sock attach "$RUN-gone"
id=$(value '.cgroups[0].cgroup_id' sock show)
rmdir "$(cgroup_path "$RUN-gone")"
holds "removed while attached: it is shown by its id" ".cgroups[0].cgroup == \"#$id\"" weir -j sock show
check "another one is attached beside it" weir sock attach "$GROUP"
check "it is detached by its id" weir sock detach "#$id"
equal "the other one stays" "/$GROUP" "$(value '.cgroups[].cgroup' sock show)"

# ---- pins that are damaged ----

rm "$(pins_of "$host")/sock/control"
refuses "a pin is missing: show" 2 "detach --all" sock show
refuses "a pin is missing: list" 2 "detach --all" sock list
refuses "a pin is missing: detach --all removes what is there" 2 "stay so" sock detach --all
check "nothing of it stays" no_pins
check "nor at the cgroup" await 30 has_none "$path"

# ---- programs of others ----

FOREIGN=/sys/fs/bpf/$RUN-foreign
foreign_sockops() {
	local object=$SCRATCH/sockops.o
	printf '%s\n' 'struct bpf_sock_ops; unsigned long calls;' \
		'__attribute__((section("sockops"), used)) int foreign(struct bpf_sock_ops *c)' \
		'{ __sync_fetch_and_add(&calls, 1); return 1; }' \
		'__attribute__((section("license"), used)) char gpl[] = "GPL";' |
		clang -target bpf -g -O2 -x c -c - -o "$object" &&
		bpftool prog load "$object" "$FOREIGN" type sockops
}

foreign_calls() {
	bpftool -j map dump id "$(bpftool -j prog show pinned "$FOREIGN" | jq '.map_ids[0]')" |
		jq '[.. | .calls? // empty] | first'
}

called_for_long() { # NUMBER: more often, and weir would have had the time for a short cut
	sleep 1.5
	more_than "$1" foreign_calls
}

foreign_at() { # PATH
	bpftool cgroup list "$1" | grep -c foreign
}

talk() { # CGROUP UNTIL...
	sock_start "$SCRATCH/talk" "$host" "$1" pairs --conns 2 --rate 50 --seconds 500
	await 60 "${@:2}"
	sock_end
}

if foreign_sockops >"$OUTPUT" 2>&1; then
	above=$(cgroup_path "$RUN-above") beside=$(cgroup_path "$RUN-beside")
	bpftool cgroup attach "$above" sock_ops pinned "$FOREIGN"
	refuses "trap 19: a program above that allows no other" 2 "allows no other.*bpftool cgroup tree" \
		sock attach "$RUN-above/below"
	refuses "trap 19: one on the same cgroup" 2 "allows no other" sock attach "$RUN-above"
	check "trap 19: nothing of the attempt stays" no_pins
	check "trap 19: nor at the cgroup" await 30 has_none "$above/below"
	bpftool cgroup detach "$above" sock_ops pinned "$FOREIGN"

	bpftool cgroup attach "$beside" sock_ops pinned "$FOREIGN" multi
	check "trap 19: attached beside one that allows others" weir sock attach "$RUN-beside"
	calls=$(foreign_calls)
	talk "$RUN-beside" have_carried 2 60
	told "trap 19: both work: short-cut" '.right and .exchanges_short_cut > 50' "$SCRATCH/talk"
	between "trap 19: both work: the other is called" $((calls + 4)) 100000 "$(foreign_calls)"
	check "trap 19: below weir others may attach" bpftool cgroup attach "$path" sock_ops pinned \
		"$FOREIGN" multi
	bpftool cgroup detach "$path" sock_ops pinned "$FOREIGN"
	check "detached" weir sock detach "$RUN-beside"
	equal "trap 19: the other survives" 1 "$(foreign_at "$beside")"
	calls=$(foreign_calls)
	talk "$RUN-beside" called_for_long $((calls + 3))
	between "trap 19: and is called" $((calls + 4)) 100000 "$(foreign_calls)"
	told "trap 19: weir is not" '.right and .exchanges_short_cut == 0' "$SCRATCH/talk"
	bpftool cgroup detach "$beside" sock_ops pinned "$FOREIGN"
	rm -f "$FOREIGN"
else
	skip "trap 19: programs of others" "no such program could be loaded: $(head -n 1 "$OUTPUT")"
fi

OPTION=/sys/fs/bpf/$RUN-option
foreign_option() { # makes SO_PRIORITY 5, whatever was wanted
	local object=$SCRATCH/option.o
	printf '%s\n' 'struct sockopt { void *sk; int *value; void *end; int level, name, size; };' \
		'__attribute__((section("cgroup/setsockopt"), used)) int option(struct sockopt *c)' \
		'{ int *v = c->value; if (c->level != 1 || c->name != 12 || (void *)(v + 1) > c->end)' \
		'  return 1; *v = 5; c->size = 4; return 1; }' \
		'__attribute__((section("license"), used)) char gpl[] = "GPL";' |
		clang -target bpf -g -O2 -x c -c - -o "$object" &&
		bpftool prog load "$object" "$OPTION" type cgroup/setsockopt
}

priority() { # of a socket below what is attached, that asks for 3
	cgroup_run "$RUN-above/below" python3 -c 'import socket; s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 3)
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY))'
}

if foreign_option >"$OUTPUT" 2>&1; then
	bpftool cgroup attach "$(cgroup_path "$RUN-above/below")" setsockopt pinned "$OPTION" multi
	equal "trap 19: one that changes options does" 5 "$(priority)"
	check "trap 19: attached above it" weir sock attach "$RUN-above"
	equal "trap 19: what it has changed stays so" 5 "$(priority)"
	check "detached" weir sock detach "$RUN-above"
	bpftool cgroup detach "$(cgroup_path "$RUN-above/below")" setsockopt pinned "$OPTION"
	rm -f "$OPTION"
else
	skip "trap 19: programs of others that change options" \
		"no such program could be loaded: $(head -n 1 "$OUTPUT")"
fi

# ---- a socket that is in the map of another ----

second() {
	timeout 120 "$WEIR" --instance "$RUN-second" "$@"
}

check "attached" weir sock attach "$GROUP"
sock_start "$SCRATCH/shared" "$host" "$GROUP" pairs --conns 4 --rate 50 --seconds 500
await 60 connections_are 4 shortcut
check "a second instance at the same cgroup" second sock attach "$GROUP"
second_refuses() {
	second -j sock show | jq -r '.cgroups[0] | .messages == 0 and
		(.refused_by_reason | .other_sockmap + .other_reads == 4)' | grep -qx true
}
await 60 second_refuses
second -j sock show >"$OUTPUT" 2>&1
second_refuses
report $? "it leaves alone what is in another's map, and counts it"
connections_are 4 shortcut
report $? "the first goes on"
await 60 have_carried 4 160
sock_end
told "all bytes right" '.right and .exchanges_short_cut > 300' "$SCRATCH/shared"
sock_start "$SCRATCH/both" "$host" "$GROUP" pairs --conns 8 --rate 50 --seconds 4
sock_wait
told "new connections, which both know: all bytes right" '.right and .exchanges > 100' "$SCRATCH/both"
check "the second is detached" second sock detach --all
check "the first is detached" weir sock detach --all
rm -rf "$(pins_of "$RUN-second")"
