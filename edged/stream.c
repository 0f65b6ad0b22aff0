#include "edged/stream.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/codec.h"
#include "common/err.h"

static struct stream *add(struct streams *s, const struct stream_conf *conf, bool orphan)
{
	struct ledger_stream *account = ledger_stream(s->ledger, conf->name);
	if (!account)
		return NULL;
	struct stream *st = xcalloc(1, sizeof(*st));
	st->conf = conf;
	st->index = (uint32_t)s->count;
	st->orphan = orphan;
	st->ledger = account;
	s->list = xrealloc(s->list, (s->count + 1) * sizeof(struct stream *));
	s->list[s->count++] = st;
	return st;
}

static bool is_fed(enum stream_phase phase)
{
	return phase == STREAM_CURRENT || phase == STREAM_PENDING || phase == STREAM_CLOSING;
}

void streams_init(struct streams *s, const struct topology *t, struct ledger *ledger)
{
	*s = (struct streams){.topology = t, .ledger = ledger};
	for (size_t i = 0; i < t->stream_count; i++) {
		struct stream *st = add(s, &t->streams[i], false);
		weir_assert(st); /* STREAMS_MAX is below LEDGER_STREAMS_MAX */
		st->fed = is_fed(st->conf->phase);
		st->reported = st->fed || st->conf->phase == STREAM_ENDED;
		st->until_ns = st->conf->phase == STREAM_CLOSING ? st->conf->until_ns : INT64_MAX;
		stream_set_since(st, WATERMARK_NONE);
		partial_spec_of(st->conf, topology_distinct_seed(t), PARTIAL_QUANTILE_CAP_EDGE, &st->spec);
	}
}

static void free_orphan(struct stream_conf *conf)
{
	for (size_t i = 0; i < conf->distinct_count; i++)
		free(conf->distinct[i]);
	free(conf->distinct);
	free(conf->name);
	free(conf);
}

void streams_free(struct streams *s)
{
	for (size_t i = 0; i < s->count; i++) {
		if (s->list[i]->orphan)
			free_orphan((struct stream_conf *)s->list[i]->conf);
		free(s->list[i]);
	}
	free(s->list);
	*s = (struct streams){0};
}

struct stream *streams_get(struct streams *s, struct bytes name, uint32_t version)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct stream_conf *c = s->list[i]->conf;
		if (c->version == version && strlen(c->name) == name.n && memcmp(c->name, name.p, name.n) == 0)
			return s->list[i];
	}
	if (s->count - s->topology->stream_count >= STREAM_ORPHANS_MAX)
		return NULL;
	struct stream_conf *conf = xcalloc(1, sizeof(*conf));
	conf->name = xstrndup((const char *)name.p, name.n);
	conf->version = version;
	struct stream *st = add(s, conf, true);
	if (!st)
		free_orphan(conf);
	return st;
}

void stream_set_since(struct stream *s, int64_t since_ns)
{
	s->since_ns = since_ns;
	s->from_ns = s->conf->phase == STREAM_PENDING ? since_ns : s->conf->from_ns;
}

const struct stream *stream_before(const struct streams *list, const struct stream *s)
{
	for (uint32_t i = s->index; i-- > 0;) { /* from the oldest to the newest */
		const struct stream *o = list->list[i];
		if (strcmp(o->conf->name, s->conf->name) == 0 && o->conf->phase != STREAM_ENDED)
			return o;
	}
	return s;
}

bool stream_describe(struct stream *s, int64_t slice_ns, uint32_t parts, uint32_t distinct_count)
{
	const struct stream_conf *known = s->conf;
	if (slice_ns <= 0 || parts > PARTIAL_PARTS_ALL || distinct_count > DISTINCTS_MAX)
		return false;
	if (known->slice_ns)
		return known->slice_ns == slice_ns && s->spec.parts == parts &&
		    s->spec.distinct_count == distinct_count;
	struct stream_conf *conf = (struct stream_conf *)known; /* an orphan's own: made in streams_get() */
	conf->slice_ns = conf->size_ns = conf->advance_ns = slice_ns;
	conf->distinct_count = distinct_count;
	conf->distinct = distinct_count ? xcalloc(distinct_count, sizeof(conf->distinct[0])) : NULL;
	for (size_t i = 0; i < distinct_count; i++)
		conf->distinct[i] = xstrdup(""); /* the tag's name is not needed to send */
	s->spec = (struct partial_spec){.parts = parts,
	    .distinct_count = distinct_count,
	    .quantile_cap = PARTIAL_QUANTILE_CAP_EDGE,
	    .distinct_seed = 0};
	return true;
}

int64_t stream_last_window_end(const struct stream *s, int64_t slice_start_ns)
{
	const struct stream_conf *c = s->conf;
	return time_floor(slice_start_ns, c->advance_ns, c->offset_ns) + c->size_ns;
}
