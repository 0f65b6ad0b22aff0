/* What comes in the query string of /api/v1/query and /watch, already percent-decoded: NAME=VALUE&NAME=VALUE. What is taken
 * can be asked of a shard, and continued by its own cursor. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/cursor.h"
#include "common/err.h"
#include "common/query_args.h"
#include "tests/fuzz/fuzz.h"

#define ARGS_MAX 200
#define NOW_NS (INT64_C(1800000000) * 1000000000)

static size_t split(char *text, struct query_arg *args)
{
	size_t n = 0;
	for (char *next; text && n < ARGS_MAX; text = next) {
		next = strchr(text, '&');
		if (next)
			*next++ = 0;
		char *eq = strchr(text, '=');
		if (eq)
			*eq++ = 0;
		args[n++] = (struct query_arg){text, eq ? eq : ""};
	}
	return n;
}

static void check_cursor(const struct query_args *q, const struct query_arg *args, size_t n)
{
	struct buf text = {0};
	struct query_arg more[ARGS_MAX + 1];
	struct query_args again;
	struct query_error error;
	size_t count = 0;
	for (size_t i = 0; i < n; i++)
		if (strcmp(args[i].name, "cursor") != 0)
			more[count++] = args[i];
	query_cursor_put(q, 60000000000, bytes_of("\x05north\x02" "61", 9), &text);
	more[count++] = (struct query_arg){"cursor", buf_cstr(&text)};
	FUZZ_CHECK(!query_args_parse(fuzz_topology(), more, count, NOW_NS, &again, &error));
	FUZZ_CHECK(again.spec.after && again.spec.after_start_ns == 60000000000 && again.fingerprint == q->fingerprint);
	query_args_clear(&again);
	buf_free(&text);
}

static void check_spec(struct query_args *q)
{
	struct buf first = {0}, second = {0};
	struct rows_spec spec;
	const struct stream_conf *stream;
	q->spec.limit = 100;
	rows_spec_encode(&q->spec, &first);
	FUZZ_CHECK(!rows_spec_decode(fuzz_bytes(&first), fuzz_topology(), &spec, &stream) && stream == q->stream);
	rows_spec_encode(&spec, &second);
	FUZZ_CHECK(fuzz_same(fuzz_bytes(&first), fuzz_bytes(&second)));
	buf_free(&first);
	buf_free(&second);
}

static void check_error(const struct query_error *e)
{
	FUZZ_CHECK(e->status >= 400 && e->status < 500 && e->code && e->message[0]);
	FUZZ_CHECK(memchr(e->message, 0, sizeof(e->message)));
}

static void try_event_id(const char *text)
{
	struct watch_place places[2][WATCH_VERSIONS_MAX][4];
	struct watch_version ids[2][WATCH_VERSIONS_MAX];
	uint32_t count, again;
	for (int i = 0; i < 2 * WATCH_VERSIONS_MAX; i++)
		ids[i / WATCH_VERSIONS_MAX][i % WATCH_VERSIONS_MAX] =
		    (struct watch_version){0, places[i / WATCH_VERSIONS_MAX][i % WATCH_VERSIONS_MAX]};
	if (watch_id_get(text, 4, ids[0], &count))
		return;
	struct buf id = {0};
	watch_id_put(ids[0], count, 4, &id);
	FUZZ_CHECK(!watch_id_get(buf_cstr(&id), 4, ids[1], &again) && again == count);
	for (uint32_t v = 0; v < count; v++) {
		FUZZ_CHECK(ids[0][v].version == ids[1][v].version);
		for (int i = 0; i < 4; i++)
			FUZZ_CHECK(places[0][v][i].index == places[1][v][i].index && places[0][v][i].n == places[1][v][i].n);
	}
	buf_free(&id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct query_arg args[ARGS_MAX];
	struct query_args q;
	struct query_error error = {0};
	char *text = malloc(len + 1);
	memcpy(text, data, len);
	text[len] = 0;
	try_event_id(text);
	size_t n = split(text, args);
	if (!query_args_parse(fuzz_topology(), args, n, NOW_NS, &q, &error)) {
		check_spec(&q);
		check_cursor(&q, args, n);
		query_args_clear(&q);
	} else {
		check_error(&error);
	}
	if (!query_args_parse_watch(fuzz_topology(), args, n, &q, &error))
		query_args_clear(&q);
	else
		check_error(&error);
	free(text);
	return 0;
}
