/* A damaged state of a group that nobody else has: what reads is kept, in the place of the file that was damaged. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cloudd/apply.h"
#include "cloudd/disks.h"
#include "cloudd/state.h"
#include "common/err.h"
#include "common/topology.h"

#define MAP_BYTES (64 << 20)
#define PAGE 4096
#define RECORDS 2000 /* many pages */

static char data[64];
static struct topology *t;
static const char **names;

static char *in_data(const char *name)
{
	static char path[4][128];
	static unsigned at;
	at = (at + 1) % 4;
	snprintf(path[at], sizeof(path[at]), "%s/%s", data, name);
	return path[at];
}

static struct kv *open_state(void)
{
	struct kv_lmdb_options o = {in_data("state"), names, STATE_DBS(t->shards), MAP_BYTES, false};
	struct kv *kv;
	char *why = NULL;
	ck_assert_msg(!kv_lmdb_open(&o, &kv, &why), "%s", why);
	return kv;
}

static void setup(void)
{
	struct buf errors = {0};
	static const char text[] = "version: 1\ncluster: {name: c, shards: 1, replicas: 1}\ncloud:\n"
				   "  - {name: c1, listen: \"tcp://127.0.0.1:1\", http: \"127.0.0.1:2\"}\n"
				   "edges: [{name: e1}]\n";
	snprintf(data, sizeof(data), "/tmp/weir-disks-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(data));
	ck_assert_msg(!topology_parse("t", text, strlen(text), &t, &errors), "%s", buf_cstr(&errors));
	names = apply_db_names(t->shards);
	struct kv *kv = open_state();
	struct kv_txn *txn;
	ck_assert_int_eq(kv_begin(kv, true, &txn), 0);
	for (unsigned i = 0; i < RECORDS; i++) {
		char key[16];
		int n = snprintf(key, sizeof(key), "k%06u", i);
		ck_assert_int_eq(kv_put(txn, STATE_DB_NODE, bytes_of(key, (size_t)n), bytes_of("some value", 10)), 0);
	}
	ck_assert_int_eq(kv_commit(txn), 0);
	kv_close(kv);
}

static void teardown(void)
{
	static const char *const files[] = {"data.mdb", "data.mdb.damaged", "lock.mdb", "lock"};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[160];
		snprintf(path, sizeof(path), "%s/%s", in_data("state"), files[i]);
		unlink(path);
	}
	ck_assert_int_eq(rmdir(in_data("state")), 0); /* nothing else was left */
	ck_assert_int_eq(rmdir(data), 0);
	free(names);
	topology_free(t);
}

/* The number of the last leaf page with many records: not the one that lists the databases. */
static void damage_a_leaf(void)
{
	int fd = open(in_data("state/data.mdb"), O_RDWR);
	uint8_t page[PAGE];
	off_t found = 0;
	for (off_t at = 2 * PAGE; pread(fd, page, PAGE, at) == PAGE; at += PAGE) {
		if (page[10] == 2 && (page[12] | page[13] << 8) > 50)
			found = at;
	}
	ck_assert(found);
	ck_assert_int_eq(pwrite(fd, "\xff", 1, found), 1);
	close(fd);
}

static unsigned count_records(void)
{
	struct kv *kv = open_state();
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	unsigned n = 0;
	ck_assert_int_eq(kv_begin(kv, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, STATE_DB_NODE, &c), 0);
	for (int rc = kv_cursor_first(c, &key, &value); !rc; rc = kv_cursor_next(c, &key, &value))
		n++;
	kv_cursor_close(c);
	kv_abort(txn);
	kv_close(kv);
	return n;
}

START_TEST(what_reads_takes_the_damaged_files_place)
{
	for (int round = 0; round < 2; round++) { /* the second one finds the first one's file */
		bool voids[2] = {false, false};
		struct disks_report r;
		struct stat before, aside, now;
		char *why = NULL;
		unsigned had = count_records();
		damage_a_leaf();
		ck_assert_int_eq(stat(in_data("state/data.mdb"), &before), 0);
		ck_assert_msg(!disks_check_state(&(struct disks){.t = t, .data = data}, MAP_BYTES, voids, &r, &why), "%s", why);
		ck_assert(r.aside && r.salvaged && r.check.bad_pages);
		ck_assert_int_eq(stat(in_data("state/data.mdb.damaged"), &aside), 0);
		ck_assert_int_eq(stat(in_data("state/data.mdb"), &now), 0);
		ck_assert(aside.st_ino == before.st_ino && now.st_ino != before.st_ino);
		ck_assert_uint_eq(aside.st_nlink, 1);
		ck_assert_int_ne(access(in_data("state/saved"), F_OK), 0);
		unsigned has = count_records();
		ck_assert_msg(has < had && has > had / 2, "%u of %u; %s", has, had, r.places[0]);
	}
}
END_TEST

START_TEST(what_is_only_looked_at_stays_as_it_is)
{
	bool voids[2] = {false, false};
	struct disks_report r;
	struct stat before, now;
	char *why = NULL;
	damage_a_leaf();
	ck_assert_int_eq(stat(in_data("state/data.mdb"), &before), 0);
	ck_assert_msg(!disks_check_state(&(struct disks){.t = t, .data = data, .look_only = true}, MAP_BYTES, voids, &r, &why), "%s", why);
	ck_assert(r.present && r.check.bad_pages && r.place_count && !r.aside && !r.salvaged);
	ck_assert_int_eq(stat(in_data("state/data.mdb"), &now), 0);
	ck_assert(now.st_ino == before.st_ino && now.st_mtime == before.st_mtime);
	ck_assert_int_ne(access(in_data("state/data.mdb.damaged"), F_OK), 0);
}
END_TEST

static void count(void *arg)
{
	++*(unsigned *)arg;
}

/* A large one takes longer than anybody waits for a sign of life: it gives one each 16 MiB, also while what reads of it is saved. */
START_TEST(who_waits_hears_that_it_gets_on)
{
	enum { PIECES = 2 };
	bool voids[2] = {false, false};
	struct disks_report r;
	char *why = NULL;
	unsigned told = 0;
	struct disks d = {.t = t, .data = data, .progress = count, .arg = &told};
	struct kv *kv = open_state();
	struct kv_txn *txn;
	size_t n = PIECES * KV_CHECK_PROGRESS_PAGES * (size_t)PAGE;
	uint8_t *value = calloc(1, n);
	ck_assert_int_eq(kv_begin(kv, true, &txn), 0);
	ck_assert_int_eq(kv_put(txn, STATE_DB_GROUP(0), bytes_of("a", 1), bytes_of(value, n / 2)), 0);
	ck_assert_int_eq(kv_put(txn, STATE_DB_GROUP(0), bytes_of("b", 1), bytes_of(value, n / 2)), 0);
	ck_assert_int_eq(kv_commit(txn), 0);
	kv_close(kv);
	free(value);
	ck_assert_msg(!disks_check_state(&d, MAP_BYTES, voids, &r, &why), "%s", why);
	ck_assert_uint_eq(told, 1 + PIECES);
	damage_a_leaf();
	ck_assert_msg(!disks_check_state(&d, MAP_BYTES, voids, &r, &why), "%s", why);
	ck_assert(r.salvaged);
	ck_assert_uint_eq(told, 1 + PIECES + 1 + 2 * PIECES);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/disks");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_reads_takes_the_damaged_files_place);
	tcase_add_test(tc, what_is_only_looked_at_stays_as_it_is);
	tcase_add_test(tc, who_waits_hears_that_it_gets_on);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
