/* The cluster's topology, as commands fetch and change it: /api/v1/topology. */
#ifndef WEIR_CTL_TOPOLOGY_CLIENT_H
#define WEIR_CTL_TOPOLOGY_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl/ctl.h"

/* 0 with the text in force and its version; else EXIT_FAILED, told. */
int topology_fetch(struct ctl *ctl, struct buf *ret_text, uint64_t *ret_version);
/* Asks the cluster to go by a text (dry_run: what that would change). base: of the version that it was made from; 0: any. 0 with the
 * answer (json_decref it), else EXIT_FAILED after telling why not: its errors, the changes that it refuses. */
int topology_send(struct ctl *ctl, const struct buf *text, uint64_t base, bool dry_run, json_t **ret_answer);
/* A line for each change of such an answer: "added    node cloud-4  ...". */
void topology_put_changes(const json_t *answer, struct buf *out);
/* Shows the question on stderr and reads the answer: true for y or yes. Where stdin is no terminal: false, and it says that
 * --yes is needed. */
bool topology_confirm(const char *question);

#endif
