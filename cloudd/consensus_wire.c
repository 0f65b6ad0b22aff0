/* raft's messages and MSG_RAFT frames: what many groups say to one node in one turn leaves together. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/consensus_internal.h"
#include "cloudd/entry.h"
#include "common/err.h"

/* Upper bounds of what the encoding adds. */
#define ENVELOPE_BYTES 1024
#define MESSAGE_BYTES 160
#define ENTRY_BYTES 32
_Static_assert(ENTRY_MAX + ENTRY_BYTES + MESSAGE_BYTES + ENVELOPE_BYTES <= FRAME_MAX, "the largest entry fits a frame");
_Static_assert(CONSENSUS_MESSAGE_BYTES + RAFT_MESSAGE_ENTRIES_MAX * ENTRY_BYTES + MESSAGE_BYTES + ENVELOPE_BYTES <=
	FRAME_MAX, "the largest message fits a frame");
_Static_assert(RAFT_MESSAGE_ENTRIES_MAX <= RAFT_ENTRIES_PER_FRAME_MAX, "the longest message fits a frame");

/* ---- out ------------------------------------------------------------------------------------------------------- */

static size_t message_bytes(const struct raft_message *m)
{
	size_t bytes = MESSAGE_BYTES + m->entry_count * ENTRY_BYTES;
	for (size_t i = 0; i < m->entry_count; i++)
		bytes += m->entries[i].data ? m->entries[i].data->len : 0;
	return bytes;
}

static void write_message(uint32_t group, const struct raft_message *m, struct msg_raft *out,
    struct msg_raft_entry *entries)
{
	*out = (struct msg_raft){.group = group, .kind = m->kind, .term = m->term, .index = m->index,
	    .log_term = m->log_term, .commit = m->commit, .hint_index = m->hint_index, .hint_term = m->hint_term,
	    .round = m->round, .reject = m->reject, .force = m->force, .entry_count = m->entry_count,
	    .entries = entries};
	for (size_t i = 0; i < m->entry_count; i++) {
		const struct raft_data *d = m->entries[i].data;
		entries[i] = (struct msg_raft_entry){.term = m->entries[i].term, .kind = m->entries[i].kind,
		    .data = d ? bytes_of(d->bytes, d->len) : bytes_of("", 0)};
	}
}

static bool send_frame(struct consensus *c, uint32_t node, const struct outgoing *o)
{
	struct msg_raft *messages = xmalloc(o->count * sizeof(*messages));
	struct msg_raft_entry *entries = o->entries ? xmalloc(o->entries * sizeof(*entries)) : NULL;
	size_t at = 0;
	for (size_t i = 0; i < o->count; i++) {
		write_message(o->groups[i], &o->messages[i], &messages[i], entries ? entries + at : NULL);
		at += o->messages[i].entry_count;
	}
	struct msg m = {.type = MSG_RAFT,
	    .raft = {.from = c->member, .to = o->to, .message_count = o->count, .messages = messages}};
	bool sent = c->io.send(c->io.arg, node, false, &m);
	free(entries);
	free(messages);
	return sent;
}

static void send_gathered(struct consensus *c, uint32_t node)
{
	struct outgoing *o = &c->outgoing[node];
	if (!o->count)
		return;
	bool sent = send_frame(c, node, o);
	c->counters.frames_out += sent;
	c->counters.frames_lost += !sent;
	c->counters.messages_out += sent ? o->count : 0;
	for (size_t i = 0; i < o->count; i++) {
		if (!sent && o->messages[i].kind == RAFT_APPEND_ENTRIES)
			raft_unreachable(c->groups[o->groups[i]].raft, o->to); /* it probes with the next tick */
		raft_message_clear(&o->messages[i]);
	}
	o->count = o->entries = o->bytes = 0;
}

static void gather(struct consensus *c, uint32_t group, struct raft_message *m)
{
	uint32_t node = node_of(m->to);
	if (node >= c->topology->cloud_count || node == c->self) {
		c->counters.messages_bad++;
		raft_message_clear(m);
		return;
	}
	struct outgoing *o = &c->outgoing[node];
	size_t bytes = message_bytes(m);
	if (o->count && (o->to != m->to || o->count == RAFT_MESSAGES_PER_FRAME_MAX ||
			    o->entries + m->entry_count > RAFT_ENTRIES_PER_FRAME_MAX ||
			    o->bytes + bytes + ENVELOPE_BYTES > FRAME_MAX))
		send_gathered(c, node);
	if (o->count == o->cap) {
		o->cap = o->cap ? o->cap * 2 : 16;
		o->messages = xrealloc(o->messages, o->cap * sizeof(*o->messages));
		o->groups = xrealloc(o->groups, o->cap * sizeof(*o->groups));
	}
	o->to = m->to;
	o->messages[o->count] = *m;
	o->groups[o->count++] = group;
	o->entries += m->entry_count;
	o->bytes += bytes;
}

void wire_gather(struct group *g)
{
	struct raft_message m;
	while (raft_pop_message(g->raft, &m))
		gather(g->c, g->number, &m);
}

void wire_flush(struct consensus *c)
{
	for (uint32_t node = 0; node < CLOUDS_MAX; node++)
		send_gathered(c, node);
}

void wire_free(struct consensus *c)
{
	for (size_t node = 0; node < CLOUDS_MAX; node++) {
		struct outgoing *o = &c->outgoing[node];
		for (size_t i = 0; i < o->count; i++)
			raft_message_clear(&o->messages[i]);
		free(o->messages);
		free(o->groups);
	}
	free(c->outgoing);
}

/* ---- in -------------------------------------------------------------------------------------------------------- */

static bool entry_ok(const struct msg_raft_entry *e)
{
	struct raft_config config;
	switch ((enum raft_entry_kind)e->kind) {
	case RAFT_ENTRY_DATA:
		return e->data.n <= ENTRY_MAX;
	case RAFT_ENTRY_NOOP:
		return e->data.n == 0;
	case RAFT_ENTRY_CONFIG:
		return e->data.n <= RAFT_CONFIG_BYTES_MAX && !raft_config_decode(e->data.p, e->data.n, &config);
	}
	return false;
}

static bool message_ok(const struct msg_raft *m)
{
	if (m->kind < RAFT_PRE_VOTE || m->kind > RAFT_TIMEOUT_NOW || m->entry_count > RAFT_MESSAGE_ENTRIES_MAX ||
	    (m->entry_count && m->kind != RAFT_APPEND_ENTRIES) || m->index >= RAFT_TERM_MAX)
		return false;
	for (size_t i = 0; i < m->entry_count; i++) {
		if (!entry_ok(&m->entries[i]))
			return false;
	}
	return true;
}

static struct raft_message read_message(const struct msg_raft *m, uint64_t from, uint64_t to)
{
	struct raft_message out = {.kind = (enum raft_message_kind)m->kind, .from = from, .to = to, .term = m->term,
	    .index = m->index, .log_term = m->log_term, .commit = m->commit, .reject = m->reject, .force = m->force,
	    .hint_index = m->hint_index, .hint_term = m->hint_term, .round = m->round};
	if (m->entry_count)
		out.entries = xcalloc(m->entry_count, sizeof(*out.entries));
	for (; out.entry_count < m->entry_count; out.entry_count++) {
		const struct msg_raft_entry *e = &m->entries[out.entry_count];
		struct raft_entry *entry = &out.entries[out.entry_count];
		entry->index = m->index + 1 + out.entry_count;
		entry->term = e->term;
		entry->kind = (enum raft_entry_kind)e->kind;
		if (entry->kind != RAFT_ENTRY_NOOP)
			entry->data = raft_data_copy(e->data.n ? e->data.p : (const uint8_t *)"", e->data.n);
	}
	return out;
}

static void receive_one(struct consensus *c, const struct msg_raft *m, uint64_t from)
{
	if (!consensus_holds(c, m->group)) {
		c->counters.frames_foreign++;
		return;
	}
	struct group *g = &c->groups[m->group];
	if (!message_ok(m)) {
		c->counters.messages_bad++;
		return;
	}
	if (!group_live(g))
		return; /* being founded: whoever speaks asks again */
	struct raft_message in = read_message(m, from, c->member);
	if (raft_step(g->raft, &in) == RAFT_EINVAL)
		c->counters.messages_bad++;
	raft_message_clear(&in);
	group_touch(g);
}

void wire_receive(struct consensus *c, uint32_t node, const struct msg *m)
{
	c->counters.frames_in++;
	if (m->raft.to != c->member || m->raft.from == RAFT_NOBODY || node_of(m->raft.from) != node || node == c->self) {
		c->counters.frames_foreign++;
		return;
	}
	for (size_t i = 0; i < m->raft.message_count && !c->failed; i++)
		receive_one(c, &m->raft.messages[i], m->raft.from);
	c->counters.messages_in += m->raft.message_count;
}
