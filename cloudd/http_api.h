/* The HTTP endpoints of a cloudd: interfaces.md. Handlers run on threads of their own and may block. */
#ifndef WEIR_CLOUDD_HTTP_API_H
#define WEIR_CLOUDD_HTTP_API_H

#include "cloudd/gather.h"
#include "cloudd/node.h"
#include "common/http.h"
#include "common/stats.h"

struct http_api;

struct http_api_options {
	const char *listen;
	const struct topology *topology;
	uint32_t self;
	struct node *node;
	struct gather *gather;
	struct kv *state;
	/* Brings the stats up to date and renders them. */
	void *arg;
	void (*metrics)(void *arg, struct buf *out);
	/* Whether nothing has got on for long. Any thread. */
	bool (*hangs)(void *arg);
	/* Runs node_ask_meta on the loop and waits. bytes: the edge's name of MSG_READMIT and MSG_REVOKE, the text of MSG_TOPOLOGY. */
	enum verdict (*ask_meta)(void *arg, const struct msg *m, struct bytes bytes, uint64_t *ret_version,
	    char reason[QUERY_REASON_MAX]);
	/* As that of struct http_options. */
	void (*notice)(void *arg, bool bad, const char *text);
};

/* Everything in the options outlives it. *ret_why as http_open. */
int http_api_open(const struct http_api_options *o, struct http_api **ret_api, char **ret_why);
/* rpc_stop and progress_stop first, so that no handler waits for long. */
void http_api_close(struct http_api *a);

#endif
