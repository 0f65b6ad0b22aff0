/* Line protocol to an edge over HTTP, piece by piece: each is answered when it is durable there. One thread. */
#ifndef WEIR_CTL_POSTER_H
#define WEIR_CTL_POSTER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "ctl/http_client.h"

#define POSTER_WAIT_MS 200       /* how often waiting is told */
#define POSTER_RETRY_MAX_S 30    /* an edge without room is asked again at the latest after so long */

struct poster {
	struct http_client *http;
	const volatile sig_atomic_t *stop; /* NULL: never */
	void (*waiting)(void *arg);        /* while there is no room; NULL: not told */
	void *arg;
	bool gzip;                         /* pieces are packed */
	uint64_t refused;                  /* lines that do not count, so far */
	struct buf packed;
};

/* Whether that is where a poster sends to. */
bool poster_takes(const char *to);
/* One piece of whole lines; while there is no room it is tried again, for as long as that takes. 0, also where lines were refused: counted,
 * and what the edge says of the first ones is appended to *told. WEIR_EBUSY: stopped. WEIR_EIO: no answer, or 5xx but 503, so the piece
 * may count or not; WEIR_EINVAL: it does not, and another try will not help; with why in *error. */
int poster_send(struct poster *p, const void *bytes, size_t len, struct buf *told, struct buf *error);
void poster_free(struct poster *p); /* what it holds, but not http */

#endif
