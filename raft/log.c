#include "raft/log.h"

#include <stdlib.h>
#include <string.h>

#include "raft/base.h"
#include "raft/quorum.h"
#include "raft/rule.h"

#define RING_MIN 8

/* ---- terms ------------------------------------------------------------------------------------ */

/* How many runs begin at or below `index`. */
static size_t runs_up_to(const struct raft_log *l, uint64_t index)
{
	size_t low = 0, high = l->run_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (l->runs[middle].index <= index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint64_t raft_log_term(const struct raft_log *l, uint64_t index)
{
	if (index < l->base_index || index > l->last)
		return 0;
	size_t runs = runs_up_to(l, index);
	return runs ? l->runs[runs - 1].term : l->base_term;
}

uint64_t raft_log_last_term(const struct raft_log *l)
{
	return l->run_count ? l->runs[l->run_count - 1].term : l->base_term;
}

uint64_t raft_log_find_term(const struct raft_log *l, uint64_t index, uint64_t term)
{
	index = raft_min(index, l->last);
	if (index < l->base_index)
		return index;
	for (size_t runs = runs_up_to(l, index); runs; runs--) {
		if (l->runs[runs - 1].term <= term)
			return index;
		index = l->runs[runs - 1].index - 1;
	}
	return l->base_term <= term || !l->base_index ? l->base_index : l->base_index - 1;
}

static void append_term(struct raft_log *l, uint64_t index, uint64_t term)
{
	if (l->run_count && l->runs[l->run_count - 1].term == term)
		return;
	l->runs = raft_grow(l->runs, l->run_count, &l->run_capacity, sizeof(*l->runs));
	l->runs[l->run_count++] = (struct raft_term_start){.index = index, .term = term};
}

static void compact_terms(struct raft_log *l, uint64_t index)
{
	size_t gone = runs_up_to(l, index);
	if (!gone)
		return;
	if (index < l->last && (gone == l->run_count || l->runs[gone].index > index + 1))
		l->runs[--gone].index = index + 1; /* its rest goes on */
	l->run_count -= gone;
	memmove(l->runs, l->runs + gone, l->run_count * sizeof(*l->runs));
}

/* ---- configurations (D 4.1) ------------------------------------------------------------------- */

const struct raft_config *raft_log_config(const struct raft_log *l)
{
	return l->config_count ? &l->configs[l->config_count - 1].config : &l->base_config;
}

uint64_t raft_log_config_index(const struct raft_log *l)
{
	return l->config_count ? l->configs[l->config_count - 1].index : l->base_index;
}

static size_t configs_up_to(const struct raft_log *l, uint64_t index)
{
	size_t count = l->config_count;
	while (count && l->configs[count - 1].index > index)
		count--;
	return count;
}

const struct raft_config *raft_log_config_at(const struct raft_log *l, uint64_t index)
{
	size_t count = configs_up_to(l, index);
	return count ? &l->configs[count - 1].config : &l->base_config;
}

bool raft_log_voter_since(const struct raft_log *l, uint64_t index, uint64_t id)
{
	if (raft_quorum_is_voter(raft_log_config_at(l, index), id))
		return true;
	for (size_t i = configs_up_to(l, index); i < l->config_count; i++)
		if (raft_quorum_is_voter(&l->configs[i].config, id))
			return true;
	return false;
}

static void append_config(struct raft_log *l, uint64_t index, const struct raft_config *c)
{
	l->configs = raft_grow(l->configs, l->config_count, &l->config_capacity, sizeof(*l->configs));
	l->configs[l->config_count++] = (struct raft_log_config){.index = index, .config = *c};
}

static void truncate_configs(struct raft_log *l, uint64_t index)
{
	if (RULE(RAFT_RULE_TRUNCATE_CONFIG))
		l->config_count = configs_up_to(l, index - 1);
}

static void compact_configs(struct raft_log *l, uint64_t index)
{
	size_t gone = configs_up_to(l, index);
	if (!gone)
		return;
	l->base_config = l->configs[gone - 1].config;
	l->config_count -= gone;
	memmove(l->configs, l->configs + gone, l->config_count * sizeof(*l->configs));
	if (!l->config_count) { /* hardly ever more than one, and of some size */
		free(l->configs);
		l->configs = NULL;
		l->config_capacity = 0;
	}
}

/* ---- the entries in memory -------------------------------------------------------------------- */

static struct raft_entry *in_ring(const struct raft_log *l, uint64_t index)
{
	return &l->ring[index & (l->ring_capacity - 1)];
}

static size_t ring_count(const struct raft_log *l)
{
	return (size_t)(l->last + 1 - l->tail);
}

static size_t entry_bytes(const struct raft_entry *e)
{
	return sizeof(*e) + (e->data ? sizeof(*e->data) + e->data->len : 0);
}

static void resize_ring(struct raft_log *l, size_t capacity)
{
	struct raft_entry *ring = raft_alloc(capacity, sizeof(*ring));
	for (uint64_t i = l->tail; i <= l->last; i++)
		ring[i & (capacity - 1)] = *in_ring(l, i);
	free(l->ring);
	l->ring = ring;
	l->ring_capacity = capacity;
}

static void shrink_ring(struct raft_log *l)
{
	size_t count = ring_count(l);
	if (!count) {
		free(l->ring);
		l->ring = NULL;
		l->ring_capacity = 0;
	} else if (l->ring_capacity > RING_MIN && count <= l->ring_capacity / 8) {
		resize_ring(l, l->ring_capacity / 4 > RING_MIN ? l->ring_capacity / 4 : RING_MIN);
	}
}

static void push(struct raft_log *l, const struct raft_entry *e)
{
	if (ring_count(l) == l->ring_capacity)
		resize_ring(l, l->ring_capacity ? l->ring_capacity * 2 : RING_MIN);
	l->last = e->index;
	*in_ring(l, e->index) = *e;
	raft_data_hold(e->data);
}

static void pop_oldest(struct raft_log *l)
{
	struct raft_entry *e = in_ring(l, l->tail);
	if (l->tail <= l->durable)
		l->cached_bytes -= entry_bytes(e);
	l->tail++;
	raft_data_release(e->data);
}

/* Oldest first; never what only memory has. */
static void evict(struct raft_log *l)
{
	uint64_t before = l->tail;
	while (l->cached_bytes > l->cache_bytes_max && l->tail <= l->durable)
		pop_oldest(l);
	if (l->tail != before)
		shrink_ring(l);
}

static void set_durable(struct raft_log *l, uint64_t index)
{
	for (uint64_t i = raft_max(l->durable + 1, l->tail); i <= index; i++)
		l->cached_bytes += entry_bytes(in_ring(l, i));
	l->durable = index;
	evict(l);
}

/* ---- changes ---------------------------------------------------------------------------------- */

void raft_log_append(struct raft_log *l, const struct raft_entry *e)
{
	RAFT_ASSERT(e->index == l->last + 1);
	append_term(l, e->index, e->term);
	push(l, e);
	if (e->kind == RAFT_ENTRY_CONFIG) {
		struct raft_config c;
		RAFT_ASSERT(raft_config_decode(e->data->bytes, e->data->len, &c) == 0);
		append_config(l, e->index, &c);
	}
}

uint64_t raft_log_truncate(struct raft_log *l, uint64_t index)
{
	RAFT_ASSERT(index > l->base_index);
	uint64_t gone = index <= l->last ? l->last + 1 - index : 0;
	for (; l->last >= index; l->last--) {
		if (l->last < l->tail)
			continue;
		struct raft_entry *e = in_ring(l, l->last);
		if (l->last <= l->durable)
			l->cached_bytes -= entry_bytes(e);
		raft_data_release(e->data);
	}
	l->tail = raft_min(l->tail, l->last + 1);
	l->run_count = runs_up_to(l, l->last);
	truncate_configs(l, index);
	l->durable = raft_min(l->durable, l->last);
	l->write.counts_to = raft_min(l->write.counts_to, l->last);
	return gone;
}

void raft_log_compact(struct raft_log *l, uint64_t index)
{
	if (index <= l->base_index)
		return;
	RAFT_ASSERT(index <= l->durable);
	l->base_term = raft_log_term(l, index);
	compact_terms(l, index);
	compact_configs(l, index);
	while (l->tail <= index && l->tail <= l->last)
		pop_oldest(l);
	l->tail = raft_max(l->tail, index + 1);
	l->base_index = index;
	shrink_ring(l);
}

/* Nothing above `index` was durable yet, and what is under way was for the log of before: all is written
 * again. */
static void reset_keeping(struct raft_log *l, uint64_t index)
{
	l->write.counts_to = 0;
	set_durable(l, index);
	raft_log_compact(l, index);
}

static void reset_to_nothing(struct raft_log *l, uint64_t index, uint64_t term)
{
	while (l->tail <= l->last)
		pop_oldest(l);
	l->run_count = l->config_count = 0;
	l->base_term = term;
	l->base_index = l->last = l->durable = index;
	l->tail = index + 1;
	l->write.counts_to = 0;
	shrink_ring(l);
}

void raft_log_reset(struct raft_log *l, uint64_t index, uint64_t term, const struct raft_config *c, bool keep)
{
	if (keep)
		reset_keeping(l, index);
	else
		reset_to_nothing(l, index, term);
	l->base_config = *c;
	l->reset_pending = true;
}

/* ---- reading ---------------------------------------------------------------------------------- */

static size_t from_memory(const struct raft_log *l, uint64_t first, uint64_t last, size_t bytes_max,
    struct raft_entry *out, size_t room)
{
	size_t count = 0, bytes = 0;
	for (uint64_t i = first; i <= last && count < room; i++) {
		const struct raft_entry *e = in_ring(l, i);
		bytes += raft_entry_len(e);
		if (count && bytes > bytes_max)
			break;
		out[count++] = *e;
	}
	raft_entries_hold(out, count);
	return count;
}

/* The storage's word is checked: it names the log's own entries, or it failed. */
static int from_storage(const struct raft_log *l, uint64_t first, uint64_t last, size_t bytes_max,
    struct raft_entry *out, size_t room, size_t *ret_count)
{
	size_t count = 0;
	if (l->storage.entries(l->storage.arg, first, last, bytes_max, out, room, &count))
		return RAFT_ESTORAGE;
	bool good = count > 0 && count <= room && count <= last - first + 1;
	for (size_t i = 0; good && i < count; i++)
		good = out[i].index == first + i && out[i].term == raft_log_term(l, first + i);
	if (!good) {
		raft_entries_release(out, count <= room ? count : 0);
		return RAFT_ESTORAGE;
	}
	*ret_count = count;
	return 0;
}

int raft_log_entries(const struct raft_log *l, uint64_t first, uint64_t last, size_t bytes_max,
    struct raft_entry *out, size_t room, size_t *ret_count)
{
	RAFT_ASSERT(first > l->base_index && first <= last && last <= l->last && room);
	if (first < l->tail)
		return from_storage(l, first, raft_min(last, l->tail - 1), bytes_max, out, room, ret_count);
	*ret_count = from_memory(l, first, last, bytes_max, out, room);
	return 0;
}

/* ---- writing ---------------------------------------------------------------------------------- */

bool raft_log_write_needed(const struct raft_log *l)
{
	return l->reset_pending || l->last > l->durable || l->disk_last > l->durable;
}

static size_t take_entries(struct raft_log *l, size_t bytes_max, size_t entries_max)
{
	uint64_t left = l->last - l->durable;
	size_t room = left < entries_max ? (size_t)left : entries_max ? entries_max : 1;
	if (!left)
		return 0;
	l->write.entries = raft_alloc(room, sizeof(*l->write.entries));
	return from_memory(l, l->durable + 1, l->last, bytes_max, l->write.entries, room);
}

void raft_log_write_begin(
    struct raft_log *l, size_t bytes_max, size_t entries_max, struct raft_write *ret_write)
{
	struct raft_log_write *w = &l->write;
	RAFT_ASSERT(!w->active);
	*w = (struct raft_log_write){.active = true, .reset = l->reset_pending, .counts_to = UINT64_MAX};
	w->entry_count = take_entries(l, bytes_max, entries_max);
	w->last = l->durable + w->entry_count;
	l->reset_pending = false;
	*ret_write = (struct raft_write){.reset = w->reset,
	    .truncate_from = !w->reset && l->disk_last > l->durable ? l->durable + 1 : 0,
	    .entries = w->entries,
	    .entry_count = w->entry_count};
	if (w->reset) {
		ret_write->base_index = l->base_index;
		ret_write->base_term = l->base_term;
		ret_write->base_config = l->base_config;
	}
}

static void give_back(struct raft_log_write *w)
{
	raft_entries_release(w->entries, w->entry_count);
	free(w->entries);
	*w = (struct raft_log_write){0};
}

void raft_log_written(struct raft_log *l)
{
	struct raft_log_write *w = &l->write;
	RAFT_ASSERT(w->active);
	l->disk_last = w->last;
	uint64_t counts = RULE(RAFT_RULE_LATE_COMPLETION) ? w->counts_to : l->last;
	uint64_t durable = raft_min(w->last, counts);
	give_back(w);
	if (durable > l->durable)
		set_durable(l, durable);
}

void raft_log_write_undone(struct raft_log *l)
{
	RAFT_ASSERT(l->write.active);
	l->reset_pending |= l->write.reset;
	give_back(&l->write);
}

bool raft_log_base_durable(const struct raft_log *l)
{
	return !l->reset_pending && !l->write.reset;
}

/* ---- beginning and end ------------------------------------------------------------------------ */

static bool terms_fit(const struct raft_start *s)
{
	if (s->last == s->base_index)
		return !s->term_count;
	if (!s->term_count || s->terms[0].index != s->base_index + 1 || s->terms[0].term < s->base_term)
		return false;
	for (size_t i = 1; i < s->term_count; i++)
		if (s->terms[i].index <= s->terms[i - 1].index || s->terms[i].term < s->terms[i - 1].term)
			return false;
	const struct raft_term_start *end = &s->terms[s->term_count - 1];
	return s->terms[0].term && end->index <= s->last && end->term <= s->term;
}

static bool base_fits(const struct raft_start *s)
{
	return s->last < RAFT_TERM_MAX && s->term < RAFT_TERM_MAX && s->base_index <= s->last &&
	       s->base_term < RAFT_TERM_MAX && !s->base_index == !s->base_term &&
	       s->base_config.count <= RAFT_MEMBERS_MAX;
}

static int start_configs(struct raft_log *l, const struct raft_start *s)
{
	uint64_t above = s->base_index;
	for (size_t i = 0; i < s->config_count; i++) {
		const struct raft_entry *e = &s->configs[i];
		struct raft_config c;
		if (e->index <= above || e->index > s->last || !e->data ||
		    raft_config_decode(e->data->bytes, e->data->len, &c))
			return RAFT_EINVAL;
		append_config(l, e->index, &c);
		above = e->index;
	}
	return 0;
}

int raft_log_init(struct raft_log *l, const struct raft_options *o, const struct raft_start *s)
{
	if (!base_fits(s) || !terms_fit(s))
		return RAFT_EINVAL;
	*l = (struct raft_log){.base_index = s->base_index,
	    .base_term = s->base_term,
	    .last = s->last,
	    .durable = s->last,
	    .disk_last = s->last,
	    .tail = s->last + 1,
	    .cache_bytes_max = o->cache_bytes_max,
	    .base_config = s->base_config,
	    .storage = o->storage};
	for (size_t i = 0; i < s->term_count; i++)
		append_term(l, s->terms[i].index, s->terms[i].term);
	int rc = start_configs(l, s);
	if (rc)
		raft_log_free(l);
	return rc;
}

void raft_log_free(struct raft_log *l)
{
	while (l->ring && l->tail <= l->last)
		pop_oldest(l);
	give_back(&l->write);
	free(l->ring);
	free(l->runs);
	free(l->configs);
	*l = (struct raft_log){0};
}
