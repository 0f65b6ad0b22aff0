#include "common/json_path.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

/* Each reads one step at *at and moves on behind it; NULL, or why not. */
static const char *read_key(const char **at, struct json_step *ret)
{
	size_t len = strcspn(*at, ".[");
	if (!len)
		return "a key is missing: keys are separated by single dots";
	if (memchr(*at, ']', len) || memchr(*at, '"', len))
		return "a key with other characters is written [\"KEY\"]";
	*ret = (struct json_step){.key = xstrndup(*at, len)};
	*at += len;
	return NULL;
}

static const char *read_quoted(const char **at, struct json_step *ret)
{
	const char *start = *at + 2, *end = strstr(start, "\"]");
	if (!end)
		return "[\" without \"]";
	*ret = (struct json_step){.key = xstrndup(start, (size_t)(end - start))};
	*at = end + 2;
	return NULL;
}

static const char *read_index(const char **at, struct json_step *ret)
{
	char *end;
	if ((*at)[1] < '0' || (*at)[1] > '9')
		return "[N] with N from 0, or [\"KEY\"]";
	unsigned long n = strtoul(*at + 1, &end, 10);
	if (*end != ']' || n > JSON_PATH_INDEX_MAX)
		return "[N] with N from 0 to 1000000";
	*ret = (struct json_step){.index = (uint32_t)n};
	*at = end + 1;
	return NULL;
}

static const char *read_step(const char **at, bool first, struct json_step *ret)
{
	if (**at == '[')
		return (*at)[1] == '"' ? read_quoted(at, ret) : read_index(at, ret);
	if (!first) {
		if (**at != '.')
			return "a dot is missing";
		++*at;
	}
	return read_key(at, ret);
}

static const char *read_steps(const char *at, struct json_path *p)
{
	bool first = true;
	if (*at == '$' || *at == '@') {
		p->from_document = *at++ == '$';
		first = false;
	}
	for (; *at; first = false) {
		if (p->count == JSON_PATH_STEPS_MAX)
			return "too many steps: at most 16";
		const char *why = read_step(&at, first, &p->steps[p->count]);
		if (why)
			return why;
		p->count++;
	}
	return NULL;
}

int json_path_parse(const char *text, struct json_path *ret, const char **ret_why)
{
	struct json_path p = {0};
	const char *why = !*text                          ? "a path has at least one character"
	    : strlen(text) > JSON_PATH_BYTES_MAX ? "too long"
						 : read_steps(text, &p);
	*ret = p;
	if (!why)
		return 0;
	json_path_clear(ret);
	*ret_why = why;
	return WEIR_EINVAL;
}

void json_path_clear(struct json_path *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->steps[i].key);
	*p = (struct json_path){0};
}
