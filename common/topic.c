#include "common/topic.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/model.h"

/* One level of the filter's text; NULL, or why it is none. */
static const char *read_level(const char *text, size_t len, bool last, struct topic_level *ret)
{
	if (len == 1 && text[0] == '#') {
		*ret = (struct topic_level){.kind = TOPIC_REST};
		return last ? NULL : "# may only be the last level";
	}
	if (memchr(text, '#', len))
		return "# is a level of its own: site/#";
	if (len && text[0] == '+') {
		char *name = len > 1 ? xstrndup(text + 1, len - 1) : NULL;
		*ret = (struct topic_level){.kind = TOPIC_ANY, .text = name};
		return !name || name_valid(name) ? NULL : "the name behind + is a tag's: letters, digits, _ . and -";
	}
	if (memchr(text, '+', len))
		return "+ stands at the start of a level: site/+site";
	*ret = (struct topic_level){.kind = TOPIC_LITERAL, .text = xstrndup(text, len)};
	return NULL;
}

static const char *check_names(const struct topic_filter *f)
{
	for (size_t i = 0; i < f->count; i++) {
		for (size_t k = 0; k < i; k++) {
			const struct topic_level *a = &f->levels[i], *b = &f->levels[k];
			if (a->kind == TOPIC_ANY && b->kind == TOPIC_ANY && a->text && b->text && !strcmp(a->text, b->text))
				return "two levels give the same tag";
		}
	}
	return NULL;
}

static const char *read_levels(const char *text, struct topic_filter *f)
{
	for (const char *at = text;;) {
		size_t len = strcspn(at, "/");
		if (f->count == TOPIC_LEVELS_MAX)
			return "too many levels: at most 32";
		const char *why = read_level(at, len, !at[len], &f->levels[f->count]);
		f->count++;
		if (why)
			return why;
		if (!at[len])
			return check_names(f);
		at += len + 1;
	}
}

static char *subscription(const struct topic_filter *f)
{
	struct buf b = {0};
	for (size_t i = 0; i < f->count; i++) {
		const struct topic_level *l = &f->levels[i];
		buf_printf(&b, "%s%s", i ? "/" : "", l->kind == TOPIC_LITERAL ? l->text : l->kind == TOPIC_ANY ? "+" : "#");
	}
	char *text = xstrdup(buf_cstr(&b));
	buf_free(&b);
	return text;
}

int topic_filter_parse(const char *text, struct topic_filter *ret, const char **ret_why)
{
	struct topic_filter f = {0};
	const char *why = NULL;
	if (!*text)
		why = "a filter has at least one character";
	else if (strlen(text) > TOPIC_FILTER_BYTES_MAX)
		why = "too long";
	else if (!strncmp(text, "$share/", 7))
		why = "shared subscriptions are not for this: what one reader did not acknowledge goes to another";
	else if (!strncmp(text, TOPIC_RESERVED, strlen(TOPIC_RESERVED)))
		why = "weir-barrier/ is taken by the source itself";
	else
		why = read_levels(text, &f);
	if (why) {
		topic_filter_clear(&f);
		*ret = (struct topic_filter){0};
		*ret_why = why;
		return WEIR_EINVAL;
	}
	f.subscribe = subscription(&f);
	*ret = f;
	return 0;
}

void topic_filter_clear(struct topic_filter *f)
{
	for (size_t i = 0; i < f->count; i++)
		free(f->levels[i].text);
	free(f->subscribe);
	*f = (struct topic_filter){0};
}

/* The next level of the topic from *at on; false: there is none. *at is behind the end once the last one is taken. */
static bool next_level(struct bytes topic, size_t *at, struct bytes *ret)
{
	if (*at > topic.n)
		return false;
	const uint8_t *start = topic.p + *at, *slash = memchr(start, '/', topic.n - *at);
	*ret = bytes_of(start, slash ? (size_t)(slash - start) : topic.n - *at);
	*at += ret->n + 1;
	return true;
}

static bool begins_anyhow(const struct topic_filter *f)
{
	return f->levels[0].kind != TOPIC_LITERAL;
}

bool topic_filter_match(const struct topic_filter *f, struct bytes topic, struct topic_tag ret_tags[TOPIC_LEVELS_MAX],
    size_t *ret_count)
{
	size_t at = 0, tags = 0;
	if (topic.n && topic.p[0] == '$' && begins_anyhow(f))
		return false;
	for (size_t i = 0; i < f->count; i++) {
		const struct topic_level *l = &f->levels[i];
		struct bytes level;
		if (l->kind == TOPIC_REST) {
			*ret_count = tags;
			return true;
		}
		if (!next_level(topic, &at, &level))
			return false;
		if (l->kind == TOPIC_LITERAL && (strlen(l->text) != level.n || memcmp(l->text, level.p, level.n)))
			return false;
		if (l->kind == TOPIC_ANY && l->text && level.n)
			ret_tags[tags++] = (struct topic_tag){l->text, level};
	}
	*ret_count = tags;
	return at > topic.n;
}

/* Where one ends, the other must as well, or go on with `#`, which matches its parent too. */
static bool rest_or_end(const struct topic_filter *f, size_t i)
{
	return i == f->count || f->levels[i].kind == TOPIC_REST;
}

static bool is_special(const struct topic_filter *f)
{
	return !begins_anyhow(f) && f->levels[0].text[0] == '$';
}

bool topic_filters_overlap(const struct topic_filter *a, const struct topic_filter *b)
{
	if ((is_special(a) && begins_anyhow(b)) || (is_special(b) && begins_anyhow(a)))
		return false;
	for (size_t i = 0;; i++) {
		if (i == a->count || i == b->count)
			return rest_or_end(a, i) && rest_or_end(b, i);
		const struct topic_level *x = &a->levels[i], *y = &b->levels[i];
		if (x->kind == TOPIC_REST || y->kind == TOPIC_REST)
			return true;
		if (x->kind == TOPIC_LITERAL && y->kind == TOPIC_LITERAL && strcmp(x->text, y->text))
			return false;
	}
}
