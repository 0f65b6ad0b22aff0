#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec.h"
#include "common/err.h"
#include "common/model.h"

static const uint8_t id17[17] = "0123456789abcdefg";
#define ID ((struct bytes){id17, 16})
#define BLOB ((struct bytes){(const uint8_t *)"\0blob\xff", 6})

static struct msg_count refused[2] = {{"bad_line", 3}, {"too_far_ahead", UINT64_MAX}};
static struct msg_report_stream streams[2] = {
    {"speed", 0xfffffffe, PHASE_LIVE, 123456789, WATERMARK_NONE, true},
    {"temp", 1, PHASE_BACKPRESSURED, WATERMARK_NONE, -1, false},
};
static struct msg_group_status groups[2] = {
    {0, true, 1, 2, 3, UINT64_MAX, 5, 6, "cloud-1"},
    {SHARDS_MAX, false, 9, 8, 7, 0, 0, 0, ""},
};

/* One message of each type with every field set. */
static struct msg sample(enum msg_type type)
{
	struct msg m = {.type = type, .req_id = 77, .from = "edge-1", .cluster_id = ID};
	switch (type) {
	case MSG_NONE:
		break;
	case MSG_HELLO:
		m.hello.edge = "edge-1";
		m.hello.cluster = "plant";
		m.hello.epoch = 4;
		m.hello.claim = ID;
		m.hello.empty = true;
		m.hello.software = "weir 0.1 (test)";
		break;
	case MSG_HELLO_REPLY:
		m.hello_reply.edge = "edge-1";
		m.hello_reply.verdict = VERDICT_UNAVAILABLE;
		m.hello_reply.epoch = 5;
		m.hello_reply.claim = ID;
		m.hello_reply.resume = true;
		m.hello_reply.readmitted = true;
		m.hello_reply.credit_bytes = 1 << 20;
		m.hello_reply.cluster_id = ID;
		m.hello_reply.reason = "because";
		break;
	case MSG_OPEN:
		m.open.edge = "edge-1";
		m.open.epoch = 5;
		m.open.shard = SHARDS_MAX - 1;
		m.open.low = 1;
		m.open.high = UINT64_MAX;
		m.open.resume = true;
		break;
	case MSG_OPEN_REPLY:
		m.open_reply.edge = "edge-1";
		m.open_reply.shard = 3;
		m.open_reply.verdict = VERDICT_FENCED;
		m.open_reply.epoch = 5;
		m.open_reply.last = 99;
		m.open_reply.reason = "old copy";
		break;
	case MSG_BATCH:
		m.batch.edge = "edge-1";
		m.batch.epoch = 5;
		m.batch.shard = 3;
		m.batch.seq = 100;
		m.batch.body = BLOB;
		break;
	case MSG_BATCH_REPLY:
		m.batch_reply.edge = "edge-1";
		m.batch_reply.shard = 3;
		m.batch_reply.seq = 100;
		m.batch_reply.verdict = VERDICT_DUPLICATE;
		m.batch_reply.epoch = 5;
		m.batch_reply.last = 100;
		m.batch_reply.credit_bytes = 4096;
		m.batch_reply.reason = "again";
		break;
	case MSG_REPORT:
		m.report.edge = "edge-1";
		m.report.epoch = 5;
		m.report.sent_mono_ns = -1;
		m.report.wall_ns = INT64_MAX;
		m.report.spool_bytes = 10;
		m.report.accepted = 11;
		m.report.clock_suspect = true;
		m.report.refused_count = 2;
		m.report.refused = refused;
		m.report.stream_count = 2;
		m.report.streams = streams;
		m.report.incarnation = 0xdeadbeefcafef00d;
		m.report.seq = 12;
		break;
	case MSG_REPORT_REPLY:
		m.report_reply.edge = "edge-1";
		m.report_reply.verdict = VERDICT_OK;
		m.report_reply.sent_mono_ns = -1;
		m.report_reply.epoch = 5;
		m.report_reply.credit_bytes = 7;
		m.report_reply.reason = "fine";
		break;
	case MSG_ADVANCE:
		m.advance.shard = 1;
		m.advance.meta_index = 2;
		m.advance.entry = BLOB;
		break;
	case MSG_ADVANCE_REPLY:
		m.advance_reply.shard = 1;
		m.advance_reply.verdict = VERDICT_BUSY;
		m.advance_reply.meta_index = 2;
		break;
	case MSG_READMIT:
		m.readmit.edge = "edge-1";
		break;
	case MSG_READMIT_REPLY:
		m.readmit_reply.edge = "edge-1";
		m.readmit_reply.verdict = VERDICT_REFUSED;
		m.readmit_reply.reason = "no such edge";
		break;
	case MSG_INFO:
		m.info.cluster = "plant";
		break;
	case MSG_INFO_REPLY:
		m.info_reply.cluster_id = ID;
		break;
	case MSG_QUERY:
		m.query.shard = 2;
		m.query.linearizable = true;
		m.query.spec = BLOB;
		break;
	case MSG_QUERY_REPLY:
		m.query_reply.shard = 2;
		m.query_reply.verdict = VERDICT_OUT_OF_SEQUENCE;
		m.query_reply.rows = BLOB;
		m.query_reply.more = true;
		m.query_reply.reason = "r";
		m.query_reply.behind_entries = 7;
		break;
	case MSG_OUTBOX:
		m.outbox.shard = 2;
		m.outbox.stream = "speed";
		m.outbox.index = UINT64_MAX;
		m.outbox.n = 4;
		m.outbox.limit = 5;
		break;
	case MSG_OUTBOX_REPLY:
		m.outbox_reply.shard = 2;
		m.outbox_reply.verdict = VERDICT_NOT_OPEN;
		m.outbox_reply.index = 8;
		m.outbox_reply.n = 9;
		m.outbox_reply.reset = true;
		m.outbox_reply.rows = BLOB;
		m.outbox_reply.reason = "r";
		break;
	case MSG_STATUS:
		m.status.what = "groups";
		break;
	case MSG_STATUS_REPLY:
		m.status_reply.verdict = VERDICT_OK;
		m.status_reply.group_count = 2;
		m.status_reply.groups = groups;
		m.status_reply.json = BLOB;
		m.status_reply.reason = "r";
		break;
	case MSG_ERROR:
		m.error.verdict = VERDICT_REFUSED;
		m.error.reason = "caf\xc3\xa9";
		break;
	}
	return m;
}

static bool same(struct bytes a, struct bytes b)
{
	return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n));
}

static void check_lists(const struct msg *a, const struct msg *b)
{
	for (size_t i = 0; a->type == MSG_REPORT && i < 2; i++) {
		ck_assert_str_eq(a->report.refused[i].name, b->report.refused[i].name);
		ck_assert(a->report.refused[i].value == b->report.refused[i].value);
		const struct msg_report_stream *s = &a->report.streams[i], *t = &b->report.streams[i];
		ck_assert_str_eq(s->name, t->name);
		ck_assert(s->version == t->version && s->phase == t->phase && s->watermark_ns == t->watermark_ns);
		ck_assert(s->flushed_end_ns == t->flushed_end_ns && s->unsent == t->unsent);
	}
	for (size_t i = 0; a->type == MSG_STATUS_REPLY && i < 2; i++) {
		const struct msg_group_status *g = &a->status_reply.groups[i], *h = &b->status_reply.groups[i];
		ck_assert(g->group == h->group && g->leader == h->leader && g->term == h->term);
		ck_assert(g->committed == h->committed && g->applied == h->applied);
		ck_assert(g->digest_hi == h->digest_hi && g->digest_lo == h->digest_lo);
		ck_assert(g->digest_index == h->digest_index);
		ck_assert_str_eq(g->node, h->node);
	}
}

static void equal(bool ok, const char *field)
{
	ck_assert_msg(ok, "%s differs", field);
}

#define STR(f) equal(!strcmp(a->f, b->f), #f)
#define NUM(f) equal(a->f == b->f, #f)
#define BYT(f) equal(same(a->f, b->f), #f)

static void check_equal(const struct msg *a, const struct msg *b)
{
	NUM(type), NUM(req_id), STR(from), BYT(cluster_id);
	switch (a->type) {
	case MSG_NONE:
		break;
	case MSG_HELLO:
		STR(hello.edge), STR(hello.cluster), NUM(hello.epoch), BYT(hello.claim), NUM(hello.empty);
		STR(hello.software);
		break;
	case MSG_HELLO_REPLY:
		STR(hello_reply.edge), NUM(hello_reply.verdict), NUM(hello_reply.epoch), BYT(hello_reply.claim);
		NUM(hello_reply.resume), NUM(hello_reply.readmitted), NUM(hello_reply.credit_bytes);
		BYT(hello_reply.cluster_id), STR(hello_reply.reason);
		break;
	case MSG_OPEN:
		STR(open.edge), NUM(open.epoch), NUM(open.shard), NUM(open.low), NUM(open.high), NUM(open.resume);
		break;
	case MSG_OPEN_REPLY:
		STR(open_reply.edge), NUM(open_reply.shard), NUM(open_reply.verdict), NUM(open_reply.epoch);
		NUM(open_reply.last), STR(open_reply.reason);
		break;
	case MSG_BATCH:
		STR(batch.edge), NUM(batch.epoch), NUM(batch.shard), NUM(batch.seq), BYT(batch.body);
		break;
	case MSG_BATCH_REPLY:
		STR(batch_reply.edge), NUM(batch_reply.shard), NUM(batch_reply.seq), NUM(batch_reply.verdict);
		NUM(batch_reply.epoch), NUM(batch_reply.last), NUM(batch_reply.credit_bytes);
		STR(batch_reply.reason);
		break;
	case MSG_REPORT:
		STR(report.edge), NUM(report.epoch), NUM(report.sent_mono_ns), NUM(report.wall_ns);
		NUM(report.spool_bytes), NUM(report.accepted), NUM(report.clock_suspect);
		NUM(report.refused_count), NUM(report.stream_count), NUM(report.incarnation), NUM(report.seq);
		break;
	case MSG_REPORT_REPLY:
		STR(report_reply.edge), NUM(report_reply.verdict), NUM(report_reply.sent_mono_ns);
		NUM(report_reply.epoch), NUM(report_reply.credit_bytes), STR(report_reply.reason);
		break;
	case MSG_ADVANCE:
		NUM(advance.shard), NUM(advance.meta_index), BYT(advance.entry);
		break;
	case MSG_ADVANCE_REPLY:
		NUM(advance_reply.shard), NUM(advance_reply.verdict), NUM(advance_reply.meta_index);
		break;
	case MSG_READMIT:
		STR(readmit.edge);
		break;
	case MSG_READMIT_REPLY:
		STR(readmit_reply.edge), NUM(readmit_reply.verdict), STR(readmit_reply.reason);
		break;
	case MSG_INFO:
		STR(info.cluster);
		break;
	case MSG_INFO_REPLY:
		BYT(info_reply.cluster_id);
		break;
	case MSG_QUERY:
		NUM(query.shard), NUM(query.linearizable), BYT(query.spec);
		break;
	case MSG_QUERY_REPLY:
		NUM(query_reply.shard), NUM(query_reply.verdict), BYT(query_reply.rows), NUM(query_reply.more);
		STR(query_reply.reason), NUM(query_reply.behind_entries);
		break;
	case MSG_OUTBOX:
		NUM(outbox.shard), STR(outbox.stream), NUM(outbox.index), NUM(outbox.n), NUM(outbox.limit);
		break;
	case MSG_OUTBOX_REPLY:
		NUM(outbox_reply.shard), NUM(outbox_reply.verdict), NUM(outbox_reply.index), NUM(outbox_reply.n);
		NUM(outbox_reply.reset), BYT(outbox_reply.rows), STR(outbox_reply.reason);
		break;
	case MSG_STATUS:
		STR(status.what);
		break;
	case MSG_STATUS_REPLY:
		NUM(status_reply.verdict), NUM(status_reply.group_count), BYT(status_reply.json);
		STR(status_reply.reason);
		break;
	case MSG_ERROR:
		NUM(error.verdict), STR(error.reason);
		break;
	}
	check_lists(a, b);
}

START_TEST(every_message_round_trips)
{
	for (int type = MSG_HELLO; type <= MSG_ERROR; type++) {
		struct msg m = sample((enum msg_type)type), back;
		struct buf b = {0}, again = {0};
		ck_assert_int_eq(msg_encode(&m, &b), 0);
		ck_assert_int_eq(msg_decode(b.data, b.len, &back), 0);
		ck_assert_uint_eq(back.protocol, PROTOCOL_VERSION);
		check_equal(&m, &back);
		ck_assert_int_eq(msg_encode(&back, &again), 0);
		ck_assert(b.len == again.len && !memcmp(b.data, again.data, b.len));
		msg_clear(&back);
		buf_free(&b);
		buf_free(&again);
	}
}
END_TEST

START_TEST(empty_messages_have_empty_strings)
{
	for (int type = MSG_HELLO; type <= MSG_ERROR; type++) {
		struct msg m = {.type = (enum msg_type)type}, back;
		if (type == MSG_HELLO)
			m.hello.claim = ID;
		struct buf b = {0}, again = {0};
		ck_assert_int_eq(msg_encode(&m, &b), 0);
		ck_assert_int_eq(msg_decode(b.data, b.len, &back), 0);
		ck_assert_str_eq(back.from, "");
		ck_assert_int_eq(msg_encode(&back, &again), 0);
		ck_assert(b.len == again.len && !memcmp(b.data, again.data, b.len));
		if (type == MSG_STATUS)
			ck_assert_str_eq(back.status.what, "");
		msg_clear(&back);
		msg_clear(&back);
		buf_free(&b);
		buf_free(&again);
	}
}
END_TEST

START_TEST(a_cut_frame_never_decodes)
{
	for (int type = MSG_HELLO; type <= MSG_ERROR; type++) {
		struct msg m = sample((enum msg_type)type), back;
		struct buf b = {0};
		ck_assert_int_eq(msg_encode(&m, &b), 0);
		for (size_t n = 0; n < b.len; n++) {
			uint8_t *cut = malloc(n ? n : 1); /* exact size: sanitizers see a read past it */
			memcpy(cut, b.data, n);
			ck_assert_int_lt(msg_decode(cut, n, &back), 0);
			ck_assert(back.type == MSG_NONE && !back.decoded);
			free(cut);
		}
		buf_free(&b);
	}
}
END_TEST

static uint64_t seed = 1;

static uint64_t rnd(void)
{
	uint64_t z = (seed += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

START_TEST(damage_and_garbage_never_crash)
{
	uint8_t copy[4096];
	struct msg back;
	for (int round = 0; round < 20000; round++) {
		size_t n;
		if (round % 4 == 3) {
			n = rnd() % 300;
			for (size_t i = 0; i < n; i++)
				copy[i] = (uint8_t)rnd();
		} else {
			struct msg m = sample((enum msg_type)(MSG_HELLO + (int)(rnd() % MSG_ERROR)));
			struct buf b = {0};
			ck_assert_int_eq(msg_encode(&m, &b), 0);
			n = b.len;
			memcpy(copy, b.data, n);
			for (uint64_t flips = 1 + rnd() % 8; flips; flips--)
				copy[rnd() % n] ^= (uint8_t)(1u << rnd() % 8);
			buf_free(&b);
		}
		if (!msg_decode(copy, n, &back)) {
			struct buf b = {0};
			ck_assert_int_eq(msg_encode(&back, &b), 0); /* what decodes is valid */
			buf_free(&b);
		}
		msg_clear(&back);
	}
}
END_TEST

static int decode_raw(struct buf *b)
{
	struct msg back;
	int err = msg_decode(b->data, b->len, &back);
	msg_clear(&back);
	buf_clear(b);
	return err;
}

/* protobuf: tag, then a varint or bytes */
static void put_field(struct buf *b, unsigned field, const void *p, size_t n)
{
	buf_varint(b, field << 3 | 2);
	buf_bytes(b, p, n);
}

static void put_number(struct buf *b, unsigned field, uint64_t v)
{
	buf_varint(b, field << 3);
	buf_varint(b, v);
}

START_TEST(versions_and_unknown_parts)
{
	struct buf b = {0};
	ck_assert_int_eq(decode_raw(&b), WEIR_EVERSION); /* nothing at all */
	put_number(&b, 1, 1);
	put_field(&b, 99, "", 0); /* a body of the future */
	ck_assert_int_eq(decode_raw(&b), WEIR_EVERSION);
	put_number(&b, 1, 1);
	put_field(&b, 28, "", 0);
	ck_assert_int_eq(decode_raw(&b), 0); /* info */
	put_field(&b, 28, "", 0);
	ck_assert_int_eq(decode_raw(&b), WEIR_EVERSION); /* no protocol */
	put_number(&b, 1, PROTOCOL_VERSION + 1);
	put_field(&b, 28, "", 0);
	ck_assert_int_eq(decode_raw(&b), 0); /* N talks to N - 1 */
	put_number(&b, 1, PROTOCOL_VERSION + 2);
	put_field(&b, 28, "", 0);
	ck_assert_int_eq(decode_raw(&b), WEIR_EVERSION);

	put_number(&b, 1, 1);
	put_number(&b, 15, 1234);                /* unknown fields, in the envelope ... */
	put_field(&b, 28, "\x0a\x01" "p\x78\x05", 5); /* ... and in the body */
	struct msg m;
	ck_assert_int_eq(msg_decode(b.data, b.len, &m), 0);
	ck_assert_int_eq(m.type, MSG_INFO);
	ck_assert_str_eq(m.info.cluster, "p");
	msg_clear(&m);
	buf_free(&b);
}
END_TEST

static int decode_body(unsigned field, const struct buf *body)
{
	struct buf b = {0};
	put_number(&b, 1, 1);
	put_field(&b, field, body->data, body->len);
	int err = decode_raw(&b);
	buf_free(&b);
	return err;
}

START_TEST(fields_are_checked)
{
	struct buf b = {0};
	put_field(&b, 1, "a\0b", 3);
	ck_assert_int_eq(decode_body(26, &b), WEIR_ECORRUPT); /* readmit: NUL in a name */
	buf_clear(&b);
	put_field(&b, 1, "a/b", 3);
	ck_assert_int_eq(decode_body(26, &b), WEIR_ECORRUPT);
	buf_clear(&b);
	char name[NAME_MAX_BYTES + 1];
	memset(name, 'n', sizeof(name));
	put_field(&b, 1, name, NAME_MAX_BYTES);
	ck_assert_int_eq(decode_body(26, &b), 0);
	buf_clear(&b);
	put_field(&b, 1, name, NAME_MAX_BYTES + 1);
	ck_assert_int_eq(decode_body(26, &b), WEIR_ECORRUPT);
	buf_clear(&b);
	put_field(&b, 4, id17, 15);
	ck_assert_int_eq(decode_body(16, &b), WEIR_ECORRUPT); /* hello: a short claim */
	buf_clear(&b);
	ck_assert_int_eq(decode_body(16, &b), WEIR_ECORRUPT); /* none */
	put_field(&b, 1, id17, 17);
	ck_assert_int_eq(decode_body(29, &b), WEIR_ECORRUPT); /* info reply: a long cluster id */
	buf_clear(&b);
	ck_assert_int_eq(decode_body(21, &b), WEIR_ECORRUPT); /* batch reply without a verdict is no "ok" */
	put_number(&b, 4, 9);
	ck_assert_int_eq(decode_body(21, &b), WEIR_ECORRUPT);
	buf_clear(&b);
	put_number(&b, 4, 8);
	ck_assert_int_eq(decode_body(21, &b), 0);
	buf_clear(&b);
	put_number(&b, 3, SHARDS_MAX);
	ck_assert_int_eq(decode_body(20, &b), WEIR_ECORRUPT);
	buf_clear(&b);
	put_field(&b, 9, "\x18\x04", 2); /* report: a phase that does not exist */
	ck_assert_int_eq(decode_body(22, &b), WEIR_ECORRUPT);
	buf_clear(&b);
	for (int i = 0; i < REASON_COUNTS_MAX; i++)
		put_field(&b, 8, "", 0);
	ck_assert_int_eq(decode_body(22, &b), 0);
	put_field(&b, 8, "", 0);
	ck_assert_int_eq(decode_body(22, &b), WEIR_ETOOBIG);
	buf_free(&b);
}
END_TEST

START_TEST(limits_hold_both_ways)
{
	struct buf b = {0};
	uint8_t *big = calloc(1, FRAME_MAX + 1);
	struct msg back, m = sample(MSG_BATCH);
	buf_str(&b, "before");
	size_t before = b.len;
	m.batch.body = (struct bytes){big, FRAME_MAX};
	ck_assert_int_eq(msg_encode(&m, &b), WEIR_ETOOBIG);
	ck_assert_uint_eq(b.len, before);
	m.batch.body.n = FRAME_MAX - 100;
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	ck_assert_int_eq(msg_decode(b.data + before, b.len - before, &back), 0);
	ck_assert_uint_eq(back.batch.body.n, FRAME_MAX - 100);
	msg_clear(&back);
	ck_assert_int_eq(msg_decode(big, FRAME_MAX + 1, &back), WEIR_ETOOBIG);

	m = sample(MSG_ERROR); /* long texts are cut, at a character's start */
	memset(big, 'x', FRAME_MAX);
	memcpy(big + TEXT_MAX_BYTES - 1, "\xc3\xa9", 2);
	m.error.reason = (const char *)big;
	buf_clear(&b);
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	ck_assert_int_eq(msg_decode(b.data, b.len, &back), 0);
	ck_assert_uint_eq(strlen(back.error.reason), TEXT_MAX_BYTES - 1);
	msg_clear(&back);
	m.from = (const char *)big; /* names are not */
	buf_clear(&b);
	ck_assert_int_eq(msg_encode(&m, &b), WEIR_EINVAL);
	m = sample(MSG_REPORT);
	m.report.refused_count = REASON_COUNTS_MAX + 1;
	ck_assert_int_eq(msg_encode(&m, &b), WEIR_ETOOBIG);
	m = (struct msg){0};
	ck_assert_int_eq(msg_encode(&m, &b), WEIR_EINVAL);
	ck_assert_uint_eq(b.len, 0);

	/* 128 Ki tiny submessages: refused by the allocator's cap, not unpacked to megabytes */
	struct buf body = {0};
	while (body.len < FRAME_MAX - 64)
		put_field(&body, 8, "", 0);
	ck_assert_int_eq(decode_body(22, &body), WEIR_ETOOBIG);
	buf_clear(&body); /* unknown fields are ignored, but not without bound */
	for (int i = 0; i < 1000; i++)
		put_number(&body, 15, 0);
	ck_assert_int_eq(decode_body(28, &body), 0);
	for (int i = 0; i < 20000; i++) /* no single allocation is too large, all together are */
		put_number(&body, 15, 0);
	ck_assert_int_eq(decode_body(28, &body), WEIR_ETOOBIG);
	buf_free(&body);
	free(big);
	buf_free(&b);
}
END_TEST

START_TEST(the_bytes_are_these)
{
	struct msg m = sample(MSG_BATCH);
	struct buf b = {0};
	static const char golden[] = "\x08\x01\x10\x4d\x1a\x06" "edge-1" "\x22\x10" "0123456789abcdef"
	    "\xa2\x01\x16" "\x0a\x06" "edge-1" "\x10\x05\x18\x03\x20\x64" "\x2a\x06\x00" "blob\xff";
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	ck_assert_uint_eq(b.len, sizeof(golden) - 1);
	ck_assert_int_eq(memcmp(b.data, golden, b.len), 0);
	m = sample(MSG_ADVANCE_REPLY); /* a verdict is one more on the wire: 0 is none */
	m.req_id = 0;
	m.from = NULL;
	m.cluster_id = (struct bytes){NULL, 0};
	buf_clear(&b);
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	static const char reply[] = "\x08\x01" "\xca\x01\x06" "\x08\x01\x10\x05\x18\x02";
	ck_assert_uint_eq(b.len, sizeof(reply) - 1);
	ck_assert_int_eq(memcmp(b.data, reply, b.len), 0);
	buf_free(&b);
}
END_TEST

START_TEST(verdicts_have_texts)
{
	ck_assert_str_eq(verdict_text(VERDICT_OK), "ok");
	ck_assert_str_eq(verdict_text(VERDICT_UNAVAILABLE), "unavailable");
	ck_assert_str_eq(verdict_text((enum verdict)99), "unknown");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/codec");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, every_message_round_trips);
	tcase_add_test(tc, empty_messages_have_empty_strings);
	tcase_add_test(tc, a_cut_frame_never_decodes);
	tcase_add_test(tc, damage_and_garbage_never_crash);
	tcase_add_test(tc, versions_and_unknown_parts);
	tcase_add_test(tc, fields_are_checked);
	tcase_add_test(tc, limits_hold_both_ways);
	tcase_add_test(tc, the_bytes_are_these);
	tcase_add_test(tc, verdicts_have_texts);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
