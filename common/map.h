/* The cluster map: what the meta group has committed of the cluster's shape, and all that a daemon needs to take part in it:
 * the topology, the nodes, where replicas live, and the versions of streams. One blob, numbered: a daemon that sees a
 * higher version asks for it (MSG_MAP), keeps it on its disk, and goes by it. The topology file of a daemon only begins a
 * cluster, names the daemon and says how it first finds the others.
 *
 *     file --map_first--> map 1 --map_change, map_cut, map_revoke, placement (ENTRY_TOPOLOGY, _CUT, _REVOKE, _NODE)--> map 2, 3 ...
 *                           |
 *                           '--map_topology--> struct topology, as every module sees it
 *
 * Who changes it: only the meta group's apply, one entry at a time; each change adds 1 to `version`. So all here is pure:
 * no clock, no randomness, equal inputs give equal bytes. Who must agree on it at an index (shards) gets it as an entry of its
 * own log (ENTRY_MAP); everybody else goes by the newest that it has seen.
 *
 * Streams. A change of what a stream's partials hold (topology_stream_version() differs) makes a new version beside the old one:
 *
 *     PENDING   every edge feeds it beside the current one, from its own next boundary on, which it reports (since_ns)
 *        | all expected edges that are not partitioned have said since when, or have nothing: cut over at T, the highest of
 *        | those on the grid of map_boundary(): ENTRY_CUT
 *     CURRENT   answers windows that start at T or later; the one before it becomes
 *     CLOSING   answers windows that start before T; is fed readings before until_ns, the end of the last of those windows,
 *        | until its `final` has reached that: ENTRY_CUT again
 *     RETIRED   is only answered
 *
 * So each window is answered by one version, which every reading in it went into: at a boundary of both grids nothing overlaps; a
 * sliding window that spans it is the old version's. An edge that learns of the new version after T has since_ns above T: for
 * windows of the new version that start before that it counts as missing (its readings are in the old version). A stream that is
 * removed is ENDED: edges flush it, its windows close as those of an idle edge do, then it is RETIRED; it is answered still, and where
 * its name is used again, up to where the new one takes over: the new one is PENDING over it. A PENDING version that is given up
 * is RETIRED with nothing to answer. All other changes of a stream (window on the same slices, lateness, functions on
 * the same parts, retain, further rollups, edges, max_groups) make no new version: they are in force from the entry on. Other periods of
 * a rollup that is there, fewer rollups, or another offset of windows where there are any, do: what is stored is made of them. And so do
 * windows none of which begins where the version took over: what is between there and the first one would be nobody's.
 *
 * Revoked edges. A name in `revoked` is heard by no node, whatever key it has (cloudd/allow.h), until it is allowed again: that it leaves
 * the topology, and comes back, changes nothing. */
#ifndef WEIR_COMMON_MAP_H
#define WEIR_COMMON_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/codec.h"
#include "common/kv.h"
#include "common/model.h"

#define MAP_FORMAT 1
#define MAP_STREAMS_MAX 1024      /* versions of all streams */
#define MAP_VERSIONS_MAX 32       /* of one stream; the oldest RETIRED one is dropped, with its answers */
#define MAP_REVOKED_MAX EDGES_MAX
#define MAP_DEFINITION_MAX 8192   /* bytes of one stream's text */
#define MAP_BOUNDARY_MAX_NS (INT64_C(3600) * 1000000000) /* see map_boundary */

struct map_node {
	enum cloud_state state;
	char *name, *listen, *http; /* "" where CLOUD_GONE */
};

struct map_stream {
	char *name;
	uint32_t version;     /* the fingerprint, or the next number that the stream has not used yet */
	uint32_t fingerprint; /* topology_stream_version() */
	enum stream_phase phase;
	int64_t from_ns, answers_until_ns, until_ns; /* model.h */
	char *definition;     /* topology_stream_text() of it. "" for what `text` defines: CURRENT where no PENDING is, else PENDING */
};

struct cluster_map {
	uint64_t version;           /* from 1 */
	uint64_t text_version;      /* with which this text came */
	char *text;                 /* the topology file */
	size_t text_len;
	uint8_t *packed;            /* the text as map_encode writes it, from whoever made it first: so that replicas whose zstd differs */
	size_t packed_len;          /* ... have equal bytes. NULL: map_encode makes it */
	struct map_node *nodes;     /* by slot: a node's number in member numbers and placement; a slot is used again once GONE */
	size_t node_count;
	struct group_place *places; /* by group */
	uint32_t group_count;       /* shards + 1 */
	struct map_stream *streams; /* by stream in the order in which they came, then from the oldest version to the newest */
	size_t stream_count;
	char **revoked;             /* names of edges, ascending; maybe not in the topology any more */
	size_t revoked_count;
};

void map_clear(struct cluster_map *m); /* frees what it holds; fine on an empty one */
void map_copy(const struct cluster_map *m, struct cluster_map *ret);
/* Whether the text is still the one of that version of the map: cuts, nodes' events and replicas that move change the map under a
 * person who looks at a difference, but nothing of what he looks at. */
bool map_has_text_of(const struct cluster_map *m, uint64_t version);
/* A topology's text as ENTRY_TOPOLOGY, MSG_TOPOLOGY and maps hold it: by zstd where that is shorter, else as it is. Appends. */
void map_text_pack(const char *text, size_t len, struct buf *out);
/* A fresh NUL-terminated text. WEIR_ECORRUPT, WEIR_ETOOBIG. */
int map_text_unpack(struct bytes packed, uint32_t text_bytes, char **ret_text);
/* Takes a copy of packed bytes for the text that is in m: of the entry that brought it. WEIR_ECORRUPT: they are not that text. */
int map_set_packed(struct cluster_map *m, struct bytes packed);

/* Appends the map as bytes: [format][...], the text compressed. WEIR_ETOOBIG over MAP_BYTES_MAX: nothing appended. */
int map_encode(const struct cluster_map *m, struct buf *out);
/* 0, WEIR_EVERSION, WEIR_ECORRUPT, WEIR_ETOOBIG; on error nothing to clear. Counts, slots, phases and names are checked; that the
 * text is a topology is not: map_topology() says. */
int map_decode(struct bytes raw, struct cluster_map *ret);

/* The version of an encoded map, without looking at the rest. WEIR_EVERSION, WEIR_ECORRUPT. */
int map_peek_version(struct bytes raw, uint64_t *ret_version);

/* Version 1, from a topology that was read from this text: nodes in the file's order, topology_place()'s placement, every
 * stream CURRENT from the beginning. */
void map_first(const struct topology *t, const char *text, size_t len, struct cluster_map *ret);

/* The topology that a daemon goes by. path: of its own file, for relative paths and messages. before: the one that this process
 * went by so far, or NULL: clouds are at their slots; edges and stream versions that it has keep their indexes (topology.edges and
 * .streams may be longer than what is in force, see model.h), new ones follow. All versions of a stream are in .streams. WEIR_EINVAL:
 * the text is no topology for this program; lines appended to *errors. */
int map_topology(const struct cluster_map *m, const char *path, const struct topology *before,
    struct topology **ret_topology, struct buf *errors);

/* One difference that a person should see before it is applied. */
enum map_change_kind { MAP_ADDED, MAP_REMOVED, MAP_CHANGED, MAP_REFUSED };
struct map_change {
	enum map_change_kind kind;
	char *what; /* "node", "edge", "stream", "sink", "cluster" */
	char *name;
	char *text; /* "by: site, sensor -> site; a new version, cut over at a boundary of 5m" */
};
struct map_changes {
	struct map_change *all;
	size_t count;
	bool refused; /* one of them is MAP_REFUSED */
};
void map_changes_clear(struct map_changes *c);

/* The map with a new topology text in it: version + 1, nodes added, LEAVING where they are no longer listed (GONE ones of that name
 * begin again), streams with new versions PENDING (a PENDING one that the text changes again is replaced; a stream without readings
 * yet need not wait: ENTRY_CUT sees to that), removed ones ENDED, new ones CURRENT (PENDING where an earlier stream of that
 * name still answers: it goes on from there, and no number is used twice). Placement is not changed here: see cloudd/placement. An equal text is no change: version stays. Relative paths do not matter.
 * 0; WEIR_EINVAL: it is no topology (lines in *errors) or holds what cannot be changed (MAP_REFUSED: the cluster's name, the number
 * of shards, security, an address of a node that is there, a name used by both an edge and a node) or there is room for (MAP_VERSIONS_MAX,
 * MAP_STREAMS_MAX). WEIR_ETOOBIG: the map would be over MAP_BYTES_MAX. *ret_changes, always, is the caller's to clear. */
int map_change(const struct cluster_map *m, const char *text, size_t len, struct cluster_map *ret,
    struct map_changes *ret_changes, struct buf *errors);

/* Cuts a PENDING version over at t_ns (on map_boundary()'s grid, WATERMARK_NONE: nothing was ever read: at once), in place;
 * version + 1. WEIR_ENOTFOUND: no such version is pending. */
int map_cut(struct cluster_map *m, const char *stream, uint32_t version, int64_t t_ns);
/* A CLOSING or ENDED version has closed: RETIRED. version + 1. WEIR_ENOTFOUND. */
int map_retire(struct cluster_map *m, const char *stream, uint32_t version);

/* Revokes an edge, or allows it again; version + 1, or nothing where that is so already. WEIR_ETOOBIG: MAP_REVOKED_MAX are. */
int map_revoke(struct cluster_map *m, const char *edge, bool revoked);
bool map_is_revoked(const struct cluster_map *m, const char *edge);

/* The grid of event times at which one version may take over from another: the least common multiple of both advances where
 * both offsets allow it and it is at most MAP_BOUNDARY_MAX_NS; where it is more, that of both slices, if windows of the next version begin
 * there; else wherever they do: a window of the version before may then reach over it, but nothing is in no window.
 * Returns the first such time at or after t_ns. */
int64_t map_boundary(const struct stream_conf *was, const struct stream_conf *next, int64_t t_ns);
int64_t map_boundary_step(const struct stream_conf *was, const struct stream_conf *next, int64_t *ret_offset_ns);

/* A stream as one line of YAML (flow style) that topology_parse() and topology_stream_parse() read back to an equal definition;
 * without its alerts, which are the present text's whatever version is judged. */
void topology_stream_text(const struct topology *t, const struct stream_conf *s, struct buf *out);
/* One such line back, its edges being those of t that are in force (a listed one that is gone is not expected any more). Phase and
 * limits are those of a file. 0, or WEIR_EINVAL with lines in *errors; the fields are the caller's to stream_conf_clear. */
int topology_stream_parse(const struct topology *t, const char *text, struct stream_conf *ret, struct buf *errors);

#endif
