/* What the files of cloudd/serve share. */
#ifndef WEIR_CLOUDD_SERVE_PARTS_H
#define WEIR_CLOUDD_SERVE_PARTS_H

#include <pthread.h>

#include "cloudd/serve.h"

/* A bounded queue and the threads that work on it. Requests that may wait for a majority, or copy a group, hold up none of
 * another kind. */
enum serve_lane { SERVE_READS, SERVE_STATUS, SERVE_SNAPSHOTS, SERVE_LANES };

struct serve_request {
	struct serve_request *next;
	uint8_t *route;
	size_t route_len;
	uint8_t *frame;
	size_t frame_len;
	int64_t arrived_ns;
};

struct serve_queue {
	struct serve *serve;
	enum serve_lane lane;
	pthread_cond_t changed;
	struct serve_request *first, **last;
	unsigned queued;
};

struct serve {
	struct serve_options o;
	uint32_t groups;
	char *name; /* this node's */
	pthread_t threads[SERVE_THREADS + 1 + SERVE_SNAPSHOT_THREADS];
	unsigned thread_count;
	pthread_mutex_t mutex; /* of all below */
	struct serve_queue queues[SERVE_LANES];
	bool stopping;
};

/* There is a replica of the group here. */
bool serve_holds(struct serve *s, uint32_t group);
enum verdict serve_verdict_of(int rc, const char **ret_reason);
/* Begins a read transaction if the group's state here is whole. Aborted by the caller with kv_abort. */
int serve_begin(struct serve *s, uint32_t group, struct kv_txn **ret_txn, struct apply_group_info *ret_info);

/* After it this node's state has all that the group's leaders had told of when it was called. */
enum verdict serve_wait_linearizable(struct serve *s, uint32_t group, const char **ret_reason);
/* The version of the map that the group goes by; 0: none yet. */
int serve_map_version(struct kv_txn *txn, uint32_t group, uint64_t *ret_version);
/* rc, which was met with the group's records: where another replica has what does not read, this one gives up the group, and leads it no
 * longer. */
int serve_note_damage(struct serve *s, uint32_t group, int rc);

#endif
