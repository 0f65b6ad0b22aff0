/* Conditions of alerts: "p99 > 90 and count >= 10", over the functions that a stream computes.
 *
 *     or < and < not < comparison < + - < * / < unary -        from what binds least
 *
 * Numbers, + - * /, the comparisons < <= > >= == != of two numbers, and, or, not of comparisons, parentheses; a function is
 * written as the stream's `compute` has it, and where that has a quantile any other may be named, too. The whole is a
 * comparison, or several joined. What is no finite number (a null function, a division by 0) makes each comparison that it
 * is in false, != as well.
 *
 * Parsed into steps of a stack machine by precedence climbing with a stack of its own (Dijkstra's shunting yard), so input
 * nests nothing here. Pure. A struct condition never changes once made: any number of threads may use it. */
#ifndef WEIR_COMMON_CONDITION_H
#define WEIR_COMMON_CONDITION_H

#include <stdbool.h>
#include <stddef.h>

#include "common/model.h"
#include "common/partial.h"

#define CONDITION_BYTES_MAX 1024
#define CONDITION_STEPS_MAX 256
#define CONDITION_DEPTH_MAX 32     /* operators that wait for what follows them */
#define CONDITION_FUNCTIONS_MAX 16 /* different ones that it names */

struct condition;

/* A function's value in one window of one group. */
struct condition_value {
	double v; /* where not null: finite */
	bool null;
};

/* Reads a condition over what the stream (its compute and distinct) computes. 0 and a fresh *ret; or WEIR_EINVAL, with *ret_column the
 * place in the text, in characters from 1, and *ret_why what is wrong with it, the caller's to free. */
int condition_parse(const char *text, const struct stream_conf *stream, struct condition **ret, size_t *ret_column, char **ret_why);
void condition_free(struct condition *c); /* NULL is fine */

/* The functions that it names, each once, in the order in which they come first: at most CONDITION_FUNCTIONS_MAX. */
size_t condition_function_count(const struct condition *c);
/* Lives as long as the condition; its text is the key of its value. */
const struct function_conf *condition_function(const struct condition *c, size_t i);

/* Their values in a partial of a version of the stream, which is that of spec: condition_function_count() of them. What that version
 * does not compute is null. */
void condition_values(const struct condition *c, const struct stream_conf *version, const struct partial_spec *spec,
    const struct partial *p, struct condition_value *ret_values);
/* Whether these values, by condition_values(), meet it. */
bool condition_holds(const struct condition *c, const struct condition_value *values);
/* Both in one. */
bool condition_met(const struct condition *c, const struct stream_conf *version, const struct partial_spec *spec,
    const struct partial *p);

#endif
