#include "edged/ledger.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define LEDGER_FORMAT 1

static const char *const drop_labels[DROPS] = {
    [DROP_RANGE] = "range",
    [DROP_WHERE] = "where",
    [DROP_DUPLICATE] = "duplicate",
    [DROP_RATE_FIRST] = "rate_first",
    [DROP_OUT_OF_ORDER] = "out_of_order",
    [DROP_MAX_SERIES] = "max_series",
    [DROP_NOT_FINITE] = "not_finite",
    [DROP_NOT_NUMERIC] = "not_numeric",
    [DROP_GROUP_TOO_LONG] = "group_too_long",
    [DROP_TOO_BIG] = "too_big",
    [DROP_READMITTED] = "readmitted",
    [DROP_CORRUPT] = "corrupt",
    [DROP_NO_VERSION] = "no_version",
};

const char *drop_label(enum drop d)
{
	weir_assert(d < DROPS);
	return drop_labels[d];
}

void ledger_free(struct ledger *l)
{
	for (size_t i = 0; i < l->stream_count; i++) {
		free(l->streams[i]->name);
		free(l->streams[i]);
	}
	free(l->streams);
	*l = (struct ledger){0};
}

struct ledger_stream *ledger_stream(struct ledger *l, const char *name)
{
	for (size_t i = 0; i < l->stream_count; i++)
		if (strcmp(l->streams[i]->name, name) == 0)
			return l->streams[i];
	if (l->stream_count == LEDGER_STREAMS_MAX)
		return NULL;
	struct ledger_stream *s = xcalloc(1, sizeof(*s));
	s->name = xstrdup(name);
	s->index = l->stream_count;
	l->streams = xrealloc(l->streams, (l->stream_count + 1) * sizeof(struct ledger_stream *));
	l->streams[l->stream_count++] = s;
	return s;
}

static struct ledger_refusal *refusal(struct ledger *l, const char *label, size_t len)
{
	if (len >= LEDGER_LABEL_MAX)
		len = LEDGER_LABEL_MAX - 1;
	for (size_t i = 0; i < l->refused_count; i++)
		if (strncmp(l->refused[i].label, label, len) == 0 && !l->refused[i].label[len])
			return &l->refused[i];
	if (l->refused_count == REASON_COUNTS_MAX) /* its last place is "other" by then */
		return &l->refused[REASON_COUNTS_MAX - 1];
	struct ledger_refusal *r = &l->refused[l->refused_count++];
	if (l->refused_count == REASON_COUNTS_MAX) {
		label = "other";
		len = strlen(label);
	}
	memcpy(r->label, label, len);
	r->label[len] = 0;
	r->count = 0;
	return r;
}

void ledger_refuse(struct ledger *l, const char *label)
{
	refusal(l, label, strlen(label))->count++;
}

uint64_t ledger_refused(const struct ledger *l)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < l->refused_count; i++)
		sum += l->refused[i].count;
	return sum;
}

uint64_t ledger_dropped(const struct ledger_stream *s)
{
	uint64_t sum = 0;
	for (int d = 0; d < DROPS; d++)
		sum += s->dropped[d];
	return sum;
}

void ledger_take_back(struct ledger_stream *s, enum drop reason, uint64_t n)
{
	if (n > s->aggregated)
		n = s->aggregated;
	s->aggregated -= n;
	s->dropped[reason] += n;
}

void ledger_encode(const struct ledger *l, struct buf *out)
{
	buf_u8(out, LEDGER_FORMAT);
	buf_varint(out, l->read);
	buf_varint(out, l->accepted);
	buf_varint(out, l->unmatched);
	buf_varint(out, l->refused_count);
	for (size_t i = 0; i < l->refused_count; i++) {
		buf_str(out, l->refused[i].label);
		buf_varint(out, l->refused[i].count);
	}
}

int ledger_decode(struct ledger *l, struct bytes raw)
{
	struct rd r = rd_init(raw.p, raw.n);
	if (rd_u8(&r) != LEDGER_FORMAT)
		return r.err ? r.err : WEIR_EVERSION;
	uint64_t read = rd_varint(&r), accepted = rd_varint(&r), unmatched = rd_varint(&r);
	uint64_t n = rd_varint_max(&r, REASON_COUNTS_MAX);
	l->refused_count = 0;
	for (uint64_t i = 0; i < n && !r.err; i++) {
		size_t len;
		const uint8_t *label = rd_bytes(&r, LEDGER_LABEL_MAX - 1, &len);
		uint64_t count = rd_varint(&r);
		if (label && !r.err)
			refusal(l, (const char *)label, len)->count += count;
	}
	l->read = read;
	l->accepted = accepted;
	l->unmatched = unmatched;
	int rc = rd_finish(&r);
	return rc || read == accepted + ledger_refused(l) ? rc : WEIR_ECORRUPT;
}

/* Reasons are kept by label, so that their order in the enum may change. */
void ledger_stream_encode(const struct ledger_stream *s, struct buf *out)
{
	buf_u8(out, LEDGER_FORMAT);
	buf_varint(out, s->matched);
	buf_varint(out, s->aggregated);
	buf_varint(out, s->acked);
	for (int d = 0; d < DROPS; d++) {
		if (!s->dropped[d])
			continue;
		buf_str(out, drop_labels[d]);
		buf_varint(out, s->dropped[d]);
	}
}

static int drop_of(const uint8_t *label, size_t len)
{
	for (int d = 0; d < DROPS; d++)
		if (strlen(drop_labels[d]) == len && memcmp(drop_labels[d], label, len) == 0)
			return d;
	return -1;
}

int ledger_stream_decode(struct ledger_stream *s, struct bytes raw)
{
	struct rd r = rd_init(raw.p, raw.n);
	if (rd_u8(&r) != LEDGER_FORMAT)
		return r.err ? r.err : WEIR_EVERSION;
	struct ledger_stream read = {.name = s->name, .index = s->index};
	read.matched = rd_varint(&r);
	read.aggregated = rd_varint(&r);
	read.acked = rd_varint(&r);
	while (!r.err && rd_left(&r)) {
		size_t len;
		const uint8_t *label = rd_bytes(&r, LEDGER_LABEL_MAX - 1, &len);
		uint64_t count = rd_varint(&r);
		int d = label ? drop_of(label, len) : -1;
		if (r.err || d < 0)
			return WEIR_ECORRUPT;
		read.dropped[d] += count;
	}
	int rc = rd_finish(&r);
	if (rc == 0 && read.matched != read.aggregated + ledger_dropped(&read))
		rc = WEIR_ECORRUPT;
	if (rc == 0)
		*s = read;
	return rc;
}
