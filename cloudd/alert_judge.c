#include "cloudd/alert_judge.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/apply.h"
#include "cloudd/result.h"
#include "cloudd/shard.h"
#include "common/condition.h"
#include "common/err.h"
#include "common/json.h"
#include "common/rows.h"

#define PAGE_ROWS 1000

bool alert_step(struct alert_group *g, uint32_t for_windows, bool met, int64_t window_ns, enum alert_what *ret_what)
{
	if (!met) {
		bool told = g->run > 0;
		*ret_what = g->firing ? ALERT_RESOLVED : ALERT_CLEARED;
		g->run = 0;
		g->firing = false;
		g->window_ns = window_ns;
		return told;
	}
	if (g->firing)
		return false;
	if (!g->run++)
		g->since_ns = window_ns;
	g->window_ns = window_ns;
	g->firing = g->run >= for_windows;
	*ret_what = g->firing ? ALERT_FIRING : ALERT_PENDING;
	return true;
}

/* ---- what is found ----------------------------------------------------------------------------------------- */

/* Of one call. */
struct judge {
	const struct topology *t;
	struct kv_txn *txn;
	uint32_t shard;
	unsigned db;
	struct alert_found *f;
	size_t bytes;  /* of the entry, about */
	uint32_t groups;
	uint64_t work;
	const struct alert_turn *turn;
	bool enough;
};

/* Of one alert. Groups and texts are copied: they outlive the transaction. */
struct finding {
	struct judge *j;
	uint32_t id;
	const struct alert_record *a;
	struct entry_alert *out;
	size_t group_cap;
};

static bool is_full(const struct judge *j)
{
	return j->enough || j->bytes >= ALERT_ENTRY_BYTES || j->groups >= ENTRY_ALERT_GROUPS_MAX || j->work >= j->turn->work_max;
}

static void ask_enough(struct judge *j)
{
	j->enough = j->enough || (j->turn->enough && j->turn->enough(j->turn->arg));
}

static struct bytes keep(struct alert_found *f, struct bytes b)
{
	if (!b.n)
		return (struct bytes){0};
	f->room = xrealloc(f->room, (f->room_count + 1) * sizeof(*f->room));
	struct buf *copy = &f->room[f->room_count++];
	*copy = (struct buf){0};
	buf_put(copy, b.p, b.n);
	return bytes_of(copy->data, copy->len);
}

static struct finding find_begin(struct judge *j, uint32_t id, const struct alert_record *a, enum alert_op op)
{
	struct entry *e = &j->f->entry;
	e->alert.alerts = xrealloc(e->alert.alerts, (e->alert.count + 1) * sizeof(*e->alert.alerts));
	struct entry_alert *out = &e->alert.alerts[e->alert.count++];
	*out = (struct entry_alert){.op = op, .id = id, .changed = a->changed, .judged_ns = a->place.judged_ns};
	j->bytes += 64;
	return (struct finding){.j = j, .id = id, .a = a, .out = out};
}

static void find_group(struct finding *f, enum alert_what what, enum alert_reason reason, const struct alert_group *g, struct bytes group,
    struct bytes values)
{
	struct entry_alert *out = f->out;
	if (out->group_count == f->group_cap) {
		f->group_cap = f->group_cap ? 2 * f->group_cap : 16;
		out->groups = xrealloc(out->groups, f->group_cap * sizeof(*out->groups));
	}
	out->groups[out->group_count++] = (struct entry_alert_group){what, reason, g->run, g->since_ns, g->window_ns,
	    keep(f->j->f, group), keep(f->j->f, values)};
	f->j->groups++;
	f->j->work++;
	f->j->bytes += group.n + values.n + 32;
}

void alert_found_clear(struct alert_found *f)
{
	for (uint32_t i = 0; i < f->entry.alert.count; i++)
		free(f->entry.alert.alerts[i].groups);
	free(f->entry.alert.alerts);
	for (size_t i = 0; i < f->room_count; i++)
		buf_free(&f->room[i]);
	free(f->room);
	*f = (struct alert_found){0};
}

/* ---- groups that are pending or firing, in order ----------------------------------------------------------- */

struct kept_group {
	struct alert_group g; /* values point into the transaction; run 0: gone */
	uint16_t n;
	uint8_t group[GROUP_KEY_MAX];
};

struct kept {
	struct kept_group *groups;
	size_t count, cap, there;
};

static struct bytes group_of(const struct kept_group *k)
{
	return bytes_of(k->group, k->n);
}

static struct kept_group *add_kept(struct kept *k, size_t at, struct bytes group)
{
	if (k->count == k->cap) {
		k->cap = k->cap ? 2 * k->cap : 16;
		k->groups = xrealloc(k->groups, k->cap * sizeof(*k->groups));
	}
	memmove(&k->groups[at + 1], &k->groups[at], (k->count - at) * sizeof(*k->groups));
	struct kept_group *to = &k->groups[at];
	k->count++;
	to->g = (struct alert_group){0};
	to->n = (uint16_t)group.n;
	if (group.n)
		memcpy(to->group, group.p, group.n);
	return to;
}

static int take_kept(struct kept *k, const struct state_key *prefix, struct bytes key, struct bytes value, bool *ret_end)
{
	struct bytes rest;
	*ret_end = !state_key_rest(key, prefix, &rest);
	if (*ret_end)
		return 0;
	if (rest.n > GROUP_KEY_MAX)
		return WEIR_ECORRUPT;
	struct kept_group *to = add_kept(k, k->count, rest);
	k->there++;
	return alert_group_decode(value, &to->g);
}

/* At most `max`. */
static int load_kept(struct judge *j, uint32_t id, size_t max, struct kept *ret)
{
	struct kv_cursor *c;
	struct state_key prefix;
	struct bytes key, value;
	bool end = false;
	int rc = kv_cursor_open(j->txn, j->db, &c);
	if (rc)
		return rc;
	state_key_id(&prefix, STATE_ALERT_GROUP, id);
	rc = kv_cursor_seek(c, state_key_bytes(&prefix), &key, &value);
	while (!rc && !end && ret->count < max) {
		rc = take_kept(ret, &prefix, key, value, &end);
		if (!rc && !end)
			rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

/* ---- alerts that end --------------------------------------------------------------------------------------- */

static enum alert_reason reason_of(enum alert_end end)
{
	return end == ALERT_ENDS_REMOVED ? ALERT_REMOVED : ALERT_CHANGED;
}

/* Each is told with the window that it was last told of. */
static int end_alert(struct judge *j, uint32_t id, const struct alert_record *a)
{
	struct kept k = {0};
	int rc = load_kept(j, id, ENTRY_ALERT_GROUPS_MAX + 1, &k);
	struct finding f = {0};
	if (!rc)
		f = find_begin(j, id, a, ALERT_END);
	size_t i = 0;
	for (; !rc && i < k.count && !is_full(j); i++) {
		const struct alert_group *g = &k.groups[i].g;
		find_group(&f, g->firing ? ALERT_RESOLVED : ALERT_CLEARED, reason_of(a->end), g, group_of(&k.groups[i]), (struct bytes){0});
	}
	if (!rc)
		f.out->done = i == k.count;
	free(k.groups);
	return rc;
}

/* ---- the rows of a version's windows ----------------------------------------------------------------------- */

struct rows {
	struct judge *j;
	const struct stream_conf *s;
	struct partial_spec spec;
	int64_t from_ns, to_ns; /* of the windows' starts */
	bool after;
	int64_t after_ns;
	uint8_t after_group[GROUP_KEY_MAX];
	size_t after_n;
	struct rows_reader *reader;
	struct row *row;        /* the next one; NULL: not looked for yet, or the end */
	bool more, ended;
};

static void close_page(struct rows *r)
{
	if (r->reader)
		rows_reader_close(r->reader);
	r->reader = NULL;
}

static struct rows_spec page_spec(const struct rows *r)
{
	const struct stream_conf *s = r->s;
	struct rows_spec spec = {.stream = s->name, .version = s->version, .from_ns = r->from_ns, .to_ns = r->to_ns, .size_ns = s->size_ns,
	    .advance_ns = s->advance_ns, .offset_ns = s->offset_ns, .own_window = true, .by_count = (uint32_t)s->by_count, .own_by = true,
	    .limit = PAGE_ROWS, .after = r->after, .after_start_ns = r->after_ns, .after_group = bytes_of(r->after_group, r->after_n)};
	for (uint32_t i = 0; i < spec.by_count; i++)
		spec.by[i] = i;
	return spec;
}

static int next_page(struct rows *r)
{
	struct rows_spec spec = page_spec(r);
	struct buf raw = {0};
	close_page(r);
	r->more = false;
	int rc = result_query(r->j->t, r->j->txn, r->j->shard, r->s, &spec, INT64_MAX, &raw, &r->more);
	if (!rc)
		rc = rows_reader_open(bytes_of(raw.data, raw.len), &r->spec, &r->reader);
	buf_free(&raw);
	return rc;
}

static void note_row(struct rows *r)
{
	r->after = true;
	r->after_ns = r->row->start_ns;
	r->after_n = r->row->group.n;
	if (r->after_n)
		memcpy(r->after_group, r->row->group.p, r->after_n);
}

/* r->row: the next one, or NULL: there is none, or it is_full() now. */
static int peek_row(struct rows *r)
{
	while (!r->row && !r->ended && !r->j->enough) {
		int got = r->reader ? rows_reader_next(r->reader, &r->row) : 0;
		if (got < 0)
			return got;
		if (got > 0) {
			note_row(r);
			break;
		}
		r->row = NULL;
		if (r->reader && !r->more) {
			r->ended = true;
			break;
		}
		if (r->reader)
			ask_enough(r->j);
		int rc = r->j->enough ? 0 : next_page(r);
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- windows ----------------------------------------------------------------------------------------------- */

/* The windows of one version of a stream, for one alert. */
struct course {
	struct judge *j;
	struct finding f;
	const struct alert_conf *conf;
	struct window_grid grid;
	int64_t last_ns; /* start of the last one that has closed */
	struct window_levels levels;
	struct kept kept;
	struct rows rows;
	struct alert_place place;
	uint8_t after[GROUP_KEY_MAX];
	struct buf text; /* scratch */
};

static void put_values(struct course *c, const struct condition_value *values)
{
	const struct condition *cond = c->conf->condition;
	buf_clear(&c->text);
	buf_u8(&c->text, '{');
	for (size_t i = 0; i < condition_function_count(cond); i++) {
		buf_printf(&c->text, i ? ", " : "");
		json_text(&c->text, condition_function(cond, i)->text);
		buf_printf(&c->text, ": ");
		if (values[i].null)
			buf_printf(&c->text, "null");
		else
			json_double(&c->text, values[i].v);
	}
	buf_u8(&c->text, '}');
	if (c->text.len > ENTRY_ALERT_VALUES_MAX)
		buf_clear(&c->text);
}

static void step(struct course *c, struct kept_group *k, bool met, enum alert_reason reason, int64_t window_ns)
{
	enum alert_what what;
	bool was = k->g.run > 0;
	if (alert_step(&k->g, c->conf->for_windows, met, window_ns, &what))
		find_group(&c->f, what, met ? ALERT_NOT_MET : reason, &k->g, group_of(k), bytes_of(c->text.data, c->text.len));
	c->kept.there += k->g.run > 0;
	c->kept.there -= was;
}

/* A row of the window, at place *at of the groups kept or before it. */
static void judge_row(struct course *c, size_t *at, bool is_kept)
{
	struct condition_value values[CONDITION_FUNCTIONS_MAX];
	struct row *row = c->rows.row;
	condition_values(c->conf->condition, c->rows.s, &c->rows.spec, &row->partial, values);
	bool met = condition_holds(c->conf->condition, values);
	if (!is_kept && met && c->kept.there >= ALERT_GROUPS_MAX) {
		c->j->f->left_out++;
		return;
	}
	if (!is_kept && !met)
		return;
	put_values(c, values);
	if (!is_kept)
		add_kept(&c->kept, *at, row->group);
	step(c, &c->kept.groups[*at], met, ALERT_NOT_MET, row->start_ns);
	++*at;
}

static void judge_absent(struct course *c, struct kept_group *k, int64_t window_ns)
{
	buf_clear(&c->text);
	if (k->g.run)
		step(c, k, false, ALERT_NO_DATA, window_ns);
}

static void stop_behind(struct course *c, int64_t window_ns, struct bytes group)
{
	if (group.n)
		memcpy(c->after, group.p, group.n);
	c->place.in_window = true;
	c->place.window_ns = window_ns;
	c->place.after = bytes_of(c->after, group.n);
}

/* Groups that are gone are taken out between windows. */
static void drop_gone(struct kept *k)
{
	size_t n = 0;
	for (size_t i = 0; i < k->count; i++)
		if (k->groups[i].g.run)
			k->groups[n++] = k->groups[i];
	k->count = n;
}

static size_t first_behind(const struct course *c, int64_t window_ns)
{
	size_t at = 0;
	if (!c->place.in_window || c->place.window_ns != window_ns)
		return 0;
	while (at < c->kept.count && group_order(group_of(&c->kept.groups[at]), c->place.after) <= 0)
		at++;
	return at;
}

/* Goes over the window's rows and the groups kept, both in order. *ret_done false: it stopped behind a group. */
static int judge_window(struct course *c, int64_t window_ns, bool *ret_done)
{
	size_t at = first_behind(c, window_ns);
	*ret_done = false;
	while (!is_full(c->j)) {
		int rc = peek_row(&c->rows);
		if (rc || is_full(c->j))
			return rc;
		struct row *row = c->rows.row && c->rows.row->start_ns == window_ns ? c->rows.row : NULL;
		struct kept_group *k = at < c->kept.count ? &c->kept.groups[at] : NULL;
		*ret_done = !row && !k;
		if (*ret_done)
			return 0;
		int order = !row ? 1 : !k ? -1 : group_order(row->group, group_of(k));
		if (order > 0) {
			judge_absent(c, k, window_ns);
			stop_behind(c, window_ns, group_of(k));
			at++;
			continue;
		}
		c->j->work++;
		judge_row(c, &at, !order);
		stop_behind(c, window_ns, row->group);
		c->rows.row = NULL;
	}
	return 0;
}

static void window_is_done(struct course *c, int64_t window_ns)
{
	c->place = (struct alert_place){.judged_ns = window_ns + c->grid.size_ns};
	drop_gone(&c->kept);
	c->j->work++;
}

/* The window to judge next; false: none is left. Where nothing is kept, only those with data are of interest. */
static int next_window(struct course *c, int64_t *window_ns, bool *ret_any)
{
	*ret_any = false;
	if (!c->kept.there && !c->place.in_window) {
		int rc = peek_row(&c->rows);
		if (rc || is_full(c->j))
			return rc;
		if (!c->rows.row) {
			window_is_done(c, c->last_ns);
			return 0;
		}
		*window_ns = c->rows.row->start_ns;
	}
	*ret_any = *window_ns <= c->last_ns;
	return 0;
}

static int judge_windows(struct course *c, int64_t window_ns)
{
	bool any = true;
	while (!is_full(c->j)) {
		bool done = true;
		int rc = next_window(c, &window_ns, &any);
		if (rc || !any)
			return rc;
		if (window_answerable(&c->levels, window_ns, window_ns + c->grid.size_ns))
			rc = judge_window(c, window_ns, &done);
		else
			c->j->f->gone++; /* merged into coarser ones before its turn came */
		if (rc || !done)
			return rc;
		window_is_done(c, window_ns);
		window_ns += c->grid.advance_ns;
	}
	return 0;
}

/* ---- versions ---------------------------------------------------------------------------------------------- */

/* A version of the stream, as far as an alert is concerned. */
struct span {
	const struct stream_conf *s;
	struct window_grid grid;
	bool over;        /* none of its windows is left, now or later */
	bool any;         /* there is something to judge: */
	int64_t first_ns; /* start of the next window; INT64_MIN: of the first that has data */
	int64_t last_ns;  /* ... and of the last that has closed */
	uint64_t gone;    /* windows that are beyond `retain` before their turn: first_ns is behind them */
	struct window_levels levels; /* what is kept */
};

/* The close of the version, and what is kept of it. */
static int read_close(const struct judge *j, const struct stream_conf *s, int64_t *ret_ns, struct window_levels *ret_levels)
{
	uint32_t id;
	struct shard_advance advance = {0};
	struct shard_age age = {.close_ns = WATERMARK_NONE};
	struct window_floors floors = {0};
	*ret_ns = WATERMARK_NONE;
	int rc = shard_read_id(j->txn, j->db, bytes_of(s->name, strlen(s->name)), s->version, &id);
	if (!rc)
		rc = shard_read_floors(j->txn, j->db, id, &floors);
	if (!rc)
		rc = shard_read_age(j->txn, j->db, id, &age);
	if (!rc)
		rc = shard_read_advance(j->txn, j->db, id, &advance);
	if (!rc && advance.meta_index)
		*ret_ns = advance.close.close_ns;
	shard_advance_clear(&advance);
	window_levels_at(s, shard_later_ns(*ret_ns, &age), ret_levels);
	window_levels_raise(ret_levels, &floors);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static void first_window(const struct alert_record *a, struct span *p)
{
	const struct stream_conf *s = p->s;
	p->first_ns = INT64_MIN;
	if (a->place.judged_ns != WATERMARK_NONE)
		p->first_ns = window_ending_after(&p->grid, a->place.judged_ns);
	if (a->place.in_window && alert_basis_is(&a->basis, s))
		p->first_ns = a->place.window_ns;
	if (s->from_ns != INT64_MIN && p->first_ns < s->from_ns)
		p->first_ns = window_ceil(&p->grid, s->from_ns);
}

/* The version ended before the windows that are judged now began, which are other ones: sliding ones of it may reach over that. */
static bool is_behind(const struct alert_record *a, const struct stream_conf *s)
{
	return a->basis.grid.size_ns && !alert_basis_is(&a->basis, s) && a->place.judged_ns != WATERMARK_NONE &&
	    a->place.judged_ns >= s->answers_until_ns;
}

/* Windows that the shard has given up before their turn came are passed over: that there is nothing of them says nothing. */
static void pass_gone(struct span *p)
{
	int64_t kept_ns = p->levels.horizon_ns, first_ns;
	if (kept_ns == INT64_MIN || p->first_ns == INT64_MIN || p->first_ns >= kept_ns)
		return;
	first_ns = window_ceil(&p->grid, kept_ns);
	p->gone = (uint64_t)(first_ns - p->first_ns) / (uint64_t)p->grid.advance_ns;
	p->first_ns = first_ns;
}

static int look_at(const struct judge *j, const struct alert_record *a, const struct stream_conf *s, struct span *ret)
{
	struct span p = {.s = s, .grid = window_grid_of(s)};
	int64_t close_ns;
	int rc = read_close(j, s, &close_ns, &p.levels);
	if (rc)
		return rc;
	first_window(a, &p);
	pass_gone(&p);
	bool ends = s->answers_until_ns != INT64_MAX;
	bool behind = ends && is_behind(a, s);
	p.over = s->phase == STREAM_RETIRED || behind || (ends && p.first_ns != INT64_MIN && p.first_ns >= s->answers_until_ns);
	if (close_ns != WATERMARK_NONE && !behind) {
		p.last_ns = window_floor(&p.grid, close_ns - p.grid.size_ns);
		if (ends && p.last_ns >= s->answers_until_ns)
			p.last_ns = window_ceil(&p.grid, s->answers_until_ns) - p.grid.advance_ns;
		p.any = p.first_ns <= p.last_ns;
	}
	*ret = p;
	return 0;
}

/* The stream's versions that answer, in the order of their times. */
static size_t versions_of(const struct judge *j, struct bytes name, const struct stream_conf **ret, size_t max)
{
	size_t n = 0;
	for (size_t i = 0; i < j->t->stream_count && n < max; i++) {
		const struct stream_conf *s = &j->t->streams[i];
		if (strlen(s->name) != name.n || memcmp(s->name, name.p, name.n) || s->phase == STREAM_PENDING ||
		    s->from_ns >= s->answers_until_ns)
			continue;
		size_t at = n++;
		for (; at && ret[at - 1]->from_ns > s->from_ns; at--)
			ret[at] = ret[at - 1];
		ret[at] = s;
	}
	return n;
}

/* The first version that is not over: *ret_any, it has windows to judge. */
static int find_span(struct judge *j, const struct alert_record *a, struct span *ret, bool *ret_any)
{
	const struct stream_conf **versions = xcalloc(j->t->stream_count + 1, sizeof(struct stream_conf *));
	size_t n = versions_of(j, a->def.stream, versions, j->t->stream_count);
	int rc = 0;
	*ret_any = false;
	for (size_t i = 0; i < n && !rc; i++) {
		rc = look_at(j, a, versions[i], ret);
		*ret_any = !rc && ret->any;
		if (rc || ret->any || !ret->over)
			break;
	}
	free(versions);
	return rc;
}

/* ---- an alert ---------------------------------------------------------------------------------------------- */

static void begin_rows(struct course *c, const struct span *p)
{
	const struct alert_place *at = &c->place;
	c->rows = (struct rows){.j = c->j, .s = p->s, .from_ns = p->first_ns, .to_ns = p->last_ns + 1};
	partial_spec_of(p->s, topology_distinct_seed(c->j->t), PARTIAL_QUANTILE_CAP_CLOUD, &c->rows.spec);
	if (!at->in_window)
		return;
	c->rows.after = true;
	c->rows.after_ns = at->window_ns;
	c->rows.after_n = at->after.n;
	if (at->after.n)
		memcpy(c->rows.after_group, at->after.p, at->after.n);
}

static void begin_place(struct course *c, const struct alert_record *a)
{
	c->place = a->place;
	if (a->place.in_window)
		stop_behind(c, a->place.window_ns, a->place.after);
}

static void tell_place(struct course *c, const struct span *p)
{
	struct entry_alert *out = c->f.out;
	out->version = p->s->version;
	out->judged_ns = c->place.judged_ns;
	out->in_window = c->place.in_window;
	out->window_ns = c->place.window_ns;
	out->after = keep(c->j->f, c->place.after);
}

static int judge_span(struct judge *j, uint32_t id, const struct alert_record *a, const struct alert_conf *conf, const struct span *p)
{
	struct course c = {.j = j, .conf = conf, .grid = p->grid, .last_ns = p->last_ns, .levels = p->levels};
	int rc = load_kept(j, id, SIZE_MAX, &c.kept);
	begin_place(&c, a);
	begin_rows(&c, p);
	if (!rc) {
		c.f = find_begin(j, id, a, ALERT_JUDGE);
		j->f->gone += p->gone;
		rc = judge_windows(&c, p->first_ns);
	}
	if (!rc)
		tell_place(&c, p);
	close_page(&c.rows);
	free(c.kept.groups);
	buf_free(&c.text);
	return rc;
}

static bool same_condition(const struct alert_record *a, const struct alert_conf *c)
{
	return c->condition && a->def.when.n == strlen(c->when) && !memcmp(a->def.when.p, c->when, a->def.when.n) &&
	    a->def.for_windows == c->for_windows;
}

/* Whether windows that end behind `judged_ns` may be an ended version's that has the windows and groups of s. */
static bool may_be_earlier(const struct judge *j, const struct stream_conf *s, int64_t judged_ns)
{
	struct alert_basis basis;
	struct window_grid grid = window_grid_of(s);
	alert_basis_of(s, &basis);
	for (size_t i = 0; i < j->t->stream_count; i++) {
		const struct stream_conf *v = &j->t->streams[i];
		if (v != s && !strcmp(v->name, s->name) && v->from_ns < s->from_ns && alert_basis_is(&basis, v) &&
		    window_ending_after(&grid, judged_ns) < v->answers_until_ns)
			return true;
	}
	return false;
}

/* What is judged of windows that are other ones than those before. Where they are another version's they begin with its first, although
 * sliding windows of the one before it reach over that. */
static int64_t judged_of(const struct judge *j, const struct alert_record *a, const struct stream_conf *s)
{
	const struct window_grid *g = &a->basis.grid;
	int64_t judged_ns = alert_judged_ns(a);
	if (s->from_ns == INT64_MIN || judged_ns <= s->from_ns || judged_ns - g->size_ns + g->advance_ns > s->from_ns)
		return judged_ns;
	return may_be_earlier(j, s, s->from_ns) ? judged_ns : s->from_ns;
}

static int judge_alert(struct judge *j, uint32_t id, const struct alert_record *a)
{
	const struct alert_conf *conf = alert_conf_of(j->t, a->def.stream, a->def.name);
	struct span p;
	bool any;
	if (!conf || !same_condition(a, conf))
		return 0; /* not of this map */
	int rc = find_span(j, a, &p, &any);
	if (rc || !any)
		return rc;
	if (a->basis.grid.size_ns && !alert_basis_is(&a->basis, p.s)) {
		struct entry_alert *out = find_begin(j, id, a, ALERT_RENEW).out;
		out->version = p.s->version;
		out->judged_ns = judged_of(j, a, p.s);
		return 0;
	}
	return judge_span(j, id, a, conf, &p);
}

/* Records of ids from `from` to before `to`: those that end, or the others. */
static int go_through(struct judge *j, bool ends, uint32_t from, uint32_t to)
{
	uint32_t id = from;
	struct alert_record a;
	while (!is_full(j) && j->f->entry.alert.count < ENTRY_ALERTS_MAX) {
		int rc = alert_record_next(j->txn, j->db, &id, &a);
		if (rc || id >= to)
			return rc == WEIR_ENOTFOUND ? 0 : rc;
		if (ends == (a.end != ALERT_STAYS))
			rc = ends ? end_alert(j, id, &a) : judge_alert(j, id, &a);
		if (rc)
			return rc;
		j->f->next = ++id;
		if (j->f->entry.alert.count)
			ask_enough(j);
	}
	return 0;
}

/* What ends goes first, so that it is told before what takes its place; the others have their turns. */
int alert_judge(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct alert_turn *turn, struct alert_found *ret)
{
	struct alert_found f = {.entry = {.kind = ENTRY_ALERT}};
	struct judge j = {.t = t, .txn = txn, .shard = shard, .db = STATE_DB_GROUP(shard + 1), .f = &f, .turn = turn};
	int rc = state_readable(txn, j.db);
	if (!rc)
		rc = go_through(&j, true, 1, UINT32_MAX);
	f.next = turn->from ? turn->from : 1;
	if (!rc)
		rc = go_through(&j, false, f.next, UINT32_MAX);
	if (!rc)
		rc = go_through(&j, false, 1, turn->from);
	f.more = is_full(&j);
	if (rc) {
		alert_found_clear(&f);
		return rc;
	}
	*ret = f;
	return 0;
}

int alert_behind(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct alert_record *a, int64_t *ret_ns)
{
	struct judge j = {.t = t, .txn = txn, .shard = shard, .db = STATE_DB_GROUP(shard + 1)};
	struct span p;
	bool any = false;
	int rc = a->end == ALERT_STAYS ? find_span(&j, a, &p, &any) : 0;
	*ret_ns = 0;
	if (!rc && any && p.first_ns != INT64_MIN && __builtin_sub_overflow(p.last_ns, p.first_ns - p.grid.advance_ns, ret_ns))
		*ret_ns = INT64_MAX;
	return rc;
}
