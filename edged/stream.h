/* The streams at run time: those of the topology, and orphans: streams of which the spool still holds data under a
 * (name, version) that the topology does not have any more. Orphans match no reading; what the spool holds of them
 * is sent all the same, for the cloud may still know them, and counts them if not. */
#ifndef WEIR_EDGED_STREAM_H
#define WEIR_EDGED_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"
#include "common/model.h"
#include "common/partial.h"
#include "edged/ledger.h"

#define STREAM_ORPHANS_MAX 1024

struct stream {
	const struct stream_conf *conf; /* the topology's, or the orphan's own */
	struct partial_spec spec;
	uint32_t index;                 /* its place in the list */
	bool orphan;
	struct ledger_stream *ledger;
};

struct streams {
	const struct topology *topology;
	struct ledger *ledger;
	struct stream **list; /* the topology's streams in its order, then orphans; pointers stay */
	size_t count;
};

void streams_init(struct streams *s, const struct topology *t, struct ledger *ledger);
void streams_free(struct streams *s);
/* The stream of that name and version, an orphan made for it if the topology has none. NULL: too many. */
struct stream *streams_get(struct streams *s, struct bytes name, uint32_t version);

/* What decoding an orphan's partials takes; kept beside each of its deltas. Does nothing to the topology's streams.
 * False: it contradicts what the stream is known as. */
bool stream_describe(struct stream *s, int64_t slice_ns, uint32_t parts, uint32_t distinct_count);

/* End of the last window that holds the slice. */
int64_t stream_last_window_end(const struct stream *s, int64_t slice_start_ns);

#endif
