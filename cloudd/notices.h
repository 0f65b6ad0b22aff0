/* Notices: what changed between two looks at a node's groups, as lines for the log; a burst of groups is one line.
 * Pure; on the loop thread, about once a second. */
#ifndef WEIR_CLOUDD_NOTICES_H
#define WEIR_CLOUDD_NOTICES_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/consensus.h"
#include "common/model.h"

struct notices;

/* say: a line as log_write takes it; warn: someone may have to act. The text lives for the call. */
struct notices *notices_new(const struct topology *t, void (*say)(void *arg, bool warn, const char *text), void *arg);
void notices_free(struct notices *n);
void notices_set_topology(struct notices *n, const struct topology *t);
/* groups: topology_groups(t) of them, by number. */
void notices_look(struct notices *n, const struct group_status *groups, int64_t mono_ns);

#endif
