#include "cloudd/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/completeness.h"
#include "cloudd/scan.h"
#include "cloudd/shard_apply.h"
#include "common/clock.h"
#include "common/err.h"

/* Steps answer 1 when they are done, 0 when the allowance is used up, or an error. */
enum { STOPPED = 0, DONE = 1 };

struct sweep {
	struct shard *sh;
	struct shard_stream *s;
	struct sweep_entry *e;
	uint32_t n; /* outbox rows written by this entry for this stream */
};

static uint64_t rows_left(const struct sweep *w)
{
	return w->e->used.rows < ENTRY_ROWS_MAX ? ENTRY_ROWS_MAX - w->e->used.rows : 0;
}

static bool used_up(const struct sweep *w)
{
	return !rows_left(w) || w->e->used.examined >= SWEEP_EXAMINED_MAX;
}

/* ---- the outbox -------------------------------------------------------------------------------------------- */

int outbox_row_decode(struct bytes value, struct outbox_row *ret)
{
	struct rd r = rd_init(value.p, value.n);
	ret->window_ns = rd_bei64(&r);
	ret->time_ns = rd_bei64(&r);
	bool sized = ret->time_ns < 0;
	ret->time_ns = sized ? ~ret->time_ns : ret->time_ns;
	ret->size_ns = sized ? rd_bei64(&r) : 0;
	ret->group = bytes_of(r.p, rd_left(&r));
	if (r.err || ret->group.n > GROUP_KEY_MAX || !state_time_ok(ret->window_ns))
		return WEIR_ECORRUPT;
	return sized && (ret->size_ns <= 0 || ret->size_ns > ROWS_WINDOW_MAX_NS) ? WEIR_ECORRUPT : 0;
}

static int outbox_put(struct sweep *w, int64_t window_ns, struct bytes group)
{
	struct state_key k;
	struct buf *value = &w->sh->value;
	state_key_outbox(&k, w->s->id, w->e->index, w->n++);
	buf_clear(value);
	buf_bei64(value, window_ns);
	buf_bei64(value, ~w->s->sweep.clock_ns); /* at least 0: the sign says that a size follows */
	buf_bei64(value, w->s->grid.size_ns);
	buf_put(value, group.p, group.n);
	w->s->sweep.outbox_rows++;
	w->s->sweep_changed = true;
	w->e->used.rows++;
	return state_replace(w->sh->state, &k, NULL, bytes_of(value->data, value->len));
}

/* The log's own clock: entries carry their proposers' wall clocks, which jump, and differ where leadership moves. It never falls, and
 * no entry moves it by more than OUTBOX_CLOCK_STEP_MAX_NS: a quiet outbox is kept for longer, none is lost to a bad clock. */
static void move_clock(struct sweep *w)
{
	struct shard_sweep *c = &w->s->sweep;
	int64_t at_ns = w->e->time_ns < 0 ? 0 : w->e->time_ns;
	at_ns = at_ns > TIME_MAX_NS ? TIME_MAX_NS : at_ns;
	int64_t step_ns = at_ns - c->clock_at_ns;
	if (step_ns >= 0 && step_ns < OUTBOX_CLOCK_EVERY_NS)
		return;
	if (!c->clock_ns && !c->clock_at_ns)
		c->clock_ns = at_ns;
	else if (step_ns > 0)
		c->clock_ns += step_ns < OUTBOX_CLOCK_STEP_MAX_NS ? step_ns : OUTBOX_CLOCK_STEP_MAX_NS;
	c->clock_at_ns = at_ns;
	w->s->sweep_changed = true;
}

static bool is_old(const struct sweep *w, const struct outbox_row *row)
{
	int64_t age;
	return !__builtin_sub_overflow(w->s->sweep.clock_ns, row->time_ns, &age) && age > OUTBOX_AGE_MAX_NS;
}

static int trim_outbox(struct sweep *w)
{
	struct shard_sweep *c = &w->s->sweep;
	struct state_key prefix;
	state_key_id(&prefix, STATE_OUTBOX, w->s->id);
	while (!used_up(w)) {
		struct bytes key, value, rest;
		struct outbox_row row;
		int rc = state_first(w->sh->state, &prefix, &prefix, &key, &value);
		w->e->used.examined++;
		if (rc == WEIR_ENOTFOUND)
			return DONE;
		if (!rc)
			rc = outbox_row_decode(value, &row);
		if (rc)
			return rc;
		if (!is_old(w, &row) && c->outbox_rows <= OUTBOX_ROWS_MAX)
			return DONE;
		state_key_rest(key, &prefix, &rest);
		struct rd r = rd_init(rest.p, rest.n);
		c->trimmed_index = rd_be64(&r);
		c->trimmed_n = rd_be32(&r);
		if (rd_finish(&r))
			return WEIR_ECORRUPT;
		struct state_key k;
		state_key_outbox(&k, w->s->id, c->trimmed_index, c->trimmed_n);
		rc = state_del(w->sh->state, &k);
		if (rc)
			return rc;
		c->outbox_rows--;
		w->s->sweep_changed = true;
		w->e->used.rows++;
	}
	return STOPPED;
}

/* ---- closing ----------------------------------------------------------------------------------------------- */

/* Groups with data in a window, behind a group, copied out: writing their rows moves the cursors. */
struct groups {
	struct buf bytes; /* varint length, bytes */
	size_t count;
	bool all;         /* there are no more */
};

static int collect(struct sweep *w, int64_t window_ns, const struct bytes *after, struct groups *ret)
{
	struct scan *scan;
	uint64_t *examined = &w->e->used.examined, max = rows_left(w);
	int rc = scan_open(w->sh->state->txn, w->sh->state->db, w->s->id, &w->s->levels, window_ns,
	    window_ns + w->s->grid.size_ns, after, examined, &scan);
	if (rc)
		return rc;
	struct bytes group;
	while ((rc = scan_group(scan, examined, &group)) > 0) {
		/* one at least, or a window of very many slices would never get on */
		if (ret->count && (ret->count >= max || *examined >= SWEEP_EXAMINED_MAX))
			break;
		buf_bytes(&ret->bytes, group.p, group.n);
		ret->count++;
	}
	ret->all = rc == 0;
	scan_close(scan);
	return rc < 0 ? rc : 0;
}

static int emit(struct sweep *w, int64_t window_ns, const struct groups *g)
{
	struct shard_sweep *c = &w->s->sweep;
	struct rd r = rd_init(g->bytes.data, g->bytes.len);
	for (size_t i = 0; i < g->count; i++) {
		struct bytes group;
		group.p = rd_bytes(&r, GROUP_KEY_MAX, &group.n);
		weir_assert(!r.err);
		int rc = outbox_put(w, window_ns, group);
		if (rc)
			return rc;
		c->in_window = true;
		c->group_n = group.n;
		if (group.n)
			memcpy(c->group, group.p, group.n);
	}
	return 0;
}

/* Writes the rows of the window that the pass stands at. */
static int pass_window(struct sweep *w)
{
	struct shard_sweep *c = &w->s->sweep;
	struct groups groups = {0};
	struct bytes after = bytes_of(c->group, c->group_n);
	int rc = collect(w, c->window_ns, c->in_window ? &after : NULL, &groups);
	if (!rc)
		rc = emit(w, c->window_ns, &groups);
	w->s->sweep_changed = true;
	if (!rc && groups.all) {
		c->window_ns += w->s->grid.advance_ns;
		c->in_window = false;
	}
	bool all = groups.all;
	buf_free(&groups.bytes);
	return rc ? rc : all ? DONE : STOPPED;
}

static void go_to(struct sweep *w, int64_t window_ns)
{
	struct shard_sweep *c = &w->s->sweep;
	if (window_ns <= c->window_ns)
		return;
	c->window_ns = window_ns;
	c->in_window = false;
	w->s->sweep_changed = true;
}

/* Moves the pass to the next window with data that ends in (.., high]. DONE: there is one; STOPPED: none. */
static int pass_seek(struct sweep *w, int64_t high)
{
	const struct window_grid *g = &w->s->grid;
	struct shard_sweep *c = &w->s->sweep;
	if (w->s->levels.horizon_ns != INT64_MIN)
		go_to(w, window_ceil(g, w->s->levels.horizon_ns));
	int64_t start;
	int rc = scan_first(w->sh->state->txn, w->sh->state->db, w->s->id, &w->s->levels, c->window_ns,
	    &w->e->used.examined, &start);
	if (rc == WEIR_ENOTFOUND)
		return STOPPED;
	if (rc)
		return rc;
	go_to(w, window_ending_after(g, start));
	if (w->s->conf->from_ns != INT64_MIN)
		go_to(w, window_ceil(g, w->s->conf->from_ns));
	return c->window_ns <= high - g->size_ns && c->window_ns < w->s->conf->answers_until_ns ? DONE : STOPPED;
}

/* Goes over the windows that end in (low, high], from where the cursor stands. */
static int pass_run(struct sweep *w, int64_t low, int64_t high)
{
	struct shard_sweep *c = &w->s->sweep;
	if (high == WATERMARK_NONE || low >= high)
		return DONE;
	if (c->window_ns == WATERMARK_NONE && low != WATERMARK_NONE) {
		c->window_ns = window_ending_after(&w->s->grid, low);
		w->s->sweep_changed = true;
	}
	while (!used_up(w)) {
		int rc = pass_seek(w, high);
		if (rc < 0)
			return rc;
		if (rc == STOPPED)
			return DONE;
		rc = pass_window(w);
		if (rc < 0)
			return rc;
	}
	return STOPPED;
}

static int64_t lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void pass_begin(struct sweep *w, enum sweep_pass pass)
{
	w->s->sweep.pass = pass;
	w->s->sweep.window_ns = WATERMARK_NONE;
	w->s->sweep.in_window = false;
	w->s->sweep_changed = true;
}

static bool closing_is_done(const struct shard_stream *s)
{
	return s->sweep.pass == PASS_NONE && s->sweep.close_ns == shard_close_ns(s) &&
	    s->sweep.final_ns == shard_final_ns(s);
}

/* Windows that became final, then windows that closed, up to the goal; then the next goal. */
static int sweep_closing(struct sweep *w)
{
	struct shard_sweep *c = &w->s->sweep;
	while (!closing_is_done(w->s)) {
		if (c->pass == PASS_NONE) {
			c->goal_close_ns = shard_close_ns(w->s);
			c->goal_final_ns = shard_final_ns(w->s);
			pass_begin(w, PASS_FINAL);
		}
		if (c->pass == PASS_FINAL) {
			int rc = pass_run(w, c->final_ns, lesser(c->goal_final_ns, c->close_ns));
			if (rc != DONE)
				return rc;
			pass_begin(w, PASS_CLOSE);
		}
		int rc = pass_run(w, c->close_ns, c->goal_close_ns);
		if (rc != DONE)
			return rc;
		c->close_ns = c->goal_close_ns;
		c->final_ns = c->goal_final_ns;
		pass_begin(w, PASS_NONE);
	}
	return DONE;
}

/* ---- dirty windows ----------------------------------------------------------------------------------------- */

struct mark {
	struct state_key key;
	struct state_place place; /* its group is within key */
	int64_t close_ns;
	uint64_t index;
};

static int first_mark(struct sweep *w, struct mark *ret)
{
	struct state_key prefix;
	struct bytes key, value;
	state_key_id(&prefix, STATE_DIRTY, w->s->id);
	int rc = state_first(w->sh->state, &prefix, &prefix, &key, &value);
	w->e->used.examined++;
	if (rc)
		return rc;
	state_key_start(&ret->key, STATE_DIRTY);
	state_key_bytes_of(&ret->key, bytes_of(key.p + 1, key.n - 1));
	struct rd r = rd_init(value.p, value.n);
	ret->close_ns = rd_bei64(&r);
	ret->index = rd_be64(&r);
	if (rd_finish(&r) || !state_place_of(state_key_bytes(&ret->key), STATE_DIRTY, w->s->id, &ret->place))
		return WEIR_ECORRUPT;
	return 0;
}

int revision_decode(struct bytes value, uint64_t *ret_revision, uint64_t *ret_raised)
{
	struct rd r = rd_init(value.p, value.n);
	uint64_t revision = rd_varint(&r), raised = rd_varint(&r);
	if (rd_finish(&r))
		return WEIR_ECORRUPT;
	*ret_revision = revision;
	*ret_raised = raised;
	return 0;
}

/* Once per change: not again where it was raised after the mark, for then it told of what the mark stands for. */
static int raise_revision(struct sweep *w, int64_t window_ns, const struct mark *m)
{
	struct state_key k;
	struct bytes old;
	uint64_t revision = 1, raised = 0;
	state_key_revision(&k, w->s->id, window_ns, m->place.group);
	int rc = state_get(w->sh->state, &k, &old);
	w->e->used.examined++;
	if (rc && rc != WEIR_ENOTFOUND)
		return rc;
	bool known = !rc;
	if (known && revision_decode(old, &revision, &raised))
		return WEIR_ECORRUPT;
	if (known && raised > m->index)
		return 0;
	buf_clear(&w->sh->value);
	buf_varint(&w->sh->value, revision + 1);
	buf_varint(&w->sh->value, w->e->index);
	rc = state_replace(w->sh->state, &k, known ? &old : NULL, bytes_of(w->sh->value.data, w->sh->value.len));
	return rc ? rc : outbox_put(w, window_ns, m->place.group);
}

/* The windows that a mark speaks of: those that hold its slice and had closed when it was made. Count 0: none. */
static uint64_t marked_windows(const struct sweep *w, const struct mark *m, int64_t *ret_first)
{
	const struct window_grid *g = &w->s->grid;
	int64_t first, last, closed = window_floor(g, m->close_ns - g->size_ns);
	if (m->place.level >= w->s->levels.count)
		return 0; /* marked when the stream had a rollup that it has no more */
	if (!window_range(g, m->place.start_ns, w->s->levels.every_ns[m->place.level], &first, &last))
		return 0;
	last = lesser(last, closed);
	int64_t from_ns = w->s->levels.horizon_ns > w->s->conf->from_ns ? w->s->levels.horizon_ns : w->s->conf->from_ns;
	if (from_ns != INT64_MIN && first < from_ns)
		first = window_ceil(g, from_ns);
	if (last >= w->s->conf->answers_until_ns) {
		if (w->s->conf->answers_until_ns < TIME_MIN_NS)
			return 0;
		last = window_floor(g, w->s->conf->answers_until_ns - 1);
	}
	*ret_first = first;
	return first > last ? 0 : (uint64_t)(last - first) / (uint64_t)g->advance_ns + 1;
}

static int sweep_dirty_windows(struct sweep *w)
{
	while (w->s->counts.dirty) {
		struct mark m;
		int64_t first;
		if (used_up(w))
			return STOPPED;
		int rc = first_mark(w, &m);
		if (rc)
			return rc == WEIR_ENOTFOUND ? WEIR_ECORRUPT : rc;
		uint64_t windows = marked_windows(w, &m, &first);
		if (windows > rows_left(w) && rows_left(w) < ENTRY_ROWS_MAX)
			return STOPPED; /* all of a mark in one entry */
		for (uint64_t i = 0; i < windows && !rc; i++)
			rc = raise_revision(w, first + (int64_t)i * w->s->grid.advance_ns, &m);
		if (!rc)
			rc = state_del(w->sh->state, &m.key);
		if (rc)
			return rc;
		w->e->used.rows++;
		w->s->counts.dirty--;
		w->s->counts_changed = true;
	}
	return DONE;
}

/* ---- rollup and deletion ----------------------------------------------------------------------------------- */

/* Moves one record to the level that keeps its time now, or deletes it. */
static int retire(struct sweep *w, const struct state_key *k, struct bytes value)
{
	struct state_place from;
	struct shard_target to;
	if (!state_place_of(state_key_bytes(k), STATE_PARTIAL, w->s->id, &from))
		return WEIR_ECORRUPT;
	int level = window_level(&w->s->levels, from.level + 1u, from.start_ns, &to.start_ns);
	int rc = 0;
	if (level >= 0) {
		struct partial_packed p;
		struct rd r = rd_init(value.p, value.n);
		if (partial_skim(&r, &w->s->spec, &p) || rd_finish(&r))
			return WEIR_ECORRUPT;
		to.level = (uint8_t)level;
		to.group = from.group;
		rc = shard_merge(w->sh, w->s, &to, &p);
	}
	w->e->used.rows++;
	return rc ? rc : state_del(w->sh->state, k);
}

static int sweep_level(struct sweep *w, unsigned level)
{
	struct state_key prefix, k;
	struct bytes key, value;
	struct state_place place;
	state_key_id(&prefix, STATE_PARTIAL, w->s->id);
	state_key_u8(&prefix, (uint8_t)level);
	while (!used_up(w)) {
		int rc = state_first(w->sh->state, &prefix, &prefix, &key, &value);
		w->e->used.examined++;
		if (rc)
			return rc == WEIR_ENOTFOUND ? DONE : rc;
		if (!state_place_of(key, STATE_PARTIAL, w->s->id, &place))
			return WEIR_ECORRUPT;
		if (place.start_ns >= w->s->levels.floor_ns[level])
			return DONE;
		state_key_start(&k, STATE_PARTIAL);
		state_key_bytes_of(&k, bytes_of(key.p + 1, key.n - 1));
		rc = retire(w, &k, value);
		if (rc)
			return rc;
	}
	return STOPPED;
}

/* No window of the stream's own that starts before this can be answered any more: window_answerable(). One that ends in a
 * level whose periods divide it may start in the next coarser. */
static int64_t own_horizon(const struct shard_stream *s)
{
	const struct window_levels *l = &s->levels;
	int64_t horizon = INT64_MAX;
	for (unsigned i = 0; i < l->count; i++) {
		if (i && s->grid.size_ns % l->every_ns[i])
			continue;
		int64_t reach = i + 1 < l->count ? s->grid.size_ns : 0;
		horizon = lesser(horizon, l->floor_ns[i] == INT64_MIN ? INT64_MIN : l->floor_ns[i] - reach);
	}
	return horizon;
}

static int sweep_revisions(struct sweep *w)
{
	int64_t horizon = own_horizon(w->s);
	struct state_key prefix, k;
	struct bytes key, value, rest;
	state_key_id(&prefix, STATE_REVISION, w->s->id);
	while (!used_up(w)) {
		int rc = state_first(w->sh->state, &prefix, &prefix, &key, &value);
		w->e->used.examined++;
		if (rc)
			return rc == WEIR_ENOTFOUND ? DONE : rc;
		state_key_rest(key, &prefix, &rest);
		struct rd r = rd_init(rest.p, rest.n);
		int64_t window_ns = rd_bei64(&r);
		if (r.err)
			return WEIR_ECORRUPT;
		if (window_ns >= horizon)
			return DONE;
		state_key_start(&k, STATE_REVISION);
		state_key_bytes_of(&k, bytes_of(key.p + 1, key.n - 1));
		rc = state_del(w->sh->state, &k);
		if (rc)
			return rc;
		w->e->used.rows++;
	}
	return STOPPED;
}

static int sweep_intervals(struct sweep *w)
{
	uint64_t deleted, max = rows_left(w);
	int rc = completeness_trim(w->sh->state, w->s->id, w->s->levels.horizon_ns, max, &w->s->sweep.intervals,
	    &deleted);
	w->e->used.rows += deleted;
	w->e->used.examined += deleted + 1;
	w->s->sweep_changed |= deleted > 0;
	return rc ? rc : deleted < max ? DONE : STOPPED;
}

/* ---- the group registry ------------------------------------------------------------------------------------ */

/* Going through all groups costs their number, so it is done when the horizon has moved by a part of what is kept. */
#define GROUPS_PARTS 64

static bool groups_are_due(const struct shard_stream *s)
{
	int64_t last = s->sweep.groups_floor_ns, horizon = s->levels.horizon_ns;
	unsigned coarsest = s->levels.count - 1;
	if (horizon == INT64_MIN)
		return false;
	if (last == WATERMARK_NONE)
		return true;
	int64_t retain = coarsest ? s->conf->rollups[coarsest - 1].retain_ns : s->conf->retain_ns;
	int64_t step = retain / GROUPS_PARTS;
	return horizon - last >= (step > s->levels.every_ns[coarsest] ? step : s->levels.every_ns[coarsest]);
}

/* The next group behind the cursor that is to be deleted; NOTFOUND: none. Moves the cursor. */
static int next_dead_group(struct sweep *w, struct state_key *ret_key)
{
	struct shard_sweep *c = &w->s->sweep;
	struct kv_cursor *cursor;
	int rc = kv_cursor_open(w->sh->state->txn, w->sh->state->db, &cursor);
	if (rc)
		return rc;
	struct state_key prefix, from;
	struct bytes key, value, rest;
	state_key_id(&prefix, STATE_GROUP, w->s->id);
	from = prefix;
	state_key_bytes_of(&from, bytes_of(c->groups_at, c->groups_n));
	rc = kv_cursor_seek(cursor, state_key_bytes(&from), &key, &value);
	bool found = false;
	while (!rc && state_key_rest(key, &prefix, &rest) && rest.n <= GROUP_KEY_MAX && !used_up(w)) {
		struct rd r = rd_init(value.p, value.n);
		int64_t latest = rd_bei64(&r);
		w->e->used.examined++;
		c->groups_n = rest.n;
		if (rest.n)
			memcpy(c->groups_at, rest.p, rest.n);
		if (rd_finish(&r) || !state_time_ok(latest)) {
			rc = WEIR_ECORRUPT;
			break;
		}
		found = window_period(&w->s->levels, w->s->levels.count - 1, latest) < c->groups_floor_ns;
		if (found)
			break;
		rc = kv_cursor_next(cursor, &key, &value);
	}
	kv_cursor_close(cursor);
	if (rc && rc != WEIR_ENOTFOUND)
		return rc;
	*ret_key = prefix;
	state_key_bytes_of(ret_key, bytes_of(c->groups_at, c->groups_n));
	return found ? 0 : WEIR_ENOTFOUND;
}

static int sweep_groups(struct sweep *w)
{
	struct shard_sweep *c = &w->s->sweep;
	if (!c->in_groups && !groups_are_due(w->s))
		return DONE;
	if (!c->in_groups) {
		c->in_groups = true;
		c->groups_floor_ns = w->s->levels.horizon_ns;
		c->groups_n = 0;
	}
	w->s->sweep_changed = true;
	while (!used_up(w)) {
		struct state_key k;
		int rc = next_dead_group(w, &k);
		if (rc == WEIR_ENOTFOUND && used_up(w))
			return STOPPED;
		if (rc == WEIR_ENOTFOUND) {
			c->in_groups = false;
			return DONE;
		}
		if (!rc)
			rc = state_del(w->sh->state, &k);
		if (rc)
			return rc;
		w->e->used.rows++;
		w->s->counts.groups--;
		w->s->counts_changed = true;
	}
	return STOPPED;
}

/* ---- all of it --------------------------------------------------------------------------------------------- */

static bool same_floors(const struct shard_stream *s)
{
	struct window_levels before;
	if (s->sweep.kept_close_ns == WATERMARK_NONE && s->floors.count)
		return false; /* what is kept has changed */
	window_levels_at(s->conf, s->sweep.kept_close_ns, &before);
	window_levels_raise(&before, &s->floors);
	return !memcmp(before.floor_ns, s->levels.floor_ns, s->levels.count * sizeof(before.floor_ns[0]));
}

static int sweep_kept(struct sweep *w)
{
	struct shard_sweep *c = &w->s->sweep;
	int64_t close = shard_kept_ns(w->s);
	if (c->kept_close_ns == close && !c->in_groups)
		return DONE;
	int rc = DONE;
	if (!same_floors(w->s)) {
		for (unsigned i = 0; i < w->s->levels.count && rc == DONE; i++)
			rc = sweep_level(w, i);
		if (rc == DONE)
			rc = sweep_revisions(w);
		if (rc == DONE)
			rc = sweep_intervals(w);
	}
	if (rc == DONE)
		rc = sweep_groups(w);
	if (rc != DONE)
		return rc;
	c->kept_close_ns = close;
	w->s->sweep_changed = true;
	return DONE;
}

/* A version that does not answer yet waits: which of its windows are told of follows from where it takes over. */
static bool is_swept(const struct shard_stream *s)
{
	return s->id && s->conf->phase != STREAM_PENDING;
}

int sweep_stream(struct shard *sh, struct shard_stream *s, struct sweep_entry *e)
{
	struct sweep w = {.sh = sh, .s = s, .e = e};
	if (!is_swept(s))
		return 0;
	move_clock(&w);
	int rc = sweep_closing(&w);
	if (rc == DONE)
		rc = sweep_dirty_windows(&w);
	if (rc == DONE)
		rc = sweep_kept(&w);
	if (rc == DONE)
		rc = trim_outbox(&w);
	e->stopped |= rc == STOPPED;
	return rc < 0 ? rc : 0;
}

int sweep_all(struct shard *sh, struct sweep_entry *e)
{
	int rc = 0;
	for (size_t i = 0; i < sh->stream_count && !rc; i++)
		rc = sweep_stream(sh, &sh->streams[i], e);
	return rc;
}

bool sweep_pending(const struct shard *sh)
{
	for (size_t i = 0; i < sh->stream_count; i++) {
		const struct shard_stream *s = &sh->streams[i];
		if (is_swept(s) && (!closing_is_done(s) || s->sweep.kept_close_ns != shard_kept_ns(s) || s->sweep.in_groups))
			return true;
	}
	return false;
}

bool sweep_dirty(const struct shard *sh)
{
	for (size_t i = 0; i < sh->stream_count; i++) {
		if (is_swept(&sh->streams[i]) && sh->streams[i].counts.dirty)
			return true;
	}
	return false;
}
