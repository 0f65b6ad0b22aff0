#include "bench/load.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define WAIT_MAX_S 0.2

double load_now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_s(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

void load_start(struct load *l)
{
	l->cpu_before_s = cpu_s();
	l->start_s = load_now_s();
	l->end_s = l->start_s + l->warmup_s + l->seconds;
}

static double next_due_s(const struct load *l, double now_s)
{
	return l->rate > 0 ? l->start_s + (double)l->sent / l->rate : now_s;
}

double load_wait_s(const struct load *l, double now_s, bool can_send)
{
	if (now_s >= l->end_s)
		return WAIT_MAX_S;
	double until_s = can_send && l->rate > 0 ? next_due_s(l, now_s) : l->end_s;
	double wait_s = (until_s < l->end_s ? until_s : l->end_s) - now_s;
	if (wait_s < 0)
		return 0;
	return wait_s < WAIT_MAX_S ? wait_s : WAIT_MAX_S;
}

bool load_take(struct load *l, double now_s, double *ret_due_s)
{
	double due_s = next_due_s(l, now_s);
	if (now_s >= l->end_s || due_s > now_s)
		return false;
	l->sent++;
	*ret_due_s = due_s;
	return true;
}

void load_stop(struct load *l, double now_s)
{
	if (now_s < l->end_s)
		l->end_s = now_s;
}

static size_t bucket_of(double s)
{
	double us = s * 1e6;
	double at = us > 1 ? log(us) / log(1.01) : 0;
	return at < LOAD_BUCKETS - 1 ? (size_t)at : LOAD_BUCKETS - 1;
}

void load_done(struct load *l, double due_s, double now_s, uint64_t units)
{
	l->done++;
	if (now_s < l->start_s + l->warmup_s || now_s > l->end_s)
		return;
	l->counted++;
	l->units += units;
	l->latency[bucket_of(now_s - due_s)]++;
}

void load_failed(struct load *l, const char *why)
{
	if (!l->failed++)
		snprintf(l->failure, sizeof(l->failure), "%s", why);
}

bool load_goes_on(const struct load *l, double now_s)
{
	if (now_s < l->end_s)
		return true;
	return l->done + l->failed < l->sent && now_s < l->end_s + LOAD_DRAIN_MAX_S;
}

static double percentile_ms(const struct load *l, double q)
{
	uint64_t rank = (uint64_t)ceil(q * (double)l->counted), seen = 0;
	for (size_t i = 0; i < LOAD_BUCKETS; i++) {
		seen += l->latency[i];
		if (seen >= rank && seen)
			return pow(1.01, (double)i + 0.5) / 1e3;
	}
	return 0;
}

int load_print(struct load *l)
{
	double counted_s = l->end_s - l->start_s - l->warmup_s;
	uint64_t lost = l->sent - l->done - l->failed;
	if (lost)
		load_failed(l, "no answer");
	for (char *c = l->failure; *c; c++)
		if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
			*c = '\'';
	printf("{\"per_s\": %.1f, \"requests_per_s\": %.1f, \"seconds\": %.3f, \"done\": %" PRIu64
	       ", \"failed\": %" PRIu64
	       ", \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"client_cpu_s\": %.2f, \"failure\": \"%s\"}\n",
	    counted_s > 0 ? (double)l->units / counted_s : 0,
	    counted_s > 0 ? (double)l->counted / counted_s : 0, counted_s, l->done,
	    l->failed + (lost ? lost - 1 : 0), percentile_ms(l, 0.5), percentile_ms(l, 0.99),
	    cpu_s() - l->cpu_before_s, l->failure);
	return l->counted ? 0 : 1;
}

double load_number(const char *option, const char *text, double min, double max)
{
	char *end;
	double v = strtod(text, &end);
	if (end == text || *end || !(v >= min && v <= max)) {
		fprintf(stderr, "%s: a number from %g to %g, not '%s'\n", option, min, max, text);
		exit(2);
	}
	return v;
}
