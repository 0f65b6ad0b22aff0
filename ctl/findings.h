/* What `weirctl doctor` found: a list, most severe first, for people and for programs. Pure. */
#ifndef WEIR_CTL_FINDINGS_H
#define WEIR_CTL_FINDINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

#define FINDINGS_MAX 1000 /* more are counted */
#define FINDING_NAMES_SHOWN 8

enum finding_severity {
	FINDING_CRITICAL, /* something is not served, or not right */
	FINDING_WARNING,  /* it will be, or is for some */
	FINDING_NOTE      /* worth knowing: nothing is wrong */
};

struct finding {
	enum finding_severity severity;
	bool passing;      /* may be over by itself in seconds: counts where it is seen twice */
	bool counted;      /* of a counter: another look says whether it goes on */
	const char *check; /* static: names what was looked at, "node_unreachable" */
	char *about, *text, *remedy;
};

struct findings {
	size_t count, left_out;
	struct finding *all;
};

/* like: severity, passing, counted, check. Texts are copied; the text is of fmt. */
void findings_add(struct findings *f, const struct finding *like, const char *about, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void findings_clear(struct findings *f);
/* Without what passes and was not there before. */
void findings_keep_lasting(struct findings *f, const struct findings *before);
/* Most severe first, else as they were added. */
void findings_sort(struct findings *f);
/* Another look may change it. */
bool findings_need_another_look(const struct findings *f);
bool findings_wrong(const struct findings *f); /* more than notes */
void findings_put_text(const struct findings *f, size_t nodes, struct buf *out);
void findings_put_csv(const struct findings *f, struct buf *out);
json_t *findings_json(const struct findings *f);

/* "a, b, c and 4 more" */
struct names {
	struct buf text;
	size_t count;
};
void names_add(struct names *n, const char *name);
const char *names_text(struct names *n); /* until the next call */
void names_clear(struct names *n);

#endif
