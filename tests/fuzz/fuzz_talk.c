/* Frames to a cloud and to an edge that are alive: [to u8][length varint][frame].... Where one decodes, it is given the cluster's
 * id, so that it gets beyond the door. */
#include "common/codec.h"
#include "common/err.h"
#include "tests/fuzz/fuzz.h"
#include "tests/golden/sample.h"
#include "tests/sim/sim_kv.h"

#define FRAMES_MAX 16

static const uint8_t cluster_id[CLUSTER_ID_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}; /* sample.c's random */

static void give(struct sample_world *w, bool to_cloud, struct bytes frame)
{
	struct msg m;
	struct buf known = {0};
	if (!msg_decode(frame.p, frame.n, &m)) {
		m.cluster_id = bytes_of(cluster_id, sizeof(cluster_id));
		if (!msg_encode(&m, &known))
			frame = fuzz_bytes(&known);
		sample_frame(w, to_cloud, frame.p, frame.n);
		msg_clear(&m);
	} else {
		sample_frame(w, to_cloud, frame.p, frame.n);
	}
	buf_free(&known);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sample s;
	struct pipeline_ledger l;
	sample_copy(fuzz_sample(), &s);
	struct sample_world *w = sample_open(&s);
	FUZZ_CHECK(w);
	sample_pass(w, INT64_C(3000000000));
	struct rd r = rd_init(data, len);
	for (int i = 0; i < FRAMES_MAX && rd_left(&r); i++) {
		bool to_cloud = rd_u8(&r) & 1;
		struct bytes frame;
		frame.p = rd_bytes(&r, FRAME_MAX, &frame.n);
		if (r.err)
			break;
		give(w, to_cloud, frame);
		sample_pass(w, INT64_C(100000000));
	}
	sample_feed(w, 300);
	sample_pass(w, INT64_C(1000000000));
	FUZZ_CHECK(sample_edge(w)); /* its disk is whole: it can go over to any map that it takes */
	pipeline_ledger(sample_edge(w), &l);
	FUZZ_CHECK(l.read == l.accepted + l.refused && l.matched == l.aggregated + l.dropped);
	sample_close(w);
	sim_disk_free(s.log);
	sim_disk_free(s.state);
	sim_disk_free(s.spool);
	return 0;
}
