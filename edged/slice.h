/* Open partials: one per (stream, group, slice) that has readings not yet cut into a batch.
 *
 * A partial lives here from its first reading until the slice is cut. Cutting is in two steps, because it is part of a
 * checkpoint that may fail: slices are marked due, their entries are read by the one who makes the batches, and only
 * slices_committed() frees them; slices_rolled_back() leaves everything as it was. Likewise `dirty` (has readings that
 * its delta in the spool lacks) is cleared by slices_committed() only.
 *
 * Order of all iteration: slices as they were opened, within one the entries as they came. */
#ifndef WEIR_EDGED_SLICE_H
#define WEIR_EDGED_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"
#include "common/partial.h"
#include "edged/group.h"
#include "edged/stream.h"
#include "edged/table.h"

struct slice_entry {
	struct partial partial;
	struct group *group;
	struct slice *slice;
	struct slice_entry *next;       /* of the slice */
	struct slice_entry *next_dirty; /* of all slices */
	uint32_t memory_bytes;          /* the sketches, as measured last */
	bool dirty;
	bool stored; /* the spool has a delta of it */
};

struct slice {
	struct stream *stream;
	int64_t start_ns, end_ns;
	int64_t opened_mono_ns;
	struct slice_entry *first, *last;
	size_t count;
	size_t memory_bytes;
	bool due;
	struct slice *next, *prev; /* of all, as opened */
};

struct slices {
	struct groups *groups;
	struct table entries, index;
	struct slice *first, *last;
	struct slice *recent;
	struct slice_entry *dirty, **dirty_end;
	size_t entry_count, slice_count;
	size_t memory_bytes; /* all there is: what the memory limit bounds */
};

void slices_init(struct slices *s, struct groups *groups);
void slices_free(struct slices *s);

/* Adds one reading, finite, t_ns within TIME_MIN_NS..TIME_MAX_NS. distinct: the values of the stream's distinct tags,
 * spec.distinct_count of them; an empty one is not counted. */
void slices_add(struct slices *s, struct group *group, int64_t t_ns, double value, const struct bytes *distinct,
    int64_t mono_ns);
/* Puts back a partial that a delta holds; takes over what *p owns. False: there is one already (*p stays). */
bool slices_restore(struct slices *s, struct group *group, int64_t slice_start_ns, struct partial *p, int64_t mono_ns);

/* Marking: each adds to what is due. */
void slices_due_ended(struct slices *s, const struct stream *stream, int64_t end_ns); /* slices with end <= end_ns */
void slices_due_opened(struct slices *s, int64_t mono_ns);                            /* opened at mono_ns or before */
void slices_due_unfed(struct slices *s);                                              /* of streams that take no readings */
void slices_due_all(struct slices *s);
/* Marks the largest slices until what is left fits target_bytes. */
void slices_due_largest(struct slices *s, size_t target_bytes);

void slices_committed(struct slices *s);
void slices_rolled_back(struct slices *s);
/* Frees every partial (readmission). */
void slices_drop_all(struct slices *s);

#endif
