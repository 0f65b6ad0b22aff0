#include "tests/unit/raft/bugs_rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define TURNS_MAX 2000

void rig_make(struct rig *g)
{
	memset(g, 0, sizeof(*g));
	g->options = (struct raft_options){.seed = 7,
	    .election_ticks = RIG_ELECTION_TICKS,
	    .heartbeat_ticks = 2,
	    .entry_bytes_max = 256,
	    .message_bytes_max = 1024,
	    .inflight_bytes_max = 65536,
	    .inflight_messages_max = 64,
	    .proposed_bytes_max = 65536,
	    .proposed_max = 1000,
	    .cache_bytes_max = 65536};
}

static void drop_log(struct rig_member *m, uint64_t from)
{
	while (m->last >= from && m->last > m->base_index) {
		raft_data_release(m->log[m->last].data);
		m->log[m->last--].data = NULL;
	}
}

void rig_free(struct rig *g)
{
	rig_drop_all(g);
	for (uint64_t id = 1; id <= RIG_MEMBERS_MAX; id++) {
		raft_free(g->m[id].raft);
		drop_log(&g->m[id], 0);
	}
}

struct raft_config rig_voters(uint32_t n)
{
	struct raft_config c = {0};
	for (uint32_t i = 1; i <= n; i++)
		raft_config_add(&c, i, true);
	return c;
}

struct raft_data *rig_text(const char *text)
{
	return raft_data_copy(text, strlen(text));
}

/* ---- disks ----------------------------------------------------------------------------------- */

static void put(struct rig_member *m, const struct raft_entry *e)
{
	ck_assert_uint_eq(e->index, m->last + 1);
	ck_assert_uint_lt(e->index, RIG_LOG_MAX);
	m->log[e->index] = *e;
	raft_data_hold(e->data);
	m->last = e->index;
}

void rig_log(struct rig *g, uint64_t id, uint64_t term, const char *text)
{
	struct rig_member *m = &g->m[id];
	struct raft_entry e = {
	    m->last + 1, term, text ? RAFT_ENTRY_DATA : RAFT_ENTRY_NOOP, text ? rig_text(text) : NULL};
	put(m, &e);
	raft_data_release(e.data);
	if (term > m->term)
		m->term = term;
}

void rig_log_config(struct rig *g, uint64_t id, uint64_t term, const struct raft_config *c)
{
	uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
	struct rig_member *m = &g->m[id];
	struct raft_entry e = {
	    m->last + 1, term, RAFT_ENTRY_CONFIG, raft_data_copy(bytes, raft_config_encode(c, bytes))};
	put(m, &e);
	raft_data_release(e.data);
	if (term > m->term)
		m->term = term;
}

void rig_found(struct rig *g, uint64_t id, const struct raft_config *c)
{
	rig_log_config(g, id, 1, c);
}

static int read_entries(void *arg, uint64_t first, uint64_t last, size_t bytes_max, struct raft_entry *out,
    size_t room, size_t *ret_count)
{
	struct rig_member *m = arg;
	size_t bytes = 0, n = 0;
	if (m->storage_broken)
		return RAFT_ESTORAGE;
	ck_assert_uint_gt(first, m->base_index);
	ck_assert_uint_le(last, m->last);
	for (uint64_t i = first; i <= last && n < room; i++) {
		bytes += m->log[i].data ? m->log[i].data->len : 0;
		if (n && bytes > bytes_max)
			break;
		out[n] = m->log[i];
		raft_data_hold(out[n++].data);
	}
	*ret_count = n;
	return 0;
}

struct raft *rig_start(struct rig *g, uint64_t id)
{
	static struct raft_term_start terms[RIG_LOG_MAX];
	static struct raft_entry configs[RIG_LOG_MAX];
	struct rig_member *m = &g->m[id];
	raft_free(m->raft);
	m->raft = NULL;
	m->writing = false;
	struct raft_start s = {.term = m->term,
	    .vote = m->vote,
	    .base_index = m->base_index,
	    .base_term = m->base_term,
	    .base_config = m->base_config,
	    .last = m->last,
	    .terms = terms,
	    .configs = configs,
	    .applied = m->state_void || m->applied < m->base_index ? m->base_index : m->applied,
	    .state_void = m->state_void};
	m->applied = s.applied;
	for (uint64_t i = m->base_index + 1; i <= m->last; i++) {
		if (i == m->base_index + 1 || m->log[i].term != m->log[i - 1].term)
			terms[s.term_count++] = (struct raft_term_start){i, m->log[i].term};
		if (m->log[i].kind == RAFT_ENTRY_CONFIG)
			configs[s.config_count++] = m->log[i];
	}
	struct raft_options o = g->options;
	o.id = id;
	o.seed += id;
	o.storage = (struct raft_storage){m, read_entries};
	ck_assert_int_eq(raft_new(&o, &s, &m->raft), 0);
	return m->raft;
}

void rig_group(struct rig *g, uint32_t n)
{
	struct raft_config c = rig_voters(n);
	rig_make(g);
	for (uint64_t id = 1; id <= n; id++) {
		rig_found(g, id, &c);
		rig_start(g, id);
	}
}

bool rig_write_begin(struct rig *g, uint64_t id)
{
	struct rig_member *m = &g->m[id];
	if (!m->writing)
		m->writing = raft_write_begin(m->raft, 1 << 20, 1000, &m->write);
	return m->writing;
}

void rig_write_end(struct rig *g, uint64_t id)
{
	struct rig_member *m = &g->m[id];
	const struct raft_write *w = &m->write;
	ck_assert(m->writing);
	if (w->reset) {
		drop_log(m, 0);
		m->base_index = m->last = w->base_index;
		m->base_term = w->base_term;
		m->base_config = w->base_config;
	}
	if (w->truncate_from) {
		ck_assert_uint_gt(w->truncate_from, m->base_index);
		drop_log(m, w->truncate_from);
	}
	for (size_t i = 0; i < w->entry_count; i++)
		put(m, &w->entries[i]);
	if (w->hard_state) {
		ck_assert(w->term > m->term || (w->term == m->term && (!m->vote || m->vote == w->vote)));
		m->term = w->term;
		m->vote = w->vote;
	}
	m->writing = false;
	raft_written(m->raft);
}

void rig_write(struct rig *g, uint64_t id)
{
	for (int i = 0; i < TURNS_MAX && rig_write_begin(g, id); i++)
		rig_write_end(g, id);
}

/* ---- the box --------------------------------------------------------------------------------- */

void rig_collect(struct rig *g, uint64_t id)
{
	struct raft_message m;
	while (raft_pop_message(g->m[id].raft, &m)) {
		ck_assert_uint_eq(m.from, id);
		ck_assert_uint_lt(g->box_count, RIG_BOX_MAX);
		g->box[g->box_count++] = m;
	}
}

static size_t find(const struct rig *g, enum raft_message_kind kind, uint64_t from, uint64_t to)
{
	size_t i = 0;
	while (i < g->box_count && (g->box[i].kind != kind || g->box[i].from != from || g->box[i].to != to))
		i++;
	return i;
}

bool rig_has(const struct rig *g, enum raft_message_kind kind, uint64_t from, uint64_t to)
{
	return find(g, kind, from, to) < g->box_count;
}

struct raft_message rig_take(struct rig *g, enum raft_message_kind kind, uint64_t from, uint64_t to)
{
	size_t i = find(g, kind, from, to);
	ck_assert_msg(
	    i < g->box_count, "no message of kind %d from %u to %u", (int)kind, (unsigned)from, (unsigned)to);
	struct raft_message m = g->box[i];
	memmove(&g->box[i], &g->box[i + 1], (--g->box_count - i) * sizeof(m));
	return m;
}

void rig_drop_all(struct rig *g)
{
	for (size_t i = 0; i < g->box_count; i++)
		raft_message_clear(&g->box[i]);
	g->box_count = 0;
}

void rig_deliver(struct rig *g, struct raft_message *m)
{
	if (m->to <= RIG_MEMBERS_MAX && g->m[m->to].raft)
		ck_assert_int_eq(raft_step(g->m[m->to].raft, m), 0);
	raft_message_clear(m);
}

void rig_apply(struct rig *g, uint64_t id)
{
	struct rig_member *m = &g->m[id];
	struct raft_entry out[8];
	uint64_t to = raft_committed(m->raft);
	while (m->applied < to && !m->state_void) {
		size_t n;
		ck_assert_int_eq(raft_entries(m->raft, m->applied + 1, to, 4096, out, 8, &n), 0);
		for (size_t i = 0; i < n; i++) {
			ck_assert_uint_eq(out[i].index, m->applied + 1);
			ck_assert_uint_le(out[i].index, m->last); /* durable */
			m->applied++;
			raft_data_release(out[i].data);
		}
		raft_applied(m->raft, m->applied);
	}
}

void rig_compact(struct rig *g, uint64_t id, uint64_t index)
{
	struct rig_member *m = &g->m[id];
	raft_compact(m->raft, index);
	for (uint64_t i = m->base_index + 1; i <= index; i++) {
		struct raft_config c;
		if (m->log[i].kind == RAFT_ENTRY_CONFIG &&
		    !raft_config_decode(m->log[i].data->bytes, m->log[i].data->len, &c))
			m->base_config = c;
		raft_data_release(m->log[i].data);
		m->log[i].data = NULL;
	}
	m->base_term = m->log[index].term;
	m->base_index = index;
}

static bool turn(struct rig *g, uint64_t id)
{
	size_t had = g->box_count;
	bool wrote = rig_write_begin(g, id);
	if (wrote)
		rig_write_end(g, id);
	rig_collect(g, id);
	rig_apply(g, id);
	return wrote || g->box_count > had;
}

void rig_settle(struct rig *g)
{
	bool moved = true;
	for (int i = 0; i < TURNS_MAX && moved; i++) {
		moved = false;
		for (uint64_t id = 1; id <= RIG_MEMBERS_MAX; id++)
			moved |= g->m[id].raft && turn(g, id);
		while (g->box_count) {
			struct raft_message m = g->box[0];
			memmove(&g->box[0], &g->box[1], --g->box_count * sizeof(m));
			if (m.to <= RIG_MEMBERS_MAX && g->cut[m.from][m.to])
				raft_message_clear(&m);
			else
				rig_deliver(g, &m);
			moved = true;
		}
	}
	ck_assert_msg(!moved, "it does not come to rest");
}

void rig_tick(struct rig *g, uint64_t id, uint32_t n)
{
	while (n--)
		raft_tick(g->m[id].raft);
}

void rig_elect(struct rig *g, uint64_t id)
{
	raft_campaign(g->m[id].raft);
	rig_settle(g);
	ck_assert(raft_is_leader(g->m[id].raft));
}

void rig_isolate(struct rig *g, uint64_t id, bool cut)
{
	for (uint64_t other = 1; other <= RIG_MEMBERS_MAX; other++)
		if (other != id)
			g->cut[id][other] = g->cut[other][id] = cut;
}

/* ---- by hand --------------------------------------------------------------------------------- */

int rig_say(struct rig *g, struct raft_message m)
{
	return raft_step(g->m[m.to].raft, &m);
}

int rig_append(struct rig *g, uint64_t from, uint64_t to, uint64_t term, uint64_t index, uint64_t log_term,
    uint64_t commit, uint64_t entry_term, size_t count)
{
	struct raft_message m = {.kind = RAFT_APPEND_ENTRIES,
	    .from = from,
	    .to = to,
	    .term = term,
	    .index = index,
	    .log_term = log_term,
	    .commit = commit,
	    .entry_count = count};
	if (count) {
		m.entries = calloc(count, sizeof(*m.entries));
		ck_assert_ptr_nonnull(m.entries);
	}
	for (size_t i = 0; i < count; i++)
		m.entries[i] =
		    (struct raft_entry){index + 1 + i, entry_term, RAFT_ENTRY_DATA, rig_text("by hand")};
	int rc = raft_step(g->m[to].raft, &m);
	raft_message_clear(&m);
	return rc;
}

int rig_accept(struct rig *g, uint64_t from, uint64_t to, uint64_t term, uint64_t index)
{
	return rig_say(
	    g, (struct raft_message){
		   .kind = RAFT_APPEND_ENTRIES_RESULT, .from = from, .to = to, .term = term, .index = index});
}

int rig_grant(struct rig *g, uint64_t from, uint64_t to, uint64_t term, bool pre)
{
	return rig_say(g, (struct raft_message){.kind = pre ? RAFT_PRE_VOTE_RESULT : RAFT_REQUEST_VOTE_RESULT,
			      .from = from,
			      .to = to,
			      .term = term});
}

void rig_lead_alone(struct rig *g, uint64_t id, const uint64_t *voters, size_t n)
{
	struct raft *r = g->m[id].raft;
	raft_campaign(r);
	uint64_t term = raft_term(r) + 1;
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(rig_grant(g, voters[i], id, term, true), 0);
	rig_write(g, id);
	ck_assert_uint_eq(raft_term(r), term);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(rig_grant(g, voters[i], id, term, false), 0);
	ck_assert(raft_is_leader(r));
	rig_write(g, id);
	rig_collect(g, id);
}

uint64_t rig_propose(struct rig *g, uint64_t id, const char *text)
{
	uint64_t index;
	ck_assert_int_eq(raft_propose(g->m[id].raft, rig_text(text), false, &index), 0);
	return index;
}

struct raft_status rig_status(const struct rig *g, uint64_t id)
{
	struct raft_status s;
	raft_status(g->m[id].raft, &s);
	return s;
}
