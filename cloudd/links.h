/* Links: one DEALER to each other node, as nodes come, go and change.
 *
 * On the loop's thread. */
#ifndef WEIR_CLOUDD_LINKS_H
#define WEIR_CLOUDD_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/kv.h"
#include "common/model.h"
#include "common/msgq.h"

struct links;

/* What came from a node; lives for the call. */
typedef void links_frame_fn(void *arg, uint32_t node, const void *frame, size_t len);

/* None is open before links_set_topology(). The msgq outlives them. */
struct links *links_new(struct msgq *m, uint32_t self, links_frame_fn *fn, void *arg);
void links_free(struct links *l);
/* Opens, closes and reconnects as the topology's clouds are now. An error of msgq_connect for one of them, the first one's, with
 * *ret_why, the caller's to free; the others are connected all the same. Called again with the same topology it tries those that failed
 * again, and does nothing where none did. */
int links_set_topology(struct links *l, const struct topology *t, char **ret_why);

/* 0; WEIR_ENOTFOUND: there is no such node (any more), or it is this one; else as msgq_send. */
int links_send(struct links *l, uint32_t node, const void *frame, size_t len);

#endif
