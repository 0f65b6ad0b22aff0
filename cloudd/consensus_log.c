/* Log jobs: what all groups want written, and what may be removed, in one durable transaction. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/consensus_internal.h"
#include "cloudd/node.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"

/* ---- what is written ------------------------------------------------------------------------------------------- */

static void take_part(struct group *g)
{
	struct consensus *c = g->c;
	if (g->in_job)
		return;
	g->in_job = true;
	g->next = g->disk;
	g->next_last = g->next_kept = g->disk_last;
	g->removing = g->removed;
	g->writing_bytes = 0;
	g->next_record = g->base_moved;
	c->job_groups[c->job_group_count++] = g->number;
}

static void set_base(struct group *g, uint64_t index, uint64_t term, const struct raft_config *config)
{
	g->next.base_index = index;
	g->next.base_term = term;
	_Static_assert(SNAPSHOT_CONFIG_MAX >= RAFT_CONFIG_BYTES_MAX, "a configuration fits into a record");
	g->next.config_len = raft_config_encode(config, g->next.config);
	g->next_record = true;
}

static void empty_log(struct group *g, struct log_job *job)
{
	log_job_suffix(job, g->number, 0);
	g->next_last = g->next_kept = g->removing = g->next.base_index;
	g->next_record = true;
}

static void append(struct group *g, struct log_job *job, const struct raft_entry *e)
{
	const struct raft_data *d = e->data;
	log_job_append(job, &(struct log_append){.group = g->number, .kind = (uint8_t)e->kind, .index = e->index,
				    .term = e->term, .entry = d ? bytes_of(d->bytes, d->len) : bytes_of("", 0)});
	g->writing_bytes += d ? d->len : 0;
	g->next_last = e->index;
}

static void gather_founding(struct group *g, struct log_job *job)
{
	struct raft_config config;
	if (!members_first(g, &config)) {
		g->founding = FOUND_NO;
		return;
	}
	take_part(g);
	uint8_t encoded[RAFT_CONFIG_BYTES_MAX];
	g->first = raft_data_copy(encoded, raft_config_encode(&config, encoded));
	struct raft_entry e = {.index = 1, .term = 1, .kind = RAFT_ENTRY_CONFIG, .data = g->first};
	append(g, job, &e);
	g->next.term = 1;
	g->next_record = true;
	g->founding = FOUND_WRITING;
}

static void gather_write(struct group *g, struct log_job *job, size_t bytes_max, size_t entries_max)
{
	struct raft_write w;
	if (!raft_write_begin(g->raft, bytes_max, entries_max, &w))
		return;
	take_part(g);
	g->raft_writing = true;
	if (w.reset) {
		set_base(g, w.base_index, w.base_term, &w.base_config);
		empty_log(g, job);
	}
	if (w.truncate_from) {
		log_job_suffix(job, g->number, w.truncate_from);
		g->next_last = w.truncate_from - 1;
		g->next_kept = g->next_last < g->next_kept ? g->next_last : g->next_kept;
	}
	for (size_t i = 0; i < w.entry_count; i++)
		append(g, job, &w.entries[i]);
	if (w.hard_state) {
		g->next.term = w.term;
		g->next.vote = w.vote;
		g->next_record = true;
	}
}

static void gather_writes(struct consensus *c, struct log_job *job)
{
	for (uint32_t n = c->lists[LIST_LOG].count; n; n--) {
		if (job->append_count >= c->append_max || job->append_bytes >= LOG_JOB_BYTES_MAX)
			return; /* the others come first next time */
		struct group *g = list_take(c, LIST_LOG);
		if (!g->raft)
			continue;
		if (g->reset_due) {
			take_part(g);
			empty_log(g, job);
		}
		if (g->founding == FOUND_WANTED)
			gather_founding(g, job);
		else if (g->founding == FOUND_NO)
			gather_write(g, job, LOG_JOB_BYTES_MAX - job->append_bytes, c->append_max - job->append_count);
	}
}

/* ---- what is removed ------------------------------------------------------------------------------------------- */

static uint64_t entries_in(const struct group *g, uint64_t bytes)
{
	uint64_t count = g->disk_last - g->removed, size = count ? g->log_bytes / count : 0;
	return bytes / (size ? size : 1);
}

/* A follower fetches this leader's state: what was written since must be there when it has it, or it fetches for ever. Not one that has no
 * room: it begins only when it has, maybe in days, and what is kept for it would fill this disk, too. */
static bool is_fetched(const struct group *g)
{
	struct raft_status status;
	if (!raft_is_leader(g->raft))
		return false;
	raft_status(g->raft, &status);
	for (uint32_t i = 0; i < status.progress_count; i++) {
		const struct raft_progress_status *p = &status.progress[i];
		if (p->state == RAFT_SNAPSHOT && p->active && !members_full(g->c, p->id))
			return true;
	}
	return false;
}

/* Entries behind what the state holds, for a follower that was away for a while. */
static uint64_t keep(const struct group *g)
{
	if (g->dropping != DROP_NO)
		return 0;
	if (is_fetched(g))
		return entries_in(g, CONSENSUS_FETCHED_BYTES);
	if (topology_replicas(g->c->topology, g->number) == 1)
		return 0;
	uint64_t by_bytes = entries_in(g, CONSENSUS_KEEP_BYTES);
	return by_bytes < CONSENSUS_KEEP_ENTRIES ? by_bytes : CONSENSUS_KEEP_ENTRIES;
}

/* Fewer are not worth a write of their own. */
static uint64_t truncate_min(const struct group *g)
{
	if (g->dropping != DROP_NO)
		return 1;
	uint64_t by_bytes = entries_in(g, CONSENSUS_TRUNCATE_BYTES) + 1;
	return by_bytes < CONSENSUS_TRUNCATE_MIN ? by_bytes : CONSENSUS_TRUNCATE_MIN;
}

static bool may_trim(const struct group *g)
{
	return group_live(g) && !g->is_void && !g->reset_due;
}

void log_may_trim(struct group *g)
{
	if (may_trim(g) && g->state_durable >= g->removed + keep(g) + truncate_min(g))
		list_add(g->c, LIST_TRIM, g);
}

/* Up to where the log may be removed; 0: nothing to be done. */
static uint64_t trim_end(const struct group *g, bool all)
{
	if (!may_trim(g))
		return 0;
	uint64_t kept = all ? 0 : keep(g), last = g->in_job ? g->next_last : g->disk_last;
	uint64_t upto = g->state_durable > kept ? g->state_durable - kept : 0;
	struct raft_status status;
	raft_status(g->raft, &status);
	if (status.log_reset) /* what is on the disk does not lead on from the base */
		return 0;
	if (upto < status.base)
		upto = status.base; /* raft asks for nothing at or below it any more */
	if (upto > last)
		return 0;
	return upto;
}

static uint64_t gather_truncate(struct group *g, struct log_job *job, bool all, uint64_t room)
{
	uint64_t upto = trim_end(g, all), removed = g->in_job ? g->removing : g->removed;
	uint64_t n = upto > removed ? upto - removed : 0;
	if (n == 0 || (!all && n < truncate_min(g)))
		return 0;
	take_part(g);
	if (upto > g->next.base_index) {
		struct raft_config config;
		raft_compact(g->raft, upto);
		raft_config_at(g->raft, upto, &config);
		set_base(g, upto, raft_term_at(g->raft, upto), &config);
	}
	n = n < room ? n : room;
	g->removing = removed + n;
	log_job_truncate(job, g->number, removed + 1, g->removing);
	return n;
}

/* Removes what state holds durably: where enough has gathered, or all there is when room is short. */
static void gather_truncates(struct consensus *c, struct log_job *job, bool all)
{
	uint64_t room = c->truncate_max;
	if (all) {
		for (uint32_t i = 0; i < c->group_count && room; i++)
			room -= gather_truncate(&c->groups[i], job, true, room);
		return;
	}
	for (uint32_t n = c->lists[LIST_TRIM].count; n && room; n--)
		room -= gather_truncate(list_take(c, LIST_TRIM), job, false, room);
}

/* ---- the job --------------------------------------------------------------------------------------------------- */

static void gather_records(struct consensus *c, struct log_job *job)
{
	if (c->node_record_dirty)
		log_job_record(job, bytes_of(LOG_KEY_NODE, strlen(LOG_KEY_NODE)),
		    bytes_of(c->node_record.data, c->node_record.len));
	if (c->id_dirty) {
		log_job_record(job, bytes_of(LOG_KEY_CLUSTER, strlen(LOG_KEY_CLUSTER)), bytes_of(c->id, CLUSTER_ID_BYTES));
		c->id_writing = true;
	}
	for (uint32_t i = 0; i < c->job_group_count; i++) {
		const struct group *g = &c->groups[c->job_groups[i]];
		if (g->next_record)
			log_job_group(job, g->number, &g->next);
	}
}

void log_start_job(struct consensus *c, int64_t mono_ns)
{
	if (c->log_job || (c->log_retry_ns && mono_ns < c->log_retry_ns))
		return;
	c->log_retry_ns = 0;
	if (c->next_log == LOG_ANYTHING && !c->lists[LIST_LOG].count && !c->lists[LIST_TRIM].count &&
	    !c->node_record_dirty && !c->id_dirty)
		return;
	struct log_job *job = log_job_new();
	c->job_group_count = 0;
	if (c->next_log == LOG_TRUNCATES)
		gather_truncates(c, job, true);
	if (!job->truncate_count)
		gather_writes(c, job);
	if (c->next_log == LOG_ANYTHING)
		gather_truncates(c, job, false);
	gather_records(c, job);
	if (!c->job_group_count && !job->record_count) {
		log_job_free(job);
		c->next_log = LOG_ANYTHING; /* what had no room is not wanted any more */
		c->log_full_ns = 0;
		return;
	}
	c->log_job = job;
	c->io.log_write(c->io.arg, job);
}

static void group_written(struct group *g)
{
	struct consensus *c = g->c;
	uint64_t were = g->disk_last - g->removed, kept = g->next_kept > g->removing ? g->next_kept - g->removing : 0;
	g->log_bytes = (were ? g->log_bytes / were * kept : 0) + g->writing_bytes;
	c->counters.truncated += g->removing > g->removed ? g->removing - g->removed : 0;
	g->disk = g->next;
	g->disk_last = g->next_last;
	g->removed = g->removing;
	g->reset_due = g->base_moved = false;
	if (!g->has) {
		g->has = true;
		c->unfounded--;
	}
	if (g->founding == FOUND_WRITING)
		members_founded(g);
	else if (g->raft_writing)
		raft_written(g->raft);
	g->raft_writing = false;
	log_may_trim(g);
}

static void group_undone(struct group *g)
{
	if (g->founding == FOUND_WRITING)
		g->founding = FOUND_WANTED;
	else if (g->raft_writing)
		raft_write_undone(g->raft);
	g->raft_writing = false;
	log_may_trim(g);
}

static void end_job(struct consensus *c, bool written)
{
	for (uint32_t i = 0; i < c->job_group_count; i++) {
		struct group *g = &c->groups[c->job_groups[i]];
		g->in_job = false;
		if (written)
			group_written(g);
		else
			group_undone(g);
		raft_data_release(g->first);
		g->first = NULL;
		group_touch(g);
	}
	c->job_group_count = 0;
}

static void job_done(struct consensus *c, const struct log_job *job)
{
	c->node_record_dirty = false;
	if (!c->member_durable) {
		c->member_durable = true;
		for (uint32_t i = 0; i < c->group_count; i++) {
			if (c->groups[i].held)
				list_add(c, LIST_TURN, &c->groups[i]);
		}
	}
	if (c->id_writing)
		c->has_id = true, c->id_dirty = c->id_writing = false;
	/* After a full disk: all that can be freed is, then come the entries, at once. */
	if (c->next_log == LOG_APPENDS || !job->truncate_count)
		c->next_log = LOG_ANYTHING;
	if (c->next_log == LOG_ANYTHING)
		c->log_full_ns = 0;
	if (job->truncate_count && c->truncate_max < LOG_JOB_TRUNCATES_MAX)
		c->truncate_max *= 2;
	if (job->append_count)
		c->append_max = c->append_max < LOG_JOB_ENTRIES_MAX / 2 ? c->append_max * 2 : LOG_JOB_ENTRIES_MAX;
	c->counters.log_jobs++;
	end_job(c, true);
}

static void job_was_full(struct consensus *c, const struct log_job *job, int64_t mono_ns)
{
	c->counters.log_full++;
	c->log_retry_ns = mono_ns + CONSENSUS_RETRY_MS * NS_PER_MS;
	if (!c->log_full_ns)
		c->log_full_ns = mono_ns;
	bool only_truncated = job->truncate_count && !job->append_count;
	bool only_appended = job->append_count && !job->truncate_count;
	if (only_truncated && c->truncate_max > 1)
		c->truncate_max /= 2;
	if (only_appended && c->next_log != LOG_ANYTHING)
		c->append_max = (job->append_count + 1) / 2;
	c->next_log = only_truncated ? LOG_APPENDS : LOG_TRUNCATES;
	end_job(c, false);
}

void log_take_back(struct consensus *c, struct log_job *job)
{
	for (uint32_t i = 0; i < c->job_group_count; i++) {
		struct group *g = &c->groups[c->job_groups[i]];
		raft_data_release(g->first);
		g->first = NULL;
	}
	log_job_free(job);
}

void consensus_log_written(struct consensus *c, struct log_job *job, int rc, struct consensus_time now)
{
	weir_assert(job == c->log_job);
	c->log_job = NULL;
	if (!rc)
		job_done(c, job);
	else if (rc == WEIR_EFULL)
		job_was_full(c, job, now.mono_ns);
	else
		consensus_fail(c, "the log cannot be written", rc);
	if (rc)
		c->id_writing = false;
	log_take_back(c, job);
}

/* ---- reading back ------------------------------------------------------------------------------------------------ */

static int take_entry(struct bytes key, struct bytes value, uint64_t index, struct raft_entry *ret_entry)
{
	struct rd k = rd_init(key.p, key.n), v = rd_init(value.p, value.n);
	uint64_t found = rd_be64(&k), term = rd_u64(&v);
	uint8_t kind = rd_u8(&v);
	if (rd_finish(&k) || v.err || found != index || kind < RAFT_ENTRY_DATA || kind > RAFT_ENTRY_CONFIG)
		return WEIR_ECORRUPT;
	*ret_entry = (struct raft_entry){.index = index, .term = term, .kind = (enum raft_entry_kind)kind};
	if (kind != RAFT_ENTRY_NOOP)
		ret_entry->data = raft_data_copy(v.p, rd_left(&v));
	return 0;
}

static int read_entries(struct kv_cursor *cursor, uint64_t first, uint64_t last, size_t bytes_max,
    struct raft_entry *out, size_t room, size_t *ret_count)
{
	struct buf seek = {0};
	struct bytes key, value;
	size_t bytes = 0, n = 0;
	buf_be64(&seek, first);
	int rc = kv_cursor_seek(cursor, bytes_of(seek.data, seek.len), &key, &value);
	buf_free(&seek);
	while (!rc && n < room && first + n <= last) {
		size_t len = value.n > LOG_ENTRY_HEAD ? value.n - LOG_ENTRY_HEAD : 0;
		if (n && (bytes > bytes_max || len > bytes_max - bytes))
			break;
		bytes += len;
		rc = take_entry(key, value, first + n, &out[n]);
		if (rc)
			break;
		n++;
		if (n < room && first + n <= last)
			rc = kv_cursor_next(cursor, &key, &value);
	}
	*ret_count = n;
	return rc;
}

int log_read(void *arg, uint64_t first, uint64_t last, size_t bytes_max, struct raft_entry *out, size_t room,
    size_t *ret_count)
{
	const struct group *g = arg;
	struct kv_txn *txn;
	struct kv_cursor *cursor;
	size_t n = 0;
	int rc = kv_begin(g->c->log, false, &txn);
	if (rc)
		return RAFT_ESTORAGE;
	rc = kv_cursor_open(txn, LOG_DB_GROUP(g->number), &cursor);
	if (!rc) {
		rc = read_entries(cursor, first, last, bytes_max, out, room, &n);
		kv_cursor_close(cursor);
	}
	kv_abort(txn);
	if (rc || !n) {
		while (n)
			raft_data_release(out[--n].data);
		return RAFT_ESTORAGE;
	}
	if (g->c->replaying)
		g->c->counters.replayed += n;
	*ret_count = n;
	return 0;
}
