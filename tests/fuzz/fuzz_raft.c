/* What one of three clouds is told by the two others: consensus above all. [ticks before u8][from u8][length varint][frame]....,
 * where bit 0 of `from` says which of them, bit 1 that it comes as an answer. Where a frame decodes it is given the names and
 * numbers that let it in. */
#include <stdlib.h>

#include "common/codec.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/three.h"

#define FRAMES_MAX 64
#define TICKS_MAX 60 /* before a frame */

/* As they were told with INFO; 0: not yet. Then what was recorded has the right ones. */
static uint64_t numbers[THREE];

static void dress(struct three *w, unsigned from, struct msg *m)
{
	static const char *const names[THREE] = {"c1", "c2", "c3"};
	static uint8_t id[CLUSTER_ID_BYTES];
	m->from = names[from];
	m->cluster_id = bytes_of(id, node_cluster_id(three_node(w, 0), id) ? sizeof(id) : 0);
	if (m->type == MSG_RAFT) {
		m->raft.from = numbers[from] ? numbers[from] : m->raft.from;
		m->raft.to = three_member(w, 0) ? three_member(w, 0) : m->raft.to;
	} else if (m->type == MSG_INFO || m->type == MSG_INFO_REPLY) {
		struct msg_info *info = m->type == MSG_INFO ? &m->info : &m->info_reply;
		if (info->replica)
			numbers[from] = info->replica = (info->replica & ~UINT64_C(0xffff)) | from;
	}
}

static void give(struct three *w, unsigned from, bool peer, struct bytes frame)
{
	struct msg m;
	struct buf known = {0};
	if (!msg_decode(frame.p, frame.n, &m)) {
		dress(w, from, &m);
		if (!msg_encode(&m, &known))
			frame = fuzz_bytes(&known);
		three_give(w, from, peer, frame);
		msg_clear(&m);
	} else {
		three_give(w, from, peer, frame);
	}
	buf_free(&known);
}

static void ask_around(struct three *w)
{
	struct node *n = three_node(w, 0);
	struct group_status statuses[THREE_SHARDS + 1];
	char *why = NULL;
	(void)node_ready(n, &why);
	free(why);
	node_group_statuses(n, statuses);
	for (uint32_t g = 0; g <= THREE_SHARDS; g++)
		FUZZ_CHECK(node_leader(n, g) < THREE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct three *w = three_open(false);
	struct rd r = rd_init(data, len);
	for (unsigned i = 0; i < THREE; i++)
		numbers[i] = 0;
	for (int i = 0; i < FRAMES_MAX && rd_left(&r); i++) {
		unsigned ticks = rd_u8(&r), from = rd_u8(&r);
		struct bytes frame;
		frame.p = rd_bytes(&r, FRAME_MAX, &frame.n);
		if (r.err)
			break;
		three_ticks(w, ticks < TICKS_MAX ? ticks : TICKS_MAX);
		give(w, 1 + (from & 1), from & 2, frame);
	}
	three_ticks(w, 5);
	ask_around(w);
	three_close(w);
	return 0;
}
