/* The command line of a daemon, edged's and cloudd's alike: what both take, and how it is read. For main() only: tells on stdout and stderr. */
#ifndef WEIR_COMMON_DAEMON_ARGS_H
#define WEIR_COMMON_DAEMON_ARGS_H

#include <stdbool.h>

#include "common/args.h"

/* The rows of the table of options, before and after a daemon's own; `which`: what the node is. */
#define DAEMON_OPTIONS_FIRST(which) \
	{"config", 0, "FILE", false, "the topology of the whole cluster: every daemon gets the same file (also: WEIR_CONFIG)"}, \
	{"node", 0, "NODE", false, which " (also: WEIR_NODE)"}, \
	{"data", 0, "DIR", false, "where its data are kept, instead of in its `data` of the topology (also: WEIR_DATA)"}
#define DAEMON_OPTIONS_LAST \
	{"check", 0, NULL, false, "only check the configuration: tells each problem as FILE:LINE:COLUMN: KEY: message; with a node, also the " \
	    "keys and certificates that it would start with here"}, \
	{"log-level", 0, "error|warn|info|debug", false, "what is logged (default info)"}, \
	{"help", 0, NULL, false, "this help"}, \
	{"version", 0, NULL, false, "the version"}

/* The rows of the table of variables, likewise. */
#define DAEMON_VARIABLES \
	{"WEIR_CONFIG", "as --config, where that is not given"}, \
	{"WEIR_NODE", "as --node, where that is not given"}, \
	{"WEIR_DATA", "as --data, where that is not given"}, \
	{"CREDENTIALS_DIRECTORY", "set by systemd (LoadCredential): a folder whose weir.key, weir.tls.key, weir.tls.crt and tokens go before " \
	    "those in cluster.security.keys"}, \
	{"NOTIFY_SOCKET", "set by systemd (Type=notify): where to say that the daemon is ready, reloads, stops, and how it is"}, \
	{"WATCHDOG_USEC", "set by systemd (WatchdogSec): it is told in time that the daemon gets on, and nothing while it does not"}

/* Values point into argv or the environment. */
struct daemon_args {
	const char *config; /* never NULL */
	const char *node, *data;
	bool check;
	bool allow_exec, begin_alone; /* where the daemon has such an option */
};

/* Reads a command line and sets the level of the log. version: of the program. -1: go on, with *ret set; else the exit code, after help,
 * version, or what is wrong, with the usage. */
int daemon_args_read(const struct arg_program *p, const char *version, int argc, char **argv, struct daemon_args *ret);

#endif
