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
	uint64_t passed, failed, events, crashes, lines, rows, frames;
};

static void usage(FILE *f)
{
	fprintf(f,
	    "sim: edges and clouds under a seeded clock, network and disk\n"
	    "\n"
	    "  sim --seed N [--verbose] [--mutant NAME]   one seed, exactly as it ever ran\n"
	    "  sim --seeds A..B [--jobs N] [--mutant NAME]\n"
	    "  sim --mutants [--seeds A..B] [--jobs N]    each mutant must be found within the seeds\n"
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
	sim_world_run(o->first, o->mutant, o->verbose, &a);
	sim_world_run(o->first, o->mutant, false, &b);
	if (a.failed)
		printf("seed %" PRIu64 " FAILED %s\n", o->first, a.reason);
	printf("seed %" PRIu64 ": %" PRIu64 " events, %.1f s virtual, %" PRIu64 " crashes, %" PRIu64 " frames, %" PRIu64
	       " batches, %" PRIu64 " lines, %" PRIu64 " rows read, trace %016" PRIx64 "\n",
	    o->first, a.events, (double)a.virtual_ns / 1e9, a.crashes, a.frames, a.batches, a.lines, a.rows, a.trace);
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

static _Noreturn void work(int fd, uint64_t first, uint64_t last, unsigned step, enum sim_mutant mutant)
{
	for (uint64_t seed = first; seed <= last; seed += step) {
		struct report r = {.seed = seed};
		put_report(fd, &r);
		sim_world_run(seed, mutant, false, &r.outcome);
		/* Some seeds prove that they can be replayed. */
		if (seed % 50 == 0 && mutant == MUTANT_NONE && !r.outcome.failed) {
			struct sim_outcome again;
			sim_world_run(seed, mutant, false, &again);
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

static bool spawn(struct worker *w, const struct options *o, unsigned step)
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
		work(fds[1], w->next, o->last, step, o->mutant);
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

static void take_report(const struct options *o, struct worker *w, struct totals *t, unsigned step)
{
	const struct report *r = &w->partial;
	w->running = r->ended ? 0 : r->seed;
	w->next = r->seed + step;
	if (!r->ended)
		return;
	t->events += r->outcome.events;
	t->crashes += r->outcome.crashes;
	t->lines += r->outcome.lines;
	t->rows += r->outcome.rows;
	t->frames += r->outcome.frames;
	if (!r->outcome.failed) {
		t->passed++;
		return;
	}
	t->failed++;
	show_failure(o, t, r->seed, r->outcome.reason);
}

/* The worker has gone: at its end, or in the middle of a seed. True: go on with a new one. */
static bool take_end(const struct options *o, struct worker *w, struct totals *t, unsigned step)
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
	return spawn(w, o, step);
}

static bool read_worker(const struct options *o, struct worker *w, struct totals *t, unsigned step)
{
	ssize_t n = read(w->fd, (char *)&w->partial + w->partial_len, sizeof(w->partial) - w->partial_len);
	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0)
		return take_end(o, w, t, step);
	w->partial_len += (size_t)n;
	if (w->partial_len == sizeof(w->partial)) {
		w->partial_len = 0;
		take_report(o, w, t, step);
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
		alive += spawn(&workers[i], o, o->jobs);
	}
	while (alive) {
		struct pollfd p[JOBS_MAX];
		for (unsigned i = 0; i < o->jobs; i++)
			p[i] = (struct pollfd){.fd = workers[i].fd, .events = POLLIN};
		poll(p, o->jobs, 1000);
		for (unsigned i = 0; i < o->jobs; i++)
			if (workers[i].fd >= 0 && (p[i].revents & (POLLIN | POLLHUP)) &&
			    !read_worker(o, &workers[i], &t, o->jobs))
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

static int run_seeds(const struct options *o)
{
	double start = seconds_now();
	struct totals t = run_many(o, false);
	printf("sim: %" PRIu64 " events, %" PRIu64 " frames, %" PRIu64 " crashes, %" PRIu64 " lines, %" PRIu64
	       " rows read, %.1f s\n",
	    t.events, t.frames, t.crashes, t.lines, t.rows, seconds_now() - start);
	printf("sim: %" PRIu64 " passed, %" PRIu64 " failed\n", t.passed, t.failed);
	return t.failed ? 1 : 0;
}

static int run_mutants(struct options o)
{
	int missed = 0, found = 0;
	for (int m = MUTANT_NONE + 1; m < MUTANTS; m++) {
		o.mutant = (enum sim_mutant)m;
		struct totals t = run_many(&o, true);
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
	    {"mutants", no_argument, NULL, 'M'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
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
