#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"
#include "edged/rotation.h"
#include "tests/unit/edged/source_lib.h"

static struct sink k;
static struct source_conf conf;
static char path[128];

static void setup(void)
{
	sink_open(&k);
	snprintf(path, sizeof(path), "%s/log", k.folder);
	conf = (struct source_conf){.type = SOURCE_FILE, .name = (char *)"file-1", .path = path, .follow = true};
}

static void teardown(void)
{
	sink_close(&k);
}

static bool is_finished(struct sink *s)
{
	return s->finished;
}

/* Crashes with the last mark, and starts again. */
static void restart_from(struct buf *mark)
{
	sink_crash(&k);
	sink_start(&k, &conf, mark);
}

static void take_mark(struct buf *mark)
{
	buf_clear(mark);
	source_mark(k.source, mark);
}

START_TEST(reads_to_the_end_and_finishes)
{
	struct buf mark = {0};
	conf.follow = false;
	sink_write(&k, "log", "a v=1\nbad\nb v=2");
	sink_start(&k, &conf, NULL);
	sink_until(&k, is_finished);
	sink_expect(&k, "a v=1\n!no_field\nb v=2\n");
	take_mark(&mark);
	restart_from(&mark);
	sink_until(&k, is_finished);
	sink_expect(&k, "");
	buf_free(&mark);
}
END_TEST

START_TEST(waits_for_a_file_that_is_not_there_yet)
{
	conf.follow = false;
	sink_start(&k, &conf, NULL);
	sink_settle(&k);
	ck_assert(!k.finished);
	sink_write(&k, "log", "a v=1\n");
	sink_until(&k, is_finished);
	sink_expect(&k, "a v=1\n");
}
END_TEST

/* Absent is no fault: it may come. What is there and is none is one, until it is a file. */
START_TEST(a_file_that_cannot_be_read_is_told)
{
	const char *name = "weir_edge_source_file_unreadable{source=\"file-1\"} ";
	struct buf metrics = {0};
	const bool expected[] = {false, true, false};
	for (int i = 0; i < 3; i++) {
		if (i == 1)
			ck_assert_int_eq(mkdir(path, 0755), 0);
		if (i == 2) {
			ck_assert_int_eq(rmdir(path), 0);
			sink_write(&k, "log", "a v=1\n");
		}
		if (!i)
			sink_start(&k, &conf, NULL);
		char want[96];
		snprintf(want, sizeof(want), "%s%d\n", name, expected[i]);
		for (;;) { /* at the latest when it looks by itself, once a second */
			sink_settle(&k);
			buf_clear(&metrics);
			sources_put_metrics(&k.source, &conf, 1, &metrics);
			if (strstr(buf_cstr(&metrics), want))
				break;
			loop_turn(k.loop, true);
		}
	}
	sink_expect(&k, "a v=1\n");
	buf_free(&metrics);
}
END_TEST

START_TEST(follows_what_is_appended)
{
	sink_write(&k, "log", "a v=1\nb v");
	sink_start(&k, &conf, NULL);
	sink_expect(&k, "a v=1\n");
	sink_append(&k, "log", "=2\nc v=3\n");
	sink_expect(&k, "b v=2\nc v=3\n");
	ck_assert(!k.finished);
}
END_TEST

/* Wherever it stops: what the mark stands for and what comes after it are together each line once. */
START_TEST(goes_on_exactly_from_any_mark)
{
	static const char whole[] = "a v=1\nb,t=x v=2,w=3 5\n\n# c\nc s=\"1\n2\" 6\nbad\nd v=4\n";
	static const char lines[] = "a v=1\nb,t=x v=2 w=3\nc s=0\n!no_field\nd v=4\n";
	for (size_t cut = 0; cut < sizeof(whole); cut++) {
		char first[sizeof(whole)];
		struct buf mark = {0};
		memcpy(first, whole, cut);
		first[cut] = 0;
		sink_write(&k, "log", first);
		sink_start(&k, &conf, NULL);
		sink_settle(&k);
		take_mark(&mark);
		sink_append(&k, "log", whole + cut);
		restart_from(&mark);
		sink_expect(&k, lines);
		sink_crash(&k);
		unlink(path);
		buf_free(&mark);
	}
}
END_TEST

START_TEST(follows_through_rename_and_create)
{
	sink_write(&k, "log", "a v=1\n");
	sink_start(&k, &conf, NULL);
	sink_expect(&k, "a v=1\n");
	sink_rename(&k, "log", "log.1");
	sink_append(&k, "log.1", "b v=2\nhalf v=3"); /* its writer has it open still */
	sink_write(&k, "log", "c v=4\n");
	sink_expect(&k, "b v=2\nhalf v=3\nc v=4\n");
	sink_append(&k, "log", "d v=5\n");
	sink_expect(&k, "d v=5\n");
}
END_TEST

START_TEST(a_rotated_file_is_read_as_long_as_it_grows)
{
	char text[100];
	struct buf expected = {0};
	sink_write(&k, "log", "a v=1\n");
	sink_start(&k, &conf, NULL);
	sink_expect(&k, "a v=1\n");
	sink_rename(&k, "log", "log.1");
	sink_write(&k, "log", "c v=1\n");
	for (int i = 0; i < 15; i++) { /* its writer is told late to open the new one; far less than ROTATE_WAIT_NS lies between two */
		snprintf(text, sizeof(text), "b v=%d\n", i);
		sink_append(&k, "log.1", text);
		buf_printf(&expected, "%s", text);
		for (int64_t end = clock_mono_ns() + 200 * NS_PER_MS; clock_mono_ns() < end;)
			loop_turn(k.loop, true);
	}
	buf_printf(&expected, "c v=1\n");
	sink_expect(&k, buf_cstr(&expected));
	buf_free(&expected);
}
END_TEST

START_TEST(follows_through_truncation)
{
	sink_write(&k, "log", "a v=1\nb v=2\n");
	sink_start(&k, &conf, NULL);
	sink_expect(&k, "a v=1\nb v=2\n");
	sink_write(&k, "log", "c v=3\n");
	sink_expect(&k, "c v=3\n");
	sink_write(&k, "log", "d v=4\ne v=5\nf v=6\n"); /* longer than what was read */
	sink_expect(&k, "d v=4\ne v=5\nf v=6\n");
}
END_TEST

START_TEST(what_a_copy_holds_is_not_missed)
{
	struct buf lines = {0};
	for (int i = 0; i < 20; i++)
		buf_printf(&lines, "a v=%d\n", i);
	sink_write(&k, "log", buf_cstr(&lines));
	sink_start(&k, &conf, NULL);
	sink_expect(&k, buf_cstr(&lines));
	source_pause(k.source, true);
	sink_append(&k, "log", "b v=2\n");
	buf_printf(&lines, "b v=2\n");
	sink_write(&k, "log.1", buf_cstr(&lines)); /* copytruncate */
	buf_free(&lines);
	sink_write(&k, "log", "c v=3\n");
	source_pause(k.source, false);
	sink_expect(&k, "b v=2\nc v=3\n");
}
END_TEST

START_TEST(rotated_while_it_was_down)
{
	struct buf mark = {0};
	sink_write(&k, "log", "a v=1\nb v=2\n");
	sink_start(&k, &conf, NULL);
	sink_expect(&k, "a v=1\nb v=2\n");
	take_mark(&mark);
	sink_crash(&k);
	sink_append(&k, "log", "c v=3\n");
	sink_rename(&k, "log", "log.1");
	sink_write(&k, "log", "d v=4\n");
	sink_rename(&k, "log.1", "log.2"); /* and again */
	sink_rename(&k, "log", "log.1");
	sink_write(&k, "log.3", "older v=0\n");
	sink_write(&k, "log", "e v=5\n");
	sink_start(&k, &conf, &mark);
	sink_expect(&k, "c v=3\nd v=4\ne v=5\n");
	take_mark(&mark);
	restart_from(&mark);
	sink_settle(&k);
	sink_append(&k, "log", "f v=6\n");
	sink_expect(&k, "f v=6\n");
	buf_free(&mark);
}
END_TEST

START_TEST(a_mark_within_the_rotated_file_holds)
{
	struct buf mark = {0};
	sink_write(&k, "log", "a v=1\n");
	sink_start(&k, &conf, NULL);
	sink_expect(&k, "a v=1\n");
	sink_rename(&k, "log", "log-20240101");
	sink_append(&k, "log-20240101", "b v=2\nc v=");
	sink_expect(&k, "b v=2\n");
	take_mark(&mark);
	sink_append(&k, "log-20240101", "3\n");
	sink_write(&k, "log", "d v=4\n");
	restart_from(&mark);
	sink_expect(&k, "c v=3\nd v=4\n");
	buf_free(&mark);
}
END_TEST

START_TEST(another_file_under_the_name_is_read_from_its_start)
{
	struct buf mark = {0};
	sink_write(&k, "log", "a v=1\nb v=2\n");
	sink_start(&k, &conf, NULL);
	sink_expect(&k, "a v=1\nb v=2\n");
	take_mark(&mark);
	sink_crash(&k);
	sink_write(&k, "log", "x v=1\ny v=2\nz v=3\n"); /* the same inode */
	sink_start(&k, &conf, &mark);
	sink_expect(&k, "x v=1\ny v=2\nz v=3\n");
	buf_free(&mark);
}
END_TEST

START_TEST(a_mark_outlives_a_missing_file)
{
	struct buf mark = {0};
	sink_write(&k, "log", "a v=1\n");
	sink_start(&k, &conf, NULL);
	sink_expect(&k, "a v=1\n");
	take_mark(&mark);
	sink_crash(&k);
	sink_rename(&k, "log", "elsewhere");
	conf.follow = false; /* a followed file would be found by its inode */
	sink_start(&k, &conf, &mark);
	sink_settle(&k);
	buf_clear(&mark);
	source_mark(k.source, &mark);
	ck_assert_uint_gt(mark.len, 0);
	sink_append(&k, "elsewhere", "b v=2\n");
	sink_rename(&k, "elsewhere", "log");
	sink_until(&k, is_finished);
	sink_expect(&k, "b v=2\n");
	buf_free(&mark);
}
END_TEST

START_TEST(skips_to_the_end)
{
	struct buf mark = {0};
	sink_write(&k, "log", "a v=1\n");
	sink_start(&k, &conf, NULL);
	sink_expect(&k, "a v=1\n");
	source_pause(k.source, true);
	sink_append(&k, "log", "b v=2\nhalf of");
	source_skip_to_end(k.source);
	take_mark(&mark);
	source_pause(k.source, false);
	sink_append(&k, "log", " v=3\nc v=4\n");
	sink_expect(&k, "c v=4\n");
	restart_from(&mark); /* a mark within a line: the rest of it does not count either */
	sink_expect(&k, "c v=4\n");
	buf_free(&mark);
}
END_TEST

START_TEST(paused_reads_nothing)
{
	sink_write(&k, "log", "a v=1\n");
	sink_start(&k, &conf, NULL);
	source_pause(k.source, true);
	sink_settle(&k);
	sink_expect(&k, "");
	source_pause(k.source, false);
	sink_expect(&k, "a v=1\n");
}
END_TEST

static size_t turns;

static void count_turn(void *arg)
{
	(void)arg;
	turns++;
}

static bool all_lines(struct sink *s)
{
	return s->lines == 500000;
}

START_TEST(large_files_leave_turns_to_others)
{
	FILE *f = fopen(path, "w");
	for (int i = 0; i < 500000; i++)
		fprintf(f, "a v=%d\n", i % 10);
	fclose(f);
	loop_on_turn_end(k.loop, count_turn, NULL);
	turns = 0;
	sink_start(&k, &conf, NULL);
	sink_until(&k, all_lines);
	/* libuv looks at timers twice where a turn is run by itself: up to two shares in one. */
	ck_assert_uint_ge(turns, 500000 * 6 / SOURCE_TURN_BYTES / 2);
	struct source_counters c;
	source_counters(k.source, &c);
	ck_assert_uint_eq(c.lines, 500000);
	ck_assert_uint_eq(c.bytes, 500000 * 6);
}
END_TEST

/* Rotated to any names, in any order: what was read once is not read again. */
START_TEST(odd_names_are_not_read_twice)
{
	struct buf mark = {0};
	sink_write(&k, "log", "a v=1\n");
	sink_start(&k, &conf, NULL);
	sink_expect(&k, "a v=1\n");
	sink_rename(&k, "log", "log.1");
	sink_append(&k, "log.1", "b v=2\n");
	sink_write(&k, "log", "c v=3\n");
	sink_expect(&k, "b v=2\nc v=3\n");
	take_mark(&mark);
	sink_crash(&k);
	sink_append(&k, "log", "d v=4\n");
	sink_rename(&k, "log", "log.2"); /* by its number older than log.1 */
	ck_assert_int_eq(utimes(sink_path(&k, "log.1"), NULL), 0); /* and log.1 looks newer */
	sink_write(&k, "log", "e v=5\n");
	sink_start(&k, &conf, &mark);
	sink_expect(&k, "d v=4\ne v=5\n");
	buf_free(&mark);
}
END_TEST

START_TEST(marks_of_any_content_are_safe)
{
	static const uint8_t bad[] = {SOURCE_FILE, 1, 0, 5, 2, 40};
	struct source_io io = {0};
	struct source *s = source_new(k.loop, &conf, &io);
	for (size_t n = 2; n <= sizeof(bad); n++)
		ck_assert_int_lt(source_restore(s, bytes_of(bad, n)), 0);
	static const uint8_t newer[] = {SOURCE_FILE, 2, 0};
	ck_assert_int_eq(source_restore(s, bytes_of(newer, sizeof(newer))), WEIR_EVERSION);
	static const uint8_t lying[] = {SOURCE_FILE, 1, 0, 5, 1, 2, 'a', 'b', 0, 0}; /* two bytes before position 1 */
	ck_assert_int_eq(source_restore(s, bytes_of(lying, sizeof(lying))), WEIR_ECORRUPT);
	static const uint8_t other[] = {SOURCE_SIMULATE, 9, 9}; /* the name was another type's: a new source */
	ck_assert_int_eq(source_restore(s, bytes_of(other, sizeof(other))), 0);
	source_free(s);
}
END_TEST

START_TEST(siblings_are_in_order)
{
	static const char *const names[] = {"log.10", "log.9", "log.2", "log.1"};
	struct stat st, got;
	struct rotation_done done = {0};
	unsigned passed;
	for (size_t i = 0; i < 4; i++)
		sink_write(&k, names[i], names[i]);
	sink_write(&k, "log.1.bak", "x"); /* sorts with its number, no harm */
	sink_write(&k, "logger", "x");
	sink_write(&k, "log.old", "x");
	unlink(sink_path(&k, "log.1.bak"));
	for (size_t i = 0; i + 1 < 4; i++) {
		ck_assert_int_eq(stat(sink_path(&k, names[i]), &st), 0);
		st.st_mtim.tv_nsec = 0; /* all were written within a clock's tick */
		int fd = rotation_next(k.folder, "log", &st, &done, &got, &passed);
		ck_assert_int_ge(fd, 0);
		close(fd);
		ck_assert_int_eq(stat(sink_path(&k, names[i + 1]), &st), 0);
		ck_assert(st.st_ino == got.st_ino);
	}
	ck_assert_int_lt(rotation_next(k.folder, "log", &st, &done, &got, &passed), 0);
	sink_write(&k, "log", "x");
	sink_rename(&k, "log.9", "log.9.gz");
	ck_assert_int_eq(stat(sink_path(&k, "log.10"), &st), 0);
	st.st_mtim = (struct timespec){0};
	int fd = rotation_next(k.folder, "log", &st, &done, &got, &passed);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_uint_eq(passed, 1);
	ck_assert_int_eq(stat(sink_path(&k, "log.2"), &st), 0);
	ck_assert(st.st_ino == got.st_ino);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/source_file");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, reads_to_the_end_and_finishes);
	tcase_add_test(tc, waits_for_a_file_that_is_not_there_yet);
	tcase_add_test(tc, a_file_that_cannot_be_read_is_told);
	tcase_add_test(tc, follows_what_is_appended);
	tcase_add_test(tc, goes_on_exactly_from_any_mark);
	tcase_add_test(tc, follows_through_rename_and_create);
	tcase_add_test(tc, a_rotated_file_is_read_as_long_as_it_grows);
	tcase_add_test(tc, follows_through_truncation);
	tcase_add_test(tc, what_a_copy_holds_is_not_missed);
	tcase_add_test(tc, rotated_while_it_was_down);
	tcase_add_test(tc, a_mark_within_the_rotated_file_holds);
	tcase_add_test(tc, another_file_under_the_name_is_read_from_its_start);
	tcase_add_test(tc, a_mark_outlives_a_missing_file);
	tcase_add_test(tc, skips_to_the_end);
	tcase_add_test(tc, paused_reads_nothing);
	tcase_add_test(tc, large_files_leave_turns_to_others);
	tcase_add_test(tc, odd_names_are_not_read_twice);
	tcase_add_test(tc, marks_of_any_content_are_safe);
	tcase_add_test(tc, siblings_are_in_order);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
