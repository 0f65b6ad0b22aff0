/* What edged.c and adopt.c share: the daemon. Nothing else includes it. */
#ifndef WEIR_EDGED_EDGED_IMPL_H
#define WEIR_EDGED_EDGED_IMPL_H

#include "common/buf.h"
#include "common/http.h"
#include "common/kv.h"
#include "common/loop.h"
#include "common/msgq.h"
#include "edged/edged.h"
#include "edged/local_api.h"
#include "edged/pipeline.h"
#include "edged/source.h"

struct edged_source {
	struct edged *edged;
	uint32_t number;       /* in the configuration that is gone by now */
	struct source *source; /* NULL: it could not be opened, which is tried again */
};

struct edged {
	const struct topology *topology; /* that is gone by: the caller's, or `owned` */
	struct topology *owned;
	uint32_t edge;
	const struct edge_conf *conf;
	const char *config;
	bool allow_exec;
	char *name, *data;
	struct loop *loop;
	struct loop_timer *tick, *retry;
	struct loop_timer *soon;  /* the commit that a source has asked for */
	bool commit_soon;         /* ... and has not had yet */
	int64_t tick_took_ns;     /* the last one */
	int64_t ticked_ns;        /* mono: when it was done */
	struct notify *notify;
	struct kv *spool;
	uint64_t spool_disk_bytes; /* the limit that its size was made for */
	struct pipeline *pipeline;
	struct edged_source **sources; /* by number; each stays where it is while its source is open */
	size_t source_count;
	int64_t sources_again_ns;  /* mono: when those that could not be opened are tried again */
	struct keys *keys; /* NULL: security none */
	struct msgq *msgq;
	struct msgq_socket *uplink;
	char *cloud;       /* name of the one that uplink connects to, maybe of the topology before; NULL: none yet */
	bool answered;     /* it has sent something */
	bool told_silent;  /* that no cloud answers */
	bool fenced;       /* and it was told: */
	struct buf fenced_why;
	bool removed;      /* likewise */
	struct http_server *http;
	struct local_api *local; /* what is asked of it about its own readings */
	struct pipeline_time now; /* of this turn, once a line needed it */
	bool now_known;
	int failed;        /* why the loop was stopped; 0: a signal. Once set there may be no pipeline */

	/* The topology that is to be gone by next, checked; NULL: none. adopt.c's. */
	struct topology *next;
	uint32_t next_edge;
	struct buf next_map; /* the cluster map that it was made from; empty: a file */
	bool told_waiting;   /* that there is no room for it now */
};

struct pipeline_time edged_time(void);
/* 0 or an error with *ret_why. */
int edged_open_spool(struct edged *e, uint64_t disk_bytes, char **ret_why);
int edged_open_http(struct edged *e, char **ret_why);
int edged_open_source(struct edged_source *s, char **ret_why);
/* The same of an edge that runs, or has run: what keeps a source from opening (an address in use) is logged, and it is tried again. */
void edged_open_source_or_later(struct edged *e, struct edged_source *s);
struct pipeline_io edged_io(struct edged *e);
void edged_start_timers(struct edged *e);
/* What sources have got already, before the checkpoint that they may be closed after (source_drain), in a bounded number of turns.
 * Whether there may be more. */
bool edged_drain(struct edged *e);
/* Says why, and ends the loop. */
void edged_fail(struct edged *e, int rc, const char *what);

/* ---- adopt.c ---- */

/* The topology that the spool's map makes, where there is one that this edge can go by; else the caller's stays. */
void adopt_kept_map(struct edged *e);
/* Reads the configuration again: takes it up where there is no cluster map yet, else says what differs. */
void adopt_file(struct edged *e);
/* After each tick: takes up what is offered, and tries sources again. */
void adopt_turn(struct edged *e);

#endif
