#include "cloudd/apply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/alert_apply.h"
#include "cloudd/map_apply.h"
#include "cloudd/meta_apply.h"
#include "cloudd/retire.h"
#include "cloudd/shard.h"
#include "cloudd/shard_apply.h"
#include "cloudd/sink_places.h"
#include "cloudd/snapshot.h"
#include "cloudd/sweep.h"
#include "cloudd/topologies.h"
#include "common/err.h"

#define LAYOUT_FORMAT 2 /* 2: heads with the configuration of the replicas */
#define DB_NAME_MAX 16

struct group {
	struct state state;       /* its transaction: that of the apply, once the group is touched */
	struct state_head head;   /* as of the last entry */
	struct state_head durable; /* as of the last commit */
	struct shard *shard;      /* loaded when first needed; NULL for the meta group */
	struct topology_ref *ref; /* of the map that the shard was loaded with; NULL: it has none */
	bool touched;             /* in this transaction */
};

struct apply {
	const struct topology *topology; /* of groups without a map */
	struct topologies *topologies;
	struct kv *kv;
	struct kv_txn *txn; /* NULL: none is open */
	struct group *groups;
	uint32_t group_count;
};

const char **apply_db_names(uint32_t shards)
{
	size_t count = STATE_DBS(shards);
	const char **names = xmalloc(count * (sizeof(*names) + DB_NAME_MAX));
	char *text = (char *)(names + count);
	for (size_t i = 0; i < count; i++, text += DB_NAME_MAX) {
		names[i] = text;
		if (i == STATE_DB_NODE)
			snprintf(text, DB_NAME_MAX, "node");
		else
			snprintf(text, DB_NAME_MAX, "group-%03u", (unsigned)(i - STATE_DB_GROUP(0)) % 1000);
	}
	return names;
}

void apply_result_clear(struct apply_result *r)
{
	free(r->edge);
	buf_free(&r->map);
	buf_free(&r->removed);
	buf_free(&r->closed);
	*r = (struct apply_result){0};
}

/* ---- opening ----------------------------------------------------------------------------------------------- */

/* What the data were made for: [format u8][shards u32][cluster text]; the number of shards cannot change. */
static void put_layout(const struct topology *t, struct buf *out)
{
	buf_u8(out, LAYOUT_FORMAT);
	buf_u32(out, t->shards);
	buf_str(out, t->cluster);
}

static int layout_differs(const struct topology *t, struct bytes have, char **ret_why)
{
	struct rd r = rd_init(have.p, have.n);
	uint8_t format = rd_u8(&r);
	uint32_t shards = rd_u32(&r);
	char *cluster = rd_str(&r, NAME_MAX_BYTES);
	if (rd_finish(&r) && format == LAYOUT_FORMAT)
		*ret_why = xstrdup("the state's layout record is damaged");
	else if (format != LAYOUT_FORMAT)
		*ret_why = xasprintf("the state has format %u, this version reads %d", format, LAYOUT_FORMAT);
	else if (shards != t->shards)
		*ret_why = xasprintf("the state was made with %u shards, the topology says %u: their number is fixed "
				     "when a cluster is created", shards, t->shards);
	else
		*ret_why = xasprintf("the state is of cluster \"%s\", the topology's is \"%s\"", cluster, t->cluster);
	free(cluster);
	return WEIR_EVERSION;
}

static int check_layout(const struct topology *t, struct kv *kv, char **ret_why)
{
	struct kv_txn *txn;
	struct bytes key = bytes_of("layout", 6), have;
	struct buf want = {0};
	int rc = kv_begin(kv, true, &txn);
	if (rc)
		return rc;
	put_layout(t, &want);
	rc = kv_get(txn, STATE_DB_NODE, key, &have);
	if (!rc && (have.n != want.len || memcmp(have.p, want.data, want.len) != 0))
		rc = layout_differs(t, have, ret_why);
	bool absent = rc == WEIR_ENOTFOUND || rc == WEIR_ECORRUPT; /* what it must say is known */
	if (absent)
		rc = kv_put(txn, STATE_DB_NODE, key, bytes_of(want.data, want.len));
	buf_free(&want);
	if (!absent || rc) {
		kv_abort(txn);
		return rc;
	}
	return kv_commit(txn);
}

static int read_heads(struct apply *a)
{
	struct kv_txn *txn;
	int rc = kv_begin(a->kv, false, &txn);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < a->group_count && !rc; i++) {
		struct group *g = &a->groups[i];
		g->state.db = STATE_DB_GROUP(i);
		rc = state_head_read(txn, g->state.db, &g->durable);
		if (rc == WEIR_ECORRUPT)
			g->durable = (struct state_head){.is_void = true};
		if (rc == WEIR_ENOTFOUND || rc == WEIR_ECORRUPT)
			rc = 0;
		g->head = g->durable;
		g->state.digest = g->durable.digest;
	}
	kv_abort(txn);
	return rc;
}

int apply_open(const struct topology *t, struct kv *state, struct apply **ret_apply, char **ret_why)
{
	char *why = NULL;
	struct apply *a = xcalloc(1, sizeof(*a));
	a->topology = topology_hold(t);
	a->topologies = topologies_new(t->path);
	a->kv = state;
	a->group_count = 1 + t->shards;
	a->groups = xcalloc(a->group_count, sizeof(*a->groups));
	int rc = check_layout(t, state, &why);
	if (!rc)
		rc = read_heads(a);
	if (rc) {
		*ret_why = why ? why : xasprintf("the state cannot be read: %s", err_text(rc));
		apply_close(a);
		return rc;
	}
	*ret_apply = a;
	return 0;
}

static void unload(struct apply *a, struct group *g)
{
	shard_free(g->shard);
	g->shard = NULL;
	topologies_put(a->topologies, g->ref);
	g->ref = NULL;
}

/* Back to the last commit: what is in memory is dropped, and loaded again when it is needed. */
static void forget(struct apply *a)
{
	for (uint32_t i = 0; i < a->group_count; i++) {
		struct group *g = &a->groups[i];
		if (!g->touched)
			continue;
		unload(a, g);
		g->head = g->durable;
		g->state.digest = g->durable.digest;
		g->state.txn = NULL;
		g->touched = false;
	}
	a->txn = NULL;
}

void apply_abort(struct apply *a)
{
	if (!a->txn)
		return;
	kv_abort(a->txn);
	forget(a);
}

void apply_close(struct apply *a)
{
	if (!a)
		return;
	apply_abort(a);
	for (uint32_t i = 0; i < a->group_count; i++)
		unload(a, &a->groups[i]);
	topologies_free(a->topologies);
	topology_free(a->topology);
	free(a->groups);
	free(a);
}

uint64_t apply_applied(const struct apply *a, uint32_t group, uint64_t *ret_term)
{
	weir_assert(group < a->group_count);
	const struct state_head *h = &a->groups[group].durable;
	if (ret_term)
		*ret_term = h->is_void ? 0 : h->term;
	return h->is_void ? 0 : h->applied;
}

void apply_group_start(const struct apply *a, uint32_t group, struct bytes *ret_config, bool *ret_void)
{
	weir_assert(group < a->group_count);
	const struct state_head *h = &a->groups[group].durable;
	*ret_config = bytes_of(h->config, h->config_len);
	*ret_void = h->is_void;
}

/* ---- entries ----------------------------------------------------------------------------------------------- */

/* The group takes part in the transaction, which is begun if none is open. */
static int touch(struct apply *a, uint32_t group)
{
	struct group *g = &a->groups[group];
	if (!a->txn) {
		int rc = kv_begin(a->kv, true, &a->txn);
		if (rc)
			return rc;
	}
	g->touched = true;
	g->state.txn = a->txn;
	return 0;
}

static int load_by_ref(struct apply *a, struct group *g, uint32_t shard)
{
	const struct topology *t = g->ref ? topology_of_ref(g->ref) : a->topology;
	int rc = shard_load(t, shard, g->head.meta_index, &g->state, &g->shard);
	if (!rc)
		g->shard->mapped = g->ref != NULL;
	return rc;
}

/* The shard in memory, by the map that its state has. */
static int load(struct apply *a, struct group *g, uint32_t group)
{
	struct bytes map;
	int rc = map_record(a->txn, g->state.db, &map);
	if (!rc)
		rc = map_record_error(topologies_get(a->topologies, map, &g->ref));
	else if (rc == WEIR_ENOTFOUND)
		rc = 0;
	return rc ? rc : load_by_ref(a, g, group - 1);
}

/* Before an entry of this index. */
static int enter(struct apply *a, uint32_t group, uint64_t index)
{
	weir_assert(group < a->group_count);
	struct group *g = &a->groups[group];
	weir_assert(!g->head.is_void && index > g->head.applied);
	int rc = touch(a, group);
	if (rc || group == 0 || g->shard)
		return rc;
	return load(a, g, group);
}

static int leave(struct group *g, uint64_t index, uint64_t term, struct apply_result *res)
{
	g->head.applied = index;
	g->head.term = term;
	if (index % APPLY_DIGEST_EVERY)
		return 0;
	int rc = g->shard ? shard_flush(g->shard) : 0; /* what it keeps in memory is part of the state */
	res->digested = !rc;
	res->digest = g->state.digest.hi ^ g->state.digest.lo;
	return rc;
}

static bool is_meta(enum entry_kind kind)
{
	return kind >= ENTRY_CREATE;
}

static void name_edge(const struct entry *e, struct apply_result *res)
{
	struct bytes edge = {0};
	if (e->kind == ENTRY_OPEN)
		edge = e->open.edge;
	else if (e->kind == ENTRY_BATCH)
		edge = e->batch.edge;
	else if (e->kind == ENTRY_CLAIM)
		edge = e->claim.edge;
	else if (e->kind == ENTRY_READMIT)
		edge = e->readmit.edge;
	else if (e->kind == ENTRY_REVOKE)
		edge = e->revoke.edge;
	if (edge.n)
		res->edge = xstrndup((const char *)edge.p, edge.n);
}

/* What a shard says after any entry, but for a sweep that stopped. */
static void tell_shard(const struct group *g, struct apply_result *res)
{
	if (!g->shard)
		return;
	res->meta_index = g->shard->meta_index;
	res->map_version = g->ref ? topology_of_ref(g->ref)->map_version : 0;
	res->more = sweep_pending(g->shard) || retire_pending(g->shard);
	res->dirty = sweep_dirty(g->shard);
}

static void skip(struct group *g, const char *reason, struct apply_result *res)
{
	g->head.skipped++;
	res->kind = (enum entry_kind)0;
	res->verdict = VERDICT_REFUSED;
	res->reason = reason;
}

/* The shard goes on by another map: what it has in memory is written, and loaded again by that. */
static int shard_take_map(struct apply *a, struct group *g, const struct entry *e, uint64_t index, struct apply_result *res)
{
	struct topology_ref *ref;
	if (!shard_takes(g->shard, e->map.meta_index, e->map.after))
		return 0;
	int rc = topologies_get(a->topologies, e->map.map, &ref);
	if (rc == WEIR_ECORRUPT)
		skip(g, "the cluster map cannot be decoded", res);
	if (rc)
		return rc == WEIR_ECORRUPT ? 0 : rc;
	g->head.meta_index = e->map.meta_index;
	uint32_t number = g->shard->number;
	rc = shard_leave_map(g->shard, topology_of_ref(ref));
	if (!rc)
		rc = retire_dropped(g->shard, topology_of_ref(ref));
	if (!rc)
		rc = sink_places_leave(g->shard, topology_of_ref(ref));
	if (!rc)
		rc = map_record_put(&g->state, e->map.map);
	unload(a, g);
	g->ref = ref;
	if (!rc)
		rc = load_by_ref(a, g, number);
	return rc ? rc : alert_apply_map(g->shard, index);
}

static int apply_to_shard(struct apply *a, struct group *g, const struct entry *e, uint64_t index, struct apply_result *res)
{
	struct sweep_entry sweep = {.index = index, .time_ns = e->time_ns};
	struct shard_stream *stream = NULL;
	int rc = 0;
	if (e->kind == ENTRY_OPEN)
		rc = shard_apply_open(g->shard, e, res);
	else if (e->kind == ENTRY_BATCH)
		rc = shard_apply_batch(g->shard, e, index, res);
	else if (e->kind == ENTRY_ADVANCE)
		rc = shard_apply_advance(g->shard, e, res, &stream);
	else if (e->kind == ENTRY_SWEEP)
		rc = sweep_all(g->shard, &sweep);
	else if (e->kind == ENTRY_MAP)
		rc = shard_take_map(a, g, e, index, res);
	else if (e->kind == ENTRY_SINK)
		rc = sink_places_apply(g->shard, e, index);
	else if (e->kind == ENTRY_ALERT)
		rc = alert_apply(g->shard, e, index);
	if (rc)
		return rc;
	if (stream)
		rc = sweep_stream(g->shard, stream, &sweep);
	if (!rc && (stream || e->kind == ENTRY_SWEEP))
		rc = retire_turn(g->shard, &sweep);
	g->head.meta_index = g->shard->meta_index;
	tell_shard(g, res);
	res->more = res->more || sweep.stopped;
	return rc;
}

static int apply_raw(struct apply *a, struct group *g, uint32_t group, uint64_t index, struct bytes raw,
    struct apply_result *res)
{
	struct entry e;
	int rc = entry_decode(raw, &e);
	if (rc == WEIR_EVERSION)
		return rc;
	if (rc) {
		skip(g, "the entry cannot be decoded", res);
		return 0;
	}
	if (is_meta(e.kind) != (group == 0)) {
		skip(g, "the entry is of another kind of group", res);
	} else {
		res->kind = e.kind;
		name_edge(&e, res);
		rc = group ? apply_to_shard(a, g, &e, index, res) : meta_apply(&g->state, a->topology, &e, index, res);
	}
	entry_clear(&e);
	return rc;
}

int apply_entry(struct apply *a, uint32_t group, uint64_t index, uint64_t term, struct bytes raw,
    struct apply_result *ret_result)
{
	int rc = enter(a, group, index);
	if (rc)
		return rc;
	struct group *g = &a->groups[group];
	struct apply_result res = {.group = group, .index = index};
	rc = apply_raw(a, g, group, index, raw, &res);
	if (!rc)
		rc = leave(g, index, term, &res);
	if (rc) {
		apply_result_clear(&res);
		return rc;
	}
	*ret_result = res;
	return 0;
}

int apply_noop(struct apply *a, uint32_t group, uint64_t index, uint64_t term, struct apply_result *ret_result)
{
	int rc = enter(a, group, index);
	if (rc)
		return rc;
	struct group *g = &a->groups[group];
	struct apply_result res = {.group = group, .index = index, .kind = ENTRY_NOOP};
	tell_shard(g, &res);
	rc = leave(g, index, term, &res);
	if (!rc)
		*ret_result = res;
	return rc;
}

int apply_config(struct apply *a, uint32_t group, uint64_t index, uint64_t term, struct bytes config,
    struct apply_result *ret_result)
{
	int rc = enter(a, group, index);
	if (rc)
		return rc;
	struct group *g = &a->groups[group];
	struct apply_result res = {.group = group, .index = index, .kind = ENTRY_CONFIG};
	if (config.n && config.n <= sizeof(g->head.config)) {
		memcpy(g->head.config, config.p, config.n);
		g->head.config_len = config.n;
	} else {
		skip(g, "the configuration has an impossible size", &res);
	}
	tell_shard(g, &res);
	rc = leave(g, index, term, &res);
	if (!rc)
		*ret_result = res;
	return rc;
}

/* The shard is not loaded: it may be what does not read. */
int apply_skip(struct apply *a, uint32_t group, uint64_t index, uint64_t term, struct apply_result *ret_result)
{
	weir_assert(group < a->group_count);
	struct group *g = &a->groups[group];
	weir_assert(!g->head.is_void && index > g->head.applied);
	int rc = touch(a, group);
	if (rc)
		return rc;
	struct apply_result res = {.group = group, .index = index, .meta_index = g->head.meta_index};
	skip(g, "a stored record that it needs is damaged", &res);
	g->head.applied = index;
	g->head.term = term;
	*ret_result = res;
	return 0;
}

int apply_void(struct apply *a, uint32_t group)
{
	weir_assert(group < a->group_count);
	struct group *g = &a->groups[group];
	int rc = touch(a, group);
	if (rc || g->head.is_void)
		return rc;
	if (g->shard)
		(void)shard_flush(g->shard); /* for who looks at what is left */
	unload(a, g);
	g->head.is_void = true;
	return 0;
}

/* ---- a snapshot -------------------------------------------------------------------------------------------- */

int apply_snapshot_begin(struct apply *a, uint32_t group)
{
	weir_assert(group < a->group_count);
	struct group *g = &a->groups[group];
	int rc = touch(a, group);
	if (!rc)
		rc = kv_clear(a->txn, g->state.db);
	if (rc)
		return rc;
	unload(a, g);
	g->state.digest = (struct digest){0};
	g->head = (struct state_head){.is_void = true};
	return 0;
}

static int take_record(void *arg, struct bytes key, struct bytes value, bool more)
{
	struct state *s = arg;
	return state_take(s, key, value, more);
}

int apply_snapshot_records(struct apply *a, uint32_t group, struct bytes records)
{
	weir_assert(group < a->group_count);
	struct group *g = &a->groups[group];
	if (!g->head.is_void)
		return WEIR_ECORRUPT;
	int rc = touch(a, group);
	return rc ? rc : snapshot_records(records, take_record, &g->state);
}

int apply_snapshot_end(struct apply *a, uint32_t group, const struct snapshot_head *head)
{
	weir_assert(group < a->group_count);
	struct group *g = &a->groups[group];
	const struct digest *d = &g->state.digest;
	if (!g->head.is_void || d->hi != head->digest_hi || d->lo != head->digest_lo || !head->index ||
	    head->config.n > sizeof(g->head.config))
		return WEIR_ECORRUPT;
	int rc = touch(a, group);
	if (rc)
		return rc;
	g->head = (struct state_head){.applied = head->index, .term = head->term, .meta_index = head->meta_index,
	    .skipped = head->skipped, .config_len = head->config.n};
	if (head->config.n)
		memcpy(g->head.config, head->config.p, head->config.n);
	return 0;
}

/* ---- the transaction --------------------------------------------------------------------------------------- */

bool apply_uncommitted(const struct apply *a)
{
	return a->txn != NULL;
}

#define GROUP_COMMIT_BYTES (8 * 1024) /* its head, and what its shard keeps in memory until the commit */

int apply_take_room(struct apply *a, uint64_t more)
{
	uint64_t bytes = more + (a->txn ? kv_txn_bytes(a->txn) : 0);
	for (uint32_t i = 0; i < a->group_count; i++)
		bytes += a->groups[i].touched ? GROUP_COMMIT_BYTES : 0;
	return kv_take_room(a->kv, bytes);
}

static int write_group(struct group *g)
{
	int rc = g->shard ? shard_flush(g->shard) : 0;
	if (rc)
		return rc;
	g->head.digest = g->state.digest;
	return state_head_write(&g->state, &g->head);
}

int apply_commit(struct apply *a)
{
	if (!a->txn)
		return 0;
	int rc = 0;
	for (uint32_t i = 0; i < a->group_count && !rc; i++) {
		if (a->groups[i].touched)
			rc = write_group(&a->groups[i]);
	}
	if (rc) {
		apply_abort(a);
		return rc;
	}
	rc = kv_commit(a->txn);
	if (rc) {
		forget(a);
		return rc;
	}
	a->txn = NULL;
	for (uint32_t i = 0; i < a->group_count; i++) {
		struct group *g = &a->groups[i];
		if (g->touched)
			g->durable = g->head;
		g->touched = false;
		g->state.txn = NULL;
	}
	return 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

int apply_read_group(struct kv_txn *txn, uint32_t group, struct apply_group_info *ret)
{
	struct state_head h = {0};
	int rc = state_head_read(txn, STATE_DB_GROUP(group), &h);
	if (rc && rc != WEIR_ENOTFOUND)
		return rc;
	*ret = (struct apply_group_info){.applied = h.applied, .term = h.term, .digest_hi = h.digest.hi,
	    .digest_lo = h.digest.lo, .meta_index = h.meta_index, .skipped = h.skipped, .is_void = h.is_void,
	    .config_len = h.config_len};
	memcpy(ret->config, h.config, h.config_len);
	return 0;
}

int apply_read_map(struct kv_txn *txn, uint32_t group, struct buf *out)
{
	struct bytes map;
	int rc = state_readable(txn, STATE_DB_GROUP(group));
	if (!rc)
		rc = map_record(txn, STATE_DB_GROUP(group), &map);
	if (!rc)
		buf_put(out, map.p, map.n);
	return rc;
}

static int absent_is_fine(int rc)
{
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static int read_stream_counts(struct kv_txn *txn, unsigned db, uint32_t id, struct bytes value,
    void (*each)(void *arg, const struct shard_stream_counts *c), void *arg)
{
	struct bytes name;
	char text[NAME_MAX_BYTES + 1];
	struct shard_stream_counts out = {.stream = text, .close_ns = WATERMARK_NONE, .final_ns = WATERMARK_NONE};
	struct shard_counts c = {0};
	struct shard_advance advance = {0};
	int rc = shard_stream_decode(value, &name, &out.version);
	if (rc)
		return rc;
	memcpy(text, name.p, name.n);
	text[name.n] = 0;
	rc = absent_is_fine(shard_read_counts_of(txn, db, id, &c));
	if (!rc)
		rc = absent_is_fine(shard_read_advance(txn, db, id, &advance));
	if (rc)
		return rc;
	if (advance.meta_index) {
		out.close_ns = advance.close.close_ns;
		out.final_ns = advance.close.final_ns;
	}
	shard_advance_clear(&advance);
	out.received = c.received;
	out.merged = c.merged;
	out.partials = c.partials;
	out.dropped_beyond_retain = c.beyond_retain;
	out.dropped_unknown_stream = c.unknown_stream;
	out.dropped_invalid = c.invalid;
	out.groups = c.groups;
	out.overflowed = c.overflowed;
	each(arg, &out);
	return 0;
}

int shard_read_counts(struct kv_txn *txn, uint32_t group, void (*each)(void *arg, const struct shard_stream_counts *c),
    void *arg)
{
	struct kv_cursor *c;
	unsigned db = STATE_DB_GROUP(group);
	int rc = state_readable(txn, db);
	if (!rc)
		rc = kv_cursor_open(txn, db, &c);
	if (rc)
		return rc;
	struct state_key prefix;
	struct bytes key, value, rest;
	state_key_start(&prefix, STATE_STREAM);
	rc = kv_cursor_seek(c, state_key_bytes(&prefix), &key, &value);
	while (!rc && state_key_rest(key, &prefix, &rest)) {
		struct rd r = rd_init(rest.p, rest.n);
		rc = read_stream_counts(txn, db, rd_be32(&r), value, each, arg);
		if (!rc)
			rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return absent_is_fine(rc);
}
