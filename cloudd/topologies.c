#include "cloudd/topologies.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/map.h"

struct topology_ref {
	struct topology_ref *next;
	struct topology *topology;
	unsigned count;
	struct buf map;
};

struct topologies {
	char *path;
	struct topology_ref *first;
};

struct topologies *topologies_new(const char *path)
{
	struct topologies *ts = xcalloc(1, sizeof(*ts));
	ts->path = xstrdup(path ? path : "topology");
	return ts;
}

void topologies_free(struct topologies *ts)
{
	if (!ts)
		return;
	weir_assert(!ts->first);
	free(ts->path);
	free(ts);
}

static int parse(const struct topologies *ts, struct bytes map, struct topology **ret)
{
	struct cluster_map m;
	struct buf errors = {0};
	int rc = map_decode(map, &m);
	if (rc)
		return rc == WEIR_EVERSION ? rc : WEIR_ECORRUPT;
	rc = map_topology(&m, ts->path, NULL, ret, &errors);
	map_clear(&m);
	buf_free(&errors);
	return rc ? WEIR_EVERSION : 0;
}

int topologies_get(struct topologies *ts, struct bytes map, struct topology_ref **ret_ref)
{
	for (struct topology_ref *r = ts->first; r; r = r->next) {
		if (r->map.len != map.n || memcmp(r->map.data, map.p, map.n) != 0)
			continue;
		r->count++;
		*ret_ref = r;
		return 0;
	}
	struct topology *t;
	int rc = parse(ts, map, &t);
	if (rc)
		return rc;
	struct topology_ref *r = xcalloc(1, sizeof(*r));
	r->topology = t;
	r->count = 1;
	buf_put(&r->map, map.p, map.n);
	r->next = ts->first;
	ts->first = r;
	*ret_ref = r;
	return 0;
}

void topologies_put(struct topologies *ts, struct topology_ref *ref)
{
	if (!ref || --ref->count)
		return;
	struct topology_ref **at = &ts->first;
	while (*at != ref)
		at = &(*at)->next;
	*at = ref->next;
	topology_free(ref->topology);
	buf_free(&ref->map);
	free(ref);
}

const struct topology *topology_of_ref(const struct topology_ref *ref)
{
	return ref->topology;
}
