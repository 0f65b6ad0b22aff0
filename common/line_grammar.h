/* The grammar of one line of line protocol: from its bytes to a struct line, or to where and why it is refused.
 *
 * common/line finds where lines end and what to do after a bad one; this knows nothing of that. Escapes follow the v2
 * documentation, per element: in a measurement \, and \space; in tag keys, tag values and field keys also \=; in
 * strings \" and \\. A backslash before anything else is a backslash. Used by common/line only. */
#ifndef WEIR_COMMON_LINE_GRAMMAR_H
#define WEIR_COMMON_LINE_GRAMMAR_H

#include <locale.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/line.h"

/* What parsing needs beside the line's bytes, kept from line to line. */
struct line_grammar {
	int64_t precision_ns;
	bool lazy;
	locale_t locale;        /* "C", for strtod_l */
	struct buf text;        /* unescaped fields; never moves within a line */
	struct buf series_text; /* unescaped measurement and tags, likewise */
	struct buf digits;      /* a number as a C string */
	struct line_tag tags[LINE_TAGS_MAX];
	struct line_field fields[LINE_FIELDS_MAX];
};

enum grammar_result {
	GRAMMAR_LINE,
	GRAMMAR_BLANK, /* nothing in it, or a comment */
	GRAMMAR_OPEN,  /* fine so far, but it ends within a string: *ret_at is the opening quote */
	GRAMMAR_ERROR, /* *ret_error at *ret_at */
};

void line_grammar_init(struct line_grammar *g, int64_t precision_ns, bool lazy);
void line_grammar_free(struct line_grammar *g);
/* One line, without its newline. Sets all of *ret but number and parser; ret's pointers live until the next call and
 * as long as s. *ret_at: byte of s, 0-based. */
enum grammar_result line_grammar_parse(struct line_grammar *g, const uint8_t *s, size_t len, struct line *ret,
    enum line_error *ret_error, size_t *ret_at);
/* Measurement and tags (into g->tags) of a series. */
enum line_error line_grammar_series(struct line_grammar *g, struct bytes series, struct bytes *ret_measurement,
    size_t *ret_tag_count, size_t *ret_at);

#endif
