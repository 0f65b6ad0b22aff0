/* Asks the daemons of a cluster, for `weirctl doctor`. One thread; waits for answers. */
#ifndef WEIR_CTL_DOCTOR_ASK_H
#define WEIR_CTL_DOCTOR_ASK_H

#include "ctl/ctl.h"
#include "ctl/doctor.h"

/* Each cloud node by itself, any for what all answer alike, and edges that are heard and have `http`. Edges are told edge_token alone
 * (NULL: none), never what the cloud is told: who has taken an edge's machine must not learn it. True: *l is the caller's to
 * doctor_look_clear(). False: no node answers; *ret_why is the caller's to free. */
bool doctor_ask(struct ctl *ctl, const char *edge_token, struct doctor_look *l, char **ret_why);

#endif
