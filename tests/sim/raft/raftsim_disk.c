/* What survives a crash. A write is there whole or not at all; nothing else is promised. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/raft/raftsim.h"

static void drop_from(struct rs_disk *d, uint64_t index)
{
	while (d->count && rs_disk_last(d) >= index)
		raft_data_release(d->log[--d->count].data);
}

void rs_disk_clear(struct rs_disk *d)
{
	drop_from(d, 0);
	struct raft_entry *log = d->log;
	size_t room = d->room;
	memset(d, 0, sizeof(*d));
	d->log = log;
	d->room = room;
}

static void append(struct rs_disk *d, const struct raft_entry *e)
{
	if (d->count == d->room) {
		d->room = d->room ? d->room * 2 : 64;
		d->log = realloc(d->log, d->room * sizeof(*d->log));
		if (!d->log)
			abort();
	}
	d->log[d->count] = *e;
	raft_data_hold(e->data);
	d->count++;
}

void rs_disk_found(struct rs_disk *d, const struct raft_config *config)
{
	uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
	size_t len = raft_config_encode(config, bytes);
	struct raft_entry e = {
	    .index = 1, .term = 1, .kind = RAFT_ENTRY_CONFIG, .data = raft_data_copy(bytes, len)};
	d->term = 1;
	append(d, &e);
	raft_data_release(e.data);
}

uint64_t rs_disk_last(const struct rs_disk *d)
{
	return d->base_index + d->count;
}

uint64_t rs_disk_term_at(const struct rs_disk *d, uint64_t index)
{
	if (index == d->base_index)
		return d->base_term;
	if (index < d->base_index || index > rs_disk_last(d))
		return 0;
	return d->log[index - d->base_index - 1].term;
}

static void oracle_drops(struct rs_replica *r, uint64_t from, uint64_t to)
{
	const struct rs_disk *d = &r->disk;
	for (uint64_t i = from > d->base_index ? from : d->base_index + 1; i <= rs_disk_last(d) && i <= to;
	     i++)
		rs_oracle_dropped(r, &d->log[i - d->base_index - 1]);
}

static void apply_hard_state(struct rs_replica *r, const struct raft_write *write)
{
	struct rs_disk *d = &r->disk;
	if (write->term < d->term)
		rs_fail(r->w, "the durable term falls: %llu to %llu", (unsigned long long)d->term,
		    (unsigned long long)write->term);
	if (write->term == d->term && d->vote && write->vote != d->vote)
		rs_suspect(r->w, "voted twice: member %u in term %llu for %llu, then %llu", r->node + 1,
		    (unsigned long long)d->term, (unsigned long long)d->vote,
		    (unsigned long long)write->vote);
	d->term = write->term;
	d->vote = write->vote;
}

void rs_disk_apply(struct rs_replica *r, const struct raft_write *write)
{
	struct rs_disk *d = &r->disk;
	if (write->reset) {
		/* What came to the disk unseen by the core was never promised; it is written again. */
		oracle_drops(r, write->base_index + 1, r->counted);
		drop_from(d, 0);
		d->base_index = write->base_index;
		d->base_term = write->base_term;
		d->base_config = write->base_config;
	}
	if (write->truncate_from) {
		if (write->truncate_from <= d->base_index)
			rs_fail(
			    r->w, "truncates below the base: %llu", (unsigned long long)write->truncate_from);
		oracle_drops(r, write->truncate_from, UINT64_MAX);
		drop_from(d, write->truncate_from);
	}
	for (size_t i = 0; i < write->entry_count; i++) {
		const struct raft_entry *e = &write->entries[i];
		if (e->index != rs_disk_last(d) + 1) {
			rs_fail(r->w, "a write with a gap: member %u, entry %llu behind %llu", r->node + 1,
			    (unsigned long long)e->index, (unsigned long long)rs_disk_last(d));
			return;
		}
		rs_oracle_entry(r, e, rs_disk_term_at(d, e->index - 1));
		append(d, e);
	}
	if (write->hard_state)
		apply_hard_state(r, write);
}

static void take_config(struct raft_config *c, const struct raft_entry *e)
{
	struct raft_config decoded;
	if (e->kind == RAFT_ENTRY_CONFIG && e->data &&
	    !raft_config_decode(e->data->bytes, e->data->len, &decoded))
		*c = decoded;
}

void rs_disk_config(const struct rs_disk *d, struct raft_config *ret_config)
{
	*ret_config = d->base_config;
	for (size_t i = d->count; i-- > 0;) {
		if (d->log[i].kind != RAFT_ENTRY_CONFIG)
			continue;
		take_config(ret_config, &d->log[i]);
		return;
	}
}

void rs_disk_compact(struct rs_disk *d, uint64_t index)
{
	if (index <= d->base_index || index > rs_disk_last(d))
		return;
	size_t n = index - d->base_index;
	for (size_t i = 0; i < n; i++) {
		take_config(&d->base_config, &d->log[i]);
		raft_data_release(d->log[i].data);
	}
	d->base_term = d->log[n - 1].term;
	d->base_index = index;
	memmove(d->log, d->log + n, (d->count - n) * sizeof(*d->log));
	d->count -= n;
}

static int entries(void *arg, uint64_t first, uint64_t last, size_t bytes_max, struct raft_entry *out,
    size_t room, size_t *ret_count)
{
	struct rs_replica *r = arg;
	const struct rs_disk *d = &r->disk;
	if (first <= d->base_index || last > rs_disk_last(d) || first > last || !room) {
		rs_fail(r->w, "reads what is not on the disk: member %u, %llu..%llu of %llu..%llu",
		    r->node + 1, (unsigned long long)first, (unsigned long long)last,
		    (unsigned long long)d->base_index + 1, (unsigned long long)rs_disk_last(d));
		return -1;
	}
	size_t n = 0, bytes = 0;
	for (uint64_t i = first; i <= last && n < room; i++) {
		const struct raft_entry *e = &d->log[i - d->base_index - 1];
		bytes += e->data ? e->data->len : 0;
		if (n && bytes > bytes_max)
			break;
		out[n] = *e;
		raft_data_hold(e->data);
		n++;
	}
	*ret_count = n;
	return 0;
}

/* A crash came between the installed state and the log's reset: the log does not reach, or contradicts. The
 * application does what the write would have done. */
static void reconcile(struct rs_replica *r)
{
	struct rs_disk *d = &r->disk;
	const struct rs_state *s = &d->state;
	if (d->state_void || s->index <= d->base_index || rs_disk_term_at(d, s->index) == s->term)
		return;
	oracle_drops(r, s->index + 1, UINT64_MAX);
	drop_from(d, 0);
	d->base_index = s->index;
	d->base_term = s->term;
	d->base_config = s->config;
	if (d->term <
	    s->term) { /* the hard state of that term was still to be written: it has voted for nobody */
		d->term = s->term;
		d->vote = RAFT_NOBODY;
	}
}

#define STARTS_MAX 4096

struct raft *rs_disk_open(struct rs_replica *r)
{
	static struct raft_term_start starts[STARTS_MAX];
	static struct raft_entry configs[STARTS_MAX];
	reconcile(r);
	const struct rs_disk *d = &r->disk;
	struct raft_start s = {.term = d->term,
	    .vote = d->vote,
	    .base_index = d->base_index,
	    .base_term = d->base_term,
	    .base_config = d->base_config,
	    .last = rs_disk_last(d),
	    .terms = starts,
	    .configs = configs,
	    .applied = d->state_void ? d->base_index : d->state.index,
	    .state_void = d->state_void};
	uint64_t term = 0;
	for (size_t i = 0; i < d->count; i++) {
		if (d->log[i].term != term && s.term_count < STARTS_MAX)
			starts[s.term_count++] =
			    (struct raft_term_start){d->log[i].index, term = d->log[i].term};
		if (d->log[i].kind == RAFT_ENTRY_CONFIG && s.config_count < STARTS_MAX)
			configs[s.config_count++] = d->log[i];
	}
	struct raft_options o = r->w->plan.limits;
	o.id = r->node + 1;
	o.seed = sim_u64(&r->w->node_rand);
	o.priority_ticks = r->node == r->group ? 0 : o.priority_ticks;
	o.storage = (struct raft_storage){r, entries};
	struct raft *raft = NULL;
	int rc = raft_new(&o, &s, &raft);
	if (rc)
		rs_fail(r->w, "member %u of group %u cannot start from its disk: %s", r->node + 1, r->group,
		    raft_error_text(rc));
	return rc ? NULL : raft;
}
