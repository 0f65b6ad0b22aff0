#include "cloudd/consensus.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/node.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"

struct tail_entry {
	uint8_t *data;
	size_t len;
};

/* The indexes of a group never leave this order:
 * truncated <= state_durable <= applied <= handed <= durable <= logging <= last, but for the time after a full state
 * disk, when handed and applied go back to state_durable; and tail_first <= durable + 1. */
struct group {
	bool held;
	uint64_t term;
	uint64_t truncated;     /* highest index no longer in the log; durable with the hard state */
	uint64_t truncating;    /* asked for by the job under way */
	uint64_t state_durable; /* durable in the state environment */
	uint64_t applied;
	uint64_t reported;      /* highest index whose result was given to the caller */
	uint64_t handed;        /* given to apply jobs */
	uint64_t durable;       /* in the log environment: committed */
	uint64_t announced;     /* told to io.committed */
	uint64_t logging;       /* given to log jobs */
	uint64_t last;          /* proposed */
	uint64_t open_last;     /* the log's last at open */
	bool hard_state_dirty;
	/* entries tail_first..last, those not handed to apply yet: a ring */
	struct tail_entry *tail;
	size_t tail_cap, tail_head;
	uint64_t tail_first;
	size_t quota_bytes, quota_entries; /* proposed, not applied */
	struct buf scratch;
};

/* After a full disk a job does one thing only, and the two take turns until one works: removing entries takes some room
 * too, for copies of the pages above them and for the list of what it frees; the fewer, the less. Of both, less is tried
 * each time. */
enum log_turn { LOG_ANYTHING, LOG_TRUNCATES, LOG_APPENDS };

struct consensus {
	const struct topology *topology;
	struct kv *log;
	struct consensus_io io;
	struct group *groups;
	uint32_t group_count;
	uint32_t log_turn, apply_turn; /* the group that comes first in the next job */
	size_t quota_bytes;
	struct log_job *log_job;
	struct apply_job *apply_job;
	int64_t log_retry_ns, apply_retry_ns; /* monotonic; 0: not waiting */
	enum log_turn next_log; /* what the next log job may do; anything unless the disk was full */
	uint64_t truncate_max, append_max; /* entries that a job removes, and adds, at the most */
	bool has_id, id_dirty, id_writing;
	uint8_t id[CLUSTER_ID_BYTES];
	bool node_record_dirty, announced;
	struct buf node_record;
	char *failed;
	struct consensus_counters counters;
};

/* ---- open ---------------------------------------------------------------------------------------------------- */

static void encode_node_record(const struct topology *t, uint32_t self, struct buf *out)
{
	buf_u8(out, LOG_RECORD_VERSION);
	buf_str(out, t->clouds[self].name);
	buf_varint(out, t->shards);
}

static int check_node_record(struct consensus *c, struct kv_txn *txn, char **ret_why)
{
	struct bytes value;
	int rc = kv_get(txn, LOG_DB_NODE, bytes_of(LOG_KEY_NODE, strlen(LOG_KEY_NODE)), &value);
	if (rc == WEIR_ENOTFOUND) {
		c->node_record_dirty = true;
		return 0;
	}
	if (rc) {
		*ret_why = xasprintf("the log's node record cannot be read: %s", err_text(rc));
		return rc;
	}
	struct rd r = rd_init(value.p, value.n);
	uint8_t version = rd_u8(&r);
	char *name = rd_str(&r, NAME_MAX_BYTES);
	uint64_t shards = rd_varint(&r);
	rc = rd_finish(&r);
	if (!rc && version != LOG_RECORD_VERSION)
		rc = WEIR_EVERSION;
	if (rc) {
		*ret_why = xasprintf("the log's node record is not understood: %s", err_text(rc));
	} else if (value.n != c->node_record.len || memcmp(value.p, c->node_record.data, value.n) != 0) {
		*ret_why = xasprintf("this data folder belongs to node %s of a cluster of %llu shards", name,
		    (unsigned long long)shards);
		rc = WEIR_EINVAL;
	}
	free(name);
	return rc;
}

static int load_cluster_id(struct consensus *c, struct kv_txn *txn, char **ret_why)
{
	struct bytes value;
	int rc = kv_get(txn, LOG_DB_NODE, bytes_of(LOG_KEY_CLUSTER, strlen(LOG_KEY_CLUSTER)), &value);
	if (rc == WEIR_ENOTFOUND)
		return 0;
	if (!rc && value.n != CLUSTER_ID_BYTES)
		rc = WEIR_ECORRUPT;
	if (rc) {
		*ret_why = xasprintf("the cluster id in the log cannot be read: %s", err_text(rc));
		return rc;
	}
	memcpy(c->id, value.p, CLUSTER_ID_BYTES);
	c->has_id = true;
	return 0;
}

static const char *group_text(uint32_t group, char room[32])
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

/* Hard states of all groups; one of a group that the topology places elsewhere is an error: its data would be lost
 * from sight. */
static int load_hard_states(struct consensus *c, struct kv_txn *txn, char **ret_why)
{
	struct kv_cursor *cursor;
	int rc = kv_cursor_open(txn, LOG_DB_NODE, &cursor);
	if (rc)
		return rc;
	uint8_t prefix = LOG_KEY_GROUP;
	struct bytes key, value;
	char room[32];
	for (rc = kv_cursor_seek(cursor, bytes_of(&prefix, 1), &key, &value); !rc && key.n && key.p[0] == prefix;
	    rc = kv_cursor_next(cursor, &key, &value)) {
		struct rd r = rd_init(key.p + 1, key.n - 1);
		uint32_t group = rd_be32(&r);
		uint64_t term = 0, truncated = 0;
		rc = rd_finish(&r);
		if (!rc)
			rc = log_group_decode(value, &term, &truncated);
		if (rc)
			break;
		if (group >= c->group_count || !c->groups[group].held) {
			*ret_why = xasprintf("this node's log holds %s, which the topology places on another node; "
			                     "moving shards is not possible in this version",
			    group_text(group, room));
			rc = WEIR_EINVAL;
			break;
		}
		c->groups[group].term = term;
		c->groups[group].truncated = truncated;
	}
	kv_cursor_close(cursor);
	if (rc == WEIR_ENOTFOUND)
		rc = 0;
	if (rc && !*ret_why)
		*ret_why = xasprintf("the hard state of a group cannot be read: %s", err_text(rc));
	return rc;
}

static int scan_entries(struct group *g, uint32_t number, struct kv_cursor *cursor, char **ret_why)
{
	struct bytes key, value;
	uint64_t term_before = 0;
	char room[32];
	int rc = kv_cursor_first(cursor, &key, &value);
	for (; !rc; rc = kv_cursor_next(cursor, &key, &value)) {
		struct rd k = rd_init(key.p, key.n), v = rd_init(value.p, value.n);
		uint64_t index = rd_be64(&k), term = rd_u64(&v);
		if (rd_finish(&k) || v.err || index != g->last + 1) {
			*ret_why = xasprintf("the log of %s has a gap or a foreign record: %llu is followed by %llu",
			    group_text(number, room), (unsigned long long)g->last, (unsigned long long)index);
			return WEIR_ECORRUPT;
		}
		if (term < term_before || term > g->term) {
			*ret_why = xasprintf("the log of %s is out of order at entry %llu: term %llu",
			    group_text(number, room), (unsigned long long)index, (unsigned long long)term);
			return WEIR_ECORRUPT;
		}
		term_before = term;
		g->last = index;
	}
	if (rc == WEIR_ENOTFOUND)
		return 0;
	*ret_why = xasprintf("the log of %s cannot be read after entry %llu: %s", group_text(number, room),
	    (unsigned long long)g->last, err_text(rc));
	return rc;
}

static int load_group(struct consensus *c, struct kv_txn *txn, const struct apply *apply, uint32_t number,
    char **ret_why)
{
	struct group *g = &c->groups[number];
	char room[32];
	g->last = g->truncated;
	struct kv_cursor *cursor;
	int rc = kv_cursor_open(txn, LOG_DB_GROUP(number), &cursor);
	if (rc)
		return rc;
	rc = scan_entries(g, number, cursor, ret_why);
	kv_cursor_close(cursor);
	if (rc)
		return rc;
	uint64_t term_unused;
	g->applied = apply_applied(apply, number, &term_unused);
	if (g->applied > g->last || g->applied < g->truncated) {
		*ret_why = xasprintf("the log of %s holds entries %llu to %llu, but its state has applied %llu: the log and "
		                     "state folders do not belong together, or one of them was lost",
		    group_text(number, room), (unsigned long long)g->truncated + 1, (unsigned long long)g->last,
		    (unsigned long long)g->applied);
		return WEIR_ECORRUPT;
	}
	g->truncating = g->truncated;
	g->state_durable = g->handed = g->reported = g->applied;
	g->durable = g->logging = g->open_last = g->last;
	g->tail_first = g->last + 1;
	g->term++; /* each start is a new term: durable before the first entry that carries it */
	g->hard_state_dirty = true;
	return 0;
}

int consensus_open(const struct topology *t, uint32_t self, struct kv *log, const struct apply *apply,
    const struct consensus_io *io, struct consensus **ret_consensus, char **ret_why)
{
	struct consensus *c = xcalloc(1, sizeof(*c));
	char *why = NULL;
	c->topology = t;
	c->log = log;
	c->io = *io;
	c->truncate_max = LOG_JOB_TRUNCATES_MAX;
	c->append_max = LOG_JOB_ENTRIES_MAX;
	c->group_count = t->shards + 1;
	c->groups = xcalloc(c->group_count, sizeof(*c->groups));
	c->groups[0].held = self == META_NODE;
	for (uint32_t s = 0; s < t->shards; s++)
		c->groups[s + 1].held = topology_shard_node(t, s) == self;
	encode_node_record(t, self, &c->node_record);

	struct kv_txn *txn = NULL;
	int rc = kv_begin(log, false, &txn);
	if (!rc)
		rc = check_node_record(c, txn, &why);
	if (!rc)
		rc = load_cluster_id(c, txn, &why);
	if (!rc)
		rc = load_hard_states(c, txn, &why);
	for (uint32_t g = 0; !rc && g < c->group_count; g++) {
		if (c->groups[g].held)
			rc = load_group(c, txn, apply, g, &why);
	}
	if (txn)
		kv_abort(txn);
	if (rc) {
		*ret_why = why ? why : xasprintf("the log cannot be read: %s", err_text(rc));
		consensus_close(c);
		return rc;
	}
	*ret_consensus = c;
	return 0;
}

void consensus_close(struct consensus *c)
{
	if (!c)
		return;
	log_job_free(c->log_job);
	apply_job_free(c->apply_job);
	for (uint32_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		for (uint64_t index = g->tail_first; g->tail_cap && index <= g->last; index++)
			free(g->tail[(g->tail_head + (index - g->tail_first)) % g->tail_cap].data);
		free(g->tail);
		buf_free(&g->scratch);
	}
	free(c->groups);
	buf_free(&c->node_record);
	free(c->failed);
	free(c);
}

/* ---- proposing ----------------------------------------------------------------------------------------------- */

bool consensus_holds(const struct consensus *c, uint32_t group)
{
	return group < c->group_count && c->groups[group].held;
}

static void tail_push(struct group *g, uint8_t *data, size_t len)
{
	size_t count = (size_t)(g->last + 1 - g->tail_first);
	if (count == g->tail_cap) {
		size_t cap = g->tail_cap ? g->tail_cap * 2 : 64;
		struct tail_entry *tail = xcalloc(cap, sizeof(*tail));
		for (size_t i = 0; i < count; i++)
			tail[i] = g->tail[(g->tail_head + i) % g->tail_cap];
		free(g->tail);
		g->tail = tail;
		g->tail_cap = cap;
		g->tail_head = 0;
	}
	g->tail[(g->tail_head + count) % g->tail_cap] = (struct tail_entry){data, len};
	g->last++;
}

static struct tail_entry *tail_at(const struct group *g, uint64_t index)
{
	return &g->tail[(g->tail_head + (size_t)(index - g->tail_first)) % g->tail_cap];
}

static int propose(struct consensus *c, uint32_t group, const struct entry *e, size_t reserve, uint64_t *ret_index)
{
	weir_assert(consensus_holds(c, group));
	struct group *g = &c->groups[group];
	if (c->failed)
		return WEIR_ECLOSED;
	buf_clear(&g->scratch);
	entry_encode(e, &g->scratch);
	size_t len = g->scratch.len;
	if (len > ENTRY_MAX)
		return WEIR_ETOOBIG;
	size_t entries_reserve = reserve ? CONSENSUS_GROUP_ENTRIES_MAX / 8 : 0;
	if (g->quota_bytes + len + reserve > CONSENSUS_GROUP_BYTES_MAX ||
	    g->quota_entries + 1 + entries_reserve > CONSENSUS_GROUP_ENTRIES_MAX ||
	    c->quota_bytes + len + reserve > CONSENSUS_BYTES_MAX) {
		c->counters.busy++;
		return WEIR_EBUSY;
	}
	/* The scratch buffer becomes the entry: encoded once, copied never. */
	tail_push(g, g->scratch.data, len);
	g->scratch = (struct buf){0};
	g->quota_bytes += len;
	g->quota_entries++;
	c->quota_bytes += len;
	c->counters.proposed++;
	c->counters.proposed_bytes += len;
	*ret_index = g->last;
	return 0;
}

int consensus_propose(struct consensus *c, uint32_t group, const struct entry *e, uint64_t *ret_index)
{
	return propose(c, group, e, CONSENSUS_RESERVE_BYTES, ret_index);
}

int consensus_propose_own(struct consensus *c, uint32_t group, const struct entry *e, uint64_t *ret_index)
{
	return propose(c, group, e, 0, ret_index);
}

/* ---- the log job --------------------------------------------------------------------------------------------- */

static void fail(struct consensus *c, const char *what, int rc)
{
	if (!c->failed)
		c->failed = xasprintf("%s: %s", what, err_text(rc));
}

static void gather_appends(struct consensus *c, struct log_job *job)
{
	for (uint32_t i = 0; i < c->group_count; i++) {
		uint32_t number = (c->log_turn + i) % c->group_count;
		struct group *g = &c->groups[number];
		while (g->held && g->logging < g->last) {
			const struct tail_entry *e = tail_at(g, g->logging + 1);
			if (job->append_count == c->append_max || job->append_bytes + e->len > LOG_JOB_BYTES_MAX) {
				c->log_turn = number;
				return;
			}
			g->logging++;
			log_job_append(job, number, g->logging, g->term, bytes_of(e->data, e->len));
		}
	}
}

/* Removes what state holds durably: where enough has gathered, or all there is when room is short. */
static void gather_truncates(struct consensus *c, struct log_job *job, bool all)
{
	uint64_t room = c->truncate_max;
	for (uint32_t i = 0; i < c->group_count && room; i++) {
		struct group *g = &c->groups[i];
		uint64_t n = g->held ? g->state_durable - g->truncated : 0;
		if (n == 0 || (!all && n < CONSENSUS_TRUNCATE_MIN))
			continue;
		n = n < room ? n : room;
		g->truncating = g->truncated + n;
		log_job_truncate(job, i, g->truncated + 1, g->truncating);
		g->hard_state_dirty = true;
		room -= n;
	}
}

static void gather_records(struct consensus *c, struct log_job *job)
{
	if (c->node_record_dirty)
		log_job_record(job, bytes_of(LOG_KEY_NODE, strlen(LOG_KEY_NODE)),
		    bytes_of(c->node_record.data, c->node_record.len));
	if (c->id_dirty) {
		log_job_record(job, bytes_of(LOG_KEY_CLUSTER, strlen(LOG_KEY_CLUSTER)), bytes_of(c->id, CLUSTER_ID_BYTES));
		c->id_writing = true;
	}
	for (uint32_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		if (g->held && g->hard_state_dirty)
			log_job_group(job, i, g->term, g->truncating);
	}
}

static void start_log_job(struct consensus *c, int64_t mono_ns)
{
	if (c->log_job || (c->log_retry_ns && mono_ns < c->log_retry_ns))
		return;
	c->log_retry_ns = 0;
	struct log_job *job = log_job_new();
	if (c->next_log != LOG_APPENDS)
		gather_truncates(c, job, c->next_log == LOG_TRUNCATES);
	if (c->next_log != LOG_TRUNCATES || !job->truncate_count)
		gather_appends(c, job);
	gather_records(c, job);
	if (!job->append_count && !job->truncate_count && !job->record_count) {
		log_job_free(job);
		return;
	}
	c->log_job = job;
	c->io.log_write(c->io.arg, job);
}

static void announce(struct consensus *c)
{
	for (uint32_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		if (!g->held || (c->announced && g->announced == g->durable))
			continue;
		g->announced = g->durable;
		c->io.committed(c->io.arg, i, g->durable);
	}
	c->announced = true;
}

static void log_job_done(struct consensus *c, const struct log_job *job)
{
	for (uint32_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		g->durable = g->logging;
		c->counters.truncated += g->truncating - g->truncated;
		g->truncated = g->truncating;
		g->hard_state_dirty = false;
	}
	c->node_record_dirty = false;
	if (c->id_writing)
		c->has_id = true, c->id_dirty = c->id_writing = false;
	/* After a full disk: all that can be freed is, then come the entries, at once. */
	if (c->next_log == LOG_APPENDS || !job->truncate_count)
		c->next_log = LOG_ANYTHING;
	if (job->truncate_count && c->truncate_max < LOG_JOB_TRUNCATES_MAX)
		c->truncate_max *= 2;
	if (job->append_count)
		c->append_max = c->append_max < LOG_JOB_ENTRIES_MAX / 2 ? c->append_max * 2 : LOG_JOB_ENTRIES_MAX;
	c->counters.log_jobs++;
}

static void log_job_was_full(struct consensus *c, const struct log_job *job, int64_t mono_ns)
{
	c->counters.log_full++;
	c->log_retry_ns = mono_ns + CONSENSUS_RETRY_MS * NS_PER_MS;
	bool only_truncated = job->truncate_count && !job->append_count;
	bool only_appended = job->append_count && !job->truncate_count;
	if (only_truncated && c->truncate_max > 1)
		c->truncate_max /= 2;
	if (only_appended && c->next_log != LOG_ANYTHING)
		c->append_max = (job->append_count + 1) / 2;
	c->next_log = only_truncated ? LOG_APPENDS : LOG_TRUNCATES;
}

static void log_job_undone(struct consensus *c)
{
	for (uint32_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		g->logging = g->durable;
		g->truncating = g->truncated;
	}
	c->id_writing = false;
}

void consensus_log_written(struct consensus *c, struct log_job *job, int rc, int64_t mono_ns)
{
	weir_assert(job == c->log_job);
	c->log_job = NULL;
	if (!rc) {
		log_job_done(c, job);
	} else {
		log_job_undone(c);
		if (rc == WEIR_EFULL)
			log_job_was_full(c, job, mono_ns);
		else
			fail(c, "the log cannot be written", rc);
	}
	log_job_free(job);
	if (!rc)
		announce(c);
}

/* ---- the apply job ------------------------------------------------------------------------------------------- */

static size_t apply_room(const struct apply_job *job, size_t taken)
{
	if (job->bytes >= APPLY_JOB_BYTES_MAX || taken >= APPLY_JOB_GROUP_ENTRIES_MAX)
		return 0;
	return APPLY_JOB_ENTRIES_MAX - job->count;
}

/* What is in the log and not in memory: after open, and after a full state disk. */
static int take_from_log(struct consensus *c, uint32_t number, struct apply_job *job, size_t *inout_taken)
{
	struct group *g = &c->groups[number];
	struct kv_txn *txn;
	int rc = kv_begin(c->log, false, &txn);
	if (rc)
		return rc;
	struct kv_cursor *cursor;
	rc = kv_cursor_open(txn, LOG_DB_GROUP(number), &cursor);
	if (rc) {
		kv_abort(txn);
		return rc;
	}
	struct buf seek = {0};
	buf_be64(&seek, g->handed + 1);
	struct bytes key, value;
	rc = kv_cursor_seek(cursor, bytes_of(seek.data, seek.len), &key, &value);
	while (!rc && g->handed + 1 < g->tail_first && apply_room(job, *inout_taken)) {
		struct rd k = rd_init(key.p, key.n), v = rd_init(value.p, value.n);
		uint64_t index = rd_be64(&k), term = rd_u64(&v);
		if (k.err || v.err || index != g->handed + 1) {
			rc = WEIR_ECORRUPT;
			break;
		}
		struct apply_item item = {.group = number, .index = index, .term = term, .len = rd_left(&v)};
		item.entry = xmalloc(item.len);
		memcpy(item.entry, v.p, item.len);
		apply_job_add(job, &item);
		g->handed++;
		(*inout_taken)++;
		c->counters.replayed++;
		if (g->handed + 1 < g->tail_first)
			rc = kv_cursor_next(cursor, &key, &value);
	}
	buf_free(&seek);
	kv_cursor_close(cursor);
	kv_abort(txn);
	return rc == WEIR_ENOTFOUND ? WEIR_ECORRUPT : rc;
}

static void take_from_tail(struct consensus *c, uint32_t number, struct apply_job *job, size_t *inout_taken)
{
	struct group *g = &c->groups[number];
	while (g->handed < g->durable && g->handed + 1 == g->tail_first && apply_room(job, *inout_taken)) {
		struct tail_entry *e = tail_at(g, g->tail_first);
		struct apply_item item = {.group = number, .index = g->tail_first, .term = g->term, .entry = e->data,
		    .len = e->len, .quota = e->len};
		apply_job_add(job, &item);
		*e = (struct tail_entry){0};
		g->tail_head = (g->tail_head + 1) % g->tail_cap;
		g->tail_first++;
		g->handed++;
		(*inout_taken)++;
	}
}

static int gather_apply(struct consensus *c, struct apply_job *job)
{
	for (uint32_t i = 0; i < c->group_count; i++) {
		uint32_t number = (c->apply_turn + i) % c->group_count;
		struct group *g = &c->groups[number];
		size_t taken = 0;
		if (!g->held || g->handed == g->durable)
			continue;
		if (g->handed + 1 < g->tail_first) {
			int rc = take_from_log(c, number, job, &taken);
			if (rc)
				return rc;
		}
		take_from_tail(c, number, job, &taken);
		if (g->handed < g->durable && apply_room(job, 0) == 0)
			break;
	}
	c->apply_turn = (c->apply_turn + 1) % c->group_count;
	return 0;
}

/* After a full state disk: all above what is durable is applied again. */
static void rewind_apply(struct consensus *c)
{
	for (uint32_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		g->handed = g->applied = g->state_durable;
	}
}

static void start_apply_job(struct consensus *c, int64_t mono_ns)
{
	if (c->apply_job || (c->apply_retry_ns && mono_ns < c->apply_retry_ns))
		return;
	if (c->apply_retry_ns)
		rewind_apply(c);
	c->apply_retry_ns = 0;
	struct apply_job *job = apply_job_new();
	int rc = gather_apply(c, job);
	if (rc)
		fail(c, "the log cannot be read back", rc);
	if (rc || !job->count) {
		apply_job_free(job);
		return;
	}
	c->apply_job = job;
	c->io.apply(c->io.arg, job);
}

static void release_quota(struct consensus *c, const struct apply_job *job)
{
	for (size_t i = 0; i < job->count; i++) {
		const struct apply_item *item = &job->items[i];
		if (!item->quota)
			continue;
		struct group *g = &c->groups[item->group];
		g->quota_bytes -= item->quota;
		g->quota_entries--;
		c->quota_bytes -= item->quota;
	}
}

static void report_results(struct consensus *c, struct apply_job *job)
{
	for (size_t i = 0; i < job->done; i++) {
		const struct apply_item *item = &job->items[i];
		struct group *g = &c->groups[item->group];
		g->applied = item->index;
		if (item->index <= g->reported)
			continue;
		g->reported = item->index;
		c->counters.applied++;
		if (job->results[i].kind == 0)
			c->counters.undecodable++;
		c->io.applied(c->io.arg, &job->results[i], bytes_of(item->entry, item->len));
	}
}

void consensus_job_applied(struct consensus *c, struct apply_job *job, int rc, int64_t mono_ns)
{
	weir_assert(job == c->apply_job);
	c->apply_job = NULL;
	release_quota(c, job);
	if (!rc) {
		c->counters.apply_jobs++;
		report_results(c, job);
	} else if (rc == WEIR_EFULL) {
		c->counters.apply_full++;
		c->apply_retry_ns = mono_ns + CONSENSUS_RETRY_MS * NS_PER_MS;
	} else {
		fail(c, "the state cannot be written", rc);
	}
	apply_job_free(job);
}

void consensus_flush(struct consensus *c, int64_t mono_ns)
{
	if (c->failed)
		return;
	if (!c->announced)
		announce(c);
	start_log_job(c, mono_ns);
	if (!c->failed)
		start_apply_job(c, mono_ns);
}

void consensus_state_durable(struct consensus *c, uint32_t group, uint64_t index)
{
	if (!consensus_holds(c, group))
		return;
	struct group *g = &c->groups[group];
	if (index > g->state_durable && index <= g->durable)
		g->state_durable = index;
}

void consensus_state_aborted(struct consensus *c, int64_t mono_ns)
{
	c->counters.apply_full++;
	/* A job under way was handed out too early: it comes back with WEIR_EFULL. */
	if (!c->apply_job)
		c->apply_retry_ns = mono_ns + CONSENSUS_RETRY_MS * NS_PER_MS;
}

/* ---- asking --------------------------------------------------------------------------------------------------- */

bool consensus_replayed(const struct consensus *c, uint32_t group)
{
	return c->groups[group].reported >= c->groups[group].open_last;
}

uint64_t consensus_term(const struct consensus *c, uint32_t group)
{
	return c->groups[group].term;
}

uint64_t consensus_committed(const struct consensus *c, uint32_t group)
{
	return c->groups[group].durable;
}

uint64_t consensus_applied(const struct consensus *c, uint32_t group)
{
	return c->groups[group].applied;
}

uint64_t consensus_durable(const struct consensus *c, uint32_t group)
{
	return c->groups[group].state_durable;
}

const char *consensus_failed(const struct consensus *c)
{
	return c->failed;
}

bool consensus_full(const struct consensus *c)
{
	return c->log_retry_ns || c->apply_retry_ns;
}

const struct consensus_counters *consensus_counters(const struct consensus *c)
{
	return &c->counters;
}

bool consensus_cluster_id(const struct consensus *c, uint8_t ret_id[CLUSTER_ID_BYTES])
{
	if (c->has_id)
		memcpy(ret_id, c->id, CLUSTER_ID_BYTES);
	return c->has_id;
}

void consensus_keep_cluster_id(struct consensus *c, const uint8_t id[CLUSTER_ID_BYTES])
{
	weir_assert(!c->has_id);
	if (c->id_dirty)
		return;
	memcpy(c->id, id, CLUSTER_ID_BYTES);
	c->id_dirty = true;
}
