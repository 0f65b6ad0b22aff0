#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec.h"
#include "common/err.h"
#include "common/rows.h"
#include "common/topology.h"

#define SEC INT64_C(1000000000)

static const char text[] =
    "version: 1\n"
    "cluster: {name: test, shards: 1, replicas: 1, security: none}\n"
    "cloud:\n"
    "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n"
    "edges:\n"
    "  - {name: e1, sources: [{type: stdin}]}\n"
    "streams:\n"
    "  - {name: s, from: {measurement: m, field: f}, by: [x, y], window: {size: 50s, every: 10s},\n"
    "     lateness: 0s, compute: [sum, p50], retain: forever}\n";
static struct topology *topology;
static const struct stream_conf *stream;

static void setup(void)
{
	struct buf errors = {0};
	int rc = topology_parse("test.yaml", text, sizeof(text) - 1, &topology, &errors);
	ck_assert_msg(!rc, "%s", buf_cstr(&errors));
	buf_free(&errors);
	stream = &topology->streams[0];
}

static void teardown(void)
{
	topology_free(topology);
}

/* All rows of the stream's own windows. */
static struct rows_spec own_spec(void)
{
	return (struct rows_spec){.stream = stream->name, .version = stream->version, .from_ns = INT64_MIN, .to_ns = INT64_MAX,
	    .size_ns = stream->size_ns, .advance_ns = stream->advance_ns, .offset_ns = stream->offset_ns, .own_window = true,
	    .by = {0, 1}, .by_count = 2, .own_by = true, .limit = 100000};
}

/* ---- the question ------------------------------------------------------------------------------------------ */

static int decode(const struct rows_spec *spec, struct rows_spec *ret)
{
	struct buf b = {0};
	const struct stream_conf *s;
	rows_spec_encode(spec, &b);
	uint8_t *exact = malloc(b.len);
	memcpy(exact, b.data, b.len);
	int rc = rows_spec_decode(bytes_of(exact, b.len), topology, ret, &s);
	for (size_t n = 0; n < b.len; n++) {
		struct rows_spec cut;
		ck_assert_int_ne(rows_spec_decode(bytes_of(exact, n), topology, &cut, &s), 0);
	}
	if (!rc) {
		ck_assert_ptr_eq(s, stream);
		ck_assert_str_eq(ret->stream, "s");
		ret->stream = "s";
		for (uint32_t i = 0; i < ret->where_count; i++)
			ck_assert_str_eq(ret->where[i].value, spec->where[i].value);
		if (ret->after)
			ck_assert_mem_eq(ret->after_group.p, spec->after_group.p, ret->after_group.n);
	}
	buf_free(&b);
	free(exact);
	return rc;
}

START_TEST(a_question_survives_the_wire)
{
	struct rows_spec spec = own_spec(), back;
	ck_assert_int_eq(decode(&spec, &back), 0);
	ck_assert(back.own_window && back.own_by && back.by_count == 2 && back.by[1] == 1);
	ck_assert(back.from_ns == INT64_MIN && back.to_ns == INT64_MAX && back.size_ns == 50 * SEC);
	spec.from_ns = -5;
	spec.to_ns = 77;
	spec.size_ns = spec.advance_ns = 3600 * SEC;
	spec.own_window = spec.own_by = false;
	spec.by_count = 1;
	spec.by[0] = 1;
	spec.where_count = 2;
	spec.where[0] = (struct rows_where){0, "north"};
	spec.where[1] = (struct rows_where){UINT32_MAX, ""};
	spec.only_final = spec.after = true;
	spec.after_start_ns = -9;
	spec.after_group = bytes_of("\1v", 2);
	spec.limit = 12;
	ck_assert_int_eq(decode(&spec, &back), 0);
	ck_assert(back.from_ns == -5 && back.to_ns == 77 && back.by[0] == 1 && back.limit == 12);
	ck_assert(back.where[1].by == UINT32_MAX && back.where[0].by == 0);
	ck_assert(back.only_final && back.after && back.after_start_ns == -9 && back.after_group.n == 2);
}
END_TEST

#define REFUSED(change, rc)                                                    \
	do {                                                                   \
		struct rows_spec spec = own_spec(), back;               \
		change;                                                        \
		ck_assert_int_eq(decode(&spec, &back), rc);                    \
	} while (0)

START_TEST(questions_that_make_no_sense_are_refused)
{
	REFUSED(spec.stream = "t", WEIR_ENOTFOUND);
	REFUSED(spec.version++, WEIR_EVERSION);
	REFUSED(spec.by[1] = 2, WEIR_ECORRUPT);
	REFUSED(spec.by[1] = 0, WEIR_ECORRUPT);
	REFUSED(spec.own_by = false, WEIR_ECORRUPT);
	REFUSED(spec.by_count = 1, WEIR_ECORRUPT);
	REFUSED(spec.size_ns = 0; spec.own_window = false, WEIR_ECORRUPT);
	REFUSED(spec.size_ns = 15 * SEC; spec.advance_ns = 15 * SEC; spec.own_window = false, WEIR_ECORRUPT);
	REFUSED(spec.size_ns = 60 * SEC, WEIR_ECORRUPT); /* not the stream's own */
	REFUSED(spec.size_ns = INT64_MAX / 4 / SEC / 10 * 10 * SEC; spec.own_window = false, WEIR_ECORRUPT);
	REFUSED(spec.size_ns = 20000 * SEC; spec.own_window = false, WEIR_ECORRUPT); /* 2,000 windows over a slice */
	REFUSED(spec.advance_ns = 60 * SEC; spec.own_window = false, WEIR_ECORRUPT);
	REFUSED(spec.offset_ns = 1; spec.own_window = false, WEIR_ECORRUPT);
	REFUSED(spec.limit = 0, WEIR_ECORRUPT);
	REFUSED(spec.where_count = 1; spec.where[0] = ((struct rows_where){2, "v"}), WEIR_ECORRUPT);
}
END_TEST

/* ---- the answer -------------------------------------------------------------------------------------------- */

static struct partial_spec pspec;

static void fill(struct rows_writer *w)
{
	struct partial p = {0};
	partial_add(&p, &pspec, 1, 2.5);
	partial_add(&p, &pspec, 2, -1);
	struct row r = {.start_ns = -50, .end_ns = 0, .group = bytes_of("\1a\1b", 4), .state = WINDOW_FINAL,
	    .revision = 3, .edges = {3, 1, 1, 1, 1, {bytes_of("e1", 2)}, false}, .partial = p};
	rows_writer_add(w, &r);
	r.group = bytes_of("\1a\1c", 4);
	rows_writer_add(w, &r);
	r.start_ns = 100;
	r.end_ns = 150;
	r.state = WINDOW_OPEN;
	r.revision = 0;
	r.edges.missing_count = 0;
	r.outbox_index = 9;
	r.outbox_n = 2;
	rows_writer_add(w, &r);
	partial_clear(&p, &pspec);
}

START_TEST(rows_survive_the_wire)
{
	partial_spec_of(stream, 1, PARTIAL_QUANTILE_CAP_CLOUD, &pspec);
	struct rows_writer *w = rows_writer_new(&pspec, 7, WATERMARK_NONE);
	struct buf b = {0};
	fill(w);
	ck_assert_uint_eq(rows_writer_count(w), 3);
	size_t estimate = rows_writer_bytes(w);
	rows_writer_finish(w, &b);
	ck_assert_uint_ge(estimate, b.len);
	struct rows_reader *r;
	struct row *row;
	ck_assert_int_eq(rows_reader_open(bytes_of(b.data, b.len), &pspec, &r), 0);
	ck_assert(rows_reader_close_ns(r) == 7 && rows_reader_final_ns(r) == WATERMARK_NONE);
	ck_assert_int_eq(rows_reader_next(r, &row), 1);
	ck_assert(row->start_ns == -50 && row->end_ns == 0 && row->state == WINDOW_FINAL && row->revision == 3);
	ck_assert(row->edges.expected == 3 && row->edges.idle == 1 && row->edges.missing_count == 1);
	ck_assert_mem_eq(row->edges.missing[0].p, "e1", 2);
	ck_assert(row->partial.count == 2 && row->partial.sum == 1.5);
	ck_assert_int_eq(rows_reader_next(r, &row), 1);
	ck_assert(row->edges.missing_count == 1 && row->group.n == 4 && row->group.p[3] == 'c');
	ck_assert_int_eq(rows_reader_next(r, &row), 1);
	ck_assert(row->start_ns == 100 && row->state == WINDOW_OPEN && row->revision == 0);
	ck_assert(row->edges.missing_count == 0 && row->outbox_index == 9 && row->outbox_n == 2);
	ck_assert_int_eq(rows_reader_next(r, &row), 0);
	ck_assert_int_eq(rows_reader_next(r, &row), 0);
	rows_reader_close(r);
	rows_writer_free(w);
	buf_free(&b);
}
END_TEST

static int read_all(const uint8_t *p, size_t n)
{
	struct rows_reader *r;
	struct row *row;
	int rc = rows_reader_open(bytes_of(p, n), &pspec, &r);
	if (rc)
		return rc;
	while ((rc = rows_reader_next(r, &row)) > 0)
		;
	ck_assert_int_eq(rows_reader_next(r, &row), rc); /* an error is for good */
	rows_reader_close(r);
	return rc;
}

START_TEST(rows_of_any_bytes_do_no_harm)
{
	partial_spec_of(stream, 1, PARTIAL_QUANTILE_CAP_CLOUD, &pspec);
	struct rows_writer *w = rows_writer_new(&pspec, 7, 8);
	struct buf b = {0};
	fill(w);
	rows_writer_finish(w, &b);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *cut = malloc(n + 1);
		memcpy(cut, b.data, n);
		ck_assert_int_ne(read_all(cut, n), 0);
		free(cut);
	}
	for (size_t i = 0; i < b.len; i++) {
		for (unsigned v = 1; v < 256; v += 3) {
			b.data[i] ^= (uint8_t)v;
			(void)read_all(b.data, b.len);
			b.data[i] ^= (uint8_t)v;
		}
	}
	buf_u8(&b, 0);
	ck_assert_int_eq(read_all(b.data, b.len), WEIR_ECORRUPT);
	rows_writer_free(w);
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/rows");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_question_survives_the_wire);
	tcase_add_test(tc, questions_that_make_no_sense_are_refused);
	tcase_add_test(tc, rows_survive_the_wire);
	tcase_add_test(tc, rows_of_any_bytes_do_no_harm);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
