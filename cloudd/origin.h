/* Who asked, and what was asked: all that is needed to answer a request later, when its entry is applied or another
 * node has replied. A plain value: copy it. */
#ifndef WEIR_CLOUDD_ORIGIN_H
#define WEIR_CLOUDD_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/codec.h"

/* ZeroMQ's own routing ids have 5 bytes; a peer that chose a longer one is not answered (its frames are counted). */
#define ORIGIN_ROUTE_MAX 40
#define ORIGIN_NO_EDGE UINT32_MAX

struct origin {
	enum msg_type type;   /* of the request */
	bool local;           /* asked by this node itself: req_id says by what */
	bool forwarded;       /* came through another cloud: never forwarded again, and no session of ours */
	uint8_t route_len;
	uint8_t route[ORIGIN_ROUTE_MAX];
	uint64_t req_id;      /* of the request; echoed */
	uint32_t edge;        /* index in the topology, or ORIGIN_NO_EDGE */
	uint32_t shard;       /* OPEN, BATCH, ADVANCE */
	uint64_t seq;         /* BATCH */
	int64_t sent_mono_ns; /* REPORT: echoed */
	uint8_t claim[CLAIM_BYTES]; /* HELLO: echoed */
	bool counted;         /* BATCH: it is on its session's account until it is answered, */
	uint32_t bytes;       /* with so many bytes */
};

/* What is answered. Fields that the request's reply does not have are left 0. */
struct answer {
	enum verdict verdict;
	uint64_t epoch, last;
	uint64_t meta_index;
	uint64_t map_version;
	bool resume, readmitted;
	const char *reason; /* NULL: none; lives for the call */
};

#endif
