#include "edged/source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "edged/source_impl.h"

/* The one table of types. */
static const struct source_ops *const source_types[] = {
	[SOURCE_TCP] = &source_tcp_ops,
	[SOURCE_FILE] = &source_file_ops,
	[SOURCE_STDIN] = &source_stdin_ops,
	[SOURCE_SIMULATE] = &source_simulate_ops,
};

struct source *source_new(struct loop *l, const struct source_conf *conf, const struct source_io *io)
{
	weir_assert((size_t)conf->type < sizeof(source_types) / sizeof(source_types[0]));
	const struct source_ops *ops = source_types[conf->type];
	struct source *s = xcalloc(1, ops->size);
	s->ops = ops;
	s->loop = l;
	s->conf = conf;
	s->io = *io;
	s->log_period_start_ns = clock_mono_ns();
	return s;
}

/* A mark starts with the type: a source that has become another one under its old name starts as new. */
int source_restore(struct source *s, struct bytes mark)
{
	if (mark.n < 2 || mark.p[0] != (uint8_t)s->conf->type || !s->ops->restore)
		return 0;
	return s->ops->restore(s, bytes_of(mark.p + 1, mark.n - 1));
}

int source_start(struct source *s, char **ret_why)
{
	return s->ops->start(s, ret_why);
}

void source_pause(struct source *s, bool paused)
{
	if (s->paused == paused)
		return;
	s->paused = paused;
	s->ops->pause(s);
}

void source_mark(struct source *s, struct buf *out)
{
	if (!s->ops->mark)
		return;
	buf_u8(out, (uint8_t)s->conf->type);
	s->ops->mark(s, out);
}

static void end_log_period(struct source *s, int64_t now_ns)
{
	if (s->log_lines > SOURCE_LOG_LINES_MAX)
		log_warn("source", "%u more messages like these were not shown; source=%s", s->log_lines - SOURCE_LOG_LINES_MAX,
		    s->conf->name);
	s->log_lines = 0;
	s->log_period_start_ns = now_ns;
}

bool source_may_log(struct source *s)
{
	int64_t now = clock_mono_ns();
	if (now - s->log_period_start_ns >= SOURCE_LOG_PERIOD_NS)
		end_log_period(s, now);
	return s->log_lines++ < SOURCE_LOG_LINES_MAX;
}

void source_committed(struct source *s)
{
	int64_t now = clock_mono_ns();
	if (s->log_lines && now - s->log_period_start_ns >= SOURCE_LOG_PERIOD_NS)
		end_log_period(s, now);
	if (s->ops->committed)
		s->ops->committed(s);
}

void source_skip_to_end(struct source *s)
{
	if (s->ops->skip_to_end)
		s->ops->skip_to_end(s);
}

void source_free(struct source *s)
{
	if (!s)
		return;
	end_log_period(s, 0);
	s->ops->free(s);
	free(s);
}

void source_set_conf(struct source *s, const struct source_conf *conf)
{
	s->conf = conf;
	if (s->ops->set_conf)
		s->ops->set_conf(s);
}

const struct source_conf *source_conf_of(const struct source *s)
{
	return s->conf;
}

void source_counters(const struct source *s, struct source_counters *ret)
{
	*ret = s->counters;
}

void source_set_finished(struct source *s, bool finished)
{
	if (s->finished == finished)
		return;
	s->finished = finished;
	s->io.finished(s->io.arg, finished);
}

/* ---- from the parser ------------------------------------------------------------------------------------------ */

static void on_line(void *arg, const struct line *l)
{
	struct source *s = ((struct source_parser *)arg)->source;
	s->counters.lines++;
	s->io.line(s->io.arg, l);
}

#define SHOWN_MAX 81

/* The line's start as it may stand in a message: one line, and nothing that looks like a field of the log. */
static void shown(struct bytes text, char out[SHOWN_MAX])
{
	size_t n = 0;
	for (; n < text.n && n < SHOWN_MAX - 1; n++) {
		uint8_t ch = text.p[n];
		out[n] = (char)(ch < 0x20 || ch == 0x7f ? '?' : ch == ';' ? ',' : ch);
	}
	out[n] = 0;
}

static void on_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	struct source_parser *p = arg;
	struct source *s = p->source;
	char start[SHOWN_MAX];
	s->counters.refused++;
	s->io.refuse(s->io.arg, line_error_label(e));
	if (!source_may_log(s))
		return;
	shown(text, start);
	log_warn("source", "line refused: %s: %s; source=%s line=%" PRIu64 " column=%zu reason=%s%s%s", line_error_text(e), start,
	    s->conf->name, number, column, line_error_label(e), p->peer[0] ? " peer=" : "", p->peer);
}

void source_parser_init(struct source_parser *p, struct source *s)
{
	struct line_callbacks cb = {.arg = p, .line = on_line, .error = on_error};
	p->source = s;
	p->peer[0] = 0;
	line_parser_init(&p->lines, &cb, 1, true);
}

void source_parser_free(struct source_parser *p)
{
	line_parser_free(&p->lines);
}

void source_feed(struct source_parser *p, const void *data, size_t len)
{
	p->source->counters.bytes += len;
	line_parser_feed(&p->lines, data, len);
}
