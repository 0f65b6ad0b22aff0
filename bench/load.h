/* What the load generators of `./dev bench replicate` share: a run's clock, its pace, and what it counts.
 *
 * A run has a warm-up that is not counted, then `seconds` in which completions are counted, then what is
 * still under way is waited for. Without a rate it is closed: whoever may have a request under way sends the
 * next one at once. With a rate it is open: request k is due at k / rate after the start whether or not the
 * system keeps up, and its latency counts from then, so that a stall shows in every request that it held up.
 * One thread. */
#ifndef WEIR_BENCH_LOAD_H
#define WEIR_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_BUCKETS 2400     /* of latency, 1 % each: from 1 us to hours */
#define LOAD_DRAIN_MAX_S 10.0 /* what has no answer by then is lost */
#define LOAD_TEXT_MAX 200

struct load {
	double warmup_s, seconds, rate; /* rate: requests/s; 0: closed */
	/* Set by load_start; sending ends at end_s. */
	double start_s, end_s, cpu_before_s;
	uint64_t sent, done, failed; /* requests, the warm-up's included */
	uint64_t counted, units;     /* completions in the counted time; units: what they stand for */
	uint64_t latency[LOAD_BUCKETS];
	char failure[LOAD_TEXT_MAX]; /* the first */
};

double load_now_s(void);
void load_start(struct load *l);
/* Whether a request may be sent now; if so *ret_due_s is when it was due, and it counts as sent. */
bool load_take(struct load *l, double now_s, double *ret_due_s);
/* Nothing more is to be sent, now: the counted time ends here. */
void load_stop(struct load *l, double now_s);
/* How long to wait for events at the most; can_send: something could be sent if it were due. */
double load_wait_s(const struct load *l, double now_s, bool can_send);
/* One request that was due at due_s is complete and stands for so many units. */
void load_done(struct load *l, double due_s, double now_s, uint64_t units);
void load_failed(struct load *l, const char *why);
/* True while requests are to be sent or waited for. */
bool load_goes_on(const struct load *l, double now_s);
/* Prints one JSON object on a line; what has no answer counts as failed. Returns the program's exit code. */
int load_print(struct load *l);

/* A number of the command line, at least min and at most max; ends the program with a message if it is none.
 */
double load_number(const char *option, const char *text, double min, double max);

#endif
