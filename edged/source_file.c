/* Line protocol in a file: read to its end, or followed for ever, through rotation.
 *
 *            open                    end, not followed
 *   WAITING -------> READING -----------------------------> DONE
 *      ^                |  ^
 *      | nothing        |  | next file (rotation.h): the younger sibling, else the path itself
 *      +----------------+--+ end, and the path names another file, and nothing came for ROTATE_WAIT_NS (its writer may still
 *                            have this one open)
 *
 * Reading compares: each read begins with the last bytes of the one before. Where they are no longer there, the file was
 * truncated or overwritten in place; what was missed of it is then read from the copy that was made before, if there is one,
 * and the file from its start. A last line without newline counts at the end of a file that is left, not at the end of one
 * that is followed.
 *
 * The mark: inode, position (behind the last whole line given out), first bytes, bytes before the position. After a restart
 * the file is known by these, under its own name or another in the same folder. inotify tells of changes; a slow poll stands in
 * where it cannot (network filesystems, limits). */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "edged/rotation.h"
#include "edged/source_impl.h"

#define MARK_VERSION 1
#define MARK_DISCARD 1 /* flag: the position lies within a line, whose rest does not count */
#define POLL_MS 1000
#define ROTATE_WAIT_NS NS_PER_SEC
#define NOTIFY_EVENTS (IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE)

struct file {
	struct source base;
	struct source_parser parser;
	char *folder, *name;
	int fd;                /* -1: waiting, or done */
	bool started, done;
	bool discard;          /* until the next newline */
	bool known;            /* id is of a file read before (with fd -1: by an earlier run) */
	struct rotation_id id; /* its position: bytes read; ahead of the mark's by what the parser holds */
	struct rotation_done finished;
	bool left;             /* the path names another file, and nothing came since left_ns (mono) */
	int64_t left_ns;
	bool told_missing;
	bool unreadable; /* it cannot be opened or read, and not for being absent */
	struct loop_timer *pump, *poll;
	int notify;
	struct loop_fd *notify_watch;
	bool notify_on; /* the folder is watched */
	uint8_t *chunk; /* ROTATION_CHECK_BYTES and SOURCE_CHUNK_BYTES */
};

static struct file *file_of(struct source *s)
{
	return (struct file *)s;
}

static const char *path_of(const struct file *f)
{
	return f->base.conf->path;
}

static void wake(struct file *f)
{
	if (f->started && !f->base.paused && !f->done)
		loop_timer_start(f->pump, SOURCE_PUMP_MS, 0);
}

/* ---- one file ------------------------------------------------------------------------------------------------- */

static void begin(struct file *f, int fd, uint64_t inode)
{
	f->fd = fd;
	f->id = (struct rotation_id){.inode = inode};
	f->known = true;
	f->left = false;
	f->discard = false;
	line_parser_reset(&f->parser.lines);
}

static void leave(struct file *f)
{
	line_parser_finish(&f->parser.lines);
	close(f->fd);
	f->fd = -1;
}

/* n bytes at `bytes` were read at the position, behind the tail. */
static void advance(struct rotation_id *id, const uint8_t *tail_and_bytes, size_t n)
{
	const uint8_t *bytes = tail_and_bytes + id->tail_len;
	if (id->position == id->head_len && id->head_len < ROTATION_CHECK_BYTES) {
		size_t more = ROTATION_CHECK_BYTES - id->head_len;
		more = more < n ? more : n;
		memcpy(id->head + id->head_len, bytes, more);
		id->head_len += more;
	}
	id->position += n;
	size_t total = id->tail_len + n;
	size_t keep = total < ROTATION_CHECK_BYTES ? total : ROTATION_CHECK_BYTES;
	memcpy(id->tail, tail_and_bytes + total - keep, keep);
	id->tail_len = keep;
}

static void feed(struct file *f, const uint8_t *bytes, size_t n)
{
	if (f->discard) {
		const uint8_t *nl = memchr(bytes, '\n', n);
		size_t skip = nl ? (size_t)(nl - bytes) + 1 : n;
		f->discard = !nl;
		bytes += skip;
		n -= skip;
	}
	source_feed(&f->parser, bytes, n);
}

enum got { GOT_BYTES, GOT_END, GOT_OTHER, GOT_ERROR };

static enum got read_chunk(struct file *f, size_t *ret_n)
{
	struct rotation_id *id = &f->id;
	size_t tail_len = id->tail_len;
	ssize_t n = pread(f->fd, f->chunk, tail_len + SOURCE_CHUNK_BYTES, (off_t)(id->position - tail_len));
	if (n < 0)
		return errno == EINTR ? GOT_BYTES : GOT_ERROR;
	if ((size_t)n < tail_len || memcmp(f->chunk, id->tail, tail_len))
		return GOT_OTHER;
	*ret_n = (size_t)n - tail_len;
	if (!*ret_n)
		return GOT_END;
	advance(id, f->chunk, *ret_n);
	feed(f, f->chunk + tail_len, *ret_n);
	return GOT_BYTES;
}

/* ---- from file to file ---------------------------------------------------------------------------------------- */

/* The file was truncated or overwritten: goes on in the copy made before, else at its start. */
static void replaced_in_place(struct file *f)
{
	struct stat st;
	int copy = f->base.conf->follow ? rotation_find(f->folder, f->name, &f->id, &st) : -1;
	uint64_t inode = f->id.inode;
	if (source_may_log(&f->base))
		log_info("source", "the file was truncated or overwritten; source=%s path=%s position=%llu copy=%s",
		    f->base.conf->name, path_of(f), (unsigned long long)f->id.position, copy >= 0 ? "found" : "none");
	if (copy >= 0) {
		close(f->fd);
		f->fd = copy;
		f->id.inode = (uint64_t)st.st_ino;
		return;
	}
	line_parser_finish(&f->parser.lines);
	begin(f, f->fd, inode);
}

static void go_to_next(struct file *f, const struct stat *ours)
{
	struct stat st;
	unsigned passed = 0;
	struct rotation_done finished = f->finished;
	rotation_done_add(&finished, &f->id);
	int fd = rotation_next(f->folder, f->name, ours, &finished, &st, &passed);
	if (fd < 0)
		return; /* tried again at the next poll */
	if (passed)
		log_warn("source", "%u rotated files are compressed and cannot be read: rotate less often, or with delaycompress; "
		                   "source=%s path=%s",
		    passed, f->base.conf->name, path_of(f));
	log_info("source", "rotated: going on with the next file; source=%s path=%s", f->base.conf->name, path_of(f));
	leave(f);
	f->finished = finished;
	begin(f, fd, (uint64_t)st.st_ino);
	wake(f);
}

/* At the end of a file that is followed: does the path still name it? */
static void look_for_rotation(struct file *f)
{
	struct stat st, now;
	int64_t mono = clock_mono_ns();
	if (fstat(f->fd, &st) || stat(path_of(f), &now) || (st.st_ino == now.st_ino && st.st_dev == now.st_dev)) {
		f->left = false;
		return;
	}
	if (!f->left) {
		f->left = true;
		f->left_ns = mono;
	} else if (mono - f->left_ns >= ROTATE_WAIT_NS) {
		go_to_next(f, &st);
	}
}

static void finish(struct file *f)
{
	leave(f);
	f->done = true;
	log_info("source", "the file has been read to its end; source=%s path=%s", f->base.conf->name, path_of(f));
	source_set_finished(&f->base, true);
}

static void tell_missing(struct file *f, int error)
{
	f->unreadable = error != ENOENT;
	if (f->told_missing)
		return;
	f->told_missing = true;
	log_warn("source", "cannot read the file, waiting for it: %s; source=%s path=%s",
	    error == EINVAL ? "not a plain file" : strerror(error), f->base.conf->name, path_of(f));
}

/* Nothing is open: the file that an earlier run was in, else the path. */
static bool open_file(struct file *f)
{
	struct stat st;
	int fd = rotation_open(f->folder, f->name, &st);
	int error = errno;
	if (f->known && fd >= 0 && (uint64_t)st.st_ino == f->id.inode && rotation_same_content(fd, &f->id)) {
		f->fd = fd;
		return true;
	}
	if (f->known && f->base.conf->follow) {
		int old = rotation_find(f->folder, f->name, &f->id, &st);
		if (old >= 0) {
			if (fd >= 0)
				close(fd);
			f->fd = old;
			f->id.inode = (uint64_t)st.st_ino;
			log_info("source", "finishing the rotated file first; source=%s path=%s", f->base.conf->name, path_of(f));
			return true;
		}
	}
	if (fd < 0) {
		tell_missing(f, error);
		return false;
	}
	if (f->known && f->id.position)
		log_warn("source", "the file is not the one read before, which is gone: reading it from its start; source=%s path=%s",
		    f->base.conf->name, path_of(f));
	begin(f, fd, (uint64_t)st.st_ino);
	return true;
}

/* ---- the turn --------------------------------------------------------------------------------------------------- */

static void on_pump(void *arg)
{
	struct file *f = arg;
	if (f->base.paused || f->done || (f->fd < 0 && !open_file(f)))
		return;
	f->told_missing = false;
	f->unreadable = false;
	for (size_t done = 0; done < SOURCE_TURN_BYTES;) {
		size_t n = 0;
		switch (read_chunk(f, &n)) {
		case GOT_BYTES:
			done += n;
			f->left = f->left && !n;
			break;
		case GOT_END:
			if (f->base.conf->follow)
				look_for_rotation(f);
			else
				finish(f);
			return;
		case GOT_OTHER:
			replaced_in_place(f);
			done += SOURCE_CHUNK_BYTES;
			break;
		case GOT_ERROR:
			f->unreadable = true;
			if (source_may_log(&f->base))
				log_error("source", "cannot read the file: %s; source=%s path=%s", strerror(errno), f->base.conf->name,
				    path_of(f));
			return;
		}
	}
	wake(f);
}

static void watch_folder(struct file *f)
{
	if (f->notify >= 0 && !f->notify_on)
		f->notify_on = inotify_add_watch(f->notify, f->folder, NOTIFY_EVENTS) >= 0;
}

static void on_poll(void *arg)
{
	struct file *f = arg;
	watch_folder(f);
	wake(f);
}

static void on_notify(void *arg, unsigned events)
{
	(void)events;
	struct file *f = arg;
	union {
		struct inotify_event event;
		char bytes[4096];
	} buffer;
	ssize_t n = read(f->notify, buffer.bytes, sizeof(buffer.bytes));
	bool ours = false;
	for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
		struct inotify_event e;
		memcpy(&e, buffer.bytes + at, sizeof(e));
		const char *name = buffer.bytes + at + sizeof(e);
		if (e.mask & (IN_IGNORED | IN_UNMOUNT))
			f->notify_on = false;
		ours = ours || !e.len || !strncmp(name, f->name, strlen(f->name));
		at += (ssize_t)(sizeof(e) + e.len);
	}
	if (ours)
		wake(f);
}

/* ---- the source ------------------------------------------------------------------------------------------------- */

static void split_path(struct file *f)
{
	const char *path = path_of(f), *slash = strrchr(path, '/');
	if (!slash) {
		f->folder = xstrdup(".");
		f->name = xstrdup(path);
	} else {
		f->folder = slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
		f->name = xstrdup(slash + 1);
	}
}

static void start_notify(struct file *f)
{
	f->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (f->notify < 0 || loop_fd_new(f->base.loop, f->notify, on_notify, f, &f->notify_watch)) {
		log_info("source", "no inotify: looking once a second; source=%s", f->base.conf->name);
		return;
	}
	loop_fd_watch(f->notify_watch, LOOP_READ);
	watch_folder(f);
}

static int file_start(struct source *s, char **ret_why)
{
	struct file *f = file_of(s);
	split_path(f);
	if (!*f->name) {
		*ret_why = xasprintf("source %s: `%s` is a folder, not a file", s->conf->name, s->conf->path);
		return WEIR_EINVAL;
	}
	source_parser_init(&f->parser, s);
	f->fd = -1;
	f->notify = -1;
	f->chunk = xmalloc(ROTATION_CHECK_BYTES + SOURCE_CHUNK_BYTES);
	f->pump = loop_timer_new(s->loop, on_pump, f);
	f->poll = loop_timer_new(s->loop, on_poll, f);
	f->started = true;
	start_notify(f);
	loop_timer_start(f->poll, POLL_MS, POLL_MS);
	wake(f);
	return 0;
}

static void file_pause(struct source *s)
{
	wake(file_of(s));
}

/* What lies before the mark's position, which may be well before what was read last. */
static void id_of_mark(struct file *f, struct rotation_id *ret)
{
	size_t pending = f->started ? line_parser_pending(&f->parser.lines) : 0;
	*ret = f->id;
	if (!pending)
		return;
	ret->position -= pending;
	size_t n = ret->position < ROTATION_CHECK_BYTES ? (size_t)ret->position : ROTATION_CHECK_BYTES;
	ssize_t got = f->fd < 0 ? 0 : pread(f->fd, ret->tail, n, (off_t)(ret->position - n));
	ret->tail_len = got == (ssize_t)n ? n : 0; /* shrunk just now: the next read will see to it */
	if (ret->head_len > ret->position)
		ret->head_len = (size_t)ret->position;
}

static void file_mark(struct source *s, struct buf *out)
{
	struct file *f = file_of(s);
	struct rotation_id id;
	if (!f->known)
		return;
	id_of_mark(f, &id);
	buf_u8(out, MARK_VERSION);
	buf_u8(out, f->discard ? MARK_DISCARD : 0);
	buf_varint(out, id.inode);
	buf_varint(out, id.position);
	buf_bytes(out, id.head, id.head_len);
	buf_bytes(out, id.tail, id.tail_len);
	buf_varint(out, f->finished.count);
	for (size_t i = 0; i < f->finished.count; i++) {
		buf_varint(out, f->finished.files[i].inode);
		buf_bytes(out, f->finished.files[i].head, f->finished.files[i].head_len);
	}
}

static void read_finished(struct rd *r, struct rotation_done *ret)
{
	size_t count = (size_t)rd_varint_max(r, ROTATION_DONE_MAX);
	for (size_t i = 0; i < count; i++) {
		struct rotation_id id = {.inode = rd_varint(r)};
		const uint8_t *head = rd_bytes(r, ROTATION_DONE_BYTES, &id.head_len);
		if (!head)
			return;
		memcpy(id.head, head, id.head_len);
		rotation_done_add(ret, &id);
	}
}

static int file_restore(struct source *s, struct bytes mark)
{
	struct file *f = file_of(s);
	struct rd r = rd_init(mark.p, mark.n);
	struct rotation_id id = {0};
	if (rd_u8(&r) != MARK_VERSION)
		return r.err ? r.err : WEIR_EVERSION;
	uint8_t flags = rd_u8(&r);
	id.inode = rd_varint(&r);
	id.position = rd_varint_max(&r, INT64_MAX);
	const uint8_t *head = rd_bytes(&r, ROTATION_CHECK_BYTES, &id.head_len);
	const uint8_t *tail = rd_bytes(&r, ROTATION_CHECK_BYTES, &id.tail_len);
	struct rotation_done finished = {0};
	read_finished(&r, &finished);
	int rc = rd_finish(&r);
	if (rc)
		return rc;
	if (id.head_len > id.position || id.tail_len > id.position)
		return WEIR_ECORRUPT;
	memcpy(id.head, head, id.head_len);
	memcpy(id.tail, tail, id.tail_len);
	f->id = id;
	f->finished = finished;
	f->known = true;
	f->discard = flags & MARK_DISCARD;
	return 0;
}

/* Where the file ends now, as if it had been read up to there. */
static void seek_to_end(struct file *f, uint64_t size)
{
	struct rotation_id *id = &f->id;
	size_t head = size < ROTATION_CHECK_BYTES ? (size_t)size : ROTATION_CHECK_BYTES;
	ssize_t got = pread(f->fd, id->head, head, 0);
	id->head_len = got == (ssize_t)head ? head : 0;
	got = pread(f->fd, id->tail, head, (off_t)(size - head));
	id->tail_len = got == (ssize_t)head ? head : 0;
	id->position = size;
	f->discard = id->tail_len && id->tail[id->tail_len - 1] != '\n';
}

static void file_skip_to_end(struct source *s)
{
	struct file *f = file_of(s);
	struct stat st;
	if (!f->started || f->done)
		return;
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	struct rotation_id before = f->id;
	bool known = f->known;
	f->known = false;
	line_parser_reset(&f->parser.lines);
	int fd = rotation_open(f->folder, f->name, &st);
	if (fd < 0)
		return;
	known = known && before.inode == (uint64_t)st.st_ino && before.position <= (uint64_t)st.st_size;
	log_warn("source", "not read up to its end: %s; source=%s skipped_bytes=%" PRIu64,
	    known ? "what is behind the last position" : "how much of it was read before is not known, so all of it is passed over",
	    s->conf->name, (uint64_t)st.st_size - (known ? before.position : 0));
	begin(f, fd, (uint64_t)st.st_ino);
	seek_to_end(f, (uint64_t)st.st_size);
	wake(f);
}

static void file_free(struct source *s)
{
	struct file *f = file_of(s);
	free(f->folder);
	free(f->name);
	if (!f->started)
		return;
	if (f->fd >= 0)
		close(f->fd);
	loop_timer_free(f->pump);
	loop_timer_free(f->poll);
	if (f->notify_watch)
		loop_fd_free(f->notify_watch);
	if (f->notify >= 0)
		close(f->notify);
	source_parser_free(&f->parser);
	free(f->chunk);
}

static const struct stats_family families[] = {
	{"weir_edge_source_file_unreadable", "1: the file cannot be opened or read: rights, the service's sandbox, no plain file, the disk; not: it is absent",
	    STATS_GAUGE, {"source"}},
};

static void file_values(const struct source *s, uint64_t *ret_values)
{
	ret_values[0] = ((const struct file *)s)->unreadable;
}

const struct source_ops source_file_ops = {
	.size = sizeof(struct file),
	.start = file_start,
	.pause = file_pause,
	.mark = file_mark,
	.restore = file_restore,
	.skip_to_end = file_skip_to_end,
	.free = file_free,
	.families = families,
	.family_count = sizeof(families) / sizeof(families[0]),
	.values = file_values,
};
