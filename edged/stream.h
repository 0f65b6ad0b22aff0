/* The streams at run time: those of the topology, each version of its own, and orphans: streams of which the spool still
 * holds data under a (name, version) that the topology does not have any more. Orphans match no reading; what the spool holds
 * of them is sent all the same, for the cloud may still know them, and counts them if not.
 *
 * Versions of one stream run side by side (common/map.h). By their phase they
 *
 *     PENDING            takes readings from its since_ns on; earlier ones are the current version's, and only go through its
 *                        steps, which so know what came before
 *     CURRENT            takes readings from from_ns on, also those before since_ns: no other version answers for them
 *     CLOSING            takes readings from from_ns on, before until_ns
 *     ENDED              takes none; what is open is cut at once; reported until it is RETIRED, with its since_ns: where it was never
 *                        fed here, or only from some time on, the windows before it lack what was read meanwhile
 *     RETIRED            is as an orphan, but known */
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
	bool fed;                       /* takes readings, of event times in [from_ns, until_ns) */
	bool reported;                  /* the cloud waits for its watermark or its end */
	int64_t since_ns;               /* every reading from here on that was accepted here is in it; WATERMARK_NONE: all there were */
	int64_t from_ns, until_ns;
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

/* Since when a version is complete here; a PENDING one takes readings from then on. */
void stream_set_since(struct stream *s, int64_t since_ns);
/* The version that this one takes over from: the next older one of its name that is or was fed; itself where there is none. */
const struct stream *stream_before(const struct streams *list, const struct stream *s);

/* What decoding an orphan's partials takes; kept beside each of its deltas. Does nothing to the topology's streams.
 * False: it contradicts what the stream is known as. */
bool stream_describe(struct stream *s, int64_t slice_ns, uint32_t parts, uint32_t distinct_count);

/* End of the last window that holds the slice. */
int64_t stream_last_window_end(const struct stream *s, int64_t slice_start_ns);

#endif
