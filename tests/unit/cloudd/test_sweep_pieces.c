/* The sweep in very small pieces: built with an allowance of a few rows an entry, so that passes are left and taken up
 * everywhere, while batches and advances come in between. A model that knows only the rules says what must have been
 * told: semantics.md 3.6, 4.1. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/sweep.h"
#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/cloudd/kit.h"

_Static_assert(ENTRY_ROWS_MAX < 10, "this test is about small pieces");

#define SIZE 30
#define STEP 10
#define GROUPS 3
#define WINDOWS 120 /* window number w starts at (w - 10) * STEP */
#define START(w) (((int64_t)(w) - 10) * STEP)

struct cell {
	bool data, data_at_close, data_at_final;
	uint64_t changed;       /* entry that changed it last */
	uint64_t late_entries;  /* entries that changed it once closed */
	/* what the shard says */
	uint64_t rows, last_row, revision;
};

static struct kit k;
static struct cell cells[WINDOWS][GROUPS];
static uint64_t closed_by[WINDOWS], final_by[WINDOWS]; /* entries; 0: not yet */
static int64_t close_s, final_s;
static uint64_t random_state;

static uint32_t any(uint32_t n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % n;
}

static struct bytes group_of(int g)
{
	static const char *const names[GROUPS] = {"a", "b", "c"};
	return kit_group(1, names[g]);
}

static void change(int w, int g, uint64_t index)
{
	struct cell *c = &cells[w][g];
	if (closed_by[w] && c->changed != index)
		c->late_entries++;
	c->data = true;
	c->changed = index;
}

static void step_batch(void)
{
	struct kit_batch b = kit_batch(&k);
	uint64_t index = k.index[1] + (k.seq ? 1 : 2); /* the first one is opened before */
	for (uint32_t n = 1 + any(5); n; n--) {
		int64_t t = close_s - 80 + (int64_t)any(140);
		int g = (int)any(GROUPS);
		if (t < 0)
			t = (int64_t)any(40);
		kit_add(&b, "slide", group_of(g), t * SEC, 1);
		for (int w = 0; w < WINDOWS; w++) {
			if (START(w) <= t && t < START(w) + SIZE)
				change(w, g, index);
		}
	}
	kit_send(&k, &b);
	ck_assert(k.index[1] == index);
}

static void step_advance(void)
{
	close_s += any(2) ? any(45) : 0;
	int64_t lag = any(2) ? 0 : any(60);
	if (close_s - lag > final_s)
		final_s = close_s - lag;
	kit_advance(&k, "slide", close_s * SEC, final_s * SEC, NULL, 0);
	for (int w = 0; w < WINDOWS; w++) {
		if (!closed_by[w] && START(w) + SIZE <= close_s) {
			closed_by[w] = k.index[1];
			for (int g = 0; g < GROUPS; g++)
				cells[w][g].data_at_close = cells[w][g].data;
		}
		if (!final_by[w] && START(w) + SIZE <= final_s) {
			final_by[w] = k.index[1];
			for (int g = 0; g < GROUPS; g++)
				cells[w][g].data_at_final = cells[w][g].data;
		}
	}
}

static struct cell *cell_of(int64_t window_ns, struct bytes group)
{
	int64_t w = window_ns / (STEP * SEC) + 10;
	ck_assert(w >= 0 && w < WINDOWS && START(w) * SEC == window_ns && group.n == 2);
	return &cells[w][group.p[1] - 'a'];
}

/* Reads rows and revisions as they are stored. */
static void read_state(void)
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, STATE_DB_GROUP(1), &c), 0);
	for (int rc = kv_cursor_first(c, &key, &value); !rc; rc = kv_cursor_next(c, &key, &value)) {
		if (key.n < 5)
			continue; /* the head */
		struct rd r = rd_init(key.p + 5, key.n - 5);
		if (key.p[0] == STATE_OUTBOX) {
			struct outbox_row row;
			ck_assert_int_eq(outbox_row_decode(value, &row), 0);
			struct cell *cell = cell_of(row.window_ns, row.group);
			cell->rows++;
			cell->last_row = rd_be64(&r);
		} else if (key.p[0] == STATE_REVISION) {
			int64_t window = rd_bei64(&r);
			uint64_t raised;
			ck_assert_int_eq(revision_decode(value, &cell_of(window, bytes_of(r.p, rd_left(&r)))->revision, &raised), 0);
		}
	}
	kv_cursor_close(c);
	kv_abort(txn);
}

static void check_cell(int w, const struct cell *c, bool exact)
{
	uint64_t revision = c->revision ? c->revision : 1;
	if (!c->data || !closed_by[w]) {
		ck_assert(c->rows == 0 && c->revision == 0);
		return;
	}
	/* Who follows the outbox has heard of it since it changed, closed, became final. */
	ck_assert(c->rows > 0 && c->last_row > c->changed && c->last_row >= closed_by[w]);
	ck_assert(!final_by[w] || !c->data_at_final || c->last_row >= final_by[w]);
	ck_assert(revision <= 1 + c->late_entries && c->rows >= revision - 1 && c->rows - (revision - 1) <= 2);
	ck_assert(!c->late_entries || revision > 1);
	if (!exact)
		return;
	/* Swept after each step: each late change is told by itself; closing, and becoming final later, once each. */
	uint64_t closing = c->data_at_close;
	if (final_by[w] && final_by[w] != closed_by[w])
		closing += c->data_at_final;
	ck_assert_uint_eq(revision, 1 + c->late_entries);
	ck_assert_uint_eq(c->rows, closing + c->late_entries);
}

static void run(bool exact)
{
	memset(cells, 0, sizeof(cells));
	memset(closed_by, 0, sizeof(closed_by));
	memset(final_by, 0, sizeof(final_by));
	close_s = final_s = 0;
	kit_init(&k, 1,
	    "  - {name: slide, from: {measurement: m, field: f}, by: [tag], window: {size: 30s, every: 10s}, lateness: 0s,\n"
	    "     compute: [sum], retain: forever}\n");
	k.time_ns = 0;
	while (close_s < 1000) {
		switch (any(4)) {
		case 0:
			step_advance();
			break;
		case 1:
			kit_sweep(&k);
			break;
		default:
			step_batch();
		}
		if (exact)
			kit_sweep_all(&k);
		if (!any(20)) {
			kit_commit(&k);
			kit_reopen(&k);
		}
	}
	/* Until nothing is left, dirty windows included. */
	for (struct apply_result r = kit_sweep(&k); r.more || r.dirty; r = kit_sweep(&k))
		;
	read_state();
	for (int w = 0; w < WINDOWS; w++) {
		for (int g = 0; g < GROUPS; g++)
			check_cell(w, &cells[w][g], exact);
	}
	struct buf dump = kit_dump(&k, 1);
	buf_free(&dump);
	kit_close(&k);
}

START_TEST(nothing_is_lost_between_pieces)
{
	random_state = (uint64_t)_i * 31 + 7;
	run(false);
}
END_TEST

START_TEST(each_thing_is_told_once)
{
	random_state = (uint64_t)_i * 17 + 3;
	run(true);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/sweep, in pieces");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, nothing_is_lost_between_pieces, 0, 20);
	tcase_add_loop_test(tc, each_thing_is_told_once, 0, 10);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
