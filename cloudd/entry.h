/* The entries of the logs: what is proposed, committed and applied, for the meta group (group 0) and the shards
 * (shard s is group s + 1).
 *
 * An entry is [format u8][kind u8][proposed wall time ns, svarint][fields]. It holds all that apply needs: apply reads
 * no clock and no topology beyond the streams' definitions. Decoded pointers live as long as the bytes decoded from. */
#ifndef WEIR_CLOUDD_ENTRY_H
#define WEIR_CLOUDD_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/codec.h"
#include "common/kv.h"
#include "common/model.h"

#define ENTRY_FORMAT 1
#define ENTRY_MAX (240 * 1024)
#ifndef ENTRY_ROWS_MAX /* a test makes it small */
#define ENTRY_ROWS_MAX 10000    /* rows of closing, rollup and deletion that one entry may work off */
#endif
#define ENTRY_PLACES_MAX 1000   /* of ENTRY_SINK: they fit, however long the names are */
#define ENTRY_ALERTS_MAX 1000   /* of ENTRY_ALERT */
#define ENTRY_ALERT_GROUPS_MAX 5000 /* ... in all of them */
#define ENTRY_ALERT_VALUES_MAX 4096 /* bytes */
#define NONLIVE_MAX EDGES_MAX
#define ENTRY_BASE_FIRST UINT64_MAX
/* A meta index orders advances: the index of the ENTRY_CLOSE in the meta group's log, and the place in it, so that
 * each advance of one stream has its own. To everybody but the meta group it is just a number that grows. */
#define META_INDEX(index, place) ((uint64_t)(index) * STREAMS_MAX + (uint64_t)(place))

enum entry_kind {
	/* shards */
	ENTRY_OPEN = 1,
	ENTRY_BATCH = 2,
	ENTRY_ADVANCE = 3, /* close and final of one stream, in the order of meta_index */
	ENTRY_SWEEP = 4,   /* goes on with closing, dirty windows, rollup and deletion */
	ENTRY_MAP = 8,     /* a new cluster map, in the order of meta_index with the advances */
	ENTRY_SINK = 9,    /* how far sinks have come: only where the map has sinks, so no older replica meets it */
	ENTRY_ALERT = 10,  /* what the leader found of alerts: only where a map has had alerts, likewise */
	/* meta */
	ENTRY_CREATE = 32, /* the cluster's id: first entry of group 0 */
	ENTRY_CLAIM = 33,
	ENTRY_READMIT = 34,
	ENTRY_CLOSE = 35,  /* edge states, close and final of one or more streams */
	ENTRY_TAKEN = 36,  /* a shard has applied the advances up to a meta index */
	ENTRY_TOPOLOGY = 48, /* a new topology text: the next map (common/map.h) */
	ENTRY_NODE = 49,   /* something has become of a node: likewise */
	ENTRY_CUT = 50,    /* a stream's version takes over, or is retired: likewise */
	ENTRY_REVOKE = 51, /* an edge is shut out, or let in again: likewise */
	/* any; never encoded here: entries of consensus itself, seen as results of apply only */
	ENTRY_NOOP = 64,   /* a new leader's first */
	ENTRY_CONFIG = 65, /* a change of the group's replicas */
};

/* State of one (edge, stream): semantics.md 3.3. Also the order of "worst". */
enum edge_state {
	EDGE_LIVE,
	EDGE_IDLE,
	EDGE_JOINING,
	EDGE_BACKPRESSURED,
	EDGE_CATCHING_UP,
	EDGE_PARTITIONED
};
const char *edge_state_text(enum edge_state s); /* "live", "idle", "joining", "backpressured", "catching_up", "partitioned" */

struct entry_edge {
	struct bytes name;
	enum edge_state state;
	int64_t watermark_ns;   /* committed watermark or WATERMARK_NONE */
	int64_t flushed_end_ns; /* of an idle edge, or WATERMARK_NONE */
	int64_t since_ns;       /* its readings from this event time on are in this version; WATERMARK_NONE: all, or not known */
	bool came_late;         /* since_ns became known when windows up to final_ns were final already, as of an edge that is new: they */
	int64_t final_ns;       /* ... stay so. Decided where the meta group applies a CLOSE: in ADVANCE and in records; of CLOSE it is not taken */
};

/* One stream's close: in ENTRY_CLOSE, and as it is in ENTRY_ADVANCE. */
struct entry_close {
	struct bytes stream;
	uint32_t version;
	int64_t close_ns, final_ns; /* WATERMARK_NONE: nothing yet */
	uint32_t expected;          /* edges expected */
	uint32_t edge_count;
	struct entry_edge *edges;   /* all expected edges, by name ascending; the decoder's, freed by entry_clear */
};

/* What a sink has delivered of a version of a stream: the outbox's rows up to this one. Version 0, and any name: of the shard's events
 * of alerts. */
struct entry_place {
	struct bytes sink, stream;
	uint32_t version;
	uint64_t index; /* both 0: it begins before the first row, or has to begin somewhere */
	uint32_t n;
};

/* What has become of a group of an alert (cloudd/alert.h). */
enum alert_what {
	ALERT_PENDING,  /* it meets the condition, for fewer windows than it has to */
	ALERT_FIRING,   /* it begins to fire */
	ALERT_CLEARED,  /* it was pending, and is not any more */
	ALERT_RESOLVED, /* it does not fire any more */
};
enum alert_reason { /* of CLEARED and RESOLVED */
	ALERT_NOT_MET,
	ALERT_NO_DATA,
	ALERT_CHANGED, /* another condition, or other windows */
	ALERT_REMOVED, /* the topology has it no more */
};
struct entry_alert_group {
	enum alert_what what;
	enum alert_reason reason;
	uint32_t run;        /* windows in a row that met it */
	int64_t since_ns;    /* start of the first of them */
	int64_t window_ns;   /* start of the one that is told of */
	struct bytes group;
	struct bytes values; /* a JSON object; empty: none */
};

enum alert_op {
	ALERT_JUDGE, /* windows were judged */
	ALERT_END,   /* groups of an alert that ends are given up; done: that was all */
	ALERT_RENEW, /* its windows are other ones from here on: it ends, and begins anew */
};
/* Of one alert. It changes nothing where the alert was changed by another entry than `changed` last: so what a deposed leader found, or
 * what was proposed twice, counts once. */
struct entry_alert {
	enum alert_op op;
	uint32_t id;
	uint64_t changed;
	uint32_t version;    /* JUDGE, RENEW: of the stream, whose windows they are */
	int64_t judged_ns;   /* JUDGE, RENEW: windows that end here or before are judged; WATERMARK_NONE: none */
	bool in_window;      /* ... and of this one, the groups up to this one */
	int64_t window_ns;
	struct bytes after;
	bool done;           /* END */
	uint32_t group_count;
	struct entry_alert_group *groups; /* the decoder's */
};

struct entry {
	enum entry_kind kind;
	int64_t time_ns; /* the proposer's wall clock; only the age of outboxes depends on it */
	union {
		struct {
			struct bytes edge;
			uint64_t epoch, low, high;
			bool resume;
		} open;
		struct {
			struct bytes edge;
			uint64_t epoch, seq, checksum;
			struct bytes body;
		} batch;
		struct {
			uint64_t meta_index; /* of this advance: META_INDEX() */
			uint64_t after;      /* that of the advance before it in the queue, 0: none is kept */
			struct entry_close close;
		} advance;
		struct {
			struct bytes cluster_id;
		} create;
		struct {
			struct bytes edge;
			uint64_t epoch;     /* that of the edge's spool */
			struct bytes claim;
			bool empty;         /* an empty spool that the leader admits: the old holder has been silent */
		} claim;
		struct {
			struct bytes edge;
			uint64_t next; /* 1 + the epoch at which the edge was fenced: of any other nothing is changed; 0: whatever it is */
		} readmit;
		struct {
			uint32_t count;
			struct entry_close *closes; /* the decoder's */
		} closes;
		struct {
			uint32_t shard;
			uint64_t meta_index;
		} taken;
		struct {
			uint64_t meta_index, after; /* as an advance's */
			struct bytes map;           /* map_encode's bytes */
		} map;
		struct {
			uint32_t count;
			struct entry_place *places; /* the decoder's */
		} sink;
		struct {
			uint32_t count;
			struct entry_alert *alerts; /* the decoder's */
		} alert;
		struct {
			uint64_t base_version; /* of a map with the text that the change was made against; 0: any; ENTRY_BASE_FIRST: only where there is no map */
			uint32_t text_bytes;   /* of the topology's text */
			struct bytes text;     /* ... compressed (common/zip) */
		} topology;
		struct {
			uint8_t slot;
			uint8_t event;         /* enum node_event: cloudd/placement.h */
		} node;
		struct {
			struct bytes stream;
			uint32_t version;
			bool retire;           /* else: cut over at t_ns */
			int64_t t_ns;          /* or WATERMARK_NONE: nothing was ever read */
			uint64_t map_version;  /* of a map with the text that it was worked out by: by another one nothing is changed; 0: any */
		} cut;
		struct {
			struct bytes edge;
			bool revoked;          /* else: allowed again */
		} revoke;
	};
};

void entry_encode(const struct entry *e, struct buf *out);
/* One close by itself, as it is within an entry; for records that keep one. Decoding allocates close->edges. */
void entry_close_encode(const struct entry_close *c, struct buf *out);
int entry_close_decode(struct rd *r, struct entry_close *ret_close);
/* 0, WEIR_EVERSION (a format or a kind that this program does not know: of a later one), WEIR_ECORRUPT, WEIR_ETRUNCATED, WEIR_ETOOBIG;
 * on error nothing to clear. Names are checked
 * (length, charset, edges ascending); times are not: apply keeps them in range. */
int entry_decode(struct bytes raw, struct entry *ret_entry);
void entry_clear(struct entry *e);

#endif
