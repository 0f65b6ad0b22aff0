/* Topologies that follow one another in a run: what an operator edits of the file, now and then.
 *
 * Each is made of the text of the one before, at random: streams' definitions change, and change back; streams, edges and sources come
 * and go. Some are of a kind that no cluster may take. */
#ifndef WEIR_SIM_CHANGE_H
#define WEIR_SIM_CHANGE_H

#include "tests/sim/sim_script.h"

/* Some seeds get such changes. t: the topology that the world begins with. */
void sim_change_plan(struct sim_plan *p, const struct sim_text *t);
/* Whether map_change() thinks the same of all the plan's texts, one after the other. 0, or WEIR_EINVAL: *ret_why is the caller's to free. */
int sim_change_check(const struct sim_plan *p, char **ret_why);

#endif
