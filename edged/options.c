#include "edged/options.h"

#include "common/daemon_args.h"

static const struct arg_option options[] = {
	DAEMON_OPTIONS_FIRST("which edge of the topology this is"),
	{"allow-exec", 0, NULL, false, "run programs (sources of type exec) that the cluster's topology names, also where FILE does not"},
	DAEMON_OPTIONS_LAST,
};
static const struct arg_variable variables[] = {DAEMON_VARIABLES};

const struct arg_program edged_program = {
	.name = "edged", .summary = "one edge of a Weir cluster, where the sensors are",
	.usage = "Usage: edged --config FILE --node NODE [--data DIR] [--log-level LEVEL]\n"
		 "             [--allow-exec]\n"
		 "       edged --config FILE [--node NODE] --check\n",
	.about = "Reads sensor readings (InfluxDB line protocol, MQTT, StatsD, exporters and more) from the sources that the topology lists\n"
		 "for it, turns them into small mergeable partials by stream, group and time slice, keeps those in a spool on disk, and\n"
		 "sends them to a cloud until they are acknowledged. It starts and works with no cloud reachable.\n",
	.options = {options, sizeof(options) / sizeof(options[0])},
	.variables = variables, .variable_count = sizeof(variables) / sizeof(variables[0]),
	.notes = "Signals: TERM and INT end it after a last checkpoint; HUP reads the configuration again and takes it up or, once the\n"
		"cluster's topology is gone by (`weirctl apply`), says what differs. Killing it at any moment is safe: it goes on from\n"
		"its last checkpoint, one a second (`tick`).\n"
		"Exit codes: 0 fine, 1 failed, 2 bad use or bad configuration. Logs go to stderr.\n",
	.examples =
		"The smallest topology:\n"
		"\n"
		"  version: 1\n"
		"  cluster: {name: plant, shards: 8}\n"
		"  cloud:\n"
		"    - name: cloud-1\n"
		"      listen: \"tcp://127.0.0.1:7101\"\n"
		"      http: \"127.0.0.1:8101\"\n"
		"      data: run/cloud-1\n"
		"  edges:\n"
		"    - name: edge-1\n"
		"      data: run/edge-1\n"
		"      http: \"127.0.0.1:8201\"\n"
		"      sources: [{type: tcp, listen: \"127.0.0.1:7201\"}]\n"
		"  streams:\n"
		"    - name: speed\n"
		"      from: {measurement: traffic, field: speed}\n"
		"      by: [sensor]\n"
		"      window: 1m\n"
		"      compute: [count, mean, p99]\n"
		"\n"
		"Then:\n"
		"\n"
		"  edged --config topology.yaml --node edge-1 &\n"
		"  echo 'traffic,sensor=6005 speed=88.5' > /dev/tcp/127.0.0.1/7201\n"
		"  curl http://127.0.0.1:8201/metrics\n"
		"  weirctl --url http://127.0.0.1:8201 query speed\n"
		"\n"
		"What next: a cloud for it (`cloudd --help`), and `weirctl status`. edged(8) is the manual, topology.yaml(5) the file's.\n"};
