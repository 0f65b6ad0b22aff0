#include "tests/sim/sim_kv.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define RECORD_OVERHEAD 48 /* what a record costs beside its bytes */
#define DEPTH_MAX 200      /* of a treap: hashed priorities keep it near 3 log2(n) */

/* A record; shared by all versions that hold it. */
struct blob {
	unsigned refs;
	uint32_t key_len;
	size_t value_len;
	uint8_t data[]; /* key, then value */
};

/* A node of a version; shared until somebody who holds it alone writes it. */
struct tnode {
	unsigned refs;
	uint64_t prio;
	struct blob *blob;
	struct tnode *left, *right;
};

struct version {
	struct tnode *root[KV_DBS_MAX];
	uint64_t used;
};

struct sim_disk {
	unsigned dbs;
	uint64_t size;
	uint64_t commits;
	double full_commits;
	struct version v;
	bool lie;
	struct version shown; /* of a lying disk: what its process sees */
	sim_disk_hook hook;
	void *hook_arg;
	struct sim_kv *open;
};

struct sim_kv {
	struct kv kv;
	struct sim_disk *disk;
	struct sim_rand rand;
	struct sim_txn *writer;
	unsigned txns;
	bool dead;
	bool crash_committed;
	bool crash_armed;
	uint64_t crash_in;
};

struct put_note {
	unsigned db;
	struct blob *blob;
};

struct sim_txn {
	struct kv_txn txn;
	struct sim_kv *kv;
	bool write;
	bool failed;
	unsigned cursors;
	uint64_t writes; /* so that a cursor knows that it is stale */
	struct version v;
	struct put_note *notes;
	size_t note_count, note_cap;
};

struct sim_cursor {
	struct kv_cursor cursor;
	struct sim_txn *txn;
	unsigned db;
	uint64_t writes;
	int depth;
	struct tnode *path[DEPTH_MAX];
};

/* ---- records and treaps ------------------------------------------------------------------------------------ */

static void blob_unref(struct blob *b)
{
	if (--b->refs == 0)
		free(b);
}

static struct blob *blob_new(struct bytes key, size_t value_len)
{
	struct blob *b = xmalloc(sizeof(*b) + key.n + value_len);
	b->refs = 1;
	b->key_len = (uint32_t)key.n;
	b->value_len = value_len;
	memcpy(b->data, key.p, key.n);
	return b;
}

static struct bytes blob_key(const struct blob *b)
{
	return bytes_of(b->data, b->key_len);
}

static struct bytes blob_value(const struct blob *b)
{
	return bytes_of(b->data + b->key_len, b->value_len);
}

static uint64_t blob_cost(const struct blob *b)
{
	return b->key_len + b->value_len + RECORD_OVERHEAD;
}

static int key_cmp(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static uint64_t key_prio(struct bytes key)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < key.n; i++)
		h = (h ^ key.p[i]) * UINT64_C(0x100000001b3);
	return sim_mix(h);
}

static struct tnode *tnode_ref(struct tnode *t)
{
	if (t)
		t->refs++;
	return t;
}

static void tnode_unref(struct tnode *t)
{
	while (t && --t->refs == 0) {
		struct tnode *right = t->right;
		blob_unref(t->blob);
		tnode_unref(t->left);
		free(t);
		t = right;
	}
}

/* Takes a reference to t, gives one to a node with its content that nobody else holds. */
static struct tnode *tnode_own(struct tnode *t)
{
	if (t->refs == 1)
		return t;
	struct tnode *c = xmalloc(sizeof(*c));
	*c = *t;
	c->refs = 1;
	c->blob->refs++;
	tnode_ref(c->left);
	tnode_ref(c->right);
	t->refs--;
	return c;
}

/* Depth is logarithmic, whatever the keys are: priorities are hashes. */
static struct tnode *treap_put(struct tnode *t, struct blob *b, uint64_t prio, uint64_t *used)
{
	if (!t) {
		t = xcalloc(1, sizeof(*t));
		*t = (struct tnode){1, prio, b, NULL, NULL};
		*used += blob_cost(b);
		return t;
	}
	int c = key_cmp(blob_key(b), blob_key(t->blob));
	t = tnode_own(t);
	if (c == 0) {
		*used += blob_cost(b) - blob_cost(t->blob);
		blob_unref(t->blob);
		t->blob = b;
	} else if (c < 0) {
		struct tnode *l = t->left = treap_put(t->left, b, prio, used);
		if (l->prio > t->prio) {
			t->left = l->right;
			l->right = t;
			t = l;
		}
	} else {
		struct tnode *r = t->right = treap_put(t->right, b, prio, used);
		if (r->prio > t->prio) {
			t->right = r->left;
			r->left = t;
			t = r;
		}
	}
	return t;
}

static struct tnode *treap_join(struct tnode *l, struct tnode *r)
{
	if (!l || !r)
		return l ? l : r;
	if (l->prio > r->prio) {
		l = tnode_own(l);
		l->right = treap_join(l->right, r);
		return l;
	}
	r = tnode_own(r);
	r->left = treap_join(l, r->left);
	return r;
}

static struct tnode *treap_del(struct tnode *t, struct bytes key, uint64_t *used)
{
	int c = key_cmp(key, blob_key(t->blob));
	t = tnode_own(t);
	if (c < 0) {
		t->left = treap_del(t->left, key, used);
		return t;
	}
	if (c > 0) {
		t->right = treap_del(t->right, key, used);
		return t;
	}
	struct tnode *j = treap_join(t->left, t->right);
	*used -= blob_cost(t->blob);
	blob_unref(t->blob);
	free(t);
	return j;
}

static struct blob *treap_get(const struct tnode *t, struct bytes key)
{
	while (t) {
		int c = key_cmp(key, blob_key(t->blob));
		if (!c)
			return t->blob;
		t = c < 0 ? t->left : t->right;
	}
	return NULL;
}

static uint64_t treap_cost(const struct tnode *t)
{
	uint64_t sum = 0;
	for (; t; t = t->right)
		sum += blob_cost(t->blob) + treap_cost(t->left);
	return sum;
}

static void version_share(struct version *dst, const struct version *src, unsigned dbs)
{
	for (unsigned i = 0; i < dbs; i++)
		dst->root[i] = tnode_ref(src->root[i]);
	dst->used = src->used;
}

static void version_drop(struct version *v, unsigned dbs)
{
	for (unsigned i = 0; i < dbs; i++) {
		tnode_unref(v->root[i]);
		v->root[i] = NULL;
	}
	v->used = 0;
}

static void version_move(struct version *dst, struct version *src, unsigned dbs)
{
	version_drop(dst, dbs);
	memcpy(dst->root, src->root, dbs * sizeof(src->root[0]));
	dst->used = src->used;
	memset(src->root, 0, dbs * sizeof(src->root[0]));
}

/* ---- the disk ---------------------------------------------------------------------------------------------- */

struct sim_disk *sim_disk_new(unsigned dbs, uint64_t size_bytes)
{
	weir_assert(dbs > 0 && dbs <= KV_DBS_MAX);
	struct sim_disk *d = xcalloc(1, sizeof(*d));
	d->dbs = dbs;
	d->size = size_bytes;
	return d;
}

struct sim_disk *sim_disk_copy(const struct sim_disk *d)
{
	struct sim_disk *c = sim_disk_new(d->dbs, d->size);
	version_share(&c->v, &d->v, d->dbs);
	return c;
}

void sim_disk_free(struct sim_disk *d)
{
	if (!d)
		return;
	weir_assert(!d->open);
	version_drop(&d->v, d->dbs);
	version_drop(&d->shown, d->dbs);
	free(d);
}

void sim_disk_hook_set(struct sim_disk *d, sim_disk_hook hook, void *arg)
{
	d->hook = hook;
	d->hook_arg = arg;
}

void sim_disk_limit(struct sim_disk *d, uint64_t size_bytes)
{
	d->size = size_bytes;
}

void sim_disk_full_commits(struct sim_disk *d, double chance)
{
	d->full_commits = chance;
}

uint64_t sim_disk_used(const struct sim_disk *d)
{
	return d->v.used;
}

uint64_t sim_disk_commits(const struct sim_disk *d)
{
	return d->commits;
}

void sim_disk_lie(struct sim_disk *d, bool lie)
{
	if (lie && !d->lie)
		version_share(&d->shown, &d->v, d->dbs);
	else if (!lie && d->lie)
		version_move(&d->v, &d->shown, d->dbs);
	d->lie = lie;
}

/* What this handle sees as committed. */
static struct version *disk_image(struct sim_disk *d)
{
	return d->lie ? &d->shown : &d->v;
}

/* ---- transactions ------------------------------------------------------------------------------------------ */

static struct sim_kv *kv_of(struct kv *kv)
{
	return (struct sim_kv *)kv;
}

static struct sim_txn *txn_of(struct kv_txn *txn)
{
	return (struct sim_txn *)txn;
}

/* One write operation passes; false: the process dies here. */
static bool kv_alive(struct sim_kv *k)
{
	if (k->crash_armed && !k->dead && k->crash_in-- == 0)
		k->dead = true;
	return !k->dead;
}

static int sim_begin(struct kv *kv, bool write, struct kv_txn **ret_txn)
{
	struct sim_kv *k = kv_of(kv);
	if (k->dead || (write && !kv_alive(k)))
		return WEIR_EIO;
	weir_assert(!write || !k->writer); /* one writer at a time */
	struct sim_txn *t = xcalloc(1, sizeof(*t));
	t->txn.kv = kv;
	t->kv = k;
	t->write = write;
	version_share(&t->v, disk_image(k->disk), k->disk->dbs);
	if (write)
		k->writer = t;
	k->txns++;
	*ret_txn = &t->txn;
	return 0;
}

static void txn_end(struct sim_txn *t)
{
	weir_assert(t->cursors == 0 || t->kv->dead); /* cursors are closed before their transaction ends */
	for (size_t i = 0; i < t->note_count; i++)
		blob_unref(t->notes[i].blob);
	free(t->notes);
	version_drop(&t->v, t->kv->disk->dbs);
	if (t->write)
		t->kv->writer = NULL;
	t->kv->txns--;
	free(t);
}

static void txn_make_durable(struct sim_txn *t)
{
	struct sim_disk *d = t->kv->disk;
	d->commits++;
	version_move(disk_image(d), &t->v, d->dbs);
	for (size_t i = 0; i < t->note_count && d->hook; i++)
		d->hook(d->hook_arg, t->notes[i].db, blob_key(t->notes[i].blob), blob_value(t->notes[i].blob));
}

static int sim_commit(struct kv_txn *txn)
{
	struct sim_txn *t = txn_of(txn);
	struct sim_kv *k = t->kv;
	int rc = 0;
	if (!t->write) {
		txn_end(t);
		return 0;
	}
	if (k->dead) {
		rc = WEIR_EIO;
	} else if (t->failed || sim_chance(&k->rand, k->disk->full_commits)) {
		rc = WEIR_EFULL;
	} else if (kv_alive(k)) {
		txn_make_durable(t);
	} else {
		rc = WEIR_EIO;
		k->crash_committed = sim_chance(&k->rand, 0.5);
		if (k->crash_committed)
			txn_make_durable(t);
	}
	txn_end(t);
	return rc;
}

static void sim_abort(struct kv_txn *txn)
{
	txn_end(txn_of(txn));
}

static int sim_get(struct kv_txn *txn, unsigned db, struct bytes key, struct bytes *ret_value)
{
	struct sim_txn *t = txn_of(txn);
	weir_assert(db < t->kv->disk->dbs);
	if (t->kv->dead)
		return WEIR_EIO;
	struct blob *b = treap_get(t->v.root[db], key);
	if (!b)
		return WEIR_ENOTFOUND;
	*ret_value = blob_value(b);
	return 0;
}

static void txn_note(struct sim_txn *t, unsigned db, struct blob *b)
{
	if (!t->kv->disk->hook)
		return;
	if (t->note_count == t->note_cap) {
		t->note_cap = t->note_cap ? 2 * t->note_cap : 16;
		t->notes = xrealloc(t->notes, t->note_cap * sizeof(*t->notes));
	}
	b->refs++;
	t->notes[t->note_count++] = (struct put_note){db, b};
}

static int txn_write(struct sim_txn *t, unsigned db)
{
	weir_assert(t->write && db < t->kv->disk->dbs);
	if (t->kv->dead || !kv_alive(t->kv))
		return WEIR_EIO;
	t->writes++;
	return t->failed ? WEIR_EFULL : 0;
}

static bool key_is_last(const struct tnode *t, struct bytes key)
{
	if (!t)
		return true;
	while (t->right)
		t = t->right;
	return key_cmp(key, blob_key(t->blob)) > 0;
}

static int sim_put(struct kv_txn *txn, unsigned db, struct bytes key, size_t n, bool append, uint8_t **ret_room)
{
	struct sim_txn *t = txn_of(txn);
	int rc = txn_write(t, db);
	if (rc)
		return rc;
	if (append && !key_is_last(t->v.root[db], key))
		return WEIR_EEXIST;
	if (t->v.used + key.n + n + RECORD_OVERHEAD > t->kv->disk->size) {
		t->failed = true;
		return WEIR_EFULL;
	}
	struct blob *b = blob_new(key, n);
	txn_note(t, db, b);
	t->v.root[db] = treap_put(t->v.root[db], b, key_prio(blob_key(b)), &t->v.used);
	*ret_room = b->data + b->key_len;
	return 0;
}

static int sim_del(struct kv_txn *txn, unsigned db, struct bytes key)
{
	struct sim_txn *t = txn_of(txn);
	int rc = txn_write(t, db);
	if (rc)
		return rc;
	if (!treap_get(t->v.root[db], key))
		return WEIR_ENOTFOUND;
	uint8_t copy[KV_KEY_MAX];
	weir_assert(key.n <= KV_KEY_MAX);
	memcpy(copy, key.p, key.n); /* the key may lie in the record that goes */
	t->v.root[db] = treap_del(t->v.root[db], bytes_of(copy, key.n), &t->v.used);
	return 0;
}

static int sim_clear(struct kv_txn *txn, unsigned db)
{
	struct sim_txn *t = txn_of(txn);
	int rc = txn_write(t, db);
	if (rc)
		return rc;
	t->v.used -= treap_cost(t->v.root[db]);
	tnode_unref(t->v.root[db]);
	t->v.root[db] = NULL;
	return 0;
}

/* ---- cursors ----------------------------------------------------------------------------------------------- */

static struct sim_cursor *cursor_of(struct kv_cursor *c)
{
	return (struct sim_cursor *)c;
}

static int sim_cursor_open(struct kv_txn *txn, unsigned db, struct kv_cursor **ret_cursor)
{
	struct sim_txn *t = txn_of(txn);
	weir_assert(db < t->kv->disk->dbs);
	if (t->kv->dead)
		return WEIR_EIO;
	struct sim_cursor *c = xcalloc(1, sizeof(*c));
	c->cursor.txn = txn;
	c->txn = t;
	c->db = db;
	t->cursors++;
	*ret_cursor = &c->cursor;
	return 0;
}

static int cursor_give(struct sim_cursor *c, struct bytes *ret_key, struct bytes *ret_value)
{
	if (!c->depth)
		return WEIR_ENOTFOUND;
	*ret_key = blob_key(c->path[c->depth - 1]->blob);
	*ret_value = blob_value(c->path[c->depth - 1]->blob);
	return 0;
}

static void cursor_push(struct sim_cursor *c, struct tnode *t)
{
	weir_assert(c->depth < DEPTH_MAX);
	c->path[c->depth++] = t;
}

static void cursor_push_edge(struct sim_cursor *c, struct tnode *t, bool last)
{
	for (; t; t = last ? t->right : t->left)
		cursor_push(c, t);
}

static int sim_cursor_seek(struct kv_cursor *cursor, struct bytes key, struct bytes *ret_key, struct bytes *ret_value)
{
	struct sim_cursor *c = cursor_of(cursor);
	if (c->txn->kv->dead)
		return WEIR_EIO;
	c->writes = c->txn->writes;
	c->depth = 0;
	int best = 0; /* depth of the smallest key so far that is >= key */
	for (struct tnode *t = c->txn->v.root[c->db]; t;) {
		cursor_push(c, t);
		int cmp = key_cmp(key, blob_key(t->blob));
		if (cmp <= 0)
			best = c->depth;
		if (cmp == 0)
			break;
		t = cmp < 0 ? t->left : t->right;
	}
	c->depth = best;
	return cursor_give(c, ret_key, ret_value);
}

static int sim_cursor_step(struct kv_cursor *cursor, int direction, struct bytes *ret_key, struct bytes *ret_value)
{
	struct sim_cursor *c = cursor_of(cursor);
	if (c->txn->kv->dead)
		return WEIR_EIO;
	weir_assert(c->writes == c->txn->writes); /* after a write a cursor seeks again */
	if (!c->depth)
		return WEIR_ENOTFOUND;
	struct tnode *t = c->path[c->depth - 1];
	struct tnode *child = direction > 0 ? t->right : t->left;
	if (child) {
		cursor_push_edge(c, child, direction < 0);
		return cursor_give(c, ret_key, ret_value);
	}
	do {
		t = c->path[--c->depth];
	} while (c->depth && (direction > 0 ? c->path[c->depth - 1]->right : c->path[c->depth - 1]->left) == t);
	return cursor_give(c, ret_key, ret_value);
}

static int sim_cursor_edge(struct kv_cursor *cursor, bool last, struct bytes *ret_key, struct bytes *ret_value)
{
	struct sim_cursor *c = cursor_of(cursor);
	if (c->txn->kv->dead)
		return WEIR_EIO;
	c->writes = c->txn->writes;
	c->depth = 0;
	cursor_push_edge(c, c->txn->v.root[c->db], last);
	return cursor_give(c, ret_key, ret_value);
}

static void sim_cursor_close(struct kv_cursor *cursor)
{
	struct sim_cursor *c = cursor_of(cursor);
	c->txn->cursors--;
	free(c);
}

/* ---- the handle -------------------------------------------------------------------------------------------- */

static uint64_t sim_used_bytes(struct kv *kv)
{
	return disk_image(kv_of(kv)->disk)->used;
}

static uint64_t sim_size_bytes(struct kv *kv)
{
	return kv_of(kv)->disk->size;
}

static void sim_close(struct kv *kv)
{
	struct sim_kv *k = kv_of(kv);
	if (k->writer)
		txn_end(k->writer);
	weir_assert(k->txns == 0); /* readers end before the kv closes */
	version_drop(&k->disk->shown, k->disk->dbs); /* a lying disk forgets here */
	k->disk->lie = false;
	k->disk->open = NULL;
	free(k);
}

static int sim_take_room(struct kv *kv, uint64_t bytes)
{
	const struct sim_disk *d = kv_of(kv)->disk;
	return d->v.used + bytes > d->size ? WEIR_EFULL : 0;
}

static uint64_t sim_txn_bytes(struct kv_txn *txn)
{
	const struct sim_txn *t = txn_of(txn);
	uint64_t used = t->kv->disk->v.used;
	return t->v.used > used ? t->v.used - used : 0;
}

static const struct kv_ops sim_ops = {
    .begin = sim_begin,
    .commit = sim_commit,
    .abort = sim_abort,
    .get = sim_get,
    .put = sim_put,
    .del = sim_del,
    .clear = sim_clear,
    .cursor_open = sim_cursor_open,
    .cursor_seek = sim_cursor_seek,
    .cursor_step = sim_cursor_step,
    .cursor_edge = sim_cursor_edge,
    .cursor_close = sim_cursor_close,
    .used_bytes = sim_used_bytes,
    .take_room = sim_take_room,
    .txn_bytes = sim_txn_bytes,
    .size_bytes = sim_size_bytes,
    .close = sim_close,
};

struct kv *sim_kv_open(struct sim_disk *d, uint64_t seed)
{
	weir_assert(!d->open);
	struct sim_kv *k = xcalloc(1, sizeof(*k));
	k->kv.ops = &sim_ops;
	k->disk = d;
	k->rand.state = seed;
	d->open = k;
	return &k->kv;
}

void sim_kv_crash_after(struct kv *kv, uint64_t operations)
{
	kv_of(kv)->crash_armed = true;
	kv_of(kv)->crash_in = operations;
}

bool sim_kv_dead(const struct kv *kv)
{
	return ((const struct sim_kv *)kv)->dead;
}

bool sim_kv_crash_committed(const struct kv *kv)
{
	return ((const struct sim_kv *)kv)->crash_committed;
}
