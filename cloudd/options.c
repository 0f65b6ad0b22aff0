#include "cloudd/options.h"

#include "common/daemon_args.h"

static const struct arg_option options[] = {
	DAEMON_OPTIONS_FIRST("which of its `cloud` entries this daemon is"),
	{"begin-alone", 0, NULL, false, "where a majority of the nodes is lost for good: makes this node the only member, with the state it has, and "
	    "exits; its `log` was moved away before"},
	DAEMON_OPTIONS_LAST,
};
static const struct arg_variable variables[] = {DAEMON_VARIABLES};

const struct arg_program cloudd_program = {
	.name = "cloudd", .summary = "one cloud node of a Weir cluster",
	.usage = "Usage: cloudd --config FILE --node NODE [--data DIR] [--log-level LEVEL]\n"
		 "       cloudd --config FILE [--node NODE] --check\n"
		 "       cloudd --config FILE --node NODE [--data DIR] --begin-alone\n",
	.about = "Takes in what the edges send, keeps it, replicated over the nodes of the topology, answers queries over HTTP and has a page to\n"
		 "look at. Every node is alike, and any of them answers for all; one alone is a cluster, too.\n",
	.options = {options, sizeof(options) / sizeof(options[0])},
	.variables = variables, .variable_count = sizeof(variables) / sizeof(variables[0]),
	.notes = "Signals: TERM and INT stop it cleanly; HUP makes the configuration file the cluster's topology, as `weirctl apply` does. Once\n"
		"the cluster is there, it goes by what was applied last, not by the file. Killing it at any moment is safe.\n"
		"Exit codes: 0 fine, 1 failed, 2 bad use or bad configuration. Logs go to stderr.\n",
	.examples =
		"  cloudd --config topology.yaml --check\n"
		"  cloudd --config topology.yaml --node cloud-1 &\n"
		"  weirctl --url 127.0.0.1:8101 status\n"
		"\n"
		"What next: http://127.0.0.1:8101/ in a browser (the node's `http`), an edge (`edged --help` has a whole topology to begin with).\n"
		"cloudd(8) is the manual, topology.yaml(5) the file's.\n"};
