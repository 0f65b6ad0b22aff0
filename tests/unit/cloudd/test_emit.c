/* What a sink has still to deliver, over shards whose answers this test makes up: it stands for cloudd/serve, the node and progress. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/emit.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"

#define SHARDS 2
#define ROWS_MAX 3000
#define TEXT \
	"version: 1\n" \
	"cluster: {name: test, shards: 2, replicas: 1, security: none}\n" \
	"cloud:\n" \
	"  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n" \
	"streams:\n" \
	"  - {name: s, from: {measurement: m, field: f}, by: [], window: 10s, compute: [count]}\n" \
	"sinks:\n" \
	"  - {name: all, type: file, path: x}\n" \
	"  - {name: final, type: file, path: y, state: final}\n"

/* A shard: row i of its outbox is at place {i + 1, 0}. */
struct fake {
	bool serves;
	uint64_t term, durable;
	size_t count;
	enum window_state states[ROWS_MAX];
	size_t trimmed; /* rows deleted */
	uint64_t gone;  /* rows that are told no more */
	enum verdict verdict, places_verdict; /* of its outbox, of the sink's places */
	bool stored; /* the sink's place is in the log */
	struct sink_place place, told;
	unsigned loads, looks;
};

static struct topology *t;
static struct fake shards[SHARDS];
static struct emit *emit;
static unsigned told_count;

/* ---- in place of the node ------------------------------------------------------------------------------------------ */

const struct topology *node_topology(struct node *n)
{
	(void)n;
	return topology_hold(t);
}

bool node_serves(struct node *n, uint32_t group)
{
	(void)n;
	return shards[group - 1].serves;
}

void node_group_status(struct node *n, uint32_t group, struct group_status *ret_status)
{
	(void)n;
	*ret_status = (struct group_status){.held = true, .term = shards[group - 1].term};
}

uint64_t progress_durable(struct progress *p, uint32_t group)
{
	(void)p;
	return shards[group - 1].durable;
}

enum verdict serve_places(struct serve *s, const struct topology *top, uint32_t shard, const char *sink, struct serve_place *ret_places,
    const char **ret_reason)
{
	struct fake *f = &shards[shard];
	(void)s, (void)top, (void)sink, (void)ret_reason;
	f->loads++;
	if (f->places_verdict != VERDICT_OK)
		return f->places_verdict;
	ret_places[0] = (struct serve_place){f->stored ? f->place : (struct sink_place){f->trimmed, 0}, f->stored};
	return VERDICT_OK;
}

int serve_left(struct serve *s, uint32_t shard, const struct stream_conf *stream, struct sink_place place, uint64_t max,
    struct outbox_left *ret)
{
	const struct fake *f = &shards[shard];
	(void)s, (void)stream;
	uint64_t rows = f->count - place.index;
	*ret = (struct outbox_left){.rows = rows < max ? rows : max, .age_ns = 5 * NS_PER_SEC, .as_of_ns = 100 * NS_PER_SEC};
	return 0;
}

static void add_row(struct rows_writer *w, const struct partial_spec *spec, const struct fake *f, size_t i)
{
	struct row r = {.start_ns = (int64_t)i * 10 * NS_PER_SEC, .state = f->states[i], .revision = 1, .outbox_index = i + 1};
	r.end_ns = r.start_ns + 10 * NS_PER_SEC;
	partial_add(&r.partial, spec, r.start_ns, 1);
	rows_writer_add(w, &r);
	partial_clear(&r.partial, spec);
}

enum verdict serve_outbox(struct serve *s, uint32_t shard, const char *stream, uint32_t version, uint64_t *index, uint32_t *n,
    uint32_t limit, struct buf *rows, bool *ret_reset, uint64_t *ret_gone, const char **ret_reason)
{
	struct fake *f = &shards[shard];
	struct partial_spec spec;
	(void)s, (void)stream, (void)version, (void)n;
	f->looks++;
	*ret_reason = "";
	if (f->verdict != VERDICT_OK)
		return f->verdict;
	*ret_reset = f->trimmed && *index < f->trimmed;
	*index = *ret_reset ? f->trimmed : *index;
	*ret_gone = f->gone;
	*index += f->gone;
	f->gone = 0;
	partial_spec_of(&t->streams[0], topology_distinct_seed(t), PARTIAL_QUANTILE_CAP_CLOUD, &spec);
	struct rows_writer *w = rows_writer_new(&spec, 0, 0);
	for (; limit && *index < f->count; limit--, ++*index)
		add_row(w, &spec, f, *index);
	rows_writer_finish(w, rows);
	rows_writer_free(w);
	return VERDICT_OK;
}

static void places(void *arg, uint32_t shard, const struct entry_place *p, size_t count)
{
	(void)arg;
	ck_assert_uint_eq(count, 1);
	shards[shard].told = (struct sink_place){p->index, p->n};
	told_count++;
}

static bool stopping(void *arg)
{
	(void)arg;
	return false;
}

/* ---- set-up ---------------------------------------------------------------------------------------------------------- */

static void begin(const char *sink)
{
	struct buf errors = {0};
	ck_assert_msg(!topology_parse("t.yaml", TEXT, strlen(TEXT), &t, &errors), "%s", buf_cstr(&errors));
	memset(shards, 0, sizeof(shards));
	for (size_t i = 0; i < SHARDS; i++) {
		shards[i] = (struct fake){.serves = true, .term = 1, .durable = 1};
		for (size_t k = 0; k < ROWS_MAX; k++)
			shards[i].states[k] = WINDOW_FINAL;
	}
	told_count = 0;
	emit = emit_new(&(struct emit_options){.conf = &t->sinks[topology_sink(t, sink)], .places = places, .stopping = stopping});
}

static void end(void)
{
	emit_free(emit);
	topology_free(t);
}

static size_t collect(void)
{
	struct sink_batch b;
	return emit_collect(emit, &b) ? b.count : 0;
}

/* All that there is, as one that never fails. */
static size_t drain(void)
{
	size_t rows = 0, n;
	while ((n = collect()) > 0) {
		rows += n;
		emit_delivered(emit);
	}
	return rows;
}

/* ---- tests ----------------------------------------------------------------------------------------------------------- */

START_TEST(what_is_not_delivered_comes_again)
{
	begin("all");
	shards[0].count = 3;
	shards[1].count = 2;
	ck_assert_uint_eq(collect(), 5);
	emit_discard(emit);
	ck_assert_uint_eq(shards[0].told.index, 0);
	ck_assert_uint_eq(collect(), 5);
	emit_delivered(emit);
	ck_assert_uint_eq(shards[0].told.index, 3);
	ck_assert_uint_eq(shards[1].told.index, 2);
	ck_assert_uint_eq(collect(), 0);
	end();
}
END_TEST

START_TEST(where_it_begins_is_told_at_once)
{
	begin("all");
	shards[0].trimmed = 4;
	shards[0].count = 4;
	ck_assert_uint_eq(collect(), 0);
	ck_assert_uint_eq(shards[0].told.index, 4);
	ck_assert_uint_eq(told_count, SHARDS);
	ck_assert_uint_eq(collect(), 0);
	ck_assert_uint_eq(told_count, SHARDS);
	end();
}
END_TEST

START_TEST(batches_are_bounded_and_shards_take_turns)
{
	begin("all");
	shards[0].count = shards[1].count = 2 * SINK_BATCH_ROWS;
	struct sink_batch b;
	ck_assert(emit_collect(emit, &b));
	ck_assert_uint_eq(b.count, SINK_BATCH_ROWS);
	uint32_t first = b.rows[0].shard;
	emit_delivered(emit);
	ck_assert(emit_collect(emit, &b));
	ck_assert_uint_ne(b.rows[0].shard, first);
	emit_delivered(emit);
	ck_assert_uint_eq(drain(), 2 * SINK_BATCH_ROWS);
	end();
}
END_TEST

START_TEST(a_shard_is_looked_at_when_something_was_applied)
{
	begin("all");
	shards[0].count = 1;
	ck_assert_uint_eq(drain(), 1);
	unsigned looks = shards[0].looks;
	shards[0].count = 2; /* not durable yet */
	ck_assert_uint_eq(collect(), 0);
	ck_assert_uint_eq(shards[0].looks, looks);
	shards[0].durable++;
	ck_assert_uint_eq(drain(), 1);
	end();
}
END_TEST

/* Nothing has to be applied for it to be asked again. */
START_TEST(a_shard_that_cannot_be_read_now_is_looked_at_again)
{
	begin("all");
	shards[0].count = 5;
	shards[0].verdict = VERDICT_BUSY;
	ck_assert_uint_eq(collect(), 0);
	ck_assert_uint_eq(collect(), 0);
	struct emit_figures f;
	emit_measure(emit, 100 * NS_PER_SEC, &f);
	ck_assert_uint_eq(f.backlog, 5);
	ck_assert_int_eq(f.lag_ns, 5 * NS_PER_SEC);
	shards[0].verdict = VERDICT_OK;
	ck_assert_uint_eq(drain(), 5);
	ck_assert_uint_eq(shards[0].loads, 1);
	emit_measure(emit, 100 * NS_PER_SEC, &f);
	ck_assert_uint_eq(f.backlog, 0);
	shards[0].count = 6;
	shards[0].durable++;
	shards[0].stored = true;
	shards[0].place = (struct sink_place){5, 0};
	shards[0].verdict = VERDICT_UNAVAILABLE; /* led no more, most likely */
	ck_assert_uint_eq(collect(), 0);
	shards[0].verdict = VERDICT_OK;
	ck_assert_uint_eq(drain(), 1);
	ck_assert_uint_eq(shards[0].loads, 2);
	end();
}
END_TEST

/* What an earlier leadership of this node had come to, and the log was not told of, counts no more; what another leader told it does. */
START_TEST(each_leadership_goes_on_from_the_log)
{
	begin("all");
	shards[0].count = 10;
	ck_assert_uint_eq(drain(), 10);
	shards[0].term = 3;
	shards[0].stored = true;
	shards[0].place = (struct sink_place){4, 0};
	ck_assert_uint_eq(drain(), 6);
	shards[0].serves = false;
	shards[0].durable++;
	shards[0].count = 12;
	ck_assert_uint_eq(collect(), 0);
	shards[0].serves = true;
	shards[0].term = 5;
	shards[0].place = (struct sink_place){11, 0};
	ck_assert_uint_eq(drain(), 1);
	end();
}
END_TEST

/* A batch on the way while the shard is led anew, here or elsewhere: its place is told, and nothing of now is passed over. */
START_TEST(a_batch_of_an_earlier_leadership_moves_nothing_back_or_ahead)
{
	begin("all");
	shards[0].count = 3;
	ck_assert_uint_eq(collect(), 3);
	shards[0].term = 3;
	shards[0].stored = true;
	shards[0].place = (struct sink_place){1, 0};
	shards[0].count = 8;
	shards[0].durable++;
	emit_delivered(emit);
	ck_assert_uint_eq(shards[0].told.index, 3);
	ck_assert_uint_eq(drain(), 7);
	end();
}
END_TEST

/* Whether nothing waits here is known where all could be looked at. */
START_TEST(what_cannot_be_looked_at_may_wait)
{
	begin("all");
	ck_assert_uint_eq(collect(), 0);
	ck_assert(emit_is_empty(emit));
	shards[0].count = 5;
	shards[0].durable++;
	shards[0].verdict = VERDICT_BUSY;
	ck_assert_uint_eq(collect(), 0);
	ck_assert(!emit_is_empty(emit));
	shards[0].verdict = VERDICT_OK;
	ck_assert_uint_eq(collect(), 5);
	emit_discard(emit);
	shards[0].term = 2;
	shards[0].places_verdict = VERDICT_UNAVAILABLE;
	ck_assert_uint_eq(collect(), 0);
	ck_assert(!emit_is_empty(emit));
	shards[0].serves = false; /* others lead */
	ck_assert_uint_eq(collect(), 0);
	ck_assert(emit_is_empty(emit));
	end();
}
END_TEST

/* Pages of what it does not want take no more than one call, however many they are. */
START_TEST(what_a_sink_does_not_want_is_passed_at_once)
{
	begin("final");
	shards[0].count = 2500;
	for (size_t i = 0; i < 2400; i++)
		shards[0].states[i] = WINDOW_PROVISIONAL;
	ck_assert_uint_eq(collect(), 100);
	emit_delivered(emit);
	ck_assert_uint_eq(shards[0].told.index, 2500);
	end();
}
END_TEST

START_TEST(what_was_deleted_undelivered_is_counted)
{
	struct emit_figures f;
	begin("all");
	shards[0].count = 10;
	ck_assert_uint_eq(drain(), 10);
	shards[0].count = 30;
	shards[0].trimmed = 20;
	shards[0].durable++;
	ck_assert_uint_eq(drain(), 10);
	emit_measure(emit, 0, &f);
	ck_assert_uint_eq(f.resets, 1);
	end();
}
END_TEST

/* And what is passed over as its window is beyond `retain`, be it all that there is: once it is behind the sink. */
START_TEST(what_is_beyond_retain_is_counted)
{
	struct emit_figures f;
	begin("all");
	shards[0].count = shards[0].gone = 10;
	ck_assert_uint_eq(drain(), 0);
	ck_assert_uint_eq(shards[0].told.index, 10);
	shards[0].count = 30;
	shards[0].gone = 5;
	shards[0].durable++;
	ck_assert_uint_eq(collect(), 15);
	emit_measure(emit, 0, &f);
	ck_assert_uint_eq(f.gone, 10);
	emit_delivered(emit);
	emit_measure(emit, 0, &f);
	ck_assert_uint_eq(f.gone, 15);
	ck_assert_uint_eq(f.resets, 0);
	end();
}
END_TEST

/* A version that the map dropped has lost its id, and its place: that is no loss of rows. */
START_TEST(a_version_that_answers_nothing_is_left_alone)
{
	begin("all");
	t->streams[0].phase = STREAM_RETIRED;
	t->streams[0].from_ns = t->streams[0].answers_until_ns = t->streams[0].until_ns = INT64_MIN;
	shards[0].count = 10;
	ck_assert_uint_eq(collect(), 0);
	ck_assert_uint_eq(shards[0].looks, 0);
	ck_assert_uint_eq(told_count, 0);
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("emit");
	TCase *c = tcase_create("emit");
	tcase_add_test(c, what_is_not_delivered_comes_again);
	tcase_add_test(c, where_it_begins_is_told_at_once);
	tcase_add_test(c, batches_are_bounded_and_shards_take_turns);
	tcase_add_test(c, a_shard_is_looked_at_when_something_was_applied);
	tcase_add_test(c, a_shard_that_cannot_be_read_now_is_looked_at_again);
	tcase_add_test(c, each_leadership_goes_on_from_the_log);
	tcase_add_test(c, a_batch_of_an_earlier_leadership_moves_nothing_back_or_ahead);
	tcase_add_test(c, what_cannot_be_looked_at_may_wait);
	tcase_add_test(c, what_a_sink_does_not_want_is_passed_at_once);
	tcase_add_test(c, what_was_deleted_undelivered_is_counted);
	tcase_add_test(c, what_is_beyond_retain_is_counted);
	tcase_add_test(c, a_version_that_answers_nothing_is_left_alone);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
