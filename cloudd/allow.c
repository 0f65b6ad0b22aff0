#include "cloudd/allow.h"

#include <string.h>

#include "common/err.h"

/* Whose request an edge's message is; NULL: nothing that edges send. "": of none (MSG_MAP). */
static const char *edge_of(const struct msg *m)
{
	switch (m->type) {
	case MSG_HELLO:
		return m->hello.edge;
	case MSG_OPEN:
		return m->open.edge;
	case MSG_BATCH:
		return m->batch.edge;
	case MSG_REPORT:
		return m->report.edge;
	case MSG_MAP:
		return "";
	case MSG_NONE:
	case MSG_HELLO_REPLY:
	case MSG_OPEN_REPLY:
	case MSG_BATCH_REPLY:
	case MSG_REPORT_REPLY:
	case MSG_ADVANCE:
	case MSG_ADVANCE_REPLY:
	case MSG_READMIT:
	case MSG_READMIT_REPLY:
	case MSG_INFO:
	case MSG_INFO_REPLY:
	case MSG_QUERY:
	case MSG_QUERY_REPLY:
	case MSG_OUTBOX:
	case MSG_OUTBOX_REPLY:
	case MSG_STATUS:
	case MSG_STATUS_REPLY:
	case MSG_RAFT:
	case MSG_SNAPSHOT:
	case MSG_SNAPSHOT_REPLY:
	case MSG_MAP_REPLY:
	case MSG_TOPOLOGY:
	case MSG_TOPOLOGY_REPLY:
	case MSG_REVOKE:
	case MSG_REVOKE_REPLY:
	case MSG_ERROR:
		break;
	}
	return NULL;
}

static bool is_edge(const struct topology *t, const char *name)
{
	int i = topology_edge(t, name);
	return i >= 0 && !t->edges[i].gone;
}

static bool is_cloud(const struct topology *t, const char *name)
{
	int i = topology_cloud(t, name);
	return i >= 0 && t->clouds[i].state != CLOUD_GONE;
}

/* Nobody is taken for anything because of it (node.c: sender()). */
static bool only_asks(const struct msg *m)
{
	return m->type == MSG_INFO || m->type == MSG_MAP;
}

static enum allow check_key(const struct topology *t, const char *who, const struct msg *m, const char *about)
{
	bool edge = is_edge(t, who);
	if (!edge && !is_cloud(t, who))
		return only_asks(m) && !strcmp(m->from, who) ? ALLOW : ALLOW_NOT_KNOWN;
	if (strcmp(m->from, who) != 0)
		return ALLOW_NOT_FROM;
	if (edge && !about)
		return ALLOW_NOT_FOR_EDGE;
	if (edge && *about && strcmp(about, who) != 0)
		return ALLOW_NOT_ABOUT;
	return ALLOW;
}

static bool is_revoked(const struct topology *t, const char *name)
{
	int i = topology_edge(t, name);
	return (i >= 0 && t->edges[i].revoked) || topology_revoked(t, name);
}

enum allow allow_frame(const struct topology *t, const char *who, const struct msg *m)
{
	if (!who)
		return ALLOW_NOT_KEY;
	const char *about = edge_of(m);
	enum allow a = *who ? check_key(t, who, m, about) : ALLOW;
	if (a != ALLOW)
		return a;
	bool forwarded = about && strcmp(about, m->from) != 0;
	return is_revoked(t, m->from) || (forwarded && is_revoked(t, about)) ? ALLOW_NOT_REVOKED : ALLOW;
}

const char *allow_label(enum allow a)
{
	switch (a) {
	case ALLOW:
		return "allowed";
	case ALLOW_NOT_KEY:
		return "removed_key";
	case ALLOW_NOT_KNOWN:
		return "unknown_name";
	case ALLOW_NOT_FROM:
		return "other_name";
	case ALLOW_NOT_FOR_EDGE:
		return "not_for_edges";
	case ALLOW_NOT_ABOUT:
		return "other_edge";
	case ALLOW_NOT_REVOKED:
		return "revoked";
	case ALLOW_RESULTS:
		break;
	}
	return "unknown";
}

const char *allow_reason(enum allow a)
{
	switch (a) {
	case ALLOW:
		return "";
	case ALLOW_NOT_KEY:
		return "the key of this connection is not allowed any more: NAME.pub is gone from the node's folder of keys, or holds another key";
	case ALLOW_NOT_KNOWN:
		return "the name that this key belongs to is not in the topology";
	case ALLOW_NOT_FROM:
		return "the sender's key is not that of the name it gives";
	case ALLOW_NOT_FOR_EDGE:
		return "an edge may not say this";
	case ALLOW_NOT_ABOUT:
		return "an edge may speak only for itself";
	case ALLOW_NOT_REVOKED:
		return "this edge is revoked: what it measures waits in its spool until `weirctl edge allow NAME`";
	case ALLOW_RESULTS:
		break;
	}
	return "";
}
