/* Fetch: one replica's side of a snapshot: asks for chunk after chunk, checks each, hands them out to be applied, and asks
 * again where no answer came. A fetch that cannot go on (the source forgot it, the bytes do not add up) starts over from the
 * first chunk. Pure; on the loop thread; owned by cloudd/consensus, one for each group that needs it.
 *
 *     fetch_start --MSG_SNAPSHOT--> reply, checked --fetch_take--> BEGIN, RECORDS..., END --fetch_applied--> next
 */
#ifndef WEIR_CLOUDD_FETCH_H
#define WEIR_CLOUDD_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/apply.h"
#include "common/codec.h"

#define FETCH_RETRY_MS 1000
#define FETCH_AHEAD 2        /* chunks asked for and not applied */
#define FETCH_GIVE_UP_MS 15000 /* nothing but waiting for the source, without any progress */
#define FETCH_BUSY_MS 120000   /* ... while it says that it is busy (it may be writing the copy) */
#define FETCH_RESTARTS_MAX 8   /* from the first chunk, of one source: then it gives up */

struct fetch;

enum fetch_step { FETCH_BEGIN = 1, FETCH_RECORDS, FETCH_END };
struct fetch_chunk {
	enum fetch_step step;
	uint8_t *records;  /* RECORDS: from malloc, the taker's */
	size_t len;
	struct snapshot_head head; /* of the snapshot, in every step; config points into the fetch */
};

/* send: to node; false: cannot now (tried again); called from within fetch_start, _reply, _applied and _tick. m's envelope is filled in by the caller of send. */
struct fetch *fetch_new(uint32_t group, bool (*send)(void *arg, uint32_t node, struct msg *m), void *arg);
void fetch_free(struct fetch *f);
/* (Re)starts from that node, from the first chunk: the next step handed out is BEGIN, once the first chunk is there: until then
 * nothing is lost. What a step that is still being applied comes to, no longer matters; the next comes after fetch_applied. */
void fetch_start(struct fetch *f, uint32_t node, int64_t mono_ns);
/* A MSG_SNAPSHOT_REPLY of node; others' and late ones are ignored. */
void fetch_reply(struct fetch *f, uint32_t node, const struct msg *m, int64_t mono_ns);
/* The next step to be applied, when the one before it was (fetch_applied). */
bool fetch_take(struct fetch *f, struct fetch_chunk *ret_chunk);
/* ok: false: the bytes were wrong: starts over. */
void fetch_applied(struct fetch *f, bool ok, int64_t mono_ns);
void fetch_tick(struct fetch *f, int64_t mono_ns);
bool fetch_done(const struct fetch *f);  /* END was applied */
bool fetch_stuck(const struct fetch *f); /* gave up: tell the leader, start again with another source */
/* For people: bytes got, bytes in all (0: not known). */
void fetch_progress(const struct fetch *f, uint64_t *ret_bytes, uint64_t *ret_total);

#endif
