/* raftsim: runs seeds, in worker processes so that a crash of the core is a result as well. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "raft/rule.h"
#include "tests/sim/raft/raftsim.h"

#define JOBS_MAX 64
#define FAILURES_SHOWN_MAX 20
#define SEED_WALL_S_MAX 30 /* a seed takes some hundredths; then it hangs */
#define VERIFY_EVERY 50
#define FIGURES_MAX 4000000

enum raft_rule raft_broken_rule = RAFT_RULE_NONE;

static const struct {
	const char *name, *text;
} rules[RAFT_RULE_COUNT] = {[RAFT_RULE_NONE] = {"none", ""},
#define ROW(name, text) [RAFT_RULE_##name] = {#name, text},
    RAFT_RULES(ROW)
#undef ROW
};

struct options {
	uint64_t first, last;
	unsigned jobs;
	enum raft_rule rule;
	bool one, verbose, verify, figures, all_mutants;
};

/* What a worker writes for each seed: begun, then ended. */
struct report {
	uint64_t seed;
	bool ended;
	struct rs_outcome outcome;
};

struct worker {
	pid_t pid;
	int fd;
	uint64_t next;	  /* where a successor goes on */
	uint64_t running; /* 0: none */
	struct report partial;
	size_t partial_len;
};

struct totals {
	uint64_t passed, failed, events, messages, writes, crashes, acknowledged, reads, snapshots, changes,
	    elections, busy, truncated;
	uint64_t failed_seed;
	char reason[sizeof(((struct rs_outcome *)0)->reason)];
	uint32_t *failover_ms, *recovery_ms;
	size_t failovers, recoveries;
};

static void usage(FILE *f)
{
	fprintf(f,
	    "raftsim: the consensus core under a seeded clock, network and disk\n"
	    "\n"
	    "  raftsim --seed N [--verbose] [--mutant NAME]   one seed, exactly as it ever ran\n"
	    "  raftsim --seeds A..B [--jobs N] [--mutant NAME] [--verify] [--figures]\n"
	    "  raftsim --mutants [--seeds A..B] [--jobs N]    each broken rule must be found within the "
	    "seeds\n"
	    "\n"
	    "  --verify    each seed twice: both must go the same way (else one in %d)\n"
	    "  --blind     only consequences count: lost or different states, stale reads, no recovery\n"
	    "  --figures   how long groups take to recover, and to go on after a leader's crash\n"
	    "\n"
	    "mutants:\n",
	    VERIFY_EVERY);
	for (int m = RAFT_RULE_NONE + 1; m < RAFT_RULE_COUNT; m++)
		fprintf(f, "  %-22s %s\n", rules[m].name, rules[m].text);
}

static double seconds_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- one seed -------------------------------------------------------------------------------- */

static int run_one(const struct options *o)
{
	struct rs_outcome a, b;
	raft_broken_rule = o->rule;
	rs_world_run(o->first, o->verbose, &a);
	rs_world_run(o->first, false, &b);
	if (a.failed)
		printf("seed %" PRIu64 " FAILED %s\n", o->first, a.reason);
	printf("seed %" PRIu64 ": %.1f s virtual, %" PRIu64 " events, %" PRIu64 " messages, %" PRIu64
	       " writes, %" PRIu64 " crashes, %" PRIu64 " elections, %" PRIu64 " acknowledged, %" PRIu64
	       " reads, %" PRIu64 " snapshots, %" PRIu64 " changes, trace %016" PRIx64 "\n",
	    o->first, (double)a.virtual_us / 1e6, a.events, a.messages, a.writes, a.crashes, a.elections,
	    a.acknowledged, a.reads, a.snapshots, a.changes, a.trace);
	bool same = a.trace == b.trace && a.failed == b.failed;
	if (!same)
		printf("seed %" PRIu64 " FAILED: run again it gives another trace: %016" PRIx64 "\n",
		    o->first, b.trace);
	bool failed = a.failed || !same;
	printf("raftsim: %d passed, %d failed\n", !failed, failed);
	return failed;
}

/* ---- many seeds ------------------------------------------------------------------------------ */

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

static void verify(uint64_t seed, struct rs_outcome *o)
{
	struct rs_outcome again;
	rs_world_run(seed, false, &again);
	if (again.trace == o->trace)
		return;
	o->failed = true;
	snprintf(o->reason, sizeof(o->reason), "run again it gives another trace");
}

static _Noreturn void work(int fd, uint64_t first, unsigned step, const struct options *o)
{
	raft_broken_rule = o->rule;
	for (uint64_t seed = first; seed <= o->last; seed += step) {
		struct report r;
		memset(&r, 0, sizeof(r));
		r.seed = seed;
		put_report(fd, &r);
		alarm(SEED_WALL_S_MAX);
		rs_world_run(seed, false, &r.outcome);
		if (!r.outcome.failed && o->rule == RAFT_RULE_NONE && (o->verify || seed % VERIFY_EVERY == 0))
			verify(seed, &r.outcome);
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
		perror("raftsim: pipe");
		exit(2);
	}
	fflush(stdout);
	w->pid = fork();
	if (w->pid < 0) {
		perror("raftsim: fork");
		exit(2);
	}
	if (w->pid == 0) {
		close(fds[0]);
		if (o->rule != RAFT_RULE_NONE && !freopen("/dev/null", "w", stderr))
			_exit(3);
		work(fds[1], w->next, step, o);
	}
	close(fds[1]);
	w->fd = fds[0];
	w->partial_len = 0;
	w->running = 0;
	return true;
}

static void take_failure(const struct options *o, struct totals *t, uint64_t seed, const char *reason)
{
	t->failed++;
	if (!t->failed_seed || seed < t->failed_seed) {
		t->failed_seed = seed;
		snprintf(t->reason, sizeof(t->reason), "%s", reason);
	}
	if (o->all_mutants || t->failed > FAILURES_SHOWN_MAX)
		return;
	printf("seed %" PRIu64 " FAILED %s\n", seed, reason);
	if (o->rule == RAFT_RULE_NONE)
		printf("    replay: tests/sim/raft/raftsim --seed %" PRIu64 " --verbose\n", seed);
	fflush(stdout);
}

static void take_figures(struct totals *t, const struct rs_outcome *o)
{
	if (!t->failover_ms) {
		t->failover_ms = calloc(FIGURES_MAX, sizeof(uint32_t));
		t->recovery_ms = calloc(FIGURES_MAX, sizeof(uint32_t));
		if (!t->failover_ms || !t->recovery_ms)
			abort();
	}
	for (uint32_t i = 0; i < o->failovers && t->failovers < FIGURES_MAX; i++)
		t->failover_ms[t->failovers++] = o->failover_ms[i];
	if (t->recoveries < FIGURES_MAX)
		t->recovery_ms[t->recoveries++] = (uint32_t)(o->recovery_us / 1000);
}

static void take_report(const struct options *o, struct worker *w, struct totals *t, unsigned step)
{
	const struct report *r = &w->partial;
	const struct rs_outcome *c = &r->outcome;
	w->running = r->ended ? 0 : r->seed;
	w->next = r->seed + step;
	if (!r->ended)
		return;
	t->events += c->events;
	t->messages += c->messages;
	t->writes += c->writes;
	t->crashes += c->crashes;
	t->acknowledged += c->acknowledged;
	t->reads += c->reads;
	t->snapshots += c->snapshots;
	t->changes += c->changes;
	t->elections += c->elections;
	t->busy += c->busy;
	t->truncated += c->truncated;
	if (o->figures)
		take_figures(t, c);
	if (c->failed)
		take_failure(o, t, r->seed, c->reason);
	else
		t->passed++;
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
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(reason, sizeof(reason), "it hangs");
	else
		snprintf(reason, sizeof(reason), "the process died: %s %d",
		    WIFSIGNALED(status) ? "signal" : "exit",
		    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	take_failure(o, t, w->running, reason);
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

static void run_many(const struct options *o, bool stop_at_first, struct totals *t)
{
	static struct worker workers[JOBS_MAX];
	double shown = seconds_now();
	unsigned alive = 0;
	memset(t, 0, sizeof(*t));
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
			    !read_worker(o, &workers[i], t, o->jobs))
				alive--;
		if (stop_at_first && t->failed) {
			stop(workers, o->jobs);
			break;
		}
		if (!o->all_mutants && seconds_now() - shown > 10) {
			shown = seconds_now();
			printf("raftsim: %" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " failed\n",
			    t->passed + t->failed, o->last - o->first + 1, t->failed);
			fflush(stdout);
		}
	}
}

/* ---- figures --------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void show_figures(const char *what, uint32_t *ms, size_t n)
{
	if (!n)
		return;
	qsort(ms, n, sizeof(*ms), compare);
	printf("%s: median %u ms, p99 %u ms, max %u ms (of %zu)\n", what, ms[n / 2], ms[n * 99 / 100],
	    ms[n - 1], n);
}

static int run_seeds(const struct options *o)
{
	static struct totals t;
	double start = seconds_now();
	run_many(o, false, &t);
	double took = seconds_now() - start;
	if (o->figures) {
		printf("timeout %d..%d ticks of %llu ms, heartbeat %d ticks\n", RS_ELECTION_TICKS,
		    2 * RS_ELECTION_TICKS, (unsigned long long)(RS_TICK / RS_MS), RS_HEARTBEAT_TICKS);
		show_figures(
		    "from a leader's crash to the next acknowledged write", t.failover_ms, t.failovers);
		show_figures("from the end of the faults to health", t.recovery_ms, t.recoveries);
	}
	printf("raftsim: %" PRIu64 " events, %" PRIu64 " messages, %" PRIu64 " writes, %" PRIu64
	       " crashes, %" PRIu64 " elections, %" PRIu64 " acknowledged, %" PRIu64 " busy, %" PRIu64
	       " reads, %" PRIu64 " snapshots, %" PRIu64 " changes; %.1f s, %.0f seeds/s\n",
	    t.events, t.messages, t.writes, t.crashes, t.elections, t.acknowledged, t.busy, t.reads,
	    t.snapshots, t.changes, took, (double)(t.passed + t.failed) / took);
	printf("raftsim: %" PRIu64 " passed, %" PRIu64 " failed\n", t.passed, t.failed);
	return t.failed ? 1 : 0;
}

static int run_mutants(struct options o)
{
	static struct totals t;
	int missed = 0, found = 0;
	for (int m = RAFT_RULE_NONE + 1; m < RAFT_RULE_COUNT; m++) {
		o.rule = (enum raft_rule)m;
		run_many(&o, true, &t);
		if (t.failed)
			printf("mutant %-22s found by seed %" PRIu64 " %s\n", rules[m].name, t.failed_seed,
			    t.reason);
		else
			printf("mutant %-22s NOT FOUND (%s)\n", rules[m].name, rules[m].text);
		fflush(stdout);
		*(t.failed ? &found : &missed) += 1;
	}
	printf("raftsim: %d passed, %d failed\n", found, missed);
	return missed ? 1 : 0;
}

/* ---- the command line ------------------------------------------------------------------------ */

static bool parse_mutant(const char *name, enum raft_rule *ret)
{
	for (int m = 0; m < RAFT_RULE_COUNT; m++) {
		if (!strcasecmp(name, rules[m].name)) {
			*ret = (enum raft_rule)m;
			return true;
		}
	}
	return false;
}

static bool parse_option(int c, struct options *o)
{
	switch (c) {
	case 's':
		o->one = true;
		return sscanf(optarg, "%" SCNu64, &o->first) == 1;
	case 'S':
		return sscanf(optarg, "%" SCNu64 "..%" SCNu64, &o->first, &o->last) == 2 &&
		       o->last >= o->first && o->first > 0;
	case 'j':
		return sscanf(optarg, "%u", &o->jobs) == 1 && o->jobs >= 1 && o->jobs <= JOBS_MAX;
	case 'v':
		o->verbose = true;
		return true;
	case 'V':
		o->verify = true;
		return true;
	case 'f':
		o->figures = true;
		return true;
	case 'm':
		return parse_mutant(optarg, &o->rule);
	case 'b':
		rs_blind = true;
		return true;
	case 'M':
		o->all_mutants = true;
		return true;
	case 'h':
		usage(stdout);
		exit(0);
	default:
		return false;
	}
}

static bool parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"seed", required_argument, NULL, 's'},
	    {"seeds", required_argument, NULL, 'S'}, {"jobs", required_argument, NULL, 'j'},
	    {"verbose", no_argument, NULL, 'v'}, {"verify", no_argument, NULL, 'V'},
	    {"figures", no_argument, NULL, 'f'}, {"mutant", required_argument, NULL, 'm'},
	    {"mutants", no_argument, NULL, 'M'}, {"blind", no_argument, NULL, 'b'},
	    {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	*o = (struct options){.first = 1, .last = 100, .jobs = 2};
	int c;
	while ((c = getopt_long(argc, argv, "vh", longs, NULL)) != -1)
		if (!parse_option(c, o))
			return false;
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
