/* How many lines a second one core parses from memory, for a few shapes of lines. Usage: bench_line [SECONDS]
 *
 * Shapes differ in where the time goes: one float and a timestamp (sensors), many fields (hosts), escapes and strings. Each
 * is fed in 64 KiB chunks, as a source reads them, so lines that span chunks are in the figure; `whole` parses the series
 * too, `lazy` leaves it raw, as edged does for series it knows. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/line.h"

#define CHUNK_BYTES (64 * 1024)
#define SHAPE_BYTES (8u << 20)

/* Time of the processor, not of the clock: others may be using the machine. */
static int64_t cpu_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

struct tally {
	uint64_t lines, errors;
	double sum; /* so that nothing can be left out */
};

static void on_line(void *arg, const struct line *l)
{
	struct tally *t = arg;
	t->lines++;
	for (size_t i = 0; i < l->field_count; i++)
		t->sum += l->fields[i].number;
}

static void on_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	(void)number, (void)column, (void)e, (void)text;
	((struct tally *)arg)->errors++;
}

static void put_sensor(struct buf *b, unsigned i)
{
	buf_printf(b, "traffic,site=north,sensor=%u speed=%u.%u %llu\n", 6000 + i % 1000, i % 130, i % 10,
	    1436538240000000000ull + i * 1000000000ull);
}

static void put_host(struct buf *b, unsigned i)
{
	buf_printf(b,
	    "cpu,cpu=cpu%u,host=gw-%05u,region=eu-west usage_idle=%u.%04u,usage_user=%u.%04u,usage_system=%ui,"
	    "usage_iowait=0,usage_steal=0,usage_nice=%u.5,load1=%u.25,up=true %llu\n",
	    i % 8, i % 1000, i % 100, i % 10000, i % 50, i % 9999, i % 30, i % 3, i % 16, 1436538240000000000ull + i * 1000ull);
}

static void put_escaped(struct buf *b, unsigned i)
{
	buf_printf(b, "my\\ measurement,a\\,b=c\\ d,plain=%u v=%u,note=\"said \\\"hello\\\", then left\" %llu\n", i % 100, i,
	    1436538240000000000ull + i);
}

static void put_long_number(struct buf *b, unsigned i)
{
	buf_printf(b, "m,k=%u v=0.%u%u123456789012\n", i % 100, 100000 + i % 899999, 100000 + i % 7777);
}

static void put_bad(struct buf *b, unsigned i)
{
	buf_printf(b, i % 2 ? "m,k=%u v=\"never closed\n" : "m,k=%u v=1 5\n", i % 100);
}

static const struct {
	const char *name;
	void (*put)(struct buf *b, unsigned i);
} shapes[] = {
	{"sensor: 1 field", put_sensor},
	{"host: 8 fields", put_host},
	{"escapes and strings", put_escaped},
	{"numbers of 24 digits", put_long_number},
	{"every second quote open", put_bad},
};

static void measure(const char *name, const struct buf *text, bool lazy, double seconds)
{
	struct tally t = {0};
	struct line_callbacks cb = {.arg = &t, .line = on_line, .error = on_error};
	struct line_parser p;
	line_parser_init(&p, &cb, 1, lazy);
	int64_t start = cpu_ns(), end = start + (int64_t)(seconds * 1e9), now = start;
	uint64_t bytes = 0;
	while (now < end) {
		for (size_t at = 0; at < text->len; at += CHUNK_BYTES) {
			size_t n = text->len - at < CHUNK_BYTES ? text->len - at : CHUNK_BYTES;
			line_parser_feed(&p, text->data + at, n);
			bytes += n;
		}
		now = cpu_ns();
	}
	double s = (double)(now - start) / 1e9, lines = (double)(t.lines + t.errors);
	printf("%-26s %-6s %7.2f M lines/s %8.1f MB/s %7.1f ns/line %6.0f bytes/line %3.0f %% refused\n", name,
	    lazy ? "lazy" : "whole", lines / s / 1e6, (double)bytes / s / 1e6, s / lines * 1e9, (double)bytes / lines,
	    (double)t.errors / lines * 100);
	line_parser_free(&p);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 1;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct buf text = {0};
		for (unsigned n = 0; text.len < SHAPE_BYTES; n++)
			shapes[i].put(&text, n);
		measure(shapes[i].name, &text, true, seconds);
		measure(shapes[i].name, &text, false, seconds);
		buf_free(&text);
	}
	return 0;
}
