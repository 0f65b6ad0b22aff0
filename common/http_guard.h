/* Whom an HTTP server lets in, and whom it puts out, so that strangers cannot hold what others need: connections, threads,
 * memory. Knows connections as records with times and byte counts; the server owns the sockets. Pure; under the server's lock.
 *
 *   head -----> body -----> answer        a connection's phases; after its answer it is back in head, and `kept`
 *    ^  head_ns              |            head (TLS handshake included) must be over within head_ns, or idle_ns when kept;
 *    +-----------------------+            in body and answer, while the peer has something to do, so many bytes must move
 *
 * Connections are of three kinds: ordinary; reserve (over a limit: only what is vital is answered on them); cut (their end
 * has been ordered, they count no more). Where a limit is reached, a newcomer takes the place of the one that has been
 * waited for longest, of the same address where that is at its limit; so who holds connections keeps none for long, and
 * who uses them is not put out. */
#ifndef WEIR_COMMON_HTTP_GUARD_H
#define WEIR_COMMON_HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_GUARD_CONNECTIONS_MAX 4096
#define HTTP_GUARD_FAILERS_MAX 256  /* addresses remembered for failed tokens; the one longest unheard makes room */
#define HTTP_GUARD_FAILURES 10      /* failed tokens of one address at once ... */
#define HTTP_GUARD_FAILURE_MS 6000  /* ... and one more each so long */
#define HTTP_GUARD_YOUNG_MS 250     /* so young a connection is not put out for another */
#define HTTP_GUARD_ENDED_MS 1000    /* a peer that has ended has its request answered by then, or it was none */
#define HTTP_GUARD_SLOW_MS 2000     /* one whose peer is so long behind its pace is, at need */

struct http_guard_limits {
	unsigned connections_max; /* in all; 1 .. HTTP_GUARD_CONNECTIONS_MAX with the reserve */
	unsigned reserve;         /* above them */
	unsigned per_address_max; /* of one address */
	unsigned head_ms, idle_ms, stall_ms;
	unsigned bytes_per_s;     /* pace of a peer that sends a body or reads an answer: seen over stall_ms */
};

enum http_phase { HTTP_PHASE_HEAD, HTTP_PHASE_BODY, HTTP_PHASE_ANSWER };

struct http_guard_conn {
	int fd;             /* the server's, as is user */
	void *user;
	uint32_t address;   /* IPv4, as it came */
	enum http_phase phase;
	bool kept;          /* has had a whole request */
	bool reserve, cut;
	int64_t since_ns;   /* of the phase, or of the stretch in which bytes are counted */
	uint64_t base_bytes;
	int64_t ended_ns;   /* when the peer was first seen to send no more; 0: it may */
	struct http_guard_conn *next, *prev;
};

struct http_guard;

/* All of them keep their order as label values (http_guard_why_text). */
enum http_guard_why {
	HTTP_WHY_NONE,
	HTTP_WHY_LIMIT,         /* not let in: all places are in use */
	HTTP_WHY_ADDRESS_LIMIT, /* not let in: this address uses all of its places */
	HTTP_WHY_REPLACED,      /* put out for a newcomer */
	HTTP_WHY_SLOW_HEAD,     /* the request did not come in time */
	HTTP_WHY_IDLE,          /* no further request came in time */
	HTTP_WHY_SLOW_BODY,     /* below the pace */
	HTTP_WHY_SLOW_READER,
	HTTP_WHY_MALFORMED,     /* its peer ended it, and what had come was no request */
	HTTP_WHY_REVOKED,       /* its token was taken back (the server) */
	HTTP_WHYS,
};
const char *http_guard_why_text(enum http_guard_why why);

struct http_guard *http_guard_new(const struct http_guard_limits *limits);
void http_guard_free(struct http_guard *g); /* and all that is in it */

/* May one more of this address come? HTTP_WHY_NONE: yes; *ret_reserve: on the reserve; *ret_victim: NULL or the connection
 * that must make place: marked as cut already, the caller ends it. Else why not. */
enum http_guard_why http_guard_admit(struct http_guard *g, uint32_t address, int64_t now_ns, bool *ret_reserve,
    struct http_guard_conn **ret_victim);
/* The connection that was let in. Lives until http_guard_remove. */
struct http_guard_conn *http_guard_add(struct http_guard *g, int fd, uint32_t address, bool reserve, int64_t now_ns);
void http_guard_remove(struct http_guard *g, struct http_guard_conn *c);
struct http_guard_conn *http_guard_first(struct http_guard *g); /* then ->next: all of them, newest first */
void http_guard_cut(struct http_guard *g, struct http_guard_conn *c);
unsigned http_guard_open(const struct http_guard *g); /* without those cut */
unsigned http_guard_open_max(const struct http_guard *g); /* the limit, without the reserve */

/* A request goes on to this phase. received, acked: bytes of the connection from and to the peer so far. */
void http_guard_phase(struct http_guard_conn *c, enum http_phase phase, uint64_t received, uint64_t acked, int64_t now_ns);

/* What the kernel says of a connection. */
struct http_guard_sample {
	uint64_t received, acked; /* bytes in all */
	bool unread;              /* bytes wait for the peer to take them */
	bool ended;               /* the peer has said that it sends no more */
};
/* To be called about once a second for each: whether its time is up (then it is marked as cut), and which time. */
enum http_guard_why http_guard_watch(struct http_guard *g, struct http_guard_conn *c, const struct http_guard_sample *s,
    int64_t now_ns);

/* A token of this address was refused: false when it should be told to wait. */
bool http_guard_failed(struct http_guard *g, uint32_t address, int64_t now_ns);

#endif
