/* The wire: every frame that edges and clouds exchange, as plain structs.
 *
 * A frame is one ZeroMQ message part of at most FRAME_MAX bytes: one protobuf message (proto/weir.proto) whose
 * envelope names protocol version, sender, cluster and request, and whose body is one of the messages below. Only
 * common/codec includes the generated code. Decoding uses a capped allocator that zeroes; unknown fields are ignored,
 * unknown bodies are WEIR_EVERSION.
 *
 * Pointers in a decoded struct msg live until msg_clear(). When encoding, pointers stay the caller's. Strings are never
 * NULL after decoding ("" where absent). */
#ifndef WEIR_COMMON_CODEC_H
#define WEIR_COMMON_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"

/* What this program speaks; each frame names its sender's. Versions next to each other understand one another
 * (docs/compatibility.md). */
#ifndef PROTOCOL_VERSION /* a test makes it the next one */
#define PROTOCOL_VERSION 1
#endif
#define PROTOCOL_OLDEST (PROTOCOL_VERSION > 1 ? PROTOCOL_VERSION - 1 : 1)
#define PROTOCOL_NEWEST (PROTOCOL_VERSION + 1)
static inline bool protocol_fits(uint32_t protocol)
{
	return protocol >= PROTOCOL_OLDEST && protocol <= PROTOCOL_NEWEST;
}
#define FRAME_MAX (256 * 1024)
#define CLAIM_BYTES 16
#define CLUSTER_ID_BYTES 16
#define REASON_COUNTS_MAX 64
#define REPORT_STREAMS_MAX 1024 /* versions of streams: MAP_STREAMS_MAX */
#define GROUPS_PER_STATUS_MAX 300
#define REPLICAS_PER_STATUS_MAX 16
#define RAFT_MESSAGES_PER_FRAME_MAX 1024
#define RAFT_ENTRIES_PER_FRAME_MAX 4096
#define AGE_UNKNOWN INT64_MAX
#ifndef SNAPSHOT_CHUNK_MAX /* the simulator makes it small */
#define SNAPSHOT_CHUNK_MAX (128 * 1024)
#endif
#define SNAPSHOT_CONFIG_MAX 256
#define TEXT_MAX_BYTES 1024 /* reason and software: longer ones are cut when encoded, refused when decoded */
#define MAP_BYTES_MAX (200 * 1024) /* an encoded cluster map: fits an entry and a frame */
#define TOPOLOGY_TEXT_MAX (1024 * 1024) /* of a topology file: common/conf.h's limit */
#define INFO_HAS_MAX 64     /* bytes of msg_info.has: a bit for each group */
/* What decoding one frame may allocate: over it WEIR_ETOOBIG. A full frame of RAFT_ENTRIES_PER_FRAME_MAX small
 * entries in RAFT_MESSAGES_PER_FRAME_MAX messages fits. */
#define DECODE_MEMORY_MAX (2 * 1024 * 1024)

enum msg_type {
	MSG_NONE,
	/* edge -> cloud, and forwarded between clouds */
	MSG_HELLO,
	MSG_HELLO_REPLY,
	MSG_OPEN,
	MSG_OPEN_REPLY,
	MSG_BATCH,
	MSG_BATCH_REPLY,
	MSG_REPORT, /* the heartbeat */
	MSG_REPORT_REPLY,
	/* cloud -> cloud */
	MSG_ADVANCE,
	MSG_ADVANCE_REPLY,
	MSG_READMIT,
	MSG_READMIT_REPLY,
	MSG_INFO,
	MSG_INFO_REPLY,
	MSG_QUERY,
	MSG_QUERY_REPLY,
	MSG_OUTBOX,
	MSG_OUTBOX_REPLY,
	MSG_STATUS,
	MSG_STATUS_REPLY,
	MSG_RAFT,           /* messages of consensus, many groups' in one frame; no reply of its own */
	MSG_SNAPSHOT,       /* a replica fetches a group's state, chunk by chunk */
	MSG_SNAPSHOT_REPLY,
	MSG_MAP,            /* also of edges: the cluster map, if the asked one has a later one (common/map.h) */
	MSG_MAP_REPLY,
	MSG_TOPOLOGY,       /* a new topology for the cluster, to the node that leads the meta group */
	MSG_TOPOLOGY_REPLY,
	MSG_REVOKE,         /* an edge is shut out, or let in again: likewise */
	MSG_REVOKE_REPLY,
	/* any: the frame could not be served at all (decoded, but refused): verdict and reason */
	MSG_ERROR,
};

enum verdict {
	VERDICT_OK,              /* hello: granted; open: go on after `last`; batch: merged, committed */
	VERDICT_DUPLICATE,       /* batch: was merged before; counts as acknowledged */
	VERDICT_FENCED,          /* epoch or copy: send nothing more, say so loudly */
	VERDICT_OUT_OF_SEQUENCE, /* batch: rewind to last + 1 */
	VERDICT_BUSY,            /* not now: resend later */
	VERDICT_NOT_OPEN,        /* batch: this (edge, epoch) has not sent OPEN to the shard yet */
	VERDICT_REFUSED,         /* can never be accepted (unknown edge, foreign cluster, undecodable): reason says why */
	VERDICT_UNAVAILABLE,     /* the node that serves it cannot be reached */
};
const char *verdict_text(enum verdict v);

enum replica_role { REPLICA_FOLLOWER, REPLICA_CANDIDATE, REPLICA_LEADER, REPLICA_LEARNER, REPLICA_FORMING };
const char *replica_role_text(enum replica_role r); /* "follower", "candidate", "leader", "learner", "forming" */

enum edge_phase {
	PHASE_JOINING,      /* no reading yet */
	PHASE_LIVE,
	PHASE_IDLE,         /* its sources are idle or finished, everything is acknowledged */
	PHASE_BACKPRESSURED /* at the disk limit */
};

/* What an edge (or the meta group) knows of one (edge, stream). WATERMARK_NONE: no value. */
#define WATERMARK_NONE INT64_MIN

struct msg_report_stream {
	const char *name;
	uint32_t version;
	enum edge_phase phase;
	int64_t watermark_ns;   /* committed watermark: semantics.md 3.2 */
	int64_t flushed_end_ns; /* idle: highest end of a window it has flushed */
	bool unsent;            /* it holds data that is not acknowledged */
	bool since_known;       /* it feeds this version; false: that has ended here */
	int64_t since_ns;       /* readings from this event time on are in this version here, up to where it ended; WATERMARK_NONE: all
	                           there ever were, or, as 0, not told by an edge of an earlier version, where it has ended */
};

struct msg_count {
	const char *name;
	uint64_t value;
};

struct msg_replica_status { /* a leader's view of one other replica */
	const char *node;
	uint64_t replica, match;
	enum replica_role role;
	bool active;   /* heard within the last election timeout */
};
struct msg_group_status {
	uint32_t group;          /* 0: meta; shard s: s + 1 */
	enum replica_role role;  /* of the replica that says so */
	uint64_t term, committed, applied;
	uint64_t digest_hi, digest_lo; /* at digest_index */
	uint64_t digest_index;
	const char *node;        /* name of the node that says so */
	uint64_t replica;        /* its member number */
	const char *leader;      /* name of the leader's node, "" where none is known */
	bool quorum;             /* leader: a majority of voters is active; else: the leader was heard within an election timeout */
	size_t replica_count;    /* leader only */
	struct msg_replica_status *replicas;
};

/* A node's facts about itself: in INFO and INFO_REPLY. */
struct msg_lead {
	uint32_t group;
	uint64_t term;
	uint64_t settled; /* the version of the map whose placement its members are; 0: of none */
};
struct msg_digest { /* of a group's state as of an entry; the halves of the digest by exclusive or */
	uint32_t group;
	uint64_t index, value;
};
#define DIGESTS_TOLD_MAX (2 * (SHARDS_MAX + 1)) /* two of each group */
struct msg_info {
	const char *cluster;     /* the cluster's name */
	uint64_t replica;        /* the node's member number in all its groups: one per data folder, never used twice */
	struct bytes has;        /* bitmap by group, lowest bit first: groups of which it holds anything, or leads the meta group and knows that they have begun */
	size_t lead_count;
	struct msg_lead *leads;  /* groups that it leads and serves now */
	uint64_t map_version;    /* that it goes by; 0: its file */
	size_t digest_count;     /* at most DIGESTS_TOLD_MAX */
	struct msg_digest *digests;
	bool full;               /* a disk of it has no room */
	uint64_t listed;         /* topology_listed of its file; 0: it goes by a map, or is of a version that does not say */
};

/* The messages of raft/raft.h (cloudd/consensus_wire translates); numbers of members, kinds and roles as there. */
struct msg_raft_entry { /* its index follows from the message's */
	uint64_t term;
	uint32_t kind;
	struct bytes data;
};
struct msg_raft {
	uint32_t group;
	uint32_t kind;
	uint64_t term, index, log_term, commit, hint_index, hint_term, round;
	bool reject, force;
	size_t entry_count;
	struct msg_raft_entry *entries;
};

struct msg {
	enum msg_type type;
	/* envelope */
	uint32_t protocol;        /* set by msg_encode */
	uint64_t req_id;          /* echoed in the reply; 0: none */
	const char *from;         /* edge or node name */
	struct bytes cluster_id;  /* CLUSTER_ID_BYTES, or empty while unknown */
	union {
		struct {
			const char *edge;
			const char *cluster;  /* name, as in the topology */
			uint64_t epoch;       /* that of the spool; 0: none yet */
			struct bytes claim;   /* CLAIM_BYTES */
			bool empty;           /* the spool was made anew */
			const char *software; /* version text */
			uint64_t map_version; /* that it goes by; 0: its file */
			bool fenced;          /* it was fenced since its last grant; older ones do not say */
		} hello;
		struct {
			const char *edge;
			enum verdict verdict; /* OK, FENCED, BUSY, REFUSED, UNAVAILABLE */
			uint64_t epoch;
			struct bytes claim;   /* the claim that it answers */
			bool resume;          /* readmitted, or admitted with an empty spool: see OPEN */
			bool readmitted;      /* drop batches and open slices, sources start at their end */
			uint64_t credit_bytes;
			struct bytes cluster_id;
			const char *reason;
			uint64_t map_version; /* of the node that answers */
		} hello_reply;
		struct {
			const char *edge;
			uint64_t epoch;
			uint32_t shard;
			uint64_t low;  /* lowest seq kept (highest + 1 where none is) */
			uint64_t high; /* highest seq assigned */
			bool resume;   /* take `last` as it is: only after a hello_reply with resume */
		} open;
		struct {
			const char *edge;
			uint32_t shard;
			enum verdict verdict; /* OK, FENCED, BUSY, REFUSED, UNAVAILABLE */
			uint64_t epoch, last;
			const char *reason;
		} open_reply;
		struct {
			const char *edge;
			uint64_t epoch;
			uint32_t shard;
			uint64_t seq;
			struct bytes body;
			uint64_t map_version; /* that the edge goes by; 0: its file, or it does not say */
		} batch;
		struct {
			const char *edge;
			uint32_t shard;
			uint64_t seq;
			enum verdict verdict;
			uint64_t epoch, last;
			uint64_t credit_bytes;
			const char *reason;
		} batch_reply;
		struct {
			const char *edge;
			uint64_t epoch;
			int64_t sent_mono_ns, wall_ns; /* of the edge */
			uint64_t spool_bytes, accepted;
			bool clock_suspect;
			size_t refused_count;
			struct msg_count *refused; /* by reason */
			size_t stream_count;
			struct msg_report_stream *streams;
			uint64_t incarnation; /* random per start of edged; reports of one start are ordered by seq */
			uint64_t seq;
			uint64_t map_version; /* that it goes by; 0: its file */
		} report;
		struct {
			const char *edge;
			enum verdict verdict; /* OK, FENCED, UNAVAILABLE */
			int64_t sent_mono_ns; /* echoed */
			uint64_t epoch;       /* the highest granted for this edge */
			uint64_t credit_bytes;
			const char *reason;
			uint64_t map_version; /* of the node that answers */
		} report_reply;
		struct {
			uint32_t shard;
			uint64_t meta_index;
			struct bytes entry; /* cloudd/entry: the ADVANCE to propose */
		} advance;
		struct {
			uint32_t shard;
			enum verdict verdict;
			uint64_t meta_index; /* highest that the shard has applied */
		} advance_reply;
		struct {
			const char *edge;
		} readmit;
		struct {
			const char *edge;
			enum verdict verdict;
			const char *reason;
		} readmit_reply;
		struct msg_info info;       /* of who asks; the envelope's cluster id: empty while not known */
		struct msg_info info_reply; /* of who answers; likewise */
		struct {
			uint64_t from, to; /* member numbers */
			size_t message_count;
			struct msg_raft *messages;
		} raft;
		struct {
			uint32_t group;
			uint64_t id;    /* of the snapshot that is being fetched; 0: a new one */
			uint64_t chunk; /* from 0 */
		} snapshot;
		struct {
			uint32_t group;
			enum verdict verdict; /* OK; REFUSED: no such id (any more), start over; BUSY, UNAVAILABLE: later */
			uint64_t id, chunk;
			uint64_t index, term;           /* the state's last entry */
			struct bytes config;            /* as of there: raft_config_encode's bytes */
			uint64_t digest_hi, digest_lo;
			uint64_t meta_index, skipped;   /* the rest of the state's head */
			uint64_t total_bytes;           /* of all chunks, for progress */
			uint64_t checksum;              /* XXH3-64 of records */
			struct bytes records;           /* cloudd/snapshot */
			bool last;
			const char *reason;
		} snapshot_reply;
		struct {
			uint32_t shard;
			bool linearizable;
			struct bytes spec; /* cloudd/query: what is asked, and the cursor */
			uint64_t map_version; /* refused where the shard goes by a later one; 0: whatever it goes by */
		} query;
		struct {
			uint32_t shard;
			enum verdict verdict;
			struct bytes rows; /* cloudd/query */
			bool more;
			const char *reason;
			uint64_t behind_entries; /* of a read that did not wait: known to be committed, and not in the rows yet */
			int64_t age_ns;          /* ... and how long ago this replica last heard from its leader; 0: it leads with a majority;
			                            AGE_UNKNOWN: not since it was started */
			int64_t kept_ns;         /* of when is what the shard still keeps (result_kept()); 0: earlier versions do not say */
		} query_reply;
		struct {
			uint32_t shard;
			const char *stream;
			uint64_t index; /* rows after (index, n); UINT64_MAX: only tell the end */
			uint32_t n;
			uint32_t limit;
			uint32_t version; /* of the stream; 0: the one in force */
		} outbox;
		struct {
			uint32_t shard;
			enum verdict verdict;
			uint64_t index;
			uint32_t n;        /* where to go on */
			bool reset;        /* the cursor was too old */
			struct bytes rows; /* cloudd/query */
			const char *reason;
		} outbox_reply;
		struct {
			const char *what; /* "groups", "edges", "streams" */
		} status;
		struct {
			enum verdict verdict;
			size_t group_count;
			struct msg_group_status *groups; /* what = groups */
			struct bytes json;               /* what = edges, streams: the answer's JSON */
			const char *reason;
		} status_reply;
		struct {
			uint64_t version; /* that the asking one has; 0: none */
		} map;
		struct {
			enum verdict verdict;
			uint64_t version;
			struct bytes map;   /* map_encode's bytes; empty: the asking one has the latest that is known here */
			const char *reason;
		} map_reply;
		struct {
			uint64_t base_version; /* of a map with the text that the change was made against; 0: whatever is there */
			struct bytes text;     /* of topology.yaml, compressed */
			uint32_t text_bytes;   /* before that: at most CONF_BYTES_MAX */
			bool dry_run;          /* only say which version the map has */
		} topology;
		struct {
			enum verdict verdict; /* REFUSED: errors or a change that cannot be made; the JSON says which */
			uint64_t version;     /* of the map that has it; or that is there */
			struct bytes json;    /* {"changes": [{"what", "name", "text"}], "errors": ["..."]} */
			const char *reason;
		} topology_reply;
		struct {
			const char *edge;
			bool revoked; /* false: allowed again */
		} revoke;
		struct {
			enum verdict verdict;
			uint64_t version; /* of the map that has it */
			const char *reason;
		} revoke_reply;
		struct {
			enum verdict verdict;
			const char *reason;
		} error;
	};
	void *decoded; /* codec's: NULL in messages that are built to be encoded */
};

/* Appends the frame. WEIR_ETOOBIG over FRAME_MAX or another maximum, WEIR_EINVAL for what msg_decode would refuse
 * (a name's charset, a claim's length ...); nothing is appended then. NULL strings are encoded as "". */
int msg_encode(const struct msg *m, struct buf *out);
/* 0, WEIR_ECORRUPT, WEIR_EVERSION, WEIR_ETOOBIG. On error *ret is empty, but for protocol and req_id with WEIR_EVERSION: where
 * protocol_fits(), it is only the message that is not known. Names are checked (NAME_MAX_BYTES, charset
 * of model.h or empty), claims and ids for their length (a hello's claim must be there; elsewhere they may be empty),
 * shards and counts against their maxima, enums for their range. Protocols PROTOCOL_OLDEST to PROTOCOL_NEWEST are
 * decoded: a newer peer speaks to the older one in its words. */
int msg_decode(const void *frame, size_t len, struct msg *ret_msg);
/* Frees what msg_decode allocated and empties m; fine on an empty one. */
void msg_clear(struct msg *m);

#endif
