/* Runs a program that prints line protocol.
 *
 *            due: at once, after a back-off, at the interval             ended, and its output is read to the end
 *   WAITING ------------------------------------------------> RUNNING -----------------------------------------> WAITING
 *
 * Its last line without newline counts where it ended by itself with 0; else it is refused as truncated: half a line may be half a
 * number. Backpressure is not reading: the program waits in its write. What it says on stderr goes to the log.
 * There is no mark: what was read and not committed is lost with the process, what the program measures while edged is down is its own. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "edged/program.h"
#include "edged/schedule.h"
#include "edged/source_impl.h"

#define STDERR_LINE_MAX 400
#define STDERR_TURN_BYTES (16 * 1024)

struct exec {
	struct source base;
	struct source_parser parser;
	bool started;
	char *path;          /* of the program, where it has a slash: absolute */
	uint8_t *chunk;
	struct loop_timer *next, *end, *drain; /* the next run; its timeout; its output after its end */
	bool running;
	bool failed;                           /* the last run that ended did */
	struct program program;                /* running, as the rest: */
	struct loop_fd *out, *err, *line;      /* out, err: NULL behind their end */
	bool has_ended, timed_out;
	struct keeper_end how;
	struct buf said;                       /* on stderr, up to a newline */
	int64_t began_ns;                      /* mono */
	int64_t backoff_ns;
	struct schedule schedule;              /* every */
	uint64_t starts, failures, skipped;
};

static struct exec *exec_of(struct source *s)
{
	return (struct exec *)s;
}

static const struct exec_conf *conf_of(const struct exec *e)
{
	return &e->base.conf->exec;
}

/* ---- stderr ------------------------------------------------------------------------------------------------- */

static void log_said(struct exec *e)
{
	uint8_t *p = e->said.data;
	for (size_t i = 0; i < e->said.len; i++)
		p[i] = p[i] < 0x20 || p[i] == 0x7f ? '?' : p[i] == ';' ? ',' : p[i];
	if (e->said.len && source_may_log(&e->base))
		log_info("source", "the program says: %s; source=%s", buf_cstr(&e->said), e->base.conf->name);
	buf_clear(&e->said);
}

static void take_said(struct exec *e, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == '\n')
			log_said(e);
		else if (e->said.len < STDERR_LINE_MAX)
			buf_u8(&e->said, bytes[i]);
	}
}

static void on_err(void *arg, unsigned events)
{
	(void)events;
	struct exec *e = arg;
	ssize_t n = e->err ? read(e->program.err, e->chunk, STDERR_TURN_BYTES) : 0;
	if (n > 0) {
		take_said(e, e->chunk, (size_t)n);
	} else if (e->err && (n == 0 || (errno != EAGAIN && errno != EINTR))) {
		loop_fd_free(e->err);
		e->err = NULL;
	}
}

/* ---- stdout ------------------------------------------------------------------------------------------------- */

enum got { GOT_MORE, GOT_NOTHING, GOT_END };

static enum got read_turn(struct exec *e)
{
	for (size_t done = 0; done < SOURCE_TURN_BYTES;) {
		ssize_t n = read(e->program.out, e->chunk, SOURCE_CHUNK_BYTES);
		if (n == 0)
			return GOT_END;
		if (n < 0 && errno != EINTR)
			return errno == EAGAIN ? GOT_NOTHING : GOT_END;
		if (n > 0) {
			source_feed(&e->parser, e->chunk, (size_t)n);
			done += (size_t)n;
		}
	}
	return GOT_MORE;
}

static void on_out(void *arg, unsigned events)
{
	(void)events;
	struct exec *e = arg;
	if (e->base.paused || !e->out || read_turn(e) != GOT_END)
		return;
	loop_fd_free(e->out);
	e->out = NULL;
}

static void refuse_rest(struct exec *e)
{
	struct source *s = &e->base;
	if (!line_parser_pending(&e->parser.lines))
		return;
	s->counters.refused++;
	s->io.refuse(s->io.arg, SOURCE_REFUSED_TRUNCATED);
	line_parser_reset(&e->parser.lines);
}

static void end_last_line(struct exec *e)
{
	if (e->how.how == KEEPER_EXITED && e->how.number == 0 && !e->timed_out)
		line_parser_finish(&e->parser.lines);
	else
		refuse_rest(e);
	line_parser_reset(&e->parser.lines);
}

/* ---- a run -------------------------------------------------------------------------------------------------- */

static void close_run(struct exec *e)
{
	loop_timer_stop(e->end);
	loop_timer_stop(e->drain);
	loop_fd_free(e->out);
	loop_fd_free(e->err);
	loop_fd_free(e->line);
	e->out = e->err = e->line = NULL;
	program_close(&e->program);
	e->running = false;
}

static bool has_failed(const struct exec *e)
{
	return e->timed_out || e->how.how != KEEPER_EXITED || e->how.number != 0;
}

/* "it ended with exit code 3" */
static char *ended_text(const struct exec *e)
{
	if (e->timed_out)
		return xstrdup("it took longer than its timeout, and was ended");
	if (e->how.how == KEEPER_NOT_STARTED)
		return xasprintf("it cannot be run: %s", strerror(e->how.number));
	if (e->how.how == KEEPER_KILLED)
		return xasprintf("it was ended by signal %d (%s)", e->how.number, strsignal(e->how.number));
	return xasprintf("it ended with exit code %d", e->how.number);
}

static void tell_ended(struct exec *e, int64_t again_ns)
{
	char again[TIME_TEXT_MAX], *how = ended_text(e);
	const char *program = conf_of(e)->command.items[0], *name = e->base.conf->name;
	duration_format(again_ns / NS_PER_MS * NS_PER_MS, again);
	if (has_failed(e) && source_may_log(&e->base))
		log_warn("source", "the program failed: %s; source=%s program=%s again_in=%s", how, name, program, again);
	else if (!has_failed(e) && !conf_of(e)->every_ns && source_may_log(&e->base))
		log_info("source", "the program ended, and is started again; source=%s program=%s again_in=%s", name, program, again);
	free(how);
}

/* Twice as long each time, until a run was longer than the longest wait; a fifth more or less, so that what failed
 * together does not come back together. */
static int64_t next_backoff(struct exec *e, int64_t now_ns)
{
	const struct exec_conf *c = conf_of(e);
	if (now_ns - e->began_ns >= c->restart_max_ns || !e->backoff_ns)
		e->backoff_ns = c->restart_min_ns;
	else
		e->backoff_ns = e->backoff_ns > c->restart_max_ns / 2 ? c->restart_max_ns : e->backoff_ns * 2;
	int64_t fifth = e->backoff_ns / 5;
	uint64_t salt[2] = {(uint64_t)now_ns, (uint64_t)(uintptr_t)e};
	return e->backoff_ns - fifth + (int64_t)(XXH3_64bits(salt, sizeof(salt)) % (uint64_t)(2 * fifth + 1));
}

static void wait_for_next(struct exec *e)
{
	int64_t now = clock_mono_ns();
	bool interval = conf_of(e)->every_ns > 0;
	int64_t wait = interval ? e->schedule.due_ns - now : next_backoff(e, now);
	wait = wait < NS_PER_MS ? NS_PER_MS : wait;
	tell_ended(e, wait);
	if (!interval) /* else its timer runs */
		loop_timer_start(e->next, (uint64_t)(wait / NS_PER_MS), 0);
}

static void end_run(struct exec *e)
{
	end_last_line(e);
	for (int i = 0; i < 4 && e->err; i++)
		on_err(e, LOOP_READ);
	log_said(e);
	close_run(e);
	e->failed = has_failed(e);
	e->failures += e->failed;
	wait_for_next(e);
}

/* All that it wrote is in the pipe: read it to its end, or to where nothing is. */
static void on_drain(void *arg)
{
	struct exec *e = arg;
	if (e->base.paused || !e->running)
		return;
	if (e->out && read_turn(e) == GOT_MORE)
		loop_timer_start(e->drain, SOURCE_PUMP_MS, 0);
	else
		end_run(e);
}

static void on_line(void *arg, unsigned events)
{
	(void)events;
	struct exec *e = arg;
	if (e->has_ended || !program_ended(&e->program, &e->how))
		return;
	e->has_ended = true;
	loop_fd_watch(e->line, 0);
	loop_timer_start(e->drain, SOURCE_PUMP_MS, 0);
}

static void on_timeout(void *arg)
{
	struct exec *e = arg;
	if (!e->running || e->has_ended)
		return;
	e->timed_out = true;
	program_stop(&e->program);
}

static int watch_run(struct exec *e)
{
	struct loop *l = e->base.loop;
	int rc = loop_fd_new(l, e->program.out, on_out, e, &e->out);
	if (!rc)
		rc = loop_fd_new(l, e->program.err, on_err, e, &e->err);
	if (!rc)
		rc = loop_fd_new(l, e->program.line, on_line, e, &e->line);
	if (rc)
		return rc;
	loop_fd_watch(e->out, e->base.paused ? 0 : LOOP_READ);
	loop_fd_watch(e->err, LOOP_READ);
	loop_fd_watch(e->line, LOOP_READ);
	return 0;
}

static struct program_spec spec_of(const struct exec *e, char **command)
{
	const struct exec_conf *c = conf_of(e);
	memcpy(command, c->command.items, c->command.count * sizeof(command[0]));
	if (e->path)
		command[0] = e->path;
	return (struct program_spec){.command = command,
	    .command_count = c->command.count,
	    .env = c->env.items,
	    .env_count = c->env.count,
	    .folder = e->base.io.data,
	    .grace_ms = (unsigned)(c->grace_ns / NS_PER_MS)};
}

/* Not even its keeper could be started: out of processes, descriptors, memory. */
static void cannot_start(struct exec *e, int error)
{
	e->how = (struct keeper_end){KEEPER_NOT_STARTED, error};
	e->failed = true;
	e->failures++;
	wait_for_next(e);
}

static void start_run(struct exec *e)
{
	char *command[EXEC_WORDS_MAX];
	struct program_spec spec = spec_of(e, command);
	e->has_ended = e->timed_out = false;
	e->began_ns = clock_mono_ns();
	e->starts++;
	if (program_start(&spec, &e->program)) {
		cannot_start(e, errno);
		return;
	}
	e->running = true;
	if (watch_run(e)) {
		close_run(e);
		cannot_start(e, EMFILE);
		return;
	}
	if (conf_of(e)->timeout_ns)
		loop_timer_start(e->end, (uint64_t)((conf_of(e)->timeout_ns - 1) / NS_PER_MS + 1), 0);
}

static void on_next(void *arg)
{
	struct exec *e = arg;
	int64_t now = clock_mono_ns();
	uint64_t missed = 0;
	bool interval = conf_of(e)->every_ns > 0;
	bool due = !interval || schedule_due(&e->schedule, now, &missed);
	bool free_now = !e->running && !(interval && e->base.paused);
	e->skipped += missed + (due && !free_now);
	if (interval)
		loop_timer_start(e->next, schedule_wait_ms(&e->schedule, now), 0);
	if (due && free_now)
		start_run(e);
}

/* ---- the source --------------------------------------------------------------------------------------------- */

/* The program runs in another folder than the one that its path may be relative to. */
static char *absolute(const char *program)
{
	if (!strchr(program, '/') || *program == '/')
		return NULL;
	char *here = getcwd(NULL, 0);
	char *path = here ? xasprintf("%s/%s", here, program) : NULL;
	free(here);
	return path;
}

static int exec_start(struct source *s, char **ret_why)
{
	(void)ret_why;
	struct exec *e = exec_of(s);
	const struct exec_conf *c = conf_of(e);
	source_parser_init(&e->parser, s);
	e->chunk = xmalloc(SOURCE_CHUNK_BYTES);
	e->path = absolute(c->command.items[0]);
	e->next = loop_timer_new(s->loop, on_next, e);
	e->end = loop_timer_new(s->loop, on_timeout, e);
	e->drain = loop_timer_new(s->loop, on_drain, e);
	e->started = true;
	if (c->every_ns) {
		int64_t offset = schedule_offset_ns(c->every_ns, s->io.edge, s->conf->name, NULL);
		schedule_init(&e->schedule, c->every_ns, offset, clock_wall_ns(), clock_mono_ns());
		e->schedule.due_ns -= c->every_ns; /* the first one now */
	}
	loop_timer_start(e->next, SOURCE_PUMP_MS, 0);
	return 0;
}

static void exec_pause(struct source *s)
{
	struct exec *e = exec_of(s);
	if (e->running && e->out)
		loop_fd_watch(e->out, s->paused ? 0 : LOOP_READ);
	if (e->running && e->has_ended && !s->paused)
		loop_timer_start(e->drain, SOURCE_PUMP_MS, 0);
}

static void exec_free(struct source *s)
{
	struct exec *e = exec_of(s);
	if (!e->started)
		return;
	if (e->running) {
		refuse_rest(e);
		close_run(e);
	}
	loop_timer_free(e->next);
	loop_timer_free(e->end);
	loop_timer_free(e->drain);
	source_parser_free(&e->parser);
	buf_free(&e->said);
	free(e->chunk);
	free(e->path);
}

static const struct stats_family families[] = {
	{"weir_edge_source_starts_total", "Times that the program was started", STATS_COUNTER, {"source"}},
	{"weir_edge_source_failures_total", "Ends of the program with an exit code, by a signal or a timeout, and failed starts",
	    STATS_COUNTER, {"source"}},
	{"weir_edge_source_runs_skipped_total", "Runs left out: the one before was not done, or sources are not read", STATS_COUNTER,
	    {"source"}},
	{"weir_edge_source_running", "1 while the program runs", STATS_GAUGE, {"source"}},
	{"weir_edge_source_failing", "1: the last run failed; of a program that runs on, until it is started again", STATS_GAUGE, {"source"}},
};

static void exec_values(const struct source *s, uint64_t *ret_values)
{
	const struct exec *e = (const struct exec *)s;
	bool failing = e->failed && (s->conf->exec.every_ns || !e->running);
	const uint64_t values[] = {e->starts, e->failures, e->skipped, e->running, failing};
	memcpy(ret_values, values, sizeof(values));
}

const struct source_ops source_exec_ops = {
	.size = sizeof(struct exec),
	.start = exec_start,
	.pause = exec_pause,
	.free = exec_free,
	.families = families,
	.family_count = sizeof(families) / sizeof(families[0]),
	.values = exec_values,
};
