/* The writer threads, with real environments and the real state machines. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cloudd/jobs.h"
#include "cloudd/writers.h"
#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/cloudd/kit.h"

#define SHARD_GROUP 1
#define LONG_NS (60 * NS_PER_SEC)

static const struct stats_family families[] = {{"weir_test_seconds", "t", STATS_DURATION, {NULL}}};

static struct kit k;
static struct stats *stats;
static struct progress *progress;
static struct state_writer *writer;

/* What the writers told, in order. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int applied, applied_full, log_written, log_full, aborted, lows, roomy;
static uint64_t durable;

static void note(int *counter)
{
	pthread_mutex_lock(&mutex);
	(*counter)++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

static void await(const int *counter, int n)
{
	pthread_mutex_lock(&mutex);
	while (*counter < n)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
}

static void on_log_written(void *arg, struct log_job *job, int rc)
{
	(void)arg;
	log_job_free(job);
	note(rc == WEIR_EFULL ? &log_full : &log_written);
}

static int64_t busy_in_job; /* as seen in the last one */

static void on_applied(void *arg, struct apply_job *job, int rc)
{
	(void)arg;
	busy_in_job = state_writer_busy_since(writer);
	for (size_t i = 0; i < job->count; i++)
		free(job->items[i].owner);
	apply_job_free(job);
	ck_assert(!rc || rc == WEIR_EFULL);
	note(rc ? &applied_full : &applied);
}

static void on_durable(void *arg, uint32_t group, uint64_t index)
{
	(void)arg;
	ck_assert_uint_eq(group, SHARD_GROUP);
	pthread_mutex_lock(&mutex);
	ck_assert(index > durable); /* each once, in order */
	durable = index;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

static void on_aborted(void *arg)
{
	(void)arg;
	note(&aborted);
}

static void on_failed(void *arg, const char *what, int rc)
{
	(void)arg;
	ck_abort_msg("%s: %s", what, err_text(rc));
}

static void on_low(void *arg, bool low)
{
	(void)arg;
	note(low ? &lows : &roomy);
}

static const struct writers_io io = {NULL, on_log_written, on_applied, on_durable, on_aborted, on_failed, on_low};

/* The disk has nothing left to be taken ahead while this is set. */
static atomic_bool take_fails;

int fallocate(int fd, int mode, off_t offset, off_t len);
__attribute__((visibility("default"))) int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (!take_fails)
		return (int)syscall(SYS_fallocate, fd, mode, offset, len);
	errno = ENOSPC;
	return -1;
}

/* The disk does not sync while this is set. */
static atomic_bool sync_fails;

/* And one that hangs in it while that is set (under the mutex). */
static bool sync_hangs;
static int hung;

static void hang(void)
{
	pthread_mutex_lock(&mutex);
	hung += sync_hangs;
	pthread_cond_broadcast(&changed);
	while (sync_hangs)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
}

static void set_hanging(bool on)
{
	pthread_mutex_lock(&mutex);
	sync_hangs = on;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

int fdatasync(int fd);
__attribute__((visibility("default"))) int fdatasync(int fd)
{
	hang();
	if (!sync_fails)
		return (int)syscall(SYS_fdatasync, fd);
	errno = EIO;
	return -1;
}

static void wake(void *arg)
{
	(void)arg;
	state_writer_wake(writer);
}

static void setup(void)
{
	kit_init(&k, 1, "  - {name: s, from: {measurement: m, field: f}, by: [a], window: 1m, compute: [count]}\n");
	stats = stats_new(families, 1);
	progress = progress_new(2, wake, NULL);
	struct state_writer_options o = {k.a, progress, 2, &io, stats_cell(stats, 0, NULL)};
	writer = state_writer_start(&o);
}

static void teardown(void)
{
	state_writer_stop(writer);
	progress_free(progress);
	stats_free(stats);
	kit_close(&k);
}

static struct apply_job *job_of(uint64_t from, uint64_t to)
{
	struct apply_job *j = apply_job_new();
	for (uint64_t i = from; i <= to; i++) {
		struct buf b = {0};
		char name[32];
		snprintf(name, sizeof(name), "edge-%llu", (unsigned long long)i);
		struct entry e = {.kind = ENTRY_OPEN, .time_ns = 1};
		e.open.edge = bytes_of(name, strlen(name));
		e.open.epoch = 1;
		e.open.low = 1;
		entry_encode(&e, &b);
		struct apply_item item = {.group = SHARD_GROUP, .index = i, .term = 1, .bytes = bytes_of(b.data, b.len), .owner = b.data};
		apply_job_add(j, &item);
	}
	return j;
}

static uint64_t read_applied(void)
{
	struct kv_txn *txn;
	struct apply_group_info info = {0};
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(apply_read_group(txn, SHARD_GROUP, &info), 0);
	kv_abort(txn);
	return info.applied;
}

START_TEST(a_waiting_reader_finds_what_it_waited_for)
{
	uint64_t at = 0;
	for (int i = 1; i <= 20; i++) {
		state_writer_add(writer, job_of(at + 1, at + 3));
		at += 3;
		ck_assert_int_eq(progress_wait(progress, SHARD_GROUP, at, LONG_NS), 0);
		ck_assert_uint_eq(read_applied(), at);
	}
	await(&applied, 20);
}
END_TEST

START_TEST(jobs_go_back_before_they_are_durable_and_stopping_commits)
{
	for (uint64_t i = 0; i < 10; i++)
		state_writer_add(writer, job_of(i * 2 + 1, i * 2 + 2));
	state_writer_stop(writer);
	ck_assert_int_eq(applied, 10);
	ck_assert_uint_eq(durable, 20);
	ck_assert_uint_eq(read_applied(), 20);
	struct state_writer_options o = {k.a, progress, 2, &io, stats_cell(stats, 0, NULL)};
	writer = state_writer_start(&o);
	ck_assert_uint_eq(progress_durable(progress, SHARD_GROUP), 20);
	state_writer_add(writer, job_of(21, 21));
	ck_assert_int_eq(progress_wait(progress, SHARD_GROUP, 21, LONG_NS), 0);
}
END_TEST

START_TEST(many_entries_are_committed_without_anybody_waiting)
{
	state_writer_add(writer, job_of(1, STATE_COMMIT_ENTRIES));
	pthread_mutex_lock(&mutex);
	while (durable < STATE_COMMIT_ENTRIES)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
}
END_TEST

/* A map that is soon full: the job comes back unapplied, what was committed stays, and others are still served. */
START_TEST(a_full_state_gives_the_job_back)
{
	state_writer_stop(writer);
	apply_close(k.a);
	kv_close(k.kv);
	const char **names = apply_db_names(1);
	struct kv_lmdb_options o = {k.folder, names, STATE_DBS(1), 256 * 1024, false};
	char *why;
	ck_assert_int_eq(kv_lmdb_open(&o, &k.kv, &why), 0);
	ck_assert_int_eq(apply_open(k.t, k.kv, &k.a, &why), 0);
	free(names);
	struct state_writer_options w = {k.a, progress, 2, &io, stats_cell(stats, 0, NULL)};
	writer = state_writer_start(&w);
	state_writer_add(writer, job_of(1, 100));
	ck_assert_int_eq(progress_wait(progress, SHARD_GROUP, 100, LONG_NS), 0);
	state_writer_add(writer, job_of(101, 20000));
	pthread_mutex_lock(&mutex);
	while (!applied_full && !aborted)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
	ck_assert_uint_eq(read_applied(), 100);
	ck_assert_uint_eq(progress_durable(progress, SHARD_GROUP), 100);
	/* The node hands out again what was not durable; less of it fits. */
	state_writer_add(writer, job_of(101, 110));
	await(&applied, 2);
	ck_assert_int_eq(progress_wait(progress, SHARD_GROUP, 110, LONG_NS), 0);
}
END_TEST

static int count_of(const int *counter)
{
	pthread_mutex_lock(&mutex);
	int n = *counter;
	pthread_mutex_unlock(&mutex);
	return n;
}

/* What was told of can be read, however soon after it the disk was full; and what comes while it is full is told of when it is durable. */
START_TEST(without_room_nothing_is_told_of_that_is_not_durable)
{
	uint64_t last = 0;
	int jobs = 0;
	for (; !count_of(&lows); last += 200) { /* what was taken before is used up first */
		ck_assert_uint_lt(last, 1000 * 1000);
		take_fails = last > 0;
		state_writer_add(writer, job_of(last + 1, last + 200));
		await(&applied, ++jobs);
	}
	ck_assert_uint_eq(read_applied(), last);
	for (int i = 0; i < 5; i++) {
		last++;
		state_writer_add(writer, job_of(last, last));
		await(&applied, ++jobs);
		ck_assert_uint_eq(read_applied(), last);
	}
	ck_assert_int_eq(count_of(&lows), 1);
	ck_assert_int_eq(count_of(&roomy), 0);
	take_fails = false; /* nobody asks for anything: it finds out by itself */
	await(&roomy, 1);
	last++;
	state_writer_add(writer, job_of(last, last));
	await(&applied, ++jobs);
	ck_assert_int_eq(progress_wait(progress, SHARD_GROUP, last, LONG_NS), 0);
	ck_assert_int_eq(count_of(&lows), 1);
	ck_assert_int_eq(aborted + applied_full, 0);
}
END_TEST

static void remove_env(const char *path)
{
	static const char *const files[] = {"data.mdb", "lock.mdb", "lock"};
	for (size_t i = 0; i < 3; i++) {
		char *file = xasprintf("%s/%s", path, files[i]);
		unlink(file);
		free(file);
	}
	rmdir(path);
}

static struct log_job *log_job_of(uint64_t from, uint64_t to, struct bytes entry)
{
	struct log_job *j = log_job_new();
	for (uint64_t i = from; i <= to; i++)
		log_job_append(j, &(struct log_append){.group = SHARD_GROUP, .kind = 1, .index = i, .term = 1, .entry = entry});
	return j;
}

START_TEST(the_log_is_written_whole_or_not_at_all)
{
	static const uint8_t raw[1000];
	char *path = xasprintf("%s-log", k.folder);
	const char **names = apply_db_names(1);
	struct kv_lmdb_options o = {path, names, LOG_DBS(1), 1024 * 1024, false};
	struct kv *log;
	char *why;
	ck_assert_int_eq(kv_lmdb_open(&o, &log, &why), 0);
	struct log_writer *w = log_writer_start(log, &io, stats_cell(stats, 0, NULL));
	log_writer_add(w, log_job_of(1, 10, bytes_of(raw, sizeof(raw))));
	log_writer_add(w, log_job_of(11, 5000, bytes_of(raw, sizeof(raw))));
	log_writer_add(w, log_job_of(11, 12, bytes_of(raw, sizeof(raw))));
	log_writer_stop(w);
	ck_assert_int_eq(log_written, 2);
	ck_assert_int_eq(log_full, 1);
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	ck_assert_int_eq(kv_begin(log, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, LOG_DB_GROUP(SHARD_GROUP), &c), 0);
	ck_assert_int_eq(kv_cursor_last(c, &key, &value), 0);
	struct rd r = rd_init(key.p, key.n);
	ck_assert_uint_eq(rd_be64(&r), 12);
	kv_cursor_close(c);
	kv_abort(txn);
	kv_close(log);
	remove_env(path);
	free(names);
	free(path);
}
END_TEST

static struct kv *open_log(char **ret_path, uint64_t map_bytes)
{
	char *path = xasprintf("%s-log", k.folder);
	const char **names = apply_db_names(1);
	struct kv_lmdb_options o = {path, names, LOG_DBS(1), map_bytes, false};
	struct kv *log;
	char *why;
	ck_assert_int_eq(kv_lmdb_open(&o, &log, &why), 0);
	free(names);
	*ret_path = path;
	return log;
}

static int run_and_free(struct kv *log, struct log_job *j)
{
	int rc = log_job_run(log, j);
	log_job_free(j);
	return rc;
}

static struct log_job *truncating(uint64_t from, uint64_t upto)
{
	struct log_job *j = log_job_new();
	log_job_truncate(j, SHARD_GROUP, from, upto);
	log_job_group(j, SHARD_GROUP, &(struct log_group){.term = 1, .base_index = upto, .base_term = 1});
	return j;
}

static uint64_t fill_log(struct kv *log, uint64_t last, struct bytes entry)
{
	int rc;
	while (!(rc = run_and_free(log, log_job_of(last + 1, last + 1, entry))))
		last++;
	ck_assert_int_eq(rc, WEIR_EFULL);
	return last;
}

/* Deleting takes room too: it is kept, so that a log full of what is no longer needed gets rid of it. */
START_TEST(a_full_log_can_be_truncated)
{
	static const uint8_t raw[5000];
	char *path;
	struct kv *log = open_log(&path, 4 * 1024 * 1024);
	uint64_t last = fill_log(log, 0, bytes_of(raw, sizeof(raw)));
	for (uint64_t round = 0; round < 3; round++)
		ck_assert_int_eq(run_and_free(log, truncating(1 + round * 100, (round + 1) * 100)), 0);
	ck_assert_int_eq(run_and_free(log, log_job_of(last + 1, last + 50, bytes_of(raw, sizeof(raw)))), 0);
	kv_close(log);
	remove_env(path);
	free(path);
}
END_TEST

/* It was full up to *ret_last, and nothing is left of that. */
static struct kv *open_truncated_log(char **ret_path, uint64_t *ret_last)
{
	static const uint8_t small[1000];
	struct kv *log = open_log(ret_path, 2 * 1024 * 1024);
	struct log_job *j = log_job_new();
	log_job_record(j, bytes_of(LOG_KEY_NODE, strlen(LOG_KEY_NODE)), bytes_of(small, 10));
	ck_assert_int_eq(run_and_free(log, j), 0);
	*ret_last = fill_log(log, 0, bytes_of(small, sizeof(small)));
	ck_assert_int_eq(run_and_free(log, truncating(1, *ret_last)), 0);
	return log;
}

/* LMDB can use what the last transaction freed only when another one has come. */
START_TEST(a_full_log_without_anything_to_truncate_takes_what_there_is_room_for)
{
	static const uint8_t large[700 * 1024];
	char *path;
	uint64_t last;
	struct kv *log = open_truncated_log(&path, &last);
	int tries = 1;
	while (run_and_free(log, log_job_of(last + 1, last + 1, bytes_of(large, sizeof(large)))) == WEIR_EFULL)
		ck_assert_int_lt(++tries, 4);
	ck_assert_int_gt(tries, 1);
	kv_close(log);
	remove_env(path);
	free(path);
}
END_TEST

START_TEST(a_writer_that_hangs_is_seen)
{
	static const uint8_t raw[8];
	int64_t before = clock_mono_ns();
	char *path = xasprintf("%s-log", k.folder), *why;
	const char **names = apply_db_names(1);
	struct kv_lmdb_options o = {path, names, LOG_DBS(1), 1024 * 1024, false};
	struct kv *log;
	ck_assert_int_eq(kv_lmdb_open(&o, &log, &why), 0);
	struct log_writer *w = log_writer_start(log, &io, stats_cell(stats, 0, NULL));
	set_hanging(true);
	log_writer_add(w, log_job_of(1, 10, bytes_of(raw, sizeof(raw))));
	state_writer_add(writer, job_of(1, 1));
	await(&hung, 2);
	ck_assert_int_ge(log_writer_busy_since(w), before);
	ck_assert_int_ge(state_writer_busy_since(writer), before); /* in a commit, which no job of its own asked for */
	ck_assert_int_le(log_writer_busy_since(w), clock_mono_ns());
	set_hanging(false);
	await(&log_written, 1);
	ck_assert_int_eq(progress_wait(progress, SHARD_GROUP, 1, LONG_NS), 0);
	while (log_writer_busy_since(w) || state_writer_busy_since(writer))
		sched_yield();
	struct log_job *emptied = log_job_of(1, 1, bytes_of(raw, sizeof(raw)));
	log_job_suffix(emptied, SHARD_GROUP, 0);
	hung = 0;
	set_hanging(true);
	log_writer_add(w, emptied);
	await(&hung, 1);
	ck_assert_int_ge(log_writer_busy_since(w), before + WRITERS_LONG_NS); /* however large it is */
	set_hanging(false);
	await(&log_written, 2);
	log_writer_stop(w);
	kv_close(log);
	remove_env(path);
	free(names);
	free(path);
}
END_TEST

START_TEST(a_state_that_is_emptied_is_no_hang)
{
	int64_t before = clock_mono_ns();
	state_writer_add(writer, job_of(1, 1));
	await(&applied, 1);
	ck_assert(busy_in_job >= before && busy_in_job <= clock_mono_ns());
	struct apply_job *j = apply_job_new();
	apply_job_add(j, &(struct apply_item){.group = SHARD_GROUP, .step = APPLY_SNAPSHOT_BEGIN});
	state_writer_add(writer, j);
	await(&applied, 2);
	ck_assert_int_ge(busy_in_job, before + WRITERS_LONG_NS);
	while (state_writer_busy_since(writer))
		sched_yield();
}
END_TEST

/* What is written so that freed room can be used is a write as any other: where its sync fails, nothing can be trusted. */
START_TEST(a_sync_that_fails_while_a_log_is_full_is_told)
{
	static const uint8_t large[700 * 1024];
	char *path;
	uint64_t last;
	struct kv *log = open_truncated_log(&path, &last);
	sync_fails = true;
	ck_assert_int_eq(run_and_free(log, log_job_of(last + 1, last + 1, bytes_of(large, sizeof(large)))), WEIR_EIO);
	sync_fails = false;
	kv_close(log);
	remove_env(path);
	free(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/writers");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_waiting_reader_finds_what_it_waited_for);
	tcase_add_test(tc, jobs_go_back_before_they_are_durable_and_stopping_commits);
	tcase_add_test(tc, many_entries_are_committed_without_anybody_waiting);
	tcase_add_test(tc, a_full_state_gives_the_job_back);
	tcase_add_test(tc, without_room_nothing_is_told_of_that_is_not_durable);
	tcase_add_test(tc, the_log_is_written_whole_or_not_at_all);
	tcase_add_test(tc, a_full_log_can_be_truncated);
	tcase_add_test(tc, a_full_log_without_anything_to_truncate_takes_what_there_is_room_for);
	tcase_add_test(tc, a_writer_that_hangs_is_seen);
	tcase_add_test(tc, a_state_that_is_emptied_is_no_hang);
	tcase_add_test(tc, a_sync_that_fails_while_a_log_is_full_is_told);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
