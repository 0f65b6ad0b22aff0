#include "edged/cutter.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define VALUE_FORMAT 1

struct cutter {
	const struct streams *streams;
	struct batch_writer *writer;
	struct batch_meta_stream list[BATCH_STREAMS_MAX];
	uint32_t count;
};

struct cutter *cutter_new(uint32_t shard, const struct streams *streams)
{
	struct cutter *c = xcalloc(1, sizeof(*c));
	c->streams = streams;
	c->writer = batch_writer_new(shard);
	return c;
}

void cutter_free(struct cutter *c)
{
	if (!c)
		return;
	batch_writer_free(c->writer);
	free(c);
}

static struct batch_meta_stream *meta_of(struct cutter *c, uint32_t stream)
{
	for (uint32_t i = c->count; i-- > 0;) /* partials come by stream: the last one, mostly */
		if (c->list[i].stream == stream)
			return &c->list[i];
	return NULL;
}

int cutter_add(struct cutter *c, const struct stream *s, int64_t slice_start_ns, struct bytes group,
    const struct partial *p)
{
	struct batch_meta_stream *m = meta_of(c, s->index);
	if (!m && c->count == BATCH_STREAMS_MAX)
		return WEIR_EFULL;
	int rc = batch_writer_add(c->writer, s->conf, &s->spec, slice_start_ns, group, p);
	if (rc < 0)
		return rc;
	if (!m) {
		m = &c->list[c->count++];
		*m = (struct batch_meta_stream){s->index, slice_start_ns, 0};
	}
	if (slice_start_ns < m->min_slice_ns)
		m->min_slice_ns = slice_start_ns;
	m->readings += p->count;
	return 0;
}

size_t cutter_count(const struct cutter *c)
{
	return batch_writer_count(c->writer);
}

struct batch_meta *cutter_finish(struct cutter *c, uint64_t seq, struct buf *out)
{
	struct batch_meta *m = xcalloc(1, sizeof(*m) + c->count * sizeof(m->streams[0]));
	m->seq = seq;
	m->stream_count = c->count;
	if (c->count)
		memcpy(m->streams, c->list, c->count * sizeof(m->streams[0]));
	buf_clear(out);
	buf_u8(out, VALUE_FORMAT);
	buf_varint(out, c->count);
	for (uint32_t i = 0; i < c->count; i++) {
		const struct stream_conf *conf = c->streams->list[c->list[i].stream]->conf;
		buf_str(out, conf->name);
		buf_u32(out, conf->version);
		buf_svarint(out, c->list[i].min_slice_ns);
		buf_varint(out, c->list[i].readings);
	}
	size_t head = out->len;
	batch_writer_finish(c->writer, seq, out);
	m->body_bytes = (uint32_t)(out->len - head);
	c->count = 0;
	return m;
}

/* Reads the head; with streams NULL it only skips it. */
static int decode_head(struct rd *r, struct streams *streams, struct batch_meta *m)
{
	for (uint32_t i = 0; i < m->stream_count; i++) {
		size_t len;
		const uint8_t *name = rd_bytes(r, NAME_MAX_BYTES, &len);
		uint32_t version = rd_u32(r);
		m->streams[i].min_slice_ns = rd_svarint(r);
		m->streams[i].readings = rd_varint(r);
		if (r->err)
			return r->err;
		if (!streams)
			continue;
		struct stream *s = streams_get(streams, bytes_of(name, len), version);
		if (!s)
			return WEIR_ETOOBIG;
		m->streams[i].stream = s->index;
	}
	return 0;
}

int batch_value_decode(struct bytes value, uint64_t seq, struct streams *streams, struct batch_meta **ret_meta,
    struct bytes *ret_body)
{
	struct rd r = rd_init(value.p, value.n);
	if (rd_u8(&r) != VALUE_FORMAT)
		return r.err ? r.err : WEIR_EVERSION;
	uint64_t n = rd_varint_max(&r, BATCH_STREAMS_MAX);
	if (r.err)
		return r.err;
	struct batch_meta *m = xcalloc(1, sizeof(*m) + n * sizeof(m->streams[0]));
	m->seq = seq;
	m->stream_count = (uint32_t)n;
	m->damaged = n == 0; /* every other batch holds something */
	int rc = decode_head(&r, streams, m);
	if (rc == 0 && rd_left(&r) > BATCH_BODY_MAX)
		rc = WEIR_ECORRUPT;
	if (rc < 0) {
		free(m);
		return rc;
	}
	m->body_bytes = (uint32_t)rd_left(&r);
	if (ret_body)
		*ret_body = bytes_of(r.p, rd_left(&r));
	if (ret_meta)
		*ret_meta = m;
	else
		free(m);
	return 0;
}

int batch_value_peek(struct bytes value, void (*each)(void *arg, struct bytes name, uint32_t version, int64_t min_slice_ns), void *arg,
    struct bytes *ret_body)
{
	struct rd r = rd_init(value.p, value.n);
	if (rd_u8(&r) != VALUE_FORMAT)
		return r.err ? r.err : WEIR_EVERSION;
	uint64_t n = rd_varint_max(&r, BATCH_STREAMS_MAX);
	for (uint64_t i = 0; i < n && !r.err; i++) {
		struct bytes name;
		name.p = rd_bytes(&r, NAME_MAX_BYTES, &name.n);
		uint32_t version = rd_u32(&r);
		int64_t min_slice_ns = rd_svarint(&r);
		rd_varint(&r); /* readings */
		if (!r.err)
			each(arg, name, version, min_slice_ns);
	}
	if (r.err || rd_left(&r) > BATCH_BODY_MAX)
		return r.err ? r.err : WEIR_ECORRUPT;
	*ret_body = bytes_of(r.p, rd_left(&r));
	return 0;
}

int batch_value_renumber(struct bytes value, uint64_t seq, struct buf *out)
{
	struct bytes body;
	int rc = batch_value_decode(value, seq, NULL, NULL, &body);
	if (rc < 0)
		return rc;
	buf_clear(out);
	buf_put(out, value.p, (size_t)(body.p - value.p));
	return batch_renumber(body.p, body.n, seq, out);
}
