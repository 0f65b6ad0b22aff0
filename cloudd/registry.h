/* Registry: what has become of the cluster's nodes, and so which ENTRY_NODE the meta group's leader should propose. Pure: time and
 * facts come in; on the loop thread.
 *
 *     MEMBER, not heard for replace_after            DEAD   counted from when this leader began, or it became a member; only while at
 *                                                           least half of the members are heard: else it is this node that is cut off
 *     DEAD, heard again                              ALIVE
 *     LEAVING, no place has it, and every group's
 *     leader says that its members are the places    GONE
 *
 * One event at a time: each makes another map, by which the next is judged. */
#ifndef WEIR_CLOUDD_REGISTRY_H
#define WEIR_CLOUDD_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/placement.h"
#include "common/model.h"

#define REGISTRY_AGAIN_MS 3000   /* an event that was proposed, and of which no map came, is given again */
#define REGISTRY_STOPPED_MS 2000 /* not asked for so long: the process was stopped, and nobody could be heard */

struct registry {
	int64_t since_ns;       /* monotonic: nobody is missed from before */
	bool member[CLOUDS_MAX]; /* by slot: it was one when last looked at; since when: */
	int64_t member_ns[CLOUDS_MAX];
	int64_t looked_ns;
	uint64_t asked_version; /* of the map to which an event was given last */
	int64_t asked_ns;
	bool led[SHARDS_MAX + 1]; /* by group: it was led at some time, since this leader began or before */
};

struct registry_facts {
	const struct topology *topology;
	uint32_t self;
	int64_t mono_ns;
	const int64_t *heard_ns;  /* by node: monotonic, when it answered last in this start; 0: not yet */
	const int *leaders;       /* by group: who leads and serves it; -1: nobody that is known */
	const bool *founded;      /* by group: it is committed that it had a leader once; what only its leaders knew is not */
	const uint64_t *settled;  /* by group: consensus_settled() */
};

struct registry_event {
	uint32_t slot;
	enum node_event event;
};

/* This node begins to lead the meta group. */
void registry_lead(struct registry *r, int64_t mono_ns);
/* At each tick while it leads. True: *ret_event is to be proposed. */
bool registry_next(struct registry *r, const struct registry_facts *f, struct registry_event *ret_event);
/* Every group of the cluster has been founded: until then its first map must not change, because only that one is founded. As far as
 * registry_next() has seen: a leader of it, now or since this one began, or that it is committed that there was one. */
bool registry_formed(const struct registry *r, const struct topology *t);

#endif
