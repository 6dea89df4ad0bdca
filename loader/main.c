// SPDX-License-Identifier: GPL-2.0
/* The table of commands: options, then an object and a command, shortened as far as unique. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "loader/cmd/command.h"
#include "loader/base/error.h"
#include "loader/base/options.h"

static const struct command commands[] = {
	{"attach", NULL, cmd_attach,
	 "DEV [--mode auto|native|generic|offload] [--exclusive] "
	 "[--xdp-only|--tc-only] [--decap]",
	 "attach to a device, or update what is attached to this build", true},
	{"detach", NULL, cmd_detach, "DEV | --all", "take everything off a device", true},
	{"status", NULL, cmd_status, "", "what is attached, where and how", true},
	{"stats", NULL, cmd_stats, "[DEV] [-i SEC] [-c N]", "packets, bytes and rates", true},
	{"top", NULL, cmd_top, "[DEV] [-i SEC]", "the same and more, full screen", true},
	{"rule", "list", cmd_rule_list, "", "the rules with what they matched", true},
	{"rule", "add", cmd_rule_add,
	 "ACTION [src CIDR] [dst CIDR] [proto P] [sport A[-B]] [dport A[-B]] [dev DEV] [before ID]",
	 "add a rule: drop, pass, 'limit RATE' [burst N], 'redirect DEV'", true},
	{"rule", "load", cmd_rule_load, "FILE [name NAME] [match src|dst] [ACTION ...] [before ID]",
	 "a rule for a list of prefixes; replaces the list of that name", true},
	{"rule", "del", cmd_rule_del, "ID...", "delete rules", true},
	{"rule", "flush", cmd_rule_flush, "", "delete all rules", true},
	{"service", "list", cmd_service_list, "[tcp|udp ADDR:PORT]",
	 "the services with what they do", true},
	{"service", "add", cmd_service_add,
	 "tcp|udp ADDR:PORT|ADDR:any mode nat|dsr-l2|dsr-ipip [affinity source|none]\n"
	 "        [udp sticky|free] [mss N|off] [source ADDR[/LEN]|own] [idle SEC] [flows N|auto]\n"
	 "        [slots N|auto]",
	 "a service; backends are added to it", true},
	{"service", "set", cmd_service_set, "tcp|udp ADDR:PORT OPTION...",
	 "change options, but not the mode nor the affinity", true},
	{"service", "del", cmd_service_del, "tcp|udp ADDR:PORT",
	 "delete a service with its backends: its flows end", true},
	{"service", "plan", cmd_service_plan, "service|backend add|set|drain|del ...",
	 "what that change would do: slots that move, flows that break", true},
	{"backend", "list", cmd_backend_list, "[tcp|udp ADDR:PORT]",
	 "the backends with what they do", true},
	{"backend", "add", cmd_backend_add,
	 "tcp|udp ADDR:PORT {BACKEND[:PORT] [weight N] [state up|drain|dead]}...",
	 "backends of a service, one or several", true},
	{"backend", "set", cmd_backend_set,
	 "tcp|udp ADDR:PORT BACKEND[:PORT] [weight N] [state up|drain|dead]",
	 "change a backend's weight or state", true},
	{"backend", "drain", cmd_backend_drain, "tcp|udp ADDR:PORT BACKEND[:PORT]",
	 "no new flows; those it has stay", true},
	{"backend", "del", cmd_backend_del, "tcp|udp ADDR:PORT BACKEND[:PORT] [now]",
	 "drain, then forget it; 'now' ends its flows", true},
	{"explain", NULL, cmd_explain, "tcp|udp|icmp SRC[:PORT] DST[:PORT] [dev DEV] [syn]",
	 "what happens to such a packet, and why", true},
	{"run", NULL, cmd_run, "[-i SEC]", "tend the services until interrupted", true},
	{"handshake", "show", cmd_handshake_show, "[DEV]",
	 "TCP handshakes by port: latency, failures, queues", true},
	{"handshake", "watch", cmd_handshake_watch,
	 "[DEV] [--port N] [--role server|client] [-i SEC] [-c N]", "handshakes as they end", true},
	{"drop", "show", cmd_drop_show, "[DEV]", "dropped packets by reason", true},
	{"drop", "watch", cmd_drop_watch, "[DEV] [-i SEC] [-c N]", "the same, as it happens", true},
	{"sock", "show", cmd_sock_show, "[CGROUP] [-i SEC] [-c N]",
	 "local connections: what is short-cut, and what is not", true},
	{"sock", "attach", cmd_sock_attach,
	 "CGROUP [--port LIST|any] [--local CIDR,...|any] [--limit BYTES] [--pairs N]\n"
	 "        [--no-tend]",
	 "short-cut connections between sockets of this host; again: change the settings", true},
	{"sock", "detach", cmd_sock_detach, "CGROUP | --all [--force]",
	 "back to TCP, with every connection whole", true},
	{"sock", "list", cmd_sock_list, "[PORT]", "the local connections that are known", true},
	{"sock", "why", cmd_sock_why, "ADDR:PORT [ADDR:PORT]",
	 "why a connection is short-cut, or is not", true},
	{"tcp", "show", cmd_tcp_show, "[--overhead] [-d SEC]",
	 "which of these this kernel can run, and which collect in the background", true},
	{"tcp", "states", cmd_tcp_states, "[FILTER...] [--min TIME] [-s] [-i SEC] [-d SEC] [-c N]",
	 "changes of state, with the time in the old one", true},
	{"tcp", "rtt", cmd_tcp_rtt,
	 "[FILTER...] [--by peer,port,peer-port,netns] [-i SEC] [-d SEC] [-c N]",
	 "histograms of the round trip time", true},
	{"tcp", "connect", cmd_tcp_connect,
	 "[FILTER...] [--role active|passive] [--min TIME] [-s] [-i SEC] [-d SEC] [-c N]",
	 "how long connections take to be made: port search, handshake, accept queue", true},
	{"tcp", "life", cmd_tcp_life, "[FILTER...] [--min TIME] [-s] [-i SEC] [-d SEC] [-c N]",
	 "connections when they end: bytes, duration, retransmits, who ended them", true},
	{"tcp", "top", cmd_tcp_top,
	 "[FILTER...] [--by process|connection|port] [--rows N] [-i SEC] [-d SEC] [-c N]",
	 "who moves how many bytes, every second", true},
	{"tcp", "retransmit", cmd_tcp_retransmit,
	 "[FILTER...] [--by peer,port,peer-port,netns] [-s] [-i SEC] [-d SEC] [-c N]",
	 "what is sent again, and why", true},
	{"tcp", "drop", cmd_tcp_drop, "[FILTER...] [--all] [--stack] [-s] [-i SEC] [-d SEC] [-c N]",
	 "packets that the kernel or weir drops, with reason and place", true},
	{"tcp", "queue", cmd_tcp_queue, "[FILTER...] [-l | -s] [-i SEC] [-d SEC] [-c N]",
	 "SYN and accept queues of listeners: what they take, what they drop, and why", true},
	{"tcp", "port", cmd_tcp_port, "[FILTER...] [--walk] [-i SEC] [-d SEC] [-c N]",
	 "connections of each service, local ports in use by destination", true},
	{"doctor", NULL, cmd_doctor, "[DEV]", "checks this host and says what to do", true},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_command(FILE *to, const struct command *c)
{
	fprintf(to, "  weir %s%s%s%s%s\n        %s\n", c->object, c->name ? " " : "",
		c->name ? c->name : "", *c->arguments ? " " : "", c->arguments, c->summary);
}

static void print_filters(FILE *to, const char *object)
{
	if (object && strcmp(object, "tcp"))
		return;
	fputs("  FILTER of weir tcp: --port LIST, --peer CIDR, --peer-port LIST, --pid PID,\n"
	      "        --cgroup CGROUP, --netns NAME, -4, -6; but for show, each understands\n"
	      "        --overhead, and but for top --pin, --pinned, --unpin to collect in the background\n",
	      to);
}

/* Of this object, or of all. */
static void print_commands(FILE *to, const char *object)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!object || !strcmp(commands[i].object, object))
			print_command(to, &commands[i]);
	print_filters(to, object);
}

static void print_help(FILE *to)
{
	fputs("usage: weir [OPTIONS] OBJECT [COMMAND] [ARGUMENTS]\n\n", to);
	print_commands(to, NULL);
	fputs("\nOPTIONS\n"
	      "  -j, --json           JSON; streams are one object a line\n"
	      "  -p, --pretty         with -j: indented\n"
	      "  -n, --netns NAME     act in this network namespace (instance NAME)\n"
	      "      --instance NAME  another name for the instance\n"
	      "  -v, --verbose        say what is done; twice: libbpf's own words as well\n"
	      "  -V, --version\n"
	      "  -h, --help\n\n"
	      "Objects and commands may be shortened as far as they stay unique. See weir(8).\n",
	      to);
}

static bool starts(const char *word, const char *whole)
{
	return !strncmp(word, whole, strlen(word));
}

/* The object that `word` stands for; NULL with a misuse() line. */
static const char *find_object(const char *word)
{
	const char *found = NULL;

	for (size_t i = 0; i < COMMANDS; i++) {
		const char *object = commands[i].object;

		if (!strcmp(word, object))
			return object;
		if (!starts(word, object) || (found && !strcmp(found, object)))
			continue;
		if (found) {
			misuse("'%s' may be %s or %s", word, found, object);
			return NULL;
		}
		found = object;
	}
	if (!found)
		misuse("there is no object '%s'; 'weir help' shows what there is", word);
	return found;
}

/* The command of this object that `word` stands for. */
static const struct command *find_named(const char *object, const char *word)
{
	const struct command *found = NULL;

	for (size_t i = 0; i < COMMANDS; i++) {
		const struct command *c = &commands[i];

		if (strcmp(c->object, object) || !starts(word, c->name))
			continue;
		if (!strcmp(word, c->name))
			return c;
		if (found) {
			misuse("'%s %s' may be %s or %s", object, word, found->name, c->name);
			return NULL;
		}
		found = c;
	}
	if (!found)
		misuse("there is no command '%s %s'; 'weir help %s' shows what there is", object,
		       word, object);
	return found;
}

static bool asks_help(const struct args *args)
{
	return args->count && (!strcmp(args->word[0], "help") || !strcmp(args->word[0], "-h") ||
			       !strcmp(args->word[0], "--help"));
}

/* An object's first command is what it does when none is named. */
static const struct command *find_command(const char *object, struct args *args)
{
	size_t first = 0;

	while (strcmp(commands[first].object, object))
		first++;
	if (!commands[first].name || !args->count || *args->word[0] == '-')
		return &commands[first];
	return find_named(object, next_word(args));
}

static const struct option long_options[] = {
	{"json", no_argument, NULL, 'j'},	 {"pretty", no_argument, NULL, 'p'},
	{"netns", required_argument, NULL, 'n'}, {"instance", required_argument, NULL, 'I'},
	{"verbose", no_argument, NULL, 'v'},	 {"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, 'h'},	 {},
};

/* Options in front of the object. 1: the answer is out, nothing else to do. */
static int parse_options(int argc, char **argv)
{
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:jpn:vVh", long_options, NULL)) != -1) {
		switch (c) {
		case 'j': options.json = true; break;
		case 'p': options.pretty = true; break;
		case 'n': options.netns = optarg; break;
		case 'I': options.instance = optarg; break;
		case 'v': verbosity++; break;
		case 'V': puts("weir " WEIR_VERSION); return 1;
		case 'h': print_help(stdout); return 1;
		case ':': return misuse("option %s needs a value", argv[optind - 1]);
		default:
			return misuse("there is no option '%s'; 'weir help' shows what there is",
				      argv[optind - 1]);
		}
	}
	return 0;
}

/* -j, -p and -v are understood behind the object as well, where habit puts them. */
static void take_late_options(struct args *args)
{
	int kept = 0;

	for (int i = 0; i < args->count; i++) {
		const char *word = args->word[i];

		if (!strcmp(word, "-j") || !strcmp(word, "--json"))
			options.json = true;
		else if (!strcmp(word, "-p") || !strcmp(word, "--pretty"))
			options.pretty = true;
		else if (!strcmp(word, "-v") || !strcmp(word, "--verbose"))
			verbosity++;
		else
			args->word[kept++] = args->word[i];
	}
	args->count = kept;
}

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	return verbosity > 1 ? vfprintf(stderr, format, args) : 0;
}

static int print_libxdp(enum libxdp_print_level level, const char *format, va_list args)
{
	(void)level;
	return verbosity > 1 ? vfprintf(stderr, format, args) : 0;
}

/* The command that the words call; NULL with a misuse() line, or without one when they ask for
 * help and got it. */
static const struct command *choose(struct args *args)
{
	bool help = asks_help(args);
	const struct command *command;
	const char *object;

	if (help)
		next_word(args);
	if (!args->count) {
		print_help(help ? stdout : stderr);
		if (!help)
			misuse("an object is missing");
		return NULL;
	}
	object = find_object(next_word(args));
	if (!object)
		return NULL;
	if (asks_help(args) || (help && !args->count)) {
		print_commands(stdout, object);
		return NULL;
	}
	command = find_command(object, args);
	if (command && (help || asks_help(args))) {
		print_command(stdout, command);
		print_filters(stdout, object);
		return NULL;
	}
	return command;
}

static int run(int argc, char **argv)
{
	const struct command *command;
	struct args args;
	int err = parse_options(argc, argv);

	if (err)
		return err;
	args = (struct args){.count = argc - optind, .word = argv + optind};
	take_late_options(&args);
	command = choose(&args);
	if (!command)
		return failure() ? -EINVAL : 0;
	if (command->needs_root && geteuid())
		return fail(-EPERM, "%s needs root; 'sudo weir ...'", command->object);
	libbpf_set_print(print_libbpf);
	libxdp_set_print(print_libxdp);
	return command->run(&args);
}

int main(int argc, char **argv)
{
	int err = run(argc, argv);

	if (err >= 0)
		return 0;
	fprintf(stderr, "weir: %s\n", failure() ? failure() : strerror(-err));
	return failure() ? failure_status() : 2;
}
