/* watch: windows as they close or change, over server-sent events.
 *
 * Connect; print each row; when the connection breaks, wait (0.5 s, doubling to 10 s) and go on after the last event's
 * id, at the next address that answers. Ends after --count rows, --for a while, or Ctrl-C. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/err.h"
#include "ctl/ctl.h"
#include "ctl/http_client.h"
#include "ctl/rows.h"
#include "ctl/sse.h"

#define BACKOFF_FIRST_NS (500 * NS_PER_MS)
#define BACKOFF_MAX_NS (10 * NS_PER_SEC)
#define WATCH_ROWS_MAX 1000000000u

static const struct arg_option options[] = {
	{"count", 'n', "N", false, "end after N rows"},
	{"for", 0, "DURATION", false, "end after this long"},
	{"where", 0, "TAG=VALUE", true, "only these groups; repeats: AND between tags, OR within one"},
	{"since", 0, "ID", false, "go on after this event id (its rows come again where unsure)"},
};

struct watch {
	struct ctl *ctl;
	struct sse sse;
	struct rows rows;
	struct buf out;
	uint64_t left;     /* rows until the end */
	int64_t end_ns;    /* monotonic; 0: none */
	int64_t backoff_ns;
	bool broken;       /* what came was no row, or no event stream */
};

static void take_row(struct watch *w, const char *data)
{
	json_t *row = json_loads(data, 0, NULL);
	if (!row) {
		w->broken = true;
		return;
	}
	if (w->ctl->format == FORMAT_JSON) {
		char *text = json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(17));
		buf_printf(&w->out, "%s\n", text ? text : "{}");
		free(text);
	} else if (rows_add(&w->rows, row)) {
		rows_flush(&w->rows, &w->out);
	} else {
		w->broken = true;
	}
	json_decref(row);
	ctl_print(&w->out);
	w->left--;
}

static void on_event(void *arg, const char *event, const char *id, const char *data)
{
	struct watch *w = arg;
	(void)id;
	if (w->left == 0 || w->broken)
		return;
	w->backoff_ns = BACKOFF_FIRST_NS;
	if (!strcmp(event, "reset"))
		fprintf(stderr, "weirctl: too far behind: some windows were passed over; `weirctl query` has them\n");
	else if (*data)
		take_row(w, data);
}

static int on_data(void *arg, const void *bytes, size_t len)
{
	struct watch *w = arg;
	if (sse_feed(&w->sse, bytes, len))
		w->broken = true;
	return w->broken || w->left == 0 || ferror(stdout);
}

/* Sleeps, unless stopped: SIGINT ends the sleep. */
static void wait_a_while(const struct watch *w)
{
	int64_t ns = w->backoff_ns;
	if (w->end_ns && clock_mono_ns() + ns > w->end_ns)
		ns = w->end_ns - clock_mono_ns();
	if (ns <= 0 || *w->ctl->stop)
		return;
	struct timespec t = {ns / NS_PER_SEC, ns % NS_PER_SEC};
	nanosleep(&t, NULL);
}

static bool at_end(const struct watch *w)
{
	return w->left == 0 || *w->ctl->stop || (w->end_ns && clock_mono_ns() >= w->end_ns);
}

/* One connection. EXIT_FINE: try again or end; EXIT_FAILED: give up, told already. */
static int follow(struct watch *w, const char *path, bool first)
{
	long status;
	struct buf body = {0}, why = {0};
	int64_t timeout_ms = w->end_ns ? (w->end_ns - clock_mono_ns()) / NS_PER_MS + 1 : 0;
	int result = EXIT_FINE;
	sse_restart(&w->sse);
	int err = http_client_stream(w->ctl->http, path, sse_id(&w->sse), timeout_ms < 0 ? 1 : timeout_ms, w->ctl->stop,
	    on_data, w, &status, &body, &why);
	if (w->broken) {
		ctl_error("%s: the answer is no stream of rows", http_client_url(w->ctl->http));
		result = EXIT_FAILED;
	} else if (status >= 400 && status < 500) {
		ctl_put_api_error(status, &body, &why);
		ctl_error("%s", buf_cstr(&why));
		result = EXIT_FAILED;
	} else if (err && first) {
		ctl_error("%s", buf_cstr(&why));
		result = EXIT_FAILED;
	} else if (!at_end(w)) {
		if (!err && status != 200)
			ctl_put_api_error(status, &body, &why);
		fprintf(stderr, "weirctl: connection lost%s%s; trying again\n", why.len ? ": " : "", buf_cstr(&why));
	}
	buf_free(&body);
	buf_free(&why);
	return result;
}

static int run(struct watch *w, const char *path)
{
	int result = EXIT_FINE;
	for (bool first = true; !result && !at_end(w) && !ferror(stdout); first = false) {
		result = follow(w, path, first);
		if (result || at_end(w))
			break;
		wait_a_while(w);
		w->backoff_ns = w->backoff_ns * 2 < BACKOFF_MAX_NS ? w->backoff_ns * 2 : BACKOFF_MAX_NS;
	}
	return result;
}

static int run_watch(struct ctl *ctl, const struct args *args)
{
	const char *count = args_get(args, "count"), *how_long = args_get(args, "for"), *since = args_get(args, "since");
	struct watch w = {.ctl = ctl, .left = UINT64_MAX, .backoff_ns = BACKOFF_FIRST_NS};
	int64_t ns = 0;
	if (count) {
		if (!*count || count[strspn(count, "0123456789")] || strlen(count) > 10)
			return ctl_bad_use(&command_watch, "--count: `%s` is not a number of rows", count);
		w.left = strtoull(count, NULL, 10);
		if (w.left == 0 || w.left > WATCH_ROWS_MAX)
			return ctl_bad_use(&command_watch, "--count: from 1 to %u", WATCH_ROWS_MAX);
	}
	if (how_long && (duration_parse(how_long, strlen(how_long), &ns) || ns == 0))
		return ctl_bad_use(&command_watch, "--for: `%s` is not a duration (10s, 5m, 2h)", how_long);
	if (how_long)
		w.end_ns = clock_mono_ns() + ns;
	rows_init(&w.rows, ctl->format == FORMAT_CSV);
	sse_init(&w.sse, on_event, &w);
	if (since)
		buf_put(&w.sse.id, since, strlen(since));
	struct buf path = {0};
	buf_printf(&path, "/api/v1/watch?stream=");
	http_put_encoded(&path, args->words[0]);
	for (size_t i = 0; args_nth(args, "where", i); i++) {
		buf_printf(&path, "&where=");
		http_put_encoded(&path, args_nth(args, "where", i));
	}
	int result = run(&w, buf_cstr(&path));
	buf_free(&path);
	buf_free(&w.out);
	sse_free(&w.sse);
	rows_free(&w.rows);
	return result;
}

const struct command command_watch = {
	.name = "watch", .words = "STREAM", .summary = "follow windows as they close or are revised",
	.help = "Prints a row for each window that closes, and again for each revision (a late reading), until Ctrl-C. A lost\n"
		"connection is taken up again where it was, at any of the addresses. json gives one row per line.\n\n"
		"  weirctl watch speed\n"
		"  weirctl watch speed --where site=north\n"
		"  weirctl watch speed --count 10 -o json | jq .values.mean\n"
		"  weirctl watch speed --for 5m -o csv > closed.csv\n",
	.options = options, .option_count = sizeof(options) / sizeof(options[0]),
	.words_min = 1, .words_max = 1, .stoppable = true, .run = run_watch};
