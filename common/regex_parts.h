/* What regex.c (runs programs) and regex_parse.c (makes them) share. */
#ifndef WEIR_COMMON_REGEX_PARTS_H
#define WEIR_COMMON_REGEX_PARTS_H

#include "common/regex.h"

/* Jumps are relative to their own step, so that a piece of a program can be moved and copied as it is. */
enum regex_op {
	REGEX_SET,   /* a code point of sets[x] */
	REGEX_SPLIT, /* goes on at +x and at +y */
	REGEX_JUMP,  /* goes on at +x */
	REGEX_BEGIN, /* at the text's beginning */
	REGEX_END,   /* at its end */
	REGEX_EDGE,  /* between a word's character and another one */
	REGEX_NO_EDGE,
	REGEX_MATCH, /* the last step */
};

struct regex_step {
	uint8_t op;
	int32_t x, y;
};

struct regex_range {
	uint32_t lo, hi;
};

/* Code points: one of its ranges, or none of them. */
struct regex_set {
	uint32_t first, count; /* of ranges */
	bool negated;
};

struct regex {
	struct regex_step *steps;
	size_t step_count, step_room;
	struct regex_range *ranges;
	size_t range_count, range_room;
	struct regex_set *sets;
	size_t set_count, set_room;
	uint32_t *places; /* room for a match: four and two numbers for each step */
	int32_t *stack;
};

int regex_parse(struct regex *r, const char *pattern, size_t n, const char **ret_why, size_t *ret_at);

#endif
