#include "ctl/progress.h"

#include "common/clock.h"

#define BAR_CHARACTERS 24

void progress_put_count(struct buf *b, double n)
{
	static const char *const units[] = {"", " k", " M", " G", " T"};
	unsigned i = 0;
	for (; n >= 1000 && i < 4; i++)
		n /= 1000;
	buf_printf(b, "%.*f%s", i == 0 || n >= 100 ? 0 : n >= 10 ? 1 : 2, n, units[i]);
}

static void put_bar(struct buf *b, double share)
{
	int full = (int)(share * BAR_CHARACTERS);
	buf_u8(b, '[');
	for (int i = 0; i < BAR_CHARACTERS; i++)
		buf_u8(b, i < full ? '=' : i == full ? '>' : ' ');
	buf_printf(b, "] %3d%%  ", (int)(share * 100));
}

void progress_put(struct buf *b, uint64_t done, uint64_t total, uint64_t lines, int64_t elapsed_ns)
{
	double seconds = (double)elapsed_ns / (double)NS_PER_SEC;
	double share = total ? (double)done / (double)total : 0;
	if (share > 1)
		share = 1;
	if (total)
		put_bar(b, share);
	progress_put_count(b, (double)lines);
	buf_printf(b, " lines  ");
	progress_put_count(b, seconds > 0 ? (double)lines / seconds : 0);
	buf_printf(b, " lines/s");
	if (total && share > 0.001 && seconds > 0.5) {
		int64_t left_s = (int64_t)(seconds / share - seconds + 0.5);
		if (left_s >= 3600)
			buf_printf(b, "  ETA %lldh%02lldm", (long long)left_s / 3600, (long long)left_s / 60 % 60);
		else if (left_s >= 60)
			buf_printf(b, "  ETA %lldm%02llds", (long long)left_s / 60, (long long)left_s % 60);
		else
			buf_printf(b, "  ETA %llds", (long long)left_s);
	}
}

int64_t progress_wait_ns(uint64_t lines, double per_second, int64_t elapsed_ns)
{
	double due_ns = (double)lines / per_second * (double)NS_PER_SEC;
	double wait_ns = due_ns - (double)elapsed_ns;
	if (wait_ns <= 0)
		return 0;
	return wait_ns > 1e18 ? INT64_C(1000000000000000000) : (int64_t)wait_ns;
}
