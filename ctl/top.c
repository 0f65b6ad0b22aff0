/* top: the cluster at a glance, again and again. */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/err.h"
#include "ctl/ctl.h"
#include "ctl/http_client.h"
#include "ctl/terminal.h"
#include "ctl/top_view.h"

#define EVERY_DEFAULT_NS (2 * NS_PER_SEC)
#define EVERY_MIN_NS (100 * NS_PER_MS)
#define EVERY_MAX_NS (3600 * NS_PER_SEC)
#define ONCE_NS NS_PER_SEC /* between two looks, without which there are no rates */
#define SILENCE_S 5

static const struct arg_option options[] = {
	{"every", 0, "DURATION", false, "between two looks (default 2s)"},
	{"once", 0, NULL, false, "two looks a second apart, then one plain snapshot; also where stdout is no terminal"},
	{"ascii", 0, NULL, false, "without Unicode's blocks (the default where the locale is not UTF-8)"},
};

struct top {
	struct ctl *ctl;
	struct top_view *view;
	struct top_screen screen;
	int64_t every_ns;
	bool paused;
};

/* ---- asking --------------------------------------------------------------------------------------------------- */

/* NULL, with why appended, where there is no answer; absent: 404, which is none either. */
static json_t *ask(struct ctl *ctl, const char *path, struct buf *why, bool *ret_absent)
{
	struct http_answer answer;
	json_t *json = NULL;
	if (http_client_request(ctl->http, "GET", path, (struct bytes){0}, &answer, why))
		return NULL;
	*ret_absent = answer.status == 404;
	if (answer.status != 200)
		ctl_put_api_error(answer.status, &answer.body, why);
	else if (!(json = json_loadb((const char *)answer.body.data, answer.body.len, 0, NULL)))
		buf_printf(why, "%s%s: the answer is not JSON", http_client_url(ctl->http), path);
	buf_free(&answer.body);
	return json;
}

/* Edges and streams may be unknown for a while (no meta leader): the rest is all the more worth a look. */
static bool look(struct top *t)
{
	struct buf why = {0}, partly = {0};
	bool absent;
	struct top_look l = {.cluster = ask(t->ctl, "/api/v1/cluster", &why, &absent)};
	if (l.cluster) {
		l.edges = ask(t->ctl, "/api/v1/edges", &partly, &absent);
		l.streams = ask(t->ctl, "/api/v1/streams", &partly, &absent);
		l.alerts = ask(t->ctl, "/api/v1/alerts", &partly, &absent);
		l.sinks = ask(t->ctl, "/api/v1/sinks", &partly, &absent);
		l.wall_ns = clock_wall_ns();
		l.mono_ns = clock_mono_ns();
		top_view_take(t->view, &l);
	} else {
		top_view_fail(t->view, buf_cstr(&why), clock_wall_ns());
	}
	bool seen = l.cluster != NULL;
	json_decref(l.cluster);
	json_decref(l.edges);
	json_decref(l.streams);
	json_decref(l.alerts);
	json_decref(l.sinks);
	buf_free(&why);
	buf_free(&partly);
	return seen;
}

/* ---- once ----------------------------------------------------------------------------------------------------- */

static int run_once(struct top *t)
{
	struct buf out = {0};
	bool seen = look(t);
	struct timespec second = {ONCE_NS / NS_PER_SEC, 0};
	if (seen)
		nanosleep(&second, NULL);
	seen = seen && look(t);
	t->screen.lines = 0;
	top_view_put(t->view, &t->screen, false, &out);
	ctl_print(&out);
	buf_free(&out);
	return seen ? EXIT_FINE : EXIT_FAILED;
}

/* ---- again and again ------------------------------------------------------------------------------------------ */

static void draw(struct top *t)
{
	struct buf out = {0};
	terminal_size(&t->screen.lines, &t->screen.columns);
	top_view_put(t->view, &t->screen, t->paused, &out);
	terminal_draw(&out);
	buf_free(&out);
}

/* false: enough. */
static bool handle_key(struct top *t, int key)
{
	int page = t->screen.lines > 4 ? (int)t->screen.lines - 4 : 1;
	switch (key) {
	case 'q':
	case 256 + KEY_END_OF_INPUT:
		return false;
	case 'p':
	case ' ':
		t->paused = !t->paused;
		break;
	case 's':
		top_view_sort(t->view);
		break;
	case 'k':
	case 256 + KEY_UP:
		top_view_scroll(t->view, -1);
		break;
	case 'j':
	case 256 + KEY_DOWN:
		top_view_scroll(t->view, 1);
		break;
	case 256 + KEY_PAGE_UP:
		top_view_scroll(t->view, -page);
		break;
	case 256 + KEY_PAGE_DOWN:
		top_view_scroll(t->view, page);
		break;
	default:
		return true;
	}
	draw(t);
	return true;
}

/* Keys until the time of the next look. */
static bool wait_for_next(struct top *t, int64_t next_ns)
{
	for (int64_t left; (left = next_ns - clock_mono_ns()) > 0;) {
		int key = terminal_key((left - 1) / NS_PER_MS + 1);
		if (key == 256 + KEY_REDRAW)
			draw(t);
		else if (!handle_key(t, key))
			return false;
	}
	return true;
}

static int run_screen(struct top *t)
{
	if (terminal_open()) {
		ctl_error("cannot use the terminal: %s", strerror(errno));
		return EXIT_FAILED;
	}
	int64_t next = clock_mono_ns();
	do {
		if (!t->paused)
			look(t);
		draw(t);
		next += t->every_ns;
		if (next < clock_mono_ns())
			next = clock_mono_ns() + t->every_ns;
	} while (wait_for_next(t, next));
	terminal_close();
	return EXIT_FINE;
}

static bool is_utf8(void)
{
	setlocale(LC_CTYPE, "");
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

static int run_top(struct ctl *ctl, const struct args *args)
{
	const char *every = args_get(args, "every"), *no_color = getenv("NO_COLOR");
	struct top t = {.ctl = ctl, .every_ns = EVERY_DEFAULT_NS};
	if (every && (duration_parse(every, strlen(every), &t.every_ns) || t.every_ns < EVERY_MIN_NS || t.every_ns > EVERY_MAX_NS))
		return ctl_bad_use(&command_top, "--every: `%s` is not a duration from 100ms to 1h", every);
	if (ctl->format != FORMAT_TABLE)
		return ctl_bad_use(&command_top, "it is for people; `weirctl status -o json` is for programs");
	t.screen.ascii = args_get(args, "ascii") || !is_utf8();
	t.screen.colour = !no_color || !*no_color;
	t.view = top_view_new();
	http_client_set_silence(ctl->http, SILENCE_S);
	int result = args_get(args, "once") || !terminal_is_one() ? run_once(&t) : run_screen(&t);
	top_view_free(t.view);
	return result;
}

const struct command command_top = {
	.name = "top", .words = "", .summary = "the cluster at a glance in the terminal, refreshed",
	.help = "Nodes with what they hold and lead, edges with their state, lag, spool and rate, streams with rate and watermark, sinks\n"
		"with what they deliver, and alerts. Rates are readings a second: accepted by an edge, merged into a stream. `lag` is how far the watermark is\n"
		"behind the clock (of an edge: that of its stream furthest behind). While nobody answers the last view stays, and says\n"
		"since when.\n\n"
		"Keys: q ends, p or space pauses, s sorts by name, rate or lag, the arrows (j, k, page up and down) scroll.\n"
		"NO_COLOR in the environment: no colours.\n\n"
		"  weirctl top\n"
		"  weirctl top --every 500ms\n"
		"  weirctl top --once\n",
	.options = options, .option_count = sizeof(options) / sizeof(options[0]), .run = run_top};
