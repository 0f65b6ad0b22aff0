/* Apply jobs: committed entries, and the steps of snapshots, of all groups; what came of them. */
#include <stdlib.h>

#include "cloudd/consensus_internal.h"
#include "cloudd/node.h"
#include "common/clock.h"
#include "common/err.h"

#define ENTRIES_AT_ONCE 64

void apply_announce(struct group *g)
{
	uint64_t committed = raft_committed(g->raft);
	if (g->announced != UINT64_MAX && committed <= g->announced)
		return;
	g->announced = committed;
	g->c->io.committed(g->c->io.arg, g->number, committed);
}

/* ---- the job --------------------------------------------------------------------------------------------------- */

/* How many more entries of a group that has `taken`. */
static size_t room_in(const struct consensus *c, const struct apply_job *job, size_t taken)
{
	if (job->bytes >= APPLY_JOB_BYTES_MAX || job->count >= c->apply_max || taken >= APPLY_JOB_GROUP_ENTRIES_MAX)
		return 0;
	size_t in_job = c->apply_max - job->count, of_group = APPLY_JOB_GROUP_ENTRIES_MAX - taken;
	return in_job < of_group ? in_job : of_group;
}

static enum apply_step step_of(enum raft_entry_kind kind)
{
	switch (kind) {
	case RAFT_ENTRY_DATA:
		return APPLY_ENTRY;
	case RAFT_ENTRY_NOOP:
		return APPLY_NOOP;
	case RAFT_ENTRY_CONFIG:
		return APPLY_CONFIG;
	}
	return APPLY_ENTRY; /* both ways into the log check the kind */
}

static void add_entry(struct group *g, struct apply_job *job, const struct raft_entry *e)
{
	struct raft_data *d = e->data; /* the reference becomes the item's */
	struct apply_item item = {.group = g->number, .step = e->index == g->skip ? APPLY_SKIP : step_of(e->kind), .index = e->index, .term = e->term,
	    .bytes = d ? bytes_of(d->bytes, d->len) : bytes_of("", 0), .owner = d};
	apply_job_add(job, &item);
	g->handed = e->index;
}

/* Up to where entries may be applied here. */
static uint64_t applicable(const struct group *g)
{
	uint64_t committed = raft_committed(g->raft);
	return g->outdated.index && committed >= g->outdated.index ? g->outdated.index - 1 : committed;
}

static int gather_entries(struct group *g, struct apply_job *job)
{
	struct raft_entry entries[ENTRIES_AT_ONCE];
	uint64_t committed = applicable(g);
	size_t taken = 0, room;
	while (g->handed < committed && (room = room_in(g->c, job, taken)) > 0) {
		size_t count = 0;
		g->c->replaying = g->handed < g->open_last;
		int rc = raft_entries(g->raft, g->handed + 1, committed, APPLY_JOB_BYTES_MAX - job->bytes, entries,
		    room < ENTRIES_AT_ONCE ? room : ENTRIES_AT_ONCE, &count);
		g->c->replaying = false;
		if (rc)
			return rc;
		for (size_t i = 0; i < count; i++)
			add_entry(g, job, &entries[i]);
		taken += count;
	}
	return 0;
}

static int gather_group(struct group *g, struct apply_job *job, int64_t mono_ns)
{
	struct apply_item step;
	if (g->damage)
		damage_look(g, mono_ns);
	if (g->outdated.index)
		outdated_look(g, mono_ns);
	if (g->void_due) {
		g->void_due = false;
		apply_job_add(job, &(struct apply_item){.group = g->number, .step = APPLY_VOID});
	}
	if (snapshot_take(g, &step, mono_ns))
		apply_job_add(job, &step);
	if (g->is_void || g->damage)
		return 0;
	int rc = gather_entries(g, job);
	if (!rc && g->handed < applicable(g))
		list_add(g->c, LIST_APPLY, g);
	return rc;
}

/* Each group once; those that have more come last next time. */
static int gather(struct consensus *c, struct apply_job *job, int64_t mono_ns)
{
	for (uint32_t n = c->lists[LIST_APPLY].count; n && room_in(c, job, 0); n--) {
		struct group *g = list_take(c, LIST_APPLY);
		int rc = group_live(g) ? gather_group(g, job, mono_ns) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

static bool is_step_of_snapshot(const struct apply_item *item)
{
	return item->step == APPLY_SNAPSHOT_BEGIN || item->step == APPLY_SNAPSHOT_RECORDS ||
	    item->step == APPLY_SNAPSHOT_END;
}

static bool is_entry(const struct apply_item *item)
{
	return item->step != APPLY_VOID && !is_step_of_snapshot(item);
}

/* A follower that keeps up: where its loop is next woken, for more of the same, is soon enough. */
static bool is_quiet(const struct consensus *c, const struct apply_job *job)
{
	for (size_t i = 0; i < job->count; i++) {
		const struct apply_item *item = &job->items[i];
		const struct group *g = &c->groups[item->group];
		if (!is_entry(item) || raft_is_leader(g->raft) || g->fetching != FETCH_NONE)
			return false;
	}
	return c->lists[LIST_APPLY].count == 0;
}

/* After a full state disk: all above what is durable is applied again. */
static void rewind_apply(struct consensus *c, int64_t mono_ns)
{
	for (uint32_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		if (!group_live(g))
			continue;
		snapshot_rewind(g, mono_ns);
		g->void_due |= g->is_void && g->damage && g->fetching != FETCH_INSTALLING;
		if (!g->is_void)
			g->handed = g->applied = g->state_durable;
		list_add(c, LIST_APPLY, g);
	}
}

void apply_start_job(struct consensus *c, int64_t mono_ns)
{
	if (c->apply_job || (c->apply_retry_ns && mono_ns < c->apply_retry_ns))
		return;
	if (c->apply_retry_ns)
		rewind_apply(c, mono_ns);
	c->apply_retry_ns = 0;
	if (!c->lists[LIST_APPLY].count)
		return;
	struct apply_job *job = apply_job_new();
	int rc = gather(c, job, mono_ns);
	if (rc)
		consensus_fail(c, "the log cannot be read back", WEIR_EIO);
	if (rc || !job->count) {
		apply_take_back(job);
		return;
	}
	job->quiet = is_quiet(c, job);
	c->apply_job = job;
	c->io.apply(c->io.arg, job);
}

void apply_take_back(struct apply_job *job)
{
	for (size_t i = 0; i < job->count; i++) {
		struct apply_item *item = &job->items[i];
		if (is_entry(item))
			raft_data_release(item->owner);
		else
			free(item->owner);
	}
	apply_job_free(job);
}

/* ---- what came of it --------------------------------------------------------------------------------------------- */

/* Before anything is reported: callbacks propose, and find the quotas as they are. */
static void note_applied(struct consensus *c, const struct apply_job *job, int64_t mono_ns)
{
	for (size_t i = 0; i < job->done; i++) {
		const struct apply_item *item = &job->items[i];
		struct group *g = &c->groups[item->group];
		if (is_step_of_snapshot(item)) {
			snapshot_step_done(g, item, mono_ns);
			continue;
		}
		if (!is_entry(item))
			continue;
		c->counters.passed_over += item->step == APPLY_SKIP;
		g->applied = item->index;
		if (item->step == APPLY_ENTRY && g->serving && item->index >= g->first_proposed &&
		    item->index > g->reported && g->proposed_bytes >= item->bytes.n) {
			g->proposed_bytes -= item->bytes.n;
			c->proposed_bytes -= item->bytes.n;
		}
		if (i + 1 == job->done || job->items[i + 1].group != item->group) {
			raft_applied(g->raft, item->index);
			group_touch(g);
		}
	}
}

static void report_results(struct consensus *c, struct apply_job *job)
{
	for (size_t i = 0; i < job->done; i++) {
		const struct apply_item *item = &job->items[i];
		struct group *g = &c->groups[item->group];
		if (!is_entry(item) || item->index <= g->reported)
			continue;
		g->reported = item->index;
		c->counters.applied++;
		if (job->results[i].kind == 0)
			c->counters.undecodable++;
		c->io.applied(c->io.arg, &job->results[i], item->bytes);
	}
}

static void state_was_full(struct consensus *c, int64_t mono_ns)
{
	c->counters.apply_full++;
	if (!c->apply_full_ns)
		c->apply_full_ns = mono_ns;
	c->apply_max = 1;
}

void consensus_state_low(struct consensus *c, bool low)
{
	c->counters.apply_full += low && !c->state_low;
	c->state_low = low;
	if (low)
		c->apply_max = 1;
	else
		c->apply_full_ns = 0;
}

void consensus_job_applied(struct consensus *c, struct apply_job *job, int rc, struct consensus_time now)
{
	weir_assert(job == c->apply_job);
	c->apply_job = NULL;
	if (!rc) {
		c->counters.apply_jobs++;
		c->apply_max = c->apply_max < APPLY_JOB_ENTRIES_MAX / 2 ? c->apply_max * 2 : APPLY_JOB_ENTRIES_MAX;
		note_applied(c, job, now.mono_ns);
		report_results(c, job);
	} else if (rc == WEIR_ECORRUPT && job->corrupt) {
		damage_met(c, &job->items[job->done]);
		c->apply_retry_ns = now.mono_ns; /* at once: the others' entries are whole */
	} else if (rc == WEIR_EVERSION && job->outdated) {
		outdated_met(c, &job->items[job->done]);
		c->apply_retry_ns = now.mono_ns;
	} else if (rc == WEIR_EFULL) {
		state_was_full(c, now.mono_ns);
		c->apply_retry_ns = now.mono_ns + CONSENSUS_RETRY_MS * NS_PER_MS;
	} else {
		consensus_fail(c, "the state cannot be written", rc);
	}
	apply_take_back(job);
}

void consensus_state_durable(struct consensus *c, uint32_t group, uint64_t index)
{
	if (!consensus_holds(c, group) || c->failed)
		return;
	struct group *g = &c->groups[group];
	c->apply_full_ns = 0;
	if (g->ended) {
		snapshot_durable(g, index);
	} else if (!g->is_void && index > g->state_durable && index <= g->handed) {
		g->state_durable = index;
		log_may_trim(g);
	}
}

void consensus_state_aborted(struct consensus *c, struct consensus_time now)
{
	state_was_full(c, now.mono_ns);
	/* A job under way was handed out too early: it comes back with WEIR_EFULL. */
	if (!c->apply_job)
		c->apply_retry_ns = now.mono_ns + CONSENSUS_RETRY_MS * NS_PER_MS;
}
