/* How far each group is committed (its log) and durable (its state).
 *
 * A linearizable reader asks for a read index, which says what the leader has told of (consensus.h), and waits until a committed state
 * transaction covers it.
 * That it waits makes the state writer commit as soon as the index is applied, instead of after its usual delay. Every
 * call is thread-safe. */
#ifndef WEIR_CLOUDD_PROGRESS_H
#define WEIR_CLOUDD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress;

/* wake(arg): a reader began to wait, or a read index can be begun: the state writer looks at progress_wanted(), the loop at
 * progress_read_begin(). Called without locks held, on the reader's thread or in progress_read_done(). */
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
/* Waits for so long: 0. WEIR_ECLOSED: progress_stop was or is called. */
int progress_pause(struct progress *p, int64_t ns);

/* ---- linearizable reads: ReadIndex (raft.md) ---- */

/* Reader: asks the loop for a read index of the group that is confirmed after this call, and waits for it. Readers that come
 * while one is under way share the next; one of a group is under way at a time. 0, WEIR_ENOTLEADER (this replica does not lead, or stopped leading meanwhile),
 * WEIR_ETIMEOUT, WEIR_ECLOSED. Calls wake() when the loop has to act. */
int progress_read_index(struct progress *p, uint32_t group, int64_t timeout_ns, uint64_t *ret_index);
/* Loop: the ticket of readers that wait and for which nothing was begun; false: none. Begun from now on. */
bool progress_read_begin(struct progress *p, uint32_t group, uint64_t *ret_ticket);
/* Loop: what came of it; of every ticket, maybe within the call that began it. Where readers wait for the next one it calls
 * wake(). */
void progress_read_done(struct progress *p, uint32_t group, uint64_t ticket, bool ok, uint64_t index);

struct progress_reads {
	uint64_t begun;               /* rounds, of all groups */
	uint64_t ok, refused, timeouts; /* readers: got an index, found no leader here, waited too long */
	uint64_t wait_ns;             /* of those that got one, in all */
	uint64_t waiting;             /* gauge */
};
void progress_reads(struct progress *p, struct progress_reads *ret);

/* ---- end ---- */

/* Ends all waiting, now and later. */
void progress_stop(struct progress *p);

#endif
