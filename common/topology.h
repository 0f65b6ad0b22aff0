/* topology.yaml into struct topology: the schema, the defaults and the checks across the file.
 *
 * The file is taken to the letter: what is unknown, doubled, of the wrong type, impossible or not built yet is an error
 * with its place. All problems of a file are told, not only the first. */
#ifndef WEIR_COMMON_TOPOLOGY_H
#define WEIR_COMMON_TOPOLOGY_H

#include <stddef.h>

#include "common/buf.h"
#include "common/model.h"

#define TOPOLOGY_VERSION 1

/* 0 and a fresh topology, the caller's to topology_free; or WEIR_EINVAL, *ret_topology untouched, and one
 * `FILE:LINE:COLUMN: path.to.key: message` line per problem appended to *errors (at most CONF_ERRORS_MAX, then "FILE:
 * and N more"). Relative paths within become relative to the folder of `path`. */
int topology_load(const char *path, struct topology **ret_topology, struct buf *errors);
/* The same from memory; path is for messages and for relative paths only. */
int topology_parse(const char *path, const void *text, size_t len, struct topology **ret_topology, struct buf *errors);

/* The fingerprint that names what a stream's partials hold (model.h: version): for a stream whose from, steps, by,
 * slice, compute and distinct are set. Never 0. */
uint32_t topology_stream_version(const struct stream_conf *s);

#endif
