/* Where in a JSON document something is: `data.items[0].temp`, `["key with dots.in.it"].x`. Keys are separated by dots; `[N]` is the
 * Nth element of an array, from 0. A path starts at the reading (`@`, which may be left out; `@` alone is the reading itself), or with
 * `$` at the document.
 *
 * Pure: what a path finds is looked up by who has the document (edged/payload_json.c). Paths own their keys until clear. */
#ifndef WEIR_COMMON_JSON_PATH_H
#define WEIR_COMMON_JSON_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_PATH_BYTES_MAX 256
#define JSON_PATH_STEPS_MAX 16
#define JSON_PATH_INDEX_MAX 1000000

struct json_step {
	char *key;      /* NULL: an index */
	uint32_t index;
};

struct json_path {
	bool from_document;
	struct json_step steps[JSON_PATH_STEPS_MAX];
	size_t count;
};

/* WEIR_EINVAL, and *ret_why is a static text for people; then *ret holds nothing. */
int json_path_parse(const char *text, struct json_path *ret, const char **ret_why);
void json_path_clear(struct json_path *p); /* one that holds nothing is fine */

#endif
