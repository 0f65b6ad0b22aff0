#include "cloudd/shard.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/shard_apply.h"
#include "common/err.h"

static void advance_key(struct state_key *k, uint32_t id, uint8_t sub)
{
	state_key_id(k, STATE_ADVANCE, id);
	state_key_u8(k, sub);
}

/* ---- values ------------------------------------------------------------------------------------------------ */

static void put_counts(const struct shard_counts *c, struct buf *out)
{
	const uint64_t all[] = {c->received, c->merged, c->partials, c->beyond_retain, c->unknown_stream, c->invalid,
	    c->groups, c->overflowed, c->dirty};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		buf_varint(out, all[i]);
}

int shard_counts_decode(struct bytes value, struct shard_counts *ret)
{
	struct rd r = rd_init(value.p, value.n);
	struct shard_counts c = {0};
	uint64_t *const all[] = {&c.received, &c.merged, &c.partials, &c.beyond_retain, &c.unknown_stream, &c.invalid,
	    &c.groups, &c.overflowed, &c.dirty};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		*all[i] = rd_varint(&r);
	if (rd_finish(&r))
		return WEIR_ECORRUPT;
	*ret = c;
	return 0;
}

static void put_sweep(const struct shard_sweep *s, struct buf *out)
{
	buf_svarint(out, s->close_ns);
	buf_svarint(out, s->final_ns);
	buf_svarint(out, s->goal_close_ns);
	buf_svarint(out, s->goal_final_ns);
	buf_u8(out, (uint8_t)s->pass);
	buf_svarint(out, s->window_ns);
	buf_u8(out, s->in_window);
	buf_bytes(out, s->group, s->group_n);
	buf_svarint(out, s->kept_close_ns);
	buf_svarint(out, s->groups_floor_ns);
	buf_u8(out, s->in_groups);
	buf_bytes(out, s->groups_at, s->groups_n);
	buf_varint(out, s->outbox_rows);
	buf_varint(out, s->trimmed_index);
	buf_varint(out, s->trimmed_n);
	buf_varint(out, s->intervals);
	buf_svarint(out, s->clock_ns);
	buf_svarint(out, s->clock_at_ns);
}

static size_t get_group(struct rd *r, uint8_t room[GROUP_KEY_MAX])
{
	size_t n;
	const uint8_t *p = rd_bytes(r, GROUP_KEY_MAX, &n);
	if (n)
		memcpy(room, p, n);
	return n;
}

static bool sweep_times_ok(const struct shard_sweep *s)
{
	const int64_t times[] = {s->close_ns, s->final_ns, s->goal_close_ns, s->goal_final_ns, s->window_ns, s->kept_close_ns,
	    s->groups_floor_ns};
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		if (times[i] != WATERMARK_NONE && !state_time_ok(times[i]))
			return false;
	return true;
}

int shard_sweep_decode(struct bytes value, struct shard_sweep *ret)
{
	struct rd r = rd_init(value.p, value.n);
	struct shard_sweep s = {0};
	s.close_ns = rd_svarint(&r);
	s.final_ns = rd_svarint(&r);
	s.goal_close_ns = rd_svarint(&r);
	s.goal_final_ns = rd_svarint(&r);
	unsigned pass = rd_u8(&r);
	s.pass = (enum sweep_pass)pass;
	s.window_ns = rd_svarint(&r);
	s.in_window = rd_u8(&r);
	s.group_n = get_group(&r, s.group);
	s.kept_close_ns = rd_svarint(&r);
	s.groups_floor_ns = rd_svarint(&r);
	s.in_groups = rd_u8(&r);
	s.groups_n = get_group(&r, s.groups_at);
	s.outbox_rows = rd_varint(&r);
	s.trimmed_index = rd_varint(&r);
	s.trimmed_n = (uint32_t)rd_varint_max(&r, UINT32_MAX);
	s.intervals = rd_varint(&r);
	if (rd_left(&r)) { /* written before there was a clock */
		s.clock_ns = rd_svarint(&r);
		s.clock_at_ns = rd_svarint(&r);
	}
	if (rd_finish(&r) || pass > PASS_CLOSE || !sweep_times_ok(&s))
		return WEIR_ECORRUPT;
	*ret = s;
	return 0;
}

static struct shard_sweep first_sweep(void)
{
	return (struct shard_sweep){.close_ns = WATERMARK_NONE, .final_ns = WATERMARK_NONE,
	    .goal_close_ns = WATERMARK_NONE, .goal_final_ns = WATERMARK_NONE, .window_ns = WATERMARK_NONE,
	    .kept_close_ns = WATERMARK_NONE, .groups_floor_ns = WATERMARK_NONE};
}

int shard_advance_decode(struct bytes value, struct shard_advance *ret)
{
	struct shard_advance a = {0};
	buf_put(&a.bytes, value.p, value.n);
	struct rd r = rd_init(a.bytes.data, a.bytes.len);
	a.meta_index = rd_varint(&r);
	int rc = r.err ? r.err : entry_close_decode(&r, &a.close);
	if (!rc && (rd_finish(&r) || !a.meta_index || window_time(a.close.close_ns) != a.close.close_ns ||
		       window_time(a.close.final_ns) != a.close.final_ns)) {
		free(a.close.edges);
		rc = WEIR_ECORRUPT;
	}
	if (rc) {
		buf_free(&a.bytes);
		return WEIR_ECORRUPT;
	}
	*ret = a;
	return 0;
}

void shard_advance_clear(struct shard_advance *a)
{
	free(a->close.edges);
	buf_free(&a->bytes);
	*a = (struct shard_advance){0};
}

int shard_stream_decode(struct bytes value, struct bytes *ret_name, uint32_t *ret_version)
{
	struct rd r = rd_init(value.p, value.n);
	struct bytes name;
	name.p = rd_bytes(&r, NAME_MAX_BYTES, &name.n);
	uint32_t version = rd_u32(&r);
	if (rd_finish(&r))
		return WEIR_ECORRUPT;
	*ret_name = name;
	*ret_version = version;
	return 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

int shard_read_id(struct kv_txn *txn, unsigned db, struct bytes name, uint32_t version, uint32_t *ret_id)
{
	struct state_key k;
	struct bytes value;
	state_key_version(&k, STATE_STREAM_ID, name, version);
	int rc = kv_get(txn, db, state_key_bytes(&k), &value);
	if (rc)
		return rc;
	struct rd r = rd_init(value.p, value.n);
	uint32_t id = rd_u32(&r);
	if (rd_finish(&r))
		return WEIR_ECORRUPT;
	*ret_id = id;
	return 0;
}

int shard_read_counts_of(struct kv_txn *txn, unsigned db, uint32_t id, struct shard_counts *ret)
{
	struct state_key k;
	struct bytes value;
	state_key_id(&k, STATE_COUNTS, id);
	int rc = kv_get(txn, db, state_key_bytes(&k), &value);
	return rc ? rc : shard_counts_decode(value, ret);
}

static int get_advance(struct kv_txn *txn, unsigned db, uint32_t id, uint8_t sub, struct bytes *ret)
{
	struct state_key k;
	advance_key(&k, id, sub);
	return kv_get(txn, db, state_key_bytes(&k), ret);
}

static int absent_is_fine(int rc)
{
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

int shard_read_advance(struct kv_txn *txn, unsigned db, uint32_t id, struct shard_advance *ret)
{
	struct bytes value;
	int rc = get_advance(txn, db, id, SHARD_ADVANCE_CLOSE, &value);
	return rc ? rc : shard_advance_decode(value, ret);
}

int shard_read_sweep(struct kv_txn *txn, unsigned db, uint32_t id, struct shard_sweep *ret)
{
	struct bytes value;
	int rc = get_advance(txn, db, id, SHARD_ADVANCE_SWEEP, &value);
	return rc ? rc : shard_sweep_decode(value, ret);
}

int shard_floors_decode(struct bytes value, struct window_floors *ret)
{
	struct rd r = rd_init(value.p, value.n);
	struct window_floors f = {.count = (unsigned)rd_varint_max(&r, LEVELS_MAX)};
	for (unsigned i = 0; i < f.count; i++) {
		f.floor_ns[i] = rd_svarint(&r);
		if (f.floor_ns[i] != INT64_MIN && !state_time_ok(f.floor_ns[i]))
			return WEIR_ECORRUPT;
	}
	if (rd_finish(&r))
		return WEIR_ECORRUPT;
	*ret = f;
	return 0;
}

int shard_read_floors(struct kv_txn *txn, unsigned db, uint32_t id, struct window_floors *ret)
{
	struct bytes value;
	*ret = (struct window_floors){0};
	int rc = get_advance(txn, db, id, SHARD_ADVANCE_FLOORS, &value);
	return rc ? absent_is_fine(rc) : shard_floors_decode(value, ret);
}

int shard_age_decode(struct bytes value, struct shard_age *ret)
{
	struct rd r = rd_init(value.p, value.n);
	struct shard_age a;
	a.close_ns = rd_svarint(&r);
	a.at_ns = rd_svarint(&r);
	if (rd_finish(&r) || window_time(a.close_ns) != a.close_ns || a.at_ns < 0)
		return WEIR_ECORRUPT;
	*ret = a;
	return 0;
}

int shard_read_age(struct kv_txn *txn, unsigned db, uint32_t id, struct shard_age *ret)
{
	struct bytes value;
	*ret = (struct shard_age){.close_ns = WATERMARK_NONE};
	int rc = get_advance(txn, db, id, SHARD_ADVANCE_AGE, &value);
	return rc ? absent_is_fine(rc) : shard_age_decode(value, ret);
}

static int load_dropped(struct shard *sh)
{
	struct bytes value;
	int rc = get_advance(sh->state->txn, sh->state->db, 0, SHARD_ADVANCE_DROPPED, &value);
	if (rc)
		return absent_is_fine(rc);
	struct rd r = rd_init(value.p, value.n);
	sh->dropped_id = rd_u32(&r);
	return rd_finish(&r) ? WEIR_ECORRUPT : 0;
}

static int load_stream(struct shard *sh, struct shard_stream *s)
{
	struct kv_txn *txn = sh->state->txn;
	unsigned db = sh->state->db;
	struct bytes name = bytes_of(s->conf->name, strlen(s->conf->name));
	int rc = absent_is_fine(shard_read_id(txn, db, name, s->conf->version, &s->id));
	if (!rc && s->id)
		rc = absent_is_fine(shard_read_counts_of(txn, db, s->id, &s->counts));
	if (!rc && s->id)
		rc = absent_is_fine(shard_read_advance(txn, db, s->id, &s->advance));
	if (!rc && s->id)
		rc = absent_is_fine(shard_read_sweep(txn, db, s->id, &s->sweep));
	if (!rc && s->id)
		rc = shard_read_floors(txn, db, s->id, &s->floors);
	if (!rc && s->id)
		rc = shard_read_age(txn, db, s->id, &s->age);
	shard_set_levels(s);
	return rc;
}

void shard_set_levels(struct shard_stream *s)
{
	window_levels_at(s->conf, shard_kept_ns(s), &s->levels);
	window_levels_raise(&s->levels, &s->floors);
}

/* One more than the highest id given. */
static int load_next_id(struct shard *sh)
{
	struct kv_cursor *c;
	int rc = kv_cursor_open(sh->state->txn, sh->state->db, &c);
	if (rc)
		return rc;
	struct state_key from, prefix;
	state_key_start(&prefix, STATE_STREAM);
	state_key_id(&from, STATE_STREAM, 1);
	struct bytes key, value, rest;
	sh->next_id = 1;
	rc = kv_cursor_seek(c, state_key_bytes(&from), &key, &value);
	while (!rc && state_key_rest(key, &prefix, &rest)) {
		struct rd r = rd_init(rest.p, rest.n);
		sh->next_id = rd_be32(&r) + 1;
		rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return absent_is_fine(rc);
}

/* Versions of a name lie side by side: map.h. */
static void join_versions(struct shard *sh)
{
	for (size_t first = 0, end; first < sh->stream_count; first = end) {
		for (end = first + 1; end < sh->stream_count; end++) {
			if (strcmp(sh->streams[end].conf->name, sh->streams[first].conf->name) != 0)
				break;
		}
		for (size_t i = first; i < end; i++) {
			sh->streams[i].first = first;
			sh->streams[i].end = end;
		}
	}
}

int shard_load(const struct topology *t, uint32_t number, uint64_t meta_index, struct state *state,
    struct shard **ret_shard)
{
	struct shard *sh = xcalloc(1, sizeof(*sh));
	sh->topology = t;
	sh->state = state;
	sh->number = number;
	sh->meta_index = meta_index;
	sh->stream_count = t->stream_count;
	sh->streams = xcalloc(t->stream_count, sizeof(*sh->streams));
	int rc = load_next_id(sh);
	if (!rc)
		rc = load_dropped(sh);
	for (size_t i = 0; i < sh->stream_count && !rc; i++) {
		struct shard_stream *s = &sh->streams[i];
		s->conf = &t->streams[i];
		partial_spec_of(s->conf, topology_distinct_seed(t), PARTIAL_QUANTILE_CAP_CLOUD, &s->spec);
		s->grid = window_grid_of(s->conf);
		s->sweep = first_sweep();
		s->age.close_ns = WATERMARK_NONE;
		rc = load_stream(sh, s);
	}
	if (!rc)
		join_versions(sh);
	if (rc) {
		shard_free(sh);
		return rc;
	}
	*ret_shard = sh;
	return 0;
}

void shard_free(struct shard *sh)
{
	if (!sh)
		return;
	for (size_t i = 0; i < sh->stream_count; i++)
		shard_advance_clear(&sh->streams[i].advance);
	free(sh->streams);
	buf_free(&sh->value);
	free(sh);
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

static int write_stream(struct shard *sh, struct shard_stream *s)
{
	struct state_key k;
	int rc = 0;
	if (s->counts_changed) {
		state_key_id(&k, STATE_COUNTS, s->id);
		buf_clear(&sh->value);
		put_counts(&s->counts, &sh->value);
		rc = state_put(sh->state, &k, bytes_of(sh->value.data, sh->value.len));
	}
	if (!rc && s->sweep_changed) {
		advance_key(&k, s->id, SHARD_ADVANCE_SWEEP);
		buf_clear(&sh->value);
		put_sweep(&s->sweep, &sh->value);
		rc = state_put(sh->state, &k, bytes_of(sh->value.data, sh->value.len));
	}
	if (!rc)
		s->counts_changed = s->sweep_changed = false;
	return rc;
}

int shard_set_age(struct shard *sh, struct shard_stream *s, const struct shard_age *age)
{
	struct state_key k;
	advance_key(&k, s->id, SHARD_ADVANCE_AGE);
	buf_clear(&sh->value);
	buf_svarint(&sh->value, age->close_ns);
	buf_svarint(&sh->value, age->at_ns);
	int rc = state_put(sh->state, &k, bytes_of(sh->value.data, sh->value.len));
	s->age = *age;
	shard_set_levels(s);
	return rc;
}

int shard_set_dropped(struct shard *sh, uint32_t id)
{
	struct state_key k;
	sh->dropped_id = id;
	advance_key(&k, 0, SHARD_ADVANCE_DROPPED);
	if (!id)
		return state_del(sh->state, &k);
	buf_clear(&sh->value);
	buf_u32(&sh->value, id);
	return state_put(sh->state, &k, bytes_of(sh->value.data, sh->value.len));
}

int shard_clear_counts(struct shard *sh, uint32_t id)
{
	struct shard_counts c;
	struct state_key k;
	int rc = shard_read_counts_of(sh->state->txn, sh->state->db, id, &c);
	if (rc || (!c.groups && !c.dirty))
		return absent_is_fine(rc);
	c.groups = c.dirty = 0;
	state_key_id(&k, STATE_COUNTS, id);
	buf_clear(&sh->value);
	put_counts(&c, &sh->value);
	return state_put(sh->state, &k, bytes_of(sh->value.data, sh->value.len));
}

int shard_flush(struct shard *sh)
{
	int rc = 0;
	for (size_t i = 0; i < sh->stream_count && !rc; i++)
		rc = write_stream(sh, &sh->streams[i]);
	return rc;
}

/* ---- another map ------------------------------------------------------------------------------------------- */

bool shard_takes(const struct shard *sh, uint64_t meta_index, uint64_t after)
{
	return meta_index > sh->meta_index && after <= sh->meta_index;
}

/* The pass under way goes on with the first of the new windows that ends after all that it has told of. */
static void turn_pass(struct shard_stream *s, const struct window_grid *next)
{
	struct shard_sweep *c = &s->sweep;
	const struct window_grid *was = &s->grid;
	bool same = was->size_ns == next->size_ns && was->advance_ns == next->advance_ns && was->offset_ns == next->offset_ns;
	if (same || c->pass == PASS_NONE || c->window_ns == WATERMARK_NONE)
		return;
	if (was->size_ns == next->size_ns && window_floor(next, c->window_ns) == c->window_ns)
		return;
	int64_t told_ns = c->window_ns - was->advance_ns + was->size_ns;
	int64_t low_ns = c->pass == PASS_FINAL ? c->final_ns : c->close_ns;
	c->window_ns = window_ending_after(next, low_ns > told_ns ? low_ns : told_ns);
	c->in_window = false;
	s->sweep_changed = true;
}

static bool keeps_the_same(const struct stream_conf *a, const struct stream_conf *b)
{
	bool same = a->retain_ns == b->retain_ns && a->rollup_count == b->rollup_count && a->offset_ns == b->offset_ns;
	for (size_t i = 0; same && i < a->rollup_count; i++)
		same = a->rollups[i].every_ns == b->rollups[i].every_ns && a->rollups[i].retain_ns == b->rollups[i].retain_ns;
	return same;
}

static int keep_floors(struct shard *sh, struct shard_stream *s, const struct stream_conf *next)
{
	struct state_key k;
	if (keeps_the_same(s->conf, next))
		return 0;
	window_floors_of(&s->levels, next, &s->floors);
	s->sweep.kept_close_ns = WATERMARK_NONE; /* there may be more to delete, or less */
	s->sweep_changed = true;
	advance_key(&k, s->id, SHARD_ADVANCE_FLOORS);
	buf_clear(&sh->value);
	buf_varint(&sh->value, s->floors.count);
	for (unsigned i = 0; i < s->floors.count; i++)
		buf_svarint(&sh->value, s->floors.floor_ns[i]);
	return state_put(sh->state, &k, bytes_of(sh->value.data, sh->value.len));
}

static int leave_stream(struct shard *sh, struct shard_stream *s, const struct topology *next)
{
	int at = topology_stream_version_of(next, s->conf->name, s->conf->version);
	if (at < 0 || !s->id)
		return 0;
	struct window_grid grid = window_grid_of(&next->streams[at]);
	turn_pass(s, &grid);
	return keep_floors(sh, s, &next->streams[at]);
}

int shard_leave_map(struct shard *sh, const struct topology *next)
{
	int rc = 0;
	for (size_t i = 0; i < sh->stream_count && !rc; i++)
		rc = leave_stream(sh, &sh->streams[i], next);
	/* Without a map it went by this node's own file, which may list other edges than another replica's does. */
	for (size_t i = 0; sh->mapped && i < sh->topology->edge_count && !rc; i++) {
		const struct edge_conf *e = &sh->topology->edges[i];
		if (!e->gone && topology_edge(next, e->name) < 0)
			rc = shard_fence_edge(sh, e->name);
	}
	return rc ? rc : shard_flush(sh);
}

struct shard_stream *shard_stream_of(struct shard *sh, struct bytes name, uint32_t version)
{
	for (size_t i = 0; i < sh->stream_count; i++) {
		struct shard_stream *s = &sh->streams[i];
		if (s->conf->version == version && strlen(s->conf->name) == name.n && !memcmp(s->conf->name, name.p, name.n))
			return s;
	}
	return NULL;
}

static int write_name(struct shard *sh, uint32_t id, struct bytes name, uint32_t version)
{
	struct state_key k;
	state_key_id(&k, STATE_STREAM, id);
	buf_clear(&sh->value);
	buf_bytes(&sh->value, name.p, name.n);
	buf_u32(&sh->value, version);
	int rc = state_put(sh->state, &k, bytes_of(sh->value.data, sh->value.len));
	if (rc)
		return rc;
	state_key_version(&k, STATE_STREAM_ID, name, version);
	buf_clear(&sh->value);
	buf_u32(&sh->value, id);
	return state_put(sh->state, &k, bytes_of(sh->value.data, sh->value.len));
}

int shard_stream_name(struct shard *sh, struct shard_stream *s)
{
	if (s->id)
		return 0;
	int rc = write_name(sh, sh->next_id, bytes_of(s->conf->name, strlen(s->conf->name)), s->conf->version);
	if (!rc)
		s->id = sh->next_id++;
	return rc;
}

/* The id that counts for a stream which the topology does not know: its own, while there are any. */
static int unknown_id(struct shard *sh, struct bytes name, uint32_t version, uint32_t *ret_id)
{
	int rc = shard_read_id(sh->state->txn, sh->state->db, name, version, ret_id);
	if (rc != WEIR_ENOTFOUND)
		return rc;
	if (sh->next_id > SHARD_STREAM_IDS_MAX) {
		*ret_id = 0;
		return write_name(sh, 0, bytes_of("", 0), 0);
	}
	rc = write_name(sh, sh->next_id, name, version);
	if (!rc)
		*ret_id = sh->next_id++;
	return rc;
}

int shard_count_unknown(struct shard *sh, struct bytes name, uint32_t version, uint64_t readings)
{
	uint32_t id;
	int rc = unknown_id(sh, name, version, &id);
	if (rc)
		return rc;
	struct shard_counts c = {0};
	rc = absent_is_fine(shard_read_counts_of(sh->state->txn, sh->state->db, id, &c));
	if (rc)
		return rc;
	c.received += readings;
	c.unknown_stream += readings;
	struct state_key k;
	state_key_id(&k, STATE_COUNTS, id);
	buf_clear(&sh->value);
	put_counts(&c, &sh->value);
	return state_put(sh->state, &k, bytes_of(sh->value.data, sh->value.len));
}
