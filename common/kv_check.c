/* LMDB's data file, as far as a check needs it (lmdb 0.9, mdb.c, "Physical page" and "Meta page content"):
 *
 *   page      0 number u64, pad u16, flags u16, then lower u16, upper u16 (overflow: count of pages u32); 16: contents
 *   meta      page 0 and 1; at 16: magic u32, format u32, address u64, map size u64, the trees FREE and MAIN, last page u64,
 *             transaction u64; that of number t is written to page t & 1
 *   tree      pad u32, flags u16, depth u16, branch pages u64, leaf pages u64, overflow pages u64, entries u64, root u64
 *   branch,   at 16: offsets u16 of nodes, in the order of keys, up to `lower`; nodes fill the page from `upper` to its end
 *   leaf
 *   node      low u16, high u16, flags u16, key length u16, key, then in a leaf the data. Branch: low, high and flags are the
 *             child's number; its first key means nothing. Leaf: low and high are the data's length
 *
 * MAIN holds a tree for each named database; FREE holds, by transaction, a count and the numbers of pages that it freed. */
#include "common/kv_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"

#define PAGE_HEAD 16
#define NODE_HEAD 8
#define TREE_BYTES 48
#define META_MAGIC 0xbeefc0deu
#define META_FORMAT 1
#define META_FREE 40
#define META_MAIN 88
#define META_LAST 136
#define META_TXN 144
#define META_END 152
#define NO_PAGE UINT64_MAX
#define PAGE_MAX 65536
#define FREE_FLAGS 8 /* MDB_INTEGERKEY */

enum page_flags { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_META = 8 };
enum node_flags { NODE_BIG = 1, NODE_TREE = 2 };

struct tree {
	uint16_t flags, depth;
	uint64_t branches, leaves, overflows, entries, root;
};

struct frame {
	uint8_t *page;
	uint64_t number;
	unsigned count, next;
	struct bytes low, high; /* of all keys below; they lie in the pages of frames above this one */
};

struct check {
	const struct kv_check_options *o;
	struct kv_check_result *out;
	int fd;
	uint32_t page_bytes;
	uint64_t pages, room_pages; /* that there are; that the bits have room for */
	uint8_t *used, *spare;  /* bits, by page */
	uint8_t *filled;        /* bits, by two bytes of a page */
	uint8_t *big;           /* the overflow pages being looked at */
	size_t big_bytes;
	struct frame frames[KV_CHECK_DEPTH_MAX];
	/* the tree that is being walked */
	const char *name;
	unsigned db;
	bool is_free;
	int (*leaf)(struct check *c, struct bytes key, struct bytes data, unsigned flags, uint64_t page);
	struct tree found;
	struct bytes before;    /* key, in before_room */
	uint8_t before_room[KV_KEY_MAX];
	bool any_before;
	struct named *named;
	size_t named_count;
	uint64_t looked;
};

/* A database that MAIN names. */
struct named {
	char *name;
	struct tree tree;
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static bool bit(const uint8_t *bits, uint64_t at)
{
	return bits[at / 8] >> (at % 8) & 1;
}

static void set_bit(uint8_t *bits, uint64_t at)
{
	bits[at / 8] |= (uint8_t)(1 << at % 8);
}

static void report(struct check *c, const char *what, uint64_t page, bool record, struct bytes low, struct bytes high)
{
	if (record)
		c->out->bad_records++;
	else
		c->out->bad_pages++;
	if (c->o->damage)
		c->o->damage(c->o->arg, &(struct kv_damage){c->name, what, page, record, low, high});
}

static void report_page(struct check *c, const char *what, uint64_t page)
{
	report(c, what, page, false, (struct bytes){0}, (struct bytes){0});
}

/* ---- pages ------------------------------------------------------------------------------------------------------ */

static bool read_at(const struct check *c, uint64_t page, void *room, size_t bytes)
{
	uint8_t *p = room;
	uint64_t at = page * c->page_bytes;
	while (bytes) {
		ssize_t n = pread(c->fd, p, bytes, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		at += (uint64_t)n;
		bytes -= (size_t)n;
	}
	return true;
}

/* Each page belongs to one thing. The list of free pages is read before anything else. */
static bool take_pages(struct check *c, uint64_t first, uint64_t count)
{
	if (first < 2 || first >= c->pages || count > c->pages - first)
		return false;
	for (uint64_t i = first; i < first + count; i++) {
		if (bit(c->used, i) || (!c->is_free && bit(c->spare, i)))
			return false;
		set_bit(c->used, i);
	}
	c->out->used_pages += count;
	c->looked += count;
	if (c->o->progress && c->looked / KV_CHECK_PROGRESS_PAGES != (c->looked - count) / KV_CHECK_PROGRESS_PAGES)
		c->o->progress(c->o->arg, c->looked, c->pages);
	return true;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------ */

struct node {
	const uint8_t *p;
	struct bytes key;
	unsigned flags;
	uint64_t child;    /* branch */
	uint32_t data_len; /* leaf */
	const uint8_t *data;
};

/* False: it leaves the page. */
static bool node_at(const struct check *c, const struct frame *f, unsigned i, bool leaf, struct node *ret, uint32_t *ret_size)
{
	uint32_t at = get16(f->page + PAGE_HEAD + 2 * i), end = c->page_bytes;
	if (at % 2 || at < PAGE_HEAD + 2 * f->count || at > end - NODE_HEAD)
		return false;
	const uint8_t *p = f->page + at;
	struct node n = {.p = p, .flags = get16(p + 4), .key = bytes_of(p + NODE_HEAD, get16(p + 6))};
	uint32_t size = NODE_HEAD + (uint32_t)n.key.n;
	if (n.key.n > KV_KEY_MAX || size > end - at)
		return false;
	n.data = p + size;
	if (leaf) {
		n.data_len = get32(p);
		uint32_t here = n.flags & NODE_BIG ? 8 : n.data_len;
		if (here > end - at - size)
			return false;
		size += here;
	} else {
		n.child = get32(p) | (uint64_t)n.flags << 32;
	}
	*ret = n;
	*ret_size = (size + 1) & ~1u;
	return true;
}

/* Nodes fill the page from `upper` on, without gaps, without sharing a byte. */
static bool nodes_fit(struct check *c, const struct frame *f, bool leaf)
{
	uint32_t upper = get16(f->page + 14), total = 0;
	memset(c->filled, 0, c->page_bytes / 16 + 1);
	for (unsigned i = 0; i < f->count; i++) {
		struct node n;
		uint32_t size;
		if (!node_at(c, f, i, leaf, &n, &size) || n.p < f->page + upper)
			return false;
		uint32_t at = (uint32_t)(n.p - f->page);
		if (size > c->page_bytes - at)
			return false;
		for (uint32_t b = at; b < at + size; b += 2) {
			if (bit(c->filled, b / 2))
				return false;
			set_bit(c->filled, b / 2);
		}
		total += size;
	}
	return total == c->page_bytes - upper;
}

static int compare(const struct check *c, struct bytes a, struct bytes b)
{
	if (c->is_free) {
		uint64_t x = get64(a.p), y = get64(b.p);
		return x < y ? -1 : x > y;
	}
	size_t n = a.n < b.n ? a.n : b.n;
	int rc = n ? memcmp(a.p, b.p, n) : 0;
	return rc ? rc : (a.n > b.n) - (a.n < b.n);
}

static bool key_fits(const struct check *c, const struct frame *f, struct bytes key)
{
	if (c->is_free ? key.n != 8 : key.n == 0)
		return false;
	return (!f->low.n || compare(c, key, f->low) >= 0) && (!f->high.n || compare(c, key, f->high) < 0);
}

/* ---- leaves ----------------------------------------------------------------------------------------------------- */

/* Data on pages of its own: maybe more than it needs, where it once was longer. NULL: they are not what they should be. */
static const uint8_t *read_big(struct check *c, const struct node *n)
{
	uint64_t first = get64(n->data), need = (PAGE_HEAD - 1 + (uint64_t)n->data_len) / c->page_bytes + 1;
	uint8_t head[PAGE_HEAD];
	if (n->data_len > (uint64_t)KV_VALUE_MAX + KV_RECORD_HEAD || first < 2 || first >= c->pages ||
	    !read_at(c, first, head, sizeof(head)))
		return NULL;
	uint64_t count = get32(head + 12);
	if (get64(head) != first || get16(head + 10) != PAGE_OVERFLOW || count < need || !take_pages(c, first, count))
		return NULL;
	c->found.overflows += count;
	size_t bytes = PAGE_HEAD + (size_t)n->data_len;
	if (bytes > c->big_bytes) {
		c->big = xrealloc(c->big, bytes);
		c->big_bytes = bytes;
	}
	return read_at(c, first, c->big, bytes) ? c->big + PAGE_HEAD : NULL;
}

static void remember(struct check *c, struct bytes key)
{
	memcpy(c->before_room, key.p, key.n);
	c->before = bytes_of(c->before_room, key.n);
	c->any_before = true;
}

static int walk_leaf(struct check *c, const struct frame *f)
{
	for (unsigned i = 0; i < f->count; i++) {
		struct node n;
		uint32_t size;
		(void)node_at(c, f, i, true, &n, &size);
		struct bytes low = c->any_before ? c->before : f->low;
		c->found.entries++;
		if (!key_fits(c, f, n.key) || (c->any_before && compare(c, n.key, c->before) <= 0)) {
			report(c, "keys are not in order", f->number, false, low, f->high);
			continue;
		}
		const uint8_t *data = n.flags & NODE_BIG ? read_big(c, &n) : n.data;
		remember(c, n.key);
		if (!data || n.flags & ~(unsigned)(NODE_BIG | NODE_TREE)) {
			report(c, "the pages of a large record are damaged", f->number, false, n.key, f->high);
			continue;
		}
		int rc = c->leaf(c, n.key, bytes_of(data, n.data_len), n.flags & NODE_TREE, f->number);
		if (rc)
			return rc;
	}
	return 0;
}

static int free_leaf(struct check *c, struct bytes key, struct bytes data, unsigned flags, uint64_t page)
{
	(void)key;
	uint64_t count = data.n >= 8 ? get64(data.p) : 0;
	if (flags || data.n < 8 || count > data.n / 8 - 1) {
		report_page(c, "the list of free pages is damaged", page);
		return 0;
	}
	for (uint64_t i = 1; i <= count; i++) {
		uint64_t number = get64(data.p + 8 * i);
		bool ordered = i == 1 || number < get64(data.p + 8 * (i - 1));
		if (number < 2 || number >= c->pages || !ordered || bit(c->spare, number)) {
			report_page(c, "the list of free pages is damaged", page);
			return 0;
		}
		set_bit(c->spare, number);
		c->out->free_pages++;
	}
	return 0;
}

static void read_tree(const uint8_t *p, struct tree *ret)
{
	*ret = (struct tree){.flags = get16(p + 4), .depth = get16(p + 6), .branches = get64(p + 8), .leaves = get64(p + 16),
	    .overflows = get64(p + 24), .entries = get64(p + 32), .root = get64(p + 40)};
}

static int main_leaf(struct check *c, struct bytes key, struct bytes data, unsigned flags, uint64_t page)
{
	if (!flags || data.n != TREE_BYTES || memchr(key.p, 0, key.n)) {
		report(c, "the list of databases is damaged", page, false, key, (struct bytes){0});
		return 0;
	}
	c->named = xrealloc(c->named, (c->named_count + 1) * sizeof(*c->named));
	struct named *n = &c->named[c->named_count++];
	n->name = xstrndup((const char *)key.p, key.n);
	read_tree(data.p, &n->tree);
	return 0;
}

static int record_leaf(struct check *c, struct bytes key, struct bytes data, unsigned flags, uint64_t page)
{
	struct bytes value;
	if (flags) {
		report(c, "a record is marked as a database", page, false, key, (struct bytes){0});
		return 0;
	}
	if (kv_record_unwrap(key, data, &value)) {
		report(c, "a record does not match its checksum", page, true, key, (struct bytes){0});
		return 0;
	}
	c->out->records++;
	return c->o->record ? c->o->record(c->o->arg, c->db, c->name, key, value) : 0;
}

/* ---- trees ------------------------------------------------------------------------------------------------------ */

/* NULL: fine. */
static const char *load_page(struct check *c, struct frame *f, uint64_t number, bool leaf)
{
	f->number = number;
	f->next = 0;
	if (!take_pages(c, number, 1))
		return "a page is used twice, is listed as free, or does not exist";
	if (!read_at(c, number, f->page, c->page_bytes))
		return "a page cannot be read";
	if (get64(f->page) != number || get16(f->page + 10) != (leaf ? PAGE_LEAF : PAGE_BRANCH))
		return "a page is not what it should be";
	uint32_t lower = get16(f->page + 12), upper = get16(f->page + 14);
	if (lower < PAGE_HEAD || lower % 2 || upper < lower || upper > c->page_bytes)
		return "a page contradicts itself";
	f->count = (lower - PAGE_HEAD) / 2;
	if (f->count < (leaf ? 1 : 2) || !nodes_fit(c, f, leaf))
		return "a page contradicts itself";
	return NULL;
}

static void down(struct check *c, unsigned depth)
{
	struct frame *f = &c->frames[depth], *below = f + 1;
	struct node n, after;
	uint32_t size;
	(void)node_at(c, f, f->next, false, &n, &size);
	below->low = f->next ? n.key : f->low;
	below->high = f->high;
	if (f->next + 1 < f->count) {
		(void)node_at(c, f, f->next + 1, false, &after, &size);
		below->high = after.key;
	}
	f->next++;
}

static bool separators_fit(struct check *c, const struct frame *f)
{
	struct bytes before = f->low;
	for (unsigned i = 1; i < f->count; i++) {
		struct node n;
		uint32_t size;
		(void)node_at(c, f, i, false, &n, &size);
		if (!key_fits(c, f, n.key) || (before.n && compare(c, n.key, before) <= 0))
			return false;
		before = n.key;
	}
	return true;
}

/* Page `number` at `depth`: its records, or its place on the stack. */
static int enter(struct check *c, unsigned depth, unsigned leaf_depth, uint64_t number, bool *ret_entered)
{
	struct frame *f = &c->frames[depth];
	bool leaf = depth == leaf_depth;
	const char *wrong = load_page(c, f, number, leaf);
	*ret_entered = false;
	if (!wrong && !leaf && !separators_fit(c, f))
		wrong = "keys are not in order";
	if (wrong) {
		report(c, wrong, number, false, f->low, f->high);
		return 0;
	}
	if (leaf) {
		c->found.leaves++;
		return walk_leaf(c, f);
	}
	c->found.branches++;
	*ret_entered = true;
	return 0;
}

static int walk(struct check *c, const struct tree *t)
{
	bool entered;
	int depth = 0;
	c->frames[0].low = c->frames[0].high = (struct bytes){0};
	int rc = enter(c, 0, t->depth - 1u, t->root, &entered);
	if (!entered)
		return rc;
	while (!rc && depth >= 0) {
		struct frame *f = &c->frames[depth];
		if (f->next == f->count) {
			depth--;
			continue;
		}
		struct node n;
		uint32_t size;
		(void)node_at(c, f, f->next, false, &n, &size);
		down(c, (unsigned)depth);
		rc = enter(c, (unsigned)depth + 1, t->depth - 1u, n.child, &entered);
		depth += entered;
	}
	return rc;
}

static int check_tree(struct check *c, const char *name, const struct tree *t, uint16_t flags)
{
	uint64_t bad = c->out->bad_pages;
	c->name = name;
	c->found = (struct tree){.flags = flags, .depth = t->depth, .root = t->root};
	c->any_before = false;
	if (t->flags != flags || (t->root == NO_PAGE) != (t->depth == 0) || t->depth > KV_CHECK_DEPTH_MAX) {
		report_page(c, "the root of a database is damaged", t->root);
		return 0;
	}
	int rc = t->root == NO_PAGE ? 0 : walk(c, t);
	if (!rc && c->out->bad_pages == bad &&
	    (c->found.branches != t->branches || c->found.leaves != t->leaves || c->found.overflows != t->overflows ||
		c->found.entries != t->entries))
		report_page(c, "a database's counts are wrong", t->root);
	return rc;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static int known_db(const struct kv_check_options *o, const char *name)
{
	for (unsigned i = 0; i < o->db_count; i++) {
		if (!strcmp(o->dbs[i], name))
			return (int)i;
	}
	return -1;
}

static int check_db(struct check *c, const struct named *n)
{
	uint64_t bad = c->out->bad_pages;
	int rc = check_tree(c, n->name, &n->tree, 0);
	if (!rc && c->o->dbs && c->out->bad_pages == bad)
		c->out->sound[c->db / 64] |= UINT64_C(1) << (c->db % 64);
	return rc;
}

static int check_named(struct check *c)
{
	int rc = 0;
	c->leaf = record_leaf;
	for (size_t i = 0; i < c->named_count && !rc; i++) {
		int db = c->o->dbs ? known_db(c->o, c->named[i].name) : (int)i;
		c->db = db < 0 ? 0 : (unsigned)db;
		c->name = c->named[i].name;
		if (db < 0)
			report_page(c, "there is a database that should not be", c->named[i].tree.root);
		else
			rc = check_db(c, &c->named[i]);
	}
	/* All databases are made at once, with the first transaction. */
	for (unsigned i = 0; i < c->o->db_count && c->named_count && !rc; i++) {
		bool there = false;
		for (size_t n = 0; n < c->named_count; n++)
			there |= !strcmp(c->named[n].name, c->o->dbs[i]);
		c->name = c->o->dbs[i];
		if (!there)
			report_page(c, "a database is missing", 0);
	}
	return rc;
}

/* The free pages and the names of the databases. *ret_fine: the latter are whole. */
static int check_lists(struct check *c, const uint8_t *meta, bool *ret_fine)
{
	struct tree free_tree, main_tree;
	read_tree(meta + META_FREE, &free_tree);
	read_tree(meta + META_MAIN, &main_tree);
	c->is_free = true;
	c->leaf = free_leaf;
	uint64_t bad = c->out->bad_pages;
	int rc = check_tree(c, "", &free_tree, FREE_FLAGS);
	c->out->list_sound = !rc && c->out->bad_pages == bad;
	c->is_free = false;
	c->leaf = main_leaf;
	bad = c->out->bad_pages;
	if (!rc)
		rc = check_tree(c, "", &main_tree, 0);
	*ret_fine = c->out->bad_pages == bad;
	return rc;
}

static void forget(struct check *c)
{
	for (size_t i = 0; i < c->named_count; i++)
		free(c->named[i].name);
	c->named_count = 0;
	memset(c->used, 0, c->room_pages / 8 + 1);
	memset(c->spare, 0, c->room_pages / 8 + 1);
	c->out->used_pages = c->out->free_pages = 0;
}

static uint64_t pages_of(const uint8_t *meta)
{
	return get64(meta + META_LAST) + 1;
}

/* Without the list of databases nothing is read; that of the transaction before is on other pages. other: NULL, or its meta page. */
static int check_all(struct check *c, const uint8_t *meta, const uint8_t *other)
{
	bool fine;
	int rc = check_lists(c, meta, &fine);
	if (!rc && !fine && c->o->either_meta && other) {
		forget(c);
		c->pages = c->out->pages = pages_of(other);
		rc = check_lists(c, other, &fine);
	}
	if (!rc)
		rc = check_named(c);
	c->name = "";
	for (uint64_t i = 2; i < c->pages && !rc; i++) {
		if (bit(c->used, i) && bit(c->spare, i)) {
			report_page(c, "a page in use is listed as free", i);
			break;
		}
	}
	return rc;
}

/* NULL: fine. Of the two meta pages the later one counts, and each transaction's has its place. */
static const char *check_meta(const uint8_t *page, uint32_t page_bytes, unsigned number, uint64_t *ret_txn)
{
	const uint8_t *m = page;
	*ret_txn = get64(m + META_TXN);
	if (get64(page) != number || get16(page + 10) != PAGE_META || get32(m + META_FREE) != page_bytes)
		return "a meta page is damaged";
	if (*ret_txn && *ret_txn % 2 != number)
		return "a meta page is damaged";
	return get64(m + META_LAST) + 1 > (uint64_t)INT64_MAX / page_bytes ? "a meta page is damaged" : NULL;
}

static int why(char **ret_why, int code, char *text)
{
	*ret_why = text;
	return code;
}

/* NULL: fine. */
static const char *check_one_meta(const uint8_t *page, uint32_t page_bytes, unsigned number, uint64_t *ret_txn)
{
	if (get32(page + 16) != META_MAGIC || get32(page + 20) != META_FORMAT)
		return "a meta page is damaged";
	return check_meta(page, page_bytes, number, ret_txn);
}

static bool is_page_size(uint32_t bytes)
{
	return bytes >= 512 && bytes <= PAGE_MAX && !(bytes & (bytes - 1));
}

struct metas {
	uint8_t *first, *second; /* in one room for two pages */
	const char *wrong, *wrong_first, *wrong_second; /* NULL: fine */
	uint64_t txn_first, txn_second;
};

/* As pages of page_bytes. */
static void look_at_metas(const struct check *c, uint32_t page_bytes, struct metas *m)
{
	m->second = m->first + page_bytes;
	m->wrong_first = m->wrong_second = m->wrong = "the file is cut short";
	if (!is_page_size(page_bytes) || !read_at(c, 0, m->first, 2 * (size_t)page_bytes))
		return;
	m->wrong_first = check_one_meta(m->first, page_bytes, 0, &m->txn_first);
	m->wrong_second = check_one_meta(m->second, page_bytes, 1, &m->txn_second);
	m->wrong = m->wrong_first ? m->wrong_first : m->wrong_second;
	if (!m->wrong && (m->txn_first || m->txn_second) && m->txn_first != m->txn_second + 1 &&
	    m->txn_second != m->txn_first + 1)
		m->wrong = "the meta pages do not belong together";
}

/* Both say so, of pages of any size: no damage, but a program of another time. */
static bool is_of_another_format(const struct check *c, const uint8_t *head)
{
	uint8_t second[META_END];
	uint32_t format = get32(head + 20), bytes = get32(head + META_FREE);
	return get32(head + 16) == META_MAGIC && format != META_FORMAT && format < 16 && is_page_size(bytes) &&
	    pread(c->fd, second, sizeof(second), (off_t)bytes) == (ssize_t)sizeof(second) &&
	    get32(second + 16) == META_MAGIC && get32(second + 20) == format;
}

/* 0: *ret_meta is that of the later transaction, where both are fine, and *ret_other the other one; else what could be found out. */
static int read_metas(struct check *c, uint8_t *room, const uint8_t **ret_meta, const uint8_t **ret_other, char **ret_why)
{
	uint8_t head[META_END];
	if (pread(c->fd, head, sizeof(head), 0) != (ssize_t)sizeof(head)) {
		report_page(c, "the file is cut short", 0);
		return 0;
	}
	if (is_of_another_format(c, head))
		return why(ret_why, WEIR_EVERSION, xasprintf("%s: LMDB data of another format", c->o->path));
	uint32_t usual_bytes = (uint32_t)sysconf(_SC_PAGESIZE); /* as LMDB makes them */
	struct metas m = {.first = room};
	c->page_bytes = get32(head + META_FREE);
	look_at_metas(c, c->page_bytes, &m);
	if (m.wrong && c->page_bytes != usual_bytes) {
		c->page_bytes = usual_bytes;
		look_at_metas(c, c->page_bytes, &m);
	}
	if (m.wrong)
		report_page(c, m.wrong, 0);
	if (!m.wrong || (c->o->either_meta && !(m.wrong_first && m.wrong_second)))
		*ret_meta = !m.wrong_second && (m.wrong_first || m.txn_second > m.txn_first) ? m.second : m.first;
	if (!m.wrong_first && !m.wrong_second)
		*ret_other = *ret_meta == m.first ? m.second : m.first;
	return 0;
}

/* Pages at the end that were freed by the transaction that took them are never written: so many bits, and no more. */
static bool fits(const struct check *c, uint64_t pages)
{
	return pages >= 2 && pages / 64 <= c->out->file_bytes / c->page_bytes + 1024 * 1024;
}

static int check_file(struct check *c, char **ret_why)
{
	struct stat st;
	if (fstat(c->fd, &st))
		return why(ret_why, WEIR_EIO, xasprintf("%s: %s", c->o->path, strerror(errno)));
	c->out->file_bytes = (uint64_t)st.st_size;
	if (!st.st_size)
		return why(ret_why, WEIR_ENOTFOUND, xasprintf("%s: the data file is empty", c->o->path));
	const uint8_t *meta = NULL, *other = NULL;
	uint8_t *metas = xmalloc(2 * PAGE_MAX);
	c->name = "";
	int rc = read_metas(c, metas, &meta, &other, ret_why);
	if (rc || !meta) {
		free(metas);
		return rc;
	}
	c->pages = c->out->pages = c->room_pages = pages_of(meta);
	if (!fits(c, c->pages)) {
		report_page(c, "a meta page is damaged", 0);
		free(metas);
		return 0;
	}
	if (other && !fits(c, pages_of(other)))
		other = NULL;
	if (other && pages_of(other) > c->room_pages)
		c->room_pages = pages_of(other);
	c->used = xcalloc(c->room_pages / 8 + 1, 1);
	c->spare = xcalloc(c->room_pages / 8 + 1, 1);
	c->filled = xcalloc(c->page_bytes / 16 + 1, 1);
	for (unsigned i = 0; i < KV_CHECK_DEPTH_MAX; i++)
		c->frames[i].page = xmalloc(c->page_bytes);
	rc = check_all(c, meta, other);
	if (rc)
		*ret_why = xasprintf("%s: %s", c->o->path, err_text(rc));
	free(metas);
	return rc;
}

static void clear(struct check *c)
{
	for (unsigned i = 0; i < KV_CHECK_DEPTH_MAX; i++)
		free(c->frames[i].page);
	for (size_t i = 0; i < c->named_count; i++)
		free(c->named[i].name);
	free(c->named);
	free(c->used);
	free(c->spare);
	free(c->filled);
	free(c->big);
}

/* Shared: who writes has it alone. A folder without the file was never opened by Weir, or is a copy. */
static int lock_folder(const char *path, int *ret_fd, char **ret_why)
{
	char *file = xasprintf("%s/lock", path);
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	free(file);
	if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB)) {
		close(fd);
		return why(ret_why, WEIR_EBUSY, xasprintf("%s is in use by a daemon: stop it first, or check a copy", path));
	}
	*ret_fd = fd;
	return 0;
}

int kv_check(const struct kv_check_options *o, struct kv_check_result *ret, char **ret_why)
{
	struct kv_check_result out = {0};
	int lock_fd = -1;
	int rc = lock_folder(o->path, &lock_fd, ret_why);
	if (rc)
		return rc;
	struct stat st;
	bool alone = !stat(o->path, &st) && S_ISREG(st.st_mode);
	char *file = alone ? xstrdup(o->path) : xasprintf("%s/" KV_DATA_FILE, o->path);
	struct check *c = xcalloc(1, sizeof(*c));
	c->o = o;
	c->out = &out;
	c->fd = open(file, O_RDONLY | O_CLOEXEC);
	if (c->fd < 0)
		rc = why(ret_why, errno == ENOENT ? WEIR_ENOTFOUND : WEIR_EIO, xasprintf("%s: %s", file, strerror(errno)));
	else
		rc = check_file(c, ret_why);
	if (c->fd >= 0)
		close(c->fd);
	if (lock_fd >= 0)
		close(lock_fd);
	clear(c);
	free(c);
	free(file);
	if (!rc)
		*ret = out;
	return rc;
}
