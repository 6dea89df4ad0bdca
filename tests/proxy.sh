# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# nginx as a web server, and as a proxy before two of them; for those that have sourced topology.sh and
# cgroup.sh. /1K and /64K are the pages, /status is nginx's count of requests.

FRONT=8080
SERVERS=() # pids

pages() {
	mkdir -p "$SCRATCH/www"
	head -c 1024 /dev/zero | tr '\0' w >"$SCRATCH/www/1K"
	head -c 65536 /dev/zero | tr '\0' w >"$SCRATCH/www/64K"
}

# The pages themselves, or the two servers that are asked for them: with connections that are kept, or
# with a new one for each request.
server_location() { # pages|keepalive|close
	case $1 in
	pages) echo "location / { root $SCRATCH/www; }" ;;
	keepalive)
		echo 'location / { proxy_pass http://servers; proxy_http_version 1.1;'
		echo 'proxy_set_header Connection ""; }'
		;;
	close) echo 'location / { proxy_pass http://servers; }' ;;
	esac
}

server_upstream() { # pages|keepalive|close ADDRESS
	[ "$1" != pages ] || return 0
	echo "upstream servers { server $2:$((FRONT + 1)) max_fails=0;"
	echo "server $2:$((FRONT + 2)) max_fails=0;"
	# Room for all connections of all clients to each server: with less some are closed all the time.
	[ "$1" = close ] || echo "keepalive 256; keepalive_requests 100000000;"
	echo "}"
}

server_conf() { # NAME pages|keepalive|close ADDRESS PORT
	local at
	echo "daemon off; worker_processes 1; user root; pid $SCRATCH/nginx.$1.pid;"
	echo "error_log $SCRATCH/nginx.$1.log; events { worker_connections 1000; }"
	echo "http { access_log off; sendfile on; keepalive_requests 100000000;"
	echo "proxy_max_temp_file_size 0;"
	for at in client_body proxy fastcgi uwsgi scgi; do
		echo "${at}_temp_path $SCRATCH;"
	done
	server_upstream "$2" "$3"
	echo "server { listen $3:$4 backlog=4096; location = /status { stub_status; }"
	server_location "$2"
	echo "} }"
}

# PREFIX, an array, is put before the command: taskset, say.
server_start() { # CGROUP NAMESPACE NAME pages|keepalive|close ADDRESS PORT
	server_conf "${@:3}" >"$SCRATCH/nginx.$3.conf"
	cgroup_background "$1" nsenter --net="/run/netns/$2" "${PREFIX[@]}" \
		nginx -e "$SCRATCH/nginx.$3.log" -c "$SCRATCH/nginx.$3.conf" >/dev/null 2>&1
	SERVERS+=($!)
	server_wait "$2" "$6"
}

server_wait() { # NAMESPACE PORT
	local end=$((SECONDS + 5))
	until [ -n "$(nsenter --net="/run/netns/$1" ss -Hltn "sport = :$2")" ]; do
		[ $SECONDS -le $end ] || return 1
		sleep 0.01
	done
}

# One that has the pages, or two of them and a proxy; the proxy and they may be in different cgroups.
servers_start() { # pages|keepalive|close NAMESPACE ADDRESS CGROUP [BACKENDS-CGROUP]
	if [ "$1" != pages ]; then
		server_start "${5:-$4}" "$2" b1 pages "$3" $((FRONT + 1))
		server_start "${5:-$4}" "$2" b2 pages "$3" $((FRONT + 2))
	fi
	server_start "$4" "$2" front "$1" "$3" $FRONT
}

servers_stop() {
	[ ${#SERVERS[@]} != 0 ] || return 0
	kill -TERM "${SERVERS[@]}" 2>/dev/null
	wait "${SERVERS[@]}" 2>/dev/null
	SERVERS=()
}
