#include "edged/source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "edged/source_impl.h"

static const struct source_ops *const source_types[SOURCE_TYPE_COUNT] = {
#define SOURCE_ENTRY(constant, name) [SOURCE_##constant] = &source_##name##_ops,
	SOURCE_TYPES(SOURCE_ENTRY)
#undef SOURCE_ENTRY
};

struct source *source_new(struct loop *l, const struct source_conf *conf, const struct source_io *io)
{
	weir_assert((size_t)conf->type < SOURCE_TYPE_COUNT);
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

bool source_drain(struct source *s)
{
	return s->ops->drain && !s->paused && s->ops->drain(s);
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

void source_want_commit(struct source *s)
{
	if (s->io.want_commit)
		s->io.want_commit(s->io.arg);
}

uint16_t source_port(const struct source *s)
{
	return s->ops->port ? s->ops->port(s) : 0;
}

/* ---- metrics -------------------------------------------------------------------------------------------------- */

static const struct stats_family common_families[] = {
	{"weir_edge_source_read_bytes_total", "Bytes read from the source", STATS_COUNTER, {"source"}},
	{"weir_edge_source_lines_total", "Good lines of the source", STATS_COUNTER, {"source"}},
	{"weir_edge_source_bad_lines_total", "Lines of the source that were refused", STATS_COUNTER, {"source"}},
	{"weir_edge_source_open", "0: it could not be opened, which is tried again", STATS_GAUGE, {"source"}},
};
#define COMMON_FAMILIES (sizeof(common_families) / sizeof(common_families[0]))

static void put_common(struct source *const *sources, const struct source_conf *confs, size_t count, struct buf *out)
{
	for (size_t f = 0; f < COMMON_FAMILIES; f++) {
		stats_write_head(out, &common_families[f]);
		for (size_t i = 0; i < count; i++) {
			struct source_counters c = sources[i] ? sources[i]->counters : (struct source_counters){0};
			const char *name = confs[i].name;
			const uint64_t values[COMMON_FAMILIES] = {c.bytes, c.lines, c.refused, sources[i] != NULL};
			stats_write_u64(out, &common_families[f], &name, values[f]);
		}
	}
}

/* The place of the family of that name among the type's, or -1. */
static int family_of(const struct source_ops *ops, const char *name)
{
	for (size_t f = 0; f < ops->family_count; f++)
		if (!strcmp(ops->families[f].name, name))
			return (int)f;
	return -1;
}

/* All sources that have it, of whatever type: a family stands in one place. */
static void put_family(const struct stats_family *family, struct source *const *sources, const struct source_conf *confs,
    size_t count, struct buf *out)
{
	bool begun = false;
	for (size_t i = 0; i < count; i++) {
		const struct source_ops *ops = source_types[confs[i].type];
		uint64_t values[SOURCE_FAMILIES_MAX] = {0};
		const char *name = confs[i].name;
		int f = family_of(ops, family->name);
		if (f < 0)
			continue;
		if (!begun)
			stats_write_head(out, family);
		begun = true;
		if (sources[i])
			ops->values(sources[i], values);
		stats_write_u64(out, family, &name, values[f]);
	}
}

static bool put_before(size_t type, const char *name)
{
	for (size_t t = 0; t < type; t++)
		if (family_of(source_types[t], name) >= 0)
			return true;
	return false;
}

static void put_type(size_t type, struct source *const *sources, const struct source_conf *confs, size_t count, struct buf *out)
{
	const struct source_ops *ops = source_types[type];
	weir_assert(ops->family_count <= SOURCE_FAMILIES_MAX);
	for (size_t f = 0; f < ops->family_count; f++)
		if (!put_before(type, ops->families[f].name))
			put_family(&ops->families[f], sources, confs, count, out);
}

void sources_put_metrics(struct source *const *sources, const struct source_conf *confs, size_t count, struct buf *out)
{
	put_common(sources, confs, count, out);
	for (size_t type = 0; type < SOURCE_TYPE_COUNT; type++)
		put_type(type, sources, confs, count, out);
}

/* ---- from the parser ------------------------------------------------------------------------------------------ */

static void on_line(void *arg, const struct line *l)
{
	struct source_parser *p = arg;
	struct source *s = p->source;
	for (unsigned i = 0; i < p->times; i++) {
		s->counters.lines++;
		const char *refused = s->io.line(s->io.arg, l);
		if (refused && p->refused)
			p->refused(p->refused_arg, l->number, refused, l->series);
	}
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

static bool refuse(struct source_parser *p, const char *reason)
{
	struct source *s = p->source;
	s->counters.refused++;
	s->io.refuse(s->io.arg, reason);
	return source_may_log(s);
}

static void on_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	struct source_parser *p = arg;
	char start[SHOWN_MAX];
	if (p->refused)
		p->refused(p->refused_arg, number, line_error_label(e), text);
	if (!refuse(p, line_error_label(e)))
		return;
	shown(text, start);
	log_warn("source", "line refused: %s: %s; source=%s line=%" PRIu64 " column=%zu reason=%s%s%s", line_error_text(e), start,
	    p->source->conf->name, number, column, line_error_label(e), p->peer[0] ? " peer=" : "", p->peer);
}

void source_refuse(struct source_parser *p, const char *reason, const char *why, struct bytes text)
{
	char start[SHOWN_MAX];
	if (!refuse(p, reason))
		return;
	shown(text, start);
	log_warn("source", "refused: %s%s%s; source=%s reason=%s%s%s", why, text.n ? ": " : "", start, p->source->conf->name, reason,
	    p->peer[0] ? " peer=" : "", p->peer);
}

void source_parser_init(struct source_parser *p, struct source *s)
{
	struct line_callbacks cb = {.arg = p, .line = on_line, .error = on_error};
	int64_t precision_ns = s->conf->socket.precision_ns;
	*p = (struct source_parser){.source = s, .times = 1};
	line_parser_init(&p->lines, &cb, precision_ns ? precision_ns : 1, true);
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
