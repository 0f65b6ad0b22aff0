#include "common/prometheus_filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/regex.h"

struct prometheus_filter {
	const struct prometheus_matcher *matchers;
	struct regex *expressions[PROMETHEUS_MATCHERS_MAX]; /* NULL: it compares */
	size_t count;
	size_t program; /* steps of all of them */
	uint64_t *left; /* that matching may take */
};

static bool same(struct bytes a, struct bytes b)
{
	return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n));
}

static int compile(struct prometheus_filter *f, size_t i, char why[PROMETHEUS_WHY_MAX])
{
	const struct prometheus_matcher *m = &f->matchers[i];
	const char *text;
	size_t at;
	int rc = regex_compile((const char *)m->value.p, m->value.n, &f->expressions[i], &text, &at);
	if (!rc)
		f->program += regex_size(f->expressions[i]);
	if (!rc && f->program > PROMETHEUS_PROGRAM_MAX) {
		rc = WEIR_ETOOBIG;
		text = "it and those before it are too large together";
		at = 0;
	}
	if (rc)
		snprintf(why, PROMETHEUS_WHY_MAX, "the expression for label %.*s, at byte %zu: %s", m->name.n > 60 ? 60 : (int)m->name.n,
		    (const char *)m->name.p, at, text);
	return rc ? WEIR_EINVAL : 0;
}

int prometheus_filter_new(const struct prometheus_query *q, uint64_t *left, struct prometheus_filter **ret_filter,
    char ret_why[PROMETHEUS_WHY_MAX])
{
	struct prometheus_filter *f = xcalloc(1, sizeof(*f));
	f->matchers = q->matchers;
	f->count = q->matcher_count;
	f->left = left;
	int rc = 0;
	for (size_t i = 0; i < f->count && !rc; i++)
		if (f->matchers[i].type == PROMETHEUS_RE || f->matchers[i].type == PROMETHEUS_NRE)
			rc = compile(f, i, ret_why);
	if (rc)
		prometheus_filter_free(f);
	else
		*ret_filter = f;
	return rc;
}

void prometheus_filter_free(struct prometheus_filter *f)
{
	for (size_t i = 0; f && i < f->count; i++)
		regex_free(f->expressions[i]);
	free(f);
}

static bool matches(struct prometheus_filter *f, size_t i, struct bytes value)
{
	const struct prometheus_matcher *m = &f->matchers[i];
	bool wanted = m->type == PROMETHEUS_EQ || m->type == PROMETHEUS_RE;
	if (!f->expressions[i])
		return same(m->value, value) == wanted;
	return regex_match(f->expressions[i], (const char *)value.p, value.n, f->left) == wanted && *f->left;
}

bool prometheus_filter_takes(struct prometheus_filter *f, struct bytes label, struct bytes value)
{
	bool takes = true;
	for (size_t i = 0; i < f->count && takes; i++)
		takes = !same(f->matchers[i].name, label) || matches(f, i, value);
	return takes;
}

bool prometheus_filter_takes_none(struct prometheus_filter *f, const struct bytes *labels, size_t count)
{
	bool takes = true;
	for (size_t i = 0; i < f->count && takes; i++) {
		bool known = false;
		for (size_t k = 0; k < count && !known; k++)
			known = same(f->matchers[i].name, labels[k]);
		takes = known || matches(f, i, bytes_of("", 0));
	}
	return takes;
}

bool prometheus_filter_equals(const struct prometheus_filter *f, struct bytes label, struct bytes *ret_value)
{
	for (size_t i = 0; i < f->count; i++) {
		if (f->matchers[i].type != PROMETHEUS_EQ || !same(f->matchers[i].name, label))
			continue;
		*ret_value = f->matchers[i].value;
		return true;
	}
	return false;
}

bool prometheus_filter_spent(const struct prometheus_filter *f)
{
	return !*f->left;
}
