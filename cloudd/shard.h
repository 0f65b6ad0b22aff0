/* A shard's state in memory: what apply needs of each stream at every entry, kept between transactions.
 *
 * It mirrors records (docs/internals.md): ids, counts, the last advance, the sweep's cursors. Counts and cursors are
 * written by shard_flush() before a commit, not at each entry: they depend on the entries applied only, so at equal
 * index they are equal wherever transactions began and ended. After an abort the whole struct is dropped and loaded
 * anew. One thread; internal to cloudd's apply. */
#ifndef WEIR_CLOUDD_SHARD_H
#define WEIR_CLOUDD_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/entry.h"
#include "cloudd/state.h"
#include "common/buf.h"
#include "common/model.h"
#include "common/partial.h"
#include "common/window.h"

/* (stream, version) pairs that a shard gives an id to, known to the topology or not; what more come, from a sender gone
 * wild, are counted together under id 0. */
#define SHARD_STREAM_IDS_MAX 4096

/* Records of STATE_ADVANCE: id, and one of these. */
enum shard_advance_record {
	SHARD_ADVANCE_CLOSE,
	SHARD_ADVANCE_SWEEP,
	SHARD_ADVANCE_FLOORS,
	SHARD_ADVANCE_AGE,
	SHARD_ADVANCE_DROPPED /* of id 0 only */
};

/* STATE_COUNTS. Readings: received = merged + the three dropped. */
struct shard_counts {
	uint64_t received, merged, partials;
	uint64_t beyond_retain, unknown_stream, invalid;
	uint64_t groups, overflowed;
	uint64_t dirty; /* STATE_DIRTY records */
};

/* STATE_ADVANCE, id, 0: as it was applied, close and final never falling. */
struct shard_advance {
	uint64_t meta_index; /* 0: none yet */
	struct entry_close close; /* points into bytes; edges are owned */
	struct buf bytes;
};
int shard_advance_decode(struct bytes value, struct shard_advance *ret); /* copies */
void shard_advance_clear(struct shard_advance *a);

enum sweep_pass { PASS_NONE, PASS_FINAL, PASS_CLOSE };

/* STATE_ADVANCE, id, 1: how far cloudd/sweep has come. All times WATERMARK_NONE at first. */
struct shard_sweep {
	int64_t close_ns, final_ns;           /* windows that end at or before have their outbox rows */
	int64_t goal_close_ns, goal_final_ns; /* of the pass under way */
	enum sweep_pass pass;
	int64_t window_ns;                    /* where the pass goes on: this window; WATERMARK_NONE: its first */
	bool in_window;                       /* ... behind this group */
	size_t group_n;
	uint8_t group[GROUP_KEY_MAX];
	int64_t kept_close_ns;                /* rollup and deletion are done for this close */
	int64_t groups_floor_ns;              /* the group registry was last cleaned (is being cleaned) for this horizon */
	bool in_groups;
	size_t groups_n;
	uint8_t groups_at[GROUP_KEY_MAX];     /* ... and goes on behind this group */
	uint64_t outbox_rows;
	uint64_t trimmed_index;               /* last row deleted from the outbox; 0: none */
	uint32_t trimmed_n;
	uint64_t intervals;
	int64_t clock_ns;                     /* the outbox's age is measured by this; both 0: not begun */
	int64_t clock_at_ns;                  /* the time of the entry that moved it last */
};

/* STATE_ADVANCE, id, 3: of a version that is RETIRED (cloudd/retire): its data are kept as if close were here. */
struct shard_age {
	int64_t close_ns; /* WATERMARK_NONE: not begun; never falls */
	int64_t at_ns;    /* the time of the entry that moved it last by the log's clock; 0: none did */
};

struct shard_stream {
	const struct stream_conf *conf;
	size_t first, end; /* all versions of its name, itself included, are streams[first .. end) of the shard */
	struct partial_spec spec;
	struct window_grid grid;
	uint32_t id; /* 0: none yet */
	struct shard_counts counts;
	struct shard_advance advance;
	struct shard_age age;
	struct window_levels levels; /* as of shard_kept_ns(), and no lower than floors */
	struct window_floors floors;
	struct shard_sweep sweep;
	bool counts_changed, sweep_changed;
};

struct shard {
	const struct topology *topology;
	bool mapped; /* the topology is of the map in its state */
	struct state *state; /* the caller's: its transaction and digest */
	uint32_t number;
	uint64_t meta_index; /* of the last advance taken */
	uint32_t next_id;
	uint32_t dropped_id; /* STATE_ADVANCE, 0, 4: cloudd/retire has come so far with what dropped versions left; 0: nothing to do */
	struct shard_stream *streams; /* as the topology's */
	size_t stream_count;
	/* scratch, kept to save allocations */
	struct buf value;
};

/* state has an open transaction. 0, WEIR_ECORRUPT, WEIR_EIO. */
int shard_load(const struct topology *t, uint32_t number, uint64_t meta_index, struct state *state,
    struct shard **ret_shard);
void shard_free(struct shard *sh);
int shard_flush(struct shard *sh);

/* The topology's stream of this name and version, or NULL. */
struct shard_stream *shard_stream_of(struct shard *sh, struct bytes name, uint32_t version);
/* Whether this advance or map is the next in the queue: neither an older one nor one that leaves a gap. */
bool shard_takes(const struct shard *sh, uint64_t meta_index, uint64_t after);
/* Before the shard is loaded again by another map: what is in memory is written, for a window or a retain that changes; edges that
 * are no more are fenced. */
int shard_leave_map(struct shard *sh, const struct topology *next);
/* The levels of the stream as of shard_kept_ns(). */
void shard_set_levels(struct shard_stream *s);
/* Writes it, and goes by it. */
int shard_set_age(struct shard *sh, struct shard_stream *s, const struct shard_age *age);
/* 0: done. */
int shard_set_dropped(struct shard *sh, uint32_t id);
/* The records of a version are gone, but for its counts: of groups and dirty windows it has none. */
int shard_clear_counts(struct shard *sh, uint32_t id);
/* Gives the stream its id if it has none. */
int shard_stream_name(struct shard *sh, struct shard_stream *s);
/* Counts readings of a stream that the topology does not know. */
int shard_count_unknown(struct shard *sh, struct bytes name, uint32_t version, uint64_t readings);
static inline int64_t shard_close_ns(const struct shard_stream *s)
{
	return s->advance.meta_index ? s->advance.close.close_ns : WATERMARK_NONE;
}
static inline int64_t shard_final_ns(const struct shard_stream *s)
{
	return s->advance.meta_index ? s->advance.close.final_ns : WATERMARK_NONE;
}
/* What is kept of a stream is judged against this. */
static inline int64_t shard_later_ns(int64_t close_ns, const struct shard_age *age)
{
	return close_ns > age->close_ns ? close_ns : age->close_ns;
}
static inline int64_t shard_kept_ns(const struct shard_stream *s)
{
	return shard_later_ns(shard_close_ns(s), &s->age);
}

/* Records, for readers on other threads too: in any transaction. WEIR_ENOTFOUND, WEIR_ECORRUPT, WEIR_EIO. */
int shard_read_id(struct kv_txn *txn, unsigned db, struct bytes name, uint32_t version, uint32_t *ret_id);
int shard_read_counts_of(struct kv_txn *txn, unsigned db, uint32_t id, struct shard_counts *ret);
int shard_read_advance(struct kv_txn *txn, unsigned db, uint32_t id, struct shard_advance *ret);
int shard_read_sweep(struct kv_txn *txn, unsigned db, uint32_t id, struct shard_sweep *ret);
/* STATE_ADVANCE, id, 2: none is fine. */
int shard_read_floors(struct kv_txn *txn, unsigned db, uint32_t id, struct window_floors *ret);
/* STATE_ADVANCE, id, 3: none is fine. */
int shard_read_age(struct kv_txn *txn, unsigned db, uint32_t id, struct shard_age *ret);
/* The values of these; WEIR_ECORRUPT. */
int shard_counts_decode(struct bytes value, struct shard_counts *ret);
int shard_sweep_decode(struct bytes value, struct shard_sweep *ret);
int shard_floors_decode(struct bytes value, struct window_floors *ret);
int shard_age_decode(struct bytes value, struct shard_age *ret);
/* STATE_STREAM's value. */
int shard_stream_decode(struct bytes value, struct bytes *ret_name, uint32_t *ret_version);

#endif
