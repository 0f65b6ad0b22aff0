/* sim: runs seeds of the simulator, in worker processes so that a crash of the product is a result as well. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/err.h"
#include "tests/sim/sim_world.h"

#define JOBS_MAX 64
#define FAILURES_SHOWN_MAX 20

struct options {
	uint64_t first, last;
	unsigned jobs;
	enum sim_mutant mutant;
	bool one, verbose, all_mutants;
	bool members; /* only seeds whose nodes come and go */
	bool alerts;  /* only seeds with alerts */
	bool figures; /* worlds where only clouds are killed, to measure how long that is felt */
};

/* What a worker writes for each seed: begun, then ended. Small enough that a pipe keeps it whole. */
struct report {
	uint64_t seed;
	bool ended;
	struct sim_outcome outcome;
};

struct worker {
	pid_t pid;
	int fd;
	uint64_t next;    /* where a successor goes on */
	uint64_t running; /* 0: none */
	struct report partial;
	size_t partial_len;
};

struct totals {
	uint64_t passed, failed, events, crashes, lines, rows, frames, reads, snapshots, leaders, wipes, maps, cuts, delivered, alerted, alert_groups;
	uint32_t *failover_ms;
	size_t failovers;
};

static void usage(FILE *f)
{
	fprintf(f,
	    "sim: edges and clouds under a seeded clock, network and disk\n"
	    "\n"
	    "  sim --seed N [--verbose] [--mutant NAME]   one seed, exactly as it ever ran\n"
	    "  sim --seeds A..B [--jobs N] [--mutant NAME] [--members] [--alerts]   only those whose nodes come and go; that have alerts\n"
	    "  sim --mutants [--seeds A..B] [--jobs N]    each mutant must be found within the seeds\n"
	    "  sim --figures [--seeds A..B] [--jobs N]    only clouds are killed: from there to the next acknowledgement of each\n"
	    "                                             shard that it led\n"
	    "\n"
	    "mutants:");
	for (int m = MUTANT_NONE + 1; m < MUTANTS; m++)
		fprintf(f, " %s", sim_mutant_name((enum sim_mutant)m));
	fprintf(f, "\n");
}

static double seconds_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- one seed -------------------------------------------------------------------------------------------------------- */

static int run_one(const struct options *o)
{
	struct sim_outcome a, b;
	sim_world_run(o->first, o->mutant, o->figures, o->verbose, &a);
	sim_world_run(o->first, o->mutant, o->figures, false, &b);
	if (a.failed)
		printf("seed %" PRIu64 " FAILED %s\n", o->first, a.reason);
	printf("seed %" PRIu64 ": %" PRIu64 " events, %.1f s virtual, %" PRIu64 " crashes, %" PRIu64 " frames, %" PRIu64
	       " batches, %" PRIu64 " lines, %" PRIu64 " rows read, %" PRIu64 " reads, %" PRIu64 " leaders, %" PRIu64
	       " snapshots, %" PRIu64 " folders lost, trace %016" PRIx64 "\n",
	    o->first, a.events, (double)a.virtual_ns / 1e9, a.crashes, a.frames, a.batches, a.lines, a.rows, a.reads,
	    a.leaders, a.snapshots, a.wipes, a.trace);
	bool same = a.trace == b.trace && a.failed == b.failed;
	if (!same)
		printf("seed %" PRIu64 " FAILED: run again it gives another trace: %016" PRIx64 "\n", o->first, b.trace);
	bool failed = a.failed || !same;
	printf("sim: %d passed, %d failed\n", !failed, failed);
	return failed;
}

/* ---- many seeds ------------------------------------------------------------------------------------------------------ */

static void put_report(int fd, const struct report *r)
{
	const char *p = (const char *)r;
	for (size_t n = 0; n < sizeof(*r);) {
		ssize_t k = write(fd, p + n, sizeof(*r) - n);
		if (k <= 0)
			_exit(3);
		n += (size_t)k;
	}
}

static _Noreturn void work(int fd, uint64_t first, const struct options *o)
{
	for (uint64_t seed = first; seed <= o->last; seed += o->jobs) {
		struct report r = {.seed = seed};
		if ((o->members && !sim_plan_members(seed)) || (o->alerts && !sim_plan_alerts(seed)))
			continue;
		put_report(fd, &r);
		sim_world_run(seed, o->mutant, o->figures, false, &r.outcome);
		/* Some seeds prove that they can be replayed. */
		if (seed % 50 == 0 && o->mutant == MUTANT_NONE && !r.outcome.failed) {
			struct sim_outcome again;
			sim_world_run(seed, o->mutant, o->figures, false, &again);
			if (again.trace != r.outcome.trace) {
				r.outcome.failed = true;
				snprintf(r.outcome.reason, sizeof(r.outcome.reason), "run again it gives another trace");
			}
		}
		r.ended = true;
		put_report(fd, &r);
	}
	_exit(0);
}

static bool spawn(struct worker *w, const struct options *o)
{
	int fds[2];
	if (w->next > o->last)
		return false;
	if (pipe(fds)) {
		perror("sim: pipe");
		exit(2);
	}
	fflush(stdout);
	w->pid = fork();
	if (w->pid < 0) {
		perror("sim: fork");
		exit(2);
	}
	if (w->pid == 0) {
		close(fds[0]);
		work(fds[1], w->next, o);
	}
	close(fds[1]);
	w->fd = fds[0];
	w->partial_len = 0;
	w->running = 0;
	return true;
}

static void show_failure(const struct options *o, const struct totals *t, uint64_t seed, const char *reason)
{
	if (o->mutant != MUTANT_NONE || t->failed > FAILURES_SHOWN_MAX)
		return;
	printf("seed %" PRIu64 " FAILED %s\n    replay: tests/sim/sim --seed %" PRIu64 " --verbose\n", seed, reason, seed);
	fflush(stdout);
}

static void take_report(const struct options *o, struct worker *w, struct totals *t)
{
	const struct report *r = &w->partial;
	w->running = r->ended ? 0 : r->seed;
	w->next = r->seed + o->jobs;
	if (!r->ended)
		return;
	t->events += r->outcome.events;
	t->crashes += r->outcome.crashes;
	t->lines += r->outcome.lines;
	t->rows += r->outcome.rows;
	t->frames += r->outcome.frames;
	t->reads += r->outcome.reads;
	t->snapshots += r->outcome.snapshots;
	t->leaders += r->outcome.leaders;
	t->wipes += r->outcome.wipes;
	t->maps += r->outcome.maps;
	t->cuts += r->outcome.cuts;
	t->delivered += r->outcome.delivered;
	t->alerted += r->outcome.alerted;
	t->alert_groups += r->outcome.alert_groups;
	t->failover_ms = xrealloc(t->failover_ms, (t->failovers + r->outcome.failovers + 1) * sizeof(*t->failover_ms));
	memcpy(t->failover_ms + t->failovers, r->outcome.failover_ms, r->outcome.failovers * sizeof(*t->failover_ms));
	t->failovers += r->outcome.failovers;
	if (!r->outcome.failed) {
		t->passed++;
		return;
	}
	t->failed++;
	show_failure(o, t, r->seed, r->outcome.reason);
}

/* The worker has gone: at its end, or in the middle of a seed. True: go on with a new one. */
static bool take_end(const struct options *o, struct worker *w, struct totals *t)
{
	int status;
	close(w->fd);
	w->fd = -1;
	waitpid(w->pid, &status, 0);
	if (!w->running)
		return false;
	char reason[100];
	snprintf(reason, sizeof(reason), "the process died: %s %d", WIFSIGNALED(status) ? "signal" : "exit",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	t->failed++;
	show_failure(o, t, w->running, reason);
	return spawn(w, o);
}

static bool read_worker(const struct options *o, struct worker *w, struct totals *t)
{
	ssize_t n = read(w->fd, (char *)&w->partial + w->partial_len, sizeof(w->partial) - w->partial_len);
	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0)
		return take_end(o, w, t);
	w->partial_len += (size_t)n;
	if (w->partial_len == sizeof(w->partial)) {
		w->partial_len = 0;
		take_report(o, w, t);
	}
	return true;
}

static void stop(struct worker *workers, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (workers[i].fd < 0)
			continue;
		kill(workers[i].pid, SIGKILL);
		waitpid(workers[i].pid, NULL, 0);
		close(workers[i].fd);
		workers[i].fd = -1;
	}
}

static struct totals run_many(const struct options *o, bool stop_at_first)
{
	struct worker workers[JOBS_MAX];
	struct totals t = {0};
	double shown = seconds_now();
	unsigned alive = 0;
	for (unsigned i = 0; i < o->jobs; i++) {
		workers[i] = (struct worker){.fd = -1, .next = o->first + i};
		alive += spawn(&workers[i], o);
	}
	while (alive) {
		struct pollfd p[JOBS_MAX];
		for (unsigned i = 0; i < o->jobs; i++)
			p[i] = (struct pollfd){.fd = workers[i].fd, .events = POLLIN};
		poll(p, o->jobs, 1000);
		for (unsigned i = 0; i < o->jobs; i++)
			if (workers[i].fd >= 0 && (p[i].revents & (POLLIN | POLLHUP)) &&
			    !read_worker(o, &workers[i], &t))
				alive--;
		if (stop_at_first && t.failed) {
			stop(workers, o->jobs);
			break;
		}
		if (o->mutant == MUTANT_NONE && seconds_now() - shown > 10) {
			shown = seconds_now();
			printf("sim: %" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " failed\n", t.passed + t.failed,
			    o->last - o->first + 1, t.failed);
			fflush(stdout);
		}
	}
	return t;
}

static int ms_cmp(const void *pa, const void *pb)
{
	uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
	return (a > b) - (a < b);
}

static void show_failovers(const struct totals *t)
{
	if (!t->failovers)
		return;
	qsort(t->failover_ms, t->failovers, sizeof(*t->failover_ms), ms_cmp);
	printf("sim: from a cloud's kill to the next acknowledgement of each shard that it led: %zu times, median %u ms, p90 %u ms, "
	       "p99 %u ms, max %u ms\n",
	    t->failovers, t->failover_ms[t->failovers / 2], t->failover_ms[t->failovers * 90 / 100],
	    t->failover_ms[t->failovers * 99 / 100], t->failover_ms[t->failovers - 1]);
}

static int run_seeds(const struct options *o)
{
	double start = seconds_now();
	struct totals t = run_many(o, false);
	printf("sim: %" PRIu64 " events, %" PRIu64 " frames, %" PRIu64 " crashes, %" PRIu64 " lines, %" PRIu64
	       " rows read, %" PRIu64 " reads, %" PRIu64 " leaders, %" PRIu64 " snapshots, %" PRIu64
	       " folders lost, %" PRIu64 " maps, %" PRIu64 " streams cut over, %" PRIu64 " rows to sinks, %" PRIu64 " events of alerts, %" PRIu64
	       " groups of alerts as the oracle has them, %.1f s\n",
	    t.events, t.frames, t.crashes, t.lines, t.rows, t.reads, t.leaders, t.snapshots, t.wipes, t.maps, t.cuts,
	    t.delivered, t.alerted, t.alert_groups, seconds_now() - start);
	if (o->figures)
		show_failovers(&t);
	free(t.failover_ms);
	printf("sim: %" PRIu64 " passed, %" PRIu64 " failed\n", t.passed, t.failed);
	return t.failed ? 1 : 0;
}

static int run_mutants(struct options o)
{
	int missed = 0, found = 0;
	for (int m = MUTANT_NONE + 1; m < MUTANTS; m++) {
		o.mutant = (enum sim_mutant)m;
		struct totals t = run_many(&o, true);
		free(t.failover_ms);
		printf("mutant %-14s %s after %" PRIu64 " seeds\n", sim_mutant_name(o.mutant), t.failed ? "found" : "NOT FOUND",
		    t.passed + t.failed);
		fflush(stdout);
		*(t.failed ? &found : &missed) += 1;
	}
	printf("sim: %d passed, %d failed\n", found, missed);
	return missed ? 1 : 0;
}

/* ---- the command line --------------------------------------------------------------------------------------------------- */

static bool parse_mutant(const char *name, enum sim_mutant *ret)
{
	for (int m = 0; m < MUTANTS; m++) {
		if (!strcmp(name, sim_mutant_name((enum sim_mutant)m))) {
			*ret = (enum sim_mutant)m;
			return true;
		}
	}
	return false;
}

static bool parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"seed", required_argument, NULL, 's'}, {"seeds", required_argument, NULL, 'S'},
	    {"jobs", required_argument, NULL, 'j'}, {"verbose", no_argument, NULL, 'v'}, {"mutant", required_argument, NULL, 'm'},
	    {"mutants", no_argument, NULL, 'M'}, {"figures", no_argument, NULL, 'F'}, {"members", no_argument, NULL, 'C'},
	    {"alerts", no_argument, NULL, 'A'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	*o = (struct options){.first = 1, .last = 100, .jobs = 2};
	int c;
	while ((c = getopt_long(argc, argv, "vh", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->one = true;
			if (sscanf(optarg, "%" SCNu64, &o->first) != 1)
				return false;
			break;
		case 'S':
			if (sscanf(optarg, "%" SCNu64 "..%" SCNu64, &o->first, &o->last) != 2 || o->last < o->first)
				return false;
			break;
		case 'j':
			if (sscanf(optarg, "%u", &o->jobs) != 1 || o->jobs < 1 || o->jobs > JOBS_MAX)
				return false;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'm':
			if (!parse_mutant(optarg, &o->mutant))
				return false;
			break;
		case 'F':
			o->figures = true;
			break;
		case 'C':
			o->members = true;
			break;
		case 'A':
			o->alerts = true;
			break;
		case 'M':
			o->all_mutants = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			return false;
		}
	}
	return optind == argc;
}

int main(int argc, char **argv)
{
	struct options o;
	if (!parse_options(argc, argv, &o)) {
		usage(stderr);
		return 2;
	}
	if (o.one)
		return run_one(&o);
	return o.all_mutants ? run_mutants(o) : run_seeds(&o);
}
