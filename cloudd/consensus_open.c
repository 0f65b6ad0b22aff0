/* The start: the log environment read and checked against the state, and a raft made of each group held. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/consensus_internal.h"
#include "cloudd/node.h"
#include "common/buf.h"
#include "common/err.h"

/* What one group's log holds, for raft_start. */
struct contents {
	struct raft_term_start *terms;
	size_t term_count, term_cap;
	struct raft_entry *configs;
	size_t config_count, config_cap;
};

const char *group_text(uint32_t group, char room[32])
{
	struct buf b = {0};
	if (group == 0)
		buf_printf(&b, "the meta group");
	else
		buf_printf(&b, "shard %u", group - 1);
	strncpy(room, buf_cstr(&b), 31);
	room[31] = 0;
	buf_free(&b);
	return room;
}

/* ---- the node's records ---------------------------------------------------------------------------------------- */

static uint64_t little_endian(const uint8_t *p)
{
	struct rd r = rd_init(p, 8);
	return rd_u64(&r);
}

void put_node_record(struct buf *out, const struct topology *t, uint32_t self, uint64_t member)
{
	buf_u8(out, LOG_RECORD_VERSION);
	buf_str(out, t->clouds[self].name);
	buf_varint(out, t->shards);
	buf_u64(out, member);
}

static void make_node_record(struct consensus *c)
{
	buf_clear(&c->node_record);
	put_node_record(&c->node_record, c->topology, c->self, c->member);
}

/* 48 random bits, never all zero, then the node's place. */
uint64_t new_member(uint32_t self, const uint8_t random[8])
{
	uint64_t bits = little_endian(random) & ~((UINT64_C(1) << CONSENSUS_NODE_BITS) - 1);
	return (bits ? bits : UINT64_C(1) << CONSENSUS_NODE_BITS) | self;
}

static int check_node_record(struct consensus *c, struct bytes value, char **ret_why)
{
	struct rd r = rd_init(value.p, value.n);
	uint8_t version = rd_u8(&r);
	if (!r.err && version != LOG_RECORD_VERSION) {
		*ret_why = xasprintf("the data were written by another version of weir: the log is of format %u, this program "
		                     "reads format %u; start with an empty data folder, or with that version",
		    version, LOG_RECORD_VERSION);
		return WEIR_EVERSION;
	}
	char *name = rd_str(&r, NAME_MAX_BYTES);
	uint64_t shards = rd_varint(&r);
	uint64_t member = rd_u64(&r);
	int rc = rd_finish(&r);
	if (rc) {
		*ret_why = xasprintf("the log's node record is not understood: %s", err_text(rc));
	} else if (strcmp(name, c->topology->clouds[c->self].name) != 0 || shards != c->topology->shards) {
		*ret_why = xasprintf("this data folder belongs to node %s of a cluster of %llu shards", name,
		    (unsigned long long)shards);
		rc = WEIR_EINVAL;
	} else if (member >> CONSENSUS_NODE_BITS == 0) {
		*ret_why = xasprintf("the log's node record holds no member number");
		rc = WEIR_ECORRUPT;
	}
	free(name);
	c->member = member;
	return rc;
}

static int load_node_record(struct consensus *c, struct kv_txn *txn, const uint8_t random[16], char **ret_why)
{
	struct bytes value;
	int rc = kv_get(txn, LOG_DB_NODE, bytes_of(LOG_KEY_NODE, strlen(LOG_KEY_NODE)), &value);
	if (!rc) {
		rc = check_node_record(c, value, ret_why);
		c->member_durable = true;
	} else if (rc == WEIR_ENOTFOUND) {
		c->member = new_member(c->self, random + 8);
		c->node_record_dirty = true;
		rc = 0;
	} else {
		*ret_why = xasprintf("the log's node record cannot be read: %s", err_text(rc));
	}
	return rc;
}

/* A node that was begun by its file, before it had the map, may have been at another place: nobody knows its number yet. */
static int take_place(struct consensus *c, const uint8_t random[16], char **ret_why)
{
	bool elsewhere = node_of(c->member) != c->self;
	for (uint32_t i = 0; elsewhere && i < c->group_count; i++) {
		if (!c->groups[i].has)
			continue;
		*ret_why = xasprintf("this data folder belongs to a node at another place in the topology's list: %u, not %u; a node "
		                     "that was removed and added again starts with an empty one",
		    node_of(c->member) + 1, c->self + 1);
		return WEIR_EINVAL;
	}
	if (elsewhere) {
		c->member = new_member(c->self, random + 8);
		c->member_durable = false;
		c->node_record_dirty = true;
	}
	make_node_record(c);
	return 0;
}

static int load_cluster_id(struct consensus *c, struct kv_txn *txn, char **ret_why)
{
	struct bytes value;
	int rc = kv_get(txn, LOG_DB_NODE, bytes_of(LOG_KEY_CLUSTER, strlen(LOG_KEY_CLUSTER)), &value);
	if (rc == WEIR_ENOTFOUND)
		return 0;
	if (rc == WEIR_ECORRUPT || (!rc && value.n != CLUSTER_ID_BYTES))
		return 0; /* it is learnt again, as by a new node */
	if (rc) {
		*ret_why = xasprintf("the cluster id in the log cannot be read: %s", err_text(rc));
		return rc;
	}
	memcpy(c->id, value.p, CLUSTER_ID_BYTES);
	c->has_id = true;
	return 0;
}

/* ---- hard states ------------------------------------------------------------------------------------------------ */

static int take_hard_state(struct consensus *c, struct bytes key, struct bytes value, char **ret_why)
{
	struct rd r = rd_init(key.p + 1, key.n - 1);
	uint32_t group = rd_be32(&r);
	struct log_group state;
	struct raft_config config;
	int rc = rd_finish(&r);
	if (!rc)
		rc = log_group_decode(value, &state);
	if (!rc && state.config_len && raft_config_decode(state.config, state.config_len, &config))
		rc = WEIR_ECORRUPT;
	if (rc)
		return rc;
	bool held = group < c->group_count && (c->groups[group].placed || c->topology->map_version);
	if (!held) {
		char room[32];
		*ret_why = xasprintf("this node's log holds %s, which the topology places on another node; "
		                     "a file does not move it: start with the one that this cluster was begun with, and "
		                     "change that with weirctl apply",
		    group_text(group, room));
		return WEIR_EINVAL;
	}
	c->held_count += !c->groups[group].held;
	c->groups[group].held = true;
	c->groups[group].disk = state;
	c->groups[group].has = true;
	return 0;
}

/* Of all groups; one of a group that the topology places elsewhere is an error: its data would be lost from sight. */
static int load_hard_states(struct consensus *c, struct kv_txn *txn, char **ret_why)
{
	struct kv_cursor *cursor;
	int rc = kv_cursor_open(txn, LOG_DB_NODE, &cursor);
	if (rc)
		return rc;
	uint8_t prefix = LOG_KEY_GROUP;
	struct bytes key, value;
	rc = kv_cursor_seek(cursor, bytes_of(&prefix, 1), &key, &value);
	while (!rc && key.n && key.p[0] == prefix) {
		rc = take_hard_state(c, key, value, ret_why);
		if (!rc)
			rc = kv_cursor_next(cursor, &key, &value);
	}
	kv_cursor_close(cursor);
	if (rc == WEIR_ENOTFOUND)
		rc = 0;
	if (rc && !*ret_why)
		*ret_why = xasprintf("the hard state of a group cannot be read: %s", err_text(rc));
	return rc;
}

/* ---- entries ------------------------------------------------------------------------------------------------------ */

static void clear_contents(struct contents *s)
{
	for (size_t i = 0; i < s->config_count; i++)
		raft_data_release(s->configs[i].data);
	free(s->configs);
	free(s->terms);
	*s = (struct contents){0};
}

static void note_term(struct contents *s, uint64_t index, uint64_t term)
{
	if (s->term_count && s->terms[s->term_count - 1].term == term)
		return;
	if (s->term_count == s->term_cap) {
		s->term_cap = s->term_cap ? s->term_cap * 2 : 16;
		s->terms = xrealloc(s->terms, s->term_cap * sizeof(*s->terms));
	}
	s->terms[s->term_count++] = (struct raft_term_start){.index = index, .term = term};
}

static void note_config(struct contents *s, uint64_t index, uint64_t term, struct bytes data)
{
	if (s->config_count == s->config_cap) {
		s->config_cap = s->config_cap ? s->config_cap * 2 : 4;
		s->configs = xrealloc(s->configs, s->config_cap * sizeof(*s->configs));
	}
	s->configs[s->config_count++] = (struct raft_entry){.index = index, .term = term, .kind = RAFT_ENTRY_CONFIG,
	    .data = raft_data_copy(data.p, data.n)};
}

struct log_position {
	uint64_t index, term;
};

/* One entry behind `before`. At and below the base are left-overs: they only have to be in order. */
static int scan_entry(struct group *g, struct bytes key, struct bytes value, struct log_position *before,
    struct contents *out, char **ret_why)
{
	struct rd k = rd_init(key.p, key.n), v = rd_init(value.p, value.n);
	uint64_t index = rd_be64(&k), term = rd_u64(&v);
	uint8_t kind = rd_u8(&v);
	struct bytes data = bytes_of(v.p, rd_left(&v));
	struct raft_config config;
	char room[32];
	bool first = before->index == 0, fits = first ? index && index <= g->disk.base_index + 1 : index == before->index + 1;
	if (rd_finish(&k) || v.err || !fits) {
		*ret_why = xasprintf("the log of %s has a gap or a foreign record: %llu is followed by %llu",
		    group_text(g->number, room), (unsigned long long)(first ? g->disk.base_index : before->index),
		    (unsigned long long)index);
		return WEIR_ECORRUPT;
	}
	bool above = index > g->disk.base_index;
	if (term < before->term || term > g->disk.term || (above && term < g->disk.base_term)) {
		*ret_why = xasprintf("the log of %s is out of order at entry %llu: term %llu", group_text(g->number, room),
		    (unsigned long long)index, (unsigned long long)term);
		return WEIR_ECORRUPT;
	}
	if (kind < RAFT_ENTRY_DATA || kind > RAFT_ENTRY_CONFIG ||
	    (kind == RAFT_ENTRY_CONFIG && raft_config_decode(data.p, data.n, &config))) {
		*ret_why = xasprintf("entry %llu in the log of %s is not understood", (unsigned long long)index,
		    group_text(g->number, room));
		return WEIR_ECORRUPT;
	}
	if (above)
		note_term(out, index, term);
	if (above && kind == RAFT_ENTRY_CONFIG)
		note_config(out, index, term, data);
	g->log_bytes += data.n;
	*before = (struct log_position){index, term};
	return 0;
}

/* One whose value does not read, behind `before`, where `upto` and what is below is not needed any more. */
static bool skip_entry(struct group *g, struct bytes key, struct log_position *before, uint64_t upto)
{
	struct rd k = rd_init(key.p, key.n);
	uint64_t index = rd_be64(&k);
	if (rd_finish(&k) || !index || index > upto || (before->index && index != before->index + 1))
		return false;
	before->index = index;
	g->unread = index;
	g->c->counters.log_unread++;
	return true;
}

static int scan_entries(struct group *g, struct kv_cursor *cursor, uint64_t applied, struct contents *out, char **ret_why)
{
	struct bytes key, value;
	struct log_position before = {0};
	int rc = kv_cursor_first(cursor, &key, &value);
	uint64_t unneeded = applied > g->disk.base_index ? applied : g->disk.base_index;
	g->removed = g->disk_last = g->disk.base_index;
	while (!rc || rc == WEIR_ECORRUPT) {
		bool first = before.index == 0;
		if (!rc)
			rc = scan_entry(g, key, value, &before, out, ret_why);
		else if (skip_entry(g, key, &before, unneeded))
			rc = 0;
		if (rc)
			break;
		if (first)
			g->removed = before.index - 1;
		rc = kv_cursor_next(cursor, &key, &value);
	}
	char room[32];
	if (rc != WEIR_ENOTFOUND) {
		if (!*ret_why)
			*ret_why = xasprintf("the log of %s cannot be read after entry %llu: %s", group_text(g->number, room),
		    (unsigned long long)before.index, err_text(rc));
		return rc;
	}
	if (before.index && before.index < g->disk.base_index) { /* left-overs go from the beginning */
		*ret_why = xasprintf("the log of %s has a gap: %llu is followed by nothing", group_text(g->number, room),
		    (unsigned long long)before.index);
		return WEIR_ECORRUPT;
	}
	if (before.index > g->disk_last)
		g->disk_last = before.index;
	return 0;
}

static uint64_t term_of(const struct group *g, const struct contents *s, uint64_t index)
{
	uint64_t term = index == g->disk.base_index ? g->disk.base_term : 0;
	for (size_t i = 0; i < s->term_count && s->terms[i].index <= index; i++)
		term = s->terms[i].term;
	return term;
}

/* ---- the log and the state ---------------------------------------------------------------------------------------- */

static void set_base(struct group *g, uint64_t applied, uint64_t term, struct bytes config)
{
	g->disk.base_index = applied;
	g->disk.base_term = term;
	memcpy(g->disk.config, config.p, config.n);
	g->disk.config_len = config.n;
}

/* Where no other replica is, nobody can take this node's new number in. */
static void be_alone(struct group *g)
{
	struct raft_config config = {0};
	raft_config_add(&config, g->c->member, true);
	g->disk.config_len = raft_config_encode(&config, g->disk.config);
}

/* The log begins behind the state's head now: a snapshot was installed and the log had no time to follow, or it is a new one. */
static int start_behind_state(struct group *g, uint64_t applied, uint64_t term, struct bytes config,
    struct contents *s, char **ret_why)
{
	struct raft_config decoded;
	char room[32];
	if (config.n > sizeof(g->disk.config) || raft_config_decode(config.p, config.n, &decoded)) {
		*ret_why = xasprintf("the state of %s has no configuration", group_text(g->number, room));
		return WEIR_ECORRUPT;
	}
	clear_contents(s);
	set_base(g, applied, term, config);
	g->disk_last = g->removed = applied;
	if (g->placed && g->c->node_record_dirty && topology_replicas(g->c->topology, g->number) == 1)
		be_alone(g);
	if (term > g->disk.term) {
		g->disk.term = term;
		g->disk.vote = RAFT_NOBODY;
	}
	g->log_bytes = 0;
	g->reset_due = true;
	return 0;
}

/* Its state was lost, or set aside: another replica has it. */
static int lose_state(struct group *g, struct apply *apply, char **ret_why)
{
	char room[32];
	int rc = apply_void(apply, g->number);
	if (rc)
		*ret_why = xasprintf("the state of %s cannot be marked as lost: %s", group_text(g->number, room), err_text(rc));
	g->is_void = true;
	g->c->counters.damaged++;
	return rc;
}

static int join_state(struct group *g, struct apply *apply, struct contents *s, char **ret_why)
{
	struct bytes config;
	uint64_t term = 0, applied = apply ? apply_applied(apply, g->number, &term) : 0;
	if (apply)
		apply_group_start(apply, g->number, &config, &g->is_void);
	else
		g->is_void = g->has;
	bool ahead = applied > g->disk_last || (applied > g->disk.base_index && term_of(g, s, applied) != term);
	int rc = 0;
	if (!g->is_void && ahead)
		rc = start_behind_state(g, applied, term, config, s, ret_why);
	else if (!g->is_void && applied < g->disk.base_index)
		rc = lose_state(g, apply, ret_why);
	if (rc)
		return rc;
	if (g->is_void)
		applied = 0;
	g->applied = g->handed = g->reported = g->is_void ? g->disk.base_index : applied;
	g->state_durable = g->is_void ? 0 : applied;
	g->has |= applied || g->is_void;
	g->open_last = g->disk_last;
	return 0;
}

/* ---- rafts ---------------------------------------------------------------------------------------------------------- */

/* Well spread seeds from one number (the finalizer of splitmix64). */
static uint64_t seed_of(const struct group *g)
{
	uint64_t z = g->c->seed + (g->number + 1) * UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

int group_make_raft(struct group *g, struct raft_start *start)
{
	const struct consensus *c = g->c;
	size_t cache = CONSENSUS_CACHE_BYTES / (c->held_count ? c->held_count : 1);
	struct raft_options o = {.id = c->member,
	    .seed = seed_of(g),
	    .election_ticks = CONSENSUS_ELECTION_TICKS,
	    .heartbeat_ticks = CONSENSUS_HEARTBEAT_TICKS,
	    .priority_ticks = g->rank * CONSENSUS_PRIORITY_TICKS,
	    .entry_bytes_max = ENTRY_MAX,
	    .message_bytes_max = CONSENSUS_MESSAGE_BYTES,
	    .inflight_bytes_max = CONSENSUS_INFLIGHT_BYTES,
	    .inflight_messages_max = CONSENSUS_INFLIGHT_MESSAGES,
	    .proposed_bytes_max = CONSENSUS_GROUP_BYTES_MAX,
	    .proposed_max = CONSENSUS_GROUP_ENTRIES_MAX,
	    .cache_bytes_max = cache < CONSENSUS_CACHE_GROUP_BYTES ? cache : CONSENSUS_CACHE_GROUP_BYTES,
	    .storage = {.arg = g, .entries = log_read}};
	start->term = g->disk.term;
	start->vote = g->disk.vote;
	start->base_index = g->disk.base_index;
	start->base_term = g->disk.base_term;
	if (g->disk.config_len)
		(void)raft_config_decode(g->disk.config, g->disk.config_len, &start->base_config); /* checked when it was read */
	return raft_new(&o, start, &g->raft);
}

/* Entries that do not read and are not needed: the log begins behind them, where the state is. */
static int scan_group(struct group *g, struct kv_cursor *cursor, const struct apply *apply, struct contents *out,
    char **ret_why)
{
	struct bytes config = {0};
	struct raft_config decoded;
	uint64_t term = 0, applied = apply ? apply_applied(apply, g->number, &term) : 0;
	bool is_void;
	uint64_t unread = g->c->counters.log_unread;
	if (apply)
		apply_group_start(apply, g->number, &config, &is_void);
	if (config.n > sizeof(g->disk.config) || !config.n || raft_config_decode(config.p, config.n, &decoded))
		applied = 0;
	int rc = scan_entries(g, cursor, applied, out, ret_why);
	if (rc || g->unread <= g->disk.base_index || applied > g->disk_last)
		return rc; /* a log that ends before the state is begun anew by join_state() */
	clear_contents(out);
	set_base(g, applied, term, config);
	g->base_moved = true;
	g->log_bytes = 0;
	g->c->counters.log_unread = unread; /* they are counted by the second look */
	return scan_entries(g, cursor, applied, out, ret_why);
}

int group_load(struct group *g, struct kv_txn *txn, struct apply *apply, char **ret_why)
{
	struct contents contents = {0};
	struct kv_cursor *cursor;
	char room[32];
	int rc = kv_cursor_open(txn, LOG_DB_GROUP(g->number), &cursor);
	if (rc)
		return rc;
	rc = scan_group(g, cursor, apply, &contents, ret_why);
	kv_cursor_close(cursor);
	if (!rc)
		rc = join_state(g, apply, &contents, ret_why);
	struct raft_start start = {.last = g->disk_last, .terms = contents.terms, .term_count = contents.term_count,
	    .configs = contents.configs, .config_count = contents.config_count, .applied = g->applied,
	    .state_void = g->is_void};
	if (!rc && group_make_raft(g, &start)) {
		*ret_why = xasprintf("the log of %s contradicts itself", group_text(g->number, room));
		rc = WEIR_ECORRUPT;
	}
	clear_contents(&contents);
	g->c->unfounded += !g->has;
	return rc;
}

/* ---- open ------------------------------------------------------------------------------------------------------------- */

static struct consensus *make(const struct topology *t, uint32_t self, struct kv *log, const uint8_t random[16],
    const struct consensus_io *io)
{
	struct consensus *c = xcalloc(1, sizeof(*c));
	c->topology = t;
	c->self = self;
	c->log = log;
	c->io = *io;
	c->seed = little_endian(random);
	c->truncate_max = LOG_JOB_TRUNCATES_MAX;
	c->append_max = LOG_JOB_ENTRIES_MAX;
	c->apply_max = APPLY_JOB_ENTRIES_MAX;
	c->ticks_awake = CONSENSUS_ELECTION_TICKS;
	c->group_count = topology_groups(t);
	c->groups = xcalloc(c->group_count, sizeof(*c->groups));
	c->job_groups = xcalloc(c->group_count, sizeof(*c->job_groups));
	c->info_has = xcalloc((c->group_count + 7) / 8, 1);
	c->info_leads = xcalloc(c->group_count, sizeof(*c->info_leads));
	c->peers = xcalloc(CLOUDS_MAX, sizeof(*c->peers));
	c->outgoing = xcalloc(CLOUDS_MAX, sizeof(*c->outgoing));
	c->name = xstrdup(t->clouds[self].name);
	for (size_t i = 0; i < CLOUDS_MAX; i++)
		c->peers[i].has = xcalloc((c->group_count + 7) / 8, 1);
	for (int i = 0; i < LIST_COUNT; i++)
		c->lists[i].numbers = xcalloc(c->group_count, sizeof(*c->lists[i].numbers));
	for (uint32_t i = 0; i < c->group_count; i++) {
		int rank = topology_rank(t, i, self);
		c->groups[i] = (struct group){.c = c, .number = i,
		    .rank = rank < 0 ? topology_replicas(t, i) : (uint32_t)rank, .placed = rank >= 0, .held = rank >= 0,
		    .announced = UINT64_MAX, .said_leader = -1};
		c->held_count += rank >= 0;
	}
	return c;
}

/* Left of groups that the map does not place here any more, and whose log was lost: held, so that they are dropped as any other. Else
 * they would be taken for new ones when they are placed here again, above a state that is there. */
static void hold_left_states(struct consensus *c, const struct apply *apply)
{
	for (uint32_t i = 0; c->topology->map_version && i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		struct bytes config;
		bool is_void;
		apply_group_start(apply, i, &config, &is_void);
		if (g->held || (!is_void && !apply_applied(apply, i, NULL)))
			continue;
		g->held = true;
		c->held_count++;
	}
}

int consensus_open(const struct topology *t, uint32_t self, struct kv *log, struct apply *apply,
    const uint8_t random[16], const struct consensus_io *io, struct consensus **ret_consensus, char **ret_why)
{
	struct consensus *c = make(t, self, log, random, io);
	char *why = NULL;
	struct kv_txn *txn = NULL;
	int rc = kv_begin(log, false, &txn);
	if (!rc)
		rc = load_node_record(c, txn, random, &why);
	if (!rc)
		rc = load_cluster_id(c, txn, &why);
	if (!rc)
		rc = load_hard_states(c, txn, &why);
	if (!rc)
		rc = take_place(c, random, &why);
	if (!rc)
		hold_left_states(c, apply);
	for (uint32_t i = 0; !rc && i < c->group_count; i++) {
		if (c->groups[i].held)
			rc = group_load(&c->groups[i], txn, apply, &why);
	}
	if (txn)
		kv_abort(txn);
	if (!rc)
		rc = apply_commit(apply); /* states that were lost */
	if (rc) {
		apply_abort(apply);
		*ret_why = why ? why : xasprintf("the log cannot be read: %s", err_text(rc));
		consensus_close(c);
		return rc;
	}
	*ret_consensus = c;
	return 0;
}
