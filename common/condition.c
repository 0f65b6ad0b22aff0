#include "common/condition.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

enum step_kind {
	NUMBER,
	FUNCTION,
	NEGATE,
	ADD,
	SUBTRACT,
	MULTIPLY,
	DIVIDE,
	LESS,
	LESS_EQUAL,
	GREATER,
	GREATER_EQUAL,
	EQUAL,
	NOT_EQUAL,
	NOT,
	AND,
	OR,
	PARENTHESIS, /* open; never a step */
};

struct step {
	enum step_kind kind;
	unsigned function;
	double number;
};

struct condition {
	struct step *steps; /* in postfix order */
	size_t step_count;
	struct function_conf functions[CONDITION_FUNCTIONS_MAX];
	size_t function_count;
};

/* How operators bind, what they take and what they make. */
static const struct operation {
	const char *text;
	int binds;
	bool prefix, takes_truth, makes_truth;
} operators[] = {
	[NEGATE] = {"-", 7, true, false, false},
	[ADD] = {"+", 5, false, false, false},
	[SUBTRACT] = {"-", 5, false, false, false},
	[MULTIPLY] = {"*", 6, false, false, false},
	[DIVIDE] = {"/", 6, false, false, false},
	[LESS] = {"<", 4, false, false, true},
	[LESS_EQUAL] = {"<=", 4, false, false, true},
	[GREATER] = {">", 4, false, false, true},
	[GREATER_EQUAL] = {">=", 4, false, false, true},
	[EQUAL] = {"==", 4, false, false, true},
	[NOT_EQUAL] = {"!=", 4, false, false, true},
	[NOT] = {"not", 3, true, true, true},
	[AND] = {"and", 2, false, true, true},
	[OR] = {"or", 1, false, true, true},
	[PARENTHESIS] = {"(", 0, true, false, false},
};

struct waiting {
	enum step_kind kind;
	size_t at;
};

struct parse {
	const char *text;
	const struct stream_conf *stream;
	size_t at;
	struct condition *c;
	struct waiting waiting[CONDITION_DEPTH_MAX];
	size_t waiting_count;
	bool truths[CONDITION_DEPTH_MAX + 2]; /* of the operands that the steps so far leave: truth, or number */
	size_t operand_count;
	char *why; /* NULL: fine so far */
	size_t wrong_at;
};

static void fail(struct parse *p, size_t at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fail(struct parse *p, size_t at, const char *fmt, ...)
{
	va_list ap;
	char why[512];
	if (p->why)
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	for (char *c = why; *c; c++)
		*c = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c; /* no lines of its own in our messages */
	p->why = xstrdup(why);
	p->wrong_at = at;
}

/* ---- tokens ------------------------------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Letters, digits and dots: "p99.9". */
static size_t word_len(const char *s)
{
	size_t n = 0;
	while (is_letter(s[n]) || is_digit(s[n]) || s[n] == '.')
		n++;
	return n;
}

static size_t digits_len(const char *s)
{
	size_t n = 0;
	while (is_digit(s[n]))
		n++;
	return n;
}

/* "90", "0.5", ".5", "1e-3"; 0: no number is here. */
static size_t number_len(const char *s)
{
	size_t whole = digits_len(s), n = whole;
	if (s[n] == '.' && (whole || is_digit(s[n + 1])))
		n += 1 + digits_len(s + n + 1);
	if (n && (s[n] == 'e' || s[n] == 'E')) {
		size_t sign = s[n + 1] == '-' || s[n + 1] == '+';
		size_t exponent = digits_len(s + n + 1 + sign);
		n += exponent ? 1 + sign + exponent : 0;
	}
	return n;
}

static void skip_spaces(struct parse *p)
{
	p->at += strspn(p->text + p->at, " \t\r\n");
}

static bool take_word(struct parse *p, const char *word)
{
	size_t n = word_len(p->text + p->at);
	if (n != strlen(word) || strncmp(p->text + p->at, word, n))
		return false;
	p->at += n;
	return true;
}

/* What is at hand, for a message: "`x`", "the end". Lives until the next call on p. */
static const char *found(const struct parse *p, char room[48])
{
	const char *s = p->text + p->at;
	size_t n = word_len(s);
	if (!*s)
		return "the end";
	if (n)
		snprintf(room, 48, "`%.*s%s`", n > 32 ? 32 : (int)n, s, n > 32 ? "..." : "");
	else if (*s > ' ' && *s < 0x7f)
		snprintf(room, 48, "`%c`", *s);
	else
		return "a character that has no meaning here";
	return room;
}

/* What other languages write, and is meant. */
static const char *meant(const char *s)
{
	static const char *const pairs[][2] = {{"&&", "and"}, {"&", "and"}, {"||", "or"}, {"|", "or"}, {"<>", "!="}, {"!", "not"},
	    {"=", "=="}, {"AND", "and"}, {"OR", "or"}, {"NOT", "not"}};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		size_t n = strlen(pairs[i][0]);
		if (!strncmp(s, pairs[i][0], n) && (!is_letter(*s) || word_len(s) == n))
			return pairs[i][1];
	}
	return NULL;
}

/* The words that stand between two operands: none is a function that the stream lacks. */
static bool joins(const char *s, size_t len)
{
	return (len == 3 && !strncmp(s, "and", 3)) || (len == 2 && !strncmp(s, "or", 2));
}

static void fail_expected(struct parse *p, const char *expected)
{
	char room[48];
	const char *instead = meant(p->text + p->at);
	if (instead)
		fail(p, p->at, "expected %s; did you mean `%s`?", expected, instead);
	else
		fail(p, p->at, "expected %s, found %s", expected, found(p, room));
}

/* ---- steps -------------------------------------------------------------------------------------------------------- */

static void add_step(struct parse *p, struct step s)
{
	if (p->c->step_count == CONDITION_STEPS_MAX)
		fail(p, p->at, "too long: more than %d numbers, functions and operators", CONDITION_STEPS_MAX);
	else
		p->c->steps[p->c->step_count++] = s;
}

static void add_operand(struct parse *p, struct step s)
{
	weir_assert(p->operand_count < sizeof(p->truths) / sizeof(p->truths[0]));
	add_step(p, s);
	p->truths[p->operand_count++] = false;
}

static void fail_operands(struct parse *p, const struct waiting *w)
{
	const struct operation *o = &operators[w->kind];
	if (o->takes_truth)
		fail(p, w->at, "`%s` takes comparisons, and this is a number: compare it with something", o->text);
	else if (o->makes_truth)
		fail(p, w->at, "`%s` compares numbers: `a < b < c` is written `a < b and b < c`", o->text);
	else
		fail(p, w->at, "`%s` takes numbers, not comparisons", o->text);
}

/* The operator's operands are all there: the last one or two that the steps leave. */
static void put_operator(struct parse *p, const struct waiting *w)
{
	const struct operation *o = &operators[w->kind];
	size_t takes = o->prefix ? 1 : 2;
	bool fine = true;
	weir_assert(p->operand_count >= takes);
	for (size_t i = 0; i < takes; i++)
		fine &= p->truths[p->operand_count - 1 - i] == o->takes_truth;
	if (!fine)
		fail_operands(p, w);
	p->operand_count -= takes - 1;
	p->truths[p->operand_count - 1] = o->makes_truth;
	add_step(p, (struct step){.kind = w->kind});
}

/* Those that wait and bind at least so much; an open parenthesis holds. */
static void put_waiting(struct parse *p, int binds)
{
	while (!p->why && p->waiting_count && operators[p->waiting[p->waiting_count - 1].kind].binds >= binds)
		put_operator(p, &p->waiting[--p->waiting_count]);
}

static void wait_operator(struct parse *p, enum step_kind kind, size_t at)
{
	if (p->waiting_count == CONDITION_DEPTH_MAX)
		fail(p, at, "nested too deeply: more than %d operators wait for what follows them", CONDITION_DEPTH_MAX);
	else
		p->waiting[p->waiting_count++] = (struct waiting){kind, at};
}

/* ---- operands ----------------------------------------------------------------------------------------------------- */

static void take_number(struct parse *p, size_t len)
{
	char *text = xstrndup(p->text + p->at, len);
	double v = strtod(text, NULL); /* LC_NUMERIC is C in all of our programs */
	free(text);
	if (!isfinite(v))
		fail(p, p->at, "the number is out of range");
	add_operand(p, (struct step){.kind = NUMBER, .number = v});
	p->at += len;
}

static void fail_function(struct parse *p, size_t at, const char *name)
{
	struct buf all = {0};
	const struct stream_conf *s = p->stream;
	for (size_t i = 0; i < s->compute_count; i++)
		buf_printf(&all, "%s%s", i ? ", " : "", s->compute[i].text);
	fail(p, at, "the stream does not compute %.64s: it has %.256s", name, buf_cstr(&all));
	buf_free(&all);
}

static void add_function(struct parse *p, size_t at, struct function_conf *fn)
{
	struct condition *c = p->c;
	size_t i = 0;
	while (i < c->function_count && strcmp(c->functions[i].text, fn->text))
		i++;
	if (i == CONDITION_FUNCTIONS_MAX) {
		fail(p, at, "more than %d different functions", CONDITION_FUNCTIONS_MAX);
		function_clear(fn);
		return;
	}
	if (i == c->function_count)
		c->functions[c->function_count++] = *fn;
	else
		function_clear(fn);
	add_operand(p, (struct step){.kind = FUNCTION, .function = (unsigned)i});
}

static void take_function(struct parse *p, size_t len)
{
	size_t at = p->at;
	char *name = xstrndup(p->text + at, len);
	struct function_conf fn;
	p->at += len;
	if (function_parse(name, &fn)) {
		fail_function(p, at, name);
	} else if (!stream_computes(p->stream, &fn)) {
		fail_function(p, at, name);
		function_clear(&fn);
	} else {
		add_function(p, at, &fn);
	}
	free(name);
}

/* "distinct(TAG)": a tag may hold anything, a parenthesis too, so those of the stream are looked for first.
 * 0: it is not here. */
static size_t distinct_len(const struct parse *p)
{
	static const char head[] = "distinct(";
	const char *s = p->text + p->at, *tag = s + sizeof(head) - 1;
	size_t longest = 0;
	if (strncmp(s, head, sizeof(head) - 1))
		return 0;
	for (size_t i = 0; i < p->stream->distinct_count; i++) {
		size_t n = strlen(p->stream->distinct[i]);
		if (!strncmp(tag, p->stream->distinct[i], n) && tag[n] == ')' && n > longest)
			longest = n;
	}
	if (!longest)
		longest = strcspn(tag, ")");
	return sizeof(head) - 1 + longest + (tag[longest] == ')');
}

/* A number, a function, or what may stand before one: false, and then another must follow. */
static bool take_operand(struct parse *p)
{
	const char *s = p->text + p->at;
	size_t at = p->at, number = number_len(s), distinct = distinct_len(p), word = word_len(s);
	if (number) {
		take_number(p, number);
		return true;
	}
	if (*s == '(' || *s == '-') {
		p->at++;
		wait_operator(p, *s == '(' ? PARENTHESIS : NEGATE, at);
	} else if (take_word(p, "not")) {
		wait_operator(p, NOT, at);
	} else if (distinct) {
		take_function(p, distinct);
		return true;
	} else if (word && is_letter(*s) && !meant(s) && !joins(s, word)) {
		take_function(p, word);
		return true;
	} else {
		fail_expected(p, "a number, a function or (");
	}
	return false;
}

/* ---- operators ---------------------------------------------------------------------------------------------------- */

/* PARENTHESIS: there is none. */
static enum step_kind take_operator(struct parse *p)
{
	static const enum step_kind signs[] = {
	    LESS_EQUAL, GREATER_EQUAL, EQUAL, NOT_EQUAL, LESS, GREATER, ADD, SUBTRACT, MULTIPLY, DIVIDE};
	const char *s = p->text + p->at;
	if (take_word(p, "and"))
		return AND;
	if (take_word(p, "or"))
		return OR;
	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		size_t n = strlen(operators[signs[i]].text);
		if (strncmp(s, operators[signs[i]].text, n) || !strncmp(s, "<>", 2))
			continue;
		p->at += n;
		return signs[i];
	}
	return PARENTHESIS;
}

static void close_parenthesis(struct parse *p)
{
	put_waiting(p, 1);
	if (p->waiting_count)
		p->waiting_count--;
	else
		fail(p, p->at, "a ) without its (");
	p->at++;
}

/* What follows an operand. True: another operand must follow. */
static bool take_next(struct parse *p)
{
	size_t at = p->at;
	if (p->text[at] == ')') {
		close_parenthesis(p);
		return false;
	}
	enum step_kind kind = take_operator(p);
	if (kind == PARENTHESIS) {
		fail_expected(p, "an operator");
		return false;
	}
	put_waiting(p, operators[kind].binds);
	wait_operator(p, kind, at);
	return true;
}

/* ---- all ---------------------------------------------------------------------------------------------------------- */

static void finish(struct parse *p)
{
	put_waiting(p, 1);
	if (p->waiting_count)
		fail(p, p->waiting[p->waiting_count - 1].at, "a ( without its )");
	else if (!p->why && !p->truths[0])
		fail(p, strspn(p->text, " \t\r\n"), "a number alone is no condition: compare it with something");
}

static void parse_all(struct parse *p)
{
	bool wants_operand = true;
	if (strlen(p->text) > CONDITION_BYTES_MAX)
		fail(p, 0, "longer than %d bytes", CONDITION_BYTES_MAX);
	for (skip_spaces(p); !p->why && (wants_operand || p->text[p->at]); skip_spaces(p))
		wants_operand = wants_operand ? !take_operand(p) : take_next(p);
	if (!p->why)
		finish(p);
}

/* In characters: the bytes before it that begin one. */
static size_t column_of(const char *text, size_t at)
{
	size_t column = 1;
	for (size_t i = 0; i < at; i++)
		column += ((unsigned char)text[i] & 0xc0) != 0x80;
	return column;
}

int condition_parse(
    const char *text, const struct stream_conf *stream, struct condition **ret, size_t *ret_column, char **ret_why)
{
	struct parse p = {.text = text, .stream = stream, .c = xcalloc(1, sizeof(*p.c))};
	p.c->steps = xcalloc(CONDITION_STEPS_MAX, sizeof(*p.c->steps));
	parse_all(&p);
	if (p.why) {
		condition_free(p.c);
		*ret_column = column_of(text, p.wrong_at);
		*ret_why = p.why;
		return WEIR_EINVAL;
	}
	p.c->steps = xrealloc(p.c->steps, p.c->step_count * sizeof(*p.c->steps));
	*ret = p.c;
	return 0;
}

void condition_free(struct condition *c)
{
	for (size_t i = 0; c && i < c->function_count; i++)
		function_clear(&c->functions[i]);
	if (c)
		free(c->steps);
	free(c);
}

size_t condition_function_count(const struct condition *c)
{
	return c->function_count;
}

const struct function_conf *condition_function(const struct condition *c, size_t i)
{
	weir_assert(i < c->function_count);
	return &c->functions[i];
}

/* ---- values ------------------------------------------------------------------------------------------------------- */

static uint32_t distinct_index(const struct stream_conf *s, const struct function_conf *fn)
{
	uint32_t i = 0;
	while (fn->fn == FN_DISTINCT && i < s->distinct_count && strcmp(s->distinct[i], fn->tag))
		i++;
	return i;
}

static struct condition_value value_of(
    const struct function_conf *fn, const struct stream_conf *version, const struct partial_spec *spec, const struct partial *p)
{
	struct condition_value x = {.null = true};
	double error;
	if (!stream_computes(version, fn))
		return x;
	partial_eval(p, spec, fn->fn, fn->q, distinct_index(version, fn), &x.v, &error, &x.null);
	if (x.null || !isfinite(x.v))
		x = (struct condition_value){.null = true};
	return x;
}

void condition_values(const struct condition *c, const struct stream_conf *version, const struct partial_spec *spec,
    const struct partial *p, struct condition_value *ret_values)
{
	for (size_t i = 0; i < c->function_count; i++)
		ret_values[i] = value_of(&c->functions[i], version, spec, p);
}

/* Of comparisons a and b are numbers, NaN where there is none; of and, or, not 0 or 1. */
static double calculate(enum step_kind kind, double a, double b)
{
	bool both = !isnan(a) && !isnan(b);
	switch (kind) {
	case NEGATE:
		return -b;
	case ADD:
		return a + b;
	case SUBTRACT:
		return a - b;
	case MULTIPLY:
		return a * b;
	case DIVIDE:
		return a / b;
	case LESS:
		return both && a < b;
	case LESS_EQUAL:
		return both && a <= b;
	case GREATER:
		return both && a > b;
	case GREATER_EQUAL:
		return both && a >= b;
	case EQUAL:
		return both && a == b;
	case NOT_EQUAL:
		return both && a != b;
	case NOT:
		return b == 0;
	case AND:
		return a != 0 && b != 0;
	case OR:
		return a != 0 || b != 0;
	case NUMBER:
	case FUNCTION:
	case PARENTHESIS:
		break;
	}
	return NAN;
}

static double finite_or_nan(double v)
{
	return isfinite(v) ? v : NAN;
}

bool condition_holds(const struct condition *c, const struct condition_value *values)
{
	double stack[CONDITION_DEPTH_MAX + 2]; /* as deep as parse.truths was */
	size_t n = 0;
	for (size_t i = 0; i < c->step_count; i++) {
		const struct step *s = &c->steps[i];
		if (s->kind == NUMBER) {
			stack[n++] = s->number;
		} else if (s->kind == FUNCTION) {
			stack[n++] = values[s->function].null ? NAN : values[s->function].v;
		} else {
			bool one = operators[s->kind].prefix;
			double b = stack[--n], a = one ? 0 : stack[--n];
			stack[n++] = finite_or_nan(calculate(s->kind, a, b));
		}
	}
	return stack[0] != 0;
}

bool condition_met(
    const struct condition *c, const struct stream_conf *version, const struct partial_spec *spec, const struct partial *p)
{
	struct condition_value values[CONDITION_FUNCTIONS_MAX];
	condition_values(c, version, spec, p, values);
	return condition_holds(c, values);
}
