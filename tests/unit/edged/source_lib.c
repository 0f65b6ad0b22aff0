#include "tests/unit/edged/source_lib.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

static const char *on_line(void *arg, const struct line *l)
{
	struct sink *k = arg;
	buf_put(&k->out, l->series.p, l->series.n);
	for (size_t i = 0; i < l->field_count; i++) {
		buf_u8(&k->out, ' ');
		buf_put(&k->out, l->fields[i].key.p, l->fields[i].key.n);
		buf_printf(&k->out, "=%g", l->fields[i].number);
	}
	buf_u8(&k->out, '\n');
	k->lines++;
	k->time_ns = l->has_time ? l->time_ns : INT64_MIN;
	return k->refusal;
}

static void on_refuse(void *arg, const char *reason)
{
	struct sink *k = arg;
	buf_printf(&k->out, "!%s\n", reason);
}

static void on_finished(void *arg, bool finished)
{
	((struct sink *)arg)->finished = finished;
}

static void on_want_commit(void *arg)
{
	((struct sink *)arg)->commits_wanted++;
}

void sink_commit(struct sink *k)
{
	struct buf mark = {0};
	source_mark(k->source, &mark);
	source_committed(k->source);
	buf_free(&mark);
}

static void on_tick(void *arg)
{
	(void)arg;
}

void sink_open(struct sink *k)
{
	*k = (struct sink){0};
	snprintf(k->folder, sizeof(k->folder), "/tmp/weir-source-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(k->folder));
	ck_assert_int_eq(loop_new(&k->loop), 0);
	k->tick = loop_timer_new(k->loop, on_tick, NULL);
	loop_timer_start(k->tick, 5, 5);
}

void sink_close(struct sink *k)
{
	source_free(k->source);
	loop_free(k->loop);
	buf_free(&k->out);
	DIR *d = opendir(k->folder);
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] != '.')
			unlink(sink_path(k, e->d_name));
	}
	closedir(d);
	rmdir(k->folder);
}

void sink_start(struct sink *k, const struct source_conf *conf, const struct buf *mark)
{
	struct source_io io = {.arg = k, .line = on_line, .refuse = on_refuse, .finished = on_finished,
	    .want_commit = on_want_commit};
	char *why = NULL;
	k->finished = false;
	k->source = source_new(k->loop, conf, &io);
	if (mark)
		ck_assert_int_eq(source_restore(k->source, bytes_of(mark->data, mark->len)), 0);
	ck_assert_msg(source_start(k->source, &why) == 0, "%s", why);
}

void sink_crash(struct sink *k)
{
	source_free(k->source);
	k->source = NULL;
}

void sink_until(struct sink *k, bool (*done)(struct sink *k))
{
	int64_t end = clock_mono_ns() + 30 * NS_PER_SEC;
	while (!done(k)) {
		ck_assert_msg(clock_mono_ns() < end, "it never came; so far:\n%s", buf_cstr(&k->out));
		loop_turn(k->loop, true);
	}
}

static void wait_for_bytes(struct sink *k, size_t n)
{
	int64_t end = clock_mono_ns() + 30 * NS_PER_SEC;
	while (k->out.len < n && clock_mono_ns() < end)
		loop_turn(k->loop, true);
}

void sink_expect(struct sink *k, const char *text)
{
	wait_for_bytes(k, strlen(text));
	sink_settle(k);
	ck_assert_str_eq(buf_cstr(&k->out), text);
	buf_clear(&k->out);
}

void sink_expect_next(struct sink *k, const char *text)
{
	size_t n = strlen(text);
	wait_for_bytes(k, n);
	ck_assert_msg(!strncmp(buf_cstr(&k->out), text, n), "not \"%s\" but \"%s\"", text, buf_cstr(&k->out));
	memmove(k->out.data, k->out.data + n, k->out.len - n);
	k->out.len -= n;
}

void sink_settle(struct sink *k)
{
	for (int i = 0; i < 20; i++)
		loop_turn(k->loop, false);
}

const char *sink_path(struct sink *k, const char *name)
{
	static char path[512];
	snprintf(path, sizeof(path), "%s/%s", k->folder, name);
	return path;
}

static void put(struct sink *k, const char *name, const char *text, int flags)
{
	int fd = open(sink_path(k, name), O_WRONLY | O_CREAT | flags, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

void sink_write(struct sink *k, const char *name, const char *text)
{
	put(k, name, text, O_TRUNC);
}

void sink_append(struct sink *k, const char *name, const char *text)
{
	put(k, name, text, O_APPEND);
}

void sink_rename(struct sink *k, const char *from, const char *to)
{
	char was[512];
	snprintf(was, sizeof(was), "%s", sink_path(k, from));
	ck_assert_int_eq(rename(was, sink_path(k, to)), 0);
}
