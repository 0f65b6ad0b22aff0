/* From a pattern to a program, in one walk: each piece becomes steps as it is read, and what follows it (*, |) puts steps around it.
 * Groups that are open are a stack. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/regex_parts.h"
#include "common/utf8.h"

#define UNKNOWN UINT32_MAX
#define CODE_POINT_MAX 0x10ffff
#define RANGES_MAX 65536

/* An open group; the pattern itself is one. */
struct frame {
	size_t branch;  /* where the alternative at hand begins */
	int32_t exits;  /* the last jump from an alternative's end to the group's end, each holding the one before; -1: none */
	size_t start;
	bool fold, all; /* the flags i and s, as they are when it is closed */
};

struct parse {
	struct regex *r;
	const uint8_t *p;
	size_t n, at;
	struct frame frames[REGEX_DEPTH_MAX];
	size_t depth;  /* frames in use */
	size_t atom;   /* where what * would repeat begins; SIZE_MAX: nothing can be repeated here */
	bool repeated; /* it is repeated already */
	bool fold, all;
	const char *why;
	int rc;
};

static int fail(struct parse *p, const char *why)
{
	if (!p->rc) {
		p->rc = WEIR_EINVAL;
		p->why = why;
	}
	return p->rc;
}

static int too_big(struct parse *p)
{
	if (!fail(p, "the expression is too large"))
		return 0;
	p->rc = WEIR_ETOOBIG;
	return p->rc;
}

static bool more(const struct parse *p)
{
	return p->at < p->n && !p->rc;
}

static int peek(const struct parse *p)
{
	return p->at < p->n ? p->p[p->at] : -1;
}

static bool take(struct parse *p, const char *text)
{
	size_t n = strlen(text);
	if (p->n - p->at < n || memcmp(p->p + p->at, text, n))
		return false;
	p->at += n;
	return true;
}

static uint32_t take_code_point(struct parse *p)
{
	size_t len;
	uint32_t c = utf8_next(p->p + p->at, p->n - p->at, &len);
	p->at += len;
	return c;
}

/* ---- steps and sets ---------------------------------------------------------------------------------------------- */

static void *grown(void *all, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return all;
	*room = *room ? *room * 2 : 16;
	return xrealloc(all, *room * size);
}

static bool has_room(struct parse *p, size_t more_steps)
{
	if (p->r->step_count + more_steps <= REGEX_PROGRAM_MAX)
		return true;
	too_big(p);
	return false;
}

static void emit(struct parse *p, enum regex_op op, int32_t x, int32_t y)
{
	struct regex *r = p->r;
	if (!has_room(p, 1))
		return;
	r->steps = grown(r->steps, r->step_count, &r->step_room, sizeof(*r->steps));
	r->steps[r->step_count++] = (struct regex_step){(uint8_t)op, x, y};
}

/* One step before those from `at` on, none of which jumps over `at`. */
static void insert(struct parse *p, size_t at, enum regex_op op, int32_t x, int32_t y)
{
	emit(p, op, x, y);
	if (p->rc)
		return;
	struct regex_step *s = p->r->steps;
	struct regex_step last = s[p->r->step_count - 1];
	memmove(s + at + 1, s + at, (p->r->step_count - 1 - at) * sizeof(*s));
	s[at] = last;
}

static void copy_steps(struct parse *p, const struct regex_step *from, size_t count)
{
	for (size_t i = 0; i < count && !p->rc; i++)
		emit(p, (enum regex_op)from[i].op, from[i].x, from[i].y);
}

/* Begins a set; ranges are added to the last one. */
static struct regex_set *new_set(struct parse *p)
{
	struct regex *r = p->r;
	r->sets = grown(r->sets, r->set_count, &r->set_room, sizeof(*r->sets));
	r->sets[r->set_count] = (struct regex_set){.first = (uint32_t)r->range_count};
	return &r->sets[r->set_count++];
}

static void put_range(struct parse *p, uint32_t lo, uint32_t hi)
{
	struct regex *r = p->r;
	if (r->range_count >= RANGES_MAX) {
		too_big(p);
		return;
	}
	r->ranges = grown(r->ranges, r->range_count, &r->range_room, sizeof(*r->ranges));
	r->ranges[r->range_count++] = (struct regex_range){lo, hi};
	r->sets[r->set_count - 1].count++;
}

/* The part of [lo, hi] in [from, to], moved to the other case. */
static void put_folded(struct parse *p, uint32_t lo, uint32_t hi, uint32_t from, uint32_t to, int32_t by)
{
	lo = lo > from ? lo : from;
	hi = hi < to ? hi : to;
	if (lo <= hi)
		put_range(p, (uint32_t)((int32_t)lo + by), (uint32_t)((int32_t)hi + by));
}

static void add_range(struct parse *p, uint32_t lo, uint32_t hi)
{
	put_range(p, lo, hi);
	if (!p->fold)
		return;
	if (hi >= 0x80) {
		fail(p, "under (?i) only characters of ASCII are known");
		return;
	}
	put_folded(p, lo, hi, 'a', 'z', 'A' - 'a');
	put_folded(p, lo, hi, 'A', 'Z', 'a' - 'A');
}

static void add_ranges(struct parse *p, const struct regex_range *ranges, size_t count, bool negated)
{
	uint32_t from = 0;
	for (size_t i = 0; i < count; i++) {
		if (!negated)
			put_range(p, ranges[i].lo, ranges[i].hi);
		else if (ranges[i].lo > from)
			put_range(p, from, ranges[i].lo - 1);
		from = ranges[i].hi + 1;
	}
	if (negated)
		put_range(p, from, CODE_POINT_MAX);
}

/* ---- characters and classes -------------------------------------------------------------------------------------- */

struct named {
	const char *name;
	struct regex_range ranges[4]; /* ascending */
	size_t count;
};

static const struct named perl[] = {
    {"d", {{'0', '9'}}, 1},
    {"s", {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}, 3},
    {"w", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}, 4},
};

static const struct named posix[] = {
    {"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}, 3},
    {"alpha", {{'A', 'Z'}, {'a', 'z'}}, 2},
    {"ascii", {{0, 0x7f}}, 1},
    {"blank", {{'\t', '\t'}, {' ', ' '}}, 2},
    {"cntrl", {{0, 0x1f}, {0x7f, 0x7f}}, 2},
    {"digit", {{'0', '9'}}, 1},
    {"graph", {{'!', '~'}}, 1},
    {"lower", {{'a', 'z'}}, 1},
    {"print", {{' ', '~'}}, 1},
    {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}, 4},
    {"space", {{'\t', '\r'}, {' ', ' '}}, 2},
    {"upper", {{'A', 'Z'}}, 1},
    {"word", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}, 4},
    {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}, 3},
};

/* \d \S ... into the set at hand; false: it is another escape. */
static bool take_perl(struct parse *p)
{
	if (p->n - p->at < 2 || p->p[p->at] != '\\')
		return false;
	for (size_t i = 0; i < sizeof(perl) / sizeof(perl[0]); i++) {
		bool negated = p->p[p->at + 1] == perl[i].name[0] - 'a' + 'A';
		if (p->p[p->at + 1] != perl[i].name[0] && !negated)
			continue;
		p->at += 2;
		add_ranges(p, perl[i].ranges, perl[i].count, negated);
		return true;
	}
	return false;
}

/* [:name:] within a class */
static bool take_posix(struct parse *p)
{
	if (p->n - p->at < 3 || p->p[p->at] != '[' || p->p[p->at + 1] != ':')
		return false;
	const uint8_t *end = memchr(p->p + p->at + 2, ':', p->n - p->at - 2);
	if (!end || end + 1 >= p->p + p->n || end[1] != ']')
		return false;
	bool negated = p->p[p->at + 2] == '^';
	const uint8_t *name = p->p + p->at + 2 + negated;
	for (size_t i = 0; i < sizeof(posix) / sizeof(posix[0]); i++) {
		if (strlen(posix[i].name) != (size_t)(end - name) || memcmp(posix[i].name, name, (size_t)(end - name)))
			continue;
		p->at = (size_t)(end + 2 - p->p);
		size_t first = p->r->range_count;
		add_ranges(p, posix[i].ranges, posix[i].count, negated);
		size_t last = p->r->range_count;
		for (size_t k = first; k < last && p->fold && !negated; k++)
			add_range(p, p->r->ranges[k].lo, p->r->ranges[k].hi);
		return true;
	}
	fail(p, "no such class of characters");
	return false;
}

static int hex_digit(int c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What follows \x */
static uint32_t take_hex(struct parse *p)
{
	bool braced = take(p, "{");
	uint32_t c = 0;
	size_t digits = 0;
	for (; hex_digit(peek(p)) >= 0 && digits < (braced ? 6 : 2); digits++)
		c = c * 16 + (uint32_t)hex_digit(p->p[p->at++]);
	if (!digits || (!braced && digits < 2) || (braced && !take(p, "}")) || c > CODE_POINT_MAX)
		fail(p, "\\x is not followed by a code point");
	return c;
}

/* One character, maybe escaped. */
static uint32_t take_character(struct parse *p)
{
	static const char letters[] = "afnrtv", means[] = "\a\f\n\r\t\v";
	if (peek(p) != '\\')
		return take_code_point(p);
	p->at++;
	if (p->at == p->n) {
		fail(p, "a \\ at the end");
		return 0;
	}
	uint32_t c = take_code_point(p);
	const char *at = c < 0x80 && c ? strchr(letters, (int)c) : NULL;
	if (at)
		return (uint32_t)means[at - letters];
	if (c == 'x')
		return take_hex(p);
	if (c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		fail(p, "this escape is not known");
	return c;
}

static void take_class_part(struct parse *p)
{
	if (take_perl(p) || take_posix(p) || p->rc)
		return;
	uint32_t lo = take_character(p), hi = lo;
	if (p->n - p->at >= 2 && p->p[p->at] == '-' && p->p[p->at + 1] != ']') {
		p->at++;
		hi = take_character(p);
	}
	if (hi < lo)
		fail(p, "a range in a class ends before it begins");
	else
		add_range(p, lo, hi);
}

/* Behind the [ */
static void take_class(struct parse *p)
{
	size_t set = (size_t)(new_set(p) - p->r->sets);
	bool first = true;
	p->r->sets[set].negated = take(p, "^");
	while (more(p) && (first || peek(p) != ']')) {
		take_class_part(p);
		first = false;
	}
	if (!p->rc && !take(p, "]"))
		fail(p, "a [ without its ]");
	emit(p, REGEX_SET, (int32_t)set, 0);
}

static void take_any(struct parse *p)
{
	struct regex_set *set = new_set(p);
	set->negated = true;
	emit(p, REGEX_SET, (int32_t)(p->r->set_count - 1), 0);
	if (!p->all)
		put_range(p, '\n', '\n');
}

static void take_one(struct parse *p)
{
	new_set(p);
	if (!take_perl(p)) {
		uint32_t c = take_character(p);
		if (!p->rc)
			add_range(p, c, c);
	}
	emit(p, REGEX_SET, (int32_t)(p->r->set_count - 1), 0);
}

/* ---- repetition -------------------------------------------------------------------------------------------------- */

static bool take_number(struct parse *p, size_t *at, uint32_t *ret)
{
	size_t from = *at;
	uint32_t v = 0;
	for (; *at < p->n && p->p[*at] >= '0' && p->p[*at] <= '9'; ++*at)
		v = v > REGEX_REPEAT_MAX ? v : v * 10 + (uint32_t)(p->p[*at] - '0');
	*ret = v;
	return *at > from;
}

/* {n} {n,} {n,m}; false: the { is a character. */
static bool take_braces(struct parse *p, uint32_t *ret_min, uint32_t *ret_max)
{
	size_t at = p->at + 1;
	if (peek(p) != '{' || !take_number(p, &at, ret_min))
		return false;
	*ret_max = *ret_min;
	if (at < p->n && p->p[at] == ',') {
		at++;
		if (!take_number(p, &at, ret_max))
			*ret_max = UNKNOWN;
	}
	if (at == p->n || p->p[at] != '}')
		return false;
	p->at = at + 1;
	if (*ret_min > REGEX_REPEAT_MAX || (*ret_max != UNKNOWN && (*ret_max > REGEX_REPEAT_MAX || *ret_max < *ret_min)))
		fail(p, "a number of repetitions that cannot be");
	return true;
}

static bool take_repeat(struct parse *p, uint32_t *ret_min, uint32_t *ret_max)
{
	static const struct {
		const char *text;
		uint32_t min, max;
	} short_ones[] = {{"*", 0, UNKNOWN}, {"+", 1, UNKNOWN}, {"?", 0, 1}};
	for (size_t i = 0; i < 3; i++) {
		if (!take(p, short_ones[i].text))
			continue;
		*ret_min = short_ones[i].min;
		*ret_max = short_ones[i].max;
		return true;
	}
	return take_braces(p, ret_min, ret_max);
}

/* The piece, which is the end of the program, once or not; or any number of times. */
static void put_maybe(struct parse *p, const struct regex_step *piece, int32_t len, bool again)
{
	emit(p, REGEX_SPLIT, 1, len + 1 + again);
	copy_steps(p, piece, (size_t)len);
	if (again)
		emit(p, REGEX_JUMP, -(len + 1), 0);
}

static void repeat(struct parse *p, uint32_t min, uint32_t max)
{
	size_t len = p->r->step_count - p->atom;
	struct regex_step *piece = xmalloc((len + 1) * sizeof(*piece));
	if (len)
		memcpy(piece, p->r->steps + p->atom, len * sizeof(*piece));
	p->r->step_count = p->atom;
	for (uint32_t i = 0; i < min && !p->rc; i++)
		copy_steps(p, piece, len);
	if (max == UNKNOWN && !p->rc)
		put_maybe(p, piece, (int32_t)len, true);
	for (uint32_t i = min; max != UNKNOWN && i < max && !p->rc; i++)
		put_maybe(p, piece, (int32_t)len, false);
	free(piece);
}

/* False: no repetition is next. */
static bool take_repetition(struct parse *p)
{
	uint32_t min, max;
	if (!take_repeat(p, &min, &max))
		return false;
	take(p, "?"); /* lazy: matches the same texts */
	if (p->atom == SIZE_MAX)
		fail(p, "nothing to repeat here");
	else if (p->repeated)
		fail(p, "a repetition of a repetition");
	if (!p->rc)
		repeat(p, min, max);
	p->repeated = true;
	return true;
}

/* ---- groups and alternatives ------------------------------------------------------------------------------------- */

static void open_frame(struct parse *p)
{
	if (p->depth == REGEX_DEPTH_MAX) {
		too_big(p);
		return;
	}
	p->frames[p->depth++] = (struct frame){p->r->step_count, -1, p->r->step_count, p->fold, p->all};
	p->atom = SIZE_MAX;
}

/* "i", "s", "-i" ... up to the : or ), which stays */
static void take_flags(struct parse *p)
{
	bool on = true, fold = p->fold, all = p->all;
	for (; more(p) && peek(p) != ':' && peek(p) != ')'; p->at++) {
		if (peek(p) == '-' && on)
			on = false;
		else if (peek(p) == 'i')
			fold = on;
		else if (peek(p) == 's')
			all = on;
		else
			fail(p, "of flags and groups (?...) only i, s, : and P<name> are known");
	}
	if (peek(p) == ':')
		open_frame(p); /* which gives back the flags from before it */
	p->fold = fold;
	p->all = all;
	p->atom = SIZE_MAX;
	if (!p->rc && !take(p, ":") && !take(p, ")"))
		fail(p, "a ( without its )");
}

static bool is_name(int c)
{
	return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static void take_name(struct parse *p)
{
	size_t from = p->at;
	while (is_name(peek(p)))
		p->at++;
	if (p->at == from || !take(p, ">"))
		fail(p, "the group's name is not one");
}

/* Behind the ( */
static void open_group(struct parse *p)
{
	if (take(p, "?P<")) {
		take_name(p);
		open_frame(p);
	} else if (take(p, "?")) {
		take_flags(p);
	} else {
		open_frame(p);
	}
}

static void next_branch(struct parse *p)
{
	struct frame *f = &p->frames[p->depth - 1];
	size_t len = p->r->step_count - f->branch;
	insert(p, f->branch, REGEX_SPLIT, 1, (int32_t)len + 2);
	emit(p, REGEX_JUMP, f->exits, 0);
	f->exits = (int32_t)p->r->step_count - 1;
	f->branch = p->r->step_count;
	p->atom = SIZE_MAX;
}

static void close_frame(struct parse *p)
{
	const struct frame f = p->frames[--p->depth];
	for (int32_t at = f.exits; at >= 0 && !p->rc;) {
		int32_t before = p->r->steps[at].x;
		p->r->steps[at].x = (int32_t)p->r->step_count - at;
		at = before;
	}
	p->fold = f.fold;
	p->all = f.all;
	p->atom = f.start;
	p->repeated = false;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static bool take_assertion(struct parse *p)
{
	static const struct {
		const char *text;
		enum regex_op op;
	} all[] = {{"^", REGEX_BEGIN}, {"$", REGEX_END}, {"\\A", REGEX_BEGIN}, {"\\z", REGEX_END}, {"\\b", REGEX_EDGE},
	    {"\\B", REGEX_NO_EDGE}};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!take(p, all[i].text))
			continue;
		emit(p, all[i].op, 0, 0);
		return true;
	}
	return false;
}

static void take_atom(struct parse *p)
{
	p->atom = p->r->step_count;
	p->repeated = false;
	if (take_assertion(p))
		return;
	if (take(p, "["))
		take_class(p);
	else if (take(p, "."))
		take_any(p);
	else
		take_one(p);
}

static void take_piece(struct parse *p)
{
	if (take_repetition(p) || p->rc)
		return;
	if (take(p, "("))
		open_group(p);
	else if (take(p, "|"))
		next_branch(p);
	else if (peek(p) != ')')
		take_atom(p);
	else if (p->depth == 1)
		fail(p, "a ) without its (");
	else {
		p->at++;
		close_frame(p);
	}
}

int regex_parse(struct regex *r, const char *pattern, size_t n, const char **ret_why, size_t *ret_at)
{
	struct parse *p = xcalloc(1, sizeof(*p));
	*p = (struct parse){.r = r, .p = (const uint8_t *)pattern, .n = n, .atom = SIZE_MAX};
	open_frame(p);
	if (n > REGEX_PATTERN_MAX)
		too_big(p);
	while (more(p))
		take_piece(p);
	if (!p->rc && p->depth > 1)
		fail(p, "a ( without its )");
	if (!p->rc) {
		close_frame(p);
		emit(p, REGEX_MATCH, 0, 0);
	}
	int rc = p->rc;
	*ret_why = p->why;
	*ret_at = p->at;
	free(p);
	return rc;
}
