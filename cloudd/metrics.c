#include "cloudd/metrics.h"

#include <stdlib.h>
#include <sys/statvfs.h>

#include "common/buf.h"
#include "common/err.h"

static const struct stats_family table[METRICS_FAMILIES] = {
    [METRICS_BUILD] = {"weir_cloud_build_info", "Always 1; the version is a label", STATS_GAUGE, {"version"}},
    [METRICS_MEMORY] = {"weir_cloud_resident_bytes", "Memory of this process", STATS_GAUGE, {NULL}},
    [METRICS_DISK_USED] = {"weir_cloud_disk_used_bytes", "Bytes in use in an environment", STATS_GAUGE, {"environment"}},
    [METRICS_DISK_SIZE] = {"weir_cloud_disk_size_bytes", "Bytes that an environment may grow to", STATS_GAUGE,
	{"environment"}},
    [METRICS_COMMIT] = {"weir_cloud_commit_seconds", "Time of durable transactions", STATS_DURATION, {"environment"}},
    [METRICS_ZMQ_FRAMES] = {"weir_cloud_zmq_frames_total", "Frames through ZeroMQ", STATS_COUNTER, {"direction"}},
    [METRICS_ZMQ_BYTES] = {"weir_cloud_zmq_bytes_total", "Bytes of those frames", STATS_COUNTER, {"direction"}},
    [METRICS_ZMQ_DROPPED] = {"weir_cloud_zmq_dropped_total", "Frames not taken or not sent", STATS_COUNTER, {"reason"}},
    [METRICS_ZMQ_CONNECTIONS] = {"weir_cloud_zmq_connections", "Connections of edges, nodes and strangers", STATS_GAUGE, {NULL}},
    [METRICS_ZMQ_CONNECTIONS_MAX] = {"weir_cloud_zmq_connections_max", "Above so many, new ones wait", STATS_GAUGE, {NULL}},
    [METRICS_ZMQ_CONNECTED] = {"weir_cloud_zmq_connections_total", "Connections accepted, and handshakes finished",
	STATS_COUNTER, {"result"}},
    [METRICS_ZMQ_REFUSED] = {"weir_cloud_handshakes_refused_total", "Connections that ended before their handshake did",
	STATS_COUNTER, {"reason"}},
    [METRICS_ZMQ_CUT] = {"weir_cloud_zmq_connections_cut_total", "Connections cut because a message of theirs did not end",
	STATS_COUNTER, {NULL}},
    [METRICS_ZMQ_ENDED] = {"weir_cloud_zmq_connections_ended_total", "Connections cut when keys changed: their key was removed, or they had "
	"not spoken yet", STATS_COUNTER, {NULL}},
    [METRICS_ZMQ_SHUT] = {"weir_cloud_zmq_shut_total", "Times that new connections had to wait", STATS_COUNTER, {"reason"}},
    [METRICS_KEYS] = {"weir_cloud_keys", "Public keys that are allowed", STATS_GAUGE, {NULL}},
    [METRICS_KEYS_BROKEN] = {"weir_cloud_keys_broken_total", "Key files found broken", STATS_COUNTER, {NULL}},
    [METRICS_MAP_VERSION] = {"weir_cloud_map_version", "Version of the cluster map that this node goes by, 0: its file",
	STATS_GAUGE, {NULL}},
    [METRICS_RPC_TIMEOUTS] = {"weir_cloud_rpc_timeouts_total", "Requests to other nodes without an answer in time",
	STATS_COUNTER, {NULL}},
    [METRICS_SERVE_BUSY] = {"weir_cloud_serve_busy_total", "Requests of other nodes refused because too many waited",
	STATS_COUNTER, {NULL}},
    [METRICS_DAMAGED_RECORDS] = {"weir_cloud_damaged_records_total", "Stored records that did not read at the start",
	STATS_COUNTER, {"environment"}},
    [METRICS_DAMAGED_PAGES] = {"weir_cloud_damaged_pages_total", "Pages of data files that were damaged at the start",
	STATS_COUNTER, {"environment"}},
    [METRICS_SET_ASIDE] = {"weir_cloud_set_aside_total", "Data folders that were set aside because they were damaged",
	STATS_COUNTER, {"environment"}},
    [METRICS_DAMAGED_READS] = {"weir_cloud_damaged_reads_total", "Reads that met a stored record which does not read",
	STATS_COUNTER, {NULL}},
    [METRICS_DISK_FREE] = {"weir_cloud_disk_free_bytes", "Bytes free in the file system of an environment", STATS_GAUGE,
	{"environment"}},
};

struct stats *metrics_new(void)
{
	return stats_new(table, METRICS_FAMILIES);
}

struct stats_cell *metrics_cell(struct stats *s, enum metrics_family family, const char *value)
{
	return stats_cell(s, family, (const char *const[]){value});
}

double metrics_free_bytes(const char *folder, const char *name)
{
	struct statvfs s;
	char *path = xasprintf("%s/%s", folder, name);
	double free_bytes = statvfs(path, &s) ? -1 : (double)s.f_bavail * (double)s.f_frsize;
	free(path);
	return free_bytes;
}
