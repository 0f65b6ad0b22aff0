/* Server-sent events, parsed over any split of the stream, as the HTML standard defines them ("Interpreting an event
 * stream"), with one difference: an event that has a name but no data is reported, too. Pure.
 *
 * Bounds: an event of more than SSE_EVENT_MAX bytes is an error. */
#ifndef WEIR_CTL_SSE_H
#define WEIR_CTL_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

#define SSE_EVENT_MAX (4 * 1024 * 1024)

struct sse {
	/* event: "message" where the stream names none; id: the last one seen, "" at first. They live for the call. */
	void (*event)(void *arg, const char *event, const char *id, const char *data);
	void *arg;
	/* sse.c's: */
	struct buf line, name, data, id;
	bool has_data, after_cr, started;
};

void sse_init(struct sse *s, void (*event)(void *arg, const char *event, const char *id, const char *data), void *arg);
void sse_free(struct sse *s);
/* 0, or WEIR_ETOOBIG. */
int sse_feed(struct sse *s, const void *bytes, size_t len);
/* A new connection: forgets half an event, keeps the id. */
void sse_restart(struct sse *s);
const char *sse_id(struct sse *s);

#endif
