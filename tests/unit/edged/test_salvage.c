/* Damage to a spool: marks that do not read, pages that do not read. It opens each time, nothing counts twice, and what is lost is
 * in the ledger. A cloud that counts by group and slice is the oracle. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/kv_check.h"
#include "tests/unit/edged/rig.h"
#include "tests/unit/edged/rig_topology.h"

#define LINES 600
#define SENSORS 12
#define CORRUPT "weir_edge_stream_dropped_total{stream=\"load\",reason=\"corrupt\"}"
#define SALVAGES "weir_edge_spool_salvages_total"
#define LOSSES "weir_edge_spool_losses_total"
#define FLIPS_SEEDS 6
#define FLIPS_PER_SEED 25

static const char topology[] = CLUSTER EDGE(BIG) BY_SENSOR;

/* ---- a file of lines, followed from the committed position on ---- */

struct feed {
	unsigned written; /* lines that the file has */
	unsigned skipped; /* that were passed over by a skip to its end */
	uint64_t skips;   /* of the rig, that were seen */
};

static void put_line(struct rig *r, unsigned i)
{
	char text[64];
	snprintf(text, sizeof(text), "load,sensor=s%u v=%u %%lld\n", i % SENSORS, i);
	rig_line_at(r, 0, text, i);
}

/* A skip goes to the end that the file has then; the rig does not know it. */
static void follow_skips(struct rig *r, struct feed *f, uint64_t before)
{
	if (r->skips == f->skips)
		return;
	f->skips = r->skips;
	f->skipped += f->written - (unsigned)before;
	r->position[0] = f->written;
}

static void write_lines(struct rig *r, struct feed *f, unsigned n)
{
	f->written += n;
	while (r->position[0] < f->written)
		put_line(r, (unsigned)r->position[0]);
}

/* As edged does: a tick before sources deliver. */
static void start(struct rig *r, struct feed *f)
{
	struct bytes mark = pipeline_source_mark(r->p, 0);
	struct rd rd = rd_init(mark.p, mark.n);
	uint64_t before = mark.n ? rd_varint(&rd) : 0;
	ck_assert_int_eq(rig_tick(r, 10), 0);
	follow_skips(r, f, before);
	ck_assert_int_eq(rig_tick(r, 10), 0);
}

/* No slice of a sensor has more than was written of it: twice would be more, since each line is a second of its own. */
static uint64_t check_nothing_twice(const struct rig *r, const struct feed *f)
{
	uint64_t merged = 0;
	for (size_t k = 0; k < r->cloud.row_count; k++) {
		const struct rig_row *row = &r->cloud.rows[k];
		uint64_t count = 0;
		double sum = 0;
		for (unsigned i = 0; i < f->written; i++) {
			char name[16];
			int n = snprintf(name, sizeof(name), "s%u", i % SENSORS);
			int64_t t = rig_base_ns() + i * NS_PER_SEC;
			if (t < row->slice_ns || t >= row->slice_ns + 60 * NS_PER_SEC)
				continue;
			if (row->group_len != (size_t)n + 1 || memcmp(row->group + 1, name, (size_t)n) != 0)
				continue;
			count++;
			sum += i;
		}
		ck_assert_uint_le(row->count, count);
		ck_assert(row->count < count || row->sum == sum);
		merged += row->count;
	}
	ck_assert_uint_le(merged, f->written);
	return merged;
}

static void finish(struct rig *r)
{
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
}

/* Some acknowledged, some merged without an answer, some cut and not sent, some open. */
static void live(struct rig *r, struct feed *f)
{
	rig_ticks(r, 3, 1000);
	pipeline_source_finished(r->p, 1, true);
	write_lines(r, f, 200);
	ck_assert_int_eq(rig_ticks(r, 4, 1000), 0);
	r->cloud.lose_batch_replies = true;
	write_lines(r, f, 130);
	ck_assert_int_eq(rig_ticks(r, 4, 1000), 0);
	r->cloud.deaf = true;
	write_lines(r, f, 170);
	ck_assert_int_eq(rig_ticks(r, 4, 1000), 0);
}

static void revive(struct rig *r)
{
	r->cloud.deaf = r->cloud.lose_batch_replies = false;
}

/* ---- marks ---- */

#define MARKS_MAX 64

static size_t list_marks(struct rig *r, char (*names)[64])
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	size_t n = 0;
	ck_assert_int_eq(kv_begin(r->kv, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, SPOOL_MARK, &c), 0);
	for (int rc = kv_cursor_first(c, &key, &value); rc == 0; rc = kv_cursor_next(c, &key, &value)) {
		ck_assert_uint_lt(n, MARKS_MAX);
		snprintf(names[n++], 64, "%.*s", (int)key.n, (const char *)key.p);
	}
	kv_cursor_close(c);
	kv_abort(txn);
	return n;
}

static void spoil(struct rig *r, const char *mark, bool record, bool copy)
{
	char key[80] = "";
	snprintf(key + 1, sizeof(key) - 1, "%s", mark);
	if (record)
		rig_spoil(r, SPOOL_MARK, bytes_of(mark, strlen(mark)));
	if (copy)
		rig_spoil(r, SPOOL_STEP, bytes_of(key, strlen(mark) + 1));
}

static size_t mark_names(char (*names)[64])
{
	struct rig *r = rig_new(topology);
	struct feed f = {0};
	live(r, &f);
	size_t n = list_marks(r, names);
	rig_free(r);
	ck_assert_uint_gt(n, 12);
	return n;
}

START_TEST(a_mark_is_had_from_its_copy)
{
	char names[MARKS_MAX][64];
	size_t n = mark_names(names);
	for (size_t i = 0; i < 2 * n; i++) {
		struct rig *r = rig_new(topology);
		struct feed f = {0};
		live(r, &f);
		rig_crash(r);
		spoil(r, names[i / 2], i % 2 == 0, i % 2 == 1);
		ck_assert_msg(rig_open(r) == 0, "%s", names[i / 2]);
		ck_assert(rig_metric(r, LOSSES) == 0);
		ck_assert(rig_metric(r, "weir_edge_spool_damaged_records") == 1);
		start(r, &f);
		ck_assert_uint_eq(r->skips, 0);
		rig_crash(r); /* by now it is there twice again */
		ck_assert_int_eq(rig_open(r), 0);
		ck_assert(rig_metric(r, "weir_edge_spool_damaged_records") == 0);
		start(r, &f);
		revive(r);
		write_lines(r, &f, 100);
		finish(r);
		ck_assert(!pipeline_fenced(r->p, NULL));
		ck_assert_uint_eq(check_nothing_twice(r, &f), f.written);
		ck_assert_uint_eq(rig_ledger(r).dropped, 0);
		ck_assert_uint_eq(rig_ledger(r).aggregated, f.written);
		rig_free(r);
	}
}
END_TEST

static bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static void run_lost_mark(const char *name, bool crash_first)
{
	struct rig *r = rig_new(topology);
	struct feed f = {0};
	live(r, &f);
	rig_crash(r);
	spoil(r, name, true, true);
	ck_assert_msg(rig_open(r) == 0, "%s", name);
	ck_assert(pipeline_gave_up(r->p));
	ck_assert(rig_metric(r, LOSSES) == 1);
	rig_check_ledger(r);
	if (crash_first) { /* nothing was committed: the same is found again */
		r->fail_commit = 0;
		r->fail_with = WEIR_EIO;
		ck_assert_int_eq(rig_tick(r, 10), WEIR_EIO);
		rig_crash(r);
		ck_assert_int_eq(rig_open(r), 0);
		ck_assert(pipeline_gave_up(r->p));
	}
	revive(r);
	start(r, &f);
	ck_assert_uint_gt(r->skips, 0);
	ck_assert(!pipeline_fenced(r->p, NULL));
	if (!starts_with(name, "ledger")) { /* what it held is counted */
		struct pipeline_ledger l = rig_ledger(r);
		ck_assert(rig_metric(r, CORRUPT) > 0);
		ck_assert_uint_eq(l.matched, 500);
		ck_assert_uint_eq(l.aggregated + (uint64_t)rig_metric(r, CORRUPT), 500);
	}
	ck_assert_uint_eq(rig_records(r, SPOOL_BATCH) + rig_records(r, SPOOL_DELTA), 0);
	rig_crash(r); /* it is over */
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert(!pipeline_gave_up(r->p));
	ck_assert(rig_metric(r, LOSSES) == 1);
	start(r, &f);
	uint64_t before = check_nothing_twice(r, &f);
	write_lines(r, &f, 100);
	finish(r);
	ck_assert_msg(!pipeline_fenced(r->p, NULL), "%s", name);
	ck_assert_uint_eq(check_nothing_twice(r, &f), before + 100);
	rig_free(r);
}

START_TEST(a_lost_mark_gives_up_and_counts_nothing_twice)
{
	char names[MARKS_MAX][64];
	size_t n = mark_names(names);
	for (size_t i = 0; i < n; i++) {
		run_lost_mark(names[i], false);
		run_lost_mark(names[i], true);
	}
}
END_TEST

/* Whatever is lost together with the epoch: a new spool under a known name. */
START_TEST(all_marks_lost_is_an_empty_spool)
{
	char names[MARKS_MAX][64];
	size_t n = mark_names(names);
	struct rig *r = rig_new(topology);
	struct feed f = {0};
	live(r, &f);
	rig_crash(r);
	for (size_t i = 0; i < n; i++)
		spoil(r, names[i], true, true);
	ck_assert_int_eq(rig_open(r), 0);
	revive(r);
	start(r, &f);
	ck_assert(r->cloud.last_hello_empty || r->cloud.last_hello_epoch > 1);
	ck_assert(!pipeline_fenced(r->p, NULL));
	uint64_t before = check_nothing_twice(r, &f);
	write_lines(r, &f, 100);
	finish(r);
	ck_assert_uint_eq(check_nothing_twice(r, &f), before + 100);
	rig_free(r);
}
END_TEST

/* ---- pages ---- */

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((seed >> 33) % below);
}

static bool is_damaged(const struct rig *r)
{
	struct kv_check_options o = {.path = r->folder, .dbs = spool_db_names, .db_count = SPOOL_DBS};
	struct kv_check_result result;
	char *why = NULL;
	ck_assert_int_eq(kv_check(&o, &result, &why), 0);
	return result.bad_pages || result.bad_records;
}

static void flip(int fd, off_t at, unsigned number)
{
	uint8_t byte;
	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	byte ^= (uint8_t)(1 << number);
	ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
}

/* Most of a small spool's file is free: the last one is drawn until it hits something. */
static void flip_in(struct rig *r, unsigned n)
{
	char *file = xasprintf("%s/" KV_DATA_FILE, r->folder);
	int fd = open(file, O_RDWR);
	struct stat st;
	ck_assert(fd >= 0 && fstat(fd, &st) == 0);
	for (unsigned i = 0, tries = 0; i < n; tries++) {
		off_t at = (off_t)draw((uint32_t)(st.st_size / 4096)) * 4096 + draw(tries % 2 ? 4096 : 160);
		unsigned number = draw(8);
		flip(fd, at, number);
		if (i + 1 == n && !is_damaged(r) && tries < 1000)
			flip(fd, at, number);
		else
			i++;
	}
	close(fd);
	free(file);
}

struct found {
	unsigned salvaged, lost, fenced;
};

/* Fed, stopped, damaged, started, fed; whatever it was that was hit. */
static void run_flips(unsigned bits, bool backlog, struct found *found)
{
	struct rig *r = rig_new(topology);
	struct feed f = {0};
	struct salvage_report report;
	if (backlog) {
		live(r, &f);
	} else {
		rig_ticks(r, 3, 1000);
		write_lines(r, &f, 300);
		rig_ticks(r, 3, 1000);
	}
	rig_crash(r);
	rig_offline(r, flip_in, bits, &report);
	ck_assert_int_eq(rig_open(r), 0);
	found->salvaged += report.salvaged;
	found->lost += pipeline_gave_up(r->p);
	ck_assert(rig_metric(r, SALVAGES) == report.salvaged);
	ck_assert(!report.marks_lost || pipeline_gave_up(r->p));
	bool ledger_there = !report.nothing && !pipeline_gave_up(r->p);
	revive(r);
	start(r, &f);
	write_lines(r, &f, 100);
	ck_assert_int_eq(rig_ticks(r, 20, 1000), 0);
	if (pipeline_fenced(r->p, NULL)) {
		uint64_t position = r->position[0];
		found->fenced++;
		r->cloud.readmit = true;
		for (int i = 0; i < 40 && pipeline_fenced(r->p, NULL); i++)
			ck_assert_int_eq(rig_tick(r, 1000), 0);
		ck_assert(!pipeline_fenced(r->p, NULL));
		follow_skips(r, &f, position);
	}
	write_lines(r, &f, 100);
	finish(r);
	uint64_t merged = check_nothing_twice(r, &f);
	struct pipeline_ledger l = rig_ledger(r);
	ck_assert_uint_eq(l.matched, l.aggregated + l.dropped);
	if (ledger_there) /* every line was merged, or is counted as lost, or was passed over and said */
		ck_assert_uint_ge(merged + l.dropped + f.skipped, f.written);
	/* and what comes from now on is exact */
	write_lines(r, &f, 50);
	finish(r);
	ck_assert_uint_eq(check_nothing_twice(r, &f), merged + 50);
	rig_free(r);
}

START_TEST(flipped_bits_of_a_spool_lose_little_and_count_nothing_twice)
{
	struct found found = {0};
	seed = 77 + (uint64_t)_i;
	for (unsigned i = 0; i < FLIPS_PER_SEED; i++)
		run_flips(i % 5 == 4 ? 1 + draw(12) : 1, i % 2, &found);
	ck_assert_uint_gt(found.salvaged, FLIPS_PER_SEED / 5);
	ck_assert_uint_lt(found.lost, FLIPS_PER_SEED / 4);
	printf("seed %d: %u spools, %u salvaged, %u lost their marks, %u fenced\n", _i, FLIPS_PER_SEED, found.salvaged,
	    found.lost, found.fenced);
}
END_TEST

static void zero_both_metas(struct rig *r, unsigned n)
{
	char *file = xasprintf("%s/" KV_DATA_FILE, r->folder);
	int fd = open(file, O_RDWR);
	static const uint8_t zeroes[8192];
	ck_assert_int_eq(pwrite(fd, zeroes, n, 0), n);
	close(fd);
	free(file);
}

START_TEST(a_file_of_which_nothing_reads_is_an_empty_spool)
{
	struct rig *r = rig_new(topology);
	struct feed f = {0};
	struct salvage_report report;
	live(r, &f);
	rig_crash(r);
	rig_offline(r, zero_both_metas, 8192, &report);
	ck_assert(report.salvaged && report.nothing && report.marks_lost);
	ck_assert_int_eq(rig_open(r), 0);
	revive(r);
	start(r, &f);
	ck_assert_uint_eq(f.skipped, 500);
	write_lines(r, &f, 100);
	uint64_t before = check_nothing_twice(r, &f);
	finish(r);
	ck_assert_uint_eq(check_nothing_twice(r, &f), before + 100);
	ck_assert(rig_metric(r, LOSSES) == 1);
	rig_free(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/salvage");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, a_mark_is_had_from_its_copy);
	tcase_add_test(tc, a_lost_mark_gives_up_and_counts_nothing_twice);
	tcase_add_test(tc, all_marks_lost_is_an_empty_spool);
	tcase_add_loop_test(tc, flipped_bits_of_a_spool_lose_little_and_count_nothing_twice, 0, FLIPS_SEEDS);
	tcase_add_test(tc, a_file_of_which_nothing_reads_is_an_empty_spool);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
