/* The check against environments that LMDB made: sound ones are sound, whatever was done to them; and of thousands of flipped
 * bits each is found, or changes nothing that LMDB reads. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/kv.h"
#include "common/kv_check.h"

#define MAP_BYTES (64 * 1024 * 1024)

static const char *const names[] = {"node", "group-000", "group-001"};
static char *folder;

static void setup(void)
{
	char pattern[] = "/tmp/weir-kv-check-XXXXXX";
	ck_assert_ptr_nonnull(mkdtemp(pattern));
	folder = xstrdup(pattern);
}

static void teardown(void)
{
	static const char *const files[] = {"data.mdb", "lock.mdb", "lock", ""};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *f = xasprintf("%s/%s", folder, files[i]);
		(void)remove(f);
		free(f);
	}
	free(folder);
}

static struct kv *open_kv(void)
{
	struct kv *kv;
	char *why = NULL;
	struct kv_lmdb_options o = {folder, names, 3, MAP_BYTES, false};
	int rc = kv_lmdb_open(&o, &kv, &why);
	ck_assert_msg(!rc, "%s", why ? why : err_text(rc));
	return kv;
}

static uint32_t seed;

static uint32_t draw(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)(seed >> 1) * below >> 31);
}

/* Keys as Weir's are: runs of the same first byte, some long; values of all sizes. */
static void write_some(struct kv *kv, unsigned transactions, unsigned keys)
{
	static uint8_t value[20000];
	for (unsigned t = 0; t < transactions; t++) {
		struct kv_txn *txn;
		ck_assert_int_eq(kv_begin(kv, true, &txn), 0);
		for (unsigned i = 0; i < 60; i++) {
			char key[200];
			uint32_t n = draw(keys);
			int len = snprintf(key, sizeof(key), "%c%08u%.*s", 'a' + (int)(n % 3), n, (int)(n % 150),
			    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
			size_t size = draw(40) == 0 ? draw(sizeof(value)) : draw(120);
			memset(value, (int)draw(256), size);
			struct bytes k = bytes_of(key, (size_t)len);
			int rc = draw(3) ? kv_put(txn, 1 + n % 2, k, bytes_of(value, size)) : kv_del(txn, 1 + n % 2, k);
			ck_assert(rc == 0 || rc == WEIR_ENOTFOUND);
		}
		ck_assert_int_eq(kv_commit(txn), 0);
	}
}

struct seen {
	uint64_t hash, records;
	uint64_t damaged;
};

static int on_record(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value)
{
	struct seen *s = arg;
	ck_assert_str_eq(name, names[db]);
	s->hash += XXH3_64bits_withSeed(value.p, value.n, XXH3_64bits(key.p, key.n) + db);
	s->records++;
	return 0;
}

static void on_damage(void *arg, const struct kv_damage *d)
{
	struct seen *s = arg;
	ck_assert_ptr_nonnull(d->what);
	s->damaged++;
}

static struct kv_check_result check(struct seen *s)
{
	struct kv_check_options o = {.path = folder, .dbs = names, .db_count = 3, .arg = s, .record = on_record,
	    .damage = on_damage};
	struct kv_check_result r = {0};
	char *why = NULL;
	*s = (struct seen){0};
	int rc = kv_check(&o, &r, &why);
	ck_assert_msg(!rc, "%s", why ? why : err_text(rc));
	ck_assert_uint_eq(s->damaged, r.bad_pages + r.bad_records);
	return r;
}

static struct seen read_all(struct kv *kv)
{
	struct seen s = {0};
	struct kv_txn *txn;
	ck_assert_int_eq(kv_begin(kv, false, &txn), 0);
	for (unsigned db = 0; db < 3; db++) {
		struct kv_cursor *c;
		struct bytes key, value;
		ck_assert_int_eq(kv_cursor_open(txn, db, &c), 0);
		int rc = kv_cursor_first(c, &key, &value);
		for (; !rc; rc = kv_cursor_next(c, &key, &value))
			on_record(&s, db, names[db], key, value);
		ck_assert_int_eq(rc, WEIR_ENOTFOUND);
		kv_cursor_close(c);
	}
	kv_abort(txn);
	return s;
}

START_TEST(sound_environments_are_sound)
{
	struct seen s, want;
	seed = (uint32_t)_i;
	for (unsigned round = 0; round < 6; round++) {
		struct kv *kv = open_kv();
		if (round)
			write_some(kv, 1 + draw(30), 4 + draw(4000));
		if (round == 5) {
			struct kv_txn *txn;
			ck_assert_int_eq(kv_begin(kv, true, &txn), 0);
			ck_assert_int_eq(kv_clear(txn, 1), 0);
			ck_assert_int_eq(kv_commit(txn), 0);
		}
		want = read_all(kv);
		kv_close(kv);
		struct kv_check_result r = check(&s);
		ck_assert_uint_eq(r.bad_pages + r.bad_records, 0);
		ck_assert_uint_eq(s.records, want.records);
		ck_assert_uint_eq(r.records, want.records);
		ck_assert_uint_eq(s.hash, want.hash);
		ck_assert_uint_le(r.used_pages + r.free_pages + 2, r.pages);
	}
}
END_TEST

static char *data_file(void)
{
	return xasprintf("%s/data.mdb", folder);
}

static void flip(uint64_t at, unsigned number)
{
	char *file = data_file();
	int fd = open(file, O_RDWR);
	uint8_t byte;
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= (uint8_t)(1 << number);
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
	free(file);
}

static uint64_t file_bytes(void)
{
	char *file = data_file();
	struct stat st;
	ck_assert_int_eq(stat(file, &st), 0);
	free(file);
	return (uint64_t)st.st_size;
}

/* LMDB is let at the file only where the check found nothing: then all is there, and can be written. */
START_TEST(each_flipped_bit_is_found_or_harmless)
{
	struct seen before, s;
	seed = 1000 + (uint32_t)_i;
	struct kv *kv = open_kv();
	write_some(kv, 20, 700);
	kv_close(kv);
	struct kv_check_result r = check(&before);
	ck_assert_uint_eq(r.bad_pages + r.bad_records, 0);
	unsigned found = 0, opened = 0;
	for (unsigned i = 0; i < 800; i++) {
		/* Meta pages and heads of pages are a small part of the file, and the worst: they get a share of their own. */
		uint64_t at = i % 4 == 0 ? draw(160) + 4096 * draw(2) :
		    i % 4 == 1           ? (uint64_t)4096 * draw((uint32_t)(file_bytes() / 4096)) + draw(64) :
		                           draw((uint32_t)file_bytes());
		unsigned number = draw(8);
		flip(at, number);
		struct kv_check_options o = {.path = folder, .dbs = names, .db_count = 3, .arg = &s, .record = on_record,
		    .damage = on_damage};
		char *why = NULL;
		s = (struct seen){0};
		r = (struct kv_check_result){0};
		int rc = kv_check(&o, &r, &why);
		free(why);
		if (rc || r.bad_pages || r.bad_records) {
			found++;
		} else {
			ck_assert_msg(s.hash == before.hash && s.records == before.records, "byte %llu bit %u",
			    (unsigned long long)at, number);
			if (opened++ < 30) {
				kv = open_kv();
				struct seen have = read_all(kv);
				kv_close(kv);
				ck_assert_uint_eq(have.hash, before.hash);
			}
		}
		flip(at, number);
	}
	ck_assert_uint_gt(found, 300);
	r = check(&s);
	ck_assert_uint_eq(r.bad_pages + r.bad_records, 0);
}
END_TEST

/* What reads goes on to be given out, what does not has its bounds. */
START_TEST(the_rest_is_still_read)
{
	struct seen before, s;
	seed = 7;
	struct kv *kv = open_kv();
	write_some(kv, 30, 4000);
	kv_close(kv);
	check(&before);
	unsigned partly = 0, fewer = 0;
	for (uint64_t page = 2; page < file_bytes() / 4096; page++) {
		flip(page * 4096 + 10, 3); /* its flags */
		struct kv_check_result r = check(&s);
		if (r.bad_pages && s.records) {
			partly++;
			ck_assert_uint_le(s.records, before.records);
			fewer += s.records < before.records;
		}
		flip(page * 4096 + 10, 3);
	}
	ck_assert_uint_gt(partly, 20);
	ck_assert_uint_gt(fewer, 10);
}
END_TEST

/* ---- nothing of the past is given out ---- */

struct set {
	uint64_t *hashes;
	size_t count;
	uint64_t strange;
};

/* Of whatever database: a page of another one is of the present all the same, and what is in it has other keys in real ones. */
static uint64_t hash_record(struct bytes key, struct bytes value)
{
	return XXH3_64bits_withSeed(value.p, value.n, XXH3_64bits(key.p, key.n));
}

static int collect(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value)
{
	struct set *s = arg;
	(void)db, (void)name;
	s->hashes = xrealloc(s->hashes, (s->count + 1) * sizeof(s->hashes[0]));
	s->hashes[s->count++] = hash_record(key, value);
	return 0;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static int look_up(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value)
{
	struct set *s = arg;
	uint64_t hash = hash_record(key, value);
	(void)db, (void)name;
	s->strange += !bsearch(&hash, s->hashes, s->count, sizeof(hash), by_value);
	return 0;
}

static void collect_all(struct set *s)
{
	struct kv_check_options o = {.path = folder, .dbs = names, .db_count = 3, .arg = s, .record = collect};
	struct kv_check_result r;
	char *why = NULL;
	ck_assert_int_eq(kv_check(&o, &r, &why), 0);
	qsort(s->hashes, s->count, sizeof(s->hashes[0]), by_value);
}

/* Whether what is believed is of the last transaction, or of the one before where a meta page is damaged. */
static bool believes_only(struct set *s, bool *ret_read)
{
	struct kv_check_options o = {.path = folder, .dbs = names, .db_count = 3, .either_meta = true, .arg = s, .record = look_up};
	struct kv_check_result r = {0};
	char *why = NULL;
	s->strange = 0;
	int rc = kv_check(&o, &r, &why);
	free(why);
	bool all = kv_check_is_sound(&r, 0) && kv_check_is_sound(&r, 1) && kv_check_is_sound(&r, 2);
	*ret_read = !rc && r.bad_pages && r.records;
	return rc || !(r.list_sound || all) || !s->strange;
}

static uint64_t read_number(uint64_t at, unsigned bytes)
{
	char *file = data_file();
	int fd = open(file, O_RDONLY);
	uint64_t v = 0;
	ck_assert_int_eq(pread(fd, &v, bytes, (off_t)at), (ssize_t)bytes);
	close(fd);
	free(file);
	return v;
}

static void write_number(uint64_t at, uint64_t v, unsigned bytes)
{
	char *file = data_file();
	int fd = open(file, O_WRONLY);
	ck_assert_int_eq(pwrite(fd, &v, bytes, (off_t)at), (ssize_t)bytes);
	close(fd);
	free(file);
}

/* Freed pages hold records as they once were, with checksums that are right: a branch that points to one must not bring them back. */
START_TEST(what_was_deleted_does_not_come_back)
{
	struct set set = {0};
	seed = 50 + (uint32_t)_i;
	struct kv *kv = open_kv();
	write_some(kv, 40, 3000);
	kv_close(kv);
	collect_all(&set);
	kv = open_kv();
	write_some(kv, 1, 3000);
	kv_close(kv);
	collect_all(&set);
	uint64_t pages = file_bytes() / 4096;
	unsigned pointed = 0, read = 0;
	bool did_read;
	for (uint64_t page = 2; page < pages; page++) {
		if (read_number(page * 4096, 8) != page || read_number(page * 4096 + 10, 2) != 1) /* a branch */
			continue;
		uint64_t count = (read_number(page * 4096 + 12, 2) - 16) / 2;
		for (uint64_t i = 0; i < count; i++) {
			uint64_t node = page * 4096 + read_number(page * 4096 + 16 + 2 * i, 2), child = read_number(node, 4);
			for (unsigned k = 0; k < 20; k++) {
				write_number(node, k < 10 ? child ^ UINT64_C(1) << k : 2 + draw((uint32_t)pages - 2), 4);
				ck_assert_msg(believes_only(&set, &did_read), "page %llu node %llu", (unsigned long long)page,
				    (unsigned long long)i);
				pointed++;
				read += did_read;
			}
			write_number(node, child, 4);
		}
	}
	ck_assert_uint_gt(pointed, 100);
	ck_assert_uint_gt(read, 100);
	unsigned metas = 0;
	for (unsigned i = 0; i < 2 * 152 * 8; i++) { /* each bit of both meta pages */
		uint64_t at = i / 8 % 152 + 4096 * (i / 8 / 152);
		flip(at, i % 8);
		ck_assert_msg(believes_only(&set, &did_read), "meta byte %llu bit %u", (unsigned long long)at, i % 8);
		metas += did_read;
		flip(at, i % 8);
	}
	ck_assert_uint_gt(metas, 500);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t at = (uint64_t)4096 * draw((uint32_t)pages) + draw(i % 2 ? 64 : 4096);
		unsigned number = draw(8);
		flip(at, number);
		ck_assert(believes_only(&set, &did_read));
		flip(at, number);
	}
	free(set.hashes);
}
END_TEST

START_TEST(a_truncated_or_foreign_file_is_damage)
{
	struct seen s;
	struct kv *kv = open_kv();
	seed = 9;
	write_some(kv, 20, 700);
	kv_close(kv);
	char *file = data_file();
	ck_assert_int_eq(truncate(file, (off_t)(file_bytes() / 8192 * 4096)), 0);
	ck_assert_uint_gt(check(&s).bad_pages, 0);
	ck_assert_int_eq(truncate(file, 5000), 0);
	ck_assert_uint_gt(check(&s).bad_pages, 0);
	ck_assert_int_eq(truncate(file, 100), 0);
	ck_assert_uint_gt(check(&s).bad_pages, 0);
	FILE *f = fopen(file, "w");
	for (int i = 0; i < 3000; i++)
		fputs("garbage ", f);
	fclose(f);
	ck_assert_uint_gt(check(&s).bad_pages, 0);
	free(file);
}
END_TEST

START_TEST(none_and_busy_are_said)
{
	struct kv_check_options o = {.path = folder};
	struct kv_check_result r;
	char *why = NULL;
	ck_assert_int_eq(kv_check(&o, &r, &why), WEIR_ENOTFOUND);
	free(why);
	why = NULL;
	struct kv *kv = open_kv();
	ck_assert_int_eq(kv_check(&o, &r, &why), WEIR_EBUSY);
	ck_assert_ptr_nonnull(strstr(why, "in use"));
	free(why);
	kv_close(kv);
	why = NULL;
	ck_assert_int_eq(kv_check(&o, &r, &why), 0);
}
END_TEST

static int refuse(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value)
{
	(void)arg, (void)db, (void)name, (void)key, (void)value;
	return WEIR_EFULL;
}

START_TEST(who_looks_may_end_it)
{
	struct kv *kv = open_kv();
	seed = 3;
	write_some(kv, 2, 100);
	kv_close(kv);
	struct kv_check_options o = {.path = folder, .record = refuse};
	struct kv_check_result r;
	char *why = NULL;
	ck_assert_int_eq(kv_check(&o, &r, &why), WEIR_EFULL);
	free(why);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kv_check");
	TCase *c = tcase_create("kv_check");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 120);
	tcase_add_loop_test(c, sound_environments_are_sound, 0, 5);
	tcase_add_loop_test(c, each_flipped_bit_is_found_or_harmless, 0, 4);
	tcase_add_test(c, the_rest_is_still_read);
	tcase_add_loop_test(c, what_was_deleted_does_not_come_back, 0, 3);
	tcase_add_test(c, a_truncated_or_foreign_file_is_damage);
	tcase_add_test(c, none_and_busy_are_said);
	tcase_add_test(c, who_looks_may_end_it);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
