/* An edged: the real pipeline on a simulated spool, with sources that replay from a mark as a file does. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "tests/sim/sim_world.h"

#define FEED_EVERY_NS (50 * NS_PER_MS)
#define FEED_BYTES_MAX 4096 /* a turn: a returner with a backlog takes many */

static void edge_down(struct sim_edge *e);

static const struct sim_source *source_of(const struct sim_edge *e, size_t s)
{
	return &e->w->plan->sources[e->edge][s];
}

static size_t source_count(const struct sim_edge *e)
{
	return sim_edge_conf(e)->source_count;
}

/* The plan's number of a source of the edge's topology; feeds are by that. */
static size_t feed_of(const struct sim_edge *e, size_t source)
{
	return sim_plan_source(&sim_edge_conf(e)->sources[source]);
}

/* Killed within a call by its disk: what it still does is not done. */
static bool zombie(const struct sim_edge *e)
{
	return !e->kv || sim_kv_dead(e->kv);
}

struct pipeline_time sim_edge_time(const struct sim_edge *e)
{
	return (struct pipeline_time){sim_wall_ns(e->w) + e->skew_ns, sim_mono_ns(e->w, &e->sleep)};
}

static bool is_right(int64_t skew_ns)
{
	return skew_ns >= -2 * NS_PER_SEC && skew_ns <= 2 * NS_PER_SEC;
}

static void log_add(struct sim_delivery **log, size_t *count, size_t *cap, struct sim_delivery d)
{
	if (*count == *cap) {
		*cap = *cap ? 2 * *cap : 512;
		*log = xrealloc(*log, *cap * sizeof(**log));
	}
	(*log)[(*count)++] = d;
}

static void log_truncate(struct sim_edge *e, size_t count)
{
	e->log_count = count;
	e->accepted = e->refused = 0;
	for (size_t i = 0; i < count; i++) {
		const struct sim_line *l = &source_of(e, e->log[i].source)->lines[e->log[i].line];
		uint64_t n = l->bad ? 1 : l->field_count;
		*(e->log[i].accepted ? &e->accepted : &e->refused) += n;
	}
}

void sim_edge_disown(struct sim_edge *e, size_t from)
{
	for (size_t i = from; i < e->log_count; i++) {
		e->log[i].certain = false;
		log_add(&e->old, &e->old_count, &e->old_cap, e->log[i]);
	}
}

/* ---- what the pipeline asks for ------------------------------------------------------------------------------- */

/* A mutant's network: acknowledges the batch itself, and loses some. */
static bool early_ack(struct sim_edge *e, const struct msg *m)
{
	struct msg reply = {.type = MSG_BATCH_REPLY, .req_id = m->req_id, .from = "cloud-1", .cluster_id = m->cluster_id};
	reply.batch_reply.edge = m->batch.edge;
	reply.batch_reply.shard = m->batch.shard;
	reply.batch_reply.seq = reply.batch_reply.last = m->batch.seq;
	reply.batch_reply.epoch = m->batch.epoch;
	reply.batch_reply.verdict = VERDICT_OK;
	reply.batch_reply.credit_bytes = 1 << 20;
	reply.batch_reply.reason = "";
	struct buf out = {0};
	struct sim_world *w = e->w;
	if (!msg_encode(&reply, &out) && e->conn)
		sim_net_to_dealer(w, e->cloud, bytes_of(&e->conn, sizeof(e->conn)), out.data, out.len);
	buf_free(&out);
	return sim_chance(&w->net_rand, 0.1);
}

static void newest_epoch(struct sim_edge *e, struct msg *m)
{
	uint64_t newest = 0;
	for (size_t i = 0; i < e->w->grant_count; i++)
		if (e->w->grants[i].edge == e->edge && e->w->grants[i].epoch > newest)
			newest = e->w->grants[i].epoch;
	if (m->type == MSG_OPEN)
		m->open.epoch = newest;
	else if (m->type == MSG_BATCH)
		m->batch.epoch = newest;
	else if (m->type == MSG_REPORT)
		m->report.epoch = newest;
}

/* What the mutants do to a frame on its way. True: it does not go on. */
static bool tamper(struct sim_edge *e, struct msg *m, struct buf *out)
{
	switch (e->w->mutant) {
	case MUTANT_EARLY_ACK:
		return m->type == MSG_BATCH && early_ack(e, m);
	case MUTANT_IGNORE_EPOCH:
		newest_epoch(e, m);
		return msg_encode(m, out) != 0;
	case MUTANT_VAIN_CLOCK:
		if (m->type == MSG_REPORT)
			m->report.wall_ns += 100 * 86400 * NS_PER_SEC;
		return msg_encode(m, out) != 0;
	case MUTANT_EARLY_SINCE:
		for (size_t i = 0; m->type == MSG_REPORT && i < m->report.stream_count; i++)
			m->report.streams[i].since_ns = WATERMARK_NONE;
		return msg_encode(m, out) != 0;
	case MUTANT_EAGER_REPORT:
		for (size_t i = 0; m->type == MSG_REPORT && i < m->report.stream_count; i++)
			if (m->report.streams[i].watermark_ns != WATERMARK_NONE)
				m->report.streams[i].watermark_ns += 5 * NS_PER_SEC;
		return msg_encode(m, out) != 0;
	default:
		return false;
	}
}

static bool edge_send(void *arg, const void *frame, size_t len)
{
	struct sim_edge *e = arg;
	if (zombie(e) || !e->connected)
		return false;
	struct msg m;
	int rc = msg_decode(frame, len, &m);
	if (rc) {
		sim_fail(e->w, "edge %u sends a frame that does not decode: %s", e->pid, err_text(rc));
		return false;
	}
	sim_check_sent(e, &m);
	struct buf changed = {0};
	bool sent = tamper(e, &m, &changed) ||
	    sim_net_to_router(e->w, &e->conn, changed.len ? changed.data : frame, changed.len ? changed.len : len);
	buf_free(&changed);
	msg_clear(&m);
	return sent;
}

static void edge_connect(void *arg, uint32_t cloud)
{
	struct sim_edge *e = arg;
	if (zombie(e))
		return;
	int pid = sim_pid_at(e->w, e->topology, cloud);
	if (pid < 0) {
		sim_fail(e->w, "edge %u connects to cloud %u", e->pid, cloud);
		return;
	}
	sim_trace(e->w, "edge %u connects to cloud %d", e->pid, pid);
	e->cloud = (uint32_t)pid;
	e->connected = true;
	e->conn = sim_net_connect(e->w, e->pid, e->cloud);
}

static void edge_pause(void *arg, bool paused)
{
	struct sim_edge *e = arg;
	if (paused != e->paused)
		sim_trace(e->w, "edge %u %s its sources", e->pid, paused ? "pauses" : "resumes");
	e->paused = paused;
}

static size_t line_end(const struct sim_source *s, size_t next_line)
{
	return next_line ? s->lines[next_line - 1].end : 0;
}

static void edge_mark(void *arg, uint32_t source, struct buf *out)
{
	struct sim_edge *e = arg;
	if (source >= source_count(e)) {
		sim_fail(e->w, "edge %u asks for the mark of source %u", e->pid, source);
		return;
	}
	e->cut_pending = e->log_count;
	const struct sim_feed *f = &e->feeds[feed_of(e, source)];
	size_t at = line_end(source_of(e, feed_of(e, source)), f->next_line);
	buf_varint(out, at > f->skip_to ? at : f->skip_to);
}

static void edge_committed(void *arg)
{
	struct sim_edge *e = arg;
	if (zombie(e))
		return;
	e->cut_durable = e->cut_pending;
	e->committed_wall_ns = sim_edge_time(e).wall_ns;
	e->clock_kept = e->clock_kept || (is_right(e->skew_ns) && !e->clock_ever_wrong);
}

/* The first line behind offset `at`. */
static size_t line_behind(const struct sim_source *s, size_t at)
{
	size_t i = 0;
	while (i < s->count && s->lines[i].end <= at)
		i++;
	return i;
}

static size_t available(const struct sim_edge *e, const struct sim_source *s)
{
	size_t lo = 0, hi = s->count;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (s->lines[mid].release_ns <= e->w->now_ns)
			lo = mid + 1;
		else
			hi = mid;
	}
	return line_end(s, lo);
}

static void feed_reset(struct sim_edge *e, size_t s, size_t offset);

static void edge_skip_to_end(void *arg)
{
	struct sim_edge *e = arg;
	if (zombie(e))
		return;
	sim_trace(e->w, "edge %u skips its sources to their end", e->pid);
	e->cut_durable = e->cut_pending = e->log_count; /* the readmission is stored, and its ledger */
	sim_edge_disown(e, 0);
	for (size_t i = 0; i < source_count(e); i++) {
		size_t s = feed_of(e, i);
		feed_reset(e, s, available(e, source_of(e, s)));
	}
}

/* ---- sources ------------------------------------------------------------------------------------------------- */

struct feed_arg {
	struct sim_edge *e;
	size_t source; /* the plan's */
	uint32_t number;
};

static const struct sim_line *feed_next(struct sim_edge *e, size_t s, bool refused)
{
	struct sim_feed *f = &e->feeds[s];
	const struct sim_source *src = source_of(e, s);
	if (f->next_line >= src->count) {
		sim_fail(e->w, "the parser of edge %u source %zu found more lines than there are", e->pid, s);
		return NULL;
	}
	const struct sim_line *l = &src->lines[f->next_line++];
	if (refused && !l->bad) /* a lazy parser leaves bad tags to the pipeline: it may give a bad line */
		sim_fail(e->w, "line %zu of edge %u source %zu is good, and the parser refuses it", f->next_line, e->pid, s);
	return l;
}

/* Only a clock that is known to be wrong suspends the rule; and one that was set back far is known to be wrong. */
static void check_clock(struct sim_edge *e, const struct sim_line *l, bool accepted, int64_t limit_ns)
{
	if (l->bad || !l->has_time || e->w->plan->scenario != SIM_PLAIN)
		return;
	if (accepted && l->t_ns > limit_ns && is_right(e->skew_ns) && !e->clock_ever_wrong)
		sim_fail(e->w, "edge %u took a reading too far ahead, and its clock is right", e->pid);
	if (!accepted && !l->ahead && e->clock_kept && e->skew_ns <= -1000 * NS_PER_SEC)
		sim_fail(e->w, "edge %u refused a right reading, because its clock was set back", e->pid);
}

/* What the pipeline made of a line: all its readings accepted, or all refused. */
static void feed_note(struct sim_edge *e, size_t s, const struct sim_line *l, const struct pipeline_ledger *before,
    int64_t wall_ns)
{
	struct pipeline_ledger after;
	pipeline_ledger(e->pipeline, &after);
	uint64_t accepted = after.accepted - before->accepted, refused = after.refused - before->refused;
	uint64_t n = l->bad ? 1 : l->field_count;
	if (accepted + refused != n || (accepted && refused) || (l->bad && accepted))
		sim_fail(e->w, "a line of %u readings was counted as %llu accepted, %llu refused", (unsigned)n,
		    (unsigned long long)accepted, (unsigned long long)refused);
	int64_t limit = wall_ns + sim_edge_conf(e)->max_ahead_ns;
	if (refused && !l->bad && (!l->has_time || l->t_ns <= limit))
		sim_fail(e->w, "edge %u refused a good reading that is not ahead of its clock", e->pid);
	check_clock(e, l, accepted > 0, limit);
	e->accepted += accepted;
	e->refused += refused;
	log_add(&e->log, &e->log_count, &e->log_cap,
	    (struct sim_delivery){(uint8_t)s, accepted > 0, true, (uint32_t)(e->feeds[s].next_line - 1), wall_ns});
}

static void feed_line(void *arg, const struct line *l)
{
	struct feed_arg *a = arg;
	struct sim_edge *e = a->e;
	const struct sim_line *expected = feed_next(e, a->source, false);
	if (!expected || e->w->failed)
		return;
	struct pipeline_ledger before;
	pipeline_ledger(e->pipeline, &before);
	struct pipeline_time now = sim_edge_time(e);
	pipeline_line(e->pipeline, a->number, l, now);
	feed_note(e, a->source, expected, &before, now.wall_ns);
}

static void feed_error(void *arg, uint64_t number, size_t column, enum line_error error, struct bytes text)
{
	(void)number, (void)column, (void)text;
	struct feed_arg *a = arg;
	struct sim_edge *e = a->e;
	const struct sim_line *expected = feed_next(e, a->source, true);
	if (!expected || e->w->failed)
		return;
	struct pipeline_ledger before;
	pipeline_ledger(e->pipeline, &before);
	pipeline_refuse(e->pipeline, a->number, line_error_label(error));
	feed_note(e, a->source, expected, &before, sim_edge_time(e).wall_ns);
}

static void feed_reset(struct sim_edge *e, size_t s, size_t offset)
{
	struct sim_feed *f = &e->feeds[s];
	f->fed = offset;
	f->skip_to = offset;
	f->next_line = line_behind(source_of(e, s), offset);
	f->finished = false;
	if (f->parser_made)
		line_parser_reset(&f->parser);
}

static void feed_source(struct sim_edge *e, uint32_t number)
{
	size_t s = feed_of(e, number);
	struct sim_feed *f = &e->feeds[s];
	const struct sim_source *src = source_of(e, s);
	size_t end = available(e, src), n = end - f->fed;
	if (end <= f->fed)
		n = 0;
	if (n > FEED_BYTES_MAX)
		n = FEED_BYTES_MAX;
	if (n > 1 && sim_chance(&e->w->proc_rand, 0.3))
		n = 1 + sim_below(&e->w->proc_rand, n);
	struct feed_arg arg = {e, s, number};
	f->parser.cb = (struct line_callbacks){&arg, feed_line, feed_error};
	f->fed += n; /* first: a skip to the end within sets it */
	if (n)
		line_parser_feed(&f->parser, src->text.data + f->fed - n, n);
	if (e->w->failed)
		return;
	if (src->finishes && f->next_line == src->count && !f->finished) {
		f->finished = true;
		pipeline_source_finished(e->pipeline, number, true);
	}
}

static void plan_feed(struct sim_edge *e)
{
	int64_t in = e->w->no_faults && sim_edge_all_read(e) ? NS_PER_SEC : FEED_EVERY_NS;
	sim_plan_event(e->w, SIM_EDGE_FEED, in, e->pid, e->life);
}

static void after_call(struct sim_edge *e)
{
	struct sim_world *w = e->w;
	if (zombie(e)) {
		sim_trace(w, "edge %u is killed by its disk", e->pid);
		edge_down(e);
		sim_plan_event(w, SIM_EDGE_START, sim_range(&w->fault_rand, 50, 3000) * NS_PER_MS, e->pid, e->life);
		return;
	}
	sim_check_edge(e);
	if (pipeline_drained(e->pipeline))
		e->delivered = e->log_count;
	if (!e->tick_planned && pipeline_wants_tick(e->pipeline)) {
		e->tick_planned = true;
		struct sim_event ev = {.at_ns = w->now_ns + sim_range(&w->proc_rand, 0, 2) * NS_PER_MS,
		    .type = SIM_EDGE_TICK,
		    .who = e->pid,
		    .life = e->life,
		    .arg = 1};
		sim_queue_put(&w->queue, ev);
	}
}

void sim_edge_feed(struct sim_edge *e)
{
	for (uint32_t i = 0; i < source_count(e) && !e->w->failed; i++)
		if (!e->paused && e->w->now_ns >= e->stalled_until_ns)
			feed_source(e, i);
	if (e->w->failed)
		return;
	after_call(e);
	if (e->up)
		plan_feed(e);
}

bool sim_edge_all_read(const struct sim_edge *e)
{
	for (size_t i = 0; i < source_count(e); i++)
		if (e->feeds[feed_of(e, i)].next_line < source_of(e, feed_of(e, i))->count)
			return false;
	return true;
}

/* ---- life and death ------------------------------------------------------------------------------------------- */

void sim_edge_init(struct sim_world *w, struct sim_edge *e, uint32_t pid, uint32_t edge)
{
	*e = (struct sim_edge){.w = w, .pid = pid, .edge = edge};
	if (topology_edge(w->topology, w->plan->edges[edge]) >= 0)
		e->file = w->topology;
	e->disk = sim_disk_new(SPOOL_DBS, 2 * sim_edge_conf(e)->disk_bytes + (256 << 10));
	int64_t skew = w->plan->skew_max_ns;
	e->skew_ns = skew ? sim_range(&w->proc_rand, -skew, skew) : 0;
}

/* Which of the two checkpoints that could be the last one is on the disk: the sources' marks say. */
static bool marks_agree(struct sim_edge *e, size_t cut)
{
	for (size_t k = 0; k < source_count(e); k++) {
		size_t next = SIZE_MAX, s = feed_of(e, k);
		for (size_t i = cut; i > 0 && next == SIZE_MAX; i--)
			if (e->log[i - 1].source == s)
				next = e->log[i - 1].line + 1;
		if (next != SIZE_MAX && next != e->feeds[s].next_line)
			return false;
	}
	return true;
}

/* A readmission's commit keeps the ledger and no marks: where the history ends the ledger alone says. The commit that the crash hit may
 * have been one without either. */
static void settle_by_ledger(struct sim_edge *e)
{
	struct pipeline_ledger l;
	pipeline_ledger(e->pipeline, &l);
	if (e->accepted + e->refused > l.accepted + l.refused && e->cut_durable < e->log_count)
		log_truncate(e, e->cut_durable);
	while (e->log_count < e->log_whole && e->accepted + e->refused < l.accepted + l.refused)
		log_truncate(e, e->log_count + 1);
}

static void settle_log(struct sim_edge *e)
{
	e->log_whole = e->log_count;
	bool plain = e->w->plan->scenario == SIM_PLAIN;
	size_t cut = e->crash_committed && e->cut_pending <= e->log_count ? e->cut_pending : e->cut_durable;
	if (plain && !marks_agree(e, cut))
		cut = e->cut_durable; /* the commit that the crash hit was one without marks */
	if (plain && !marks_agree(e, cut)) {
		if (e->w->mutant == MUTANT_NONE)
			sim_fail(e->w, "edge %u: its sources' marks are not those of its last checkpoint", e->pid);
		while (cut > 0 && !marks_agree(e, cut))
			cut--;
	}
	log_truncate(e, cut);
	if (!plain)
		settle_by_ledger(e);
	e->cut_durable = e->cut_pending = e->log_count;
	e->crash_committed = false;
}

/* What some mutants do to a restarted source. */
static void mutate_feed(struct sim_edge *e, size_t s)
{
	struct sim_feed *f = &e->feeds[s];
	if (e->w->mutant == MUTANT_LOST_MARK)
		feed_reset(e, s, 0);
	else if (e->w->mutant == MUTANT_DOUBLE_LINE && f->next_line > 0)
		feed_reset(e, s, line_end(source_of(e, s), f->next_line - 1));
}

static void open_source(struct sim_edge *e, uint32_t number)
{
	size_t s = feed_of(e, number);
	struct bytes mark = pipeline_source_mark(e->pipeline, number);
	struct rd r = rd_init(mark.p, mark.n);
	size_t offset = mark.n ? (size_t)rd_varint(&r) : e->feeds[s].skip_to;
	if (mark.n && rd_finish(&r))
		sim_fail(e->w, "edge %u gives back a mark that was never given to it", e->pid);
	weir_assert(!e->feeds[s].parser_made);
	e->feeds[s].parser_made = true;
	line_parser_init(&e->feeds[s].parser, &(struct line_callbacks){0}, 1, true);
	feed_reset(e, s, offset);
}

static void close_source(struct sim_edge *e, size_t s)
{
	if (e->feeds[s].parser_made)
		line_parser_free(&e->feeds[s].parser);
	e->feeds[s].parser_made = false;
}

static bool has_feed(const struct sim_edge *e, size_t s)
{
	for (size_t i = 0; i < source_count(e); i++)
		if (feed_of(e, i) == s)
			return true;
	return false;
}

void sim_edge_open_sources(struct sim_edge *e, const uint32_t *from)
{
	for (size_t i = 0; i < source_count(e) && e->w->mutant == MUTANT_REREAD; i++)
		feed_reset(e, feed_of(e, i), 0);
	for (size_t s = 0; s < SIM_SOURCES_MAX; s++)
		if (!has_feed(e, s))
			close_source(e, s);
	for (uint32_t i = 0; i < source_count(e); i++)
		if (from[i] == UINT32_MAX)
			open_source(e, i);
}

static void resume_sources(struct sim_edge *e)
{
	for (uint32_t i = 0; i < source_count(e); i++)
		open_source(e, i);
	settle_log(e);
	sim_adopt_settle(e);
	for (size_t i = 0; i < source_count(e); i++)
		mutate_feed(e, feed_of(e, i));
}

static const struct pipeline_io edge_io = {
    .send = edge_send,
    .connect = edge_connect,
    .pause = edge_pause,
    .mark = edge_mark,
    .committed = edge_committed,
    .skip_to_end = edge_skip_to_end,
};

const struct pipeline_io *sim_edge_io(void)
{
	return &edge_io;
}

/* The mark `wall`: when it committed last, as far as that was believed. */
static void mutate_wall(struct sim_edge *e)
{
	struct kv_txn *txn;
	struct buf value = {0};
	struct bytes key = bytes_of("wall", 4);
	if (kv_begin(e->kv, true, &txn))
		return;
	buf_svarint(&value, sim_wall_ns(e->w) + 10 * 86400 * NS_PER_SEC);
	struct bytes before;
	int rc = kv_get(txn, SPOOL_MARK, key, &before); /* not in a new spool */
	if (!rc && e->w->mutant == MUTANT_LOST_CLOCK)
		rc = kv_del(txn, SPOOL_MARK, key);
	else if (!rc)
		rc = kv_put(txn, SPOOL_MARK, key, bytes_of(value.data, value.len));
	buf_free(&value);
	if (rc)
		kv_abort(txn);
	else
		kv_commit(txn);
}

void sim_edge_clear_spool(struct sim_edge *e, unsigned db)
{
	struct kv_txn *txn;
	if (kv_begin(e->kv, true, &txn))
		return;
	if (kv_clear(txn, db))
		kv_abort(txn);
	else
		kv_commit(txn);
}

static void mutate_spool(struct sim_edge *e)
{
	if (e->w->mutant == MUTANT_LOST_CLOCK || e->w->mutant == MUTANT_PROUD_CLOCK)
		mutate_wall(e);
	unsigned db = e->w->mutant == MUTANT_LOST_DELTAS ? SPOOL_DELTA : e->w->mutant == MUTANT_LOST_STEPS ? SPOOL_STEP : SPOOL_DBS;
	if (e->w->mutant == MUTANT_LYING_SPOOL && !e->w->no_faults)
		sim_disk_lie(e->disk, true);
	if (db != SPOOL_DBS)
		sim_edge_clear_spool(e, db);
}

void sim_edge_start(struct sim_edge *e)
{
	struct sim_world *w = e->w;
	weir_assert(!e->up && e->exists);
	e->life++;
	e->paused = e->connected = e->tick_planned = false;
	e->conn = 0;
	e->kv = sim_kv_open(e->disk, sim_u64(&w->disk_rand));
	mutate_spool(e);
	/* One that was right but for a second, and is set by that second, is earlier than the last commit for as long. */
	e->clock_ever_wrong = e->clock_ever_wrong || !is_right(e->skew_ns) || sim_edge_time(e).wall_ns < e->committed_wall_ns;
	if (!w->no_faults && w->plan->edge_crash_ns && sim_chance(&w->fault_rand, 0.1))
		sim_kv_crash_after(e->kv, sim_below(&w->fault_rand, 30)); /* again, while it recovers */
	uint8_t random[16];
	for (size_t i = 0; i < sizeof(random); i++)
		random[i] = (uint8_t)sim_u64(&w->proc_rand);
	struct pipeline_io io = edge_io;
	io.arg = e;
	char *why = NULL;
	e->up = true;
	sim_adopt_start(e);
	int rc = pipeline_open(e->topology, e->number, e->kv, &io, random, sim_edge_time(e), &e->pipeline, &why);
	sim_trace(w, "edge %u starts: %s", e->pid, rc ? why : "fine");
	if (rc && !sim_kv_dead(e->kv))
		sim_fail(w, "edge %u does not open its spool: %s", e->pid, why);
	free(why);
	if (rc) {
		e->pipeline = NULL;
		after_call(e);
		return;
	}
	resume_sources(e);
	if (w->failed)
		return;
	after_call(e);
	if (!e->up)
		return;
	sim_plan_event(w, SIM_EDGE_TICK, 0, e->pid, e->life);
	plan_feed(e);
}

static void edge_down(struct sim_edge *e)
{
	e->w->crashes++;
	sim_wake(e->w, &e->sleep);
	e->up = false;
	e->life++;
	if (e->pipeline)
		pipeline_close(e->pipeline);
	e->pipeline = NULL;
	for (size_t s = 0; s < SIM_SOURCES_MAX; s++)
		close_source(e, s);
	e->crash_committed = e->crash_committed || sim_kv_crash_committed(e->kv);
	kv_close(e->kv);
	e->kv = NULL;
}

void sim_edge_crash(struct sim_edge *e)
{
	sim_trace(e->w, "edge %u crashes", e->pid);
	edge_down(e);
}

void sim_edge_stop(struct sim_edge *e)
{
	sim_trace(e->w, "edge %u stops", e->pid);
	int rc = pipeline_checkpoint(e->pipeline, false, sim_edge_time(e));
	if (rc && rc != WEIR_EFULL && !sim_kv_dead(e->kv))
		sim_fail(e->w, "edge %u: checkpoint: %s", e->pid, err_text(rc));
	edge_down(e);
}

void sim_edge_tick(struct sim_edge *e)
{
	int rc = pipeline_tick(e->pipeline, sim_edge_time(e));
	if (rc && !sim_kv_dead(e->kv))
		sim_fail(e->w, "edge %u: tick: %s", e->pid, err_text(rc));
	sim_adopt_turn(e);
	if (!e->w->failed)
		after_call(e);
}

void sim_edge_frame(struct sim_edge *e, const void *frame, size_t len)
{
	struct msg m;
	if (!msg_decode(frame, len, &m)) {
		sim_check_received(e, &m);
		msg_clear(&m);
	}
	pipeline_frame(e->pipeline, frame, len, sim_edge_time(e));
	if (!e->w->failed)
		after_call(e);
}

void sim_edge_free(struct sim_edge *e)
{
	if (e->up)
		edge_down(e);
	topology_free(e->topology);
	topology_free(e->next);
	buf_free(&e->next_map);
	sim_disk_free(e->disk);
	sim_disk_free(e->backup);
	for (size_t i = 0; i < e->adoption_count; i++)
		topology_free(e->adoptions[i].topology);
	free(e->adoptions);
	free(e->log);
	free(e->old);
}
