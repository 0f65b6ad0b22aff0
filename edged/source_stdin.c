/* Line protocol on standard input: a pipe, a terminal or a plain file. Finished at its end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/log.h"
#include "edged/source_impl.h"

struct standard_input {
	struct source base;
	struct source_parser parser;
	struct loop_fd *watch;   /* where it can be waited for */
	struct loop_timer *pump; /* a plain file: always readable, read once a turn */
	uint8_t *chunk;
};

static struct standard_input *stdin_of(struct source *s)
{
	return (struct standard_input *)s;
}

static void run(struct standard_input *in, bool on)
{
	if (in->base.finished)
		on = false;
	if (in->watch)
		loop_fd_watch(in->watch, on ? LOOP_READ : 0);
	else if (on)
		loop_timer_start(in->pump, SOURCE_PUMP_MS, 0);
	else
		loop_timer_stop(in->pump);
}

static void end_of_input(struct standard_input *in)
{
	line_parser_finish(&in->parser.lines);
	log_info("source", "standard input has ended; source=%s", in->base.conf->name);
	source_set_finished(&in->base, true);
	run(in, false);
}

/* One read: the descriptor is shared with whoever started us, so it is left blocking, and only read when it is ready. */
static void read_once(struct standard_input *in)
{
	ssize_t n = read(STDIN_FILENO, in->chunk, SOURCE_CHUNK_BYTES);
	if (n > 0) {
		source_feed(&in->parser, in->chunk, (size_t)n);
		if (!in->watch)
			run(in, true);
		return;
	}
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
		run(in, true);
		return;
	}
	if (n < 0)
		log_error("source", "cannot read standard input: %s; source=%s", strerror(errno), in->base.conf->name);
	end_of_input(in);
}

static void on_readable(void *arg, unsigned events)
{
	(void)events;
	read_once(arg);
}

static void on_pump(void *arg)
{
	read_once(arg);
}

static int stdin_start(struct source *s, char **ret_why)
{
	(void)ret_why;
	struct standard_input *in = stdin_of(s);
	source_parser_init(&in->parser, s);
	in->chunk = xmalloc(SOURCE_CHUNK_BYTES);
	if (loop_fd_new(s->loop, STDIN_FILENO, on_readable, in, &in->watch)) {
		in->watch = NULL;
		in->pump = loop_timer_new(s->loop, on_pump, in);
	}
	run(in, !s->paused);
	return 0;
}

static void stdin_pause(struct source *s)
{
	struct standard_input *in = stdin_of(s);
	if (in->chunk)
		run(in, !s->paused);
}

static void stdin_free(struct source *s)
{
	struct standard_input *in = stdin_of(s);
	if (!in->chunk)
		return;
	if (in->watch)
		loop_fd_free(in->watch);
	if (in->pump)
		loop_timer_free(in->pump);
	source_parser_free(&in->parser);
	free(in->chunk);
}

const struct source_ops source_stdin_ops = {
	.size = sizeof(struct standard_input),
	.start = stdin_start,
	.pause = stdin_pause,
	.free = stdin_free,
};
