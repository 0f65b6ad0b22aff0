/* The ledger (semantics.md 6): what became of every reading.
 *
 * Of the edge: accepted + refused{reason} = read. Of each stream: matched = aggregated + dropped{reason}. Aggregated
 * are the readings that partials hold, be it in memory, in the spool or acknowledged; `acked` are those of them that
 * the cloud has acknowledged in a commit, so aggregated - acked is what this edge still holds. Counted by stream name,
 * whatever its version. */
#ifndef WEIR_EDGED_LEDGER_H
#define WEIR_EDGED_LEDGER_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/codec.h"
#include "common/kv.h"

#define LEDGER_LABEL_MAX 48  /* bytes of a refusal's label */
#define LEDGER_STREAMS_MAX 2048

enum drop {
	DROP_RANGE,
	DROP_WHERE,
	DROP_DUPLICATE,
	DROP_RATE_FIRST,
	DROP_OUT_OF_ORDER,
	DROP_MAX_SERIES,
	DROP_NOT_FINITE,
	DROP_NOT_NUMERIC,
	DROP_GROUP_TOO_LONG,
	DROP_TOO_BIG,
	DROP_READMITTED,
	DROP_CORRUPT, /* lost to a damaged record of the spool */
	DROP_NO_VERSION, /* of a time that no version of the stream takes here: before it began, or the one that did has closed */
	DROPS
};
const char *drop_label(enum drop d);

struct ledger_stream {
	char *name;
	size_t index; /* in the ledger's list */
	uint64_t matched, aggregated, acked;
	uint64_t dropped[DROPS];
};

struct ledger_refusal {
	char label[LEDGER_LABEL_MAX];
	uint64_t count;
};

struct ledger {
	uint64_t read; /* counted where readings come in, by itself: the sum can be checked */
	uint64_t accepted, unmatched;
	struct ledger_refusal refused[REASON_COUNTS_MAX]; /* in the order of their first appearance */
	size_t refused_count;
	struct ledger_stream **streams;
	size_t stream_count;
};

void ledger_free(struct ledger *l);
/* The stream's account, made if missing; it lives as long as the ledger. NULL: over LEDGER_STREAMS_MAX. */
struct ledger_stream *ledger_stream(struct ledger *l, const char *name);
/* One reading is refused. Labels beyond REASON_COUNTS_MAX count as "other". */
void ledger_refuse(struct ledger *l, const char *label);
uint64_t ledger_refused(const struct ledger *l);
uint64_t ledger_dropped(const struct ledger_stream *s);
/* n readings that were aggregated are not any more. */
void ledger_take_back(struct ledger_stream *s, enum drop reason, uint64_t n);

/* For the checkpoint. Restoring adds nothing: it replaces. WEIR_EVERSION, WEIR_ETRUNCATED, WEIR_ECORRUPT: also where the sums do
 * not hold, as they do at every moment. */
void ledger_encode(const struct ledger *l, struct buf *out);
int ledger_decode(struct ledger *l, struct bytes raw);
void ledger_stream_encode(const struct ledger_stream *s, struct buf *out);
int ledger_stream_decode(struct ledger_stream *s, struct bytes raw);

#endif
