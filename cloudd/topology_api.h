/* /api/v1/topology: the cluster's topology, and how it is changed.
 *
 *   GET                         {"version": N, "text": "..."}: the topology file in force, of map N
 *   POST ?dry_run=1&base=N      body: a topology file. {"version", "applied", "changes": [{"kind", "what", "name", "text"}], "errors": []}
 *
 * What would change is worked out here, by this node's map, once that is as new as the meta group's leader says (without a leader: as it
 * is); that it is committed is the meta group's word. `base` refuses a change
 * that was made against another text (changes of nodes and cuts in between do not matter). Handlers of HTTP threads: they may block. */
#ifndef WEIR_CLOUDD_TOPOLOGY_API_H
#define WEIR_CLOUDD_TOPOLOGY_API_H

#include "cloudd/node.h"
#include "cloudd/query.h"
#include "common/http.h"

/* As http_api_options.ask_meta. */
typedef enum verdict topology_ask_fn(void *arg, const struct msg *m, struct bytes bytes, uint64_t *ret_version,
    char reason[QUERY_REASON_MAX]);

void topology_api_get(struct node *n, topology_ask_fn *ask, void *arg, struct http_request *r);
void topology_api_post(struct node *n, topology_ask_fn *ask, void *arg, struct http_request *r);

/* Reads a file and asks for it, as POST does; for SIGHUP. A text for the log, the caller's to free; *ret_ok: it is in force, or was. */
char *topology_api_apply_file(struct node *n, topology_ask_fn *ask, void *arg, const char *path, bool *ret_ok);

#endif
