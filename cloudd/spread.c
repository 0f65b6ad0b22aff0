#include "cloudd/spread.h"

#include <stdlib.h>

#include "cloudd/apply.h"
#include "common/clock.h"
#include "common/err.h"

struct spread_shard {
	bool behind;
	bool wants_read;        /* something changed since the queue was read last */
	uint64_t taken;         /* 0: not known yet */
	uint64_t lacks;         /* first in the queue that it had not taken when last read; 0: none seen */
	uint64_t sent;          /* highest sent; at least `taken` */
	uint32_t outstanding;   /* sent and not taken, at the most */
	int64_t progress_ns;    /* when something was sent to an idle shard, or taken */
	int64_t read_ns;
};

struct spread {
	struct spread_io io;
	uint32_t shards;
	struct spread_counters counters;
	struct spread_shard shard[];
};

struct spread *spread_new(uint32_t shards, const struct spread_io *io)
{
	struct spread *sp = xcalloc(1, sizeof(*sp) + shards * sizeof(sp->shard[0]));
	sp->io = *io;
	sp->shards = shards;
	spread_start(sp);
	return sp;
}

void spread_start(struct spread *sp)
{
	for (uint32_t i = 0; i < sp->shards; i++)
		sp->shard[i] = (struct spread_shard){.behind = true, .wants_read = true, .read_ns = INT64_MIN / 2};
}

void spread_free(struct spread *sp)
{
	free(sp);
}

static void start_over(struct spread_shard *s)
{
	s->behind = true;
	s->wants_read = true;
	s->sent = s->taken;
	s->outstanding = 0;
}

static bool send(struct spread *sp, uint32_t shard, uint64_t meta_index, struct bytes entry, int64_t mono_ns)
{
	struct spread_shard *s = &sp->shard[shard];
	uint64_t sent_before = s->sent;
	if (s->outstanding == 0)
		s->progress_ns = mono_ns;
	s->outstanding++;
	s->sent = meta_index; /* before: the reply may come within the call */
	if (sp->io.advance(sp->io.arg, shard, meta_index, entry)) {
		sp->counters.sent++;
		return true;
	}
	s->sent = sent_before;
	if (s->outstanding)
		s->outstanding--;
	return false;
}

void spread_push(struct spread *sp, uint64_t meta_index, struct bytes entry, int64_t mono_ns)
{
	for (uint32_t i = 0; i < sp->shards; i++) {
		struct spread_shard *s = &sp->shard[i];
		if (!s->behind && (s->outstanding >= SPREAD_WINDOW || !send(sp, i, meta_index, entry, mono_ns))) {
			s->behind = true;
			s->wants_read = true;
		}
	}
}

void spread_taken(struct spread *sp, uint32_t shard, uint64_t meta_index)
{
	weir_assert(shard < sp->shards);
	struct spread_shard *s = &sp->shard[shard];
	if (meta_index <= s->taken)
		return;
	s->taken = meta_index;
	s->wants_read = true;
	s->progress_ns = INT64_MAX; /* set anew by the next tick */
	if (meta_index >= s->sent) {
		s->sent = meta_index;
		s->outstanding = 0;
	} else if (s->outstanding > 1) {
		s->outstanding--;
	}
}

void spread_refused(struct spread *sp, uint32_t shard)
{
	weir_assert(shard < sp->shards);
	struct spread_shard *s = &sp->shard[shard];
	/* Not at once: what made it refuse needs time. The resend timer starts it over. */
	s->behind = true;
}

struct feeding {
	struct spread *sp;
	uint32_t shard;
	int64_t mono_ns;
	bool first;
	bool full; /* stopped before the end */
};

static bool feed_one(void *arg, uint64_t meta_index, struct bytes entry)
{
	struct feeding *f = arg;
	struct spread_shard *s = &f->sp->shard[f->shard];
	if (f->first && s->sent == s->taken)
		s->lacks = meta_index;
	f->first = false;
	if (s->outstanding >= SPREAD_WINDOW || !send(f->sp, f->shard, meta_index, entry, f->mono_ns)) {
		f->full = true;
		return false;
	}
	return true;
}

static int feed(struct spread *sp, uint32_t shard, struct kv_txn *txn, bool complete, int64_t mono_ns)
{
	struct spread_shard *s = &sp->shard[shard];
	struct feeding f = {.sp = sp, .shard = shard, .mono_ns = mono_ns, .first = true};
	s->wants_read = false;
	s->read_ns = mono_ns;
	int rc = meta_read_advances(txn, shard, s->sent, feed_one, &f);
	if (rc)
		return rc;
	if (complete && !f.full)
		s->behind = false;
	return 0;
}

static bool wants_feeding(const struct spread_shard *s, int64_t mono_ns)
{
	if (!s->behind || s->outstanding >= SPREAD_WINDOW)
		return false;
	return s->wants_read || mono_ns - s->read_ns >= SPREAD_READ_EVERY_MS * NS_PER_MS;
}

int spread_tick(struct spread *sp, struct kv *state, bool complete, int64_t mono_ns)
{
	struct kv_txn *txn = NULL;
	int rc = 0;
	for (uint32_t i = 0; i < sp->shards && !rc; i++) {
		struct spread_shard *s = &sp->shard[i];
		if (s->progress_ns == INT64_MAX)
			s->progress_ns = mono_ns;
		if (s->outstanding && mono_ns - s->progress_ns >= SPREAD_RESEND_MS * NS_PER_MS) {
			start_over(s);
			sp->counters.resends++;
		}
		if (!wants_feeding(s, mono_ns))
			continue;
		if (!txn)
			rc = kv_begin(state, false, &txn);
		if (!rc)
			rc = feed(sp, i, txn, complete, mono_ns);
	}
	if (txn)
		kv_abort(txn);
	return rc;
}

uint64_t spread_shard_taken(const struct spread *sp, uint32_t shard)
{
	return sp->shard[shard].taken;
}

uint64_t spread_lowest(const struct spread *sp)
{
	uint64_t lowest = UINT64_MAX;
	for (uint32_t i = 0; i < sp->shards; i++) {
		const struct spread_shard *s = &sp->shard[i];
		uint64_t known = s->taken ? s->taken : s->lacks ? s->lacks - 1 : UINT64_MAX;
		lowest = known < lowest ? known : lowest;
	}
	return lowest;
}

const struct spread_counters *spread_counters(const struct spread *sp)
{
	return &sp->counters;
}
