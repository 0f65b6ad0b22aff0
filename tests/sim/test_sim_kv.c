/* The simulated disk is only worth something if it keeps what common/kv promises. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "tests/sim/sim_kv.h"

#define KEYS 300
#define NONE (-1)

struct model {
	int at[2][KEYS];
};

static struct bytes key_of(int k, uint8_t room[2])
{
	room[0] = (uint8_t)(k >> 8);
	room[1] = (uint8_t)k;
	return bytes_of(room, 2);
}

static int next_in(const struct model *m, unsigned db, int k, int direction)
{
	while (k >= 0 && k < KEYS && m->at[db][k] == NONE)
		k += direction;
	return k;
}

static void verify_db(struct kv_txn *txn, const struct model *m, unsigned db)
{
	struct kv_cursor *c;
	struct bytes k, v;
	uint8_t room[2];
	ck_assert_int_eq(kv_cursor_open(txn, db, &c), 0);
	int i = next_in(m, db, 0, 1);
	for (int rc = kv_cursor_first(c, &k, &v); !rc; rc = kv_cursor_next(c, &k, &v)) {
		int value;
		memcpy(&value, v.p, sizeof(value));
		ck_assert_int_eq(k.p[0] << 8 | k.p[1], i);
		ck_assert_int_eq(value, m->at[db][i]);
		i = next_in(m, db, i + 1, 1);
	}
	ck_assert_int_eq(i, KEYS);
	i = next_in(m, db, KEYS - 1, -1);
	for (int rc = kv_cursor_last(c, &k, &v); !rc; rc = kv_cursor_prev(c, &k, &v)) {
		ck_assert_int_eq(k.p[0] << 8 | k.p[1], i);
		i = next_in(m, db, i - 1, -1);
	}
	ck_assert_int_eq(i, -1);
	for (int q = 0; q < KEYS; q += 7) {
		int expected = next_in(m, db, q, 1), rc = kv_cursor_seek(c, key_of(q, room), &k, &v);
		ck_assert_int_eq(rc, expected == KEYS ? WEIR_ENOTFOUND : 0);
		if (!rc)
			ck_assert_int_eq(k.p[0] << 8 | k.p[1], expected);
	}
	kv_cursor_close(c);
}

static void verify(struct kv *kv, const struct model *m)
{
	struct kv_txn *txn;
	ck_assert_int_eq(kv_begin(kv, false, &txn), 0);
	verify_db(txn, m, 0);
	verify_db(txn, m, 1);
	kv_abort(txn);
}

static void change(struct kv_txn *txn, struct model *m, struct sim_rand *r)
{
	unsigned db = (unsigned)sim_below(r, 2);
	int k = (int)sim_below(r, KEYS), v = (int)sim_below(r, 1 << 30);
	uint8_t room[2];
	if (sim_chance(r, 0.55)) {
		ck_assert_int_eq(kv_put(txn, db, key_of(k, room), bytes_of(&v, sizeof(v))), 0);
		m->at[db][k] = v;
	} else {
		ck_assert_int_eq(kv_del(txn, db, key_of(k, room)), m->at[db][k] == NONE ? WEIR_ENOTFOUND : 0);
		m->at[db][k] = NONE;
	}
	if (sim_chance(r, 0.002)) {
		ck_assert_int_eq(kv_clear(txn, db), 0);
		memset(m->at[db], 0xff, sizeof(m->at[db]));
	}
}

START_TEST(test_as_a_map)
{
	struct sim_disk *d = sim_disk_new(2, 1 << 30);
	struct sim_rand r = {5};
	struct model m;
	memset(&m, 0xff, sizeof(m));
	struct kv *kv = sim_kv_open(d, 1);
	for (int n = 0; n < 1500; n++) {
		struct model before = m;
		struct kv_txn *txn;
		ck_assert_int_eq(kv_begin(kv, true, &txn), 0);
		for (size_t i = sim_below(&r, 40); i > 0; i--)
			change(txn, &m, &r);
		verify(kv, &before); /* readers see what is committed */
		if (sim_chance(&r, 0.3)) {
			kv_abort(txn);
			m = before;
		} else {
			ck_assert_int_eq(kv_commit(txn), 0);
		}
		if (n % 97)
			continue;
		struct sim_disk *copy = sim_disk_copy(d);
		kv_close(kv);
		sim_disk_free(d);
		d = copy;
		kv = sim_kv_open(d, 2);
	}
	verify(kv, &m);
	kv_close(kv);
	sim_disk_free(d);
}
END_TEST

static int put(struct kv *kv, const char *value)
{
	struct kv_txn *txn;
	int rc = kv_begin(kv, true, &txn);
	if (rc)
		return rc;
	rc = kv_put(txn, 0, bytes_of("key", 3), bytes_of(value, strlen(value)));
	if (!rc)
		return kv_commit(txn);
	kv_abort(txn);
	return rc;
}

static bool holds(struct sim_disk *d, const char *value)
{
	struct kv *kv = sim_kv_open(d, 1);
	struct kv_txn *txn;
	struct bytes v = {0};
	ck_assert_int_eq(kv_begin(kv, false, &txn), 0);
	bool same = !kv_get(txn, 0, bytes_of("key", 3), &v) && v.n == strlen(value) && !memcmp(v.p, value, v.n);
	kv_abort(txn);
	kv_close(kv);
	return same;
}

START_TEST(test_crash_at_each_operation)
{
	int kept = 0, lost = 0;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct sim_disk *d = sim_disk_new(1, 1 << 20);
		struct kv *kv = sim_kv_open(d, seed);
		ck_assert_int_eq(put(kv, "old"), 0);
		uint64_t at = seed % 4; /* begin, put, commit, or not at all */
		sim_kv_crash_after(kv, at);
		ck_assert_int_eq(put(kv, "new"), at < 3 ? WEIR_EIO : 0);
		ck_assert(sim_kv_dead(kv) == (at < 3));
		if (at < 3)
			ck_assert_int_eq(put(kv, "dead"), WEIR_EIO);
		bool committed = at == 3 || sim_kv_crash_committed(kv);
		kv_close(kv);
		ck_assert(holds(d, committed ? "new" : "old"));
		kept += at == 2 && committed;
		lost += at == 2 && !committed;
		sim_disk_free(d);
	}
	ck_assert_int_gt(kept, 5);
	ck_assert_int_gt(lost, 5);
}
END_TEST

START_TEST(test_full)
{
	struct sim_disk *d = sim_disk_new(1, 1 << 20);
	struct kv *kv = sim_kv_open(d, 1);
	ck_assert_int_eq(put(kv, "old"), 0);
	sim_disk_limit(d, sim_disk_used(d) + 10);
	ck_assert_int_eq(put(kv, "a value that is longer"), WEIR_EFULL);
	kv_close(kv);
	ck_assert(holds(d, "old"));
	sim_disk_free(d);
}
END_TEST

START_TEST(test_lying_disk)
{
	struct sim_disk *d = sim_disk_new(1, 1 << 20);
	struct kv *kv = sim_kv_open(d, 1);
	ck_assert_int_eq(put(kv, "old"), 0);
	sim_disk_lie(d, true);
	ck_assert_int_eq(put(kv, "new"), 0);
	kv_close(kv);
	ck_assert(holds(d, "old"));
	kv = sim_kv_open(d, 1);
	sim_disk_lie(d, true);
	ck_assert_int_eq(put(kv, "new"), 0);
	sim_disk_lie(d, false);
	kv_close(kv);
	ck_assert(holds(d, "new"));
	sim_disk_free(d);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sim_kv");
	TCase *t = tcase_create("sim_kv");
	tcase_add_test(t, test_as_a_map);
	tcase_add_test(t, test_crash_at_each_operation);
	tcase_add_test(t, test_full);
	tcase_add_test(t, test_lying_disk);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
