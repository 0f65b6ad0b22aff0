/* The topology of the cloud core's tests: as many clouds as asked for, edges a, b and c, stream "speed" of all edges
 * (1m windows) and stream "alone" of edge a (1h windows). */
#ifndef WEIR_TEST_CLOUD_TOPOLOGY_H
#define WEIR_TEST_CLOUD_TOPOLOGY_H

#include <check.h>

#include "common/buf.h"
#include "common/topology.h"

static inline struct topology *cloud_topology_of(unsigned clouds, unsigned shards, unsigned replicas)
{
	struct buf text = {0}, errors = {0};
	struct topology *t = NULL;
	buf_printf(&text, "version: 1\ncluster: {name: plant, shards: %u, replicas: %u, security: none, partitioned_after: 1m}\n",
	    shards, replicas);
	buf_printf(&text, "cloud:\n");
	for (unsigned i = 1; i <= clouds; i++)
		buf_printf(&text,
		    "  - {name: cloud-%u, listen: \"tcp://127.0.0.1:71%02u\", http: \"127.0.0.1:81%02u\", data: cloud-%u}\n", i, i, i,
		    i);
	buf_printf(&text, "edges:\n");
	for (char e = 'a'; e <= 'c'; e++)
		buf_printf(&text, "  - {name: %c, data: edge-%c, sources: [{type: stdin}]}\n", e, e);
	buf_printf(&text,
	    "streams:\n"
	    "  - {name: speed, from: {measurement: traffic, field: speed}, by: [sensor], window: 1m, lateness: 30s,\n"
	    "     compute: [count, sum], retain: forever}\n"
	    "  - {name: alone, from: {measurement: alone, field: v}, by: [], window: 1h, lateness: 30s,\n"
	    "     compute: [count], retain: forever, edges: [a]}\n");
	if (topology_parse("test.yaml", text.data, text.len, &t, &errors))
		ck_abort_msg("%s", buf_cstr(&errors));
	buf_free(&text);
	buf_free(&errors);
	return t;
}

static inline struct topology *cloud_topology(unsigned clouds, unsigned shards)
{
	return cloud_topology_of(clouds, shards, 1);
}

#endif
