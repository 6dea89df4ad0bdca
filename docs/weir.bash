# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# bash completion for weir(8)
# shellcheck disable=SC2086 # lists of words are meant to be split

_weir_protocols="tcp udp icmp icmp6 sctp dccp udplite gre esp ah arp"
_weir_actions="drop pass limit redirect"
_weir_fields="src dst proto sport dport dev"

# The commands of an object, none if it is a command by itself.
_weir_commands() { # OBJECT
	case $1 in
	rule) echo "list add load del flush" ;;
	handshake | drop) echo "show watch" ;;
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
		_weir_unused "$first" --mode --exclusive --xdp-only --tc-only
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
	handshake.watch)
		[[ $prev != --role ]] || { echo "server client" && return; }
		[[ $prev != -[ic] && $prev != --port ]] || return
		_weir_unused "$first" --port --role -i -c
		_weir_device "$first" "$netns"
		;;
	handshake.show | drop.show | doctor.)
		((COMP_CWORD != first)) || _weir_devices "$netns"
		;;
	esac
}

_weir() {
	local objects="attach detach status stats top rule handshake drop doctor help"
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
