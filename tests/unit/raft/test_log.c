#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "raft/base.h"
#include "raft/log.h"

#define DISK_MAX 4096

/* A disk as raft_write says, and the storage that reads it. */
static struct raft_entry disk[DISK_MAX];
static uint64_t disk_base, disk_last;
static unsigned reads;
static bool disk_fails, disk_lies;

static struct raft_log l;
static struct raft_options options;

static int disk_entries(void *arg, uint64_t first, uint64_t last, size_t bytes_max, struct raft_entry *out, size_t room,
    size_t *ret_count)
{
	size_t count = 0, bytes = 0;
	(void)arg;
	reads++;
	if (disk_fails)
		return RAFT_ESTORAGE;
	ck_assert(first > disk_base && last <= disk_last && first <= last);
	for (uint64_t i = first; i <= last && count < room; i++) {
		bytes += raft_entry_len(&disk[i]);
		if (count && bytes > bytes_max)
			break;
		out[count] = disk[i];
		out[count].term += disk_lies;
		raft_data_hold(out[count++].data);
	}
	*ret_count = count;
	return 0;
}

static void disk_remove_from(uint64_t index)
{
	for (; disk_last >= index && disk_last > disk_base; disk_last--)
		raft_data_release(disk[disk_last].data);
}

static void disk_write(const struct raft_write *w)
{
	if (w->reset) {
		disk_remove_from(0);
		disk_base = disk_last = w->base_index;
	}
	if (w->truncate_from) {
		ck_assert(w->truncate_from > disk_base && w->truncate_from <= disk_last);
		disk_remove_from(w->truncate_from);
	}
	for (size_t i = 0; i < w->entry_count; i++) {
		ck_assert_uint_eq(w->entries[i].index, disk_last + 1);
		disk[++disk_last] = w->entries[i];
		raft_data_hold(disk[disk_last].data);
	}
}

static void setup(void)
{
	struct raft_start s = {0};
	options = (struct raft_options){.cache_bytes_max = 1 << 20, .storage = {.entries = disk_entries}};
	disk_base = disk_last = 0;
	reads = 0;
	disk_fails = disk_lies = false;
	ck_assert_int_eq(raft_log_init(&l, &options, &s), 0);
}

static void teardown(void)
{
	raft_log_free(&l);
	disk_remove_from(0);
}

static void append(uint64_t term, size_t len)
{
	uint8_t bytes[256];
	memset(bytes, (int)(l.last + 1), sizeof(bytes));
	struct raft_entry e = {.index = l.last + 1, .term = term, .kind = RAFT_ENTRY_DATA};
	e.data = raft_data_copy(bytes, len);
	raft_log_append(&l, &e);
	raft_data_release(e.data);
}

static void append_all(const uint64_t *terms, size_t count)
{
	for (size_t i = 0; i < count; i++)
		append(terms[i], 10);
}

static void append_config(uint64_t term, uint64_t voter)
{
	uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
	struct raft_config c = {0};
	ck_assert(raft_config_add(&c, voter, true));
	struct raft_entry e = {.index = l.last + 1, .term = term, .kind = RAFT_ENTRY_CONFIG};
	e.data = raft_data_copy(bytes, raft_config_encode(&c, bytes));
	raft_log_append(&l, &e);
	raft_data_release(e.data);
}

static void write_all(void)
{
	struct raft_write w;
	while (raft_log_write_needed(&l)) {
		raft_log_write_begin(&l, 100, 8, &w);
		disk_write(&w);
		raft_log_written(&l);
	}
}

static void expect_disk_is_the_log(void)
{
	write_all();
	ck_assert_uint_eq(disk_last, l.last);
	ck_assert_uint_eq(l.durable, l.last);
	for (uint64_t i = raft_max(disk_base, l.base_index) + 1; i <= l.last; i++)
		ck_assert_uint_eq(disk[i].term, raft_log_term(&l, i));
}

/* All entries from `first` on, whatever is in memory. */
static void expect_readable(uint64_t first)
{
	while (first <= l.last) {
		struct raft_entry out[3];
		size_t count;
		ck_assert_int_eq(raft_log_entries(&l, first, l.last, 25, out, 3, &count), 0);
		ck_assert(count >= 1 && count <= 2); /* 10 bytes each, of 25 */
		for (size_t i = 0; i < count; i++, first++) {
			ck_assert_uint_eq(out[i].index, first);
			ck_assert_uint_eq(out[i].term, raft_log_term(&l, first));
			ck_assert_uint_eq(out[i].data->bytes[0], (uint8_t)first);
		}
		raft_entries_release(out, count);
	}
}

/* ---- terms ------------------------------------------------------------------------------------------ */

static const uint64_t terms[] = {1, 1, 1, 4, 4, 5, 5, 6, 6, 6};

START_TEST(terms_are_of_their_runs)
{
	append_all(terms, 10);
	ck_assert_uint_eq(raft_log_term(&l, 0), 0);
	for (uint64_t i = 1; i <= 10; i++)
		ck_assert_uint_eq(raft_log_term(&l, i), terms[i - 1]);
	ck_assert_uint_eq(raft_log_term(&l, 11), 0);
	ck_assert_uint_eq(l.run_count, 4);
}
END_TEST

START_TEST(terms_survive_compaction_and_truncation)
{
	append_all(terms, 10);
	write_all();
	for (uint64_t base = 1; base <= 7; base++) {
		raft_log_compact(&l, base);
		ck_assert_uint_eq(raft_log_term(&l, base - 1), 0);
		for (uint64_t i = base; i <= 10; i++)
			ck_assert_uint_eq(raft_log_term(&l, i), terms[i - 1]);
	}
	ck_assert_uint_eq(raft_log_truncate(&l, 9), 2);
	ck_assert_uint_eq(raft_log_last_term(&l), 6);
	ck_assert_uint_eq(raft_log_truncate(&l, 8), 1);
	ck_assert_uint_eq(l.last, 7);
	ck_assert_uint_eq(raft_log_last_term(&l), 5);
	ck_assert_uint_eq(raft_log_term(&l, 8), 0);
}
END_TEST

START_TEST(a_hint_is_the_last_entry_of_no_later_term)
{
	append_all(terms, 10);
	ck_assert_uint_eq(raft_log_find_term(&l, 10, 6), 10);
	ck_assert_uint_eq(raft_log_find_term(&l, 99, 9), 10);
	ck_assert_uint_eq(raft_log_find_term(&l, 10, 5), 7);
	ck_assert_uint_eq(raft_log_find_term(&l, 6, 5), 6);
	ck_assert_uint_eq(raft_log_find_term(&l, 10, 3), 3);
	ck_assert_uint_eq(raft_log_find_term(&l, 10, 0), 0);
	write_all();
	raft_log_compact(&l, 5);
	ck_assert_uint_eq(raft_log_find_term(&l, 10, 4), 5);
	ck_assert_uint_eq(raft_log_find_term(&l, 10, 3), 4); /* below the base: not known */
	ck_assert_uint_eq(raft_log_find_term(&l, 2, 1), 2);
}
END_TEST

/* ---- configurations --------------------------------------------------------------------------------- */

START_TEST(the_latest_configuration_is_in_force_and_truncation_reverts_it)
{
	append_config(1, 7);
	append(1, 1);
	append_config(1, 8);
	append(1, 1);
	ck_assert_uint_eq(raft_log_config(&l)->members[0].id, 8);
	ck_assert_uint_eq(raft_log_config_index(&l), 3);
	ck_assert_uint_eq(raft_log_config_at(&l, 2)->members[0].id, 7);
	ck_assert_uint_eq(raft_log_config_at(&l, 0)->count, 0);
	ck_assert(!raft_log_voter_since(&l, 0, 9));
	ck_assert(raft_log_voter_since(&l, 0, 7));
	ck_assert(raft_log_voter_since(&l, 2, 7)); /* 1 may be the committed one */
	ck_assert(!raft_log_voter_since(&l, 3, 7));
	ck_assert(raft_log_voter_since(&l, 1, 8));
	raft_log_truncate(&l, 4);
	ck_assert_uint_eq(raft_log_config_index(&l), 3);
	raft_log_truncate(&l, 3);
	ck_assert_uint_eq(raft_log_config(&l)->members[0].id, 7);
	ck_assert_uint_eq(raft_log_config_index(&l), 1);
}
END_TEST

START_TEST(compaction_keeps_the_configuration)
{
	append_config(1, 7);
	append(1, 1);
	append_config(1, 8);
	write_all();
	raft_log_compact(&l, 2);
	ck_assert_uint_eq(raft_log_config_at(&l, 2)->members[0].id, 7);
	ck_assert_uint_eq(raft_log_config_index(&l), 3);
	raft_log_compact(&l, 3);
	ck_assert_uint_eq(raft_log_config(&l)->members[0].id, 8);
}
END_TEST

/* ---- memory ----------------------------------------------------------------------------------------- */

START_TEST(what_is_not_durable_stays_in_memory)
{
	l.cache_bytes_max = 0;
	for (int i = 0; i < 100; i++)
		append(1, 10);
	expect_readable(1);
	ck_assert_uint_eq(reads, 0);
	write_all();
	ck_assert_uint_eq(l.tail, 101); /* nothing is cached */
	ck_assert_uint_eq(l.ring_capacity, 0);
	ck_assert_uint_eq(l.cached_bytes, 0);
	expect_readable(1);
	ck_assert_uint_gt(reads, 0);
}
END_TEST

START_TEST(the_cache_is_bounded_and_drops_the_oldest)
{
	l.cache_bytes_max = 500;
	for (int i = 0; i < 300; i++) {
		append(1 + (uint64_t)i / 50, 10);
		if (i % 7 == 0)
			write_all();
	}
	write_all();
	ck_assert_uint_le(l.cached_bytes, 500);
	ck_assert_uint_gt(l.cached_bytes, 400);
	ck_assert_uint_le(l.ring_capacity, 64);
	ck_assert_uint_lt(l.tail, 300);
	expect_readable(1);
	reads = 0;
	expect_readable(l.tail);
	ck_assert_uint_eq(reads, 0);
	raft_log_truncate(&l, l.tail + 1);
	raft_log_truncate(&l, 100); /* also what only the disk has */
	ck_assert_uint_eq(l.cached_bytes, 0);
	ck_assert_uint_eq(l.tail, 100);
	append(9, 10);
	expect_disk_is_the_log();
	expect_readable(1);
}
END_TEST

START_TEST(a_storage_that_fails_or_lies_is_an_error)
{
	struct raft_entry out[4];
	size_t count = 77;
	l.cache_bytes_max = 0;
	append(1, 10);
	append(1, 10);
	write_all();
	disk_fails = true;
	ck_assert_int_eq(raft_log_entries(&l, 1, 2, 100, out, 4, &count), RAFT_ESTORAGE);
	disk_fails = false;
	disk_lies = true;
	ck_assert_int_eq(raft_log_entries(&l, 1, 2, 100, out, 4, &count), RAFT_ESTORAGE);
	ck_assert_uint_eq(count, 77);
}
END_TEST

START_TEST(the_first_entry_always_goes)
{
	struct raft_entry out[4];
	size_t count;
	append(1, 200);
	append(1, 1);
	ck_assert_int_eq(raft_log_entries(&l, 1, 2, 100, out, 4, &count), 0);
	ck_assert_uint_eq(count, 1);
	raft_entries_release(out, count);
	struct raft_write w;
	raft_log_write_begin(&l, 100, 8, &w);
	ck_assert_uint_eq(w.entry_count, 1);
	raft_log_written(&l);
	ck_assert_uint_eq(l.durable, 1);
}
END_TEST

/* ---- writing ---------------------------------------------------------------------------------------- */

START_TEST(a_write_is_limited_and_the_rest_follows)
{
	struct raft_write w;
	for (int i = 0; i < 20; i++)
		append(1, 10);
	raft_log_write_begin(&l, 35, 8, &w);
	ck_assert_uint_eq(w.entry_count, 3);
	ck_assert_uint_eq(w.truncate_from, 0);
	ck_assert(!w.reset);
	disk_write(&w);
	raft_log_written(&l);
	ck_assert_uint_eq(l.durable, 3);
	raft_log_write_begin(&l, 1000, 8, &w);
	ck_assert_uint_eq(w.entry_count, 8);
	ck_assert_uint_eq(w.entries[0].index, 4);
	disk_write(&w);
	raft_log_written(&l);
	expect_disk_is_the_log();
}
END_TEST

START_TEST(what_was_replaced_under_way_does_not_count)
{
	struct raft_write w;
	const uint64_t before[] = {1, 1, 2, 2, 2};
	append_all(before, 5);
	raft_log_write_begin(&l, 1000, 8, &w);
	raft_log_truncate(&l, 3);
	append(3, 10);
	append(3, 10);
	ck_assert_uint_eq(w.entries[2].term, 2); /* its own references */
	ck_assert_uint_eq(w.entries[2].data->bytes[0], 3);
	disk_write(&w);
	raft_log_written(&l);
	ck_assert_uint_eq(l.durable, 2);
	ck_assert(raft_log_write_needed(&l));
	raft_log_write_begin(&l, 1000, 8, &w);
	ck_assert_uint_eq(w.truncate_from, 3);
	ck_assert_uint_eq(w.entry_count, 2);
	disk_write(&w);
	raft_log_written(&l);
	expect_disk_is_the_log();
}
END_TEST

/* The same index and term again: another leader truncated them in between. */
START_TEST(a_completion_does_not_count_for_what_came_back)
{
	struct raft_write w;
	append(1, 10);
	append(2, 10);
	raft_log_write_begin(&l, 1000, 8, &w);
	raft_log_truncate(&l, 2);
	append(3, 10);
	raft_log_truncate(&l, 2);
	append(2, 10);
	disk_write(&w);
	raft_log_written(&l);
	ck_assert_uint_eq(l.durable, 1);
	expect_disk_is_the_log();
}
END_TEST

START_TEST(stale_entries_on_the_disk_are_removed_even_if_none_follow)
{
	struct raft_write w;
	append_all(terms, 6);
	raft_log_write_begin(&l, 1000, 8, &w);
	raft_log_truncate(&l, 4);
	disk_write(&w);
	raft_log_written(&l);
	ck_assert_uint_eq(l.durable, 3);
	expect_disk_is_the_log();
	ck_assert(!raft_log_write_needed(&l));
}
END_TEST

START_TEST(an_undone_write_is_offered_again_as_things_are)
{
	struct raft_write w;
	append_all(terms, 4);
	write_all();
	raft_log_truncate(&l, 3);
	append(2, 10);
	raft_log_write_begin(&l, 1000, 8, &w);
	raft_log_truncate(&l, 2);
	append(3, 10);
	raft_log_write_undone(&l);
	ck_assert_uint_eq(l.durable, 1);
	raft_log_write_begin(&l, 1000, 8, &w);
	ck_assert_uint_eq(w.truncate_from, 2);
	ck_assert_uint_eq(w.entry_count, 1);
	ck_assert_uint_eq(w.entries[0].term, 3);
	disk_write(&w);
	raft_log_written(&l);
	expect_disk_is_the_log();
}
END_TEST

/* ---- snapshots -------------------------------------------------------------------------------------- */

START_TEST(a_reset_empties_the_log_and_the_disk)
{
	struct raft_config c = {0};
	struct raft_write w;
	ck_assert(raft_config_add(&c, 9, true));
	append_config(1, 7);
	append_all(terms, 5);
	raft_log_write_begin(&l, 1000, 3, &w);
	raft_log_reset(&l, 100, 8, &c, false);
	disk_write(&w);
	raft_log_written(&l); /* of the log of before */
	ck_assert(!raft_log_base_durable(&l));
	ck_assert_uint_eq(l.durable, 100);
	ck_assert_uint_eq(l.last, 100);
	ck_assert_uint_eq(raft_log_term(&l, 100), 8);
	ck_assert_uint_eq(raft_log_term(&l, 6), 0);
	ck_assert_uint_eq(raft_log_config(&l)->members[0].id, 9);
	append(9, 10);
	raft_log_write_begin(&l, 1000, 3, &w);
	ck_assert(w.reset);
	ck_assert_uint_eq(w.base_index, 100);
	ck_assert_uint_eq(w.base_term, 8);
	ck_assert_uint_eq(w.base_config.members[0].id, 9);
	ck_assert_uint_eq(w.truncate_from, 0);
	ck_assert_uint_eq(w.entry_count, 1);
	ck_assert(!raft_log_base_durable(&l));
	raft_log_write_undone(&l);
	ck_assert(!raft_log_base_durable(&l));
	expect_disk_is_the_log();
	ck_assert(raft_log_base_durable(&l));
	ck_assert_uint_eq(disk_base, 100);
}
END_TEST

START_TEST(a_reset_may_keep_what_goes_on_behind_it)
{
	struct raft_config c = {0};
	struct raft_write w;
	append_all(terms, 10);
	raft_log_write_begin(&l, 1000, 4, &w);
	disk_write(&w);
	raft_log_written(&l);
	raft_log_write_begin(&l, 1000, 4, &w); /* 5 .. 8, under way */
	raft_log_reset(&l, 7, 5, &c, true);
	disk_write(&w);
	raft_log_written(&l);
	ck_assert_uint_eq(l.base_index, 7);
	ck_assert_uint_eq(l.durable, 7);
	ck_assert_uint_eq(l.last, 10);
	expect_disk_is_the_log();
	ck_assert_uint_eq(disk_base, 7);
	expect_readable(8);
}
END_TEST

/* ---- beginning -------------------------------------------------------------------------------------- */

static void restart(const struct raft_start *s, int expected)
{
	struct raft_log other;
	int rc = raft_log_init(&other, &options, s);
	ck_assert_int_eq(rc, expected);
	if (!rc)
		raft_log_free(&other);
}

START_TEST(a_start_that_contradicts_itself_is_refused)
{
	struct raft_term_start runs[] = {{11, 3}, {15, 4}};
	uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
	struct raft_config c = {0};
	struct raft_entry configs[] = {{.index = 12, .term = 3, .kind = RAFT_ENTRY_CONFIG}};
	configs[0].data = raft_data_copy(bytes, raft_config_encode(&c, bytes));
	const struct raft_start good = {.term = 4, .base_index = 10, .base_term = 3, .last = 20, .terms = runs,
	    .term_count = 2, .configs = configs, .config_count = 1};
	struct raft_start s = good;
	restart(&s, 0);
	s.last = 9;
	restart(&s, RAFT_EINVAL);
	s = good;
	s.last = 14; /* a run behind it */
	restart(&s, RAFT_EINVAL);
	s = good;
	s.term = 3; /* an entry of a later term */
	restart(&s, RAFT_EINVAL);
	s = good;
	s.base_term = 4; /* terms that fall */
	restart(&s, RAFT_EINVAL);
	s = good;
	s.base_term = 0;
	restart(&s, RAFT_EINVAL);
	s = good;
	s.term_count = 0;
	restart(&s, RAFT_EINVAL);
	s = good;
	s.last = RAFT_TERM_MAX;
	restart(&s, RAFT_EINVAL);
	s = good;
	runs[0].index = 12; /* an entry without a term */
	restart(&s, RAFT_EINVAL);
	runs[0].index = 11;
	configs[0].index = 21;
	restart(&s, RAFT_EINVAL);
	configs[0].index = 12;
	configs[0].data->bytes[0] = 9;
	restart(&s, RAFT_EINVAL);
	raft_data_release(configs[0].data);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("raft/log");
	TCase *t = tcase_create("log");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, terms_are_of_their_runs);
	tcase_add_test(t, terms_survive_compaction_and_truncation);
	tcase_add_test(t, a_hint_is_the_last_entry_of_no_later_term);
	tcase_add_test(t, the_latest_configuration_is_in_force_and_truncation_reverts_it);
	tcase_add_test(t, compaction_keeps_the_configuration);
	tcase_add_test(t, what_is_not_durable_stays_in_memory);
	tcase_add_test(t, the_cache_is_bounded_and_drops_the_oldest);
	tcase_add_test(t, a_storage_that_fails_or_lies_is_an_error);
	tcase_add_test(t, the_first_entry_always_goes);
	tcase_add_test(t, a_write_is_limited_and_the_rest_follows);
	tcase_add_test(t, what_was_replaced_under_way_does_not_count);
	tcase_add_test(t, a_completion_does_not_count_for_what_came_back);
	tcase_add_test(t, stale_entries_on_the_disk_are_removed_even_if_none_follow);
	tcase_add_test(t, an_undone_write_is_offered_again_as_things_are);
	tcase_add_test(t, a_reset_empties_the_log_and_the_disk);
	tcase_add_test(t, a_reset_may_keep_what_goes_on_behind_it);
	tcase_add_test(t, a_start_that_contradicts_itself_is_refused);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
