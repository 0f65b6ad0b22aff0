#include "edged/rewrite.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

/* What a step writes in place of what it read. */
struct output {
	struct batch_meta *metas[REWRITE_BATCHES_MAX * 2];
	struct buf values[REWRITE_BATCHES_MAX * 2];
	struct bytes bytes[REWRITE_BATCHES_MAX * 2];
	size_t count;
	uint64_t body_bytes;
};

static void output_add(struct output *o, struct batch_meta *meta)
{
	o->metas[o->count] = meta;
	o->bytes[o->count] = bytes_of(o->values[o->count].data, o->values[o->count].len);
	o->body_bytes += meta->body_bytes;
	o->count++;
}

static void output_free(struct output *o, bool with_metas)
{
	for (size_t i = 0; i < sizeof(o->values) / sizeof(o->values[0]); i++)
		buf_free(&o->values[i]);
	for (size_t i = 0; with_metas && i < o->count; i++)
		free(o->metas[i]);
	free(o);
}

/* ---- merging --------------------------------------------------------------------------------------------------- */

struct input {
	struct batch_reader *reader;
	struct buf body;
	struct batch_item *item; /* NULL: at its end */
	struct stream *streams[BATCH_STREAMS_MAX];
};

struct merge {
	struct input *inputs;
	size_t count;
	struct cutter *cutter;
	struct output *out;
	uint64_t seq; /* of the next batch written */
};

static int input_open(struct input *in, struct streams *streams)
{
	int rc = batch_reader_open(in->body.data, in->body.len, &in->reader);
	if (rc < 0)
		return rc;
	size_t n = batch_reader_stream_count(in->reader);
	for (size_t i = 0; i < n && i < BATCH_STREAMS_MAX; i++) {
		const struct batch_stream *bs = batch_reader_stream(in->reader, i);
		struct stream *s = streams_get(streams, bytes_of(bs->name, strlen(bs->name)), bs->version);
		if (!s || !stream_describe(s, bs->slice_ns, bs->spec.parts, bs->spec.distinct_count))
			return WEIR_ECORRUPT;
		in->streams[i] = s;
	}
	rc = batch_reader_next(in->reader, &in->item);
	if (rc == 0)
		in->item = NULL;
	return rc < 0 ? rc : 0;
}

static int compare_items(const struct input *a, const struct input *b)
{
	const struct stream_conf *x = a->streams[a->item->stream]->conf, *y = b->streams[b->item->stream]->conf;
	int d = x == y ? 0 : strcmp(x->name, y->name);
	if (d)
		return d;
	if (x->version != y->version)
		return x->version < y->version ? -1 : 1;
	if (a->item->slice_start_ns != b->item->slice_start_ns)
		return a->item->slice_start_ns < b->item->slice_start_ns ? -1 : 1;
	struct bytes g = a->item->group, h = b->item->group;
	size_t common = g.n < h.n ? g.n : h.n;
	d = common ? memcmp(g.p, h.p, common) : 0;
	return d ? d : (g.n > h.n) - (g.n < h.n);
}

static struct input *lowest(struct merge *m)
{
	struct input *best = NULL;
	for (size_t i = 0; i < m->count; i++) /* an earlier input wins where equal: merged in the order of their numbers */
		if (m->inputs[i].item && (!best || compare_items(&m->inputs[i], best) < 0))
			best = &m->inputs[i];
	return best;
}

static int write_out(struct merge *m)
{
	if (!cutter_count(m->cutter))
		return 0;
	if (m->out->count == sizeof(m->out->metas) / sizeof(m->out->metas[0]))
		return WEIR_ETOOBIG;
	output_add(m->out, cutter_finish(m->cutter, m->seq++, &m->out->values[m->out->count]));
	return 0;
}

static int merge_all(struct merge *m)
{
	for (struct input *in; (in = lowest(m));) {
		const struct batch_item *it = in->item;
		const struct stream *s = in->streams[it->stream];
		int rc = cutter_add(m->cutter, s, it->slice_start_ns, it->group, &it->partial);
		if (rc == WEIR_EFULL) {
			rc = write_out(m);
			if (rc == 0)
				rc = cutter_add(m->cutter, s, it->slice_start_ns, it->group, &it->partial);
		}
		if (rc < 0)
			return rc;
		rc = batch_reader_next(in->reader, &in->item);
		if (rc < 0)
			return rc;
		if (rc == 0)
			in->item = NULL;
	}
	return write_out(m);
}

/* ---- compaction ------------------------------------------------------------------------------------------------ */

static uint64_t lowest_unsent(const struct spool_shard *sh)
{
	const struct spool_numbers *n = &sh->committed;
	uint64_t from = n->low;
	if (from <= n->sent)
		from = n->sent + 1;
	return from <= sh->acked ? sh->acked + 1 : from;
}

/* Where compaction goes on; batches in [from, next) are candidates, and get numbers from *ret_to on. */
static uint64_t compact_from(const struct spool_shard *sh, uint64_t *ret_to)
{
	const struct spool_numbers *n = &sh->committed;
	if (n->rewrite == REWRITE_COMPACT) {
		*ret_to = n->hole;
		return n->hole_end;
	}
	uint64_t from = lowest_unsent(sh);
	if (from < sh->pass)
		from = sh->pass;
	*ret_to = from;
	return from;
}

/* A pass goes over everything unsent, so it must have enough new to merge with what was compacted before. */
bool rewrite_worthwhile(const struct spool_shard *sh)
{
	if (sh->committed.rewrite != REWRITE_NONE)
		return sh->committed.rewrite == REWRITE_COMPACT;
	uint64_t from = lowest_unsent(sh), fresh = 0, all = 0;
	if (sh->pass)
		return sh->pass < sh->committed.next;
	if (from + 1 >= sh->committed.next)
		return false;
	for (size_t i = 0; i < sh->count; i++) {
		const struct batch_meta *m = sh->metas[sh->first + i];
		if (m->seq < from)
			continue;
		all += m->body_bytes;
		if (m->seq >= sh->compacted)
			fresh += m->body_bytes;
	}
	return fresh * REWRITE_FRESH_SHARE >= all;
}

/* Reads up to a step's worth of batches from `from` on; *ret_end is behind the last one, *ret_bytes their size. */
static int read_inputs(struct spool *sp, struct streams *streams, uint32_t shard, uint64_t from, struct merge *m,
    uint64_t *ret_end, uint64_t *ret_bytes)
{
	const struct spool_shard *sh = spool_shard(sp, shard);
	uint64_t seq = from, bytes = 0;
	for (; seq < sh->committed.next && m->count < REWRITE_BATCHES_MAX; seq++) {
		const struct batch_meta *meta = spool_meta(sh, seq);
		if (m->count && bytes + meta->body_bytes > REWRITE_BYTES_MAX)
			break;
		bytes += meta->body_bytes;
		if (meta->damaged)
			continue; /* it needs no number any more */
		struct input *in = &m->inputs[m->count];
		int rc = spool_read_body(sp, shard, seq, &in->body);
		if (rc == WEIR_ECORRUPT)
			continue;
		m->count++;
		if (rc == 0)
			rc = input_open(in, streams);
		if (rc < 0)
			return rc;
	}
	*ret_end = seq;
	*ret_bytes = bytes;
	return 0;
}

static struct spool_numbers compacted_numbers(const struct spool_shard *sh, uint64_t hole, uint64_t hole_end)
{
	struct spool_numbers n = sh->committed;
	n.rewrite = hole < hole_end && hole_end < n.next ? REWRITE_COMPACT : REWRITE_NONE;
	if (hole_end == n.next)
		n.next = hole;
	n.hole = n.rewrite == REWRITE_NONE ? 0 : hole;
	n.hole_end = n.rewrite == REWRITE_NONE ? 0 : hole_end;
	return n;
}

/* The pass has come to seq; at the end of all batches it is over. */
static void note_pass(struct spool_shard *sh, uint64_t seq)
{
	sh->pass = seq < sh->committed.next ? seq : 0;
	if (!sh->pass)
		sh->compacted = sh->committed.next;
}

static int compact_step(struct spool *sp, struct streams *streams, uint32_t shard, struct merge *m)
{
	struct spool_shard *sh = spool_shard(sp, shard);
	uint64_t to, from = compact_from(sh, &to), end = from, before = 0;
	bool gap = to < from;
	int rc = read_inputs(sp, streams, shard, from, m, &end, &before);
	m->seq = to;
	if (rc == 0)
		rc = merge_all(m);
	if (rc < 0)
		return rc;
	bool smaller = m->out->body_bytes <= before - before / 10, fewer = m->out->count * 2 <= end - from;
	if (!gap && !smaller && !fewer) { /* not worth the writing */
		note_pass(sh, end);
		return 0;
	}
	struct spool_numbers n = compacted_numbers(sh, m->seq, end);
	rc = spool_replace(sp, shard, from, end - 1, m->out->metas, m->out->bytes, m->out->count, &n);
	m->out->count = 0; /* the metas are the spool's, or gone */
	if (rc == 0)
		note_pass(sh, m->seq);
	return rc;
}

int rewrite_compact(struct spool *sp, struct streams *streams, uint32_t shard)
{
	if (!rewrite_worthwhile(spool_shard(sp, shard)))
		return 0;
	struct merge m = {.cutter = cutter_new(shard, streams)};
	m.inputs = xcalloc(REWRITE_BATCHES_MAX + 1, sizeof(m.inputs[0]));
	m.out = xcalloc(1, sizeof(*m.out));
	int rc = compact_step(sp, streams, shard, &m);
	for (size_t i = 0; i <= REWRITE_BATCHES_MAX; i++) {
		if (m.inputs[i].reader)
			batch_reader_close(m.inputs[i].reader);
		buf_free(&m.inputs[i].body);
	}
	free(m.inputs);
	cutter_free(m.cutter);
	output_free(m.out, true);
	return rc == 0 ? 1 : rc;
}

/* ---- moving ---------------------------------------------------------------------------------------------------- */

static int set_numbers(struct spool *sp, uint32_t shard, const struct spool_numbers *n)
{
	spool_begin(sp);
	spool_shard(sp, shard)->now = *n;
	return spool_commit(sp, NULL);
}

/* All that is left to do once no batch has its old number: what is kept starts behind what the cloud has. */
static void moved(struct spool_numbers *n)
{
	n->low = n->hole_end;
	n->sent = n->low - 1;
	n->resume = false;
	n->rewrite = REWRITE_NONE;
	n->hole = n->hole_end = 0;
}

int rewrite_move_begin(struct spool *sp, uint32_t shard, uint64_t last)
{
	struct spool_shard *sh = spool_shard(sp, shard);
	struct spool_numbers n = sh->committed;
	weir_assert(n.resume && n.rewrite == REWRITE_NONE);
	if (last + 1 < n.low || last > UINT64_MAX / 4)
		return WEIR_EINVAL;
	uint64_t by = last + 1 - n.low;
	n.rewrite = REWRITE_MOVE;
	n.hole = n.next;
	n.hole_end = n.next + by;
	n.next += by;
	if (by == 0) { /* every number is right as it is */
		n.hole = n.hole_end = n.low;
		moved(&n);
	} else if (n.hole == n.low) {
		moved(&n);
	}
	int rc = set_numbers(sp, shard, &n);
	if (rc == 0)
		sh->compacted = sh->pass = 0;
	if (rc == 0 && n.rewrite == REWRITE_NONE)
		sh->acked = n.low - 1;
	return rc;
}

/* Reads the last unmoved batches, at most a step's worth, under their new numbers; returns the first old number. */
static int read_moved(struct spool *sp, uint32_t shard, struct output *o, uint64_t *ret_first)
{
	const struct spool_shard *sh = spool_shard(sp, shard);
	const struct spool_numbers *n = &sh->committed;
	uint64_t by = n->hole_end - n->hole, first = n->hole;
	uint64_t bytes = 0;
	while (first > n->low && n->hole - first < REWRITE_BATCHES_MAX) {
		bytes += spool_meta(sh, first - 1)->body_bytes;
		if (bytes > REWRITE_BYTES_MAX && first < n->hole)
			break;
		first--;
	}
	struct buf value = {0};
	int rc = 0;
	for (uint64_t seq = first; seq < n->hole && rc == 0; seq++) {
		const struct batch_meta *old = spool_meta(sh, seq);
		buf_clear(&value);
		rc = old->damaged && !old->body_bytes ? WEIR_EBUSY : spool_read_value(sp, shard, seq, &value);
		if (rc == 0)
			rc = batch_value_renumber(bytes_of(value.data, value.len), seq + by, &o->values[o->count]);
		if (rc < 0)
			break;
		size_t size = sizeof(*old) + old->stream_count * sizeof(old->streams[0]);
		struct batch_meta *meta = xmalloc(size);
		memcpy(meta, old, size);
		meta->seq = seq + by;
		output_add(o, meta);
	}
	buf_free(&value);
	*ret_first = first;
	return rc;
}

int rewrite_move(struct spool *sp, uint32_t shard)
{
	struct spool_shard *sh = spool_shard(sp, shard);
	if (sh->committed.rewrite != REWRITE_MOVE)
		return 0;
	struct output *o = xcalloc(1, sizeof(*o));
	struct spool_numbers n = sh->committed;
	uint64_t first;
	int rc = read_moved(sp, shard, o, &first);
	if (rc == 0) {
		uint64_t last = n.hole - 1;
		n.hole_end -= n.hole - first;
		n.hole = first;
		if (n.hole == n.low)
			moved(&n);
		rc = spool_replace(sp, shard, first, last, o->metas, o->bytes, o->count, &n);
		o->count = 0;
		if (rc == 0 && n.rewrite == REWRITE_NONE)
			sh->acked = n.low - 1;
	} else if (rc == WEIR_ECORRUPT || rc == WEIR_EBUSY) {
		/* A record is damaged: the next commit puts an empty batch in its place, then this goes on. */
		spool_begin(sp);
		rc = spool_commit(sp, NULL);
	}
	output_free(o, true);
	return rc == 0 ? 1 : rc;
}
