/* The serving side: a group's records as a file of chunks, and a table of those files.
 *
 * The mutex guards the table only. A snapshot that is used (read or written) by a thread is held by its count; who forgets
 * takes it out of the table, the last user frees it. */
#include "cloudd/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#include "cloudd/state.h"
#include "common/clock.h"
#include "common/err.h"

#define PIECE_HEAD_MAX (3 + 5) /* the varints before a key and before a value */
#define CHUNKS_MAX (UINT64_C(1) << 24) /* two terabytes of them */

_Static_assert(SNAPSHOT_CHUNK_MAX > 2 * (KV_KEY_MAX + PIECE_HEAD_MAX), "a chunk has room for a piece");

struct chunk {
	uint64_t offset, checksum;
	uint32_t len;
};

struct snapshot {
	uint64_t id; /* 0: being written */
	uint32_t group;
	struct snapshot_head head;
	uint8_t config[SNAPSHOT_CONFIG_MAX];
	void *file;
	struct chunk *chunks;
	uint64_t count, bytes;
	size_t room;
	int64_t made_ns, used_ns;
	unsigned users;
	bool forgotten; /* no more in the table */
};

struct snapshots {
	struct kv *kv;
	struct snapshot_files files;
	pthread_mutex_t mutex;
	struct snapshot *table[SNAPSHOTS_MAX];
	struct snapshot_counters counters; /* but `open` */
	int64_t now_ns; /* the latest time that anybody told */
	atomic_bool stopping;
};

/* ---- records in chunks --------------------------------------------------------------------------------------- */

int snapshot_records(struct bytes records, int (*each)(void *arg, struct bytes key, struct bytes value, bool more),
    void *arg)
{
	struct rd r = rd_init(records.p, records.n);
	while (rd_left(&r)) {
		uint64_t head = rd_varint_max(&r, 2 * KV_KEY_MAX + 1);
		struct bytes key = {.n = (size_t)(head / 2)}, value;
		key.p = rd_raw(&r, key.n);
		value.p = rd_bytes(&r, SNAPSHOT_CHUNK_MAX, &value.n);
		if (r.err || !key.n)
			return WEIR_ECORRUPT;
		int rc = each(arg, key, value, head & 1);
		if (rc)
			return rc;
	}
	return 0;
}

uint64_t snapshot_id(uint32_t group, const struct snapshot_head *h)
{
	const uint64_t words[] = {group, h->index, h->term, h->digest_hi, h->digest_lo, h->meta_index, h->skipped};
	struct buf b = {0};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		buf_u64(&b, words[i]);
	buf_put(&b, h->config.p, h->config.n);
	uint64_t id = XXH3_64bits(b.data, b.len);
	buf_free(&b);
	return id ? id : 1;
}

/* What fills the file: chunk after chunk. */
struct writer {
	const struct snapshot_files *files;
	const atomic_bool *stopping;
	struct snapshot *s;
	struct buf chunk;
};

static int end_chunk(struct writer *w)
{
	struct snapshot *s = w->s;
	if (atomic_load(w->stopping))
		return WEIR_ECLOSED;
	if (s->count == CHUNKS_MAX)
		return WEIR_ETOOBIG;
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 16;
		s->chunks = xrealloc(s->chunks, s->room * sizeof(*s->chunks));
	}
	int rc = w->chunk.len ? w->files->append(s->file, w->chunk.data, w->chunk.len) : 0;
	if (rc)
		return rc;
	s->chunks[s->count++] = (struct chunk){s->bytes, XXH3_64bits(w->chunk.data, w->chunk.len), (uint32_t)w->chunk.len};
	s->bytes += w->chunk.len;
	buf_clear(&w->chunk);
	return 0;
}

static void put_piece(struct writer *w, struct bytes key, struct bytes value, bool more)
{
	buf_varint(&w->chunk, 2 * key.n + more);
	buf_put(&w->chunk, key.p, key.n);
	buf_bytes(&w->chunk, value.p, value.n);
}

static int put_record(struct writer *w, struct bytes key, struct bytes value)
{
	size_t head = key.n + PIECE_HEAD_MAX, most = SNAPSHOT_CHUNK_MAX - head;
	int rc = 0;
	if (w->chunk.len && value.n + head > SNAPSHOT_CHUNK_MAX - w->chunk.len)
		rc = end_chunk(w);
	bool more = false;
	for (; !rc && value.n > most; more = true) {
		put_piece(w, key, bytes_of(value.p, most), more);
		value = bytes_of(value.p + most, value.n - most);
		rc = end_chunk(w);
	}
	if (!rc)
		put_piece(w, key, value, more);
	return rc;
}

/* All records but the head's; they must add up to the head's digest, or nothing of it is served. */
static int put_records(struct writer *w, struct kv_txn *txn, unsigned db)
{
	struct kv_cursor *c;
	int rc = kv_cursor_open(txn, db, &c);
	if (rc)
		return rc;
	struct bytes key, value;
	struct digest d = {0};
	for (rc = kv_cursor_first(c, &key, &value); !rc; rc = kv_cursor_next(c, &key, &value)) {
		if (state_digest_add(&d, key, value))
			rc = put_record(w, key, value);
		if (rc)
			break;
	}
	kv_cursor_close(c);
	if (rc != WEIR_ENOTFOUND)
		return rc;
	if (d.hi != w->s->head.digest_hi || d.lo != w->s->head.digest_lo)
		return WEIR_ECORRUPT;
	return w->chunk.len || !w->s->count ? end_chunk(w) : 0; /* one at least, be it empty */
}

/* ---- making one ------------------------------------------------------------------------------------------------ */

static void free_snapshot(const struct snapshot_files *files, struct snapshot *s)
{
	if (s->file)
		files->close(s->file);
	free(s->chunks);
	free(s);
}

/* WEIR_EBUSY: the group's state is void or empty. */
static int read_head(struct snapshot *s, struct kv_txn *txn)
{
	struct apply_group_info info;
	int rc = apply_read_group(txn, s->group, &info);
	if (rc)
		return rc;
	if (info.is_void || !info.applied)
		return WEIR_EBUSY;
	memcpy(s->config, info.config, info.config_len);
	s->head = (struct snapshot_head){.index = info.applied, .term = info.term, .digest_hi = info.digest_hi,
	    .digest_lo = info.digest_lo, .meta_index = info.meta_index, .skipped = info.skipped,
	    .config = {s->config, info.config_len}};
	return 0;
}

static int write_file(const struct snapshots *ss, struct snapshot *s)
{
	struct kv_txn *txn;
	int rc = kv_begin(ss->kv, false, &txn);
	if (rc)
		return rc;
	rc = read_head(s, txn);
	if (!rc)
		rc = ss->files.create(ss->files.arg, &s->file);
	if (!rc) {
		struct writer w = {.files = &ss->files, .stopping = &ss->stopping, .s = s};
		rc = put_records(&w, txn, STATE_DB_GROUP(s->group));
		buf_free(&w.chunk);
	}
	kv_abort(txn);
	return rc;
}

/* ---- the table: with the mutex held ---------------------------------------------------------------------------- */

static void release(struct snapshots *ss, struct snapshot *s)
{
	weir_assert(s->users);
	s->users--;
	if (s->forgotten && !s->users)
		free_snapshot(&ss->files, s);
}

/* The caller holds it, or nobody does and it is not to be touched again. */
static void forget(struct snapshots *ss, struct snapshot *s)
{
	for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
		if (ss->table[i] == s)
			ss->table[i] = NULL;
	}
	s->forgotten = true;
	if (!s->users)
		free_snapshot(&ss->files, s);
}

static struct snapshot *find(const struct snapshots *ss, uint32_t group, uint64_t id)
{
	for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
		struct snapshot *s = ss->table[i];
		if (s && s->group == group && s->id == id)
			return s;
	}
	return NULL;
}

/* The latest of the group, if it was made a moment ago. */
static struct snapshot *find_young(const struct snapshots *ss, uint32_t group, int64_t mono_ns)
{
	struct snapshot *best = NULL;
	for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
		struct snapshot *s = ss->table[i];
		if (s && s->group == group && s->id && mono_ns - s->made_ns < SNAPSHOT_REUSE_MS * NS_PER_MS &&
		    (!best || s->made_ns > best->made_ns))
			best = s;
	}
	return best;
}

/* Makes a place of the one that was longest not asked for: most likely its fetch is over. */
static void forget_idlest(struct snapshots *ss)
{
	struct snapshot *idlest = NULL;
	for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
		struct snapshot *s = ss->table[i];
		if (!s)
			return;
		if (s->id && !s->users && (!idlest || s->used_ns < idlest->used_ns))
			idlest = s;
	}
	if (idlest && ss->now_ns - idlest->used_ns >= SNAPSHOT_SPARE_MS * NS_PER_MS)
		forget(ss, idlest);
}

/* A place with a snapshot to be written, held by the caller; NULL: there is none, or one is being written. */
static struct snapshot *reserve(struct snapshots *ss, uint32_t group)
{
	size_t place = SNAPSHOTS_MAX;
	forget_idlest(ss);
	for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
		if (!ss->table[i])
			place = i;
		else if (!ss->table[i]->id)
			return NULL;
	}
	if (place == SNAPSHOTS_MAX)
		return NULL;
	struct snapshot *s = xcalloc(1, sizeof(*s));
	s->group = group;
	s->users = 1;
	ss->table[place] = s;
	return s;
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

static void answer(struct msg *reply, enum verdict verdict, const char *reason)
{
	reply->snapshot_reply.verdict = verdict;
	reply->snapshot_reply.reason = reason;
}

const char snapshot_damaged[] = "the state of the group is damaged here";

static const char *reason_of(int rc)
{
	switch (rc) {
	case WEIR_EBUSY:
		return "this replica has no state of the group to give";
	case WEIR_EFULL:
		return "no room for a copy of the state";
	case WEIR_ECORRUPT:
		return snapshot_damaged;
	}
	return "the state cannot be copied";
}

/* The snapshot that a new fetch gets, held; NULL: the reply says why. */
static struct snapshot *begin(struct snapshots *ss, uint32_t group, struct msg *reply)
{
	pthread_mutex_lock(&ss->mutex);
	struct snapshot *s = find_young(ss, group, ss->now_ns);
	if (s)
		s->users++;
	struct snapshot *made = s ? NULL : reserve(ss, group);
	pthread_mutex_unlock(&ss->mutex);
	if (s)
		return s;
	if (!made) {
		answer(reply, VERDICT_BUSY, "other snapshots are being written or fetched");
		return NULL;
	}
	int rc = write_file(ss, made);
	pthread_mutex_lock(&ss->mutex);
	if (rc) {
		if (rc != WEIR_EBUSY)
			ss->counters.failed++;
		forget(ss, made);
		release(ss, made);
		made = NULL;
		answer(reply, VERDICT_UNAVAILABLE, reason_of(rc));
	} else {
		uint64_t id = snapshot_id(group, &made->head);
		struct snapshot *same = find(ss, group, id);
		if (same)
			forget(ss, same); /* nothing was applied since: who fetches that one goes on with this one */
		made->id = id;
		made->made_ns = made->used_ns = ss->now_ns; /* not when it was begun: that may be long ago, and the asker asks on */
		ss->counters.made++;
	}
	pthread_mutex_unlock(&ss->mutex);
	return made;
}

static struct snapshot *go_on(struct snapshots *ss, uint32_t group, uint64_t id, struct msg *reply)
{
	pthread_mutex_lock(&ss->mutex);
	struct snapshot *s = find(ss, group, id);
	if (s)
		s->users++;
	pthread_mutex_unlock(&ss->mutex);
	if (!s)
		answer(reply, VERDICT_REFUSED, "no such snapshot, or no longer");
	return s;
}

static void tell_head(const struct snapshot *s, struct msg *reply)
{
	reply->snapshot_reply.id = s->id;
	reply->snapshot_reply.index = s->head.index;
	reply->snapshot_reply.term = s->head.term;
	reply->snapshot_reply.digest_hi = s->head.digest_hi;
	reply->snapshot_reply.digest_lo = s->head.digest_lo;
	reply->snapshot_reply.meta_index = s->head.meta_index;
	reply->snapshot_reply.skipped = s->head.skipped;
	reply->snapshot_reply.total_bytes = s->bytes;
}

/* The configuration is copied into the body too, behind the records: the snapshot may be forgotten before the reply is sent. */
static int tell_chunk(const struct snapshots *ss, const struct snapshot *s, uint64_t number, struct buf *body,
    struct msg *reply)
{
	const struct chunk *c = &s->chunks[number];
	buf_clear(body);
	uint8_t *room = buf_reserve(body, c->len + s->head.config.n + 1); /* never none: it is pointed to */
	int rc = c->len ? ss->files.read(s->file, c->offset, room, c->len) : 0;
	if (rc)
		return rc;
	body->len = c->len;
	buf_put(body, s->config, s->head.config.n);
	reply->snapshot_reply.records = bytes_of(body->data, c->len);
	reply->snapshot_reply.config = bytes_of(body->data + c->len, s->head.config.n);
	reply->snapshot_reply.checksum = c->checksum;
	reply->snapshot_reply.last = number + 1 == s->count;
	return 0;
}

static void note_time(struct snapshots *ss, int64_t mono_ns)
{
	pthread_mutex_lock(&ss->mutex);
	ss->now_ns = mono_ns > ss->now_ns ? mono_ns : ss->now_ns;
	pthread_mutex_unlock(&ss->mutex);
}

void snapshots_serve(struct snapshots *ss, const struct msg *m, int64_t mono_ns, struct buf *body, struct msg *reply)
{
	uint64_t number = m->snapshot.chunk;
	reply->type = MSG_SNAPSHOT_REPLY;
	memset(&reply->snapshot_reply, 0, sizeof(reply->snapshot_reply));
	reply->snapshot_reply.group = m->snapshot.group;
	reply->snapshot_reply.id = m->snapshot.id;
	reply->snapshot_reply.chunk = number;
	note_time(ss, mono_ns);
	struct snapshot *s = m->snapshot.id ? go_on(ss, m->snapshot.group, m->snapshot.id, reply)
					    : begin(ss, m->snapshot.group, reply);
	if (!s)
		return;
	int rc = 0;
	if (number >= s->count) {
		answer(reply, VERDICT_REFUSED, "the snapshot has fewer chunks");
	} else {
		tell_head(s, reply);
		rc = tell_chunk(ss, s, number, body, reply);
	}
	pthread_mutex_lock(&ss->mutex);
	s->used_ns = mono_ns > s->used_ns ? mono_ns : s->used_ns;
	if (rc) {
		answer(reply, VERDICT_REFUSED, "the snapshot's file cannot be read");
		ss->counters.failed++;
		forget(ss, s);
	} else if (reply->snapshot_reply.verdict == VERDICT_OK) {
		ss->counters.chunks++;
		ss->counters.bytes += reply->snapshot_reply.records.n;
	}
	release(ss, s);
	pthread_mutex_unlock(&ss->mutex);
}

void snapshots_tick(struct snapshots *ss, int64_t mono_ns)
{
	note_time(ss, mono_ns);
	pthread_mutex_lock(&ss->mutex);
	for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
		struct snapshot *s = ss->table[i];
		if (s && s->id && !s->users && mono_ns - s->used_ns >= SNAPSHOT_IDLE_MS * NS_PER_MS)
			forget(ss, s);
	}
	pthread_mutex_unlock(&ss->mutex);
}

void snapshots_counters(struct snapshots *ss, struct snapshot_counters *ret)
{
	pthread_mutex_lock(&ss->mutex);
	*ret = ss->counters;
	for (size_t i = 0; i < SNAPSHOTS_MAX; i++)
		ret->open += ss->table[i] != NULL;
	pthread_mutex_unlock(&ss->mutex);
}

void snapshots_stop(struct snapshots *ss)
{
	atomic_store(&ss->stopping, true);
}

struct snapshots *snapshots_new(struct kv *state, const struct snapshot_files *files)
{
	struct snapshots *ss = xcalloc(1, sizeof(*ss));
	ss->kv = state;
	ss->files = *files;
	ss->now_ns = INT64_MIN;
	int rc = pthread_mutex_init(&ss->mutex, NULL);
	weir_assert(!rc);
	return ss;
}

void snapshots_free(struct snapshots *ss)
{
	if (!ss)
		return;
	for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
		if (ss->table[i])
			forget(ss, ss->table[i]);
	}
	pthread_mutex_destroy(&ss->mutex);
	free(ss);
}

/* ---- files that nobody sees ------------------------------------------------------------------------------------ */

struct unlinked {
	int fd;
	uint64_t size;
};

static int code_of(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EFBIG ? WEIR_EFULL : WEIR_EIO;
}

/* Where the filesystem has no O_TMPFILE: named for a moment. */
static int open_named(const char *folder)
{
	char *path = xasprintf("%s/snapshot-XXXXXX", folder);
	int fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	free(path);
	return fd;
}

static int unlinked_create(void *arg, void **ret_file)
{
	const char *folder = arg;
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL))
		fd = open_named(folder);
	if (fd < 0)
		return code_of(errno);
	struct unlinked *u = xcalloc(1, sizeof(*u));
	u->fd = fd;
	*ret_file = u;
	return 0;
}

static int unlinked_append(void *file, const void *p, size_t n)
{
	struct unlinked *u = file;
	const uint8_t *at = p;
	while (n) {
		ssize_t got = pwrite(u->fd, at, n, (off_t)u->size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? code_of(errno) : WEIR_EIO;
		at += got;
		n -= (size_t)got;
		u->size += (uint64_t)got;
	}
	return 0;
}

static int unlinked_read(void *file, uint64_t offset, void *p, size_t n)
{
	const struct unlinked *u = file;
	uint8_t *at = p;
	while (n) {
		ssize_t got = pread(u->fd, at, n, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return WEIR_EIO;
		at += got;
		n -= (size_t)got;
		offset += (uint64_t)got;
	}
	return 0;
}

static void unlinked_close(void *file)
{
	struct unlinked *u = file;
	close(u->fd);
	free(u);
}

struct snapshot_files snapshot_files_in(const char *folder)
{
	return (struct snapshot_files){(void *)(uintptr_t)folder, unlinked_create, unlinked_append, unlinked_read,
	    unlinked_close};
}
