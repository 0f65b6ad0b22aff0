#include "cloudd/retire.h"

#include <string.h>

#include "common/clock.h"
#include "common/err.h"

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* ---- ages -------------------------------------------------------------------------------------------------- */

static bool is_over(const struct shard_stream *s)
{
	return s->id && s->conf->phase == STREAM_RETIRED;
}

/* One that waits, or was given up, may have read what the stream never had. */
static bool ever_answered(const struct stream_conf *c)
{
	return c->from_ns < c->answers_until_ns;
}

/* The highest close of the stream's versions; *ret_lives: one of them is in force, or will be. */
static int64_t latest_close(const struct shard *sh, const struct shard_stream *s, bool *ret_lives)
{
	int64_t close_ns = WATERMARK_NONE;
	*ret_lives = false;
	for (size_t i = s->first; i < s->end; i++) {
		const struct shard_stream *v = &sh->streams[i];
		*ret_lives |= v->conf->phase == STREAM_CURRENT || v->conf->phase == STREAM_PENDING;
		if (ever_answered(v->conf))
			close_ns = later(close_ns, shard_close_ns(v));
	}
	return close_ns;
}

static int64_t shortest_retain(const struct stream_conf *c)
{
	int64_t retain_ns = c->retain_ns;
	for (size_t i = 0; i < c->rollup_count; i++)
		retain_ns = c->rollups[i].retain_ns < retain_ns ? c->rollups[i].retain_ns : retain_ns;
	return retain_ns;
}

static int64_t part_of_retain(const struct stream_conf *c)
{
	int64_t part_ns = shortest_retain(c) / RETIRE_PARTS;
	part_ns = part_ns < RETIRE_PART_MAX_NS ? part_ns : RETIRE_PART_MAX_NS;
	return later(part_ns, c->slice_ns);
}

/* False: it stays where it is. */
static bool follow(const struct shard_stream *s, int64_t close_ns, struct shard_age *next)
{
	int64_t kept_ns = shard_kept_ns(s), by_ns;
	if (close_ns <= kept_ns)
		return false;
	if (kept_ns != WATERMARK_NONE && !__builtin_sub_overflow(close_ns, kept_ns, &by_ns) && by_ns < part_of_retain(s->conf))
		return false;
	*next = (struct shard_age){.close_ns = close_ns};
	return true;
}

/* The end of the latest record of a level, or WATERMARK_NONE. */
static int end_of_level(const struct shard *sh, const struct shard_stream *s, unsigned level, int64_t *ret_ns)
{
	struct kv_cursor *c;
	struct state_key behind;
	struct bytes key, value;
	struct state_place place;
	*ret_ns = WATERMARK_NONE;
	int rc = kv_cursor_open(sh->state->txn, sh->state->db, &c);
	if (rc)
		return rc;
	state_key_id(&behind, STATE_PARTIAL, s->id);
	state_key_u8(&behind, (uint8_t)(level + 1));
	rc = kv_cursor_seek(c, state_key_bytes(&behind), &key, &value);
	rc = rc == WEIR_ENOTFOUND ? kv_cursor_last(c, &key, &value) : rc ? rc : kv_cursor_prev(c, &key, &value);
	if (!rc && state_place_of(key, STATE_PARTIAL, s->id, &place) && place.level == level)
		*ret_ns = window_time(place.start_ns + s->levels.every_ns[level]);
	kv_cursor_close(c);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

/* Of a stream that was removed before anything of it closed: as if all that it has had. */
static int end_of_data(const struct shard *sh, const struct shard_stream *s, int64_t *ret_ns)
{
	int rc = 0;
	*ret_ns = WATERMARK_NONE;
	for (unsigned i = 0; i < s->levels.count && !rc; i++) {
		int64_t end_ns;
		rc = end_of_level(sh, s, i, &end_ns);
		if (!rc)
			*ret_ns = later(*ret_ns, end_ns);
	}
	return rc;
}

static int go_with_time(const struct shard *sh, const struct shard_stream *s, int64_t close_ns, int64_t time_ns, bool *ret_moves,
    struct shard_age *next)
{
	int64_t at_ns = time_ns < 0 ? 0 : window_time(time_ns), passed_ns = at_ns - s->age.at_ns;
	*ret_moves = passed_ns < 0 || passed_ns >= RETIRE_EVERY_NS;
	if (!*ret_moves)
		return 0;
	close_ns = later(close_ns, s->age.close_ns);
	int rc = close_ns == WATERMARK_NONE ? end_of_data(sh, s, &close_ns) : 0;
	if (passed_ns > RETIRE_STEP_MAX_NS)
		passed_ns = RETIRE_STEP_MAX_NS;
	if (s->age.at_ns && passed_ns > 0 && close_ns != WATERMARK_NONE)
		close_ns = window_time(close_ns + passed_ns);
	*ret_moves = close_ns != WATERMARK_NONE; /* else it has nothing */
	*next = (struct shard_age){close_ns, at_ns};
	return rc;
}

static int grow_older(struct shard *sh, struct shard_stream *s, struct sweep_entry *e)
{
	bool lives, moves;
	struct shard_age next;
	int rc = 0;
	int64_t close_ns = latest_close(sh, s, &lives);
	if (lives)
		moves = follow(s, close_ns, &next);
	else
		rc = go_with_time(sh, s, close_ns, e->time_ns, &moves, &next);
	if (rc || !moves)
		return rc;
	rc = shard_set_age(sh, s, &next);
	return rc ? rc : sweep_stream(sh, s, e);
}

/* ---- dropped versions -------------------------------------------------------------------------------------- */

static bool used_up(const struct sweep_entry *e)
{
	return e->used.rows >= ENTRY_ROWS_MAX || e->used.examined >= SWEEP_EXAMINED_MAX;
}

/* What a version leaves. Its name (STATE_STREAM) and its counts stay. */
static const enum state_table left_tables[] = {STATE_PARTIAL, STATE_GROUP, STATE_DIRTY, STATE_REVISION, STATE_INTERVAL, STATE_OUTBOX,
    STATE_ADVANCE};
#define LEFT_TABLES (sizeof(left_tables) / sizeof(left_tables[0]))

/* The first record of the id in a table; WEIR_ENOTFOUND. */
static int first_left(const struct shard *sh, uint32_t id, enum state_table table, struct state_key *ret_key)
{
	struct state_key prefix;
	struct bytes key, value;
	state_key_id(&prefix, table, id);
	int rc = state_first(sh->state, &prefix, &prefix, &key, &value);
	if (rc)
		return rc;
	state_key_start(ret_key, table);
	state_key_bytes_of(ret_key, bytes_of(key.p + 1, key.n - 1));
	return 0;
}

/* The first name at or after *id: it, and whether it is the one that its name has now. WEIR_ENOTFOUND. */
struct named {
	uint32_t id, version;
	size_t name_len;
	char name[NAME_MAX_BYTES + 1];
	bool mine;
};

static int next_named(const struct shard *sh, uint32_t id, struct named *ret)
{
	struct state_key prefix, from;
	struct bytes key, value, rest, name;
	uint32_t has;
	state_key_start(&prefix, STATE_STREAM);
	state_key_id(&from, STATE_STREAM, id);
	int rc = state_first(sh->state, &prefix, &from, &key, &value);
	if (rc)
		return rc;
	state_key_rest(key, &prefix, &rest);
	struct rd r = rd_init(rest.p, rest.n);
	ret->id = rd_be32(&r);
	if (rd_finish(&r) || ret->id == UINT32_MAX || shard_stream_decode(value, &name, &ret->version))
		return WEIR_ECORRUPT;
	ret->name_len = name.n;
	if (name.n)
		memcpy(ret->name, name.p, name.n);
	ret->name[name.n] = 0;
	rc = shard_read_id(sh->state->txn, sh->state->db, bytes_of(ret->name, ret->name_len), ret->version, &has);
	ret->mine = !rc && has == ret->id;
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

/* Versions that were never in force here have counts only: they keep their ids, whatever comes of their senders. */
static int has_left(const struct shard *sh, uint32_t id, bool *ret_has)
{
	int rc = WEIR_ENOTFOUND;
	for (size_t i = 0; i < LEFT_TABLES && rc == WEIR_ENOTFOUND; i++) {
		struct state_key k;
		rc = first_left(sh, id, left_tables[i], &k);
	}
	*ret_has = !rc;
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static int take_name(struct shard *sh, const struct named *n)
{
	struct state_key k;
	state_key_version(&k, STATE_STREAM_ID, bytes_of(n->name, n->name_len), n->version);
	int rc = state_del(sh->state, &k);
	return rc ? rc : shard_set_dropped(sh, 1);
}

int retire_dropped(struct shard *sh, const struct topology *next)
{
	struct named n;
	bool has;
	for (uint32_t id = 1;; id = n.id + 1) {
		int rc = next_named(sh, id, &n);
		if (rc)
			return rc == WEIR_ENOTFOUND ? 0 : rc;
		if (!n.mine || topology_stream_version_of(next, n.name, n.version) >= 0)
			continue;
		rc = has_left(sh, n.id, &has);
		if (!rc && has)
			rc = take_name(sh, &n);
		if (rc)
			return rc;
	}
}

/* WEIR_ENOTFOUND: nothing of it is left. */
static int delete_one(struct shard *sh, uint32_t id, struct sweep_entry *e)
{
	for (size_t i = 0; i < LEFT_TABLES; i++) {
		struct state_key k;
		int rc = first_left(sh, id, left_tables[i], &k);
		e->used.examined++;
		if (rc == WEIR_ENOTFOUND)
			continue;
		e->used.rows++;
		return rc ? rc : state_del(sh->state, &k);
	}
	return WEIR_ENOTFOUND;
}

/* Goes on with one id. *ret_done: nothing of it is left. */
static int delete_left(struct shard *sh, uint32_t id, struct sweep_entry *e, bool *ret_done)
{
	int rc = 0;
	while (!rc && !used_up(e))
		rc = delete_one(sh, id, e);
	*ret_done = rc == WEIR_ENOTFOUND;
	return *ret_done ? shard_clear_counts(sh, id) : rc;
}

/* Of the id that it stands at, or the next that has lost its name. */
static int delete_dropped(struct shard *sh, struct sweep_entry *e)
{
	struct named n = {.id = sh->dropped_id};
	bool done = true;
	for (uint32_t id = n.id; !used_up(e); id = n.id + 1) {
		int rc = next_named(sh, id, &n);
		e->used.examined++;
		if (rc == WEIR_ENOTFOUND)
			return shard_set_dropped(sh, 0);
		if (!rc && !n.mine)
			rc = delete_left(sh, n.id, e, &done);
		if (rc)
			return rc;
		if (!done)
			break;
	}
	e->stopped = true;
	return shard_set_dropped(sh, n.id);
}

/* ------------------------------------------------------------------------------------------------------------- */

int retire_turn(struct shard *sh, struct sweep_entry *e)
{
	int rc = 0;
	for (size_t i = 0; i < sh->stream_count && !rc; i++) {
		if (is_over(&sh->streams[i]))
			rc = grow_older(sh, &sh->streams[i], e);
	}
	if (!rc && sh->dropped_id)
		rc = delete_dropped(sh, e);
	return rc;
}

bool retire_pending(const struct shard *sh)
{
	return sh->dropped_id != 0;
}
