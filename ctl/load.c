/* load: line protocol from files, stdin or simulated sensors to a TCP port, or to an edge's HTTP address.
 *
 * Bytes are cut into lines (to count, to split by series and to keep a rate), gathered into pieces and sent; what a line
 * says is the receiver's to judge. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/simulate.h"
#include "ctl/ctl.h"
#include "ctl/lines.h"
#include "ctl/poster.h"
#include "ctl/progress.h"
#include "ctl/sender.h"

#define PIECE_BYTES (64 * 1024)
#define POST_BYTES (512 * 1024) /* over HTTP each piece waits for a commit */
#define READ_BYTES (256 * 1024)
#define SHOW_EVERY_NS (200 * NS_PER_MS)
#define PIECES_PER_SECOND 50 /* at a rate: so that it is even */
#define SPLIT_PARTS_MAX 1000
#define RATE_MAX 1e9
#define FILES_MAX 10000
#define GENERATED_LINE_BYTES 64 /* about, for the progress bar */
#define COUNT_DEFAULT 1000

static const struct arg_option options[] = {
	{"to", 0, "ADDRESS", false, "HOST:PORT of a tcp source of an edge, or http://HOST:PORT of an edge (required)"},
	{"gzip", 0, NULL, false, "over HTTP: packed"},
	{"rate", 'r', "LINES", false, "at most so many lines a second"},
	{"split", 0, "I/N", false, "only every series whose hash modulo N is I (I from 0)"},
	{"quiet", 'q', NULL, false, "no progress, no summary"},
	{"sensors", 0, "N", false, "generate readings of N sensors (after the files, if any)"},
	{"every", 0, "DURATION", false, "generated: time between readings of a sensor; default 1s"},
	{"count", 'n', "N", false, "generated: readings of each sensor; default 1000"},
	{"seed", 0, "N", false, "generated: same seed, same readings; default 1"},
	{"start", 0, "TIME", false, "generated: time of the first; default: so that the last is now"},
	{"measurement", 0, "NAME", false, "generated: default sensors"},
	{"field", 0, "NAME", false, "generated: default value"},
};

struct load {
	struct ctl *ctl;
	struct sender sender;
	struct poster poster;   /* http not NULL: instead of it */
	struct lines lines;
	struct buf piece;
	size_t piece_bytes_max;
	struct buf error;       /* why it ended early */
	double rate;            /* lines a second; 0: no limit */
	uint64_t piece_lines_max, piece_lines;
	uint64_t part, parts;   /* split; parts 0: everything */
	bool generate;
	struct source_conf source;
	uint64_t lines_sent, lines_skipped, bytes_sent;
	uint64_t done, total;   /* bytes of input, for the bar; total 0: unknown */
	int64_t start_ns, shown_ns; /* monotonic */
	bool show;              /* a bar on a terminal */
};

/* ---- progress --------------------------------------------------------------------------------------------- */

static void show(void *arg)
{
	struct load *l = arg;
	int64_t now = clock_mono_ns();
	if (!l->show || now - l->shown_ns < SHOW_EVERY_NS)
		return;
	l->shown_ns = now;
	struct buf b = {0};
	progress_put(&b, l->done, l->total, l->lines_sent, now - l->start_ns);
	fprintf(stderr, "\r%s\x1b[K", buf_cstr(&b));
	fflush(stderr);
	buf_free(&b);
}

static void end_show(const struct load *l)
{
	if (l->show && l->shown_ns)
		fprintf(stderr, "\r\x1b[K");
}

static void print_summary(const struct load *l)
{
	double seconds = (double)(clock_mono_ns() - l->start_ns) / (double)NS_PER_SEC;
	double per_second = seconds > 0 ? (double)l->lines_sent / seconds : 0;
	struct buf b = {0};
	switch (l->ctl->format) {
	case FORMAT_JSON:
		buf_printf(&b, "{\"lines\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"skipped\": %" PRIu64 ", \"refused\": %" PRIu64
			       ", \"seconds\": %.3f, \"lines_per_second\": %.0f}\n",
		    l->lines_sent, l->bytes_sent, l->lines_skipped, l->poster.refused, seconds, per_second);
		break;
	case FORMAT_CSV:
		buf_printf(&b, "lines,bytes,skipped,seconds,lines_per_second,refused\n%" PRIu64 ",%" PRIu64 ",%" PRIu64
			       ",%.3f,%.0f,%" PRIu64 "\n",
		    l->lines_sent, l->bytes_sent, l->lines_skipped, seconds, per_second, l->poster.refused);
		break;
	case FORMAT_TABLE:
		buf_printf(&b, "sent %" PRIu64 " lines (", l->lines_sent);
		buf_put_size(&b, (double)l->bytes_sent);
		buf_printf(&b, ") in %.2f s: %.0f lines/s", seconds, per_second);
		if (l->parts)
			buf_printf(&b, "; %" PRIu64 " lines belong to other parts", l->lines_skipped);
		if (l->poster.http)
			buf_printf(&b, "; %" PRIu64 " refused", l->poster.refused);
		buf_u8(&b, '\n');
		break;
	}
	ctl_print(&b);
	buf_free(&b);
}

/* ---- sending ---------------------------------------------------------------------------------------------- */

static bool is_stopped(struct load *l)
{
	if (*l->ctl->stop && !l->error.len)
		buf_printf(&l->error, "stopped");
	return *l->ctl->stop;
}

static void keep_rate(struct load *l)
{
	int64_t ns;
	while (l->rate > 0 && !is_stopped(l) &&
	       (ns = progress_wait_ns(l->lines_sent, l->rate, clock_mono_ns() - l->start_ns)) > 0) {
		if (ns > SHOW_EVERY_NS)
			ns = SHOW_EVERY_NS;
		struct timespec t = {0, ns};
		nanosleep(&t, NULL);
		show(l);
	}
}

/* What was refused is told as it comes. */
static int post_piece(struct load *l)
{
	struct buf told = {0};
	int rc = poster_send(&l->poster, l->piece.data, l->piece.len, &told, &l->error);
	if (rc == WEIR_EIO)
		buf_printf(&l->error, "; the last %" PRIu64 " lines sent may count or not", l->piece_lines);
	if (told.len) {
		end_show(l);
		ctl_error("after %" PRIu64 " lines: %s", l->lines_sent, buf_cstr(&told));
	}
	buf_free(&told);
	return rc;
}

static bool send_piece(struct load *l)
{
	if (l->poster.http ? post_piece(l) : sender_send(&l->sender, l->piece.data, l->piece.len, &l->error))
		return false;
	l->bytes_sent += l->piece.len;
	l->lines_sent += l->piece_lines;
	l->piece_lines = 0;
	buf_clear(&l->piece);
	show(l);
	keep_rate(l);
	return !is_stopped(l);
}

static bool on_line(void *arg, const void *bytes, size_t len, bool reading, uint64_t series_hash)
{
	struct load *l = arg;
	if (l->parts && (!reading || series_hash % l->parts != l->part)) {
		l->lines_skipped += reading;
		return true;
	}
	buf_put(&l->piece, bytes, len);
	if (((const char *)bytes)[len - 1] != '\n')
		buf_u8(&l->piece, '\n'); /* the next file begins a line of its own */
	l->piece_lines += reading;
	return (l->piece.len < l->piece_bytes_max && l->piece_lines < l->piece_lines_max) || send_piece(l);
}

static bool load_file(struct load *l, const char *path)
{
	char *room = xmalloc(READ_BYTES);
	int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	bool fine = fd >= 0;
	while (fine) {
		ssize_t n = read(fd, room, READ_BYTES);
		if (n < 0 && errno == EINTR && !is_stopped(l))
			continue;
		fine = n >= 0;
		if (n <= 0)
			break;
		fine = lines_feed(&l->lines, room, (size_t)n);
		l->done += (uint64_t)n;
	}
	if (!fine && !l->error.len)
		buf_printf(&l->error, "%s: %s", path, strerror(errno));
	if (fd > STDIN_FILENO)
		close(fd);
	free(room);
	return fine && lines_finish(&l->lines) && (!l->piece.len || send_piece(l));
}

static bool load_generated(struct load *l)
{
	struct simulate s;
	struct simulate_reading readings[SIMULATE_READINGS_MAX];
	struct buf text = {0};
	bool fine = true;
	simulate_init(&s, &l->source, l->source.start_ns);
	while (fine && !simulate_finished(&s)) {
		size_t n = simulate_step(&s, readings);
		buf_clear(&text);
		for (size_t i = 0; i < n; i++)
			simulate_put_line(&l->source, &readings[i], &text);
		fine = !text.len || lines_feed(&l->lines, text.data, text.len);
		l->done += n * GENERATED_LINE_BYTES;
	}
	buf_free(&text);
	return fine && lines_finish(&l->lines) && (!l->piece.len || send_piece(l));
}

/* ---- arguments -------------------------------------------------------------------------------------------- */

/* The whole text as a number in [min, max]. */
static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	if (!*text || text[strspn(text, "0123456789")] || strlen(text) > 18)
		return false;
	uint64_t v = strtoull(text, NULL, 10);
	if (v < min || v > max)
		return false;
	*ret = v;
	return true;
}

static bool parse_split(const char *text, uint64_t *ret_part, uint64_t *ret_parts)
{
	const char *slash = strchr(text, '/');
	if (!slash)
		return false;
	char *first = xstrndup(text, (size_t)(slash - text));
	bool fine = parse_number(slash + 1, 1, SPLIT_PARTS_MAX, ret_parts) &&
	    parse_number(first, 0, *ret_parts - 1, ret_part);
	free(first);
	return fine;
}

static int read_generated(struct load *l, const struct args *args)
{
	const struct command *c = &command_load;
	const char *sensors = args_get(args, "sensors"), *every = args_get(args, "every");
	const char *count = args_get(args, "count"), *seed = args_get(args, "seed"), *start = args_get(args, "start");
	const char *measurement = args_get(args, "measurement"), *field = args_get(args, "field");
	struct source_conf *s = &l->source;
	uint64_t n = 0;
	if (!sensors) {
		if (every || count || seed || start || measurement || field)
			return ctl_bad_use(c, "--every, --count, --seed, --start, --measurement and --field need --sensors");
		return EXIT_FINE;
	}
	if (!parse_number(sensors, 1, SIMULATE_SENSORS_MAX, &n))
		return ctl_bad_use(c, "--sensors: from 1 to %d", SIMULATE_SENSORS_MAX);
	*s = (struct source_conf){.type = SOURCE_SIMULATE, .sensors = (unsigned)n, .every_ns = NS_PER_SEC, .seed = 1,
		.count = COUNT_DEFAULT, .mean = 20, .noise = 1, .drift = 5, .fast = true};
	s->measurement = (char *)(uintptr_t)(measurement ? measurement : "sensors");
	s->field = (char *)(uintptr_t)(field ? field : "value");
	if (every && (duration_parse(every, strlen(every), &s->every_ns) || s->every_ns == 0))
		return ctl_bad_use(c, "--every: `%s` is not a duration (100ms, 1s, 5m)", every);
	if (count && !parse_number(count, 1, UINT64_C(1000000000000), &s->count))
		return ctl_bad_use(c, "--count: `%s` is not a number of readings", count);
	if (seed && !parse_number(seed, 0, INT64_MAX, &s->seed))
		return ctl_bad_use(c, "--seed: `%s` is not a number", seed);
	if (!*s->measurement || !*s->field)
		return ctl_bad_use(c, "--measurement and --field must not be empty");
	int64_t span_ns, now = clock_wall_ns();
	if (__builtin_mul_overflow((int64_t)(s->count - 1), s->every_ns, &span_ns) || span_ns > TIME_MAX_NS / 4)
		return ctl_bad_use(c, "--count and --every reach over too long a time");
	s->start_ns = now - span_ns;
	if (start && time_parse(start, now, &s->start_ns))
		return ctl_bad_use(c, "--start: `%s` is not a time (2015-09-01T11:25:00Z, seconds since 1970, now, -1h)", start);
	l->generate = true;
	return EXIT_FINE;
}

static int read_arguments(struct load *l, const struct args *args)
{
	const struct command *c = &command_load;
	const char *rate = args_get(args, "rate"), *split = args_get(args, "split");
	if (!args_get(args, "to"))
		return ctl_bad_use(c, "--to HOST:PORT or http://HOST:PORT is missing");
	if (args_get(args, "gzip") && !poster_takes(args_get(args, "to")))
		return ctl_bad_use(c, "--gzip needs --to http://HOST:PORT");
	if (rate) {
		char *end;
		l->rate = strtod(rate, &end);
		if (end == rate || *end || !(l->rate > 0 && l->rate <= RATE_MAX))
			return ctl_bad_use(c, "--rate: `%s` is not a number of lines a second", rate);
		double lines = l->rate / PIECES_PER_SECOND;
		l->piece_lines_max = lines < 1 ? 1 : (uint64_t)lines;
	}
	if (split && !parse_split(split, &l->part, &l->parts))
		return ctl_bad_use(c, "--split: `%s` is not I/N with I from 0 to N - 1, such as 0/2", split);
	int result = read_generated(l, args);
	if (!result && !args->word_count && !l->generate)
		return ctl_bad_use(c, "nothing to send: a FILE, - for stdin, or --sensors N");
	return result;
}

/* Files that cannot be opened are told before anything is sent. */
static bool size_up(struct load *l, const struct args *args, struct buf *error)
{
	bool known = true;
	for (size_t i = 0; i < args->word_count; i++) {
		const char *path = args->words[i];
		struct stat st;
		int failed = strcmp(path, "-") ? stat(path, &st) || access(path, R_OK) : fstat(STDIN_FILENO, &st);
		if (!failed && S_ISDIR(st.st_mode)) {
			errno = EISDIR;
			failed = -1;
		}
		if (failed) {
			buf_printf(error, "%s: %s", path, strerror(errno));
			return false;
		}
		known = known && S_ISREG(st.st_mode);
		l->total += S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	}
	if (l->generate)
		l->total += (uint64_t)l->source.sensors * l->source.count * GENERATED_LINE_BYTES;
	if (!known)
		l->total = 0;
	return true;
}

static bool send_all(struct load *l, const struct args *args)
{
	bool fine = true;
	for (size_t i = 0; fine && i < args->word_count; i++)
		fine = load_file(l, args->words[i]);
	if (fine && l->generate)
		fine = load_generated(l);
	return fine && (l->poster.http || !sender_finish(&l->sender, &l->error));
}

/* Where to. 0, WEIR_EINVAL with why in l->error or EXIT_USE after telling it. */
static int open_receiver(struct load *l, const struct args *args, const char *to)
{
	l->piece_bytes_max = PIECE_BYTES;
	if (!poster_takes(to))
		return sender_open(&l->sender, to, &l->error);
	int result = ctl_connect(l->ctl, args, to);
	l->poster = (struct poster){.http = l->ctl->http, .stop = l->ctl->stop, .waiting = show, .arg = l,
	    .gzip = args_get(args, "gzip") != NULL};
	l->piece_bytes_max = POST_BYTES;
	return result;
}

static int run_load(struct ctl *ctl, const struct args *args)
{
	struct load l = {.ctl = ctl, .piece_lines_max = UINT64_MAX};
	int result = read_arguments(&l, args);
	if (result)
		return result;
	const char *to = args_get(args, "to");
	bool quiet = args_get(args, "quiet") != NULL;
	l.sender = (struct sender){.fd = -1, .stop = ctl->stop, .waiting = show, .arg = &l};
	l.lines.line = on_line;
	l.lines.arg = &l;
	l.show = !quiet && isatty(STDERR_FILENO);
	l.start_ns = clock_mono_ns();
	int err = size_up(&l, args, &l.error) ? open_receiver(&l, args, to) : WEIR_EIO;
	if (err == EXIT_USE) {
		result = EXIT_USE;
	} else if (err == WEIR_EINVAL) {
		result = ctl_bad_use(&command_load, "--to: %s", buf_cstr(&l.error));
	} else if (err) {
		ctl_error("%s", buf_cstr(&l.error));
		result = EXIT_FAILED;
	} else {
		bool fine = send_all(&l, args);
		end_show(&l);
		if (!fine)
			ctl_error("%s", buf_cstr(&l.error));
		if (!quiet)
			print_summary(&l);
		result = fine && !l.poster.refused ? EXIT_FINE : EXIT_FAILED;
	}
	sender_close(&l.sender);
	poster_free(&l.poster);
	lines_free(&l.lines);
	buf_free(&l.piece);
	buf_free(&l.error);
	return result;
}

const struct command command_load = {
	.name = "load", .words = "[FILE]...", .summary = "send line protocol, from files or generated, to an edge",
	.help = "Sends each FILE (- is stdin) to an edge, with a progress bar and a rate. HTTP (the edge's `http`) answers when lines are\n"
		"durable, and says which were refused (then the exit code is 1); while the edge has no room it waits and tries again. With keys: https,\n"
		"--ca-file, and --token-file with a token that may write. TCP (a tcp source) does not answer: what the edge accepted or\n"
		"refused, and why, is in its metrics and in `weirctl edges`.\n"
		"What next: `weirctl query STREAM`, once windows have closed.\n\n"
		"  weirctl load readings.lp --to http://127.0.0.1:8201\n"
		"  weirctl load readings.lp --to 127.0.0.1:7201\n"
		"  weirctl load all.lp --to 127.0.0.1:7201 --split 0/2   # one half,\n"
		"  weirctl load all.lp --to 127.0.0.1:7202 --split 1/2   # the other\n"
		"  zcat old.lp.gz | weirctl load - --to 127.0.0.1:7201 --rate 5000\n"
		"  weirctl load --sensors 100 --count 3600 --seed 7 --to 127.0.0.1:7201\n",
	.options = options, .option_count = sizeof(options) / sizeof(options[0]),
	.words_max = FILES_MAX, .offline = true, .stoppable = true, .run = run_load};
