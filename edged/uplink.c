#include "edged/uplink.h"

#include <stdlib.h>
#include <string.h>

#include "config.h"

#include "common/clock.h"
#include "common/err.h"

#define SOFTWARE "edged " PACKAGE_VERSION
#define REASON_MAX 256
#define MAP_REQ (UINT64_C(1) << 63) /* questions for a map have numbers of their own: an error may answer any frame */

/* What holds a fence up: a hello's answer can lift the first two at the same epoch, the last only with a newer one. */
enum fence { FENCE_HELLO, FENCE_REFUSED, FENCE_EPOCH };

struct lane {
	bool opened, open_sent;
	int64_t open_sent_ns;
	uint64_t next;      /* the next seq to send */
	uint64_t probe;     /* sent alone, until it is acknowledged: the cloud's last; 0: none */
	uint64_t highest;   /* highest sent on this connection or before: for counting resends */
	uint64_t in_flight; /* bytes of acked + 1 .. next - 1 */
	int64_t since_ns;   /* of the last progress while something is in flight */
	int64_t retry_ns;   /* nothing before this */
	int64_t backoff_ns;
	int64_t unavailable_ns; /* since when nobody leads it, as far as this cloud knows; 0: somebody does */
	int64_t unavailable_last_ns; /* when it last said so */
	uint64_t open_req;  /* of the OPEN under way: an answer to an earlier one is old news */
};

struct uplink {
	const struct topology *topology;
	const struct edge_conf *edge;
	struct uplink_io io;
	enum uplink_state state;
	enum fence fence;
	char reason[REASON_MAX];
	uint32_t cloud;
	uint64_t incarnation, epoch, report_seq, req_id;
	uint8_t claim[CLAIM_BYTES];
	uint8_t own_claim[CLAIM_BYTES]; /* of this start; the other one may be an earlier start's */
	uint8_t cluster_id[CLUSTER_ID_BYTES];
	bool has_cluster_id, empty, claim_stored;
	uint64_t credit;
	int64_t asked_ns;  /* since when something is asked and nothing was heard; 0: nothing */
	int64_t unconnected_ns; /* since when the connection takes nothing; 0: it does */
	int64_t unserved_ns;    /* since when every answer was that nobody can serve it; 0: not so */
	int64_t unserved_last_ns; /* when the last such answer came */
	int64_t unreported_ns;  /* since when nobody takes reports, as far as this cloud knows; 0: somebody does */
	int64_t unreported_last_ns; /* when it last said so */
	int64_t stuck_ms;       /* how long a shard, or who takes reports, may be out of reach, now; 0: the least */
	uint32_t stuck_at;      /* the last shard for which a cloud was left; behind the shards: reports */
	unsigned left;     /* clouds left one after the other that did not serve */
	unsigned refused;  /* hellos refused one after the other, each by another cloud */
	bool leave;        /* the cloud refuses this edge: another one may not */
	int64_t hello_ns;  /* when hello is to be sent (again); INT64_MAX: it is under way */
	int64_t hello_backoff_ns;
	int64_t report_ns; /* when the last heartbeat's report was sent */
	int64_t early_ns;  /* when the last one ahead of the heartbeat */
	bool report_early; /* with the next tick */
	struct lane *lanes;
	uint32_t lane_first; /* where the next turn of sending starts */
	bool wants_sent;
	uint64_t map_known; /* the latest version of the cluster map that this edge has */
	uint64_t map_told;  /* ... and that a cloud has told of */
	uint64_t map_req;   /* of the question under way, or the last one */
	int64_t map_ns;     /* not asked before this */
	int64_t map_backoff_ms;
	struct buf frame, body;
	struct uplink_stats stats;
};

static const char *const state_texts[] = {"down", "hello", "granted", "ready", "fenced"};

const char *uplink_state_text(enum uplink_state s)
{
	return state_texts[s];
}

/* ---- clouds ---------------------------------------------------------------------------------------------------- */

static uint32_t clouds_there(const struct topology *t)
{
	uint32_t n = 0;
	for (size_t i = 0; i < t->cloud_count; i++)
		n += t->clouds[i].state != CLOUD_GONE;
	return n;
}

static bool stays(const struct topology *t, uint32_t cloud)
{
	return t->clouds[cloud].state != CLOUD_GONE && t->clouds[cloud].state != CLOUD_LEAVING;
}

/* The first that is there, and stays, from this place on, round and round; else one that is there. */
static uint32_t cloud_from(const struct topology *t, uint32_t place)
{
	uint32_t n = (uint32_t)t->cloud_count;
	for (uint32_t i = 0; i < n; i++)
		if (stays(t, (place + i) % n))
			return (place + i) % n;
	for (uint32_t i = 0; i < n; i++)
		if (t->clouds[(place + i) % n].state != CLOUD_GONE)
			return (place + i) % n;
	return 0;
}

static uint32_t first_cloud(const struct topology *t, uint32_t edge)
{
	return t->cloud_count ? cloud_from(t, edge % (uint32_t)t->cloud_count) : 0;
}

struct uplink *uplink_new(const struct topology *t, uint32_t edge, const struct uplink_io *io, uint64_t incarnation,
    uint64_t epoch, struct bytes cluster_id, const uint8_t claim[CLAIM_BYTES], const uint8_t *unanswered, bool empty,
    int64_t mono_ns)
{
	struct uplink *u = xcalloc(1, sizeof(*u));
	u->topology = t;
	u->edge = &t->edges[edge];
	u->io = *io;
	u->incarnation = incarnation;
	u->epoch = epoch;
	u->cloud = first_cloud(t, edge);
	u->map_known = t->map_version;
	memcpy(u->own_claim, claim, CLAIM_BYTES);
	memcpy(u->claim, unanswered ? unanswered : claim, CLAIM_BYTES);
	if (cluster_id.n == CLUSTER_ID_BYTES) {
		memcpy(u->cluster_id, cluster_id.p, CLUSTER_ID_BYTES);
		u->has_cluster_id = true;
	}
	u->empty = empty;
	u->report_ns = mono_ns;
	u->early_ns = mono_ns - UPLINK_REPORT_EARLY_MS * NS_PER_MS;
	u->lanes = xcalloc(t->shards, sizeof(u->lanes[0]));
	return u;
}

void uplink_free(struct uplink *u)
{
	if (!u)
		return;
	free(u->lanes);
	buf_free(&u->frame);
	buf_free(&u->body);
	free(u);
}

static struct uplink_view view_of(const struct uplink *u, uint32_t shard)
{
	struct uplink_view v = {0};
	u->io.view(u->io.arg, shard, &v);
	return v;
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

static bool send_msg(struct uplink *u, struct msg *m, int64_t mono_ns)
{
	m->from = u->edge->name;
	if (u->has_cluster_id)
		m->cluster_id = bytes_of(u->cluster_id, CLUSTER_ID_BYTES);
	buf_clear(&u->frame);
	if (msg_encode(m, &u->frame) < 0)
		return false;
	if (!u->asked_ns) /* also when it cannot be sent: a dead connection must be left too */
		u->asked_ns = mono_ns ? mono_ns : 1;
	return u->io.send(u->io.arg, u->frame.data, u->frame.len);
}

static void lanes_reset(struct uplink *u)
{
	for (uint32_t i = 0; i < u->topology->shards; i++) {
		struct lane *l = &u->lanes[i];
		*l = (struct lane){.highest = l->highest};
	}
}

static void reconnect(struct uplink *u, uint32_t cloud, int64_t mono_ns)
{
	u->cloud = cloud;
	u->asked_ns = 0;
	u->unconnected_ns = u->unserved_ns = u->unreported_ns = 0;
	u->leave = false;
	u->credit = 0;
	u->hello_ns = mono_ns;
	u->hello_backoff_ns = 0;
	if (u->state != UPLINK_FENCED && u->state != UPLINK_GRANTED)
		u->state = UPLINK_HELLO;
	lanes_reset(u);
	u->stats.connects++;
	u->io.connect(u->io.arg, cloud);
}

static void send_hello(struct uplink *u, int64_t mono_ns)
{
	struct msg m = {.type = MSG_HELLO};
	m.hello.edge = u->edge->name;
	m.hello.cluster = u->topology->cluster;
	m.hello.epoch = u->epoch;
	m.hello.claim = bytes_of(u->claim, CLAIM_BYTES);
	m.hello.empty = u->empty;
	m.hello.software = SOFTWARE;
	m.hello.map_version = u->topology->map_version;
	m.hello.fenced = u->state == UPLINK_FENCED && u->fence != FENCE_REFUSED;
	if (send_msg(u, &m, mono_ns))
		u->hello_ns = INT64_MAX;
}

static void send_report(struct uplink *u, int64_t wall_ns, int64_t mono_ns)
{
	struct msg m = {.type = MSG_REPORT};
	u->io.report(u->io.arg, &m);
	m.report.edge = u->edge->name;
	m.report.epoch = u->epoch;
	m.report.sent_mono_ns = mono_ns;
	m.report.wall_ns = wall_ns;
	m.report.incarnation = u->incarnation;
	m.report.seq = ++u->report_seq;
	m.report.map_version = u->topology->map_version;
	send_msg(u, &m, mono_ns);
}

static void send_reports(struct uplink *u, int64_t wall_ns, int64_t mono_ns)
{
	if (mono_ns - u->report_ns >= u->edge->heartbeat_ns) {
		send_report(u, wall_ns, mono_ns);
		u->report_ns = mono_ns;
	} else if (u->report_early) {
		send_report(u, wall_ns, mono_ns);
		u->early_ns = mono_ns;
	}
	u->report_early = false;
}

static void fence(struct uplink *u, enum fence kind, int64_t mono_ns, const char *what, const char *detail)
{
	if (u->state == UPLINK_GRANTED) /* a newer epoch is being stored: this is about the one before */
		return;
	bool first = u->state == UPLINK_READY;
	if (first)
		u->claim_stored = false;
	u->state = UPLINK_FENCED;
	u->fence = kind;
	buf_clear(&u->frame);
	buf_printf(&u->frame, "%s%s%.200s", what, detail && *detail ? ": " : "", detail ? detail : "");
	const char *text = buf_cstr(&u->frame);
	size_t n = strlen(text);
	if (n >= REASON_MAX)
		n = REASON_MAX - 1;
	memcpy(u->reason, text, n);
	u->reason[n] = 0;
	/* At once where the meta group may not know of it: whoever is asked what is wrong does then. */
	u->hello_ns = first && kind == FENCE_EPOCH ? mono_ns : mono_ns + UPLINK_FENCED_RETRY_MS * NS_PER_MS;
	lanes_reset(u);
}

/* A refusal is the word of one cloud, whose data, topology or version may be the wrong one: not the cluster's, as FENCED is.
 * The next hello goes to the next cloud; fenced is whom every one refuses. */
static void refused(struct uplink *u, int64_t mono_ns, const char *what, const char *detail)
{
	bool again = u->leave;
	u->leave = clouds_there(u->topology) > 1;
	if (u->state == UPLINK_HELLO && (again || ++u->refused < clouds_there(u->topology))) {
		u->hello_ns = mono_ns;
	} else if (u->state == UPLINK_FENCED && u->fence == FENCE_EPOCH) {
		u->hello_ns = mono_ns + UPLINK_FENCED_RETRY_MS * NS_PER_MS;
	} else {
		u->refused = 0;
		fence(u, FENCE_REFUSED, mono_ns, what, detail);
	}
}

/* ---- lanes: the way to one shard ------------------------------------------------------------------------------- */

static void lane_rewind(struct uplink *u, uint32_t shard, uint64_t to)
{
	struct lane *l = &u->lanes[shard];
	struct uplink_view v = view_of(u, shard);
	if (to <= v.acked)
		to = v.acked + 1;
	if (to >= l->next)
		return;
	l->next = to;
	l->in_flight = 0;
	for (uint64_t s = l->probe ? l->probe : v.acked + 1; s < to; s++) /* nothing before a probe was sent */
		l->in_flight += u->io.batch_bytes(u->io.arg, shard, s);
}

static int64_t longer_backoff(int64_t backoff_ns, enum verdict why)
{
	int64_t max_ns = (why == VERDICT_UNAVAILABLE ? UPLINK_UNAVAILABLE_MAX_MS : UPLINK_BACKOFF_MAX_MS) * NS_PER_MS;
	int64_t longer = backoff_ns * 2;
	if (longer < UPLINK_BACKOFF_MIN_MS * NS_PER_MS)
		longer = UPLINK_BACKOFF_MIN_MS * NS_PER_MS;
	return longer > max_ns ? max_ns : longer;
}

static void lane_backoff(struct lane *l, enum verdict why, int64_t mono_ns)
{
	if (l->retry_ns > mono_ns)
		return;
	l->backoff_ns = longer_backoff(l->backoff_ns, why);
	l->retry_ns = mono_ns + l->backoff_ns;
}

static void lane_unavailable(struct lane *l, int64_t mono_ns)
{
	l->opened = l->open_sent = false;
	l->in_flight = 0;
	if (!l->unavailable_ns)
		l->unavailable_ns = mono_ns ? mono_ns : 1;
	l->unavailable_last_ns = mono_ns;
	lane_backoff(l, VERDICT_UNAVAILABLE, mono_ns);
}

static void lane_reopen(struct lane *l)
{
	l->opened = l->open_sent = false;
	l->in_flight = 0;
}

/* Everything up to seq is merged and durable in the cloud. */
static void lane_ack(struct uplink *u, uint32_t shard, uint64_t seq, int64_t mono_ns)
{
	struct lane *l = &u->lanes[shard];
	struct uplink_view v = view_of(u, shard);
	if (seq <= v.acked)
		return;
	for (uint64_t s = v.acked + 1; s <= seq; s++) {
		if (s < l->next) {
			size_t bytes = u->io.batch_bytes(u->io.arg, shard, s);
			l->in_flight -= bytes < l->in_flight ? bytes : l->in_flight;
		}
		u->stats.batches_acked++;
	}
	if (l->next <= seq)
		l->next = seq + 1;
	if (l->probe <= seq)
		l->probe = 0;
	l->since_ns = mono_ns;
	l->backoff_ns = 0;
	l->retry_ns = 0;
	l->unavailable_ns = 0;
	u->io.acked(u->io.arg, shard, seq);
}

static void lane_open(struct uplink *u, uint32_t shard, const struct uplink_view *v, int64_t mono_ns)
{
	struct lane *l = &u->lanes[shard];
	if (l->open_sent && mono_ns - l->open_sent_ns < UPLINK_RESEND_MS * NS_PER_MS)
		return;
	struct msg m = {.type = MSG_OPEN, .req_id = ++u->req_id};
	m.open.edge = u->edge->name;
	m.open.epoch = u->epoch;
	m.open.shard = shard;
	m.open.low = v->low;
	m.open.high = v->high;
	m.open.resume = v->resume;
	if (send_msg(u, &m, mono_ns)) {
		l->open_sent = true;
		l->open_req = m.req_id;
		l->open_sent_ns = mono_ns;
	}
}

/* Sends one batch of the lane if it may: true. */
static bool lane_send(struct uplink *u, uint32_t shard, const struct uplink_view *v, int64_t mono_ns)
{
	struct lane *l = &u->lanes[shard];
	if (l->next > v->ready || (l->probe && l->next > l->probe))
		return false;
	size_t bytes = u->io.batch_bytes(u->io.arg, shard, l->next);
	uint64_t flying = uplink_in_flight(u);
	if (!bytes || !u->credit || (flying && flying + bytes > u->credit))
		return false;
	if (l->next > v->sent) {
		if (uplink_sent_target(u, shard) > v->sent)
			u->wants_sent = true;
		return false;
	}
	buf_clear(&u->body);
	if (u->io.batch_body(u->io.arg, shard, l->next, &u->body) < 0)
		return false;
	struct msg m = {.type = MSG_BATCH, .req_id = u->epoch};
	m.batch.edge = u->edge->name;
	m.batch.epoch = u->epoch;
	m.batch.shard = shard;
	m.batch.seq = l->next;
	m.batch.map_version = u->topology->map_version;
	m.batch.body = bytes_of(u->body.data, u->body.len);
	if (!send_msg(u, &m, mono_ns))
		return false;
	if (!l->in_flight)
		l->since_ns = mono_ns;
	l->in_flight += bytes;
	if (l->next <= l->highest)
		u->stats.batches_resent++;
	else
		l->highest = l->next;
	u->stats.batches_sent++;
	u->stats.bytes_sent += bytes;
	l->next++;
	return true;
}

/* One step of a shard: true when a batch was sent, so that there may be more. */
static bool lane_turn(struct uplink *u, uint32_t shard, int64_t mono_ns)
{
	struct lane *l = &u->lanes[shard];
	struct uplink_view v = view_of(u, shard);
	if (v.acked >= v.high || v.moving || l->retry_ns > mono_ns)
		return false;
	if (!l->opened || v.resume) {
		lane_open(u, shard, &v, mono_ns);
		return false;
	}
	/* By seq: late acknowledgements of what is before a probe leave in_flight too low. */
	if (l->next > v.acked + 1 && mono_ns - l->since_ns >= UPLINK_RESEND_MS * NS_PER_MS) {
		lane_rewind(u, shard, l->probe ? l->probe : v.acked + 1);
		l->since_ns = mono_ns;
	}
	return lane_send(u, shard, &v, mono_ns);
}

static void pump(struct uplink *u, int64_t mono_ns)
{
	u->wants_sent = false;
	if (u->state != UPLINK_READY)
		return;
	uint32_t shards = u->topology->shards, idle = 0;
	for (unsigned sent = 0; idle < shards && sent < UPLINK_FRAMES_PER_TURN_MAX;) {
		uint32_t shard = u->lane_first;
		u->lane_first = (shard + 1) % shards;
		if (lane_turn(u, shard, mono_ns)) {
			sent++;
			idle = 0;
		} else {
			idle++;
		}
	}
}

uint64_t uplink_sent_target(const struct uplink *u, uint32_t shard)
{
	struct uplink_view v = view_of(u, shard);
	/* Not before the shard has said what it has: for an old copy of the spool the mark is what tells. */
	if (u->state != UPLINK_READY || v.resume || !u->credit || !u->lanes[shard].opened)
		return v.sent;
	uint64_t target = v.acked, ahead = 0;
	while (target < v.ready) {
		size_t bytes = u->io.batch_bytes(u->io.arg, shard, target + 1);
		if (!bytes || (ahead && ahead + bytes > u->credit * UPLINK_SENT_AHEAD))
			break;
		ahead += bytes;
		target++;
	}
	return target > v.sent ? target : v.sent;
}

bool uplink_wants_sent(const struct uplink *u)
{
	return u->wants_sent;
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

/* A grant of an earlier start's claim is nothing to send with: a copy of the spool may hold the same. False: it is this start's. */
static bool claim_anew(struct uplink *u, int64_t mono_ns)
{
	if (memcmp(u->claim, u->own_claim, CLAIM_BYTES) == 0)
		return false;
	memcpy(u->claim, u->own_claim, CLAIM_BYTES);
	u->claim_stored = false;
	u->state = UPLINK_HELLO;
	u->hello_ns = mono_ns;
	return true;
}

static void take_grant(struct uplink *u, const struct msg *m, int64_t mono_ns)
{
	struct uplink_grant g = {.epoch = m->hello_reply.epoch,
	    .resume = m->hello_reply.resume,
	    .readmitted = m->hello_reply.readmitted};
	if (m->hello_reply.cluster_id.n == CLUSTER_ID_BYTES) {
		memcpy(g.cluster_id, m->hello_reply.cluster_id.p, CLUSTER_ID_BYTES);
		g.has_cluster_id = true;
	}
	u->credit = m->hello_reply.credit_bytes;
	u->refused = 0;
	u->leave = false;
	if (g.epoch > u->epoch) {
		u->state = UPLINK_GRANTED;
		u->hello_ns = INT64_MAX;
		u->io.granted(u->io.arg, &g);
		return;
	}
	if (g.epoch < u->epoch) { /* news of the past: ask again */
		u->stats.frames_stale++;
		u->hello_ns = mono_ns + UPLINK_BACKOFF_MAX_MS * NS_PER_MS;
		return;
	}
	/* The same grant again, after a reconnection or a restart of a fenced edge, which keeps its claim. */
	if (u->state == UPLINK_FENCED && u->fence == FENCE_EPOCH) {
		u->hello_ns = mono_ns + UPLINK_FENCED_RETRY_MS * NS_PER_MS;
		return;
	}
	if (claim_anew(u, mono_ns))
		return;
	u->state = UPLINK_READY;
	u->hello_ns = INT64_MAX;
	u->report_ns = mono_ns - u->edge->heartbeat_ns; /* at once */
}

static void handle_hello_reply(struct uplink *u, const struct msg *m, int64_t mono_ns)
{
	if (m->hello_reply.claim.n != CLAIM_BYTES || memcmp(m->hello_reply.claim.p, u->claim, CLAIM_BYTES) != 0) {
		u->stats.frames_stale++;
		return;
	}
	if (u->state == UPLINK_READY || u->state == UPLINK_GRANTED) /* it comes twice, or late */
		return;
	if (m->hello_reply.cluster_id.n && u->has_cluster_id &&
	    memcmp(m->hello_reply.cluster_id.p, u->cluster_id, CLUSTER_ID_BYTES) != 0) {
		u->stats.frames_foreign++;
		refused(u, mono_ns, "this cloud is of another cluster than the one that the spool belongs to", "");
		return;
	}
	switch (m->hello_reply.verdict) {
	case VERDICT_OK:
		take_grant(u, m, mono_ns);
		return;
	case VERDICT_FENCED:
		fence(u, FENCE_HELLO, mono_ns,
		    "another holder of this edge's name, or a newer copy of its spool, is known to the cloud",
		    m->hello_reply.reason);
		return;
	case VERDICT_REFUSED:
		refused(u, mono_ns, "the cloud refuses this edge", m->hello_reply.reason);
		return;
	case VERDICT_BUSY:
	case VERDICT_UNAVAILABLE:
	case VERDICT_DUPLICATE:
	case VERDICT_OUT_OF_SEQUENCE:
	case VERDICT_NOT_OPEN:
		break;
	}
	u->hello_backoff_ns = longer_backoff(u->hello_backoff_ns, m->hello_reply.verdict);
	u->hello_ns = mono_ns + u->hello_backoff_ns;
}

/* The cloud's `last` against what the spool knows: semantics.md 1.3. */
static const char *contradiction(const struct uplink_view *v, uint64_t last)
{
	if (last > v->sent)
		return "the cloud has batches that this spool never sent: it is an old copy, or its name is in use twice";
	if (last < v->acked)
		return "the cloud has lost batches that it had acknowledged";
	return NULL;
}

static void open_accepted(struct uplink *u, uint32_t shard, uint64_t last, int64_t mono_ns)
{
	struct lane *l = &u->lanes[shard];
	struct uplink_view v = view_of(u, shard);
	const char *wrong = contradiction(&v, last);
	if (wrong) {
		fence(u, FENCE_EPOCH, mono_ns, wrong, "weirctl edge readmit is the way back");
		return;
	}
	l->opened = true;
	l->in_flight = 0;
	l->next = v.acked + 1;
	l->probe = 0;
	l->since_ns = mono_ns;
	if (last > v.acked) {
		/* What the cloud has is not sent again, but for the last one, which proves that both mean the same. Alone: what
		 * follows it would be merged even where it is refused. */
		if (u->io.batch_damaged(u->io.arg, shard, last))
			lane_ack(u, shard, last, mono_ns);
		else
			l->next = l->probe = last;
	}
}

static void handle_open_reply(struct uplink *u, const struct msg *m, int64_t mono_ns)
{
	uint32_t shard = m->open_reply.shard;
	if (u->state != UPLINK_READY || shard >= u->topology->shards || !u->lanes[shard].open_sent ||
	    u->lanes[shard].opened || m->req_id != u->lanes[shard].open_req) {
		u->stats.frames_stale++;
		return;
	}
	struct lane *l = &u->lanes[shard];
	struct uplink_view v = view_of(u, shard);
	if (m->open_reply.verdict != VERDICT_UNAVAILABLE)
		l->unavailable_ns = 0;
	switch (m->open_reply.verdict) {
	case VERDICT_OK:
		if (m->open_reply.epoch != u->epoch)
			break;
		l->open_sent = false;
		if (shard == u->stuck_at)
			u->stuck_ms = 0;
		if (v.moving)
			return;
		if (v.resume)
			u->io.opened_resume(u->io.arg, shard, m->open_reply.last);
		else
			open_accepted(u, shard, m->open_reply.last, mono_ns);
		return;
	case VERDICT_FENCED:
		fence(u, FENCE_EPOCH, mono_ns, "a shard refuses this spool; weirctl edge readmit is the way back",
		    m->open_reply.reason);
		return;
	case VERDICT_REFUSED:
		refused(u, mono_ns, "the cloud refuses this edge", m->open_reply.reason);
		return;
	case VERDICT_UNAVAILABLE:
		lane_unavailable(l, mono_ns);
		return;
	case VERDICT_BUSY:
	case VERDICT_DUPLICATE:
	case VERDICT_OUT_OF_SEQUENCE:
	case VERDICT_NOT_OPEN:
		l->open_sent = false;
		lane_backoff(l, m->open_reply.verdict, mono_ns);
		return;
	}
	u->stats.frames_stale++;
}

/* What was merged under the held epoch is merged, even if a fence came between it and its answer: else a readmission
 * would count as dropped what the cloud has. */
static void late_ack(struct uplink *u, const struct msg *m, int64_t mono_ns)
{
	uint32_t shard = m->batch_reply.shard;
	if (u->state != UPLINK_FENCED || shard >= u->topology->shards || m->batch_reply.verdict != VERDICT_OK ||
	    m->batch_reply.epoch != u->epoch)
		return;
	struct uplink_view v = view_of(u, shard);
	if (m->batch_reply.seq <= v.sent && m->batch_reply.last <= v.sent)
		lane_ack(u, shard, m->batch_reply.seq, mono_ns);
}

static void handle_batch_reply(struct uplink *u, const struct msg *m, int64_t mono_ns)
{
	uint32_t shard = m->batch_reply.shard;
	uint64_t seq = m->batch_reply.seq;
	/* To a batch of an earlier epoch, before a readmission: it is fenced by the present one, which is no news, and its
	 * number may be in use again. */
	if (m->req_id != u->epoch) {
		u->stats.frames_stale++;
		return;
	}
	if (u->state != UPLINK_READY || shard >= u->topology->shards || !u->lanes[shard].opened) {
		u->stats.frames_stale++;
		late_ack(u, m, mono_ns);
		return;
	}
	struct lane *l = &u->lanes[shard];
	struct uplink_view v = view_of(u, shard);
	if (seq > v.sent || seq <= v.acked) { /* an answer that comes twice, or to nothing that was asked */
		u->stats.frames_stale++;
		return;
	}
	switch (m->batch_reply.verdict) {
	case VERDICT_OK:
	case VERDICT_DUPLICATE:
		if (m->batch_reply.epoch != u->epoch)
			break;
		if (m->batch_reply.last > v.sent) {
			fence(u, FENCE_EPOCH, mono_ns,
			    "the cloud has batches that this spool never sent: its name is in use twice", "");
			return;
		}
		u->credit = m->batch_reply.credit_bytes;
		lane_ack(u, shard, seq, mono_ns);
		return;
	case VERDICT_FENCED:
		if (m->batch_reply.epoch && m->batch_reply.epoch < u->epoch)
			break;
		fence(u, FENCE_EPOCH, mono_ns, "a shard refuses a batch of this spool; weirctl edge readmit is the way back",
		    m->batch_reply.reason);
		return;
	case VERDICT_OUT_OF_SEQUENCE:
		/* `last` is what was proposed, not what is acknowledged. */
		if (m->batch_reply.last + 1 <= v.acked)
			lane_reopen(l);
		else
			lane_rewind(u, shard, m->batch_reply.last + 1);
		lane_backoff(l, m->batch_reply.verdict, mono_ns);
		return;
	case VERDICT_NOT_OPEN:
		lane_reopen(l);
		return;
	case VERDICT_BUSY:
		lane_rewind(u, shard, seq);
		lane_backoff(l, VERDICT_BUSY, mono_ns);
		return;
	case VERDICT_UNAVAILABLE: /* who leads next wants an OPEN first; until somebody does, it is asked with little */
		lane_unavailable(l, mono_ns);
		return;
	case VERDICT_REFUSED:
		refused(u, mono_ns, "the cloud refuses a batch of this edge", m->batch_reply.reason);
		return;
	}
	u->stats.frames_stale++;
}

static void handle_report_reply(struct uplink *u, const struct msg *m, int64_t mono_ns)
{
	if (u->state != UPLINK_READY)
		return;
	if (m->report_reply.verdict != VERDICT_UNAVAILABLE)
		u->unreported_ns = 0;
	switch (m->report_reply.verdict) {
	case VERDICT_OK:
		u->credit = m->report_reply.credit_bytes;
		if (u->stuck_at == u->topology->shards)
			u->stuck_ms = 0;
		return;
	case VERDICT_UNAVAILABLE:
		if (!u->unreported_ns)
			u->unreported_ns = mono_ns ? mono_ns : 1;
		u->unreported_last_ns = mono_ns;
		return;
	case VERDICT_FENCED:
		if (m->report_reply.epoch > u->epoch)
			fence(u, FENCE_EPOCH, mono_ns, "another holder of this edge's name has taken over",
			    m->report_reply.reason);
		return;
	case VERDICT_REFUSED:
		refused(u, mono_ns, "the cloud refuses this edge", m->report_reply.reason);
		return;
	case VERDICT_DUPLICATE:
	case VERDICT_OUT_OF_SEQUENCE:
	case VERDICT_BUSY:
	case VERDICT_NOT_OPEN:
		return;
	}
}

/* ---- the cluster map ------------------------------------------------------------------------------------------- */

static void map_told(struct uplink *u, uint64_t version)
{
	if (version <= u->map_told)
		return;
	u->map_told = version;
	u->map_ns = INT64_MIN; /* a new one: it may be better than one that could not be used */
	u->map_backoff_ms = 0;
}

static void ask_for_map(struct uplink *u, int64_t mono_ns)
{
	if (u->state == UPLINK_DOWN || u->map_told <= u->map_known || mono_ns < u->map_ns)
		return;
	struct msg m = {.type = MSG_MAP, .req_id = MAP_REQ | ++u->req_id};
	m.map.version = u->map_known;
	if (!send_msg(u, &m, mono_ns))
		return;
	u->map_req = m.req_id;
	u->map_ns = mono_ns + UPLINK_MAP_RETRY_MS * NS_PER_MS;
	u->stats.maps_asked++;
}

static void map_later(struct uplink *u, int64_t mono_ns)
{
	u->map_backoff_ms = u->map_backoff_ms ? 2 * u->map_backoff_ms : UPLINK_MAP_RETRY_MS;
	if (u->map_backoff_ms > UPLINK_MAP_RETRY_MAX_MS)
		u->map_backoff_ms = UPLINK_MAP_RETRY_MAX_MS;
	u->map_ns = mono_ns + u->map_backoff_ms * NS_PER_MS;
}

static void handle_map_reply(struct uplink *u, const struct msg *m, int64_t mono_ns)
{
	if (!u->map_req || m->req_id != u->map_req) {
		u->stats.frames_stale++;
		return;
	}
	u->map_req = 0;
	if (m->map_reply.verdict != VERDICT_OK || !m->map_reply.map.n || m->map_reply.version <= u->map_known) {
		map_later(u, mono_ns); /* another cloud may know more */
		return;
	}
	map_later(u, mono_ns);
	u->stats.maps_received++;
	u->io.map(u->io.arg, m->map_reply.map);
}

void uplink_map_refused(struct uplink *u, int64_t mono_ns)
{
	map_later(u, mono_ns);
}

void uplink_know_map(struct uplink *u, uint64_t version)
{
	if (version > u->map_known)
		u->map_known = version;
}

void uplink_set_topology(struct uplink *u, const struct topology *t, uint32_t edge, void *io_arg, int64_t mono_ns)
{
	const struct topology *was = u->topology;
	const struct cloud_conf *before = was->cloud_count ? &was->clouds[u->cloud] : NULL;
	const struct cloud_conf *now = before && u->cloud < t->cloud_count ? &t->clouds[u->cloud] : NULL;
	bool same = now && now->state != CLOUD_GONE && strcmp(now->name, before->name) == 0 &&
	    strcmp(now->listen, before->listen) == 0;
	weir_assert(t->shards == was->shards);
	if (same && !stays(t, u->cloud)) /* before it is out of the cluster, and forwards nothing any more */
		same = cloud_from(t, u->cloud) == u->cloud;
	u->topology = t;
	u->edge = &t->edges[edge];
	u->io.arg = io_arg;
	u->map_backoff_ms = 0;
	uplink_know_map(u, t->map_version);
	if (u->state == UPLINK_FENCED && u->fence != FENCE_EPOCH) /* this edge may be in it again */
		u->hello_ns = mono_ns;
	if (!clouds_there(t))
		u->state = u->state == UPLINK_FENCED || u->state == UPLINK_GRANTED ? u->state : UPLINK_DOWN;
	else if (!same && u->state != UPLINK_DOWN)
		reconnect(u, cloud_from(t, u->cloud), mono_ns);
	else if (!same)
		u->cloud = first_cloud(t, edge);
}

static void handle_error(struct uplink *u, const struct msg *m, int64_t mono_ns)
{
	if (u->map_req && m->req_id == u->map_req) {
		u->map_req = 0;
		map_later(u, mono_ns);
		return;
	}
	if (m->error.verdict == VERDICT_REFUSED)
		refused(u, mono_ns, "the cloud refuses this edge", m->error.reason);
	else if (u->state == UPLINK_HELLO && u->hello_ns == INT64_MAX)
		u->hello_ns = mono_ns + UPLINK_BACKOFF_MAX_MS * NS_PER_MS;
}

/* Whose edge an answer is about, where it says so. */
static const char *edge_of(const struct msg *m)
{
	switch (m->type) {
	case MSG_HELLO_REPLY:
		return m->hello_reply.edge;
	case MSG_OPEN_REPLY:
		return m->open_reply.edge;
	case MSG_BATCH_REPLY:
		return m->batch_reply.edge;
	case MSG_REPORT_REPLY:
		return m->report_reply.edge;
	case MSG_MAP_REPLY:
	case MSG_ERROR:
		return "";
	default: /* nothing that an edge is sent */
		return NULL;
	}
}

static enum verdict verdict_of(const struct msg *m)
{
	switch (m->type) {
	case MSG_HELLO_REPLY:
		return m->hello_reply.verdict;
	case MSG_OPEN_REPLY:
		return m->open_reply.verdict;
	case MSG_BATCH_REPLY:
		return m->batch_reply.verdict;
	case MSG_REPORT_REPLY:
		return m->report_reply.verdict;
	default:
		return m->error.verdict;
	}
}

/* It answers; whether it serves is another matter: it may be cut off from the nodes that lead. */
static void heard(struct uplink *u, const struct msg *m, int64_t mono_ns)
{
	u->asked_ns = 0;
	if (m->type == MSG_MAP_REPLY)
		return;
	if (verdict_of(m) != VERDICT_UNAVAILABLE) {
		u->unserved_ns = 0;
		u->left = 0;
		return;
	}
	u->unserved_last_ns = mono_ns;
	if (!u->unserved_ns)
		u->unserved_ns = mono_ns ? mono_ns : 1;
}

static bool is_foreign(const struct uplink *u, struct bytes id)
{
	return u->has_cluster_id && id.n && memcmp(id.p, u->cluster_id, CLUSTER_ID_BYTES) != 0;
}

static bool for_us(struct uplink *u, const struct msg *m)
{
	const char *edge = edge_of(m);
	if (!edge || (*edge && strcmp(edge, u->edge->name) != 0)) {
		u->stats.frames_bad++;
		return false;
	}
	bool foreign = is_foreign(u, m->cluster_id);
	if (foreign && m->type != MSG_HELLO_REPLY && m->type != MSG_ERROR) {
		u->stats.frames_foreign++;
		return false;
	}
	return true;
}

static void note_map_version(struct uplink *u, const struct msg *m)
{
	if (m->type == MSG_REPORT_REPLY)
		map_told(u, m->report_reply.map_version);
	else if (m->type == MSG_HELLO_REPLY && !is_foreign(u, m->cluster_id) && !is_foreign(u, m->hello_reply.cluster_id))
		map_told(u, m->hello_reply.map_version);
}

/* Something was heard, but not what the hello asks, which is sent once: else its loss would never be noticed. */
static void still_asks(struct uplink *u, int64_t mono_ns)
{
	bool asks = (u->state == UPLINK_HELLO || u->state == UPLINK_FENCED) && u->hello_ns == INT64_MAX;
	if (asks && !u->asked_ns)
		u->asked_ns = mono_ns ? mono_ns : 1;
}

void uplink_frame(struct uplink *u, const void *frame, size_t len, int64_t wall_ns, int64_t mono_ns)
{
	(void)wall_ns;
	struct msg m;
	if (msg_decode(frame, len, &m) < 0) {
		u->stats.frames_bad++;
		return;
	}
	if (for_us(u, &m)) {
		heard(u, &m, mono_ns);
		note_map_version(u, &m);
		if (m.type == MSG_HELLO_REPLY)
			handle_hello_reply(u, &m, mono_ns);
		else if (m.type == MSG_OPEN_REPLY)
			handle_open_reply(u, &m, mono_ns);
		else if (m.type == MSG_BATCH_REPLY)
			handle_batch_reply(u, &m, mono_ns);
		else if (m.type == MSG_REPORT_REPLY)
			handle_report_reply(u, &m, mono_ns);
		else if (m.type == MSG_MAP_REPLY)
			handle_map_reply(u, &m, mono_ns);
		else
			handle_error(u, &m, mono_ns);
		still_asks(u, mono_ns);
	}
	msg_clear(&m);
	pump(u, mono_ns);
}

/* ---- time ------------------------------------------------------------------------------------------------------ */

const uint8_t *uplink_claim(const struct uplink *u)
{
	return u->claim;
}

bool uplink_wants_claim(const struct uplink *u)
{
	return !u->claim_stored && u->state != UPLINK_READY && u->state != UPLINK_GRANTED;
}

void uplink_claim_stored(struct uplink *u)
{
	u->claim_stored = true;
}

void uplink_grant_stored(struct uplink *u, const struct uplink_grant *g, int64_t mono_ns)
{
	weir_assert(u->state == UPLINK_GRANTED);
	u->epoch = g->epoch;
	u->empty = false;
	if (g->has_cluster_id) {
		memcpy(u->cluster_id, g->cluster_id, CLUSTER_ID_BYTES);
		u->has_cluster_id = true;
	}
	u->state = UPLINK_READY;
	u->reason[0] = 0;
	u->report_ns = mono_ns - u->edge->heartbeat_ns; /* at once */
	lanes_reset(u);
	for (uint32_t i = 0; i < u->topology->shards; i++)
		if (g->readmitted || g->resume)
			u->lanes[i].highest = 0;
	claim_anew(u, mono_ns);
}

bool uplink_may_report_early(const struct uplink *u, int64_t mono_ns)
{
	return u->state == UPLINK_READY && mono_ns - u->early_ns >= UPLINK_REPORT_EARLY_MS * NS_PER_MS;
}

void uplink_report_early(struct uplink *u)
{
	u->report_early = true;
}

static int64_t silent_limit(const struct uplink *u)
{
	int64_t limit = 3 * u->edge->heartbeat_ns;
	return limit > UPLINK_SILENT_MIN_MS * NS_PER_MS ? limit : UPLINK_SILENT_MIN_MS * NS_PER_MS;
}

static int64_t unconnected_limit(const struct uplink *u)
{
	int64_t limit = UPLINK_UNCONNECTED_MS * NS_PER_MS;
	for (unsigned i = 0; i < u->left && limit < silent_limit(u); i++)
		limit *= 2;
	return limit < silent_limit(u) ? limit : silent_limit(u);
}

static int64_t unserved_limit(const struct uplink *u)
{
	return silent_limit(u) << (u->left < 4 ? u->left : 4);
}

/* By the answers: an election may be over, and the next question not yet asked. */
static bool is_stuck(struct uplink *u)
{
	int64_t limit_ms = u->stuck_ms ? u->stuck_ms : UPLINK_STUCK_MS;
	for (uint32_t i = 0; i <= u->topology->shards; i++) {
		bool shard = i < u->topology->shards;
		int64_t since_ns = shard ? u->lanes[i].unavailable_ns : u->unreported_ns;
		int64_t last_ns = shard ? u->lanes[i].unavailable_last_ns : u->unreported_last_ns;
		if (!since_ns || last_ns - since_ns < limit_ms * NS_PER_MS)
			continue;
		u->stuck_at = i;
		u->stuck_ms = 2 * limit_ms < UPLINK_STUCK_MAX_MS ? 2 * limit_ms : UPLINK_STUCK_MAX_MS;
		return true;
	}
	return false;
}

static void keep_connected(struct uplink *u, int64_t mono_ns)
{
	bool unserved = u->unserved_ns && u->unserved_last_ns - u->unserved_ns >= unserved_limit(u);
	bool stuck = is_stuck(u);
	bool silent = u->asked_ns && mono_ns - u->asked_ns >= silent_limit(u);
	bool unconnected = u->unconnected_ns && mono_ns - u->unconnected_ns >= unconnected_limit(u);
	if (u->state == UPLINK_DOWN) {
		reconnect(u, u->cloud, mono_ns);
	} else if (silent || unconnected || unserved || stuck) {
		u->left++;
		reconnect(u, cloud_from(u->topology, u->cloud + 1), mono_ns);
	} else if (u->leave && u->hello_ns <= mono_ns) {
		reconnect(u, cloud_from(u->topology, u->cloud + 1), mono_ns);
	}
	if ((u->state == UPLINK_HELLO || u->state == UPLINK_FENCED) && u->claim_stored && u->hello_ns <= mono_ns)
		send_hello(u, mono_ns);
}

void uplink_retry(struct uplink *u, bool can_send, int64_t mono_ns)
{
	if (!clouds_there(u->topology) || u->state == UPLINK_DOWN) /* the first tick connects */
		return;
	if (can_send)
		u->unconnected_ns = 0;
	else if (!u->unconnected_ns)
		u->unconnected_ns = mono_ns ? mono_ns : 1;
	keep_connected(u, mono_ns);
	ask_for_map(u, mono_ns);
	pump(u, mono_ns);
}

void uplink_tick(struct uplink *u, int64_t wall_ns, int64_t mono_ns)
{
	if (!clouds_there(u->topology))
		return;
	keep_connected(u, mono_ns);
	ask_for_map(u, mono_ns);
	if (u->state == UPLINK_READY)
		send_reports(u, wall_ns, mono_ns);
	pump(u, mono_ns);
}

enum uplink_state uplink_state(const struct uplink *u)
{
	return u->state;
}

bool uplink_fenced(const struct uplink *u, const char **ret_reason)
{
	if (u->state != UPLINK_FENCED)
		return false;
	if (ret_reason)
		*ret_reason = u->reason;
	return true;
}

bool uplink_refused(const struct uplink *u)
{
	return u->state == UPLINK_FENCED && u->fence == FENCE_REFUSED;
}

uint64_t uplink_epoch(const struct uplink *u)
{
	return u->epoch;
}

uint64_t uplink_credit(const struct uplink *u)
{
	return u->credit;
}

uint64_t uplink_in_flight(const struct uplink *u)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < u->topology->shards; i++)
		sum += u->lanes[i].in_flight;
	return sum;
}

uint32_t uplink_cloud(const struct uplink *u)
{
	return u->cloud;
}

const struct uplink_stats *uplink_stats(const struct uplink *u)
{
	return &u->stats;
}
