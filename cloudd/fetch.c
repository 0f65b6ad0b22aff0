/* The pulling side. A window of FETCH_AHEAD chunks, in the order of their numbers: asked for, there, handed out.
 *
 *     NEW --chunk 0 is there--> BEGINNING --applied--> FILLING --last chunk applied--> ENDING --applied--> DONE
 *      ^___ start over ____________________________________/                  no progress, from any: STUCK
 */
#include "cloudd/fetch.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "cloudd/snapshot.h"
#include "common/clock.h"
#include "common/err.h"

enum phase { PHASE_STOPPED, PHASE_NEW, PHASE_BEGINNING, PHASE_FILLING, PHASE_ENDING, PHASE_DONE, PHASE_STUCK };

struct slot {
	bool asked, there, last;
	int64_t asked_ns;
	uint8_t *records;
	size_t len;
};

struct fetch {
	uint32_t group;
	bool (*send)(void *arg, uint32_t node, struct msg *m);
	void *arg;

	enum phase phase;
	uint32_t node;
	uint64_t id; /* 0 while NEW */
	struct snapshot_head head;
	uint8_t config[SNAPSHOT_CONFIG_MAX];
	uint64_t next;                  /* the chunk in slots[0]: the first that is not applied */
	struct slot slots[FETCH_AHEAD];
	bool handed;                    /* a step is being applied */
	bool handed_is_old;             /* ... that a restart has overtaken */
	bool handed_last;               /* ... and it holds the last chunk */
	unsigned restarts;
	int64_t progress_ns;            /* when anything was last got or applied */
	int64_t busy_ns;                /* when the source last said that it is busy, or progress_ns */
	uint64_t got_bytes, total_bytes;
};

struct fetch *fetch_new(uint32_t group, bool (*send)(void *arg, uint32_t node, struct msg *m), void *arg)
{
	struct fetch *f = xcalloc(1, sizeof(*f));
	f->group = group;
	f->send = send;
	f->arg = arg;
	return f;
}

static void drop_slots(struct fetch *f)
{
	for (size_t i = 0; i < FETCH_AHEAD; i++)
		free(f->slots[i].records);
	memset(f->slots, 0, sizeof(f->slots));
}

void fetch_free(struct fetch *f)
{
	if (!f)
		return;
	drop_slots(f);
	free(f);
}

static bool is_running(const struct fetch *f)
{
	return f->phase >= PHASE_NEW && f->phase <= PHASE_ENDING;
}

static void progress(struct fetch *f, int64_t mono_ns)
{
	f->progress_ns = f->busy_ns = mono_ns;
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

static void ask(struct fetch *f, size_t i, int64_t mono_ns)
{
	struct msg m = {.type = MSG_SNAPSHOT};
	m.snapshot.group = f->group;
	m.snapshot.id = f->id;
	m.snapshot.chunk = f->next + i;
	f->slots[i].asked = f->send(f->arg, f->node, &m);
	f->slots[i].asked_ns = mono_ns;
}

/* What is missing and was not asked for, or a while ago. Until the first chunk is there nothing else has an id. */
static void ask_missing(struct fetch *f, int64_t mono_ns)
{
	if (f->phase == PHASE_ENDING)
		return;
	for (size_t i = 0; i < FETCH_AHEAD; i++) {
		const struct slot *s = &f->slots[i];
		if (!s->there && (!s->asked || mono_ns - s->asked_ns >= FETCH_RETRY_MS * NS_PER_MS))
			ask(f, i, mono_ns);
		if (s->last || !f->id)
			return;
	}
}

static void reset(struct fetch *f)
{
	drop_slots(f);
	f->phase = PHASE_NEW;
	f->id = 0;
	f->head = (struct snapshot_head){0};
	f->next = 0;
	f->got_bytes = f->total_bytes = 0;
	f->handed_is_old = f->handed;
}

void fetch_start(struct fetch *f, uint32_t node, int64_t mono_ns)
{
	reset(f);
	f->node = node;
	f->restarts = 0;
	progress(f, mono_ns);
	ask_missing(f, mono_ns);
}

/* With a pause before it asks again, so that nobody is asked in a circle. */
static void start_over(struct fetch *f, int64_t mono_ns)
{
	reset(f);
	if (f->restarts++ == FETCH_RESTARTS_MAX) {
		f->phase = PHASE_STUCK;
		return;
	}
	f->slots[0].asked = true;
	f->slots[0].asked_ns = mono_ns;
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static struct snapshot_head head_of(const struct msg *m)
{
	return (struct snapshot_head){.index = m->snapshot_reply.index, .term = m->snapshot_reply.term,
	    .config = m->snapshot_reply.config, .digest_hi = m->snapshot_reply.digest_hi,
	    .digest_lo = m->snapshot_reply.digest_lo, .meta_index = m->snapshot_reply.meta_index,
	    .skipped = m->snapshot_reply.skipped};
}

static void take_head(struct fetch *f, const struct msg *m)
{
	f->id = m->snapshot_reply.id;
	f->head = head_of(m);
	if (f->head.config.n)
		memcpy(f->config, f->head.config.p, f->head.config.n);
	f->head.config.p = f->config;
	f->total_bytes = m->snapshot_reply.total_bytes;
	f->phase = PHASE_BEGINNING;
}

/* The id tells that the head is as it was, the checksum that the records are. */
static bool is_whole(const struct fetch *f, const struct msg *m)
{
	struct bytes records = m->snapshot_reply.records;
	struct snapshot_head head = head_of(m);
	return head.index && head.config.n <= SNAPSHOT_CONFIG_MAX && snapshot_id(f->group, &head) == m->snapshot_reply.id &&
	    records.n <= SNAPSHOT_CHUNK_MAX && XXH3_64bits(records.p, records.n) == m->snapshot_reply.checksum;
}

/* False: damaged on the way, late or double: as if it had not come. */
static bool is_wanted(const struct fetch *f, const struct msg *m)
{
	uint64_t chunk = m->snapshot_reply.chunk;
	if (chunk < f->next || chunk - f->next >= FETCH_AHEAD || f->slots[chunk - f->next].there || !is_whole(f, m))
		return false;
	if (!f->id)
		return chunk == 0;
	return m->snapshot_reply.id == f->id;
}

static void take_chunk(struct fetch *f, const struct msg *m, int64_t mono_ns)
{
	if (!is_wanted(f, m))
		return;
	if (!f->id)
		take_head(f, m);
	struct bytes records = m->snapshot_reply.records;
	struct slot *s = &f->slots[m->snapshot_reply.chunk - f->next];
	s->records = xmalloc(records.n);
	if (records.n)
		memcpy(s->records, records.p, records.n);
	s->len = records.n;
	s->last = m->snapshot_reply.last;
	s->there = true;
	f->got_bytes += records.n;
	progress(f, mono_ns);
	ask_missing(f, mono_ns);
}

/* Only of the first chunk that is missing: those behind it may not exist. */
static void take_refusal(struct fetch *f, const struct msg *m, int64_t mono_ns)
{
	size_t missing = 0;
	while (missing < FETCH_AHEAD && f->slots[missing].there)
		missing++;
	if (missing < FETCH_AHEAD && m->snapshot_reply.id == f->id && m->snapshot_reply.chunk == f->next + missing &&
	    f->phase != PHASE_ENDING)
		start_over(f, mono_ns);
}

void fetch_reply(struct fetch *f, uint32_t node, const struct msg *m, int64_t mono_ns)
{
	if (!is_running(f) || node != f->node || m->type != MSG_SNAPSHOT_REPLY || m->snapshot_reply.group != f->group)
		return;
	if (m->snapshot_reply.verdict == VERDICT_OK)
		take_chunk(f, m, mono_ns);
	else if (m->snapshot_reply.verdict == VERDICT_REFUSED)
		take_refusal(f, m, mono_ns);
	else if (m->snapshot_reply.verdict == VERDICT_BUSY)
		f->busy_ns = mono_ns;
}

/* ---- steps ----------------------------------------------------------------------------------------------------- */

static bool has_step(const struct fetch *f)
{
	return f->phase == PHASE_BEGINNING || f->phase == PHASE_ENDING ||
	    (f->phase == PHASE_FILLING && f->slots[0].there);
}

bool fetch_take(struct fetch *f, struct fetch_chunk *ret_chunk)
{
	if (f->handed || !has_step(f))
		return false;
	struct fetch_chunk c = {.head = f->head};
	if (f->phase == PHASE_FILLING) {
		struct slot *s = &f->slots[0];
		c.step = FETCH_RECORDS;
		c.records = s->records;
		c.len = s->len;
		f->handed_last = s->last;
		s->records = NULL;
	} else {
		c.step = f->phase == PHASE_BEGINNING ? FETCH_BEGIN : FETCH_END;
	}
	f->handed = true;
	*ret_chunk = c;
	return true;
}

static void next_chunk(struct fetch *f)
{
	memmove(f->slots, f->slots + 1, (FETCH_AHEAD - 1) * sizeof(f->slots[0]));
	f->slots[FETCH_AHEAD - 1] = (struct slot){0};
	f->next++;
	if (f->handed_last) {
		drop_slots(f);
		f->phase = PHASE_ENDING;
	}
}

void fetch_applied(struct fetch *f, bool ok, int64_t mono_ns)
{
	weir_assert(f->handed);
	bool old = f->handed_is_old;
	f->handed = f->handed_is_old = false;
	if (!is_running(f))
		return;
	progress(f, mono_ns);
	if (old)
		return;
	if (!ok) {
		start_over(f, mono_ns);
		return;
	}
	if (f->phase == PHASE_BEGINNING)
		f->phase = PHASE_FILLING;
	else if (f->phase == PHASE_FILLING)
		next_chunk(f);
	else
		f->phase = PHASE_DONE;
	if (is_running(f))
		ask_missing(f, mono_ns);
}

void fetch_tick(struct fetch *f, int64_t mono_ns)
{
	if (!is_running(f))
		return;
	if (f->handed || has_step(f)) {
		/* the work is on this side: the source is not to blame for how long that takes */
		progress(f, mono_ns);
	} else if (mono_ns - f->busy_ns >= FETCH_GIVE_UP_MS * NS_PER_MS ||
	    mono_ns - f->progress_ns >= FETCH_BUSY_MS * NS_PER_MS) {
		reset(f);
		f->phase = PHASE_STUCK;
		return;
	}
	ask_missing(f, mono_ns);
}

bool fetch_done(const struct fetch *f)
{
	return f->phase == PHASE_DONE;
}

bool fetch_stuck(const struct fetch *f)
{
	return f->phase == PHASE_STUCK;
}

void fetch_progress(const struct fetch *f, uint64_t *ret_bytes, uint64_t *ret_total)
{
	*ret_bytes = f->got_bytes;
	*ret_total = f->total_bytes;
}
