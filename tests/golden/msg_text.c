#include "tests/golden/msg_text.h"

#include <inttypes.h>

const char *msg_type_text(enum msg_type type)
{
	static const char *const texts[] = {
	    [MSG_HELLO] = "hello",
	    [MSG_HELLO_REPLY] = "hello_reply",
	    [MSG_OPEN] = "open",
	    [MSG_OPEN_REPLY] = "open_reply",
	    [MSG_BATCH] = "batch",
	    [MSG_BATCH_REPLY] = "batch_reply",
	    [MSG_REPORT] = "report",
	    [MSG_REPORT_REPLY] = "report_reply",
	    [MSG_ADVANCE] = "advance",
	    [MSG_ADVANCE_REPLY] = "advance_reply",
	    [MSG_READMIT] = "readmit",
	    [MSG_READMIT_REPLY] = "readmit_reply",
	    [MSG_INFO] = "info",
	    [MSG_INFO_REPLY] = "info_reply",
	    [MSG_QUERY] = "query",
	    [MSG_QUERY_REPLY] = "query_reply",
	    [MSG_OUTBOX] = "outbox",
	    [MSG_OUTBOX_REPLY] = "outbox_reply",
	    [MSG_STATUS] = "status",
	    [MSG_STATUS_REPLY] = "status_reply",
	    [MSG_RAFT] = "raft",
	    [MSG_SNAPSHOT] = "snapshot",
	    [MSG_SNAPSHOT_REPLY] = "snapshot_reply",
	    [MSG_MAP] = "map",
	    [MSG_MAP_REPLY] = "map_reply",
	    [MSG_TOPOLOGY] = "topology",
	    [MSG_TOPOLOGY_REPLY] = "topology_reply",
	    [MSG_REVOKE] = "revoke",
	    [MSG_REVOKE_REPLY] = "revoke_reply",
	    [MSG_ERROR] = "error",
	};
	return (size_t)type < sizeof(texts) / sizeof(texts[0]) && texts[type] ? texts[type] : "unknown";
}

static void put_u(struct buf *out, const char *name, uint64_t v)
{
	buf_printf(out, "%s: %" PRIu64 "\n", name, v);
}

static void put_i(struct buf *out, const char *name, int64_t v)
{
	buf_printf(out, "%s: %" PRId64 "\n", name, v);
}

static void put_bool(struct buf *out, const char *name, bool v)
{
	buf_printf(out, "%s: %s\n", name, v ? "yes" : "no");
}

static void put_str(struct buf *out, const char *name, const char *v)
{
	buf_printf(out, "%s: \"%s\"\n", name, v ? v : "");
}

static void put_hex(struct buf *out, const char *name, struct bytes v)
{
	buf_printf(out, "%s: ", name);
	for (size_t i = 0; i < v.n; i++)
		buf_printf(out, "%02x", v.p[i]);
	buf_printf(out, "\n");
}

static void put_verdict(struct buf *out, enum verdict v)
{
	buf_printf(out, "verdict: %s\n", verdict_text(v));
}

#define U(part, field) put_u(out, #field, m->part.field)
#define I(part, field) put_i(out, #field, m->part.field)
#define B(part, field) put_bool(out, #field, m->part.field)
#define S(part, field) put_str(out, #field, m->part.field)
#define X(part, field) put_hex(out, #field, m->part.field)
#define V(part) put_verdict(out, m->part.verdict)

static void put_report(const struct msg *m, struct buf *out)
{
	S(report, edge), U(report, epoch), I(report, sent_mono_ns), I(report, wall_ns), U(report, spool_bytes);
	U(report, accepted), B(report, clock_suspect), U(report, incarnation), U(report, seq), U(report, map_version);
	for (size_t i = 0; i < m->report.refused_count; i++) {
		put_str(out, "refused", m->report.refused[i].name);
		put_u(out, "  value", m->report.refused[i].value);
	}
	for (size_t i = 0; i < m->report.stream_count; i++) {
		const struct msg_report_stream *s = &m->report.streams[i];
		put_str(out, "stream", s->name);
		put_u(out, "  version", s->version);
		put_u(out, "  phase", s->phase);
		put_i(out, "  watermark_ns", s->watermark_ns);
		put_i(out, "  flushed_end_ns", s->flushed_end_ns);
		put_bool(out, "  unsent", s->unsent);
		put_bool(out, "  since_known", s->since_known);
		put_i(out, "  since_ns", s->since_ns);
	}
}

static void put_info(const struct msg_info *info, struct buf *out)
{
	put_str(out, "cluster", info->cluster);
	put_u(out, "replica", info->replica);
	put_hex(out, "has", info->has);
	put_u(out, "map_version", info->map_version);
	put_u(out, "listed", info->listed);
	for (size_t i = 0; i < info->lead_count; i++) {
		put_u(out, "lead", info->leads[i].group);
		put_u(out, "  term", info->leads[i].term);
		put_u(out, "  settled", info->leads[i].settled);
	}
}

static void put_group(const struct msg_group_status *g, struct buf *out)
{
	put_u(out, "group", g->group);
	put_str(out, "  role", replica_role_text(g->role));
	put_u(out, "  term", g->term);
	put_u(out, "  committed", g->committed);
	put_u(out, "  applied", g->applied);
	put_u(out, "  digest_hi", g->digest_hi);
	put_u(out, "  digest_lo", g->digest_lo);
	put_u(out, "  digest_index", g->digest_index);
	put_str(out, "  node", g->node);
	put_u(out, "  replica", g->replica);
	put_str(out, "  leader", g->leader);
	put_bool(out, "  quorum", g->quorum);
	for (size_t i = 0; i < g->replica_count; i++) {
		const struct msg_replica_status *r = &g->replicas[i];
		put_str(out, "  other", r->node);
		put_u(out, "    replica", r->replica);
		put_u(out, "    match", r->match);
		put_str(out, "    role", replica_role_text(r->role));
		put_bool(out, "    active", r->active);
	}
}

static void put_raft_message(const struct msg_raft *r, struct buf *out)
{
	put_u(out, "group", r->group);
	put_u(out, "  kind", r->kind);
	put_u(out, "  term", r->term);
	put_u(out, "  index", r->index);
	put_u(out, "  log_term", r->log_term);
	put_u(out, "  commit", r->commit);
	put_u(out, "  hint_index", r->hint_index);
	put_u(out, "  hint_term", r->hint_term);
	put_u(out, "  round", r->round);
	put_bool(out, "  reject", r->reject);
	put_bool(out, "  force", r->force);
	for (size_t i = 0; i < r->entry_count; i++) {
		put_u(out, "  entry", r->entries[i].kind);
		put_u(out, "    term", r->entries[i].term);
		put_hex(out, "    data", r->entries[i].data);
	}
}

static void put_snapshot_reply(const struct msg *m, struct buf *out)
{
	U(snapshot_reply, group), V(snapshot_reply), U(snapshot_reply, id), U(snapshot_reply, chunk), U(snapshot_reply, index);
	U(snapshot_reply, term), X(snapshot_reply, config), U(snapshot_reply, digest_hi), U(snapshot_reply, digest_lo);
	U(snapshot_reply, meta_index), U(snapshot_reply, skipped), U(snapshot_reply, total_bytes), U(snapshot_reply, checksum);
	X(snapshot_reply, records), B(snapshot_reply, last), S(snapshot_reply, reason);
}

/* What edges and clouds say to each other. False: another message. */
static bool put_edge_body(const struct msg *m, struct buf *out)
{
	switch ((int)m->type) {
	case MSG_HELLO:
		S(hello, edge), S(hello, cluster), U(hello, epoch), X(hello, claim), B(hello, empty), S(hello, software);
		U(hello, map_version), B(hello, fenced);
		return true;
	case MSG_HELLO_REPLY:
		S(hello_reply, edge), V(hello_reply), U(hello_reply, epoch), X(hello_reply, claim), B(hello_reply, resume);
		B(hello_reply, readmitted), U(hello_reply, credit_bytes), X(hello_reply, cluster_id), S(hello_reply, reason);
		U(hello_reply, map_version);
		return true;
	case MSG_OPEN:
		S(open, edge), U(open, epoch), U(open, shard), U(open, low), U(open, high), B(open, resume);
		return true;
	case MSG_OPEN_REPLY:
		S(open_reply, edge), U(open_reply, shard), V(open_reply), U(open_reply, epoch), U(open_reply, last);
		S(open_reply, reason);
		return true;
	case MSG_BATCH:
		S(batch, edge), U(batch, epoch), U(batch, shard), U(batch, seq), X(batch, body);
		return true;
	case MSG_BATCH_REPLY:
		S(batch_reply, edge), U(batch_reply, shard), U(batch_reply, seq), V(batch_reply), U(batch_reply, epoch);
		U(batch_reply, last), U(batch_reply, credit_bytes), S(batch_reply, reason);
		return true;
	case MSG_REPORT:
		put_report(m, out);
		return true;
	case MSG_REPORT_REPLY:
		S(report_reply, edge), V(report_reply), I(report_reply, sent_mono_ns), U(report_reply, epoch);
		U(report_reply, credit_bytes), S(report_reply, reason), U(report_reply, map_version);
		return true;
	case MSG_ERROR:
		V(error), S(error, reason);
		return true;
	}
	return false;
}

static void put_cloud_body(const struct msg *m, struct buf *out)
{
	switch ((int)m->type) {
	case MSG_ADVANCE:
		U(advance, shard), U(advance, meta_index), X(advance, entry);
		break;
	case MSG_ADVANCE_REPLY:
		U(advance_reply, shard), V(advance_reply), U(advance_reply, meta_index);
		break;
	case MSG_READMIT:
		S(readmit, edge);
		break;
	case MSG_READMIT_REPLY:
		S(readmit_reply, edge), V(readmit_reply), S(readmit_reply, reason);
		break;
	case MSG_INFO:
		put_info(&m->info, out);
		break;
	case MSG_INFO_REPLY:
		put_info(&m->info_reply, out);
		break;
	case MSG_QUERY:
		U(query, shard), B(query, linearizable), X(query, spec), U(query, map_version);
		break;
	case MSG_QUERY_REPLY:
		U(query_reply, shard), V(query_reply), X(query_reply, rows), B(query_reply, more), S(query_reply, reason);
		U(query_reply, behind_entries), I(query_reply, age_ns), I(query_reply, kept_ns);
		break;
	case MSG_OUTBOX:
		U(outbox, shard), S(outbox, stream), U(outbox, index), U(outbox, n), U(outbox, limit);
		break;
	case MSG_OUTBOX_REPLY:
		U(outbox_reply, shard), V(outbox_reply), U(outbox_reply, index), U(outbox_reply, n), B(outbox_reply, reset);
		X(outbox_reply, rows), S(outbox_reply, reason);
		break;
	case MSG_STATUS:
		S(status, what);
		break;
	case MSG_STATUS_REPLY:
		V(status_reply), X(status_reply, json), S(status_reply, reason);
		for (size_t i = 0; i < m->status_reply.group_count; i++)
			put_group(&m->status_reply.groups[i], out);
		break;
	case MSG_RAFT:
		U(raft, from), U(raft, to);
		for (size_t i = 0; i < m->raft.message_count; i++)
			put_raft_message(&m->raft.messages[i], out);
		break;
	case MSG_SNAPSHOT:
		U(snapshot, group), U(snapshot, id), U(snapshot, chunk);
		break;
	case MSG_SNAPSHOT_REPLY:
		put_snapshot_reply(m, out);
		break;
	case MSG_MAP:
		U(map, version);
		break;
	case MSG_MAP_REPLY:
		V(map_reply), U(map_reply, version), X(map_reply, map), S(map_reply, reason);
		break;
	case MSG_TOPOLOGY:
		U(topology, base_version), X(topology, text), U(topology, text_bytes), B(topology, dry_run);
		break;
	case MSG_TOPOLOGY_REPLY:
		V(topology_reply), U(topology_reply, version), X(topology_reply, json), S(topology_reply, reason);
		break;
	case MSG_REVOKE:
		S(revoke, edge), B(revoke, revoked);
		break;
	case MSG_REVOKE_REPLY:
		V(revoke_reply), U(revoke_reply, version), S(revoke_reply, reason);
		break;
	}
}

void msg_text(const struct msg *m, struct buf *out)
{
	buf_printf(out, "type: %s\n", msg_type_text(m->type));
	put_u(out, "protocol", m->protocol);
	put_u(out, "req_id", m->req_id);
	put_str(out, "from", m->from);
	put_hex(out, "cluster_id", m->cluster_id);
	if (!put_edge_body(m, out))
		put_cloud_body(m, out);
}
