/* Results in a file on the node's own disk: lines of JSON, or CSV. Rows are on the disk (fsync) before they count as delivered; what a
 * crash left of a line is cut off when the file is opened. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cloudd/alert_json.h"
#include "cloudd/sink.h"
#include "cloudd/sink_csv.h"
#include "common/clock.h"
#include "common/err.h"

#define LINE_MAX_BYTES (1024 * 1024) /* of any line that is written here */
#define ROTATED_MAX 1000             /* files that are looked for */
#define JSON_BEGIN "{\"stream\": "
#define JSON_ALERT_BEGIN "{\"kind\": \"alert\""
#define CSV_BEGIN "start,end,"

struct sink_file {
	struct sink sink;
	char *path;
	int fd; /* only while open; -1: not */
	uint64_t size;
	int64_t born_ns; /* wall */
	struct sink_csv csv;
	struct buf header; /* CSV: the first line that the file has; empty: it has none yet */
	struct buf out;
	uint64_t rotations, torn;
};

static const struct stats_family families[] = {
	{"weir_cloud_sink_file_rotations_total", "files that were full, or old, and begun anew", STATS_COUNTER, {"sink"}},
	{"weir_cloud_sink_file_torn_total", "times that part of a line was cut off when the file was opened", STATS_COUNTER, {"sink"}},
	{"weir_cloud_sink_file_bytes", "size of the file that is written", STATS_GAUGE, {"sink"}},
};

static void values(const struct sink *s, uint64_t *ret_values)
{
	const struct sink_file *f = (const struct sink_file *)s;
	ret_values[0] = f->rotations;
	ret_values[1] = f->torn;
	ret_values[2] = f->size;
}

static int fail(struct sink_file *f, const char *what, char **ret_why)
{
	int error = errno;
	*ret_why = xasprintf("%s: %s: %s", f->path, what, strerror(error));
	return WEIR_EIO;
}

/* ---- the path ------------------------------------------------------------------------------------------------------ */

static char *path_of(const char *template, const char *node)
{
	struct buf b = {0};
	for (const char *p = template, *brace; *p; p = brace + 6) {
		brace = strstr(p, "{node}");
		if (!brace) {
			buf_put(&b, p, strlen(p));
			break;
		}
		buf_put(&b, p, (size_t)(brace - p));
		buf_put(&b, node, strlen(node));
	}
	char *path = xstrdup(buf_cstr(&b));
	buf_free(&b);
	return path;
}

/* That a file is there under its name is durable only with its folder. */
static int sync_folder(struct sink_file *f, char **ret_why)
{
	const char *slash = strrchr(f->path, '/');
	char *folder = slash ? xstrndup(f->path, (size_t)(slash - f->path) + 1) : xstrdup(".");
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	if (fd < 0)
		return fail(f, "its folder", ret_why);
	int rc = fsync(fd) ? fail(f, "its folder", ret_why) : 0;
	close(fd);
	return rc;
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static int64_t born_at(int fd)
{
	struct statx x;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME | STATX_MTIME, &x))
		return clock_wall_ns();
	const struct statx_timestamp *t = x.stx_mask & STATX_BTIME ? &x.stx_btime : &x.stx_mtime;
	return (int64_t)t->tv_sec * NS_PER_SEC + t->tv_nsec;
}

/* As far as it goes: a crash may have left a part. */
static bool begins_as(const char *have, size_t n, const char *want)
{
	size_t len = strlen(want);
	return !memcmp(have, want, n < len ? n : len);
}

/* Nobody's file but a sink's is written to. */
static int check_begin(struct sink_file *f, char **ret_why)
{
	const char *row = f->sink.conf->file.csv ? CSV_BEGIN : JSON_BEGIN, *alert = f->sink.conf->file.csv ? CSV_BEGIN : JSON_ALERT_BEGIN;
	char have[sizeof(JSON_BEGIN) + sizeof(JSON_ALERT_BEGIN) + sizeof(CSV_BEGIN)];
	ssize_t n = pread(f->fd, have, sizeof(have), 0);
	if (n < 0)
		return fail(f, "cannot be read", ret_why);
	if (begins_as(have, (size_t)n, row) || begins_as(have, (size_t)n, alert))
		return 0;
	*ret_why = xasprintf("%s: holds something else than this sink writes, and is left alone: move it away", f->path);
	return WEIR_EINVAL;
}

static int read_header(struct sink_file *f, char **ret_why)
{
	char *line = xmalloc(LINE_MAX_BYTES);
	ssize_t n = pread(f->fd, line, LINE_MAX_BYTES, 0);
	const char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
	buf_clear(&f->header);
	if (end)
		buf_put(&f->header, line, (size_t)(end - line) + 1);
	free(line);
	return n < 0 ? fail(f, "cannot be read", ret_why) : 0;
}

/* What follows the last newline was never finished. */
static int cut_torn(struct sink_file *f, char **ret_why)
{
	size_t want = f->size < LINE_MAX_BYTES ? (size_t)f->size : LINE_MAX_BYTES;
	char *tail = xmalloc(want + 1);
	ssize_t n = pread(f->fd, tail, want, (off_t)(f->size - want));
	const char *end = n > 0 ? memrchr(tail, '\n', (size_t)n) : NULL;
	uint64_t keep = f->size - want + (end ? (uint64_t)(end - tail) + 1 : 0);
	free(tail);
	if (n != (ssize_t)want)
		return fail(f, "cannot be read", ret_why);
	if (keep == f->size)
		return 0;
	if (!end && f->size > want) {
		*ret_why = xasprintf("%s: is no file of lines, and is left alone: move it away", f->path);
		return WEIR_EINVAL;
	}
	if (ftruncate(f->fd, (off_t)keep) || fsync(f->fd))
		return fail(f, "cannot be cut to whole lines", ret_why);
	f->torn++;
	f->size = keep;
	return 0;
}

static int look_into(struct sink_file *f, char **ret_why)
{
	struct stat st;
	if (fstat(f->fd, &st))
		return fail(f, "cannot be read", ret_why);
	if (!S_ISREG(st.st_mode)) {
		*ret_why = xasprintf("%s: is no plain file", f->path);
		return WEIR_EINVAL;
	}
	if (flock(f->fd, LOCK_EX | LOCK_NB)) {
		*ret_why = xasprintf("%s: another process writes it", f->path);
		return WEIR_EBUSY;
	}
	f->size = (uint64_t)st.st_size;
	f->born_ns = born_at(f->fd);
	int rc = f->size ? check_begin(f, ret_why) : 0;
	if (!rc)
		rc = cut_torn(f, ret_why);
	if (!rc && f->sink.conf->file.csv)
		rc = read_header(f, ret_why);
	return rc;
}

static int open_file(struct sink_file *f, char **ret_why)
{
	f->fd = open(f->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	if (f->fd < 0)
		return fail(f, "cannot be opened", ret_why);
	int rc = look_into(f, ret_why);
	return rc ? rc : sync_folder(f, ret_why);
}

static void close_file(struct sink_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

static int file_open(struct sink *s, char **ret_why)
{
	struct sink_file *f = (struct sink_file *)s;
	f->path = path_of(s->conf->file.path, s->node);
	return open_file(f, ret_why);
}

static void file_close(struct sink *s)
{
	struct sink_file *f = (struct sink_file *)s;
	close_file(f);
	free(f->path);
	f->path = NULL;
	sink_csv_free(&f->csv);
	buf_free(&f->header);
	buf_free(&f->out);
}

/* ---- rotation ------------------------------------------------------------------------------------------------------ */

static char *rotated(const struct sink_file *f, unsigned number)
{
	return xasprintf("%s.%u", f->path, number);
}

/* NAME.1 is the latest; one that is missing, because a crash came in between, is no matter. */
static int shift(struct sink_file *f, unsigned from, char **ret_why)
{
	char *was = from ? rotated(f, from) : xstrdup(f->path), *is = rotated(f, from + 1);
	bool bad = rename(was, is) && errno != ENOENT;
	int rc = bad ? fail(f, "cannot be renamed", ret_why) : 0;
	free(was);
	free(is);
	return rc;
}

static void remove_more(const struct sink_file *f)
{
	bool found = true;
	for (unsigned i = f->sink.conf->file.keep + 1; found && i <= ROTATED_MAX; i++) {
		char *path = rotated(f, i);
		found = !unlink(path);
		free(path);
	}
}

static int rotate(struct sink_file *f, char **ret_why)
{
	int rc = 0;
	for (unsigned i = f->sink.conf->file.keep; i-- > 0 && !rc;)
		rc = shift(f, i, ret_why);
	if (rc)
		return rc;
	remove_more(f);
	close_file(f);
	f->rotations++;
	return open_file(f, ret_why);
}

static bool is_old(const struct sink_file *f)
{
	return f->size && clock_wall_ns() - f->born_ns >= f->sink.conf->file.max_age_ns;
}

/* Somebody has renamed or removed it: what he has stays his. Or he has cut it, or written to it: it is looked into again. */
static bool was_touched(const struct sink_file *f)
{
	struct stat is, there;
	return fstat(f->fd, &is) || stat(f->path, &there) || is.st_ino != there.st_ino || is.st_dev != there.st_dev ||
	    (uint64_t)is.st_size != f->size;
}

static void file_idle(struct sink *s)
{
	struct sink_file *f = (struct sink_file *)s;
	char *why = NULL;
	if (f->fd >= 0 && is_old(f) && rotate(f, &why))
		close_file(f); /* the next delivery meets it, and says so */
	free(why);
}

/* ---- delivering ---------------------------------------------------------------------------------------------------- */

static bool other_header(const struct sink_file *f)
{
	return f->header.len != f->csv.header.len || memcmp(f->header.data, f->csv.header.data, f->header.len) != 0;
}

/* The columns are those of the version in force: rows of an earlier one, which are late revisions, go under these. */
static bool sets_columns(const struct sink_file *f, const struct stream_conf *s)
{
	return !f->csv.header.len || (s->phase == STREAM_CURRENT && !sink_csv_is_of(&f->csv, s));
}

static int write_out(struct sink_file *f, char **ret_why)
{
	size_t done = 0;
	while (done < f->out.len) {
		ssize_t n = write(f->fd, f->out.data + done, f->out.len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	if (done == f->out.len && !fdatasync(f->fd)) {
		f->size += f->out.len;
		buf_clear(&f->out);
		return 0;
	}
	int rc = fail(f, "cannot be written", ret_why);
	(void)!ftruncate(f->fd, (off_t)f->size); /* else what is there of it is there twice */
	return rc;
}

/* What was gathered, into a file that has room for it. */
static int flush(struct sink_file *f, char **ret_why)
{
	int rc = 0;
	if (!f->out.len)
		return 0;
	if (f->size && (is_old(f) || f->size + f->out.len > f->sink.conf->file.max_bytes))
		rc = rotate(f, ret_why);
	if (!rc && f->sink.conf->file.csv && f->size && other_header(f))
		rc = rotate(f, ret_why);
	if (!rc && f->sink.conf->file.csv && !f->size) {
		struct buf whole = {0};
		buf_put(&whole, f->csv.header.data, f->csv.header.len);
		buf_put(&whole, f->out.data, f->out.len);
		buf_free(&f->out);
		f->out = whole;
		buf_clear(&f->header);
		buf_put(&f->header, f->csv.header.data, f->csv.header.len);
	}
	return rc ? rc : write_out(f, ret_why);
}

static int put_csv(struct sink_file *f, const struct sink_row *r, char **ret_why)
{
	int rc = 0;
	if (sets_columns(f, r->stream)) {
		rc = flush(f, ret_why);
		sink_csv_set(&f->csv, r->stream);
	}
	if (!rc)
		sink_csv_row(&f->csv, r, &f->out);
	return rc;
}

static int begin_lines(struct sink_file *f, char **ret_why)
{
	int rc = 0;
	if (f->fd < 0 || was_touched(f)) {
		close_file(f);
		rc = open_file(f, ret_why);
	}
	buf_clear(&f->out);
	return rc;
}

static int file_alerts(struct sink *s, const struct sink_alerts *b, char **ret_why)
{
	struct sink_file *f = (struct sink_file *)s;
	int rc = begin_lines(f, ret_why);
	for (size_t i = 0; i < b->count && !rc; i++) {
		alert_event_json(&b->events[i], &f->out);
		buf_u8(&f->out, '\n');
	}
	return rc ? rc : flush(f, ret_why);
}

static int file_deliver(struct sink *s, const struct sink_batch *b, char **ret_why)
{
	struct sink_file *f = (struct sink_file *)s;
	int rc = begin_lines(f, ret_why);
	for (size_t i = 0; i < b->count && !rc; i++) {
		if (s->conf->file.csv) {
			rc = put_csv(f, &b->rows[i], ret_why);
		} else {
			sink_row_json(&b->rows[i], &f->out);
			buf_u8(&f->out, '\n');
		}
	}
	return rc ? rc : flush(f, ret_why);
}

const struct sink_ops sink_file_ops = {
	.size = sizeof(struct sink_file),
	.open = file_open,
	.deliver = file_deliver,
	.alerts = file_alerts,
	.idle = file_idle,
	.close = file_close,
	.families = families,
	.family_count = sizeof(families) / sizeof(families[0]),
	.values = values,
};
