# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# bash completion for weir(8)
# shellcheck disable=SC2086 # lists of words are meant to be split

_weir_protocols="tcp udp icmp icmp6 sctp dccp udplite gre esp ah arp"
_weir_actions="drop pass limit redirect"
_weir_fields="src dst proto sport dport dev"
_weir_tcp_options="--port --peer --peer-port --cgroup --netns -4 -6 -i -d -c --overhead"
_weir_service_options="affinity udp mss source idle flows slots"

# The commands of an object, none if it is a command by itself.
_weir_commands() { # OBJECT
	case $1 in
	rule) echo "list add load del flush" ;;
	service) echo "list add set del plan" ;;
	backend) echo "list add set drain del" ;;
	handshake | drop) echo "show watch" ;;
	sock) echo "show attach detach list why" ;;
	tcp) echo "show states rtt connect life top retransmit drop queue port" ;;
	esac
}

# The word of a list that $1 stands for: itself or the only one that begins with it.
_weir_resolve() { # WORD CANDIDATE...
	local word=$1 candidate found=""
	shift
	for candidate; do
		[[ $candidate == "$word" ]] && found=$word && break
		[[ $candidate == "$word"* ]] || continue
		[[ -z $found ]] || return 0
		found=$candidate
	done
	echo "$found"
}

_weir_devices() { # NETNS
	if [[ -z $1 ]]; then
		ls /sys/class/net
	elif [[ $1 == */* ]]; then
		nsenter --net="$1" ip -o link 2>/dev/null
	else
		ip -n "$1" -o link 2>/dev/null
	fi | sed -E 's/^[0-9]+: ([^:@]+).*/\1/'
}

# Those of the words after the command that are not there yet.
_weir_unused() { # FIRST KEYWORD...
	local i keyword first=$1
	shift
	for keyword; do
		for ((i = first; i < COMP_CWORD; i++)); do
			[[ ${COMP_WORDS[i]} != "$keyword" ]] || continue 2
		done
		echo "$keyword"
	done
}

# Devices, unless one is there already.
_weir_device() { # FIRST NETNS
	local i

	for ((i = $1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-i | -c | --mode | --port | --role) ((i++)) ;;
		-*) ;;
		*) return ;;
		esac
	done
	_weir_devices "$2"
}

# Cgroups as weir names them: below the mount of version 2.
_weir_cgroups() {
	local top
	top=$(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - cgroup2 .*/\1/p' /proc/self/mountinfo | head -n 1)
	[[ -z $top ]] || (cd "$top" && echo / && find . -mindepth 1 -maxdepth 3 -type d | sed 's/^\.//') 2>/dev/null
}

# One end of each local connection that is known.
_weir_clients() { # NETNS
	weir -j ${1:+-n "$1"} sock list 2>/dev/null | grep -o '"client":"[^"]*"' | cut -d'"' -f4
}

_weir_rule_fields() { # FIRST
	local i
	_weir_unused "$1" $_weir_fields before
	for ((i = $1; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} != limit ]] || _weir_unused "$1" burst
	done
}

_weir_has_action() { # FIRST
	local i action
	for ((i = $1; i < COMP_CWORD; i++)); do
		for action in $_weir_actions; do
			[[ ${COMP_WORDS[i]} != "$action" ]] || return 0
		done
	done
	return 1
}

# The services there are, or one's backends: the first words of what lists them.
_weir_names() { # NETNS FIELD [PROTO ADDR:PORT]
	local netns=$1 field=$2
	shift 2
	weir -j ${netns:+-n "$netns"} service list "$@" 2>/dev/null |
		grep -o "\"$field\":\"[^\"]*\"" | cut -d'"' -f4
}

# What may stand behind a service's name in a command that changes something; the name is the words
# FIRST and FIRST + 1, and ":" and brackets may have split the second one further.
_weir_change() { # OBJECT.COMMAND FIRST NETNS
	local first=$2 netns=$3 prev=${COMP_WORDS[COMP_CWORD - 1]} proto=${COMP_WORDS[$2]}

	case $prev in
	mode) echo "nat dsr-l2 dsr-ipip" && return ;;
	affinity) echo "source none" && return ;;
	state) echo "up drain dead" && return ;;
	mss) echo off && return ;;
	source) echo own && return ;;
	flows | slots) echo auto && return ;;
	udp) ((COMP_CWORD - 1 == first)) || { echo "sticky free" && return; } ;;
	weight | idle) return ;;
	esac
	if ((COMP_CWORD == first)); then
		echo "tcp udp"
	elif ((COMP_CWORD == first + 1)) && [[ $1 != service.add ]]; then
		_weir_names "$netns" service | sed -n "s/^$proto //p"
	else
		case $1 in
		service.add) _weir_unused "$((first + 1))" mode $_weir_service_options ;;
		service.set) _weir_unused "$((first + 1))" ${_weir_service_options#affinity } ;;
		backend.add | backend.set) echo "weight state" ;;
		backend.del) _weir_unused "$((first + 1))" now ;;
		esac
		case $1 in
		backend.set | backend.drain | backend.del) _weir_names "$netns" backend ;;
		esac
	fi
}

# What may stand behind "OBJECT COMMAND", of which the arguments begin at word FIRST.
_weir_arguments() { # OBJECT COMMAND FIRST NETNS
	local first=$3 netns=$4 prev=${COMP_WORDS[COMP_CWORD - 1]}

	case $1.$2 in
	rule.add | rule.load)
		if ((COMP_CWORD > first)); then
			case $prev in
			proto) echo "$_weir_protocols" && return ;;
			dev | redirect) _weir_devices "$netns" && return ;;
			match) echo "src dst" && return ;;
			limit | src | dst | sport | dport | before | burst | name) return ;;
			esac
		fi
		if [[ $2 == load ]]; then
			if ((COMP_CWORD == first)); then
				compgen -f -- "${COMP_WORDS[COMP_CWORD]}"
				return
			fi
			_weir_has_action "$first" || {
				_weir_unused "$first" name match before
				echo "$_weir_actions"
				return
			}
		elif ((COMP_CWORD == first)); then
			echo "$_weir_actions"
			return
		fi
		_weir_rule_fields "$first"
		;;
	attach.)
		[[ $prev != --mode ]] || { echo "auto native generic offload" && return; }
		_weir_unused "$first" --mode --exclusive --xdp-only --tc-only --decap
		_weir_device "$first" "$netns"
		;;
	detach.)
		((COMP_CWORD != first)) || { echo --all && _weir_devices "$netns"; }
		;;
	stats. | drop.watch)
		[[ $prev != -[ic] ]] || return
		_weir_unused "$first" -i -c
		_weir_device "$first" "$netns"
		;;
	top.)
		[[ $prev != -i ]] || return
		_weir_unused "$first" -i
		_weir_device "$first" "$netns"
		;;
	service.plan)
		if ((COMP_CWORD == first)); then
			echo "service backend"
		elif ((COMP_CWORD == first + 1)); then
			_weir_commands "$prev" | sed 's/list //; s/ plan//'
		else
			_weir_change "${COMP_WORDS[first]}.${COMP_WORDS[first + 1]}" \
				"$((first + 2))" "$netns"
		fi
		;;
	service.* | backend.*)
		_weir_change "$1.$2" "$first" "$netns"
		;;
	explain.)
		[[ $prev != dev ]] || { _weir_devices "$netns" && return; }
		((COMP_CWORD != first)) || { echo "tcp udp icmp" && return; }
		_weir_unused "$first" dev syn
		;;
	run.)
		[[ $prev == -i ]] || _weir_unused "$first" -i
		;;
	handshake.watch)
		[[ $prev != --role ]] || { echo "server client" && return; }
		[[ $prev != -[ic] && $prev != --port ]] || return
		_weir_unused "$first" --port --role -i -c
		_weir_device "$first" "$netns"
		;;
	sock.attach)
		case $prev in
		--port | --local) echo any && return ;;
		--limit) echo "256K 512K 1M 4M" && return ;;
		--pairs) echo "4096 16384 65536" && return ;;
		esac
		_weir_unused "$first" --port --local --limit --pairs --no-tend
		((COMP_CWORD != first)) || _weir_cgroups
		;;
	sock.detach)
		_weir_unused "$first" --all --force
		((COMP_CWORD != first)) || _weir_cgroups
		;;
	sock.show)
		[[ $prev != -[ic] ]] || return
		_weir_unused "$first" -i -c
		((COMP_CWORD != first)) || _weir_cgroups
		;;
	tcp.show)
		[[ $prev == -d ]] || _weir_unused "$first" --overhead -d
		;;
	tcp.*)
		case $2$prev in
		*--netns) ls /run/netns 2>/dev/null && return ;;
		*--cgroup) _weir_cgroups && return ;;
		top--by) echo "process connection port" && return ;;
		*--by) echo "peer port peer-port netns" && return ;;
		*--role) echo "active passive" && return ;;
		*--port | *--peer | *--peer-port | *--pid | *--min | *--rows | *-[idc]) return ;;
		esac
		_weir_unused "$first" $_weir_tcp_options
		[[ $2 == top ]] || _weir_unused "$first" --pin --pinned --unpin
		[[ $2 == @(rtt|drop|queue|port) ]] || _weir_unused "$first" --pid
		case $2 in
		states | life) _weir_unused "$first" --min -s ;;
		connect) _weir_unused "$first" --min --role -s ;;
		rtt) _weir_unused "$first" --by ;;
		retransmit) _weir_unused "$first" --by -s ;;
		drop) _weir_unused "$first" --all --stack -s ;;
		queue) _weir_unused "$first" -l -s ;;
		port) _weir_unused "$first" --walk ;;
		top) _weir_unused "$first" --by --rows ;;
		esac
		;;
	sock.why)
		_weir_clients "$netns"
		;;
	handshake.show | drop.show | doctor.)
		((COMP_CWORD != first)) || _weir_devices "$netns"
		;;
	esac
}

_weir() {
	local objects="attach detach status stats top rule service backend explain run handshake drop"
	objects+=" doctor sock tcp help"
	local options="--json --pretty --netns --instance --verbose --version --help"
	local cur=${COMP_WORDS[COMP_CWORD]} words=() netns="" object="" command="" i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--instance) ((i++)) ;;
		--netns | -n | -*[!-]n) netns=${COMP_WORDS[++i]} ;;
		-*) ;;
		*) break ;;
		esac
	done
	if ((i < COMP_CWORD)); then
		object=$(_weir_resolve "${COMP_WORDS[i]}" $objects)
		local commands
		commands=$(_weir_commands "$object")
		((i++))
		if [[ $object == help ]]; then
			((i != COMP_CWORD)) || words=("$objects")
			((i + 1 != COMP_CWORD)) ||
				words=("$(_weir_commands "$(_weir_resolve "${COMP_WORDS[i]}" $objects)")")
		elif [[ $commands && $i == "$COMP_CWORD" ]]; then
			words=("$commands")
		else
			if [[ $commands ]]; then
				command=$(_weir_resolve "${COMP_WORDS[i]}" $commands)
				((i++))
			fi
			words=("$(_weir_arguments "$object" "$command" "$i" "$netns")")
		fi
	elif ((i == COMP_CWORD)); then
		[[ $cur == -* ]] && words=("$options -j -p -n -v -V -h") || words=("$objects")
	elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == --instance ]]; then
		words=("$(ls /sys/fs/bpf/weir 2>/dev/null)")
	else
		words=("$(ls /run/netns 2>/dev/null)")
	fi
	mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "$cur")
}

complete -F _weir weir
