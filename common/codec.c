/* The mapping between struct msg and the generated protobuf code, and the checks that both directions share. */
#include "common/codec.h"

#include <stdlib.h>
#include <string.h>

#include "common/codec_arena.h"
#include "common/err.h"
#include "common/model.h"
#include "proto/weir.pb-c.h"

#define VERDICT_COUNT (VERDICT_UNAVAILABLE + 1)
#define PHASE_COUNT (PHASE_BACKPRESSURED + 1)
#define ROLE_COUNT (REPLICA_FORMING + 1)
#define RAFT_GROUPS_MAX (SHARDS_MAX + 1)

_Static_assert(INFO_HAS_MAX * 8 >= RAFT_GROUPS_MAX, "each group has its bit");

const char *verdict_text(enum verdict v)
{
	static const char *const texts[VERDICT_COUNT] = {
	    [VERDICT_OK] = "ok",
	    [VERDICT_DUPLICATE] = "duplicate",
	    [VERDICT_FENCED] = "fenced",
	    [VERDICT_OUT_OF_SEQUENCE] = "out_of_sequence",
	    [VERDICT_BUSY] = "busy",
	    [VERDICT_NOT_OPEN] = "not_open",
	    [VERDICT_REFUSED] = "refused",
	    [VERDICT_UNAVAILABLE] = "unavailable",
	};
	return (unsigned)v < VERDICT_COUNT ? texts[v] : "unknown";
}

const char *replica_role_text(enum replica_role r)
{
	static const char *const texts[ROLE_COUNT] = {
	    [REPLICA_FOLLOWER] = "follower",
	    [REPLICA_CANDIDATE] = "candidate",
	    [REPLICA_LEADER] = "leader",
	    [REPLICA_LEARNER] = "learner",
	    [REPLICA_FORMING] = "forming",
	};
	return (unsigned)r < ROLE_COUNT ? texts[r] : "unknown";
}

/* ---- checks, the same for what is sent and what is received ---- */

static bool name_ok(const char *s)
{
	if (!s)
		return true;
	size_t n = strnlen(s, NAME_MAX_BYTES + 1);
	for (size_t i = 0; i < n; i++) {
		char c = s[i];
		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '_' &&
		    c != '.' && c != '-')
			return false;
	}
	return n <= NAME_MAX_BYTES;
}

static bool verdict_ok(enum verdict v)
{
	return (unsigned)v < VERDICT_COUNT;
}

/* Absent, or exactly as long as it must be. */
static bool id_ok(struct bytes b, size_t n)
{
	return b.n == 0 || b.n == n;
}

static int check_report(const struct msg *m)
{
	if (m->report.refused_count > REASON_COUNTS_MAX || m->report.stream_count > REPORT_STREAMS_MAX)
		return WEIR_ETOOBIG;
	bool ok = name_ok(m->report.edge);
	for (size_t i = 0; i < m->report.refused_count; i++)
		ok = ok && name_ok(m->report.refused[i].name);
	for (size_t i = 0; i < m->report.stream_count; i++)
		ok = ok && name_ok(m->report.streams[i].name) && (unsigned)m->report.streams[i].phase < PHASE_COUNT;
	return ok ? 0 : WEIR_EINVAL;
}

static bool role_ok(enum replica_role r)
{
	return (unsigned)r < ROLE_COUNT;
}

static int check_group_status(const struct msg_group_status *g)
{
	if (g->replica_count > REPLICAS_PER_STATUS_MAX)
		return WEIR_ETOOBIG;
	bool ok = g->group < RAFT_GROUPS_MAX && role_ok(g->role) && name_ok(g->node) && name_ok(g->leader);
	for (size_t i = 0; i < g->replica_count; i++)
		ok = ok && name_ok(g->replicas[i].node) && role_ok(g->replicas[i].role);
	return ok ? 0 : WEIR_EINVAL;
}

static int check_status_reply(const struct msg *m)
{
	if (m->status_reply.group_count > GROUPS_PER_STATUS_MAX)
		return WEIR_ETOOBIG;
	int err = verdict_ok(m->status_reply.verdict) ? 0 : WEIR_EINVAL;
	for (size_t i = 0; i < m->status_reply.group_count && !err; i++)
		err = check_group_status(&m->status_reply.groups[i]);
	return err;
}

static int check_info(const struct msg_info *info)
{
	if (info->has.n > INFO_HAS_MAX || info->lead_count > RAFT_GROUPS_MAX)
		return WEIR_ETOOBIG;
	bool ok = name_ok(info->cluster);
	for (size_t i = 0; i < info->lead_count; i++)
		ok = ok && info->leads[i].group < RAFT_GROUPS_MAX;
	if (info->digest_count > DIGESTS_TOLD_MAX)
		return WEIR_ETOOBIG;
	for (size_t i = 0; i < info->digest_count; i++)
		ok = ok && info->digests[i].group < RAFT_GROUPS_MAX;
	return ok ? 0 : WEIR_EINVAL;
}

static int check_raft(const struct msg *m)
{
	if (m->raft.message_count > RAFT_MESSAGES_PER_FRAME_MAX)
		return WEIR_ETOOBIG;
	size_t entries = 0;
	bool ok = true;
	for (size_t i = 0; i < m->raft.message_count; i++) {
		if (m->raft.messages[i].entry_count > RAFT_ENTRIES_PER_FRAME_MAX - entries)
			return WEIR_ETOOBIG;
		entries += m->raft.messages[i].entry_count;
		ok = ok && m->raft.messages[i].group < RAFT_GROUPS_MAX;
	}
	return ok ? 0 : WEIR_EINVAL;
}

static int check_snapshot_reply(const struct msg *m)
{
	if (m->snapshot_reply.config.n > SNAPSHOT_CONFIG_MAX || m->snapshot_reply.records.n > SNAPSHOT_CHUNK_MAX)
		return WEIR_ETOOBIG;
	bool ok = verdict_ok(m->snapshot_reply.verdict) && m->snapshot_reply.group < RAFT_GROUPS_MAX;
	return ok ? 0 : WEIR_EINVAL;
}

/* Bodies of plain fields; those with lists or maxima of their own have functions of their own. */
static bool body_ok(const struct msg *m)
{
	switch (m->type) {
	case MSG_NONE:
		return false;
	case MSG_HELLO:
		return name_ok(m->hello.edge) && name_ok(m->hello.cluster) && m->hello.claim.n == CLAIM_BYTES;
	case MSG_HELLO_REPLY:
		return name_ok(m->hello_reply.edge) && verdict_ok(m->hello_reply.verdict) &&
		    id_ok(m->hello_reply.claim, CLAIM_BYTES) && id_ok(m->hello_reply.cluster_id, CLUSTER_ID_BYTES);
	case MSG_OPEN:
		return name_ok(m->open.edge) && m->open.shard < SHARDS_MAX;
	case MSG_OPEN_REPLY:
		return name_ok(m->open_reply.edge) && verdict_ok(m->open_reply.verdict) &&
		    m->open_reply.shard < SHARDS_MAX;
	case MSG_BATCH:
		return name_ok(m->batch.edge) && m->batch.shard < SHARDS_MAX;
	case MSG_BATCH_REPLY:
		return name_ok(m->batch_reply.edge) && verdict_ok(m->batch_reply.verdict) &&
		    m->batch_reply.shard < SHARDS_MAX;
	case MSG_REPORT:
	case MSG_STATUS_REPLY:
	case MSG_INFO:
	case MSG_INFO_REPLY:
	case MSG_RAFT:
	case MSG_SNAPSHOT_REPLY:
		return true; /* check_lists */
	case MSG_SNAPSHOT:
		return m->snapshot.group < RAFT_GROUPS_MAX;
	case MSG_MAP:
		return true;
	case MSG_MAP_REPLY:
		return verdict_ok(m->map_reply.verdict) && m->map_reply.map.n <= MAP_BYTES_MAX;
	case MSG_TOPOLOGY:
		return m->topology.text_bytes <= TOPOLOGY_TEXT_MAX;
	case MSG_TOPOLOGY_REPLY:
		return verdict_ok(m->topology_reply.verdict);
	case MSG_REVOKE:
		return name_ok(m->revoke.edge);
	case MSG_REVOKE_REPLY:
		return verdict_ok(m->revoke_reply.verdict);
	case MSG_REPORT_REPLY:
		return name_ok(m->report_reply.edge) && verdict_ok(m->report_reply.verdict);
	case MSG_ADVANCE:
		return m->advance.shard < SHARDS_MAX;
	case MSG_ADVANCE_REPLY:
		return verdict_ok(m->advance_reply.verdict) && m->advance_reply.shard < SHARDS_MAX;
	case MSG_READMIT:
		return name_ok(m->readmit.edge);
	case MSG_READMIT_REPLY:
		return name_ok(m->readmit_reply.edge) && verdict_ok(m->readmit_reply.verdict);
	case MSG_QUERY:
		return m->query.shard < SHARDS_MAX;
	case MSG_QUERY_REPLY:
		return verdict_ok(m->query_reply.verdict) && m->query_reply.shard < SHARDS_MAX;
	case MSG_OUTBOX:
		return name_ok(m->outbox.stream) && m->outbox.shard < SHARDS_MAX;
	case MSG_OUTBOX_REPLY:
		return verdict_ok(m->outbox_reply.verdict) && m->outbox_reply.shard < SHARDS_MAX;
	case MSG_STATUS:
		return name_ok(m->status.what);
	case MSG_ERROR:
		return verdict_ok(m->error.verdict);
	}
	return false;
}

static int check_lists(const struct msg *m)
{
	if (m->type == MSG_REPORT)
		return check_report(m);
	if (m->type == MSG_STATUS_REPLY)
		return check_status_reply(m);
	if (m->type == MSG_INFO)
		return check_info(&m->info);
	if (m->type == MSG_INFO_REPLY)
		return check_info(&m->info_reply);
	if (m->type == MSG_RAFT)
		return check_raft(m);
	if (m->type == MSG_SNAPSHOT_REPLY)
		return check_snapshot_reply(m);
	return 0;
}

static int check_msg(const struct msg *m)
{
	if (!name_ok(m->from) || !id_ok(m->cluster_id, CLUSTER_ID_BYTES) || !body_ok(m))
		return WEIR_EINVAL;
	return check_lists(m);
}

/* ---- to the wire ---- */

static ProtobufCBinaryData put_bytes(struct bytes b)
{
	return (ProtobufCBinaryData){b.n, (uint8_t *)b.p};
}

static ProtobufCBinaryData put_name(const char *s)
{
	return (ProtobufCBinaryData){s ? strlen(s) : 0, (uint8_t *)s};
}

/* Cut where it is too long, but not within a UTF-8 character. */
static ProtobufCBinaryData put_text(const char *s)
{
	size_t n = s ? strnlen(s, TEXT_MAX_BYTES + 1) : 0;
	if (n > TEXT_MAX_BYTES) {
		n = TEXT_MAX_BYTES;
		while (n && ((uint8_t)s[n] & 0xc0) == 0x80)
			n--;
	}
	return (ProtobufCBinaryData){n, (uint8_t *)s};
}

static Weir__Verdict put_verdict(enum verdict v)
{
	return (Weir__Verdict)((unsigned)v + 1);
}

/* The generated struct of any body, on the encoder's stack; and the heap that repeated fields need. */
struct body {
	union {
		Weir__Hello hello;
		Weir__HelloReply hello_reply;
		Weir__Open open;
		Weir__OpenReply open_reply;
		Weir__Batch batch;
		Weir__BatchReply batch_reply;
		Weir__Report report;
		Weir__ReportReply report_reply;
		Weir__Advance advance;
		Weir__AdvanceReply advance_reply;
		Weir__Readmit readmit;
		Weir__ReadmitReply readmit_reply;
		Weir__Info info;
		struct {
			Weir__InfoReply info_reply;
			Weir__Info info_of_reply;
		};
		Weir__Query query;
		Weir__QueryReply query_reply;
		Weir__Outbox outbox;
		Weir__OutboxReply outbox_reply;
		Weir__Status status;
		Weir__StatusReply status_reply;
		Weir__Map map;
		Weir__MapReply map_reply;
		Weir__Topology topology;
		Weir__TopologyReply topology_reply;
		Weir__Revoke revoke;
		Weir__RevokeReply revoke_reply;
		Weir__Error error;
		Weir__Raft raft;
		Weir__Snapshot snapshot;
		Weir__SnapshotReply snapshot_reply;
	};
	Weir__Count *counts;
	Weir__Count **count_refs;
	Weir__ReportStream *streams;
	Weir__ReportStream **stream_refs;
	Weir__GroupStatus *groups;
	Weir__GroupStatus **group_refs;
	Weir__ReplicaStatus *replicas;
	Weir__ReplicaStatus **replica_refs;
	Weir__Lead *leads;
	Weir__Lead **lead_refs;
	uint32_t *digest_groups;
	uint64_t *digest_indexes, *digests;
	Weir__RaftMessage *messages;
	Weir__RaftMessage **message_refs;
	Weir__RaftEntry *entries;
	Weir__RaftEntry **entry_refs;
};

static void body_free(struct body *b)
{
	free(b->counts);
	free(b->count_refs);
	free(b->streams);
	free(b->stream_refs);
	free(b->groups);
	free(b->group_refs);
	free(b->replicas);
	free(b->replica_refs);
	free(b->leads);
	free(b->lead_refs);
	free(b->digest_groups);
	free(b->digest_indexes);
	free(b->digests);
	free(b->messages);
	free(b->message_refs);
	free(b->entries);
	free(b->entry_refs);
}

static void put_hello(const struct msg *m, Weir__Hello *w)
{
	weir__hello__init(w);
	w->edge = put_name(m->hello.edge);
	w->cluster = put_name(m->hello.cluster);
	w->epoch = m->hello.epoch;
	w->claim = put_bytes(m->hello.claim);
	w->empty = m->hello.empty;
	w->software = put_text(m->hello.software);
	w->map_version = m->hello.map_version;
	w->fenced = m->hello.fenced;
}

static void put_hello_reply(const struct msg *m, Weir__HelloReply *w)
{
	weir__hello_reply__init(w);
	w->edge = put_name(m->hello_reply.edge);
	w->verdict = put_verdict(m->hello_reply.verdict);
	w->epoch = m->hello_reply.epoch;
	w->claim = put_bytes(m->hello_reply.claim);
	w->resume = m->hello_reply.resume;
	w->readmitted = m->hello_reply.readmitted;
	w->credit_bytes = m->hello_reply.credit_bytes;
	w->cluster_id = put_bytes(m->hello_reply.cluster_id);
	w->reason = put_text(m->hello_reply.reason);
	w->map_version = m->hello_reply.map_version;
}

static void put_open(const struct msg *m, Weir__Open *w)
{
	weir__open__init(w);
	w->edge = put_name(m->open.edge);
	w->epoch = m->open.epoch;
	w->shard = m->open.shard;
	w->low = m->open.low;
	w->high = m->open.high;
	w->resume = m->open.resume;
}

static void put_open_reply(const struct msg *m, Weir__OpenReply *w)
{
	weir__open_reply__init(w);
	w->edge = put_name(m->open_reply.edge);
	w->shard = m->open_reply.shard;
	w->verdict = put_verdict(m->open_reply.verdict);
	w->epoch = m->open_reply.epoch;
	w->last = m->open_reply.last;
	w->reason = put_text(m->open_reply.reason);
}

static void put_batch(const struct msg *m, Weir__Batch *w)
{
	weir__batch__init(w);
	w->edge = put_name(m->batch.edge);
	w->epoch = m->batch.epoch;
	w->shard = m->batch.shard;
	w->seq = m->batch.seq;
	w->body = put_bytes(m->batch.body);
	w->map_version = m->batch.map_version;
}

static void put_batch_reply(const struct msg *m, Weir__BatchReply *w)
{
	weir__batch_reply__init(w);
	w->edge = put_name(m->batch_reply.edge);
	w->shard = m->batch_reply.shard;
	w->seq = m->batch_reply.seq;
	w->verdict = put_verdict(m->batch_reply.verdict);
	w->epoch = m->batch_reply.epoch;
	w->last = m->batch_reply.last;
	w->credit_bytes = m->batch_reply.credit_bytes;
	w->reason = put_text(m->batch_reply.reason);
}

static void put_report_lists(const struct msg *m, struct body *b)
{
	size_t refused = m->report.refused_count, streams = m->report.stream_count;
	b->counts = xcalloc(refused, sizeof(*b->counts));
	b->count_refs = xcalloc(refused, sizeof(*b->count_refs));
	for (size_t i = 0; i < refused; i++) {
		weir__count__init(&b->counts[i]);
		b->counts[i].name = put_name(m->report.refused[i].name);
		b->counts[i].value = m->report.refused[i].value;
		b->count_refs[i] = &b->counts[i];
	}
	b->streams = xcalloc(streams, sizeof(*b->streams));
	b->stream_refs = xcalloc(streams, sizeof(*b->stream_refs));
	for (size_t i = 0; i < streams; i++) {
		const struct msg_report_stream *s = &m->report.streams[i];
		Weir__ReportStream *w = b->stream_refs[i] = &b->streams[i];
		weir__report_stream__init(w);
		w->name = put_name(s->name);
		w->version = s->version;
		w->phase = (Weir__Phase)s->phase;
		w->watermark_ns = s->watermark_ns;
		w->flushed_end_ns = s->flushed_end_ns;
		w->unsent = s->unsent;
		w->since_known = s->since_known;
		w->since_ns = s->since_ns;
	}
}

static void put_report(const struct msg *m, struct body *b)
{
	Weir__Report *w = &b->report;
	weir__report__init(w);
	put_report_lists(m, b);
	w->map_version = m->report.map_version;
	w->edge = put_name(m->report.edge);
	w->epoch = m->report.epoch;
	w->sent_mono_ns = m->report.sent_mono_ns;
	w->wall_ns = m->report.wall_ns;
	w->spool_bytes = m->report.spool_bytes;
	w->accepted = m->report.accepted;
	w->clock_suspect = m->report.clock_suspect;
	w->n_refused = m->report.refused_count;
	w->refused = b->count_refs;
	w->n_streams = m->report.stream_count;
	w->streams = b->stream_refs;
	w->incarnation = m->report.incarnation;
	w->seq = m->report.seq;
}

static void put_report_reply(const struct msg *m, Weir__ReportReply *w)
{
	weir__report_reply__init(w);
	w->edge = put_name(m->report_reply.edge);
	w->verdict = put_verdict(m->report_reply.verdict);
	w->sent_mono_ns = m->report_reply.sent_mono_ns;
	w->epoch = m->report_reply.epoch;
	w->credit_bytes = m->report_reply.credit_bytes;
	w->reason = put_text(m->report_reply.reason);
	w->map_version = m->report_reply.map_version;
}

static void put_advance(const struct msg *m, Weir__Advance *w)
{
	weir__advance__init(w);
	w->shard = m->advance.shard;
	w->meta_index = m->advance.meta_index;
	w->entry = put_bytes(m->advance.entry);
}

static void put_advance_reply(const struct msg *m, Weir__AdvanceReply *w)
{
	weir__advance_reply__init(w);
	w->shard = m->advance_reply.shard;
	w->verdict = put_verdict(m->advance_reply.verdict);
	w->meta_index = m->advance_reply.meta_index;
}

static void put_readmit_reply(const struct msg *m, Weir__ReadmitReply *w)
{
	weir__readmit_reply__init(w);
	w->edge = put_name(m->readmit_reply.edge);
	w->verdict = put_verdict(m->readmit_reply.verdict);
	w->reason = put_text(m->readmit_reply.reason);
}

static void put_query(const struct msg *m, Weir__Query *w)
{
	weir__query__init(w);
	w->shard = m->query.shard;
	w->linearizable = m->query.linearizable;
	w->spec = put_bytes(m->query.spec);
	w->map_version = m->query.map_version;
}

static void put_query_reply(const struct msg *m, Weir__QueryReply *w)
{
	weir__query_reply__init(w);
	w->shard = m->query_reply.shard;
	w->verdict = put_verdict(m->query_reply.verdict);
	w->rows = put_bytes(m->query_reply.rows);
	w->more = m->query_reply.more;
	w->behind_entries = m->query_reply.behind_entries;
	w->age_ns = m->query_reply.age_ns;
	w->kept_ns = m->query_reply.kept_ns;
	w->reason = put_text(m->query_reply.reason);
}

static void put_outbox(const struct msg *m, Weir__Outbox *w)
{
	weir__outbox__init(w);
	w->shard = m->outbox.shard;
	w->stream = put_name(m->outbox.stream);
	w->index = m->outbox.index;
	w->n = m->outbox.n;
	w->limit = m->outbox.limit;
	w->version = m->outbox.version;
}

static void put_outbox_reply(const struct msg *m, Weir__OutboxReply *w)
{
	weir__outbox_reply__init(w);
	w->shard = m->outbox_reply.shard;
	w->verdict = put_verdict(m->outbox_reply.verdict);
	w->index = m->outbox_reply.index;
	w->n = m->outbox_reply.n;
	w->reset = m->outbox_reply.reset;
	w->rows = put_bytes(m->outbox_reply.rows);
	w->reason = put_text(m->outbox_reply.reason);
}

static void put_digests(const struct msg_info *info, Weir__Info *w, struct body *b)
{
	b->digest_groups = xcalloc(info->digest_count, sizeof(*b->digest_groups));
	b->digest_indexes = xcalloc(info->digest_count, sizeof(*b->digest_indexes));
	b->digests = xcalloc(info->digest_count, sizeof(*b->digests));
	for (size_t i = 0; i < info->digest_count; i++) {
		b->digest_groups[i] = info->digests[i].group;
		b->digest_indexes[i] = info->digests[i].index;
		b->digests[i] = info->digests[i].value;
	}
	w->n_digest_groups = w->n_digest_indexes = w->n_digests = info->digest_count;
	w->digest_groups = b->digest_groups;
	w->digest_indexes = b->digest_indexes;
	w->digests = b->digests;
}

static void put_info(const struct msg_info *info, Weir__Info *w, struct body *b)
{
	b->leads = xcalloc(info->lead_count, sizeof(*b->leads));
	b->lead_refs = xcalloc(info->lead_count, sizeof(Weir__Lead *));
	for (size_t i = 0; i < info->lead_count; i++) {
		weir__lead__init(&b->leads[i]);
		b->leads[i].group = info->leads[i].group;
		b->leads[i].term = info->leads[i].term;
		b->leads[i].settled = info->leads[i].settled;
		b->lead_refs[i] = &b->leads[i];
	}
	weir__info__init(w);
	w->cluster = put_name(info->cluster);
	w->replica = info->replica;
	w->has = put_bytes(info->has);
	w->n_leads = info->lead_count;
	w->leads = b->lead_refs;
	put_digests(info, w, b);
	w->map_version = info->map_version;
	w->full = info->full;
	w->listed = info->listed;
}

static void put_info_reply(const struct msg *m, struct body *b)
{
	weir__info_reply__init(&b->info_reply);
	put_info(&m->info_reply, &b->info_of_reply, b);
	b->info_reply.info = &b->info_of_reply;
}

/* `at`: how many replicas of the groups before are there. */
static void put_group_status(const struct msg_group_status *g, Weir__GroupStatus *w, struct body *b, size_t at)
{
	weir__group_status__init(w);
	w->group = g->group;
	w->term = g->term;
	w->committed = g->committed;
	w->applied = g->applied;
	w->digest_hi = g->digest_hi;
	w->digest_lo = g->digest_lo;
	w->digest_index = g->digest_index;
	w->node = put_name(g->node);
	w->role = (Weir__Role)g->role;
	w->replica = g->replica;
	w->leader = put_name(g->leader);
	w->quorum = g->quorum;
	w->n_replicas = g->replica_count;
	w->replicas = b->replica_refs + at;
	for (size_t i = 0; i < g->replica_count; i++) {
		const struct msg_replica_status *r = &g->replicas[i];
		Weir__ReplicaStatus *wr = b->replica_refs[at + i] = &b->replicas[at + i];
		weir__replica_status__init(wr);
		wr->node = put_name(r->node);
		wr->replica = r->replica;
		wr->match = r->match;
		wr->role = (Weir__Role)r->role;
		wr->active = r->active;
	}
}

static void put_status_reply(const struct msg *m, struct body *b)
{
	size_t groups = m->status_reply.group_count, replicas = 0;
	for (size_t i = 0; i < groups; i++)
		replicas += m->status_reply.groups[i].replica_count;
	b->groups = xcalloc(groups, sizeof(*b->groups));
	b->group_refs = xcalloc(groups, sizeof(*b->group_refs));
	b->replicas = xcalloc(replicas, sizeof(*b->replicas));
	b->replica_refs = xcalloc(replicas, sizeof(*b->replica_refs));
	for (size_t i = 0, at = 0; i < groups; at += m->status_reply.groups[i++].replica_count) {
		b->group_refs[i] = &b->groups[i];
		put_group_status(&m->status_reply.groups[i], &b->groups[i], b, at);
	}
	weir__status_reply__init(&b->status_reply);
	b->status_reply.verdict = put_verdict(m->status_reply.verdict);
	b->status_reply.n_groups = groups;
	b->status_reply.groups = b->group_refs;
	b->status_reply.json = put_bytes(m->status_reply.json);
	b->status_reply.reason = put_text(m->status_reply.reason);
}

static void put_raft_entries(const struct msg_raft *r, Weir__RaftEntry *entries, Weir__RaftEntry **refs)
{
	for (size_t i = 0; i < r->entry_count; i++) {
		refs[i] = &entries[i];
		weir__raft_entry__init(&entries[i]);
		entries[i].term = r->entries[i].term;
		entries[i].kind = r->entries[i].kind;
		entries[i].data = put_bytes(r->entries[i].data);
	}
}

static void put_raft_message(const struct msg_raft *r, Weir__RaftMessage *w)
{
	weir__raft_message__init(w);
	w->group = r->group;
	w->kind = r->kind;
	w->term = r->term;
	w->index = r->index;
	w->log_term = r->log_term;
	w->commit = r->commit;
	w->hint_index = r->hint_index;
	w->hint_term = r->hint_term;
	w->round = r->round;
	w->reject = r->reject;
	w->force = r->force;
	w->n_entries = r->entry_count;
}

static void put_raft(const struct msg *m, struct body *b)
{
	size_t messages = m->raft.message_count, entries = 0;
	for (size_t i = 0; i < messages; i++)
		entries += m->raft.messages[i].entry_count;
	b->messages = xcalloc(messages, sizeof(*b->messages));
	b->message_refs = xcalloc(messages, sizeof(*b->message_refs));
	b->entries = xcalloc(entries, sizeof(*b->entries));
	b->entry_refs = xcalloc(entries, sizeof(*b->entry_refs));
	for (size_t i = 0, at = 0; i < messages; at += m->raft.messages[i++].entry_count) {
		b->message_refs[i] = &b->messages[i];
		put_raft_message(&m->raft.messages[i], &b->messages[i]);
		b->messages[i].entries = b->entry_refs + at;
		put_raft_entries(&m->raft.messages[i], b->entries + at, b->entry_refs + at);
	}
	weir__raft__init(&b->raft);
	b->raft.from = m->raft.from;
	b->raft.to = m->raft.to;
	b->raft.n_messages = messages;
	b->raft.messages = b->message_refs;
}

static void put_snapshot(const struct msg *m, Weir__Snapshot *w)
{
	weir__snapshot__init(w);
	w->group = m->snapshot.group;
	w->id = m->snapshot.id;
	w->chunk = m->snapshot.chunk;
}

static void put_snapshot_reply(const struct msg *m, Weir__SnapshotReply *w)
{
	weir__snapshot_reply__init(w);
	w->group = m->snapshot_reply.group;
	w->verdict = put_verdict(m->snapshot_reply.verdict);
	w->id = m->snapshot_reply.id;
	w->chunk = m->snapshot_reply.chunk;
	w->index = m->snapshot_reply.index;
	w->term = m->snapshot_reply.term;
	w->config = put_bytes(m->snapshot_reply.config);
	w->digest_hi = m->snapshot_reply.digest_hi;
	w->digest_lo = m->snapshot_reply.digest_lo;
	w->meta_index = m->snapshot_reply.meta_index;
	w->skipped = m->snapshot_reply.skipped;
	w->total_bytes = m->snapshot_reply.total_bytes;
	w->checksum = m->snapshot_reply.checksum;
	w->records = put_bytes(m->snapshot_reply.records);
	w->last = m->snapshot_reply.last;
	w->reason = put_text(m->snapshot_reply.reason);
}

static void put_map_reply(const struct msg *m, Weir__MapReply *w)
{
	weir__map_reply__init(w);
	w->verdict = put_verdict(m->map_reply.verdict);
	w->version = m->map_reply.version;
	w->map = put_bytes(m->map_reply.map);
	w->reason = put_text(m->map_reply.reason);
}

static void put_topology(const struct msg *m, Weir__Topology *w)
{
	weir__topology__init(w);
	w->base_version = m->topology.base_version;
	w->text = put_bytes(m->topology.text);
	w->text_bytes = m->topology.text_bytes;
	w->dry_run = m->topology.dry_run;
}

static void put_topology_reply(const struct msg *m, Weir__TopologyReply *w)
{
	weir__topology_reply__init(w);
	w->verdict = put_verdict(m->topology_reply.verdict);
	w->version = m->topology_reply.version;
	w->json = put_bytes(m->topology_reply.json);
	w->reason = put_text(m->topology_reply.reason);
}

static void put_revoke(const struct msg *m, Weir__Revoke *w)
{
	weir__revoke__init(w);
	w->edge = put_name(m->revoke.edge);
	w->revoked = m->revoke.revoked;
}

static void put_revoke_reply(const struct msg *m, Weir__RevokeReply *w)
{
	weir__revoke_reply__init(w);
	w->verdict = put_verdict(m->revoke_reply.verdict);
	w->version = m->revoke_reply.version;
	w->reason = put_text(m->revoke_reply.reason);
}

static const Weir__Frame__BodyCase cases[MSG_ERROR + 1] = {
	[MSG_HELLO] = WEIR__FRAME__BODY_HELLO,
	[MSG_HELLO_REPLY] = WEIR__FRAME__BODY_HELLO_REPLY,
	[MSG_OPEN] = WEIR__FRAME__BODY_OPEN,
	[MSG_OPEN_REPLY] = WEIR__FRAME__BODY_OPEN_REPLY,
	[MSG_BATCH] = WEIR__FRAME__BODY_BATCH,
	[MSG_BATCH_REPLY] = WEIR__FRAME__BODY_BATCH_REPLY,
	[MSG_REPORT] = WEIR__FRAME__BODY_REPORT,
	[MSG_REPORT_REPLY] = WEIR__FRAME__BODY_REPORT_REPLY,
	[MSG_ADVANCE] = WEIR__FRAME__BODY_ADVANCE,
	[MSG_ADVANCE_REPLY] = WEIR__FRAME__BODY_ADVANCE_REPLY,
	[MSG_READMIT] = WEIR__FRAME__BODY_READMIT,
	[MSG_READMIT_REPLY] = WEIR__FRAME__BODY_READMIT_REPLY,
	[MSG_INFO] = WEIR__FRAME__BODY_INFO,
	[MSG_INFO_REPLY] = WEIR__FRAME__BODY_INFO_REPLY,
	[MSG_QUERY] = WEIR__FRAME__BODY_QUERY,
	[MSG_QUERY_REPLY] = WEIR__FRAME__BODY_QUERY_REPLY,
	[MSG_OUTBOX] = WEIR__FRAME__BODY_OUTBOX,
	[MSG_OUTBOX_REPLY] = WEIR__FRAME__BODY_OUTBOX_REPLY,
	[MSG_STATUS] = WEIR__FRAME__BODY_STATUS,
	[MSG_STATUS_REPLY] = WEIR__FRAME__BODY_STATUS_REPLY,
	[MSG_RAFT] = WEIR__FRAME__BODY_RAFT,
	[MSG_SNAPSHOT] = WEIR__FRAME__BODY_SNAPSHOT,
	[MSG_SNAPSHOT_REPLY] = WEIR__FRAME__BODY_SNAPSHOT_REPLY,
	[MSG_MAP] = WEIR__FRAME__BODY_MAP,
	[MSG_MAP_REPLY] = WEIR__FRAME__BODY_MAP_REPLY,
	[MSG_TOPOLOGY] = WEIR__FRAME__BODY_TOPOLOGY,
	[MSG_TOPOLOGY_REPLY] = WEIR__FRAME__BODY_TOPOLOGY_REPLY,
	[MSG_REVOKE] = WEIR__FRAME__BODY_REVOKE,
	[MSG_REVOKE_REPLY] = WEIR__FRAME__BODY_REVOKE_REPLY,
	[MSG_ERROR] = WEIR__FRAME__BODY_ERROR,
};

static Weir__Frame__BodyCase case_of(enum msg_type type)
{
	return cases[type];
}

static enum msg_type type_of(Weir__Frame__BodyCase body)
{
	for (int type = MSG_HELLO; type <= MSG_ERROR; type++) {
		if (cases[type] == body)
			return (enum msg_type)type;
	}
	return MSG_NONE;
}

/* Fills b and hangs it into the frame. */
static void put_body(const struct msg *m, struct body *b, Weir__Frame *f)
{
	f->hello = &b->hello; /* any member: the oneof is a union of pointers, b a union of messages */
	f->body_case = case_of(m->type);
	switch (m->type) {
	case MSG_NONE:
		break;
	case MSG_HELLO:
		put_hello(m, &b->hello);
		break;
	case MSG_HELLO_REPLY:
		put_hello_reply(m, &b->hello_reply);
		break;
	case MSG_OPEN:
		put_open(m, &b->open);
		break;
	case MSG_OPEN_REPLY:
		put_open_reply(m, &b->open_reply);
		break;
	case MSG_BATCH:
		put_batch(m, &b->batch);
		break;
	case MSG_BATCH_REPLY:
		put_batch_reply(m, &b->batch_reply);
		break;
	case MSG_REPORT:
		put_report(m, b);
		break;
	case MSG_REPORT_REPLY:
		put_report_reply(m, &b->report_reply);
		break;
	case MSG_ADVANCE:
		put_advance(m, &b->advance);
		break;
	case MSG_ADVANCE_REPLY:
		put_advance_reply(m, &b->advance_reply);
		break;
	case MSG_READMIT:
		weir__readmit__init(&b->readmit);
		b->readmit.edge = put_name(m->readmit.edge);
		break;
	case MSG_READMIT_REPLY:
		put_readmit_reply(m, &b->readmit_reply);
		break;
	case MSG_INFO:
		put_info(&m->info, &b->info, b);
		break;
	case MSG_INFO_REPLY:
		put_info_reply(m, b);
		break;
	case MSG_QUERY:
		put_query(m, &b->query);
		break;
	case MSG_QUERY_REPLY:
		put_query_reply(m, &b->query_reply);
		break;
	case MSG_OUTBOX:
		put_outbox(m, &b->outbox);
		break;
	case MSG_OUTBOX_REPLY:
		put_outbox_reply(m, &b->outbox_reply);
		break;
	case MSG_STATUS:
		weir__status__init(&b->status);
		b->status.what = put_name(m->status.what);
		break;
	case MSG_STATUS_REPLY:
		put_status_reply(m, b);
		break;
	case MSG_RAFT:
		put_raft(m, b);
		break;
	case MSG_SNAPSHOT:
		put_snapshot(m, &b->snapshot);
		break;
	case MSG_SNAPSHOT_REPLY:
		put_snapshot_reply(m, &b->snapshot_reply);
		break;
	case MSG_MAP:
		weir__map__init(&b->map);
		b->map.version = m->map.version;
		break;
	case MSG_MAP_REPLY:
		put_map_reply(m, &b->map_reply);
		break;
	case MSG_TOPOLOGY:
		put_topology(m, &b->topology);
		break;
	case MSG_TOPOLOGY_REPLY:
		put_topology_reply(m, &b->topology_reply);
		break;
	case MSG_REVOKE:
		put_revoke(m, &b->revoke);
		break;
	case MSG_REVOKE_REPLY:
		put_revoke_reply(m, &b->revoke_reply);
		break;
	case MSG_ERROR:
		weir__error__init(&b->error);
		b->error.verdict = put_verdict(m->error.verdict);
		b->error.reason = put_text(m->error.reason);
		break;
	}
}

int msg_encode(const struct msg *m, struct buf *out)
{
	int err = check_msg(m);
	if (err)
		return err;
	struct body body = {0};
	Weir__Frame frame = WEIR__FRAME__INIT;
	frame.protocol = PROTOCOL_VERSION;
	frame.req_id = m->req_id;
	frame.from = put_name(m->from);
	frame.cluster_id = put_bytes(m->cluster_id);
	put_body(m, &body, &frame);
	size_t len = weir__frame__get_packed_size(&frame);
	if (len > FRAME_MAX) {
		err = WEIR_ETOOBIG;
	} else {
		weir__frame__pack(&frame, buf_reserve(out, len));
		out->len += len;
	}
	body_free(&body);
	return err;
}

/* ---- from the wire ---- */

/* The first failure is kept; what is taken after it is empty. */
struct taker {
	struct arena *arena;
	int err;
};

static const char *take_str(struct taker *t, ProtobufCBinaryData d, size_t max)
{
	if (!t->err && (d.len > max || (d.len && memchr(d.data, 0, d.len))))
		t->err = WEIR_ECORRUPT;
	if (t->err || !d.len)
		return "";
	char *s = arena_alloc(t->arena, d.len + 1);
	if (!s) {
		t->err = WEIR_ETOOBIG;
		return "";
	}
	memcpy(s, d.data, d.len);
	return s;
}

static const char *take_name(struct taker *t, ProtobufCBinaryData d)
{
	return take_str(t, d, NAME_MAX_BYTES);
}

static const char *take_text(struct taker *t, ProtobufCBinaryData d)
{
	return take_str(t, d, TEXT_MAX_BYTES);
}

static struct bytes take_bytes(ProtobufCBinaryData d)
{
	return (struct bytes){d.len ? d.data : NULL, d.len};
}

/* Out of range, VERDICT_NONE included, becomes VERDICT_COUNT or more, which check_msg refuses. */
static enum verdict take_verdict(Weir__Verdict v)
{
	return (enum verdict)((unsigned)v - 1);
}

static void *take_list(struct taker *t, size_t n, size_t max, size_t size)
{
	void *list = NULL;
	if (!t->err && n > max)
		t->err = WEIR_ETOOBIG;
	if (!t->err && n) {
		list = arena_alloc(t->arena, n * size);
		if (!list)
			t->err = WEIR_ETOOBIG;
	}
	return list;
}

static void take_hello(struct taker *t, const Weir__Hello *w, struct msg *m)
{
	m->hello.edge = take_name(t, w->edge);
	m->hello.cluster = take_name(t, w->cluster);
	m->hello.epoch = w->epoch;
	m->hello.claim = take_bytes(w->claim);
	m->hello.empty = w->empty;
	m->hello.software = take_text(t, w->software);
	m->hello.map_version = w->map_version;
	m->hello.fenced = w->fenced;
}

static void take_hello_reply(struct taker *t, const Weir__HelloReply *w, struct msg *m)
{
	m->hello_reply.edge = take_name(t, w->edge);
	m->hello_reply.verdict = take_verdict(w->verdict);
	m->hello_reply.epoch = w->epoch;
	m->hello_reply.claim = take_bytes(w->claim);
	m->hello_reply.resume = w->resume;
	m->hello_reply.readmitted = w->readmitted;
	m->hello_reply.credit_bytes = w->credit_bytes;
	m->hello_reply.cluster_id = take_bytes(w->cluster_id);
	m->hello_reply.reason = take_text(t, w->reason);
	m->hello_reply.map_version = w->map_version;
}

static void take_open(struct taker *t, const Weir__Open *w, struct msg *m)
{
	m->open.edge = take_name(t, w->edge);
	m->open.epoch = w->epoch;
	m->open.shard = w->shard;
	m->open.low = w->low;
	m->open.high = w->high;
	m->open.resume = w->resume;
}

static void take_open_reply(struct taker *t, const Weir__OpenReply *w, struct msg *m)
{
	m->open_reply.edge = take_name(t, w->edge);
	m->open_reply.shard = w->shard;
	m->open_reply.verdict = take_verdict(w->verdict);
	m->open_reply.epoch = w->epoch;
	m->open_reply.last = w->last;
	m->open_reply.reason = take_text(t, w->reason);
}

static void take_batch(struct taker *t, const Weir__Batch *w, struct msg *m)
{
	m->batch.edge = take_name(t, w->edge);
	m->batch.epoch = w->epoch;
	m->batch.shard = w->shard;
	m->batch.seq = w->seq;
	m->batch.map_version = w->map_version;
	m->batch.body = take_bytes(w->body);
}

static void take_batch_reply(struct taker *t, const Weir__BatchReply *w, struct msg *m)
{
	m->batch_reply.edge = take_name(t, w->edge);
	m->batch_reply.shard = w->shard;
	m->batch_reply.seq = w->seq;
	m->batch_reply.verdict = take_verdict(w->verdict);
	m->batch_reply.epoch = w->epoch;
	m->batch_reply.last = w->last;
	m->batch_reply.credit_bytes = w->credit_bytes;
	m->batch_reply.reason = take_text(t, w->reason);
}

static void take_report(struct taker *t, const Weir__Report *w, struct msg *m)
{
	m->report.edge = take_name(t, w->edge);
	m->report.epoch = w->epoch;
	m->report.sent_mono_ns = w->sent_mono_ns;
	m->report.wall_ns = w->wall_ns;
	m->report.spool_bytes = w->spool_bytes;
	m->report.accepted = w->accepted;
	m->report.clock_suspect = w->clock_suspect;
	m->report.incarnation = w->incarnation;
	m->report.seq = w->seq;
	m->report.map_version = w->map_version;
	m->report.refused = take_list(t, w->n_refused, REASON_COUNTS_MAX, sizeof(*m->report.refused));
	for (size_t i = 0; m->report.refused && i < w->n_refused; i++) {
		m->report.refused[i].name = take_name(t, w->refused[i]->name);
		m->report.refused[i].value = w->refused[i]->value;
		m->report.refused_count = i + 1;
	}
	m->report.streams = take_list(t, w->n_streams, REPORT_STREAMS_MAX, sizeof(*m->report.streams));
	for (size_t i = 0; m->report.streams && i < w->n_streams; i++) {
		struct msg_report_stream *s = &m->report.streams[i];
		const Weir__ReportStream *ws = w->streams[i];
		s->name = take_name(t, ws->name);
		s->version = ws->version;
		s->phase = (enum edge_phase)ws->phase;
		s->watermark_ns = ws->watermark_ns;
		s->flushed_end_ns = ws->flushed_end_ns;
		s->unsent = ws->unsent;
		s->since_known = ws->since_known;
		s->since_ns = ws->since_ns;
		m->report.stream_count = i + 1;
	}
}

static void take_report_reply(struct taker *t, const Weir__ReportReply *w, struct msg *m)
{
	m->report_reply.edge = take_name(t, w->edge);
	m->report_reply.verdict = take_verdict(w->verdict);
	m->report_reply.sent_mono_ns = w->sent_mono_ns;
	m->report_reply.epoch = w->epoch;
	m->report_reply.credit_bytes = w->credit_bytes;
	m->report_reply.reason = take_text(t, w->reason);
	m->report_reply.map_version = w->map_version;
}

static void take_advance(const Weir__Advance *w, struct msg *m)
{
	m->advance.shard = w->shard;
	m->advance.meta_index = w->meta_index;
	m->advance.entry = take_bytes(w->entry);
}

static void take_advance_reply(const Weir__AdvanceReply *w, struct msg *m)
{
	m->advance_reply.shard = w->shard;
	m->advance_reply.verdict = take_verdict(w->verdict);
	m->advance_reply.meta_index = w->meta_index;
}

static void take_readmit_reply(struct taker *t, const Weir__ReadmitReply *w, struct msg *m)
{
	m->readmit_reply.edge = take_name(t, w->edge);
	m->readmit_reply.verdict = take_verdict(w->verdict);
	m->readmit_reply.reason = take_text(t, w->reason);
}

static void take_query(const Weir__Query *w, struct msg *m)
{
	m->query.shard = w->shard;
	m->query.linearizable = w->linearizable;
	m->query.spec = take_bytes(w->spec);
	m->query.map_version = w->map_version;
}

static void take_query_reply(struct taker *t, const Weir__QueryReply *w, struct msg *m)
{
	m->query_reply.shard = w->shard;
	m->query_reply.verdict = take_verdict(w->verdict);
	m->query_reply.rows = take_bytes(w->rows);
	m->query_reply.more = w->more;
	m->query_reply.behind_entries = w->behind_entries;
	m->query_reply.age_ns = w->age_ns;
	m->query_reply.kept_ns = w->kept_ns;
	m->query_reply.reason = take_text(t, w->reason);
}

static void take_outbox(struct taker *t, const Weir__Outbox *w, struct msg *m)
{
	m->outbox.shard = w->shard;
	m->outbox.stream = take_name(t, w->stream);
	m->outbox.index = w->index;
	m->outbox.n = w->n;
	m->outbox.limit = w->limit;
	m->outbox.version = w->version;
}

static void take_outbox_reply(struct taker *t, const Weir__OutboxReply *w, struct msg *m)
{
	m->outbox_reply.shard = w->shard;
	m->outbox_reply.verdict = take_verdict(w->verdict);
	m->outbox_reply.index = w->index;
	m->outbox_reply.n = w->n;
	m->outbox_reply.reset = w->reset;
	m->outbox_reply.rows = take_bytes(w->rows);
	m->outbox_reply.reason = take_text(t, w->reason);
}

/* Lists of unequal length: what has no place in one of them is nothing. */
static void take_digests(struct taker *t, const Weir__Info *w, struct msg_info *info)
{
	size_t n = w->n_digest_groups;
	n = w->n_digest_indexes < n ? w->n_digest_indexes : n;
	n = w->n_digests < n ? w->n_digests : n;
	info->digests = take_list(t, n, DIGESTS_TOLD_MAX, sizeof(*info->digests));
	for (size_t i = 0; info->digests && i < n; i++) {
		info->digests[i] = (struct msg_digest){w->digest_groups[i], w->digest_indexes[i], w->digests[i]};
		info->digest_count = i + 1;
	}
}

/* w may be NULL: an answer that says nothing. */
static void take_info(struct taker *t, const Weir__Info *w, struct msg_info *info)
{
	info->cluster = "";
	if (!w)
		return;
	info->cluster = take_name(t, w->cluster);
	info->replica = w->replica;
	info->has = take_bytes(w->has);
	info->map_version = w->map_version;
	info->full = w->full;
	info->listed = w->listed;
	take_digests(t, w, info);
	info->leads = take_list(t, w->n_leads, RAFT_GROUPS_MAX, sizeof(*info->leads));
	for (size_t i = 0; info->leads && i < w->n_leads; i++) {
		info->leads[i].group = w->leads[i]->group;
		info->leads[i].term = w->leads[i]->term;
		info->leads[i].settled = w->leads[i]->settled;
		info->lead_count = i + 1;
	}
}

static void take_group_status(struct taker *t, const Weir__GroupStatus *w, struct msg_group_status *g)
{
	g->group = w->group;
	g->term = w->term;
	g->committed = w->committed;
	g->applied = w->applied;
	g->digest_hi = w->digest_hi;
	g->digest_lo = w->digest_lo;
	g->digest_index = w->digest_index;
	g->node = take_name(t, w->node);
	g->role = (enum replica_role)w->role;
	g->replica = w->replica;
	g->leader = take_name(t, w->leader);
	g->quorum = w->quorum;
	g->replicas = take_list(t, w->n_replicas, REPLICAS_PER_STATUS_MAX, sizeof(*g->replicas));
	for (size_t i = 0; g->replicas && i < w->n_replicas; i++) {
		struct msg_replica_status *r = &g->replicas[i];
		r->node = take_name(t, w->replicas[i]->node);
		r->replica = w->replicas[i]->replica;
		r->match = w->replicas[i]->match;
		r->role = (enum replica_role)w->replicas[i]->role;
		r->active = w->replicas[i]->active;
		g->replica_count = i + 1;
	}
}

static void take_status_reply(struct taker *t, const Weir__StatusReply *w, struct msg *m)
{
	m->status_reply.verdict = take_verdict(w->verdict);
	m->status_reply.groups =
	    take_list(t, w->n_groups, GROUPS_PER_STATUS_MAX, sizeof(*m->status_reply.groups));
	for (size_t i = 0; m->status_reply.groups && i < w->n_groups; i++) {
		take_group_status(t, w->groups[i], &m->status_reply.groups[i]);
		m->status_reply.group_count = i + 1;
	}
	m->status_reply.json = take_bytes(w->json);
	m->status_reply.reason = take_text(t, w->reason);
}

static void take_raft_message(const Weir__RaftMessage *w, struct msg_raft *r, struct msg_raft_entry *entries)
{
	r->group = w->group;
	r->kind = w->kind;
	r->term = w->term;
	r->index = w->index;
	r->log_term = w->log_term;
	r->commit = w->commit;
	r->hint_index = w->hint_index;
	r->hint_term = w->hint_term;
	r->round = w->round;
	r->reject = w->reject;
	r->force = w->force;
	r->entry_count = w->n_entries;
	r->entries = w->n_entries ? entries : NULL;
	for (size_t i = 0; i < w->n_entries; i++) {
		entries[i].term = w->entries[i]->term;
		entries[i].kind = w->entries[i]->kind;
		entries[i].data = take_bytes(w->entries[i]->data);
	}
}

static void take_raft(struct taker *t, const Weir__Raft *w, struct msg *m)
{
	m->raft.from = w->from;
	m->raft.to = w->to;
	m->raft.messages = take_list(t, w->n_messages, RAFT_MESSAGES_PER_FRAME_MAX, sizeof(*m->raft.messages));
	if (!m->raft.messages)
		return;
	size_t count = 0, at = 0;
	for (size_t i = 0; i < w->n_messages; i++)
		count += w->messages[i]->n_entries;
	struct msg_raft_entry *entries = take_list(t, count, RAFT_ENTRIES_PER_FRAME_MAX, sizeof(*entries));
	if (t->err)
		return;
	for (size_t i = 0; i < w->n_messages; i++) {
		take_raft_message(w->messages[i], &m->raft.messages[i], entries ? entries + at : NULL);
		at += w->messages[i]->n_entries;
	}
	m->raft.message_count = w->n_messages;
}

static void take_snapshot(const Weir__Snapshot *w, struct msg *m)
{
	m->snapshot.group = w->group;
	m->snapshot.id = w->id;
	m->snapshot.chunk = w->chunk;
}

static void take_snapshot_reply(struct taker *t, const Weir__SnapshotReply *w, struct msg *m)
{
	m->snapshot_reply.group = w->group;
	m->snapshot_reply.verdict = take_verdict(w->verdict);
	m->snapshot_reply.id = w->id;
	m->snapshot_reply.chunk = w->chunk;
	m->snapshot_reply.index = w->index;
	m->snapshot_reply.term = w->term;
	m->snapshot_reply.config = take_bytes(w->config);
	m->snapshot_reply.digest_hi = w->digest_hi;
	m->snapshot_reply.digest_lo = w->digest_lo;
	m->snapshot_reply.meta_index = w->meta_index;
	m->snapshot_reply.skipped = w->skipped;
	m->snapshot_reply.total_bytes = w->total_bytes;
	m->snapshot_reply.checksum = w->checksum;
	m->snapshot_reply.records = take_bytes(w->records);
	m->snapshot_reply.last = w->last;
	m->snapshot_reply.reason = take_text(t, w->reason);
}

static void take_map_reply(struct taker *t, const Weir__MapReply *w, struct msg *m)
{
	m->map_reply.verdict = take_verdict(w->verdict);
	m->map_reply.version = w->version;
	m->map_reply.map = take_bytes(w->map);
	m->map_reply.reason = take_text(t, w->reason);
}

static void take_topology(const Weir__Topology *w, struct msg *m)
{
	m->topology.base_version = w->base_version;
	m->topology.text = take_bytes(w->text);
	m->topology.text_bytes = w->text_bytes;
	m->topology.dry_run = w->dry_run;
}

static void take_topology_reply(struct taker *t, const Weir__TopologyReply *w, struct msg *m)
{
	m->topology_reply.verdict = take_verdict(w->verdict);
	m->topology_reply.version = w->version;
	m->topology_reply.json = take_bytes(w->json);
	m->topology_reply.reason = take_text(t, w->reason);
}

static void take_revoke(struct taker *t, const Weir__Revoke *w, struct msg *m)
{
	m->revoke.edge = take_name(t, w->edge);
	m->revoke.revoked = w->revoked;
}

static void take_revoke_reply(struct taker *t, const Weir__RevokeReply *w, struct msg *m)
{
	m->revoke_reply.verdict = take_verdict(w->verdict);
	m->revoke_reply.version = w->version;
	m->revoke_reply.reason = take_text(t, w->reason);
}

static void take_body(struct taker *t, const Weir__Frame *f, struct msg *m)
{
	m->type = type_of(f->body_case);
	switch (m->type) {
	case MSG_NONE:
		break;
	case MSG_HELLO:
		take_hello(t, f->hello, m);
		break;
	case MSG_HELLO_REPLY:
		take_hello_reply(t, f->hello_reply, m);
		break;
	case MSG_OPEN:
		take_open(t, f->open, m);
		break;
	case MSG_OPEN_REPLY:
		take_open_reply(t, f->open_reply, m);
		break;
	case MSG_BATCH:
		take_batch(t, f->batch, m);
		break;
	case MSG_BATCH_REPLY:
		take_batch_reply(t, f->batch_reply, m);
		break;
	case MSG_REPORT:
		take_report(t, f->report, m);
		break;
	case MSG_REPORT_REPLY:
		take_report_reply(t, f->report_reply, m);
		break;
	case MSG_ADVANCE:
		take_advance(f->advance, m);
		break;
	case MSG_ADVANCE_REPLY:
		take_advance_reply(f->advance_reply, m);
		break;
	case MSG_READMIT:
		m->readmit.edge = take_name(t, f->readmit->edge);
		break;
	case MSG_READMIT_REPLY:
		take_readmit_reply(t, f->readmit_reply, m);
		break;
	case MSG_INFO:
		take_info(t, f->info, &m->info);
		break;
	case MSG_INFO_REPLY:
		take_info(t, f->info_reply->info, &m->info_reply);
		break;
	case MSG_QUERY:
		take_query(f->query, m);
		break;
	case MSG_QUERY_REPLY:
		take_query_reply(t, f->query_reply, m);
		break;
	case MSG_OUTBOX:
		take_outbox(t, f->outbox, m);
		break;
	case MSG_OUTBOX_REPLY:
		take_outbox_reply(t, f->outbox_reply, m);
		break;
	case MSG_STATUS:
		m->status.what = take_name(t, f->status->what);
		break;
	case MSG_STATUS_REPLY:
		take_status_reply(t, f->status_reply, m);
		break;
	case MSG_RAFT:
		take_raft(t, f->raft, m);
		break;
	case MSG_SNAPSHOT:
		take_snapshot(f->snapshot, m);
		break;
	case MSG_SNAPSHOT_REPLY:
		take_snapshot_reply(t, f->snapshot_reply, m);
		break;
	case MSG_MAP:
		m->map.version = f->map->version;
		break;
	case MSG_MAP_REPLY:
		take_map_reply(t, f->map_reply, m);
		break;
	case MSG_TOPOLOGY:
		take_topology(f->topology, m);
		break;
	case MSG_TOPOLOGY_REPLY:
		take_topology_reply(t, f->topology_reply, m);
		break;
	case MSG_REVOKE:
		take_revoke(t, f->revoke, m);
		break;
	case MSG_REVOKE_REPLY:
		take_revoke_reply(t, f->revoke_reply, m);
		break;
	case MSG_ERROR:
		m->error.verdict = take_verdict(f->error->verdict);
		m->error.reason = take_text(t, f->error->reason);
		break;
	}
}

static int decode_into(struct arena *arena, const void *frame, size_t len, struct msg *m)
{
	ProtobufCAllocator allocator = arena_allocator(arena);
	const Weir__Frame *f = weir__frame__unpack(&allocator, len, frame);
	if (!f)
		return arena->over ? WEIR_ETOOBIG : WEIR_ECORRUPT;
	m->protocol = f->protocol;
	m->req_id = f->req_id;
	if (!protocol_fits(f->protocol) || f->body_case == WEIR__FRAME__BODY__NOT_SET)
		return WEIR_EVERSION;
	struct taker t = {arena, 0};
	m->from = take_name(&t, f->from);
	m->cluster_id = take_bytes(f->cluster_id);
	take_body(&t, f, m);
	int err = t.err ? t.err : check_msg(m);
	return err == WEIR_EINVAL ? WEIR_ECORRUPT : err;
}

int msg_decode(const void *frame, size_t len, struct msg *ret_msg)
{
	*ret_msg = (struct msg){0};
	if (len > FRAME_MAX)
		return WEIR_ETOOBIG;
	struct arena *arena = arena_new(DECODE_MEMORY_MAX, len);
	struct msg m = {.decoded = arena};
	int err = decode_into(arena, frame, len, &m);
	if (err) {
		arena_free(arena);
		if (err == WEIR_EVERSION)
			*ret_msg = (struct msg){.protocol = m.protocol, .req_id = m.req_id};
		return err;
	}
	*ret_msg = m;
	return 0;
}

void msg_clear(struct msg *m)
{
	arena_free(m->decoded);
	*m = (struct msg){0};
}
