#include "common/process.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/stats.h"

#define STAT_BYTES_MAX 1024
#define DESCRIPTORS_MAX 1048576 /* counted at most */

static double started_s; /* since the epoch; 0: unknown */

/* Field 22 of proc(5)'s stat, in clock ticks since the machine was started; the name in it may hold anything, so the last ')' ends it. */
static bool read_start_ticks(unsigned long long *ret)
{
	char text[STAT_BYTES_MAX];
	FILE *f = fopen("/proc/self/stat", "re");
	if (!f)
		return false;
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	fclose(f);
	const char *rest = strrchr(text, ')');
	return rest && sscanf(rest + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", ret) == 1;
}

uint64_t process_resident_bytes(void)
{
	unsigned long long total = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (!f)
		return 0;
	int n = fscanf(f, "%llu %llu", &total, &resident);
	fclose(f);
	return n == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void find_start(void)
{
	unsigned long long ticks;
	struct timespec boot;
	if (!read_start_ticks(&ticks) || clock_gettime(CLOCK_BOOTTIME, &boot))
		return;
	double up_s = (double)boot.tv_sec + (double)boot.tv_nsec / NS_PER_SEC;
	started_s = (double)clock_wall_ns() / NS_PER_SEC - up_s + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static void put(struct buf *out, const char *name, const char *help, enum stats_type type, double v)
{
	struct stats_family f = {name, help, type, {NULL}};
	stats_write_head(out, &f);
	stats_write(out, &f, NULL, v);
}

static void put_cpu(struct buf *out)
{
	struct rusage u;
	if (getrusage(RUSAGE_SELF, &u))
		return;
	put(out, "process_cpu_seconds_total", "User and system processor time", STATS_COUNTER,
	    (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
}

static void put_descriptors(struct buf *out)
{
	struct rlimit limit;
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");
	if (!d)
		return;
	for (const struct dirent *e; n < DESCRIPTORS_MAX && (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	put(out, "process_open_fds", "Open file descriptors", STATS_GAUGE, n ? n - 1 : 0); /* without the folder's own */
	if (!getrlimit(RLIMIT_NOFILE, &limit))
		put(out, "process_max_fds", "How many there may be", STATS_GAUGE, (double)limit.rlim_cur);
}

void process_put_metrics(struct buf *out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, find_start);
	if (started_s > 0)
		put(out, "process_start_time_seconds", "When this process was started, seconds since the epoch", STATS_GAUGE, started_s);
	put_cpu(out);
	uint64_t resident_bytes = process_resident_bytes();
	if (resident_bytes)
		put(out, "process_resident_memory_bytes", "Resident memory", STATS_GAUGE, (double)resident_bytes);
	put_descriptors(out);
}

void process_put_build(const char *family, const char *version, struct buf *out)
{
	struct stats_family f = {family, "Always 1; the version is a label", STATS_GAUGE, {"version"}};
	stats_write_head(out, &f);
	stats_write(out, &f, (const char *const[]){version}, 1);
}
