/* How far each group is committed (its log) and durable (its state): what linearizable readers wait for.
 *
 * A reader takes the committed index when its request arrives and waits until a committed state transaction covers it.
 * That it waits makes the state writer commit as soon as the index is applied, instead of after its usual delay. Every
 * call is thread-safe. */
#ifndef WEIR_CLOUDD_PROGRESS_H
#define WEIR_CLOUDD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress;

/* wake(arg): a reader began to wait; called without locks held, on the reader's thread. */
struct progress *progress_new(uint32_t groups, void (*wake)(void *arg), void *arg);
void progress_free(struct progress *p); /* nobody may be waiting */

/* Indexes only rise; a lower one is ignored. */
void progress_set_committed(struct progress *p, uint32_t group, uint64_t index);
void progress_set_durable(struct progress *p, uint32_t group, uint64_t index);
uint64_t progress_committed(struct progress *p, uint32_t group);
uint64_t progress_durable(struct progress *p, uint32_t group);

/* Blocks until the group is durable up to index. 0, WEIR_ETIMEOUT, WEIR_ECLOSED (progress_stop). */
int progress_wait(struct progress *p, uint32_t group, uint64_t index, int64_t timeout_ns);
/* Whether a reader asked for an index of the group that is not durable, and is within `applied`. */
bool progress_wanted(struct progress *p, uint32_t group, uint64_t applied);
/* ---- linearizable reads: ReadIndex (raft.md) ---- */

/* Reader: asks the loop for a read index of the group that is confirmed after this call, and waits for it. Readers that come
 * while one is under way share the next. 0, WEIR_ENOTLEADER (this replica does not lead, or stopped leading meanwhile),
 * WEIR_ETIMEOUT, WEIR_ECLOSED. Calls wake() when the loop has to act. */
int progress_read_index(struct progress *p, uint32_t group, int64_t timeout_ns, uint64_t *ret_index);
/* Loop: the ticket of readers that wait and for which nothing was begun; false: none. Begun from now on. */
bool progress_read_begin(struct progress *p, uint32_t group, uint64_t *ret_ticket);
/* Loop: what came of it. */
void progress_read_done(struct progress *p, uint32_t group, uint64_t ticket, bool ok, uint64_t index);

/* ---- end ---- */

/* Ends all waiting, now and later. */
void progress_stop(struct progress *p);

#endif
