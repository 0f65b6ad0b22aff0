#include "cloudd/pinned_query.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/err.h"

#define MAP_LOOK_NS (250 * NS_PER_MS)

/* What follows the first pages need not look at maps: all of it was acknowledged later, or is in them. */
static int try_open(const struct gather *g, const struct query_arg *args, size_t n, struct pinned_query *p, struct query_error *error)
{
	struct query_args *parsed = xcalloc(1, sizeof(*parsed));
	p->gather = gather_pin(g);
	p->gather.map_version = p->gather.topology->map_version;
	struct query_source source = gather_source(&p->gather);
	int rc = query_args_parse(p->gather.topology, args, n, clock_wall_ns(), parsed, error);
	if (!rc && !parsed->stale && !p->gather.map_version) { /* its file knows nothing of versions that took over */
		query_args_clear(parsed);
		*error = (struct query_error){503, "unavailable", "this node has no cluster map yet"};
		rc = WEIR_EVERSION;
	}
	if (!rc)
		rc = query_open(p->gather.topology, &source, parsed, &p->query, error);
	p->gather.map_version = 0;
	free(parsed);
	return rc;
}

int pinned_query_open(const struct gather *g, const struct http_server *server, const struct query_arg *args, size_t count,
    struct pinned_query **ret_pinned, struct query_error *ret_error)
{
	int64_t until_ns = clock_mono_ns() + GATHER_TIMEOUT_NS;
	for (;;) {
		struct pinned_query *p = xcalloc(1, sizeof(*p));
		int rc = try_open(g, args, count, p, ret_error);
		if (!rc) {
			*ret_pinned = p;
			return 0;
		}
		uint64_t map_version = p->gather.topology->map_version;
		bool hopeless = !map_version && gather_is_hopeless(&p->gather, 0);
		pinned_query_close(p);
		int64_t left_ns = until_ns - clock_mono_ns();
		if (rc != WEIR_EVERSION || left_ns <= 0 || hopeless || http_stopping(server))
			return rc;
		node_wait_map(g->node, map_version + 1, left_ns < MAP_LOOK_NS ? left_ns : MAP_LOOK_NS);
	}
}

void pinned_query_close(struct pinned_query *p)
{
	query_close(p->query);
	gather_unpin(&p->gather);
	free(p);
}
