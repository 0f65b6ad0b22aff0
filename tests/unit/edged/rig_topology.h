/* Pieces of topologies for tests with the rig. */
#ifndef WEIR_TESTS_RIG_TOPOLOGY_H
#define WEIR_TESTS_RIG_TOPOLOGY_H

#define CLUSTER \
	"version: 1\n" \
	"cluster: {name: plant, shards: 4, replicas: 1, security: none}\n" \
	"cloud:\n" \
	"  - {name: cloud-1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: c1}\n" \
	"  - {name: cloud-2, listen: \"tcp://127.0.0.1:7102\", http: \"127.0.0.1:8102\", data: c2}\n" \
	"edges:\n"
#define TCP(port) "      - {type: tcp, listen: \"127.0.0.1:" #port "\"}\n"
/* Two sources; idle after 30 s, flush after 1 min, one heartbeat a second. */
#define EDGE(limits) \
	"  - name: edge-1\n" \
	"    data: e1\n" \
	"    tags: {site: north, room: attic}\n" \
	"    idle_after: 30s\n" \
	"    flush: 1m\n" \
	"    limits: " limits "\n" \
	"    sources:\n" TCP(7201) TCP(7202) \
	"streams:\n"
#define BIG "{memory: 64MiB, disk: 256MiB}"
#define SPEED \
	"  - name: speed\n" \
	"    from: {measurement: traffic, field: speed, where: {sensor: \"6*\"}}\n" \
	"    by: [site, sensor]\n" \
	"    window: 1m\n" \
	"    lateness: 10s\n" \
	"    compute: [count, sum, min, max, p50]\n"
#define BY_SENSOR \
	"  - name: load\n" \
	"    from: {measurement: load, field: v}\n" \
	"    by: [sensor]\n" \
	"    window: 1m\n" \
	"    lateness: 0s\n" \
	"    compute: [count, sum]\n"
#define BY_SENSOR_HOUR \
	"  - name: load\n" \
	"    from: {measurement: load, field: v}\n" \
	"    by: [sensor]\n" \
	"    window: 1h\n" \
	"    lateness: 0s\n" \
	"    compute: [count, sum]\n"

#endif
