/* Three clouds, of which some are alive, joined by a queue, on disks in memory; the same each time. What node 0 is sent can be
 * recorded, and given to it again when it is alone: each group then sees one of the same past. */
#ifndef WEIR_TESTS_FUZZ_THREE_H
#define WEIR_TESTS_FUZZ_THREE_H

#include "cloudd/node.h"

#define THREE 3
#define THREE_SHARDS 2
#define THREE_TICK_NS (NODE_TICK_MS * INT64_C(1000000))

struct three;

/* Node 0 alone, or all. */
struct three *three_open(bool all);
void three_close(struct three *w);
void three_ticks(struct three *w, unsigned ticks);
struct node *three_node(struct three *w, unsigned node);
int64_t three_now_ns(const struct three *w);
/* To node 0, from another one: through its ROUTER, or as an answer (`peer`). */
void three_give(struct three *w, unsigned from, bool peer, struct bytes frame);
/* Member numbers, as messages of consensus name them; 0: not known yet. */
uint64_t three_member(const struct three *w, unsigned node);
/* Of each frame to node 0 from another one, as it is delivered. */
void three_record(struct three *w, void (*each)(void *arg, unsigned from, bool peer, struct bytes frame), void *arg);

#endif
