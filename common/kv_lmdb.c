/* struct kv_ops over LMDB, and the checks of a folder before LMDB maps it. The only file that includes lmdb.h.
 *
 * No WRITEMAP and no NOSYNC: a commit is pwrite, fdatasync, then the meta page through an O_DSYNC descriptor, and a
 * full or failing disk is an error code, not a signal. MDB_NOTLS ties a reader's slot to its transaction, not to its
 * thread, so that one thread may hold a snapshot and write. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <lmdb.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/kv.h"

#define READERS_MAX 510
/* Below this much room on the disk, an EIO of a commit means "full": LMDB reports a short write as EIO. */
#define DISK_FULL_BELOW_BYTES (1024 * 1024)

struct kv_lmdb {
	struct kv kv;
	MDB_env *env;
	int lock_fd;
	char *path;
	unsigned db_count;
	bool read_only;
	atomic_bool writing;
	atomic_uint_fast64_t used_bytes; /* as last computed */
	int data_fd;                     /* for taking space ahead, and for asking whether a sync failed; -1: read only */
	bool takes_none;                 /* the disk cannot do the former */
	uint64_t page_bytes;
	uint64_t taken_bytes;            /* up to here the file has its blocks; the writer's */
	MDB_dbi dbs[KV_DBS_MAX];
};

/* Who writes mostly goes from one key to the next and puts what it just got, and keys that start with the same byte lie
 * together. So a write transaction keeps cursors where it was last, one for each of so many first bytes of a database: LMDB
 * looks at the page where a cursor is before it searches from the root. */
#define NEAR_CURSORS 8

struct near {
	MDB_cursor *cursor; /* NULL: none yet */
	uintptr_t at;       /* about which page it wrote to last */
};

struct txn_lmdb {
	struct kv_txn txn;
	MDB_txn *mdb;
	bool write;
	int failed; /* first error that spoilt the transaction */
	unsigned cursors;
	struct near *near; /* NEAR_CURSORS for each database, made when needed; NULL: none yet */
	uintptr_t append_at; /* as near.at */
	uint64_t pages;      /* written to, at most; see note_page() */
	uint64_t bytes;      /* put */
};

struct cursor_lmdb {
	struct kv_cursor cursor;
	MDB_cursor *mdb;
};

static struct kv_lmdb *kv_of(struct kv *kv)
{
	return (struct kv_lmdb *)kv;
}

static struct txn_lmdb *txn_of(struct kv_txn *txn)
{
	return (struct txn_lmdb *)txn;
}

static struct cursor_lmdb *cursor_of(struct kv_cursor *c)
{
	return (struct cursor_lmdb *)c;
}

static bool disk_is_full(const char *path)
{
	struct statvfs s;
	return !statvfs(path, &s) && (uint64_t)s.f_bavail * s.f_frsize < DISK_FULL_BELOW_BYTES;
}

static int code_of(const char *path, int rc)
{
	switch (rc) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return WEIR_ENOTFOUND;
	case MDB_KEYEXIST:
		return WEIR_EEXIST;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
	case ENOSPC:
	case EDQUOT:
		return WEIR_EFULL;
	case EIO:
		return disk_is_full(path) ? WEIR_EFULL : WEIR_EIO;
	case MDB_BAD_VALSIZE:
		return WEIR_ETOOBIG;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_INCOMPATIBLE:
		return WEIR_ECORRUPT;
	case MDB_VERSION_MISMATCH:
		return WEIR_EVERSION;
	case MDB_READERS_FULL:
		return WEIR_EBUSY;
	case ENOMEM:
		return WEIR_ENOMEM;
	default:
		return WEIR_EIO; /* MDB_PANIC among them: a meta page could not be written */
	}
}

static int fail(struct kv_txn *txn, int rc)
{
	struct txn_lmdb *t = txn_of(txn);
	int code = code_of(kv_of(txn->kv)->path, rc);
	if (t->write && !t->failed && code && code != WEIR_ENOTFOUND && code != WEIR_EEXIST && code != WEIR_ETOOBIG)
		t->failed = code;
	return code;
}

static MDB_dbi db_of(struct kv_txn *txn, unsigned db)
{
	weir_assert(db < kv_of(txn->kv)->db_count);
	return kv_of(txn->kv)->dbs[db];
}

static MDB_val val_of(struct bytes b)
{
	return (MDB_val){b.n, (void *)(uintptr_t)b.p};
}

/* ---- transactions -------------------------------------------------------------------------------------------- */

static int lmdb_begin(struct kv *kv, bool write, struct kv_txn **ret_txn)
{
	struct kv_lmdb *k = kv_of(kv);
	if (write && k->read_only)
		return WEIR_EINVAL;
	if (write)
		weir_assert(!atomic_exchange(&k->writing, true));
	MDB_txn *mdb;
	int rc = mdb_txn_begin(k->env, NULL, write ? 0 : MDB_RDONLY, &mdb);
	if (rc) {
		if (write)
			atomic_store(&k->writing, false);
		return code_of(k->path, rc);
	}
	struct txn_lmdb *t = xcalloc(1, sizeof(*t));
	t->txn.kv = kv;
	t->mdb = mdb;
	t->write = write;
	*ret_txn = &t->txn;
	return 0;
}

/* Of one database, before what moves records otherwise than by splitting pages. */
static void near_forget(struct txn_lmdb *t, unsigned db)
{
	for (unsigned i = db * NEAR_CURSORS; t->near && i < (db + 1) * NEAR_CURSORS; i++) {
		if (t->near[i].cursor)
			mdb_cursor_close(t->near[i].cursor);
		t->near[i].cursor = NULL;
	}
}

static void near_close(struct txn_lmdb *t)
{
	for (unsigned db = 0; t->near && db < kv_of(t->txn.kv)->db_count; db++)
		near_forget(t, db);
	free(t->near);
	t->near = NULL;
}

static int near_cursor(struct txn_lmdb *t, unsigned db, struct bytes key, struct near **ret_near)
{
	MDB_dbi dbi = db_of(&t->txn, db);
	if (!t->near)
		t->near = xcalloc(kv_of(t->txn.kv)->db_count, NEAR_CURSORS * sizeof(*t->near));
	struct near *n = &t->near[db * NEAR_CURSORS + key.p[0] % NEAR_CURSORS];
	*ret_near = n;
	return n->cursor ? 0 : mdb_cursor_open(t->mdb, dbi, &n->cursor);
}

#define NODE_BYTES 16 /* of a record in a page, beside key and value */

/* LMDB does not tell how many pages a transaction has copied. But each copy is a block of memory of its own, and a put tells where in
 * one its value goes: as often as that leaves a stretch as long as a page, another page is written to. Going to and fro counts too often; two
 * copies whose ends share a stretch may count as one, which the factor of lmdb_txn_bytes() makes up for. Pages that a value is too large for
 * count by its size. */
static void note_page(struct txn_lmdb *t, uintptr_t *at, size_t key_len, const MDB_val *v)
{
	uint64_t page_bytes = kv_of(t->txn.kv)->page_bytes;
	uintptr_t now_at = (uintptr_t)v->mv_data / page_bytes;
	if (*at != now_at)
		t->pages++;
	*at = now_at;
	t->bytes += key_len + v->mv_size + NODE_BYTES;
	if (v->mv_size > page_bytes / 4)
		t->pages += v->mv_size / page_bytes + 1;
}

static void txn_end(struct txn_lmdb *t)
{
	if (t->write)
		atomic_store(&kv_of(t->txn.kv)->writing, false);
	free(t);
}

/* A short write is EIO and may only mean that the disk is full; a sync that failed means that nothing can be trusted. Of that the kernel
 * tells each descriptor of the file once: this one, too. */
static int commit_code(const struct kv_lmdb *k, int rc)
{
	bool disk = rc == EIO || rc == ENOSPC || rc == EDQUOT;
	return disk && k->data_fd >= 0 && fdatasync(k->data_fd) ? WEIR_EIO : code_of(k->path, rc);
}

static int lmdb_commit(struct kv_txn *txn)
{
	struct txn_lmdb *t = txn_of(txn);
	weir_assert(!t->cursors);
	near_close(t);
	int code = t->failed;
	if (code)
		mdb_txn_abort(t->mdb);
	else
		code = commit_code(kv_of(txn->kv), mdb_txn_commit(t->mdb));
	txn_end(t);
	return code;
}

static void lmdb_abort(struct kv_txn *txn)
{
	struct txn_lmdb *t = txn_of(txn);
	weir_assert(!t->cursors);
	near_close(t);
	mdb_txn_abort(t->mdb);
	txn_end(t);
}

/* ---- records ------------------------------------------------------------------------------------------------- */

static int lmdb_get(struct kv_txn *txn, unsigned db, struct bytes key, struct bytes *ret_value)
{
	struct txn_lmdb *t = txn_of(txn);
	MDB_val k = val_of(key), v;
	struct near *near;
	int rc;
	if (t->write) {
		rc = near_cursor(t, db, key, &near);
		if (!rc)
			rc = mdb_cursor_get(near->cursor, &k, &v, MDB_SET);
	} else {
		rc = mdb_get(t->mdb, db_of(txn, db), &k, &v);
	}
	if (rc)
		return fail(txn, rc);
	*ret_value = bytes_of(v.mv_data, v.mv_size);
	return 0;
}

static int lmdb_put(struct kv_txn *txn, unsigned db, struct bytes key, size_t n, bool append, uint8_t **ret_room)
{
	struct txn_lmdb *t = txn_of(txn);
	MDB_val k = val_of(key), v = {n, NULL};
	struct near *near = NULL;
	int rc;
	if (append || !t->write) {
		rc = mdb_put(t->mdb, db_of(txn, db), &k, &v, MDB_RESERVE | (append ? MDB_APPEND : 0));
	} else {
		rc = near_cursor(t, db, key, &near);
		if (!rc)
			rc = mdb_cursor_put(near->cursor, &k, &v, MDB_RESERVE);
	}
	if (rc)
		return fail(txn, rc);
	note_page(t, near ? &near->at : &t->append_at, key.n, &v);
	*ret_room = v.mv_data;
	return 0;
}

static int lmdb_del(struct kv_txn *txn, unsigned db, struct bytes key)
{
	MDB_val k = val_of(key);
	near_forget(txn_of(txn), db);
	txn_of(txn)->pages++;
	return fail(txn, mdb_del(txn_of(txn)->mdb, db_of(txn, db), &k, NULL));
}

static int lmdb_clear(struct kv_txn *txn, unsigned db)
{
	MDB_stat stat;
	near_forget(txn_of(txn), db);
	if (!mdb_stat(txn_of(txn)->mdb, db_of(txn, db), &stat)) /* the list of what it frees */
		txn_of(txn)->pages += (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) / 256 + 1;
	return fail(txn, mdb_drop(txn_of(txn)->mdb, db_of(txn, db), 0));
}

/* ---- cursors ------------------------------------------------------------------------------------------------- */

static int lmdb_cursor_open(struct kv_txn *txn, unsigned db, struct kv_cursor **ret_cursor)
{
	MDB_cursor *mdb;
	int rc = mdb_cursor_open(txn_of(txn)->mdb, db_of(txn, db), &mdb);
	if (rc)
		return fail(txn, rc);
	struct cursor_lmdb *c = xcalloc(1, sizeof(*c));
	c->cursor.txn = txn;
	c->mdb = mdb;
	txn_of(txn)->cursors++;
	*ret_cursor = &c->cursor;
	return 0;
}

static int cursor_get(struct kv_cursor *c, MDB_val k, MDB_cursor_op op, struct bytes *ret_key, struct bytes *ret_value)
{
	MDB_val v;
	int rc = mdb_cursor_get(cursor_of(c)->mdb, &k, &v, op);
	if (rc)
		return fail(c->txn, rc);
	*ret_key = bytes_of(k.mv_data, k.mv_size);
	*ret_value = bytes_of(v.mv_data, v.mv_size);
	return 0;
}

static int lmdb_cursor_seek(struct kv_cursor *c, struct bytes key, struct bytes *ret_key, struct bytes *ret_value)
{
	return cursor_get(c, val_of(key), MDB_SET_RANGE, ret_key, ret_value);
}

static int lmdb_cursor_step(struct kv_cursor *c, int direction, struct bytes *ret_key, struct bytes *ret_value)
{
	return cursor_get(c, (MDB_val){0, NULL}, direction > 0 ? MDB_NEXT : MDB_PREV, ret_key, ret_value);
}

static int lmdb_cursor_edge(struct kv_cursor *c, bool last, struct bytes *ret_key, struct bytes *ret_value)
{
	return cursor_get(c, (MDB_val){0, NULL}, last ? MDB_LAST : MDB_FIRST, ret_key, ret_value);
}

static void lmdb_cursor_close(struct kv_cursor *c)
{
	txn_of(c->txn)->cursors--;
	mdb_cursor_close(cursor_of(c)->mdb);
	free(c);
}

/* ---- space --------------------------------------------------------------------------------------------------- */

#define FREE_DBI 0 /* LMDB's own: transaction id -> count and numbers of the pages it freed */

/* Sums the counts that start the free list's records; `each` (may be NULL) sees each record's page numbers. */
static int free_pages(MDB_txn *txn, void (*each)(void *arg, const size_t *pages, size_t n), void *arg, uint64_t *ret_n)
{
	MDB_cursor *c;
	int rc = mdb_cursor_open(txn, FREE_DBI, &c);
	if (rc)
		return rc;
	uint64_t n = 0;
	MDB_val k, v;
	while (!(rc = mdb_cursor_get(c, &k, &v, MDB_NEXT))) {
		size_t count;
		if (v.mv_size < sizeof(count)) {
			rc = MDB_CORRUPTED;
			break;
		}
		memcpy(&count, v.mv_data, sizeof(count));
		if (count > v.mv_size / sizeof(count) - 1) {
			rc = MDB_CORRUPTED;
			break;
		}
		n += count;
		if (each)
			each(arg, (const size_t *)v.mv_data + 1, count);
	}
	mdb_cursor_close(c);
	*ret_n = n;
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static uint64_t lmdb_used_bytes(struct kv *kv)
{
	struct kv_lmdb *k = kv_of(kv);
	MDB_txn *txn;
	uint64_t free_count;
	MDB_envinfo info;
	MDB_stat stat;
	if (mdb_txn_begin(k->env, NULL, MDB_RDONLY, &txn))
		return atomic_load(&k->used_bytes);
	int rc = free_pages(txn, NULL, NULL, &free_count);
	if (!rc)
		rc = mdb_env_info(k->env, &info);
	if (!rc)
		rc = mdb_env_stat(k->env, &stat);
	mdb_txn_abort(txn);
	if (rc)
		return atomic_load(&k->used_bytes);
	uint64_t pages = (uint64_t)info.me_last_pgno + 1;
	uint64_t used = (pages > free_count ? pages - free_count : 0) * stat.ms_psize;
	atomic_store(&k->used_bytes, used);
	return used;
}

/* Blocks for the file up to there, its size unchanged. */
static int take_ahead(struct kv_lmdb *k, uint64_t upto)
{
	if (k->takes_none || k->taken_bytes >= upto)
		return 0;
	int rc;
	do
		rc = fallocate(k->data_fd, FALLOC_FL_KEEP_SIZE, (off_t)k->taken_bytes, (off_t)(upto - k->taken_bytes));
	while (rc && errno == EINTR);
	if (rc && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
		return WEIR_EFULL; /* what it took of this stays the file's */
	if (rc) {
		k->takes_none = true;
		return 0;
	}
	k->taken_bytes = upto;
	return 0;
}

/* What the file has blocks for and does not use. Not what its size says: it may have holes. */
static uint64_t spare_bytes(struct kv_lmdb *k, uint64_t map_bytes)
{
	char *file = xasprintf("%s/data.mdb", k->path);
	struct stat st;
	struct statvfs fs;
	uint64_t has = stat(file, &st) ? 0 : (uint64_t)st.st_blocks * 512;
	if (k->takes_none && !statvfs(k->path, &fs))
		has += (uint64_t)fs.f_bavail * fs.f_frsize;
	free(file);
	has = has < map_bytes ? has : map_bytes;
	uint64_t used = lmdb_used_bytes(&k->kv);
	return has > used ? has - used : 0;
}

#define TAKE_STEP_BYTES (1024 * 1024)

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* As take_ahead(); where it has to take any, rather some more, so that it need not each time. */
static int take_well_ahead(struct kv_lmdb *k, uint64_t upto, uint64_t map_bytes)
{
	if (k->taken_bytes >= upto || !take_ahead(k, least(upto + TAKE_STEP_BYTES, map_bytes)))
		return 0;
	return take_ahead(k, upto);
}

/* What is written goes behind the file's last page or into pages that are free, and LMDB finds out too late when the
 * disk has no more. So space is taken ahead of it, and free pages are counted only when there is none to take. What
 * the last transaction freed counts too: it cannot be used by the next one, which was left the reserve by its
 * predecessor, but by the one that comes then. */
static int lmdb_make_room(struct kv *kv, uint64_t bytes)
{
	struct kv_lmdb *k = kv_of(kv);
	MDB_envinfo info;
	MDB_stat stat;
	if (mdb_env_info(k->env, &info) || mdb_env_stat(k->env, &stat) || bytes > info.me_mapsize)
		return WEIR_EFULL;
	uint64_t end = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
	uint64_t room = 2 * bytes + KV_RESERVE_BYTES; /* twice: a value of half a page may take a whole one */
	uint64_t upto = least(end + room, info.me_mapsize);
	bool taken = !take_well_ahead(k, upto, info.me_mapsize);
	if (taken && !k->takes_none && upto == end + room)
		return 0;
	return spare_bytes(k, info.me_mapsize) >= room ? 0 : WEIR_EFULL;
}

/* Free pages are counted twice: readers may hold on to some of them. */
static int lmdb_take_room(struct kv *kv, uint64_t bytes)
{
	struct kv_lmdb *k = kv_of(kv);
	MDB_envinfo info;
	if (mdb_env_info(k->env, &info))
		return WEIR_EFULL;
	uint64_t end = ((uint64_t)info.me_last_pgno + 1) * k->page_bytes;
	bool fits = end < info.me_mapsize && bytes <= info.me_mapsize - end;
	bool taken = fits && !take_well_ahead(k, end + bytes, info.me_mapsize);
	if (taken && !k->takes_none)
		return 0;
	return spare_bytes(k, info.me_mapsize) / 2 >= bytes ? 0 : WEIR_EFULL;
}

#define TREE_PAGES 32 /* from the roots of a few databases to their leaves */

/* Twice: a page that was full becomes two, and the pages above them are copied too. Nor can it be more than all that is there, and what was
 * put. */
static uint64_t lmdb_txn_bytes(struct kv_txn *txn)
{
	const struct txn_lmdb *t = txn_of(txn);
	const struct kv_lmdb *k = kv_of(txn->kv);
	MDB_envinfo info;
	uint64_t pages = t->pages;
	if (!mdb_env_info(k->env, &info))
		pages = least(pages, (uint64_t)info.me_last_pgno + 1 + t->bytes / k->page_bytes);
	return (2 * pages + TREE_PAGES) * k->page_bytes;
}

static uint64_t lmdb_size_bytes(struct kv *kv)
{
	MDB_envinfo info;
	return mdb_env_info(kv_of(kv)->env, &info) ? 0 : info.me_mapsize;
}

static int lmdb_maintain(struct kv *kv)
{
	int dead;
	return code_of(kv_of(kv)->path, mdb_reader_check(kv_of(kv)->env, &dead));
}

static void lmdb_close(struct kv *kv)
{
	struct kv_lmdb *k = kv_of(kv);
	weir_assert(!atomic_load(&k->writing));
	if (k->env)
		mdb_env_close(k->env);
	if (k->data_fd >= 0)
		close(k->data_fd);
	if (k->lock_fd >= 0)
		close(k->lock_fd);
	free(k->path);
	free(k);
}

static const struct kv_ops lmdb_ops = {
    .begin = lmdb_begin,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .get = lmdb_get,
    .put = lmdb_put,
    .del = lmdb_del,
    .clear = lmdb_clear,
    .cursor_open = lmdb_cursor_open,
    .cursor_seek = lmdb_cursor_seek,
    .cursor_step = lmdb_cursor_step,
    .cursor_edge = lmdb_cursor_edge,
    .cursor_close = lmdb_cursor_close,
    .used_bytes = lmdb_used_bytes,
    .size_bytes = lmdb_size_bytes,
    .close = lmdb_close,
    .maintain = lmdb_maintain,
    .make_room = lmdb_make_room,
    .take_room = lmdb_take_room,
    .txn_bytes = lmdb_txn_bytes,
};

/* ---- opening ------------------------------------------------------------------------------------------------- */

static int why(char **ret_why, int code, char *text)
{
	*ret_why = text;
	return code;
}

static void sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd); /* filesystems that cannot sync a folder say EINVAL */
	close(fd);
}

/* mkdir -p; each folder that is made is durable in its parent. */
static int make_folders(const char *path)
{
	char *copy = xstrdup(path);
	int err = 0;
	for (char *s = copy + 1; !err; s++) {
		if (*s && *s != '/')
			continue;
		char saved = *s;
		*s = 0;
		if (!mkdir(copy, 0700)) {
			char *parent = xasprintf("%s/..", copy);
			sync_folder(parent);
			free(parent);
		} else if (errno != EEXIST) {
			err = errno;
		}
		*s = saved;
		if (!saved)
			break;
	}
	free(copy);
	return err;
}

static int check_folder(const struct kv_lmdb_options *o, char **ret_why)
{
	if (!*o->path)
		return why(ret_why, WEIR_EINVAL, xstrdup("the path of the data folder is empty"));
	int err = o->read_only ? 0 : make_folders(o->path);
	struct stat st;
	if (!err && stat(o->path, &st))
		err = errno;
	if (!err && !S_ISDIR(st.st_mode))
		err = ENOTDIR;
	if (err)
		return why(ret_why, err == ENOENT ? WEIR_ENOTFOUND : err == ENOSPC ? WEIR_EFULL : WEIR_EIO,
		    xasprintf("data folder %s: %s", o->path, strerror(err)));
	struct statfs fs;
	if (!statfs(o->path, &fs)) {
		uint32_t type = (uint32_t)fs.f_type;
		if (type == 0x6969 /* NFS */ || type == 0xff534d42 /* CIFS */ || type == 0xfe534d42 /* SMB2 */)
			return why(ret_why, WEIR_EINVAL,
			    xasprintf("data folder %s is on a network filesystem; it must be on a local disk", o->path));
	}
	return 0;
}

static int take_lock(struct kv_lmdb *k, char **ret_why)
{
	char *file = xasprintf("%s/lock", k->path);
	int code = 0;
	k->lock_fd = open(file, (k->read_only ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC, 0600);
	if (k->lock_fd < 0) {
		int err = errno;
		code = why(ret_why, err == ENOENT ? WEIR_ENOTFOUND : err == ENOSPC ? WEIR_EFULL : WEIR_EIO,
		    xasprintf("%s: %s", file, strerror(err)));
	} else if (flock(k->lock_fd, (k->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB)) {
		code = why(ret_why, WEIR_EBUSY,
		    xasprintf("%s is in use by another process; two must never share a data folder", k->path));
	}
	free(file);
	return code;
}

/* LMDB itself keeps a lock on the first byte of its reader table for as long as the environment is open. */
int kv_lmdb_holder(const char *path, pid_t *ret_pid, char **ret_why)
{
	char *file = xasprintf("%s/lock.mdb", path);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	int err = fd < 0 || fcntl(fd, F_GETLK, &lock) ? errno : 0, code = 0;
	if (err == ENOENT || (!err && lock.l_type == F_UNLCK))
		code = why(ret_why, WEIR_ENOTFOUND, xasprintf("no process has %s open", path));
	else if (err)
		code = why(ret_why, WEIR_EIO, xasprintf("%s: %s", file, strerror(err)));
	else
		*ret_pid = lock.l_pid;
	if (fd >= 0)
		close(fd);
	free(file);
	return code;
}

/* The start of an LMDB data file (both meta pages have this shape), and how many pages it says it has:
 *
 *   0  page number u64, pad u16, flags u16, bounds u32
 *   16 magic u32, format u32, address u64, map size u64
 *   40 free list: page size u32 ... (48 bytes), main database (48 bytes)
 *   136 last page u64, transaction id u64 */
#define META_BYTES 152
#define META_MAGIC 0xbeefc0deu
#define META_FORMAT 1

struct file_shape {
	uint64_t file_bytes;
	uint64_t page_bytes;
	uint64_t pages; /* as the newer meta page says */
};

static bool read_meta(int fd, uint64_t at, struct file_shape *shape, uint64_t *ret_txn, uint64_t *ret_pages)
{
	uint8_t raw[META_BYTES];
	if (pread(fd, raw, sizeof(raw), (off_t)at) != (ssize_t)sizeof(raw))
		return false;
	struct rd r = rd_init(raw + 16, sizeof(raw) - 16);
	uint32_t magic = rd_u32(&r), format = rd_u32(&r);
	rd_raw(&r, 16);
	uint32_t page = rd_u32(&r);
	rd_raw(&r, 92);
	uint64_t last = rd_u64(&r);
	*ret_txn = rd_u64(&r);
	*ret_pages = last + 1;
	if (magic != META_MAGIC || format != META_FORMAT || page < 512 || page > 65536 || (page & (page - 1)))
		return false;
	shape->page_bytes = page;
	return last < (uint64_t)INT64_MAX / page;
}

/* LMDB maps the file and trusts it: a file that is too short ends in SIGBUS, a strange one in worse. 0 with pages 0:
 * there is no file yet. */
static int check_file(const char *file, struct file_shape *ret, char **ret_why)
{
	struct file_shape s = {0};
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		*ret = s;
		return errno == ENOENT ? 0 : why(ret_why, WEIR_EIO, xasprintf("%s: %s", file, strerror(errno)));
	}
	struct stat st;
	uint64_t txn0 = 0, txn1 = 0, pages0 = 0, pages1 = 0;
	bool fine = !fstat(fd, &st);
	s.file_bytes = fine ? (uint64_t)st.st_size : 0;
	if (fine && s.file_bytes) {
		fine = read_meta(fd, 0, &s, &txn0, &pages0) && read_meta(fd, s.page_bytes, &s, &txn1, &pages1);
		s.pages = txn1 > txn0 ? pages1 : pages0;
	}
	close(fd);
	if (!fine)
		return why(ret_why, WEIR_ECORRUPT,
		    xasprintf("%s is damaged or is not a data file of Weir (%llu bytes)", file,
			(unsigned long long)s.file_bytes));
	*ret = s;
	return 0;
}

struct tail {
	uint64_t from, pages;
	uint64_t found;
};

static void count_in_tail(void *arg, const size_t *pages, size_t n)
{
	struct tail *t = arg;
	for (size_t i = 0; i < n; i++)
		if (pages[i] >= t->from && pages[i] < t->pages)
			t->found++;
}

/* A sound file may be shorter than its page count: LMDB never writes pages at the end that were freed by the
 * transaction that took them. Such pages are all in the free list; else the file was cut. */
static int check_tail(struct kv_lmdb *k, const struct file_shape *s)
{
	struct tail t = {s->file_bytes / s->page_bytes, s->pages, 0};
	if (t.from >= t.pages)
		return 0;
	MDB_txn *txn;
	uint64_t n;
	int rc = mdb_txn_begin(k->env, NULL, MDB_RDONLY, &txn);
	if (rc)
		return code_of(k->path, rc);
	rc = free_pages(txn, count_in_tail, &t, &n);
	mdb_txn_abort(txn);
	if (rc)
		return code_of(k->path, rc);
	return t.found == t.pages - t.from ? 0 : WEIR_ECORRUPT;
}

static int open_env(struct kv_lmdb *k, const struct kv_lmdb_options *o)
{
	int rc = mdb_env_create(&k->env);
	if (!rc)
		rc = mdb_env_set_mapsize(k->env, o->map_bytes);
	if (!rc)
		rc = mdb_env_set_maxdbs(k->env, o->db_count);
	if (!rc)
		rc = mdb_env_set_maxreaders(k->env, READERS_MAX);
	if (!rc)
		rc = mdb_env_open(k->env, k->path, MDB_NOTLS | (o->read_only ? MDB_RDONLY : 0), 0600);
	int dead;
	if (!rc)
		rc = mdb_reader_check(k->env, &dead);
	return rc;
}

static int open_dbs(struct kv_lmdb *k, const struct kv_lmdb_options *o)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(k->env, NULL, o->read_only ? MDB_RDONLY : 0, &txn);
	if (rc)
		return rc;
	for (unsigned i = 0; i < o->db_count && !rc; i++)
		rc = mdb_dbi_open(txn, o->dbs[i], o->read_only ? 0 : MDB_CREATE, &k->dbs[i]);
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

/* LMDB's reader table of a dead process: nobody else can be using it while our own lock is held, and a damaged one
 * would keep us from starting. */
static void forget_readers(const struct kv_lmdb *k)
{
	char *file = xasprintf("%s/lock.mdb", k->path);
	(void)unlink(file);
	free(file);
}

/* With a file that is too short, the missing end is added (sparse) while LMDB looks at it, and taken away again when
 * the file proves to be cut: the next start must find what this one found. */
static int open_checked(struct kv_lmdb *k, const struct kv_lmdb_options *o, const char *file,
    const struct file_shape *shape, char **ret_why)
{
	bool is_short = shape->file_bytes < shape->pages * shape->page_bytes;
	if (is_short && (o->read_only || truncate(file, (off_t)(shape->pages * shape->page_bytes))))
		return why(ret_why, WEIR_ECORRUPT, xasprintf("%s is shorter than it says", file));
	int rc = open_env(k, o);
	int code = code_of(k->path, rc);
	if (!code && is_short)
		code = check_tail(k, shape);
	if (!code) {
		rc = open_dbs(k, o);
		code = code_of(k->path, rc);
	}
	if (!code)
		return 0;
	if (k->env)
		mdb_env_close(k->env);
	k->env = NULL;
	if (is_short && truncate(file, (off_t)shape->file_bytes))
		code = WEIR_EIO;
	return why(ret_why, code,
	    is_short ? xasprintf("%s was cut short: %llu bytes of %llu are there", file,
			   (unsigned long long)shape->file_bytes,
			   (unsigned long long)(shape->pages * shape->page_bytes))
		     : xasprintf("%s: %s", file, rc ? mdb_strerror(rc) : err_text(code)));
}

static int open_all(struct kv_lmdb *k, const struct kv_lmdb_options *o, char **ret_why)
{
	int code = check_folder(o, ret_why);
	if (!code)
		code = take_lock(k, ret_why);
	if (code)
		return code;
	char *file = xasprintf("%s/data.mdb", o->path);
	struct file_shape shape;
	code = check_file(file, &shape, ret_why);
	if (!code && o->read_only && !shape.pages)
		code = why(ret_why, WEIR_ENOTFOUND, xasprintf("%s: there is none", file));
	if (!code && !o->read_only)
		forget_readers(k);
	if (!code)
		code = open_checked(k, o, file, &shape, ret_why);
	if (!code && !o->read_only)
		k->data_fd = open(file, O_RDWR | O_CLOEXEC);
	MDB_stat stat;
	if (!code && !mdb_env_stat(k->env, &stat))
		k->page_bytes = stat.ms_psize;
	free(file);
	if (!code && !o->read_only)
		sync_folder(o->path);
	return code;
}

int kv_lmdb_open(const struct kv_lmdb_options *o, struct kv **ret_kv, char **ret_why)
{
	weir_assert(o->db_count >= 1 && o->db_count <= KV_DBS_MAX);
	struct kv_lmdb *k = xcalloc(1, sizeof(*k));
	k->kv.ops = &lmdb_ops;
	k->lock_fd = k->data_fd = -1;
	k->path = xstrdup(o->path);
	k->db_count = o->db_count;
	k->read_only = o->read_only;
	char *text = NULL;
	int code = open_all(k, o, &text);
	if (code) {
		lmdb_close(&k->kv);
		*ret_why = text;
		return code;
	}
	*ret_kv = &k->kv;
	return 0;
}
