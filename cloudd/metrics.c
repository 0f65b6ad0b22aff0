#include "cloudd/metrics.h"

#include <stdio.h>
#include <unistd.h>

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
};

struct stats *metrics_new(void)
{
	return stats_new(table, METRICS_FAMILIES);
}

struct stats_cell *metrics_cell(struct stats *s, enum metrics_family family, const char *value)
{
	return stats_cell(s, family, (const char *const[]){value});
}

uint64_t metrics_resident_bytes(void)
{
	unsigned long long total = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (!f)
		return 0;
	int n = fscanf(f, "%llu %llu", &total, &resident);
	fclose(f);
	return n == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}
