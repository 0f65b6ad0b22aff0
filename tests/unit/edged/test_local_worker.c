/* The thread that answers: nothing is lost or answered twice, however it is held, dropped and ended. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/loop.h"
#include "edged/local_worker.h"
#include "tests/unit/edged/rig.h"
#include "tests/unit/edged/rig_topology.h"

#define READINGS 20000
#define TURNS_MAX 1000000

static struct rig *rig;
static struct loop *loop;
static struct local_worker *worker;
static unsigned done, right, busy;

static void on_done(void *arg, struct local_job *job)
{
	ck_assert_ptr_eq(arg, &done);
	char want[40];
	snprintf(want, sizeof(want), "\"count\": %d,", READINGS);
	done++;
	busy += job->rc == WEIR_EBUSY;
	if (!job->rc) {
		ck_assert_msg(strstr(buf_cstr(&job->answer), want) != NULL, "%s", buf_cstr(&job->answer));
		right++;
	}
	local_job_free(job);
}

static void setup(void)
{
	char text[64];
	done = right = busy = 0;
	rig = rig_new(CLUSTER EDGE(BIG) BY_SENSOR_HOUR);
	rig->cloud.deaf = true;
	for (int i = 0; i < READINGS; i++) {
		snprintf(text, sizeof(text), "load,sensor=s%d v=%d %%lld\n", i % 997, i);
		rig_line_at(rig, 0, text, i % 3600);
		if (i % 1000 == 999)
			ck_assert_int_eq(pipeline_checkpoint(rig->p, i % 3000 > 1000, rig_now(rig)), 0);
	}
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(local_worker_new(loop, rig->kv, on_done, &done, &worker), 0);
}

static void teardown(void)
{
	local_worker_free(worker);
	loop_free(loop);
	rig_free(rig);
}

static struct local_job *job_of_all(void)
{
	static const struct query_arg args[] = {{"stream", "load"}, {"by", ""}};
	struct query_args parsed;
	struct query_error error;
	ck_assert_int_eq(query_args_parse(rig->topology, args, 2, RIG_WALL_NS, &parsed, &error), 0);
	struct local_job *job = local_job_new(rig->topology, &parsed);
	job->view.edge = rig->topology->edges[0].name;
	job->watermark_ns[0] = INT64_MAX;
	return job;
}

/* How many it took of n. */
static unsigned give(unsigned n)
{
	unsigned taken = 0;
	for (unsigned i = 0; i < n; i++) {
		struct local_job *job = job_of_all();
		int rc = local_worker_give(worker, job);
		taken += !rc;
		if (rc) {
			ck_assert_int_eq(rc, WEIR_EBUSY);
			local_job_free(job);
		}
	}
	return taken;
}

static void await(unsigned n)
{
	for (unsigned turns = 0; done < n && turns < TURNS_MAX; turns++)
		loop_turn(loop, true);
	ck_assert_uint_eq(done, n);
}

START_TEST(each_is_answered)
{
	await(give(3));
	ck_assert_uint_eq(right, 3);
	local_worker_hold(worker); /* it would make room meanwhile */
	unsigned taken = give(30);
	ck_assert_uint_eq(taken, LOCAL_JOBS_MAX);
	local_worker_go(worker, rig->kv);
	await(3 + taken);
	ck_assert_uint_eq(right, 3 + taken);
}
END_TEST

START_TEST(what_was_held_begins_again)
{
	unsigned taken = give(LOCAL_JOBS_MAX);
	for (int i = 0; i < 50; i++) {
		local_worker_hold(worker);
		/* nobody reads: what a closed environment would not survive */
		struct kv_txn *txn;
		ck_assert_int_eq(kv_begin(rig->kv, true, &txn), 0);
		kv_abort(txn);
		local_worker_go(worker, rig->kv);
	}
	await(taken);
	ck_assert_uint_eq(right, taken);
}
END_TEST

/* A transaction of the worker that takes long to end. */
static struct kv_ops slow_ops;
static const struct kv_ops *real_ops;
static pthread_t main_thread;
static atomic_uint inside;
static atomic_bool holding;

static int slow_begin(struct kv *kv, bool write, struct kv_txn **ret_txn)
{
	int rc = real_ops->begin(kv, write, ret_txn);
	if (!rc && !pthread_equal(pthread_self(), main_thread))
		atomic_store(&inside, 1);
	return rc;
}

static void slow_abort(struct kv_txn *txn)
{
	bool ours = !pthread_equal(pthread_self(), main_thread);
	while (ours && !atomic_load(&holding))
		sched_yield();
	if (ours)
		usleep(50000);
	real_ops->abort(txn);
	if (ours)
		atomic_store(&inside, 0);
}

START_TEST(holding_waits_for_who_reads)
{
	main_thread = pthread_self();
	real_ops = rig->kv->ops;
	slow_ops = *real_ops;
	slow_ops.begin = slow_begin;
	slow_ops.abort = slow_abort;
	rig->kv->ops = &slow_ops;
	ck_assert_uint_eq(give(1), 1);
	while (!atomic_load(&inside))
		sched_yield();
	atomic_store(&holding, true);
	local_worker_hold(worker);
	ck_assert_uint_eq(atomic_load(&inside), 0);
	rig->kv->ops = real_ops;
	local_worker_go(worker, rig->kv);
	await(1);
	ck_assert_uint_eq(right, 1);
}
END_TEST

static void nothing(struct rig *r, unsigned n)
{
	(void)r;
	(void)n;
}

/* For good: the environment is another one afterwards. */
START_TEST(the_spool_may_be_opened_again)
{
	unsigned taken = give(LOCAL_JOBS_MAX);
	local_worker_hold(worker);
	struct salvage_report report;
	rig_crash(rig);
	rig_offline(rig, nothing, 0, &report); /* closes and opens it */
	ck_assert_int_eq(rig_open(rig), 0);
	local_worker_go(worker, rig->kv);
	await(taken);
	ck_assert_uint_eq(right, taken);
}
END_TEST

START_TEST(dropped_ones_come_back)
{
	struct local_job *jobs[LOCAL_JOBS_MAX];
	local_worker_hold(worker);
	for (unsigned i = 0; i < LOCAL_JOBS_MAX; i++) {
		jobs[i] = job_of_all();
		ck_assert_int_eq(local_worker_give(worker, jobs[i]), 0);
		if (i % 2)
			local_worker_drop(jobs[i]);
	}
	local_worker_go(worker, rig->kv);
	await(LOCAL_JOBS_MAX);
	ck_assert_uint_eq(busy, LOCAL_JOBS_MAX / 2);
	ck_assert_uint_eq(right, LOCAL_JOBS_MAX / 2);
}
END_TEST

START_TEST(all_come_back_at_the_end)
{
	unsigned taken = give(LOCAL_JOBS_MAX);
	local_worker_free(worker);
	worker = NULL;
	ck_assert_uint_eq(done, taken);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/local_worker");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, each_is_answered);
	tcase_add_test(tc, what_was_held_begins_again);
	tcase_add_test(tc, holding_waits_for_who_reads);
	tcase_add_test(tc, the_spool_may_be_opened_again);
	tcase_add_test(tc, dropped_ones_come_back);
	tcase_add_test(tc, all_come_back_at_the_end);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
